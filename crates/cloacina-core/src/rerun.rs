//! Executions that are run again, from where they failed or from elsewhere.
//!
//! A rerun is a new execution that takes over what is still right of an old one, and runs the rest with the
//! code of this program. The old one stays as it is, and says which execution took its place. See
//! `docs/design/rerun.md`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use crate::context::Context;
use crate::error::{Error, ErrorKind};
use crate::execution::{SkipReason, TaskState};
use crate::id::{ExecutionId, TaskIndex};
use crate::store::{CopiedTask, ExecutionRecord, NewTask, TaskRecord};
use crate::workflow::{Graph, Node, Workflow};

/// From where an execution is run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum From<'a> {
    /// From the tasks that failed, were cancelled or never ran; also those whose failure another task
    /// handled. What completed before is not run again.
    Failed,
    /// From this task, which completed or not, besides what [`Failed`](Self::Failed) says.
    Task(&'a str),
    /// All of it, with new [idempotency tokens](crate::execution::TaskInfo::idempotency_token).
    Start,
}

impl<'a> From<'a> {
    /// As it is stored with a rerun that waits for whoever has the code.
    pub(crate) fn stored(self) -> String {
        match self {
            Self::Failed => "failed".to_owned(),
            Self::Start => "start".to_owned(),
            Self::Task(task) => format!("task/{task}"),
        }
    }

    /// What was stored.
    pub(crate) fn of_stored(stored: &'a str) -> Option<Self> {
        match stored {
            "failed" => Some(Self::Failed),
            "start" => Some(Self::Start),
            other => other.strip_prefix("task/").map(Self::Task),
        }
    }
}

/// What runs executions again.
#[doc(hidden)]
pub trait Reruns: Sized {
    /// What is known of the new execution.
    type Rerun;

    /// Records it.
    fn rerun(
        self,
        of: ExecutionId,
        from: From<'_>,
        input: Option<Context>,
    ) -> impl Future<Output = Result<Self::Rerun, Error>> + Send;
}

/// An execution that is to be run again.
#[must_use = "nothing is recorded before `send`"]
pub struct Rerun<'a, By> {
    by: By,
    of: ExecutionId,
    from: From<'a>,
    input: Option<Context>,
}

impl<'a, By> Rerun<'a, By> {
    pub(crate) fn new(by: By, of: ExecutionId, from: From<'a>) -> Self {
        Self { by, of, from, input: None }
    }

    /// Gives the new execution this input instead of the old one's. What is not run again keeps what it made
    /// of the old one.
    pub fn input(mut self, input: Context) -> Self {
        self.input = Some(input);
        self
    }
}

impl<By: Reruns> Rerun<'_, By> {
    /// Records the new execution. It has the priority and the tags of the old one, but neither its
    /// idempotency key nor its deadline, and signals that nobody took are not copied.
    ///
    /// An execution is rerun once: of two reruns one is refused, and told which execution took the place.
    /// That one can be rerun when it is over.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongState`] if it is not over, was rerun before, or has nothing to be run again;
    /// [`ErrorKind::NotFound`] if there is no such execution, or it is deleted at this moment;
    /// [`ErrorKind::Workflow`] if this program has no such workflow, or it no longer fits what would be
    /// copied: a task is gone, or has other dependencies. The message tells all differences. Also those of
    /// [`Submission::send`](crate::Submission::send).
    pub async fn send(self) -> Result<By::Rerun, Error> {
        let Self { by, of, from, input } = self;
        by.rerun(of, from, input).await
    }
}

impl<By> fmt::Debug for Rerun<'_, By> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The input belongs to the tenant.
        f.debug_struct("Rerun").field("of", &self.of).field("from", &self.from).finish_non_exhaustive()
    }
}

/// What a rerun is made of.
#[derive(Debug)]
pub(crate) struct Plan {
    /// All its tasks.
    pub(crate) tasks: Arc<[NewTask]>,
    /// Those that are over from the beginning.
    pub(crate) copied: Vec<CopiedTask>,
}

/// Why an execution cannot be run again so.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// The workflow has no such task.
    NoSuchTask,
    /// Everything would be copied.
    NothingLeft,
    /// What would be copied does not fit the workflow.
    Differs(Vec<String>),
}

impl Misfit {
    pub(crate) fn into_error(self, of: ExecutionId, tenant: &str, workflow: &str, from: From<'_>) -> Error {
        let of = format!("execution {of} of tenant `{tenant}`");
        let (kind, message) = match (self, from) {
            (Self::NoSuchTask, From::Task(task)) => {
                let task = task.escape_debug();
                let message = format!(
                    "{of} cannot be rerun from task `{task}`, which workflow `{workflow}` does not have"
                );
                (ErrorKind::Workflow, message)
            }
            (Self::NoSuchTask | Self::NothingLeft, _) => {
                let message = format!(
                    "nothing of {of} failed, so there is nothing to be run again: rerun it from a task or from the start"
                );
                (ErrorKind::WrongState, message)
            }
            (Self::Differs(differences), _) => {
                let message = format!(
                    "{of} was not rerun, because workflow `{workflow}` has changed: {}; rerun it from the start, or with the code of before",
                    differences.join("; ")
                );
                (ErrorKind::Workflow, message)
            }
        };
        Error::new(kind, message)
    }
}

/// Works out what is copied and what is run again. `tasks` are those of the workflow as it is now, `before`
/// that which the execution ran, if that is known.
pub(crate) fn plan(
    record: &ExecutionRecord,
    tasks: &[NewTask],
    now: &Workflow,
    before: Option<&Workflow>,
    from: From<'_>,
) -> Result<Plan, Misfit> {
    let positions: HashMap<&str, TaskIndex> = now.nodes().iter().map(Node::id).zip(0..).collect();
    if let From::Task(task) = from
        && !positions.contains_key(task)
    {
        return Err(Misfit::NoSuchTask);
    }
    let copied = match from {
        From::Start => Vec::new(),
        From::Failed | From::Task(_) => {
            let old = Old { rows: &record.tasks, before, now, positions: &positions };
            old.copied(if let From::Task(task) = from { Some(task) } else { None })?
        }
    };
    if copied.len() == now.nodes().len() {
        return Err(Misfit::NothingLeft);
    }
    let is_copied: HashSet<TaskIndex> = copied.iter().map(|copied| copied.task).collect();
    let tasks = (0..).zip(tasks).map(|(position, task)| {
        let dependencies = now.graph().map(|graph| graph.dependencies(position)).unwrap_or_default();
        let over = dependencies.iter().filter(|dependency| is_copied.contains(dependency)).count();
        let over = i16::try_from(over).unwrap_or(i16::MAX);
        NewTask { waiting_on: task.waiting_on - over, ..task.clone() }
    });
    Ok(Plan { tasks: tasks.collect(), copied })
}

/// What an execution came to.
struct Old<'a> {
    rows: &'a [TaskRecord],
    before: Option<&'a Workflow>,
    now: &'a Workflow,
    /// The positions of the tasks of `now`.
    positions: &'a HashMap<&'a str, TaskIndex>,
}

/// Whether what came of a task is right whatever failed elsewhere.
fn is_right(task: &TaskRecord) -> bool {
    task.state == TaskState::Completed
        || (task.state == TaskState::Skipped && task.skip_reason == Some(SkipReason::ByRule))
}

impl Old<'_> {
    /// The tasks that are copied, in the order of the workflow as it is now.
    fn copied(&self, from: Option<&str>) -> Result<Vec<CopiedTask>, Misfit> {
        let again = self.again(from);
        let kept: HashMap<&str, &TaskRecord> = self
            .rows
            .iter()
            .filter(|row| is_right(row) && !again.contains(&*row.name))
            .map(|row| (&*row.name, row))
            .collect();
        let mut differences = Vec::new();
        // In the order of the rows, so that the same is always said.
        for row in self.rows.iter().filter(|row| kept.contains_key(&*row.name)) {
            self.compare(row, &kept, &mut differences);
        }
        if !differences.is_empty() {
            return Err(Misfit::Differs(differences));
        }
        let mut copied: Vec<CopiedTask> = kept
            .values()
            .filter_map(|row| {
                Some(CopiedTask {
                    task: *self.positions.get(&*row.name)?,
                    skipped: row.skip_reason,
                    started_at: row.started_at,
                    finished_at: row.finished_at?,
                    patch: row.patch.clone(),
                })
            })
            .collect();
        copied.sort_unstable_by_key(|copied| copied.task);
        Ok(copied)
    }

    /// The names of the tasks that are run again: what did not come right, and what lies behind it.
    fn again<'b>(&'b self, from: Option<&'b str>) -> HashSet<&'b str> {
        let seeds = self.rows.iter().filter(|row| !is_right(row)).map(|row| &*row.name);
        let seeds: Vec<&str> = seeds.chain(from).collect();
        // Behind it in the graph that was run, if that is known.
        let workflow = self.before.unwrap_or(self.now);
        let mut again: HashSet<&str> = seeds.iter().copied().collect();
        let Ok(graph) = workflow.graph() else { return again };
        let positions: HashMap<&str, TaskIndex> = workflow.nodes().iter().map(Node::id).zip(0..).collect();
        let mut open: Vec<TaskIndex> = seeds.iter().filter_map(|seed| positions.get(seed).copied()).collect();
        while let Some(task) = open.pop() {
            for successor in graph.successors(task) {
                if workflow.node(*successor).is_some_and(|node| again.insert(node.id())) {
                    open.push(*successor);
                }
            }
        }
        again
    }

    /// Adds what keeps a task from being copied.
    fn compare(&self, row: &TaskRecord, kept: &HashMap<&str, &TaskRecord>, differences: &mut Vec<String>) {
        let name = row.name.escape_debug();
        let Some(&position) = self.positions.get(&*row.name) else {
            // The stored name may be of any length.
            let name: String = row.name.chars().take(100).collect();
            differences.push(format!("its task `{}` is gone", name.escape_debug()));
            return;
        };
        let dependencies = names(self.now, position);
        let before = self.before.and_then(|before| {
            let position = (0..).zip(before.nodes()).find(|(_, node)| node.id() == row.name)?.0;
            Some(names(before, position))
        });
        if let Some(before) = before {
            let told = |names: &BTreeSet<&str>, others: &BTreeSet<&str>, what: &str| {
                let names: Vec<String> = names.difference(others).map(|name| format!("`{name}`")).collect();
                (!names.is_empty()).then(|| format!("`{name}` {what} {}", names.join(", ")))
            };
            differences.extend(told(&dependencies, &before, "now depends on"));
            differences.extend(told(&before, &dependencies, "no longer depends on"));
            return;
        }
        for dependency in dependencies {
            match kept.get(dependency) {
                None => differences.push(format!("`{name}` now depends on `{dependency}`, which is new")),
                Some(other) if other.finished_at > row.started_at.or(row.finished_at) => {
                    differences.push(format!(
                        "`{name}` now depends on `{dependency}`, which had not ended when `{name}` began"
                    ));
                }
                Some(_) => {}
            }
        }
    }
}

/// The names of the dependencies of a task.
fn names(workflow: &Workflow, position: TaskIndex) -> BTreeSet<&str> {
    let graph: Option<&Graph> = workflow.graph().ok().map(Arc::as_ref);
    let dependencies = graph.map(|graph| graph.dependencies(position)).unwrap_or_default();
    dependencies.iter().filter_map(|dependency| workflow.node(*dependency).map(Node::id)).collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::execution::ExecutionStatus;
    use crate::store::{ExecutionHeader, WorkflowKey};
    use crate::workflow::{Fingerprint, TaskDefinition};

    /// A workflow of tasks with their dependencies.
    fn workflow(tasks: &[(&str, &[&str])]) -> Workflow {
        let task = |(id, dependencies): &(&str, &[&str])| {
            TaskDefinition::from_async(*id, |context| async { Ok::<_, crate::TaskError>(context) })
                .dependencies(dependencies.iter().copied())
        };
        tasks.iter().map(task).fold(Workflow::builder("w"), |workflow, task| workflow.task(task)).build()
    }

    /// An execution whose tasks ended so, one after the other.
    fn record(tasks: &[(&str, TaskState)]) -> ExecutionRecord {
        let at = |second| Timestamp::from_second(second).unwrap();
        let row = |(second, (name, state)): (i64, &(&str, TaskState))| TaskRecord {
            name: (*name).to_owned(),
            state: *state,
            attempt: 1,
            failures: 0,
            lost: 0,
            runner: None,
            started_at: Some(at(second)),
            finished_at: Some(at(second + 1)),
            patch: Some(format!("{{\"set\":{{\"{name}\":1}}}}").into()),
            error: None,
            skip_reason: (*state == TaskState::Skipped).then_some(SkipReason::UpstreamFailed),
            handled: false,
        };
        let header = ExecutionHeader {
            id: ExecutionId::new(),
            workflow: WorkflowKey { name: "w".into(), fingerprint: Fingerprint(1) },
            status: ExecutionStatus::Failed,
            priority: 5,
            created_at: at(0),
            started_at: Some(at(0)),
            finished_at: Some(at(99)),
            deadline: None,
            error: None,
            rerun_of: None,
            superseded_by: None,
            has_waits: false,
            submitted_by: None,
            tags: Vec::new(),
        };
        ExecutionRecord { header, input: "{}".into(), tasks: (0..).zip(tasks).map(row).collect() }
    }

    /// The names of what is copied, and how many each of the others waits for.
    type Planned = (Vec<String>, Vec<(String, i16)>);

    fn planned(
        record: &ExecutionRecord,
        now: &Workflow,
        before: Option<&Workflow>,
        from: From<'_>,
    ) -> Result<Planned, Misfit> {
        let tasks: Vec<NewTask> = (0..)
            .zip(now.nodes())
            .map(|(position, node)| NewTask {
                name: node.id().to_owned(),
                is_wait: false,
                waiting_on: i16::try_from(now.graph().unwrap().dependencies(position).len()).unwrap(),
            })
            .collect();
        let plan = plan(record, &tasks, now, before, from)?;
        let copied: Vec<TaskIndex> = plan.copied.iter().map(|copied| copied.task).collect();
        let name = |task: &TaskIndex| tasks[*task as usize].name.clone();
        let open = (0..).zip(&*plan.tasks).filter(|(position, _)| !copied.contains(position));
        Ok((
            copied.iter().map(name).collect(),
            open.map(|(_, task)| (task.name.clone(), task.waiting_on)).collect(),
        ))
    }

    fn differs(misfit: Result<Planned, Misfit>) -> String {
        match misfit {
            Err(Misfit::Differs(differences)) => differences.join("; "),
            other => panic!("it fits: {other:?}"),
        }
    }

    const DIAMOND: &[(&str, &[&str])] =
        &[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"]), ("e", &["b"])];

    use TaskState::{Cancelled, Completed, Failed, Skipped};

    #[test]
    fn from_where_goes_round_as_text() {
        for from in [From::Failed, From::Start, From::Task("start"), From::Task(""), From::Task("a/b")] {
            assert_eq!(From::of_stored(&from.stored()), Some(from));
        }
        assert_eq!(From::of_stored("somewhere"), None);
    }

    #[test]
    fn what_failed_and_what_lies_behind_it_is_run_again_and_the_rest_is_copied() {
        let now = workflow(DIAMOND);
        let record =
            record(&[("a", Completed), ("b", Completed), ("c", Failed), ("d", Skipped), ("e", Completed)]);
        for before in [None, Some(&now)] {
            let (copied, open) = planned(&record, &now, before, From::Failed).unwrap();
            assert_eq!(copied, ["a", "b", "e"]);
            assert_eq!(open, [("c".to_owned(), 0), ("d".to_owned(), 1)]);
        }
        let (copied, open) = planned(&record, &now, None, From::Task("b")).unwrap();
        assert_eq!(copied, ["a"]);
        assert_eq!(open.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [0, 0, 2, 1]);
        let (copied, open) = planned(&record, &now, None, From::Start).unwrap();
        assert_eq!((copied.len(), open.len()), (0, 5));
    }

    #[test]
    fn a_task_that_ran_because_another_failed_is_run_again_with_it() {
        let now = workflow(&[("a", &[]), ("mends", &["a"]), ("other", &[])]);
        let record = record(&[("a", Failed), ("mends", Completed), ("other", Completed)]);
        assert_eq!(planned(&record, &now, None, From::Failed).unwrap().0, ["other"]);
    }

    #[test]
    fn what_its_rule_skipped_is_copied_and_what_was_cancelled_is_not() {
        let now = workflow(&[("a", &[]), ("b", &[]), ("c", &[])]);
        let mut record = record(&[("a", Skipped), ("b", Cancelled), ("c", Completed)]);
        record.tasks[0].skip_reason = Some(SkipReason::ByRule);
        assert_eq!(planned(&record, &now, None, From::Failed).unwrap().0, ["a", "c"]);
    }

    #[test]
    fn an_execution_without_tasks_is_run_from_its_start() {
        let now = workflow(DIAMOND);
        assert_eq!(planned(&record(&[]), &now, None, From::Failed).unwrap().1.len(), 5);
    }

    #[test]
    fn where_nothing_is_left_to_be_run_that_is_said() {
        let now = workflow(&[("a", &[]), ("b", &["a"])]);
        let record = record(&[("a", Completed), ("b", Completed)]);
        assert_eq!(planned(&record, &now, None, From::Failed), Err(Misfit::NothingLeft));
        assert_eq!(planned(&record, &now, None, From::Task("x")), Err(Misfit::NoSuchTask));
        assert_eq!(planned(&record, &now, None, From::Task("b")).unwrap().0, ["a"]);
    }

    #[test]
    fn a_task_that_was_added_behind_what_failed_does_no_harm() {
        let now = workflow(&[("new", &["b"]), ("b", &["a"]), ("a", &[])]);
        let record = record(&[("a", Completed), ("b", Failed)]);
        let (copied, open) = planned(&record, &now, None, From::Failed).unwrap();
        assert_eq!((copied, open), (vec!["a".to_owned()], vec![("new".to_owned(), 1), ("b".to_owned(), 0)]));
    }

    #[test]
    fn what_no_longer_fits_is_told_completely() {
        let before = workflow(&[("a", &[]), ("gone", &["a"]), ("b", &["gone"]), ("c", &["b"])]);
        let record = record(&[("a", Completed), ("gone", Completed), ("b", Completed), ("c", Failed)]);
        let now = workflow(&[("a", &[]), ("new", &["a"]), ("b", &["new"]), ("c", &["b"])]);
        assert_eq!(
            differs(planned(&record, &now, None, From::Failed)),
            "its task `gone` is gone; `b` now depends on `new`, which is new"
        );
        assert_eq!(
            differs(planned(&record, &now, Some(&before), From::Failed)),
            "its task `gone` is gone; `b` now depends on `new`; `b` no longer depends on `gone`"
        );
        let late = workflow(&[("a", &["gone"]), ("gone", &[]), ("b", &["gone"]), ("c", &["b"])]);
        assert_eq!(
            differs(planned(&record, &late, None, From::Failed)),
            "`a` now depends on `gone`, which had not ended when `a` began"
        );
        assert_eq!(
            planned(&record, &now, None, From::Start).unwrap().1.len(),
            4,
            "from the start anything fits"
        );
    }
}
