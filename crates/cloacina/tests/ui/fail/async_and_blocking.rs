use cloacina::{Context, TaskError, Workflow, task, workflow};

#[task(id = "not_async")]
fn not_async(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(id = "both", blocking)]
async fn both(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[workflow]
fn no_further_errors() -> Workflow {
    Workflow::builder("w").task(not_async).task(both).build()
}

fn main() {}
