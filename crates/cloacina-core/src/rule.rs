//! Trigger rules: whether a task runs, once all its dependencies are over.

use serde::{Deserialize, Serialize};

use crate::execution::{SkipReason, TaskState};

/// What the dependencies of a task must have come to for it to run.
///
/// A rule is decided when *all* dependencies are over. A dependency *succeeded* if it completed, *failed* if
/// it failed or was skipped because something before it failed, and was *skipped* if its own rule said so.
///
/// | dependencies | `all_success` | `all_done` | `any_success` | `any_failed` | `none_failed` |
/// |---|---|---|---|---|---|
/// | none (a root) | run | run | run | run | run |
/// | succeeded, succeeded | run | run | run | skip | run |
/// | succeeded, failed | skip* | run | run | run | skip* |
/// | succeeded, skipped | skip | run | run | skip | run |
/// | failed, failed | skip* | run | skip* | run | skip* |
/// | failed, skipped | skip* | run | skip* | run | skip* |
/// | skipped, skipped | skip | run | skip | skip | run |
///
/// `skip*` is a skip with the reason `upstream_failed`, which counts as failed for the tasks behind it; the
/// others have the reason `by_rule`.
///
/// An execution fails if a task failed, unless a task that completed has the failed one as a dependency under
/// `any_failed`: it *handles* the failure. `all_done` never does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TriggerRule {
    /// Every dependency succeeded. The default.
    #[default]
    AllSuccess,
    /// Every dependency is over, however it ended.
    AllDone,
    /// At least one succeeded.
    AnySuccess,
    /// At least one failed.
    AnyFailed,
    /// None failed; skipped ones are fine.
    NoneFailed,
}

impl TriggerRule {
    /// The name in the fingerprint of a workflow and in `rule = …`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AllSuccess => "all_success",
            Self::AllDone => "all_done",
            Self::AnySuccess => "any_success",
            Self::AnyFailed => "any_failed",
            Self::NoneFailed => "none_failed",
        }
    }

    /// Whether a completed task under this rule handles the failure of its dependencies.
    pub(crate) fn handles_failures(self) -> bool {
        matches!(self, Self::AnyFailed)
    }

    /// `Ok` if the task runs, otherwise why it is skipped. All `dependencies` must be terminal.
    pub(crate) fn decide(self, dependencies: &[(TaskState, Option<SkipReason>)]) -> Result<(), SkipReason> {
        if dependencies.is_empty() {
            return Ok(());
        }
        let succeeded = |(state, _): &(TaskState, _)| *state == TaskState::Completed;
        let failed = |(state, reason): &(TaskState, Option<SkipReason>)| {
            *state == TaskState::Failed || *reason == Some(SkipReason::UpstreamFailed)
        };
        let any_failed = dependencies.iter().any(failed);
        let runs = match self {
            Self::AllSuccess => dependencies.iter().all(succeeded),
            Self::AllDone => true,
            Self::AnySuccess => dependencies.iter().any(succeeded),
            Self::AnyFailed => any_failed,
            Self::NoneFailed => !any_failed,
        };
        match (runs, any_failed) {
            (true, _) => Ok(()),
            (false, true) => Err(SkipReason::UpstreamFailed),
            (false, false) => Err(SkipReason::ByRule),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_decides_as_its_table_says() {
        let ok = (TaskState::Completed, None);
        let bad = (TaskState::Failed, None);
        let upstream = (TaskState::Skipped, Some(SkipReason::UpstreamFailed));
        let skipped = (TaskState::Skipped, Some(SkipReason::ByRule));
        let (run, by_rule, because) = (Ok(()), Err(SkipReason::ByRule), Err(SkipReason::UpstreamFailed));
        let rules = [
            TriggerRule::AllSuccess,
            TriggerRule::AllDone,
            TriggerRule::AnySuccess,
            TriggerRule::AnyFailed,
            TriggerRule::NoneFailed,
        ];
        let table: [(&[_], [_; 5]); 9] = [
            (&[], [run, run, run, run, run]),
            (&[ok, ok], [run, run, run, by_rule, run]),
            (&[ok, bad], [because, run, run, run, because]),
            (&[ok, upstream], [because, run, run, run, because]),
            (&[ok, skipped], [by_rule, run, run, by_rule, run]),
            (&[bad, bad], [because, run, because, run, because]),
            (&[bad, skipped], [because, run, because, run, because]),
            (&[upstream, skipped], [because, run, because, run, because]),
            (&[skipped, skipped], [by_rule, run, by_rule, by_rule, run]),
        ];
        for (dependencies, expected) in table {
            for (rule, expected) in rules.into_iter().zip(expected) {
                assert_eq!(rule.decide(dependencies), expected, "{rule:?} over {dependencies:?}");
            }
        }
    }
}
