//! Who is alive: leases, heartbeats and rescue.

/// What tells one operating-system process from every other one that ever ran on this host.
///
/// Two processes can only be compared if [`host`](Self::host) is the same: it stands for the boot of the machine and for the
/// namespace that process ids are counted in, so a container never mistakes another's process for one of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// The boot and the process-id namespace.
    pub host: String,
    /// The process id.
    pub pid: i32,
    /// When the process was started, in clock ticks since the boot; a process id that was used again has another.
    pub started: i64,
}

impl ProcessIdentity {
    /// This process; `None` where the system does not tell (anything but Linux with `/proc`).
    #[must_use]
    pub fn current() -> Option<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
        let pid = std::process::id().cast_signed();
        let started = started_at(pid)?;
        Some(Self { host: format!("{} {}", boot.trim(), namespace.display()), pid, started })
    }

    /// Whether this process has certainly ended. False where that cannot be told from here.
    #[must_use]
    pub fn is_gone(&self, here: &Self) -> bool {
        self.host == here.host && started_at(self.pid) != Some(self.started)
    }
}

/// When a living process was started, in clock ticks since the boot: field 22 of `/proc/<pid>/stat`
/// (see proc_pid_stat(5)). A zombie does not live.
fn started_at(pid: i32) -> Option<i64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses, and may itself contain blanks and parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_process_is_not_gone_and_an_ended_one_is() {
        let here = ProcessIdentity::current().unwrap();
        assert!(!here.is_gone(&here));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id().cast_signed();
        let other = ProcessIdentity { pid, started: started_at(pid).unwrap(), ..here.clone() };
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
