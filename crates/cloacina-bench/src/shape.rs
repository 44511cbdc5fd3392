//! The workflows that are measured.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cloacina::{Context, Item, TaskError, Wait, Workflow, task, workflow};
use tokio::sync::Notify;

/// What every task adds to the context, as the engine stores it.
pub(crate) const PATCH: &str = r#"{"set":{"done":true}}"#;

/// The input of every execution, as the engine stores it.
pub(crate) const INPUT: &str = r#"{"order":4711}"#;

/// The input of every execution.
pub(crate) fn input() -> Context {
    Context::new().with("order", 4711)
}

/// A workflow whose tasks stand in layers; each task depends on all of the layer before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) workflow: &'static str,
    pub(crate) title: &'static str,
    /// How many tasks each layer has.
    pub(crate) layers: &'static [i16],
}

pub(crate) const ONE: Shape = Shape { workflow: "one", title: "one task", layers: &[1] };
pub(crate) const CHAIN: Shape = Shape { workflow: "chain", title: "chain of 3", layers: &[1, 1, 1] };
pub(crate) const FAN: Shape = Shape { workflow: "fan", title: "fan-out 1→3→1", layers: &[1, 3, 1] };

/// A task by its position, as an execution has it.
#[derive(Debug, Clone)]
pub(crate) struct ShapeTask {
    pub(crate) name: &'static str,
    pub(crate) position: i16,
    pub(crate) waiting_on: i16,
}

impl Shape {
    /// How many transactions an execution takes: its insert, and one for each layer.
    pub(crate) fn transactions(self) -> usize {
        1 + self.layers.len()
    }

    pub(crate) fn tasks(self) -> Vec<ShapeTask> {
        let mut tasks = Vec::new();
        let mut before = 0;
        for layer in self.layers {
            for _ in 0..*layer {
                let position = i16::try_from(tasks.len()).expect("the shapes are small");
                let name = ["a", "b", "c", "d", "e"][tasks.len()];
                tasks.push(ShapeTask { name, position, waiting_on: before });
            }
            before = *layer;
        }
        tasks
    }

    /// The positions of a layer; none of one that is not there.
    pub(crate) fn layer(self, layer: usize) -> std::ops::Range<i16> {
        let first = self.layers.iter().take(layer).sum();
        first..first + self.layers.get(layer).copied().unwrap_or(0)
    }
}

type Result = std::result::Result<(), TaskError>;

mod one {
    use super::*;

    #[task(id = "a")]
    pub(super) async fn a(context: &mut Context) -> Result {
        context.set("done", true);
        Ok(())
    }
}

mod chain {
    use super::*;

    #[task(id = "b", dependencies = ["a"])]
    pub(super) async fn b(context: &mut Context) -> Result {
        context.set("done", true);
        Ok(())
    }

    #[task(id = "c", dependencies = ["b"])]
    pub(super) async fn c(context: &mut Context) -> Result {
        context.set("done", true);
        Ok(())
    }
}

mod fan {
    use super::*;

    #[task(id = "c", dependencies = ["a"])]
    pub(super) async fn c(context: &mut Context) -> Result {
        context.set("done", true);
        Ok(())
    }

    #[task(id = "d", dependencies = ["a"])]
    pub(super) async fn d(context: &mut Context) -> Result {
        context.set("done", true);
        Ok(())
    }

    #[task(id = "e", dependencies = ["b", "c", "d"])]
    pub(super) async fn e(context: &mut Context) -> Result {
        context.set("done", true);
        Ok(())
    }
}

/// How long an execution of `asleep` sleeps.
pub(crate) const SLEEP: Duration = Duration::from_secs(15);

/// Told when what waited goes on.
pub(crate) static AWAKE: AtomicUsize = AtomicUsize::new(0);

/// Told when a signal was heard.
pub(crate) static HEARD: Notify = Notify::const_new();

mod asleep {
    use super::*;

    #[task(id = "goes_on", dependencies = ["sleep"])]
    pub(super) async fn goes_on(_: &mut Context) -> Result {
        AWAKE.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    #[task(id = "is_ready")]
    pub(super) async fn is_ready(_: &mut Context) -> Result {
        AWAKE.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    #[task(id = "hears", dependencies = ["go"])]
    pub(super) async fn hears(_: &mut Context) -> Result {
        HEARD.notify_one();
        Ok(())
    }
}

/// When the list of a map was there, and when the code of its first item ran.
pub(crate) static LISTED: Mutex<Option<Instant>> = Mutex::new(None);
pub(crate) static FIRST_ITEM: Mutex<Option<Instant>> = Mutex::new(None);

mod map {
    use super::*;

    #[task(id = "list")]
    pub(super) async fn list(context: &mut Context) -> Result {
        let count = context.get::<u64>("count").unwrap_or_default();
        context.set("items", (0..count).collect::<Vec<u64>>());
        *LISTED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(())
    }

    #[task(id = "each", map = "items", parallel = 1000, dependencies = [list])]
    pub(super) async fn each(item: Item<u64>) -> Result {
        if item.index() == 0 {
            FIRST_ITEM.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
        }
        Ok(())
    }
}

/// Does nothing for each item of a list that it makes.
#[workflow]
fn mapping() -> Workflow {
    Workflow::builder("mapping").task(map::list).task(map::each).build()
}

/// Starts a child for each item of a list that it makes, which sleeps for a day.
#[workflow]
fn sleeping_children() -> Workflow {
    Workflow::builder("sleeping_children")
        .task(map::list)
        .wait(Wait::map("sleepers", "sleeping_child").over("items").parallel(10_000).after("list"))
        .build()
}

#[workflow]
fn sleeping_child() -> Workflow {
    Workflow::builder("sleeping_child").wait(Wait::sleep("day", Duration::from_secs(24 * 3600))).build()
}

/// Sleeps, and then runs a task.
#[workflow]
fn sleeper() -> Workflow {
    Workflow::builder("asleep").wait(Wait::sleep("sleep", SLEEP)).task(asleep::goes_on).build()
}

/// Runs that task without having slept.
#[workflow]
fn ready() -> Workflow {
    Workflow::builder("ready").task(asleep::is_ready).build()
}

/// Waits for a signal, and then runs a task.
#[workflow]
fn hearer() -> Workflow {
    Workflow::builder("hearing").wait(Wait::signal("go")).task(asleep::hears).build()
}

#[workflow]
fn one_task() -> Workflow {
    Workflow::builder("one").task(one::a).build()
}

#[workflow]
fn chain_of_three() -> Workflow {
    Workflow::builder("chain").task(one::a).task(chain::b).task(chain::c).build()
}

#[workflow]
fn fan_out() -> Workflow {
    Workflow::builder("fan").task(one::a).task(chain::b).task(fan::c).task(fan::d).task(fan::e).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shapes_are_those_of_the_workflows() {
        for shape in [ONE, CHAIN, FAN] {
            let workflow = cloacina::registered_workflows()
                .unwrap()
                .into_iter()
                .find(|workflow| workflow.name() == shape.workflow)
                .unwrap();
            let names: Vec<&str> = workflow.tasks().into_iter().map(cloacina::TaskDefinition::id).collect();
            let tasks = shape.tasks();
            assert_eq!(names, tasks.iter().map(|task| task.name).collect::<Vec<_>>());
        }
        assert_eq!(FAN.layer(1), 1..4);
        assert_eq!(FAN.layer(3), 5..5);
    }
}
