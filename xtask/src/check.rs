//! What CI runs, in the order in which it fails soonest. The tests come last, so that a run ends with their
//! summary.

use std::fs;
use std::time::Instant;

use crate::cargo::{Cargo, Failure, cargo, root};
use crate::postgres::Postgres;
use crate::{book, circles, edges, width};

/// Runs everything; stops at the first failure.
pub(crate) fn check() -> Result<(), Failure> {
    step(&mut cargo(["fmt", "--all", "--check"]))?;

    heading("forbidden dependencies");
    edges::check()?;

    heading("circles of imports");
    circles::check()?;

    heading("the width of comments");
    width::check()?;

    heading("pages, links and the book");
    book::check()?;

    if cargo(["deny", "--version"]).succeeds() {
        step(&mut cargo(["deny", "check", "bans", "licenses", "sources"]))?;
    } else {
        heading("cargo-deny is not installed: licences and sources are not checked");
    }

    // Before the long builds, so that a missing PostgreSQL shows at once.
    heading("PostgreSQL");
    let server = Postgres::start()?;

    // The flags stand behind `--` and not in RUSTFLAGS: there they would have every dependency compiled
    // again.
    step(&mut cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    for feature in features("cloacina")? {
        let mut alone = cargo(["clippy", "--package", "cloacina", "--no-default-features"]);
        step(alone.args(["--features", feature.as_str(), "--", "-D", "warnings"]))?;
    }
    // `--lib`, because a binary may have the name of a library and would overwrite its pages.
    step(cargo(["doc", "--workspace", "--no-deps", "--lib"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    // A link may lead to what only a feature brings.
    step(cargo(["doc", "--package", "cloacina", "--no-deps", "--lib"]).env("RUSTDOCFLAGS", "-D warnings"))?;

    // All failures at once: a run is too long to learn them one by one.
    let mut tests = cargo(["test", "--workspace", "--no-fail-fast"]);
    heading(&tests.line());
    // The runner's own words are the last ones.
    server.hand_to(tests.with_test_threads()).run_tests()
}

fn step(command: &mut Cargo) -> Result<(), Failure> {
    heading(&command.line());
    let started = Instant::now();
    let result = command.run();
    eprintln!("    {:.0?}", started.elapsed());
    result
}

fn heading(text: &str) {
    eprintln!("\n==> {text}");
}

/// The features of one of our packages, without `default`: the keys of the manifest's `[features]`.
fn features(package: &str) -> Result<Vec<String>, Failure> {
    let path = root().join("crates").join(package).join("Cargo.toml");
    let manifest = fs::read_to_string(&path)
        .map_err(|error| Failure::Other(format!("failed to read {}: {error}", path.display())))?;
    Ok(features_in(&manifest))
}

fn features_in(manifest: &str) -> Vec<String> {
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[features]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        // The further lines of a long list are indented.
        .filter(|line| !line.starts_with([' ', '\t', ']', '#']))
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.trim().to_owned())
        .filter(|name| name != "default")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::features_in;

    #[test]
    fn the_features_of_a_manifest_are_its_keys_but_for_the_default() {
        let manifest = "[package]\nname = \"x\"\n\n[features]\n# Why.\ndefault = [\"sqlite\"]\nsqlite = [\n    \"a=b\",\n]\n\
                        postgres = [\"dep:p\"]\n\n[dependencies]\nserde = \"1\"\n";
        assert_eq!(features_in(manifest), ["sqlite", "postgres"]);
        assert!(features_in("[package]\nname = \"x\"\n").is_empty());
    }
}
