//! Who is alive: leases, heartbeats and rescue.

/// What tells one operating-system process from every other one that ever ran on this host.
///
/// Two processes can only be compared if [`host`](Self::host) is the same: it stands for the boot of the
/// machine and for the namespaces that process ids and the time since the boot are counted in, so a container
/// never mistakes another's process for one of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// The boot and the namespaces.
    pub host: String,
    /// The process id.
    pub pid: i32,
    /// When the process was started, in clock ticks since the boot; a process id that was used again has
    /// another.
    pub started: i64,
}

impl ProcessIdentity {
    /// This process; `None` where the system does not tell (anything but Linux with `/proc`), or where
    /// `/proc` is that of another namespace.
    #[must_use]
    pub fn current() -> Option<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let pids = std::fs::read_link("/proc/self/ns/pid").ok()?;
        // Of a kernel that has no such namespaces there is only one.
        let times = std::fs::read_link("/proc/self/ns/time").unwrap_or_default();
        let pid = std::process::id().cast_signed();
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        if stat.split_ascii_whitespace().next()?.parse() != Ok(pid) {
            return None;
        }
        let Seen::Alive { started } = seen(&stat)? else { return None };
        Some(Self { host: format!("{} {} {}", boot.trim(), pids.display(), times.display()), pid, started })
    }

    /// Whether this process has certainly ended. False where that cannot be told from here.
    #[must_use]
    pub fn is_gone(&self, here: &Self) -> bool {
        self.host == here.host
            && is_proven_gone(self, stat_of(self.pid).as_deref(), || is_no_process(self.pid))
    }
}

/// The longest name of a host that is recorded, in characters.
const HOST_NAME: usize = 255;

/// What people call this host; `None` where the system does not tell. It identifies nothing: two hosts may
/// have one name.
#[must_use]
pub fn host_name() -> Option<String> {
    let name: String =
        std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?.trim().chars().take(HOST_NAME).collect();
    (!name.is_empty()).then_some(name)
}

/// What `/proc` tells of a process that it knows.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Alive { started: i64 },
    Ended,
}

/// Only what was seen is a proof. That `/proc/<pid>` cannot be read is none: it may hide the processes of
/// other users (`hidepid`, `ProtectProc`), or this process may have no file descriptor left. Then the system
/// is asked whether anybody has the process id.
fn is_proven_gone(process: &ProcessIdentity, stat: Option<&str>, is_no_process: impl Fn() -> bool) -> bool {
    match stat.and_then(seen) {
        Some(Seen::Alive { started }) => started != process.started,
        Some(Seen::Ended) => true,
        None => is_no_process(),
    }
}

fn stat_of(pid: i32) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()
}

/// Whether no process has this id. One that we may not send a signal to has it as well.
#[cfg(target_os = "linux")]
fn is_no_process(pid: i32) -> bool {
    rustix::process::Pid::from_raw(pid)
        .is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

#[cfg(not(target_os = "linux"))]
fn is_no_process(_: i32) -> bool {
    false
}

/// What a line of `/proc/<pid>/stat` says (see proc_pid_stat(5)): field 3 is the state, 20 the number of
/// threads, 22 the time of the start.
fn seen(stat: &str) -> Option<Seen> {
    // The second field is the name in parentheses, and may itself contain blanks and parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let threads: u32 = fields.nth(16)?.parse().ok()?;
    let started = fields.nth(1)?.parse().ok()?;
    // The first thread may have ended before the others.
    Some(if matches!(state, "Z" | "X") && threads <= 1 { Seen::Ended } else { Seen::Alive { started } })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which part the other process plays, and of whom it speaks.
    const OTHER: &str = "CLOACINA_TEST_PROCESS";

    fn started_at(pid: i32) -> i64 {
        match seen(&stat_of(pid).unwrap()).unwrap() {
            Seen::Alive { started } => started,
            Seen::Ended => panic!("it has ended"),
        }
    }

    fn process(started: i64) -> ProcessIdentity {
        ProcessIdentity { host: "here".into(), pid: 7, started }
    }

    fn stat(state: &str, threads: u32, started: i64) -> Option<String> {
        Some(format!(
            "7 (a) b) {state} 1 7 7 0 -1 4194304 100 0 0 0 1 2 0 0 20 0 {threads} 0 {started} 9 9\n"
        ))
    }

    #[test]
    fn only_a_proof_counts() {
        let is_gone = |stat: Option<String>, is_no_process| {
            is_proven_gone(&process(5), stat.as_deref(), || is_no_process)
        };
        assert!(!is_gone(stat("S", 1, 5), true));
        assert!(is_gone(stat("S", 1, 6), false));
        assert!(is_gone(stat("Z", 1, 5), false));
        assert!(!is_gone(stat("Z", 2, 5), false));
        // Hidden from us, or we could not look.
        assert!(!is_gone(None, false));
        assert!(!is_gone(Some("nonsense".into()), false));
        assert!(is_gone(None, true));
    }

    #[test]
    fn a_process_that_has_no_file_descriptor_left_declares_nobody_dead() {
        if let Ok(parent) = std::env::var(OTHER) {
            let here = ProcessIdentity::current().unwrap();
            let (pid, started) = parent.split_once(' ').unwrap();
            let parent = ProcessIdentity {
                pid: pid.parse().unwrap(),
                started: started.parse().unwrap(),
                host: here.host.clone(),
            };
            let files = rustix::process::Resource::Nofile;
            let none = rustix::process::Rlimit { current: Some(0), ..rustix::process::getrlimit(files) };
            rustix::process::setrlimit(files, none).unwrap();
            assert!(std::fs::File::open("/proc/self/stat").is_err());
            assert!(!parent.is_gone(&here));
            let nobody = ProcessIdentity { pid: i32::MAX, ..parent };
            assert!(nobody.is_gone(&here));
            return;
        }
        let here = ProcessIdentity::current().unwrap();
        let test = "lease::tests::a_process_that_has_no_file_descriptor_left_declares_nobody_dead";
        let other = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--test-threads", "1"])
            .env(OTHER, format!("{} {}", here.pid, here.started))
            .output()
            .unwrap();
        assert!(other.status.success(), "{}", String::from_utf8_lossy(&other.stdout));
    }

    #[test]
    fn a_living_process_is_not_gone_and_an_ended_one_is() {
        let here = ProcessIdentity::current().unwrap();
        assert!(!here.is_gone(&here));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id().cast_signed();
        let other = ProcessIdentity { pid, started: started_at(pid), ..here.clone() };
        assert!(!other.is_gone(&here));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(other.is_gone(&here));
    }

    #[test]
    fn a_process_id_that_was_used_again_is_another_process() {
        let here = ProcessIdentity::current().unwrap();
        let before = ProcessIdentity { started: here.started - 1, ..here.clone() };
        assert!(before.is_gone(&here));
    }

    #[test]
    fn nothing_is_said_of_processes_elsewhere() {
        let here = ProcessIdentity::current().unwrap();
        let elsewhere = ProcessIdentity { host: "another boot".into(), pid: i32::MAX, started: 0 };
        assert!(!elsewhere.is_gone(&here));
    }
}
