//! What tasks say about themselves while they run, in the order in which it happened.
//!
//! A line is one write to a file that is opened for appending: it is whole whatever happens to the process
//! afterwards, and the lines of several processes stand in the order of their writes. A process that is
//! killed within the write leaves the beginning of a line, without its end mark: what it would have said did
//! not happen. A test that starts no processes keeps its lines in memory.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{LazyLock, Mutex};

use uuid::Uuid;

/// The variable that names the file to a child.
pub(crate) const FILE: &str = "CLOACINA_CRASH_JOURNAL";

const END: char = ';';

static SINK: LazyLock<Mutex<Sink>> = LazyLock::new(|| {
    Mutex::new(match std::env::var_os(FILE) {
        Some(path) => {
            Sink::File(OpenOptions::new().append(true).create(true).open(path).expect("the journal opens"))
        }
        None => Sink::Memory(Vec::new()),
    })
});

enum Sink {
    File(File),
    Memory(Vec<Event>),
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// An attempt began, and saw the keys of so many tasks in its context.
    Start { execution: Uuid, task: String, attempt: u32, pid: u32, saw: usize },
    /// It is about to return what it did.
    End { execution: Uuid, task: String, attempt: u32, pid: u32 },
    /// It is about to return an error.
    Fail { execution: Uuid, task: String, attempt: u32, pid: u32 },
    /// The engine said that an execution is recorded.
    Acknowledged { execution: Uuid },
    /// The engine said that an execution is completed.
    Completed { execution: Uuid },
}

impl Event {
    pub(crate) fn execution(&self) -> Uuid {
        match self {
            Self::Start { execution, .. }
            | Self::End { execution, .. }
            | Self::Fail { execution, .. }
            | Self::Acknowledged { execution }
            | Self::Completed { execution } => *execution,
        }
    }

    fn line(&self) -> String {
        match self {
            Self::Start { execution, task, attempt, pid, saw } => {
                format!("start {execution} {task} {attempt} {pid} {saw}")
            }
            Self::End { execution, task, attempt, pid } => {
                format!("end {execution} {task} {attempt} {pid}")
            }
            Self::Fail { execution, task, attempt, pid } => {
                format!("fail {execution} {task} {attempt} {pid}")
            }
            Self::Acknowledged { execution } => format!("acknowledged {execution}"),
            Self::Completed { execution } => format!("completed {execution}"),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let kind = words.next()?;
        let execution: Uuid = words.next()?.parse().ok()?;
        match kind {
            "acknowledged" => return Some(Self::Acknowledged { execution }),
            "completed" => return Some(Self::Completed { execution }),
            _ => {}
        }
        let task = words.next()?.to_owned();
        let attempt = words.next()?.parse().ok()?;
        let pid = words.next()?.parse().ok()?;
        match kind {
            "start" => Some(Self::Start { execution, task, attempt, pid, saw: words.next()?.parse().ok()? }),
            "end" => Some(Self::End { execution, task, attempt, pid }),
            "fail" => Some(Self::Fail { execution, task, attempt, pid }),
            _ => None,
        }
    }
}

/// Notes an event.
pub(crate) fn note(event: Event) {
    match &mut *SINK.lock().unwrap() {
        Sink::File(file) => {
            // The line before it may have been cut short.
            let line = format!("\n{}{END}\n", event.line());
            file.write_all(line.as_bytes()).expect("the journal is written");
        }
        Sink::Memory(events) => events.push(event),
    }
}

/// What was noted in this process of these executions.
pub(crate) fn noted(executions: &HashSet<Uuid>) -> Vec<Event> {
    match &*SINK.lock().unwrap() {
        Sink::File(_) => panic!("a child's journal is read by its parent"),
        Sink::Memory(events) => {
            events.iter().filter(|event| executions.contains(&event.execution())).cloned().collect()
        }
    }
}

/// What children have noted in a file.
pub(crate) fn read(path: &Path) -> Vec<Event> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => panic!("the journal {} cannot be read: {error}", path.display()),
    };
    text.lines()
        .filter_map(|line| line.strip_suffix(END))
        .map(|line| Event::parse(line).unwrap_or_else(|| panic!("a line that makes no sense: {line}")))
        .collect()
}
