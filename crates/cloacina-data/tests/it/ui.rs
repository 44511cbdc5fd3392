//! Mistakes that must not compile, each with what the compiler says.
//!
//! After a change of a message, write the `.stderr` files anew with `TRYBUILD=overwrite` and read the
//! difference.

#[test]
fn data_is_reached_only_in_a_transaction_that_belongs_to_a_tenant() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
