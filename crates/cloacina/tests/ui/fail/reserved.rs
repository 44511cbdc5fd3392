use cloacina::{Context, Error, Workflow, task, workflow};

#[task]
async fn nightly(_: &mut Context) -> Result<(), Error> {
    Ok(())
}

#[workflow]
fn bulk() -> Workflow {
    Workflow::builder("cloacina/bulk").task(nightly).build()
}

fn main() {}
