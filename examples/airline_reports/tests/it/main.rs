//! The program from outside: arguments in, exit code, output and files out.
#![allow(clippy::unwrap_used, reason = "clippy takes only the test functions for tests, not their helpers")]

mod command_line;
mod durable;

use std::path::Path;
use std::process::{Command, Output};

/// The program, away from whatever database the environment names.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_airline_reports"));
    command.env_remove("DATABASE_URL");
    command
}

fn run(data: &Path, out: &Path) -> Output {
    program().arg(data).arg("--out").arg(out).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the program writes UTF-8")
}
