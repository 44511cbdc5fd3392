//! What the log says of attempts and executions that failed, and of executions that were closed.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, error, warn};

use super::kernel::{Report, Short};
use super::place::OpenPlace;
use super::shared::{Audit, Hub};
use super::timers::Timer;
use crate::execution::{ExecutionStatus, TaskState};
use crate::id::{ExecutionId, TaskIndex};
use crate::meters::count_ended;
use crate::store::{Controlled, ExecutionRecord};
use crate::workflow::{Node, Workflow};

/// The id of a node, which was there when it was reported.
fn node_id(workflow: &Workflow, node: TaskIndex) -> &str {
    workflow.node(node).map_or("", Node::id)
}

impl Hub {
    pub(super) fn say(self: &Arc<Self>, place: &Arc<OpenPlace>, reports: Vec<Report>) {
        let tenant = &place.place.name;
        for report in reports {
            match report {
                Report::Attempt { workflow, execution, task, attempt, error, after: Some(after) } => {
                    let (workflow, task) = (workflow.name(), node_id(&workflow, task));
                    warn!(
                        tenant, workflow, %execution, task, attempt, error, again_in = ?after,
                        "an attempt failed; the task is tried again"
                    );
                }
                Report::Attempt { workflow, execution, task, attempt, error, after: None } => {
                    let (workflow, task) = (workflow.name(), node_id(&workflow, task));
                    debug!(
                        tenant, workflow, %execution, task, attempt, error,
                        "an attempt failed; the task is not tried again"
                    );
                }
                Report::Failure { workflow, execution, task, error } => {
                    let task = node_id(&workflow, task);
                    say_failure(tenant, workflow.name(), execution, task, &error);
                }
                Report::Unread(execution) => {
                    self.spawn(Arc::clone(self).say_failures(Arc::clone(place), vec![execution]));
                }
            }
        }
    }

    /// Reads why executions failed, and says it.
    pub(super) async fn say_failures(self: Arc<Self>, place: Arc<OpenPlace>, executions: Vec<ExecutionId>) {
        let read = {
            let _turn = self.turn_in(&place).await;
            self.store.execution_load(&place.place, &executions).await
        };
        match read {
            Ok(records) => records.iter().for_each(|record| say_stored_failure(&place, record)),
            Err(error) => {
                let tenant = &place.place.name;
                for execution in executions {
                    error!(tenant, %execution, "an execution failed for good; failed to read why: {error}");
                }
            }
        }
    }

    /// An execution was cancelled, paused or resumed by this process.
    pub(crate) fn controlled(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        execution: ExecutionId,
        resumed: bool,
        done: Controlled,
    ) {
        let concerned = {
            let mut state = place.state();
            if resumed {
                state.claiming.note_any();
            }
            state.work.live.contains_key(&execution) || state.waiters.contains(execution)
        };
        self.note_ended(place, execution, done);
        if concerned {
            self.request_audit(Audit::Execution(Arc::clone(place), execution));
        }
        if resumed {
            self.look(place);
        }
    }

    /// An execution was cancelled, paused or resumed; if that ended it, it is counted, and a failure is said.
    pub(super) fn note_ended(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        execution: ExecutionId,
        done: Controlled,
    ) {
        let Controlled::Done(status) = done else { return };
        if !status.is_terminal() {
            return;
        }
        let may_be_related = !place.state().work.related(std::iter::once(execution)).is_empty();
        if may_be_related {
            // Its schedule may wait for its end.
            self.set_timer(place.place.tenant, Timer::Due, Duration::ZERO);
        }
        place.queue.left(1);
        count_ended(status, 1);
        if status == ExecutionStatus::Failed {
            self.spawn(Arc::clone(self).say_failures(Arc::clone(place), vec![execution]));
        }
    }

    /// Counts executions that were closed, and says which of them failed. How they ended has to be read.
    pub(super) async fn note_closed(self: Arc<Self>, place: Arc<OpenPlace>, executions: Vec<ExecutionId>) {
        self.set_timer(place.place.tenant, Timer::Due, Duration::ZERO);
        let headers = {
            let _turn = self.turn_in(&place).await;
            self.store.execution_headers(&place.place, &executions).await
        };
        let headers = match headers {
            Ok(headers) => headers,
            Err(error) => {
                debug!(tenant = place.place.name, %error, "failed to read how executions ended that were closed");
                return;
            }
        };
        headers.iter().for_each(|header| count_ended(header.status, 1));
        let failed = headers.iter().filter(|header| header.status == ExecutionStatus::Failed);
        let failed: Vec<ExecutionId> = failed.map(|header| header.id).collect();
        if !failed.is_empty() {
            self.say_failures(place, failed).await;
        }
    }
}

fn say_failure(tenant: &str, workflow: &str, execution: ExecutionId, task: &str, error: &str) {
    error!(tenant, workflow, %execution, task, error, "an execution failed for good");
}

/// What is stored was perhaps written by a tenant.
fn say_stored_failure(place: &OpenPlace, record: &ExecutionRecord) {
    let failed = record.tasks.iter().find(|task| task.state == TaskState::Failed && !task.handled);
    let (task, error) = match failed {
        Some(task) => (task.name.as_str(), task.error.as_deref()),
        None => ("", record.header.error.as_deref()),
    };
    let shown = |text: &str| Short(text).to_string();
    let workflow = shown(&record.header.workflow.name);
    say_failure(
        &place.place.name,
        &workflow,
        record.header.id,
        &shown(task),
        &shown(error.unwrap_or_default()),
    );
}
