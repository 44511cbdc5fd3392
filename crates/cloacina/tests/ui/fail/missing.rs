use cloacina::{Context, TaskError, Workflow, task, workflow};

mod steps {}

#[task(dependencies = [fetch, steps::clean])]
async fn sum(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[workflow]
fn report() -> Workflow {
    Workflow::builder("report").task(fetch).task(sum).build()
}

fn main() {}
