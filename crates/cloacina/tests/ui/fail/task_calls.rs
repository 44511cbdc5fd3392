use cloacina::{Context, TaskError, Workflow, task, workflow};

#[task]
async fn fetch(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

async fn plain(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[workflow]
fn called() -> Workflow {
    Workflow::builder("called").task(fetch()).build()
}

#[workflow]
fn called_with_a_context() -> Workflow {
    Workflow::builder("called_with_a_context").task(fetch(Context::new())).build()
}

#[workflow]
fn by_name() -> Workflow {
    Workflow::builder("by_name").task("fetch").build()
}

#[workflow]
fn of_a_plain_function() -> Workflow {
    Workflow::builder("of_a_plain_function").task(plain).build()
}

fn main() {}
