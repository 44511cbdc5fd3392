//! Running cargo.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

/// A cargo command in the root of the workspace.
pub(crate) struct Cargo {
    command: Command,
}

pub(crate) fn cargo<const N: usize>(arguments: [&str; N]) -> Cargo {
    // The very cargo that runs us, which matters with `cargo +toolchain xtask`.
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    // What cargo said of us. Build scripts look at it, and would run again after each plain `cargo build`.
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|of| name.starts_with(of)))
        {
            command.env_remove(name);
        }
    }
    Cargo { command }
}

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

impl Cargo {
    pub(crate) fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn args(&mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Self {
        self.command.env(name, value);
        self
    }

    /// Without a variable that we were given.
    pub(crate) fn without(&mut self, name: &str) -> &mut Self {
        self.command.env_remove(name);
        self
    }

    /// In another directory than the root of the workspace.
    pub(crate) fn within(&mut self, directory: &Path) -> &mut Self {
        self.command.current_dir(directory);
        self
    }

    /// With more threads for tests than there are processors: they wait for the disk, a server or a time more
    /// than they compute.
    pub(crate) fn with_test_threads(&mut self) -> &mut Self {
        if std::env::var_os("RUST_TEST_THREADS").is_none() {
            let processors = std::thread::available_parallelism().map_or(2, usize::from);
            self.command.env("RUST_TEST_THREADS", (processors * 2).to_string());
        }
        self
    }

    /// Runs it to its end, with our own output.
    pub(crate) fn run(&mut self) -> Result<(), Failure> {
        let status = self.command.status().map_err(|error| self.not_started(&error))?;
        if status.success() { Ok(()) } else { Err(Failure::Cargo { command: self.line(), status }) }
    }

    /// Runs tests to their end, with our own output. What failed, and why, is told once more at the end: the
    /// output of a long run has it somewhere in its middle.
    pub(crate) fn run_tests(&mut self) -> Result<(), Failure> {
        let child = self.command.stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| self.not_started(&error))?;
        let mut failures = Failures::default();
        if let Some(output) = child.stdout.take() {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                println!("{line}");
                failures.read(&line);
            }
        }
        let status = child.wait().map_err(|error| self.not_started(&error))?;
        if status.success() {
            return Ok(());
        }
        eprintln!("\n==> what failed");
        for line in failures.told {
            eprintln!("{line}");
        }
        Err(Failure::Cargo { command: self.line(), status })
    }

    /// Runs it to its end and returns what it wrote to its standard output.
    pub(crate) fn output(&mut self) -> Result<String, Failure> {
        let output = self.command.output().map_err(|error| self.not_started(&error))?;
        if !output.status.success() {
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            return Err(Failure::Cargo { command: self.line(), status: output.status });
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Whether it can be run at all, as when a subcommand may be missing.
    pub(crate) fn succeeds(&mut self) -> bool {
        self.command.output().is_ok_and(|output| output.status.success())
    }

    /// The command as one would type it.
    pub(crate) fn line(&self) -> String {
        let mut line = "cargo".to_owned();
        for argument in self.command.get_args() {
            line.push(' ');
            line.push_str(&argument.to_string_lossy());
        }
        line
    }

    fn not_started(&self, error: &std::io::Error) -> Failure {
        Failure::Other(format!("failed to run `{}`: {error}", self.line()))
    }
}

/// The most that is told again of one failure.
const LINES_OF_A_FAILURE: usize = 20;

/// What test runners say of tests that failed: `---- name stdout ----`, and the lines below it.
#[derive(Default)]
struct Failures {
    told: Vec<String>,
    /// How many lines of the failure that is being read are still to be told.
    left: usize,
}

impl Failures {
    fn read(&mut self, line: &str) {
        if line.starts_with("---- ") {
            self.left = LINES_OF_A_FAILURE;
        } else if line == "failures:" || line.starts_with("test result:") {
            self.left = 0;
        }
        if self.left > 0 && !line.is_empty() {
            self.told.push(line.to_owned());
            self.left -= 1;
        }
    }
}

/// Why a command of ours ends.
pub(crate) enum Failure {
    /// Cargo has told the reason itself.
    Cargo {
        command: String,
        status: ExitStatus,
    },
    Other(String),
}

impl Failure {
    /// Tells it on stderr; the exit code is cargo's own where cargo failed.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Cargo { command, status } => {
                eprintln!("error: `{command}` failed");
                status
                    .code()
                    .and_then(|code| u8::try_from(code).ok())
                    .map_or(ExitCode::FAILURE, ExitCode::from)
            }
            Self::Other(message) => {
                eprintln!("error: {message}");
                ExitCode::FAILURE
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Failures, LINES_OF_A_FAILURE};

    #[test]
    fn what_failed_is_told_without_what_passed_and_at_no_great_length() {
        let long = "x\n".repeat(2 * LINES_OF_A_FAILURE);
        let output = format!(
            "running 3 tests\ntest a ... ok\ntest b ... FAILED\ntest c ... FAILED\n\nfailures:\n\n---- b stdout ----\n\n\
             thread 'b' panicked at b.rs:1:1:\nwhy\n\n---- c stdout ----\n{long}\nfailures:\n    b\n    c\n\n\
             test result: FAILED. 1 passed\n\nrunning 1 test\ntest d ... ok\n"
        );
        let mut failures = Failures::default();
        for line in output.lines() {
            failures.read(line);
        }
        let mut told =
            vec!["---- b stdout ----", "thread 'b' panicked at b.rs:1:1:", "why", "---- c stdout ----"];
        told.extend(vec!["x"; LINES_OF_A_FAILURE - 1]);
        assert_eq!(failures.told, told);
    }
}
