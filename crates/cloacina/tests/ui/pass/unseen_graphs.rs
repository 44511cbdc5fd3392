//! Workflows whose tasks the macro cannot see are left to the runner.
#![deny(warnings)]

use cloacina::{Context, Task, TaskDefinition, TaskError, Workflow, task, workflow};

#[task(dependencies = ["generated"])]
async fn last(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

fn generated() -> TaskDefinition {
    TaskDefinition::from_async("generated", |context| async { Ok::<_, TaskError>(context) })
}

#[workflow]
fn with_a_call() -> Workflow {
    Workflow::builder("with_a_call").task(last).task(generated()).build()
}

#[workflow]
fn with_a_variable() -> Workflow {
    let [generated] = [generated()];
    Workflow::builder("with_a_variable").task(generated).task(last).build()
}

#[workflow]
fn with_a_loop() -> Workflow {
    let mut builder = Workflow::builder(format!("with_a_{}", "loop"));
    for task in [last.definition(), generated()] {
        builder = builder.task(task);
    }
    builder.build()
}

#[workflow]
fn wrong() -> Workflow {
    Workflow::builder("wrong").task(last.definition()).build()
}

trait Extension {
    fn generated(self) -> Self;
}

impl Extension for cloacina::WorkflowBuilder {
    fn generated(self) -> Self {
        self.task(generated())
    }
}

#[workflow]
fn with_an_extension() -> Workflow {
    Workflow::builder("with_an_extension").task(last).generated().build()
}

fn main() {
    for workflow in cloacina::registered_workflows().unwrap() {
        assert_eq!(workflow.fingerprint().is_ok(), workflow.name() != "wrong", "{}", workflow.name());
    }
}
