//! What many tenants cost, each in a schema of one PostgreSQL database.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use cloacina::database::{Database as AdminDatabase, DatabaseAdmin, TenantConfig};
use cloacina::{ExecutionStatus, Runner};
use cloacina_testing::cluster::Cluster;
use futures_util::future::try_join_all;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio_postgres::Client;

use super::scale::Scale;
use crate::database::{Database, Kind, schema};
use crate::hand;
use crate::hand::postgres::{NewTenant, connect};
use crate::process;
use crate::proxy::Proxy;
use crate::sample::{Spread, p50};
use crate::shape::{ONE, input};
use crate::table::{Row, Target};

/// The argument that makes this program the process with many idle tenants.
pub(crate) const IDLE_CHILD: &str = "idle-child";

/// How long we look at tenants that do nothing, and how long we leave them alone before.
const SILENCE: Duration = Duration::from_secs(10);
const SETTLED: Duration = Duration::from_secs(3);

/// Tenants that are opened first and not counted: they bring the hub, the pool and the statements with them.
const FIRST: usize = 16;

pub(crate) async fn tenancy(scale: Scale) -> Result<Vec<Row>> {
    let mut rows = provisioning(scale).await?;
    rows.extend(opening(scale).await?);
    rows.extend(idle(scale).await?);
    Ok(rows)
}

/// Tenants with logins of their own, made one after another, beside the same statements in one message.
async fn provisioning(scale: Scale) -> Result<Vec<Row>> {
    let server = Cluster::shared()?;
    let url = server.fresh_database().await?;
    server.make_administrator(&url).await?;
    let name = url.rsplit('/').next().context("the URL names no database")?.to_owned();
    let superuser = connect(&server.superuser_url_of(&url)).await?;
    // What only a superuser may close is closed for both.
    let admin = DatabaseAdmin::new(AdminDatabase::new(&url, &name, 4));
    for statement in admin.preflight().await?.hardening {
        superuser.batch_execute(&statement).await?;
    }
    // Logins are shared by all databases of the server.
    let config = |label: &str, number: usize| TenantConfig {
        schema_name: format!("{label}_{number}"),
        username: format!("{name}_{label}_{number}"),
        password: String::new(),
    };
    // The roles that are there, the connections and the statements are made once.
    for number in 0..5 {
        admin.create_tenant(config("warm", number)).await?;
    }
    let verifier: String = superuser
        .query_one("SELECT rolpassword FROM pg_authid WHERE rolname = $1", &[&format!("{name}_warm_0")])
        .await?
        .get(0);
    let hand = connect(&url).await?;

    let count = scale.provisioned;
    let mut runs = Vec::new();
    for run in 0..scale.runs {
        let begun = Instant::now();
        for number in run * count..(run + 1) * count {
            let TenantConfig { schema_name, username, .. } = config("hand", number);
            let tenant =
                NewTenant { database: &name, schema: &schema_name, login: &username, verifier: &verifier };
            hand.batch_execute(&tenant.in_one_batch()).await?;
        }
        let by_hand = begun.elapsed();
        let begun = Instant::now();
        for number in run * count..(run + 1) * count {
            admin.create_tenant(config("ours", number)).await?;
        }
        runs.push((each(begun.elapsed(), count), each(by_hand, count)));
    }
    same_tenants(&superuser).await?;

    let proxy = Proxy::start(&url).await?;
    let proxied = DatabaseAdmin::new(AdminDatabase::new(proxy.url(), &name, 4));
    proxied.create_tenant(config("proxied", 0)).await?;
    let before = proxy.counts().round_trips;
    for number in 1..=10 {
        proxied.create_tenant(config("proxied", number)).await?;
    }
    let round_trips = (proxy.counts().round_trips - before) as f64 / 10.0;

    let mut time = beside("making a tenant with a login", "µs", &runs);
    time.target = time.ratio.map(|ratio| Target { words: "≤ 1.2 ×".to_owned(), met: ratio.median <= 1.2 });
    Ok(vec![time, at_most("making a tenant with a login: round trips", "", [round_trips], 5.0)])
}

/// That the work by hand leaves what the engine leaves.
async fn same_tenants(superuser: &Client) -> Result<()> {
    let rows = superuser
        .query(
            "SELECT label, count(*), count(group_oid), sum(schema_version),
                    (SELECT count(*) FROM cloacina.login WHERE role_name ~ ('_' || label || '_')),
                    (SELECT count(*) FROM pg_class JOIN pg_namespace AS space ON space.oid = relnamespace
                     WHERE nspname ~ ('^' || label || '_') AND relacl IS NOT NULL)
             FROM unnest('{hand,ours}'::text[]) AS label JOIN cloacina.tenant ON schema_name ~ ('^' || label || '_')
             GROUP BY label",
            &[],
        )
        .await?;
    let figures: Vec<Vec<i64>> =
        rows.iter().map(|row| (1..=5).map(|column| row.get(column)).collect()).collect();
    ensure!(figures.len() == 2 && figures[0] == figures[1], "the work by hand is another: {figures:?}");
    Ok(())
}

/// Opening a tenant that is there, on a hub that is open, and its first execution.
async fn opening(scale: Scale) -> Result<Vec<Row>> {
    let (ours, theirs) = (Database::fresh(Kind::Postgres).await?, Database::fresh(Kind::Postgres).await?);
    let Database::Postgres { url } = &ours else { bail!("a fresh PostgreSQL database is one") };
    let each_run = scale.cold;
    let tenants = FIRST + each_run * scale.runs;
    let mut hand = theirs.hand(tenants).await?;
    let hand::Hand::Postgres(hand) = &mut hand else { bail!("the work by hand is on PostgreSQL") };
    // Made and closed, so that this process knows nothing of them.
    close(ours.runners(tenants).await?).await?;
    let plain = connect(url).await?;
    let mut runners = ours.runners(FIRST).await?;
    for runner in &runners {
        execute(runner).await?;
    }
    hand.cold(ONE, 0, FIRST).await?;
    plain.simple_query("SELECT 1").await?;

    let (mut opened, mut executed) = (Vec::new(), Vec::new());
    for run in 0..scale.runs {
        let (mut opening, mut first, mut trips) = (Vec::new(), Vec::new(), Vec::new());
        let numbers = FIRST + run * each_run..FIRST + (run + 1) * each_run;
        let mut by_hand = hand.cold(ONE, numbers.start, each_run).await?;
        for number in numbers {
            let begun = Instant::now();
            plain.simple_query("SELECT 1").await?;
            trips.push(begun.elapsed());
            let (url, schema) = (url.clone(), schema(number));
            // On a worker of the runtime, where a service would call.
            let (runner, opened, executed) = tokio::spawn(async move {
                let begun = Instant::now();
                let runner = Runner::with_schema(&url, &schema).await?;
                let opened = begun.elapsed();
                execute(&runner).await?;
                Ok::<_, anyhow::Error>((runner, opened, begun.elapsed()))
            })
            .await??;
            opening.push(opened);
            first.push(executed);
            runners.push(runner);
        }
        opened.push((p50(&mut opening), p50(&mut trips)));
        executed.push((p50(&mut first), p50(&mut by_hand)));
    }
    close(runners).await?;
    Ok(vec![
        beside("opening a tenant, p50 (by hand: `SELECT 1`)", "µs", &opened),
        beside("opening a tenant and its first execution, p50 (by hand: its two flights)", "µs", &executed),
    ])
}

/// Many tenants that are open and do nothing.
async fn idle(scale: Scale) -> Result<Vec<Row>> {
    let database = Database::fresh(Kind::Postgres).await?;
    let Database::Postgres { url } = &database else { bail!("a fresh PostgreSQL database is one") };
    let tenants = scale.open_tenants;
    close(database.runners(FIRST + tenants).await?).await?;
    let superuser = connect(&Cluster::shared()?.superuser_url_of(url)).await?;

    let (mut connections, mut queries, mut cpu, mut memory) = (vec![], vec![], vec![], vec![]);
    for _ in 0..scale.runs {
        let proxy = Proxy::start(url).await?;
        let mut child = Command::new(std::env::current_exe()?)
            .args([IDLE_CHILD, proxy.url(), &tenants.to_string()])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("the child has no output")?).lines();
        let mut line = async || -> Result<f64> {
            let line = lines.next_line().await?.context("the process with the idle tenants failed")?;
            line.parse().context("failed to read what the process with the idle tenants says")
        };
        memory.push(line().await? / 1000.0);
        // Here the silence begins and ends.
        line().await?;
        let (begun, before) = (Instant::now(), proxy.counts().round_trips);
        let there: i64 = superuser
            .query_one(
                "SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = 'cloacina'",
                &[],
            )
            .await?
            .get(0);
        connections.push(there as f64);
        cpu.push(line().await?);
        queries.push((proxy.counts().round_trips - before) as f64 / begun.elapsed().as_secs_f64());
        ensure!(child.wait().await?.success(), "the process with the idle tenants failed");
    }
    let title = |what: &str| format!("{tenants} idle tenants: {what}");
    Ok(vec![
        at_most(title("connections"), "", connections, 20.0),
        at_most(title("queries"), "1/s", queries, 5.0),
        at_most(title("memory of our process, each"), "kB", memory, 10.0),
        Row { engine: Spread::of(cpu), ..Row::new(title("processor, our process"), "µs/s") },
    ])
}

/// Opens tenants and says what each of them added to the memory, when the silence begins, and what processor
/// time it took.
pub(crate) async fn idle_child(url: String, tenants: usize) -> Result<()> {
    let database = Database::Postgres { url };
    let mut runners = database.runners(FIRST).await?;
    let before = process::resident()?;
    for number in FIRST..FIRST + tenants {
        runners.push(database.runner(number).await?);
    }
    println!("{}", process::resident()?.saturating_sub(before) as f64 / tenants as f64);
    tokio::time::sleep(SETTLED).await;
    println!("0");
    let before = process::cpu()?;
    tokio::time::sleep(SILENCE).await;
    println!("{}", (process::cpu()? - before).as_secs_f64() * 1e6 / SILENCE.as_secs_f64());
    close(runners).await
}

async fn execute(runner: &Runner) -> Result<()> {
    let result = runner.execute(ONE.workflow, input()).await?;
    ensure!(result.status == ExecutionStatus::Completed, "an execution ended as {:?}", result.status);
    Ok(())
}

async fn close(runners: Vec<Runner>) -> Result<()> {
    try_join_all(runners.iter().map(|runner| runner.shutdown())).await?;
    Ok(())
}

fn each(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}

fn beside(title: &str, unit: &'static str, runs: &[(f64, f64)]) -> Row {
    Row {
        engine: Spread::of(runs.iter().map(|run| run.0)),
        hand: Spread::of(runs.iter().map(|run| run.1)),
        ratio: Spread::of(runs.iter().map(|run| run.0 / run.1)),
        ..Row::new(title, unit)
    }
}

fn at_most(
    title: impl Into<String>,
    unit: &'static str,
    values: impl IntoIterator<Item = f64>,
    limit: f64,
) -> Row {
    let engine = Spread::of(values);
    let target = engine.map(|engine| Target { words: format!("≤ {limit}"), met: engine.median <= limit });
    Row { engine, target, ..Row::new(title, unit) }
}
