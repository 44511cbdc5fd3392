//! Running cargo.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};

/// A cargo command in the root of the workspace.
pub(crate) struct Cargo {
    command: Command,
}

pub(crate) fn cargo<const N: usize>(arguments: [&str; N]) -> Cargo {
    // The very cargo that runs us, which matters with `cargo +toolchain xtask`.
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
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

    /// With more threads for tests than there are processors: they wait for the disk, a server or a time more than
    /// they compute.
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
