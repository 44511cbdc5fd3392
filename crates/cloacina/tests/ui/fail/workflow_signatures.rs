use cloacina::{Context, TaskError, Workflow, task, workflow};

#[task]
async fn fetch(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[workflow]
fn parameters(name: &str) -> Workflow {
    Workflow::builder(name).task(fetch).build()
}

#[workflow]
async fn asynchronous() -> Workflow {
    Workflow::builder("asynchronous").task(fetch).build()
}

#[workflow]
fn no_return_type() {
    Workflow::builder("no_return_type").task(fetch).build();
}

#[workflow]
fn not_built() -> cloacina::WorkflowBuilder {
    Workflow::builder("not_built").task(fetch)
}

#[workflow(name = "named")]
fn arguments() -> Workflow {
    Workflow::builder("arguments").task(fetch).build()
}

fn main() {}
