//! Programs that must compile, and mistakes that must not, each with what the compiler says.
//!
//! After a change of a message, write the `.stderr` files anew with `TRYBUILD=overwrite` and read the
//! difference.

#[test]
fn the_macros_accept_what_they_document_and_explain_what_they_refuse() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}
