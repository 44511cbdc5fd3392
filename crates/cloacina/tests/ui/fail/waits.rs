use std::time::Duration;

use cloacina::{Context, TaskError, Wait, Workflow, task, workflow};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[task(dependencies = ["paid"])]
async fn ship(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[workflow]
fn nowhere() -> Workflow {
    Workflow::builder("nowhere").wait(Wait::signal("paid").after("nowhere")).task(ship).build()
}

#[workflow]
fn without_the_wait() -> Workflow {
    Workflow::builder("without_the_wait").task(ship).build()
}

#[workflow]
fn twice() -> Workflow {
    Workflow::builder("twice").wait(Wait::signal("paid")).wait(Wait::sleep("paid", DAY)).task(ship).build()
}

#[workflow]
fn circle() -> Workflow {
    Workflow::builder("circle").wait(Wait::signal("paid").timeout(DAY).after(ship)).task(ship).build()
}

fn main() {}
