//! One workflow for three customers, each in a schema of its own; then in a schema and with a login of its
//! own.
//!
//! Reads `DATABASE_URL`, else uses `postgresql://cloacina:cloacina@localhost:5432/cloacina`. The second part
//! needs a login that may make roles: that of `ADMIN_DATABASE_URL`, else the same one. It can be run again.

mod advanced;

use std::collections::HashMap;

use cloacina::runner::Runner;
use cloacina::{Context, Error, task, workflow};
use tracing::{info, warn};

#[task(id = "process_customer_data")]
async fn process_customer_data(mut context: Context) -> Result<Context, Error> {
    let tenant_id = context.get::<String>("tenant_id").unwrap_or_default();
    let customer_name = context.get::<String>("customer_name").unwrap_or_default();

    info!("Processing data for customer: {customer_name} (tenant: {tenant_id})");

    let processed_records = match tenant_id.as_str() {
        "acme_corp" => 1250,
        "globex_inc" => 890,
        "initech" => 430,
        _ => 100,
    };

    info!("Processed {processed_records} records for {customer_name}");

    context.set("processed_records", processed_records);
    context.set("processing_completed", true);

    Ok(context)
}

#[workflow]
fn customer_processing_workflow() -> cloacina::Workflow {
    cloacina::Workflow::builder("customer_processing")
        .description("Process customer data in isolated tenant environment")
        .task(process_customer_data)
        .build()
}

async fn basic_multi_tenant_demo(database_url: &str) -> Result<(), Box<dyn std::error::Error>> {
    info!("=== Basic Multi-Tenant Demo ===");

    let mut tenant_runners = HashMap::new();
    let tenants = vec!["acme_corp", "globex_inc", "initech"];

    for tenant_id in &tenants {
        info!("Creating runner for tenant: {tenant_id}");
        // The schema is made, and its tables in it, on first use.
        let runner = Runner::with_schema(database_url, tenant_id).await?;
        tenant_runners.insert((*tenant_id).to_string(), runner);
        info!("✓ Tenant {tenant_id} runner created with schema isolation");
    }

    for (tenant_id, runner) in &tenant_runners {
        info!("Executing workflow for tenant: {tenant_id}");

        let context = Context::new()
            .with("tenant_id", tenant_id.clone())
            .with("customer_name", format!("{tenant_id} Customer"));

        let result = runner.execute("customer_processing", context).await?;

        if result.status.is_success() {
            let records = result.final_context.get::<i32>("processed_records").unwrap_or(0);
            info!("✓ Tenant {tenant_id} completed: {records} records processed");
        } else {
            warn!("✗ Tenant {tenant_id} failed: {:?}", result.status);
        }
    }

    for (tenant_id, runner) in tenant_runners {
        info!("Shutting down runner for tenant: {tenant_id}");
        runner.shutdown().await?;
    }

    info!("Basic multi-tenant demo completed successfully");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter("multi_tenant_tutorial=info,cloacina=info").init();

    let database_url = std::env::var("DATABASE_URL")
        .unwrap_or_else(|_| "postgresql://cloacina:cloacina@localhost:5432/cloacina".to_string());
    basic_multi_tenant_demo(&database_url).await?;

    println!("\n{}\n", "=".repeat(60));

    let admin_database_url = std::env::var("ADMIN_DATABASE_URL").unwrap_or(database_url);
    advanced::advanced_multi_tenant_demo(&admin_database_url).await
}
