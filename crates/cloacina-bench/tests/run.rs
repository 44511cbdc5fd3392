//! The measurements run: the work by hand uses the engine's own statements, and changes with them.

use std::process::Command;

#[test]
fn a_short_run_measures_both_databases() {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_cloacina-bench"));
    let output = bench.args(["sqlite", "postgres", "one-task", "shapes", "--quick", "--runs", "1"]).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches("one task alone, p50").count(), 2, "{said}");
}
