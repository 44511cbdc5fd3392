use cloacina::{Context, TaskError, Workflow, task, workflow};

#[task]
async fn fetch(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(dependencies = [fetch])]
async fn sum(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(id = "sum")]
async fn other_sum(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(dependencies = [fetch, third])]
async fn first(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(dependencies = ["first"])]
async fn second(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(dependencies = [second])]
async fn third(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[workflow]
fn missing() -> Workflow {
    Workflow::builder("missing").task(sum).build()
}

#[workflow]
fn twice() -> Workflow {
    Workflow::builder("twice").task(fetch).task(fetch).build()
}

#[workflow]
fn same_id() -> Workflow {
    Workflow::builder("same_id").task(fetch).task(sum).task(other_sum).build()
}

#[workflow]
fn circle() -> Workflow {
    Workflow::builder("circle").task(third).task(second).task(first).task(fetch).build()
}

#[workflow]
fn empty() -> Workflow {
    Workflow::builder("empty").description("Nothing").build()
}

fn main() {}
