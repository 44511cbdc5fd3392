//! What a workflow looks like, for a process that does not have its code.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::graph::MAX_TASKS;
use super::wait::Awaited;
use super::{Fingerprint, Node, OF_TASK, TaskTimeout, Workflow};
use crate::store::LARGEST_DESCRIPTION;

/// A version of a workflow as it was when a process first had it: enough to draw its graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkflowDescription {
    /// Its name.
    pub name: String,
    /// Its [version](super::WorkflowBuilder::version), if it was given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What it is for, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its tasks and waits, in the order of declaration.
    pub tasks: Vec<TaskDescription>,
}

/// A task, or a wait, of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TaskDescription {
    /// Its id.
    pub id: String,
    /// What it does.
    #[serde(default)]
    pub kind: TaskKind,
    /// The ids of those that it comes after.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<String>,
    /// The name of its trigger rule.
    pub rule: String,
    /// How often it is tried at most. Only tasks are tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// How long an attempt, or the wait, may last, if the workflow says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// The workflow of its children. A map over a task has none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// How many of its children are open at once, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u32>,
}

/// What a node of a workflow does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaskKind {
    /// It runs code.
    Task,
    /// It waits for a time.
    Sleep,
    /// It waits for a signal.
    Signal,
    /// It waits for the answer of a human.
    Ask,
    /// It waits for another execution.
    Child,
    /// It waits for an execution for each item of a list.
    Map,
    /// Something that this program does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl TaskKind {
    /// Its name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Sleep => "sleep",
            Self::Signal => "signal",
            Self::Ask => "ask",
            Self::Child => "child",
            Self::Map => "map",
            Self::Unknown => "unknown",
        }
    }
}

impl Node {
    pub(crate) fn kind(&self) -> TaskKind {
        let Some(wait) = self.wait() else { return TaskKind::Task };
        match &wait.what {
            Awaited::Sleep(_) => TaskKind::Sleep,
            Awaited::Signal(signal) if signal.ask.is_some() => TaskKind::Ask,
            Awaited::Signal(_) => TaskKind::Signal,
            Awaited::Children(children) if children.list.is_some() => TaskKind::Map,
            Awaited::Children(_) => TaskKind::Child,
        }
    }

    fn describe(&self) -> TaskDescription {
        let children = self.wait().and_then(|wait| wait.what.children());
        let workflow = children.map(|children| &children.workflow);
        TaskDescription {
            id: self.id().to_owned(),
            kind: self.kind(),
            dependencies: self.dependencies().to_vec(),
            rule: self.rule().name().to_owned(),
            attempts: self.task().map(|task| task.retry.attempts),
            timeout: match self {
                Self::Task(task) => match task.timeout {
                    TaskTimeout::After(timeout) => Some(timeout),
                    TaskTimeout::Default | TaskTimeout::Never => None,
                },
                Self::Wait(wait) => wait.what.lasts(),
            },
            workflow: workflow.filter(|name| !name.starts_with(OF_TASK)).cloned(),
            parallel: children.filter(|children| children.list.is_some()).map(|children| children.parallel),
        }
    }
}

impl Workflow {
    /// What it looks like.
    #[must_use]
    pub fn describe(&self) -> WorkflowDescription {
        WorkflowDescription {
            name: self.name().to_owned(),
            version: self.version().map(str::to_owned),
            description: self.description().to_owned(),
            tasks: self.nodes().iter().map(Node::describe).collect(),
        }
    }
}

impl WorkflowDescription {
    /// As it is kept; `None` if it is too large for that.
    pub(crate) fn to_json(&self) -> Option<String> {
        serde_json::to_string(self).ok().filter(|json| json.len() <= LARGEST_DESCRIPTION)
    }

    /// One that was kept, unless it is none that could be drawn: who wrote it may be anybody.
    pub(crate) fn from_json(json: &str, name: &str) -> Option<Self> {
        let described: Self = serde_json::from_str(json).ok()?;
        (described.name == name && described.is_graph()).then_some(described)
    }

    fn is_graph(&self) -> bool {
        if self.tasks.len() > MAX_TASKS {
            return false;
        }
        let positions: HashMap<&str, usize> =
            self.tasks.iter().zip(0..).map(|(task, position)| (task.id.as_str(), position)).collect();
        let resolved = self.tasks.iter().map(|task| {
            let known = task.dependencies.iter().map(|id| positions.get(id.as_str()).copied());
            known.collect::<Option<Vec<usize>>>()
        });
        let Some(dependencies) = resolved.collect::<Option<Vec<_>>>() else { return false };
        positions.len() == self.tasks.len() && !has_circle(&dependencies)
    }
}

/// Whether these dependencies go round in a circle.
fn has_circle(dependencies: &[Vec<usize>]) -> bool {
    let mut missing: Vec<usize> = dependencies.iter().map(Vec::len).collect();
    let mut successors: Vec<Vec<usize>> = vec![Vec::new(); dependencies.len()];
    for (node, before) in dependencies.iter().enumerate() {
        before.iter().for_each(|before| successors[*before].push(node));
    }
    let mut free: Vec<usize> = (0..missing.len()).filter(|node| missing[*node] == 0).collect();
    let mut done = 0;
    while let Some(next) = free.pop() {
        done += 1;
        for &successor in &successors[next] {
            missing[successor] -= 1;
            if missing[successor] == 0 {
                free.push(successor);
            }
        }
    }
    done < dependencies.len()
}

/// A version of a workflow that some process had.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkflowInfo {
    /// Its name.
    pub name: String,
    /// Its version, if it was given one.
    pub version: Option<String>,
    /// What tells it apart from other versions of its name.
    pub fingerprint: Fingerprint,
    /// When a process first had it.
    pub first_seen: Option<jiff::Timestamp>,
    /// The live runners that have it.
    pub live_runners: Vec<uuid::Uuid>,
    /// Whether this runner has it.
    pub is_registered: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::{Ask, TaskBody, TaskDefinition, Wait};

    fn task(id: &str, after: &[&str]) -> TaskDefinition {
        let body = TaskBody::Blocking(std::sync::Arc::new(Ok));
        TaskDefinition::new(id, body).dependencies(after.iter().copied())
    }

    fn workflow() -> Workflow {
        Workflow::builder("w")
            .version("2")
            .description("what for")
            .task(task("a", &[]).timeout(Some(Duration::from_secs(3))))
            .task(task("each", &["a"]).map("list").parallel(7))
            .wait(Wait::sleep("s", Duration::from_secs(5)).after("a"))
            .wait(Wait::signal("sig").after("s"))
            .wait(Wait::signal("q").after("sig").ask(Ask::new("why?")))
            .wait(Wait::child("c", "other").after("q"))
            .wait(Wait::map("m", "other").over("list").after("c"))
            .build()
    }

    #[test]
    fn a_description_has_every_node_and_survives_being_kept() {
        let described = workflow().describe();
        let kinds: Vec<TaskKind> = described.tasks.iter().map(|task| task.kind).collect();
        use TaskKind::{Ask, Child, Map, Signal, Sleep, Task};
        assert_eq!(kinds, [Task, Map, Sleep, Signal, Ask, Child, Map]);
        let [a, each, s, .., c, m] = &described.tasks[..] else { panic!("seven nodes") };
        assert_eq!((a.timeout, a.rule.as_str()), (Some(Duration::from_secs(3)), "all_success"));
        assert!(a.attempts.is_some() && each.attempts.is_none());
        assert_eq!((each.parallel, &each.workflow), (Some(7), &None));
        assert_eq!((s.timeout, &s.dependencies[..]), (Some(Duration::from_secs(5)), &["a".to_owned()][..]));
        assert_eq!((c.workflow.as_deref(), c.parallel), (Some("other"), None));
        assert_eq!((m.workflow.as_deref(), m.parallel), (Some("other"), Some(64)));
        let json = described.to_json().unwrap();
        assert_eq!(WorkflowDescription::from_json(&json, "w"), Some(described));
        assert_eq!(WorkflowDescription::from_json(&json, "other"), None);
    }

    #[test]
    fn what_is_no_graph_is_left_out() {
        let of =
            |tasks: &str| WorkflowDescription::from_json(&format!(r#"{{"name":"w","tasks":{tasks}}}"#), "w");
        assert!(of(r#"[{"id":"a","rule":"all_success","kind":"of the future","new":1}]"#).is_some());
        for tasks in [
            r#"[{"id":"a","rule":"x","dependencies":["b"]}]"#,
            r#"[{"id":"a","rule":"x"},{"id":"a","rule":"x"}]"#,
            r#"[{"id":"a","rule":"x","dependencies":["a"]}]"#,
            r#"[{"id":"a","rule":"x","dependencies":["b"]},{"id":"b","rule":"x","dependencies":["a"]}]"#,
            r#"[{"id":"a"}]"#,
            "7",
            &"[".repeat(100_000),
        ] {
            assert_eq!(of(tasks), None, "{}", &tasks[..tasks.len().min(100)]);
        }
        let many: Vec<String> = (0..=MAX_TASKS).map(|id| format!(r#"{{"id":"{id}","rule":"x"}}"#)).collect();
        assert_eq!(of(&format!("[{}]", many.join(","))), None);
    }
}
