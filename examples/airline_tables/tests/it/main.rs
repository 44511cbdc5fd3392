//! The program from outside.
#![allow(clippy::unwrap_used, reason = "clippy takes only the test functions for tests, not their helpers")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use cloacina_testing::cluster::Cluster;

/// What the extract of `airline_reports` has, counted there by another program.
const FIGURES: [(&str, [&str; 3]); 6] = [
    ("AA", ["2728", "44", "13"]),
    ("B6", ["2732", "29", "4"]),
    ("HA", ["342", "0", "0"]),
    ("OO", ["32", "3", "0"]),
    ("UA", ["2934", "26", "12"]),
    ("all", ["8768", "102", "29"]),
];

fn program(state: &Path, url: Option<&str>) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_airline_tables"));
    let extract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../airline_reports/data");
    program.arg(extract).arg(state).env_remove("DATABASE_URL").envs(url.map(|url| ("DATABASE_URL", url)));
    program
}

/// How much it says that it did; fails unless the figures are right.
fn succeeds(output: &Output) -> usize {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    assert!(output.status.success(), "{out}\n{err}");
    for (airline, figures) in FIGURES {
        let line =
            out.lines().find(|line| line.starts_with(airline)).unwrap_or_else(|| panic!("{airline}: {out}"));
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words[1..4], figures, "{out}");
    }
    err.lines().filter(|line| line.contains(" loaded") || line.contains(" figures by ")).count()
}

#[test]
fn each_airline_is_loaded_and_counted_once() {
    let state = tempfile::tempdir().unwrap();
    assert_eq!(succeeds(&program(state.path(), None).output().unwrap()), 5 * 4);
    assert_eq!(succeeds(&program(state.path(), None).output().unwrap()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_in_schemas_of_a_database() {
    let url = Cluster::shared().unwrap().fresh_database().await.unwrap();
    let state = tempfile::tempdir().unwrap();
    assert_eq!(succeeds(&program(state.path(), Some(&url)).output().unwrap()), 5 * 4);
    assert_eq!(succeeds(&program(state.path(), Some(&url)).output().unwrap()), 0);
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0, "nothing is in files");
}

#[test]
fn killed_again_and_again_it_counts_each_flight_once() {
    let state = tempfile::tempdir().unwrap();
    // A task that its process does not survive three times in a row is given up.
    for lines in [1, 4] {
        let mut killed =
            program(state.path(), None).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let said = BufReader::new(killed.stderr.take().unwrap()).lines();
        assert!(said.take(lines).all(|line| line.is_ok()));
        killed.kill().unwrap();
        killed.wait().unwrap();
    }
    succeeds(&program(state.path(), None).output().unwrap());
}

#[test]
fn a_broken_file_fails_its_airline_alone() {
    let (data, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let header = "month,dep_time,arr_delay,carrier,dest,hour\n";
    std::fs::write(data.path().join("AA.csv"), format!("{header}1,542,33,AA,MIA,5\n2,NA,NA,AA,MIA,7\n"))
        .unwrap();
    std::fs::write(data.path().join("UA.csv"), format!("{header}1,542,33,AA,MIA,5\n")).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_airline_tables"));
    let output = program.arg(data.path()).arg(state.path()).env_remove("DATABASE_URL").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(
        err.contains("error: UA: ") && err.contains("line 2 of") && err.contains("no flight of UA"),
        "{err}"
    );
    let line: Vec<_> = out.lines().find(|line| line.starts_with("AA")).unwrap().split_whitespace().collect();
    assert_eq!(line[1..], ["2", "1", "0", "33.0", "5"], "{out}");
}
