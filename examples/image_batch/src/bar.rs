//! How far a batch is, on the terminal.

use std::io::{IsTerminal as _, Write as _};

use cloacina::Progress;

const WIDTH: u64 = 44;

/// A bar that is drawn over and over; lines, if it goes to a file or another program.
pub(crate) struct Bar {
    is_terminal: bool,
    said: Option<u64>,
}

impl Bar {
    pub(crate) fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), said: None }
    }

    pub(crate) fn show(&mut self, map: &Progress) -> std::io::Result<()> {
        let done = map.completed + map.failed;
        if self.said.replace(done) == Some(done) {
            return Ok(());
        }
        let mut stderr = std::io::stderr();
        let words = format!("{done} of {} pictures", map.total);
        if !self.is_terminal {
            return writeln!(stderr, "{words}");
        }
        let full = usize::try_from(done * WIDTH / map.total.max(1)).unwrap_or_default();
        let rest = usize::try_from(WIDTH).unwrap_or_default() - full;
        write!(stderr, "\r[{}{}] {words} ", "#".repeat(full), ".".repeat(rest))?;
        stderr.flush()
    }

    /// What is written next begins a line.
    pub(crate) fn end(self) {
        if self.is_terminal && self.said.is_some() {
            eprintln!();
        }
    }
}
