//! Two tenants that never meet: on SQLite each in a file of its own, on PostgreSQL each in a schema of its
//! own.
//!
//! `multi_tenant` uses SQLite files in the current directory and needs nothing; with `DATABASE_URL` set to a
//! `postgresql://` URL it uses schemas in that database. Every claim it prints, it has checked.

use cloacina::runner::{Runner, RunnerConfig};
use cloacina::{Context, Error, ErrorKind, Workflow, task, workflow};

#[task(id = "count_orders")]
async fn count_orders(context: &mut Context) -> Result<(), Error> {
    let orders: Vec<u32> = context.get("orders").unwrap_or_default();
    context.set("order_count", orders.len());
    Ok(())
}

#[task(id = "sum_orders", dependencies = [count_orders])]
async fn sum_orders(context: &mut Context) -> Result<(), Error> {
    let orders: Vec<u32> = context.get("orders").unwrap_or_default();
    context.set("order_total", orders.iter().sum::<u32>());
    Ok(())
}

#[workflow]
fn order_report() -> Workflow {
    Workflow::builder("order_report")
        .description("Counts and adds up a tenant's orders")
        .task(count_orders)
        .task(sum_orders)
        .build()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter("multi_tenant=info,cloacina=warn").init();

    let (tenant_a, tenant_b) = match std::env::var("DATABASE_URL") {
        Ok(url) => {
            println!("PostgreSQL: one schema for each tenant");
            (Runner::with_schema(&url, "tenant_a").await?, Runner::with_schema(&url, "tenant_b").await?)
        }
        Err(_) => {
            println!(
                "SQLite: one file for each tenant (set DATABASE_URL to a postgresql:// URL for schemas)"
            );
            (
                Runner::with_config("sqlite://./tenant_a.db", RunnerConfig::default()).await?,
                Runner::with_config("sqlite://./tenant_b.db", RunnerConfig::default()).await?,
            )
        }
    };

    let of_a = report(&tenant_a, "tenant_a", vec![120, 80, 45]).await?;
    let of_b = report(&tenant_b, "tenant_b", vec![7]).await?;

    // Neither finds the other's execution, even when it knows the id.
    for (name, runner, foreign) in [("tenant_a", &tenant_a, of_b), ("tenant_b", &tenant_b, of_a)] {
        let answer = runner.get_execution_status(foreign).await;
        if !answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return Err(format!("{name} can see execution {foreign} of the other tenant: {answer:?}").into());
        }
        println!("{name}: {}", answer.expect_err("checked above"));
    }

    tenant_a.shutdown().await?;
    tenant_b.shutdown().await?;
    Ok(())
}

async fn report(
    runner: &Runner,
    name: &str,
    orders: Vec<u32>,
) -> Result<uuid::Uuid, Box<dyn std::error::Error>> {
    let expected: u32 = orders.iter().sum();
    let result = runner.execute("order_report", Context::new().with("orders", &orders)).await?;
    if !result.status.is_success() {
        return Err(format!("{name}: {}", result.error_message.unwrap_or_default()).into());
    }
    let total = result.final_context.try_get::<u32>("order_total")?;
    assert_eq!(total, expected, "a report has the total of its own orders");
    println!("{name}: {} orders, {total} in all", result.final_context.try_get::<usize>("order_count")?);
    Ok(result.execution_id)
}
