//! How many series there are. A program has one recorder, so this is one test.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]

use std::collections::BTreeSet;

use cloacina::database::{Database, DatabaseAdmin};
use cloacina::tenants::{Placement, TenantManager};
use cloacina::{Context, TaskError, TenantLabel, Workflow, label_tenants, task, workflow};
use cloacina_testing::cluster::Cluster;
use cloacina_web::Prometheus;

#[task]
async fn greet(context: &mut Context) -> Result<(), TaskError> {
    let greeting = format!("hello {}", context.get::<String>("name").unwrap_or_default());
    context.set("greeting", greeting);
    Ok(())
}

#[task]
async fn breaks(_context: &mut Context) -> Result<(), TaskError> {
    Err(TaskError::fatal("the printer is on fire"))
}

#[workflow]
fn greets() -> Workflow {
    Workflow::builder("greets").task(greet).build()
}

#[workflow]
fn fails() -> Workflow {
    Workflow::builder("fails").task(breaks).build()
}

/// The series without a tenant, and those with one.
fn series(prometheus: &Prometheus) -> (BTreeSet<String>, BTreeSet<String>) {
    let text = prometheus.render();
    let series = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    series
        .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
        .partition(|series| !series.contains("tenant=\""))
}

async fn run(tenants: &TenantManager, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let name = format!("t{number}");
        tenants.provision(&name).await.unwrap();
        let tenant = tenants.runner(&name).await.unwrap();
        for workflow in ["greets", "fails"] {
            tenant.execute(workflow, Context::new().with("name", &*name)).await.unwrap();
        }
    }
}

/// Of tenants that are looked at one after the other, twice as many as the label may name in all.
const TENANTS: usize = 40;
const NAMED: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_no_more_series_where_there_are_more_tenants() {
    let prometheus = Prometheus::install().unwrap();
    label_tenants(TenantLabel::Top(NAMED));
    let directory = tempfile::tempdir().unwrap();
    let server = Cluster::shared().unwrap();
    let url = server.fresh_database().await.unwrap();
    server.make_administrator(&url).await.unwrap();
    let name = url.rsplit('/').next().unwrap().to_owned();
    let on_server = |placement| {
        let admin = DatabaseAdmin::new(Database::new(&url, &name, 4));
        TenantManager::postgres(&url).administrator(admin).default_placement(placement)
    };
    for manager in [TenantManager::sqlite(directory.path().join("tenants")), on_server(Placement::Shared)] {
        let tenants = manager.build().await.unwrap();
        run(&tenants, 0..10).await;
        let (before, _) = series(&prometheus);
        run(&tenants, 10..TENANTS).await;
        let (after, of_tenants) = series(&prometheus);
        assert_eq!(before.symmetric_difference(&after).collect::<Vec<_>>(), Vec::<&String>::new());
        assert!(after.iter().any(|series| series.contains("greets")), "{after:#?}");
        assert!((1..=10 * NAMED + 1).contains(&of_tenants.len()), "{of_tenants:#?}");
        assert!(after.len() + of_tenants.len() < 2_000, "{}", after.len());
        tenants.shutdown_all().await.unwrap();
    }
}
