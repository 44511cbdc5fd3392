//! What the service does for its tenants.

use std::time::Duration;

use cloacina::{Context, TaskError, Wait, Workflow, task, workflow};

#[task]
async fn add_up(context: &mut Context) -> Result<(), TaskError> {
    // Trying again would not bring the amounts.
    let amounts: Vec<i64> = context.try_get("amounts").map_err(TaskError::fatal)?;
    context.set("total", amounts.iter().sum::<i64>());
    Ok(())
}

/// Over at once.
#[workflow]
fn order_total() -> Workflow {
    Workflow::builder("order_total").description("Adds up the amounts of an order").task(add_up).build()
}

#[task(dependencies = ["paid"])]
async fn ship(context: &mut Context) -> Result<(), TaskError> {
    context.set("shipped", true);
    Ok(())
}

/// Waits for the payment, for three days at most.
#[workflow]
fn order() -> Workflow {
    let three_days = Duration::from_secs(3 * 24 * 3600);
    Workflow::builder("order")
        .description("Ships an order once it is paid")
        .task(add_up)
        .wait(Wait::signal("paid").after(add_up).timeout(three_days))
        .task(ship)
        .build()
}
