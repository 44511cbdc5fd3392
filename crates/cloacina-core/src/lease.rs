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
