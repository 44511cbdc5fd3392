//! What becomes of tasks that are held: they run, are skipped, have been lost too often, or wait until their
//! execution is read.

use std::sync::Arc;

use super::super::place::PlaceState;
use super::effects::{Effects, Run, Start};
use crate::execution::AttemptOutcome;
use crate::id::ExecutionId;
use crate::store::TaskOutcome;
use crate::workflow::{Node, TaskTimeout};

/// What becomes of one task.
enum Next {
    Run(Run),
    End(Start, TaskOutcome),
    Load(Start),
    /// Its execution cannot be run as it is stored.
    Abandon(ExecutionId, String),
}

impl PlaceState {
    /// Decides for every task that is held and not started yet what becomes of it.
    pub(super) fn plan(&mut self, starts: Vec<Start>, effects: &mut Effects) {
        for start in starts {
            match self.next(start) {
                Next::Run(run) => effects.runs.push(run),
                Next::End(start, outcome) => effects.ends.push((start, outcome)),
                Next::Load(start) => effects.loads.push(start),
                Next::Abandon(execution, reason) => self.abandon(execution, reason, effects),
            }
        }
    }

    fn next(&self, start: Start) -> Next {
        if !self.standing.is_active() {
            return Next::End(start, TaskOutcome::Released);
        }
        let Some(live) = self.work.live.get(&start.execution) else { return Next::Load(start) };
        if self.forbids(&live.workflow) {
            return Next::Abandon(start.execution, for_the_operator(live.workflow.name()));
        }
        if !live.has(start.task) {
            return Next::Abandon(start.execution, format!("its workflow has no task number {}", start.task));
        }
        let Some(dependencies) = live.dependencies(start.task) else { return Next::Load(start) };
        let settings = &self.handles.settings;
        if start.lost.cast_unsigned() >= settings.max_lost {
            let error = format!(
                "given up: the process that ran it died, or lost its lease, {} times in a row; the task may be what \
                 kills it",
                start.lost
            );
            return Next::End(start, TaskOutcome::Failed { how: AttemptOutcome::Lost, error });
        }
        let Some(definition) = live.workflow.node(start.task).and_then(Node::task) else {
            // Only rows that were written by hand say so.
            return Next::Abandon(
                start.execution,
                format!("its number {} is a wait, which is not run", start.task),
            );
        };
        if let Err(reason) = definition.rule.decide(&dependencies) {
            return Next::End(start, TaskOutcome::Skipped { reason });
        }
        let (input, patches) = live.context_of(start.task);
        let held = self.work.held(start.execution, start.task);
        Next::Run(Run {
            workflow: self.handles.workflows.to_run(&live.workflow),
            input,
            patches,
            origin: live.origin.clone(),
            created_at: live.created_at,
            has_waited: live.has_waited(),
            stop: held.map(|held| Arc::clone(&held.stop)).unwrap_or_default(),
            timeout: match definition.timeout {
                TaskTimeout::Default => settings.task_timeout,
                TaskTimeout::Never => None,
                TaskTimeout::After(timeout) => Some(timeout),
            },
            grace: settings.cancel_grace,
            runtime: self.handles.executors.last().map(|(_, runtime)| runtime.clone()),
            start,
        })
    }

    /// Gives up what is held of an execution that cannot be run as it is stored, and has it cancelled.
    pub(crate) fn abandon(&mut self, execution: ExecutionId, reason: String, effects: &mut Effects) {
        self.drop_held(execution, |_, _| true, effects);
        // Otherwise it is being cancelled, or was.
        if self.work.give_up(execution) {
            effects.abandoned.push((execution, reason));
        }
    }
}

/// Why an execution is not run in the place of a tenant that can write executions itself.
pub(super) fn for_the_operator(workflow: &str) -> String {
    format!("workflow `{workflow}` is for the operator only, and this tenant has a database login of its own")
}
