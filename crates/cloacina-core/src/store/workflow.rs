//! Workflows as they are described for processes that do not have their code.

use jiff::Timestamp;

use super::WorkflowKey;

/// The largest description that is kept, or read, in bytes. That of a workflow of a few thousand tasks fits.
pub const LARGEST_DESCRIPTION: usize = 1 << 20;

/// The most versions of workflows that are listed.
pub const MOST_WORKFLOWS: usize = 10_000;

/// A version of a workflow that a process has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedWorkflow {
    /// Which.
    pub key: WorkflowKey,
    /// Its version, if it was given one.
    pub version: Option<String>,
    /// What it looks like, as JSON; `None` if that is too large.
    pub description: Option<String>,
}

/// A version of a workflow that some process had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownWorkflow {
    /// Which.
    pub key: WorkflowKey,
    /// Its version, if it was given one.
    pub version: Option<String>,
    /// When a process first had it.
    pub first_seen: Timestamp,
}
