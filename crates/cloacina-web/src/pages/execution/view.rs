//! What the page of an execution shows, as plain values.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use cloacina::{
    AttemptOutcome, AttemptRecord, Child, ExecutionStatus, Progress, SkipReason, TaskKind, TaskState,
    Timestamp, Uuid, Waiting, WorkflowDescription,
};

use super::read::Read;
use crate::pages::diff::{self, Line, Values};
use crate::pages::graph::Node;
use crate::pages::layout::Frame;
use crate::pages::parts::state::{self, Look};
use crate::pages::parts::text;
use crate::pages::timeline::{self, Axis, Mark};
use crate::pages::waiting;

/// How many tasks stand on a page.
const TASKS: usize = 25;
/// How many attempts are drawn on a page.
const MARKS: usize = 480;
/// How many attempts that did not end well stand on a page.
const TROUBLES: usize = 10;
/// How many attempts stand on a page.
const ATTEMPTS: usize = 15;

/// An execution as it is shown.
#[derive(Debug)]
pub(super) struct View {
    pub(super) id: Uuid,
    pub(super) tenant: String,
    pub(super) workflow: String,
    pub(super) status: ExecutionStatus,
    pub(super) look: Look,
    pub(super) summary: String,
    pub(super) error: Option<String>,
    pub(super) waits: Vec<Wait>,
    pub(super) nodes: Vec<Node>,
    pub(super) has_edges: bool,
    pub(super) axis: Axis,
    pub(super) tasks: Vec<Task>,
    /// The ids of all tasks, for a rerun from one of them.
    pub(super) ids: Vec<String>,
    pub(super) task_pages: Pages,
    pub(super) troubles: Vec<Trouble>,
    pub(super) trouble_pages: Pages,
    /// All attempts, if they are asked for.
    pub(super) attempts: Vec<Trouble>,
    pub(super) attempt_pages: Pages,
    pub(super) changes: Vec<Changed>,
    /// Which of the changes is shown.
    pub(super) shown: Option<usize>,
    pub(super) context: Values,
    pub(super) input: Values,
    pub(super) whole: Whole,
    pub(super) maps: Vec<Map>,
    pub(super) children: Vec<Child>,
    pub(super) facts: Facts,
    pub(super) sees_payloads: bool,
    pub(super) now: Timestamp,
}

/// Which whole context is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    None,
    Context,
    Input,
}

/// Which page of a list is shown, from 0, and how many entries there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pages {
    pub(super) page: usize,
    pub(super) each: usize,
    pub(super) all: usize,
}

impl Pages {
    fn new(asked: Option<&str>, each: usize, all: usize) -> Self {
        let last = all.saturating_sub(1) / each;
        Self { page: asked.and_then(|page| page.parse().ok()).unwrap_or(0).min(last), each, all }
    }

    fn range(self) -> std::ops::Range<usize> {
        let from = self.page * self.each;
        from..(from + self.each).min(self.all)
    }

    pub(super) fn has_more(self) -> bool {
        (self.page + 1) * self.each < self.all
    }
}

/// Something that it waits for.
#[derive(Debug, Clone)]
pub(super) struct Wait {
    pub(super) look: Look,
    pub(super) node: String,
    pub(super) since: Timestamp,
    pub(super) until: Option<Timestamp>,
    pub(super) signal: Option<String>,
    /// Whom it asks.
    pub(super) role: Option<String>,
    /// What it asks; nothing if it asks nothing, or if that may not be told.
    pub(super) question: Option<String>,
    pub(super) choices: Vec<String>,
    pub(super) asks: bool,
}

impl Wait {
    pub(super) fn new(wait: &Waiting, sees_payloads: bool) -> Self {
        let ask = wait.ask.as_ref();
        Self {
            look: state::of_wait(wait),
            node: wait.wait.clone(),
            since: wait.since,
            until: wait.until,
            signal: wait.signal.clone(),
            role: ask.and_then(|ask| ask.role.clone()),
            question: ask.filter(|_| sees_payloads).map(|ask| ask.question.clone()),
            choices: ask.filter(|_| sees_payloads).map(|ask| ask.choices.clone()).unwrap_or_default(),
            asks: ask.is_some(),
        }
    }
}

/// A task in the table.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) position: usize,
    pub(super) id: String,
    pub(super) kind: &'static str,
    pub(super) look: Look,
    pub(super) marks: Vec<Mark>,
    /// What the marks tell, in words.
    pub(super) told: String,
    pub(super) why: String,
    pub(super) attempts: u32,
    pub(super) took: Option<Duration>,
}

/// An attempt.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) look: Look,
    pub(super) task: String,
    pub(super) attempt: u32,
    pub(super) runner: Uuid,
    pub(super) at: Timestamp,
    pub(super) after: Option<Duration>,
    pub(super) error: Option<String>,
}

/// What a task changed.
#[derive(Debug, Clone)]
pub(super) struct Changed {
    pub(super) task: String,
    pub(super) lines: Vec<Line>,
}

/// A node that waits, or waited, for children.
#[derive(Debug, Clone)]
pub(super) struct Map {
    pub(super) node: String,
    pub(super) progress: Progress,
    pub(super) is_open: bool,
}

/// What is known besides.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) fingerprint: String,
    pub(super) version: Option<String>,
    pub(super) created: Timestamp,
    pub(super) begun: Timestamp,
    pub(super) ended: Option<Timestamp>,
    pub(super) deadline: Option<Timestamp>,
    pub(super) priority: u8,
    pub(super) tags: Vec<String>,
    pub(super) submitted_by: Option<String>,
    /// The trace in which it was submitted.
    pub(super) trace: Option<String>,
    pub(super) rerun_of: Option<Uuid>,
    pub(super) superseded_by: Option<Uuid>,
    pub(super) slot_time: Duration,
    pub(super) context_bytes: u64,
}

/// What is known of a task's attempts.
#[derive(Default)]
struct Tried<'a> {
    attempts: Vec<&'a AttemptRecord>,
}

impl View {
    pub(super) fn new(tenant: &str, read: &Read, frame: &Frame, sees_payloads: bool, now: Timestamp) -> Self {
        let Read { details, graph, history, waits, progress, children } = read;
        let result = &details.result;
        let mut tried: HashMap<&str, Tried<'_>> = HashMap::new();
        for attempt in history {
            tried.entry(&attempt.task_id).or_default().attempts.push(attempt);
        }
        let open: HashMap<&str, &Waiting> = waits.iter().map(|wait| (wait.wait.as_str(), wait)).collect();
        let maps: HashMap<&str, &Progress> =
            progress.iter().map(|progress| (progress.node.as_str(), progress)).collect();
        let described = graph.iter().flat_map(|graph| &graph.tasks);
        let kinds: HashMap<&str, &'static str> =
            described.map(|task| (task.id.as_str(), kind(task.kind))).collect();
        let is_paused = result.status == ExecutionStatus::Paused;
        let none = Tried::default();
        // The more tasks there are on the page, the fewer of their attempts are drawn.
        let most = (MARKS / result.task_results.len().clamp(1, TASKS)).clamp(8, 60);
        let mut tasks = Vec::with_capacity(result.task_results.len());
        for (position, (task, more)) in result.task_results.iter().zip(&details.tasks).enumerate() {
            let tried = tried.get(task.task_id.as_str()).unwrap_or(&none);
            let map = maps.get(task.task_id.as_str()).copied();
            let wait = open.get(task.task_id.as_str()).copied();
            let last = tried.attempts.last();
            let retries = last.is_some_and(|last| {
                matches!(
                    last.outcome,
                    AttemptOutcome::Failed | AttemptOutcome::Panicked | AttemptOutcome::TimedOut
                )
            });
            let look = match (task.state, map, wait) {
                (TaskState::Waiting, Some(_), _) => state::WAITS_FOR_CHILD,
                (TaskState::Waiting, None, Some(wait)) => state::of_wait(wait),
                (TaskState::Ready, ..) if is_paused => state::PAUSED,
                (TaskState::Ready, ..) if retries => state::RETRYING,
                _ => state::of_task(task.state),
            };
            let mut marks = timeline::attempts(
                most,
                tried.attempts.iter().map(|attempt| (attempt.start_time, attempt.end_time, attempt.outcome)),
            );
            let waited = match (wait, map, task.start_time) {
                (Some(wait), ..) => Some(Mark::Wait { from: wait.since, to: wait.until }),
                (None, Some(_), Some(from)) => Some(Mark::Wait { from, to: task.end_time }),
                _ if tried.attempts.is_empty() && task.state == TaskState::Completed => {
                    task.start_time.map(|from| Mark::Wait { from, to: task.end_time })
                }
                _ => None,
            };
            marks.extend(waited);
            let mut why = Vec::new();
            if let Some(map) = map {
                why.push(map_in_short(map));
            } else if let Some(wait) = wait {
                why.push(waiting::what(wait, sees_payloads, now));
            }
            match (task.state, task.skip_reason, &task.error_message) {
                (_, Some(SkipReason::ByRule), _) => why.push("its rule said no".to_owned()),
                (_, Some(SkipReason::UpstreamFailed), _) => why.push("something before it failed".to_owned()),
                (TaskState::Failed | TaskState::Ready | TaskState::Running, _, Some(error)) => {
                    why.push(waiting::error(error, sees_payloads));
                }
                _ => {}
            }
            if more.lost > 0 {
                why.push(format!(
                    "{} lost with their runner",
                    text::count(more.lost.into(), "attempt", "attempts")
                ));
            }
            if let (TaskState::Running, Some(runner)) = (task.state, more.runner_id) {
                why.push(format!("on runner {}", text::short_id(runner)));
            }
            let failed = more.failures;
            let told = match task.start_time {
                Some(begun) => format!("begun {}, {failed} failed", text::clock(begun)),
                None => "not begun".to_owned(),
            };
            let took = task.start_time.map(|begun| text::between(begun, task.end_time.unwrap_or(now)));
            tasks.push(Task {
                position,
                id: task.task_id.clone(),
                kind: kinds.get(task.task_id.as_str()).copied().unwrap_or_default(),
                look,
                marks,
                told,
                why: why.join(" · "),
                attempts: task.attempts,
                took: took.filter(|_| task.state != TaskState::Pending),
            });
        }
        let after = graph.as_ref().map(dependencies).unwrap_or_default();
        let nodes = nodes(&tasks, &maps, &after);
        let looks: Vec<&Task> = tasks.iter().collect();
        let look = telling(result.status, &looks, result.error_message.as_deref());
        let over = result.task_results.iter().filter(|task| task.state.is_terminal()).count();
        let under_way = result
            .task_results
            .iter()
            .filter(|task| matches!(task.state, TaskState::Running | TaskState::Ready | TaskState::Waiting))
            .count();
        let took = text::between(result.start_time, result.end_time.unwrap_or(now));
        let summary = if result.status.is_terminal() {
            format!("{over} of {} tasks over; took {}", tasks.len(), text::duration(took))
        } else {
            format!("{over} of {} tasks over, {under_way} under way; {}", tasks.len(), text::duration(took))
        };
        let slot_time = history
            .iter()
            .map(|attempt| text::between(attempt.start_time, attempt.end_time.unwrap_or(now)))
            .sum();
        // What is drawn ends with the last thing that happened, or is known to come soon.
        let last = result.end_time.unwrap_or(now).max(result.start_time);
        let axis = Axis::new(result.start_time.min(details.created_at), last, now);
        let task_pages = Pages::new(frame.param("tasks"), TASKS, tasks.len());
        let ids: Vec<String> = tasks.iter().map(|task| task.id.clone()).collect();
        let failed = history.iter().filter(|attempt| {
            !matches!(attempt.outcome, AttemptOutcome::Completed | AttemptOutcome::Running)
        });
        let (troubles, trouble_pages) = attempts(failed, (frame.param("errors"), TROUBLES), sees_payloads);
        let asked = frame.param("attempts");
        let (mut attempts, attempt_pages) = attempts(history.iter(), (asked, ATTEMPTS), sees_payloads);
        if asked.is_none() {
            attempts.clear();
        }
        let mut values = details.input.clone();
        let mut changes = Vec::new();
        for (task, more) in
            result.task_results.iter().zip(&details.tasks).filter(|(_, more)| !more.changes.is_empty())
        {
            let lines = diff::difference(&values, &more.changes);
            diff::apply(&mut values, &more.changes);
            changes.push(Changed { task: task.task_id.clone(), lines });
        }
        let asked = frame.param("diff");
        let shown = asked.and_then(|asked| changes.iter().position(|changed| changed.task == asked));
        let shown = shown.or_else(|| changes.len().checked_sub(1));
        let whole = match frame.param("whole") {
            Some("context") => Whole::Context,
            Some("input") => Whole::Input,
            _ => Whole::None,
        };
        let context_bytes =
            values.iter().map(|(key, value)| (key.len() + value.to_string().len() + 4) as u64).sum();
        Self {
            id: result.execution_id,
            tenant: tenant.to_owned(),
            workflow: result.workflow_name.clone(),
            status: result.status,
            look,
            summary,
            error: result.error_message.as_deref().map(|error| waiting::error(error, sees_payloads)),
            waits: waits
                .iter()
                .filter(|wait| !maps.contains_key(wait.wait.as_str()))
                .map(|wait| Wait::new(wait, sees_payloads))
                .collect(),
            has_edges: nodes.iter().any(|node| !node.after.is_empty()),
            nodes,
            axis,
            tasks: tasks.drain(task_pages.range()).collect(),
            ids,
            task_pages,
            troubles,
            trouble_pages,
            attempts,
            attempt_pages,
            changes,
            shown,
            context: values,
            input: details.input.clone(),
            whole,
            maps: progress
                .iter()
                .map(|progress| Map {
                    node: progress.node.clone(),
                    progress: progress.clone(),
                    is_open: result
                        .task_results
                        .iter()
                        .any(|task| task.task_id == progress.node && task.state == TaskState::Waiting),
                })
                .collect(),
            children: children.clone(),
            facts: Facts {
                fingerprint: details.fingerprint.to_string(),
                version: graph.as_ref().and_then(|graph| graph.version.clone()),
                created: details.created_at,
                begun: result.start_time,
                ended: result.end_time,
                deadline: details.deadline,
                priority: details.priority,
                tags: result.tags.clone(),
                submitted_by: result.submitted_by.clone(),
                trace: trace_of(result.traceparent.as_deref()),
                rerun_of: result.rerun_of,
                superseded_by: result.superseded_by,
                slot_time,
                context_bytes,
            },
            sees_payloads,
            now,
        }
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        self.status.is_terminal()
    }
}

/// How far a map is, in words.
pub(super) fn map_in_short(map: &Progress) -> String {
    let over = map.completed + map.failed;
    let failed = match (map.failed, map.tolerated) {
        (0, _) => String::new(),
        (failed, tolerated) => {
            format!(", {} failed of {} tolerated", text::number(failed), text::number(tolerated))
        }
    };
    format!(
        "{} of {} over{failed}, {} run",
        text::number(over),
        text::number(map.total),
        text::number(map.running())
    )
}

/// How a kind of task is called beside its id; the usual one is not.
pub(in crate::pages) fn kind(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Task => "",
        TaskKind::Sleep => "sleep",
        TaskKind::Signal => "signal",
        TaskKind::Ask => "ask",
        TaskKind::Child => "child",
        TaskKind::Map => "map",
        _ => "node",
    }
}

/// By the ids of tasks, those that they come after.
fn dependencies(graph: &WorkflowDescription) -> HashMap<&str, &[String]> {
    graph.tasks.iter().map(|task| (task.id.as_str(), task.dependencies.as_slice())).collect()
}

/// The nodes of the graph.
fn nodes(tasks: &[Task], maps: &HashMap<&str, &Progress>, after: &HashMap<&str, &[String]>) -> Vec<Node> {
    let positions: HashMap<&str, usize> =
        tasks.iter().map(|task| (task.id.as_str(), task.position)).collect();
    let node = |task: &Task| {
        let map = maps.get(task.id.as_str());
        let note = match (map, task.attempts, task.took) {
            (Some(map), ..) => {
                format!("{} of {}", text::number(map.completed + map.failed), text::number(map.total))
            }
            (None, 0 | 1, Some(took)) => text::duration(took),
            (None, attempts @ 2.., Some(took)) => format!("{attempts} attempts · {}", text::duration(took)),
            _ => String::new(),
        };
        Node {
            name: task.id.clone(),
            look: task.look.clone(),
            note,
            after: after
                .get(task.id.as_str())
                .into_iter()
                .flat_map(|ids| ids.iter())
                .filter_map(|id| positions.get(id.as_str()).copied())
                .collect(),
            progress: map.map(|map| (map.completed + map.failed) as f64 / map.total.max(1) as f64),
            href: format!("#t-{}", task.position),
        }
    };
    tasks.iter().map(node).collect()
}

/// The most telling state of an execution's tasks: failed, asks a person, retries, waits, runs.
fn telling(status: ExecutionStatus, tasks: &[&Task], error: Option<&str>) -> Look {
    let first = |looks: &[Look]| {
        looks.iter().find(|look| tasks.iter().any(|task| task.look.word == look.word)).cloned()
    };
    match status {
        ExecutionStatus::Running => {
            first(&[state::WAITS_FOR_ANSWER, state::RETRYING, state::RUNNING]).unwrap_or(state::RUNNING)
        }
        ExecutionStatus::Waiting => first(&[
            state::WAITS_FOR_ANSWER,
            state::WAITS_FOR_SIGNAL,
            state::WAITS_FOR_CHILD,
            state::WAITS_FOR_TIMER,
        ])
        .unwrap_or(state::WAITS),
        ExecutionStatus::Paused if error.is_some_and(waiting::is_orphaned) => state::WAITS_FOR_VERSION,
        status => state::of_execution(status),
    }
}

/// A page of attempts, the latest first.
fn attempts<'a>(
    history: impl Iterator<Item = &'a AttemptRecord>,
    (page, each): (Option<&str>, usize),
    sees_payloads: bool,
) -> (Vec<Trouble>, Pages) {
    let mut found: Vec<&AttemptRecord> = history.collect();
    found.sort_by_key(|attempt| std::cmp::Reverse(attempt.end_time.unwrap_or(attempt.start_time)));
    let pages = Pages::new(page, each, found.len());
    let trouble = |attempt: &&AttemptRecord| Trouble {
        look: state::of_attempt(attempt.outcome),
        task: attempt.task_id.clone(),
        attempt: attempt.attempt,
        runner: attempt.runner_id,
        at: attempt.end_time.unwrap_or(attempt.start_time),
        after: attempt.end_time.map(|end| text::between(attempt.start_time, end)),
        error: attempt.error_message.as_deref().map(|error| waiting::error(error, sees_payloads)),
    };
    (found[pages.range()].iter().map(trouble).collect(), pages)
}

/// How many children are in each state, of those that are shown.
pub(super) fn children_by_state(children: &[Child]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for child in children {
        *counts.entry(child.status.as_str()).or_insert(0) += 1;
    }
    counts
}

/// The id of the trace of a W3C trace context: its second part.
fn trace_of(traceparent: Option<&str>) -> Option<String> {
    Some(traceparent?.split('-').nth(1)?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(look: Look) -> Task {
        Task {
            position: 0,
            id: "t".to_owned(),
            kind: "",
            look,
            marks: Vec::new(),
            told: String::new(),
            why: String::new(),
            attempts: 0,
            took: None,
        }
    }

    #[test]
    fn an_execution_shows_the_most_telling_state_of_its_tasks() {
        let (asks, retries) = (task(state::WAITS_FOR_ANSWER), task(state::RETRYING));
        let (runs, pending) = (task(state::RUNNING), task(state::PENDING));
        let of = |status, tasks: &[&Task]| telling(status, tasks, None).word;
        assert_eq!(of(ExecutionStatus::Running, &[&runs, &retries, &asks]), "Waits for approval");
        assert_eq!(of(ExecutionStatus::Running, &[&pending, &runs, &retries]), "Retrying");
        assert_eq!(of(ExecutionStatus::Running, &[&pending, &runs]), "Running");
        assert_eq!(of(ExecutionStatus::Failed, &[&asks]), "Failed");
        assert_eq!(of(ExecutionStatus::Waiting, &[&pending]), "Waits");
    }

    #[test]
    fn a_page_that_there_is_not_is_the_last_one() {
        let pages = Pages::new(Some("99"), 10, 25);
        assert_eq!((pages.page, pages.range()), (2, 20..25));
        assert!(!pages.has_more());
        assert_eq!(Pages::new(Some("x"), 10, 25).range(), 0..10);
        assert_eq!(Pages::new(None, 10, 0).range(), 0..0);
    }
}
