//! The same seven steps on the data of two tenants, in every kind of place that a tenant can have: a SQLite
//! file, a PostgreSQL schema, a schema with a login, a database, rows in shared tables. The steps know
//! nothing of where they run, and check all that they print: the exit code is not 0 if a tenant saw or
//! changed what is not its own. At the end ten small tenants share tables and two large ones have databases.
//!
//! Without anything set it uses SQLite files in `./multi_tenancy_patterns_files`, or the directory that is
//! its argument. `DATABASE_URL` adds schemas, `ADMIN_DATABASE_URL` (a login that may make tenants, see
//! `DatabaseAdmin::preflight`) the rest. What it makes stays, and is used by the next run.

mod hybrid;
mod model;
mod placement;
mod steps;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::placement::Placement;
use crate::steps::Tenant;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_env_filter("warn,cloacina_data=error").with_writer(std::io::stderr).init();
    let directory =
        std::env::args_os().nth(1).map_or_else(|| "multi_tenancy_patterns_files".into(), PathBuf::from);
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (url, admin) = (variable("DATABASE_URL"), variable("ADMIN_DATABASE_URL"));
    let all = Placement::all(directory, url.clone(), admin.clone());
    println!("=== Cloacina Multi-Tenancy Examples ===");
    for (number, place) in (1..).zip(&all) {
        println!("\n>>> Pattern {number}: {} <<<\n", place.title());
        if let Err(error) = show(place).await {
            eprintln!("error: {}: {error:#}", place.title());
            return ExitCode::FAILURE;
        }
    }
    if let (Some(url), Some(admin)) = (url, admin) {
        println!("\n>>> Hybrid: small tenants share tables, large ones have databases <<<\n");
        if let Err(error) = hybrid::show(&url, &admin).await {
            eprintln!("error: the hybrid: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    if all.len() < 5 {
        println!("\nDATABASE_URL and ADMIN_DATABASE_URL add the patterns of PostgreSQL.");
    }
    println!("\n=== All Examples Complete ===");
    ExitCode::SUCCESS
}

async fn show(place: &Placement) -> Result<()> {
    println!("--- Setup: Creating Tenants ---");
    let [acme, widget] = place.open().await?;
    for (name, runner) in [("Acme Corp", &acme), ("Widget Inc", &widget)] {
        println!("Created tenant: {name} ({})", runner.place());
    }
    println!("Kept apart by {}\n", place.border());
    let shown = steps::run(&Tenant::acme(acme.data()?), &Tenant::widget(widget.data()?)).await;
    for runner in [acme, widget] {
        runner.shutdown().await.context("the runner was not shut down")?;
    }
    shown
}
