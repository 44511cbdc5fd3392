//! What a tenant costs that does nothing.

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use super::scale::Scale;
use crate::database::{Database, Kind};
use crate::process;
use crate::sample::Spread;
use crate::table::Row;

/// The argument that makes this program the process that is measured.
pub(crate) const CHILD: &str = "memory-child";

/// The memory of an idle tenant in a process of its own, since the allocator of this one keeps what other
/// measures used.
pub(crate) async fn memory(kind: Kind, scale: Scale) -> Result<Vec<Row>> {
    let mut each = Vec::new();
    for _ in 0..scale.runs {
        let kind = if kind == Kind::Sqlite { "sqlite" } else { "postgres" };
        let output = Command::new(std::env::current_exe()?)
            .args([CHILD, kind, &scale.idle_tenants.to_string()])
            .stderr(std::process::Stdio::inherit())
            .output()
            .await?;
        ensure!(output.status.success(), "the process whose memory is measured failed");
        let bytes: f64 =
            String::from_utf8(output.stdout)?.trim().parse().context("failed to read the memory")?;
        each.push(bytes / 1000.0);
    }
    let title = format!("an idle tenant ({} of them): memory of our process", scale.idle_tenants);
    Ok(vec![Row { engine: Spread::of(each), ..Row::new(title, "kB") }])
}

/// Opens tenants and prints what each of them added to the memory, in bytes.
pub(crate) async fn child(kind: Kind, tenants: usize) -> Result<()> {
    let database = Database::fresh(kind).await?;
    // The first tenants bring the runtime, the pool and the statements with them, and as many open SQLite
    // files as there will be: more than the budget of 128, so that those that are counted rest.
    let first = 160;
    let mut runners = database.runners(first).await?;
    let before = process::resident()?;
    for number in first..first + tenants {
        runners.push(database.runner(number).await?);
    }
    let after = process::resident()?;
    println!("{}", after.saturating_sub(before) as f64 / tenants as f64);
    for runner in runners {
        runner.shutdown().await?;
    }
    Ok(())
}
