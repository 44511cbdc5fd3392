//! The states of executions and tasks.
//!
//! ```text
//! execution   Pending ──► Running ◄──► Waiting, and from Running ──► Completed | Failed
//!                │  ▲        │  ▲        │
//!                ▼  │        ▼  │        │
//!                Paused ◄────────◄───────┘   and from every unfinished state ──► Cancelled
//!
//! task        pending ──► ready ──► running ──► completed | failed
//!                │          │  ▲       │
//!                │          │  └───────┘   retry, rescue, release
//!                └──────────┴──► skipped         and from every unfinished state ──► cancelled
//!
//! wait        pending ──► waiting ──► completed | failed | skipped
//! ```
//!
//! Every write names the state it comes from. A write that finds another state changes nothing and says so.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name in the database.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl FromStr for $name {
            type Err = UnknownState;

            fn from_str(text: &str) -> Result<Self, UnknownState> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(UnknownState { what: stringify!($name), text: text.to_owned() }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// A text that names no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}")]
pub struct UnknownState {
    what: &'static str,
    text: String,
}

states! {
    /// The state of an execution.
    ExecutionStatus {
        /// Recorded; none of its tasks has been claimed.
        Pending = "pending",
        /// At least one task has been claimed.
        Running = "running",
        /// None of its tasks runs or is ready: it waits for a time, or for a signal.
        Waiting = "waiting",
        /// None of its tasks is claimed until it is resumed.
        Paused = "paused",
        /// Every task is over, and no failure was left unhandled.
        Completed = "completed",
        /// Every task is over, and a failed one was not handled.
        Failed = "failed",
        /// Ended by `cancel` or by its deadline.
        Cancelled = "cancelled",
    }
}

impl ExecutionStatus {
    /// Whether the execution completed.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Completed
    }

    /// Whether the execution is over and will not change again.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

states! {
    /// The state of a task of an execution.
    TaskState {
        /// Some dependency is not over.
        Pending = "pending",
        /// Of a wait: it waits for its time, or for a signal.
        Waiting = "waiting",
        /// May be claimed, at its due time.
        Ready = "ready",
        /// Claimed by a runner.
        Running = "running",
        /// Ended well.
        Completed = "completed",
        /// Ended badly, with no attempt left.
        Failed = "failed",
        /// Its trigger rule said not to run it.
        Skipped = "skipped",
        /// Its execution was cancelled before it ended.
        Cancelled = "cancelled",
    }
}

impl TaskState {
    /// Whether the task is over.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Skipped | Self::Cancelled)
    }
}

states! {
    /// Why a task was skipped.
    SkipReason {
        /// Its rule was not met, and nothing before it failed.
        ByRule = "by_rule",
        /// Something before it failed.
        UpstreamFailed = "upstream_failed",
    }
}

states! {
    /// How an attempt of a task ended.
    AttemptOutcome {
        /// It returned its context.
        Completed = "completed",
        /// It returned an error.
        Failed = "failed",
        /// It panicked.
        Panicked = "panicked",
        /// It ran longer than the task's timeout.
        TimedOut = "timed_out",
        /// It said that it was too early, which is no failure.
        Snoozed = "snoozed",
        /// Its runner died.
        Lost = "lost",
        /// Its runner gave it back unfinished, shutting down.
        Released = "released",
        /// Its execution was cancelled.
        Cancelled = "cancelled",
        /// It has not ended.
        Running = "running",
    }
}
