//! Many tenants in the same tables of one PostgreSQL database.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cloacina::database::{Database as AdminDatabase, DatabaseAdmin};
use cloacina::{Context, ExecutionStatus, Runner, RunnerConfig, Schedule};
use cloacina_core::clock::{Clock as _, SystemClock};
use cloacina_testing::cluster::Cluster;
use futures_util::future::try_join_all;
use tokio_postgres::Client;

use super::scale::{IN_FLIGHT, Scale, per_second};
use crate::hand::postgres::connect;
use crate::process;
use crate::sample::Spread;
use crate::shape::{ONE, input};
use crate::table::{Row, Target};

/// How long we look at tenants that do nothing, and how long we leave them alone before: PostgreSQL counts
/// what a session did up to 10 s late.
const SILENCE: Duration = Duration::from_secs(10);
const SETTLED: Duration = Duration::from_secs(12);

/// How many schedules each tenant has.
const SCHEDULES: usize = 3;

pub(crate) async fn shared(scale: Scale) -> Result<Vec<Row>> {
    let server = Cluster::shared()?;
    let url = server.fresh_database().await?;
    server.make_administrator(&url).await?;
    let name = url.rsplit('/').next().context("the URL names no database")?.to_owned();
    let admin = DatabaseAdmin::new(AdminDatabase::new(&url, &name, 4));
    let operator = server.ordinary_login(&url).await?;
    let login = operator.split("://").nth(1).and_then(|rest| rest.split(':').next());
    admin.allow_operator(login.context("the URL names no login")?).await?;

    let tenants = scale.shared_tenants;
    admin.create_shared_tenant("first").await?;
    let begun = Instant::now();
    for number in 0..tenants {
        admin.create_shared_tenant(&format!("t{number}")).await?;
    }
    let made = begun.elapsed().as_secs_f64() * 1e6 / tenants as f64;

    let first = open(&operator, "first").await?;
    execute(&first, IN_FLIGHT).await?;
    let before = process::resident()?;
    let begun = Instant::now();
    let mut runners = Vec::with_capacity(tenants);
    for number in 0..tenants {
        runners.push(open(&operator, &format!("t{number}")).await?);
    }
    let opened = begun.elapsed().as_secs_f64() * 1e6 / tenants as f64;
    let memory = process::resident()?.saturating_sub(before) as f64 / 1000.0 / tenants as f64;
    let runners: Arc<[Runner]> = runners.into();
    let one: Arc<[Runner]> = Arc::new([first]);

    let title = |what: &str| format!("{tenants} tenants in the same tables: {what}");
    let mut rows = vec![
        figure(title("making one"), "µs", made),
        figure(title("opening one"), "µs", opened),
        figure(title("memory of our process, each"), "kB", memory),
    ];

    tokio::time::sleep(SETTLED).await;
    let superuser = connect(&server.superuser_url_of(&url)).await?;
    let transactions = async || -> Result<i64> {
        let sql =
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()";
        Ok(superuser.query_one(sql, &[]).await?.get(0))
    };
    let (before, cpu) = (transactions().await?, process::cpu()?);
    tokio::time::sleep(SILENCE).await;
    let cpu = (process::cpu()? - cpu).as_secs_f64() * 1e6 / SILENCE.as_secs_f64();
    let queries = (transactions().await? - before) as f64 / SILENCE.as_secs_f64();
    rows.push(figure(title("idle, transactions of the server"), "1/s", queries));
    rows.push(figure(title("idle, processor, our process"), "µs/s", cpu));

    let (mut busy, mut due) = (Vec::new(), Vec::new());
    in_flight(&runners, scale.rate / 4).await?;
    for _ in 0..scale.runs {
        let alone = in_flight(&one, scale.rate).await?;
        let all = in_flight(&runners, scale.rate).await?;
        busy.push((per_second(scale.rate, all), per_second(scale.rate, alone)));
        let alone = at_one_moment(&one, tenants).await?;
        let all = at_one_moment(&runners, tenants).await?;
        due.push((per_second(tenants, all), per_second(tenants, alone)));
    }
    rows.push(rate(title(&format!("{IN_FLIGHT} in flight over all (by hand: one tenant)")), &busy));
    rows.push(rate(title("one execution each, due at one moment (by hand: as many of one tenant)"), &due));
    rows.extend(schedules(&runners, &superuser).await?);
    try_join_all(runners.iter().chain(&*one).map(|runner| runner.shutdown())).await?;
    Ok(rows)
}

async fn open(url: &str, tenant: &str) -> Result<Runner> {
    let config =
        RunnerConfig::builder().max_concurrent_tasks(2048).max_process_tasks(2048).retention(None).build();
    Ok(Runner::builder().database_url(url).tenant(tenant).config(config).build().await?)
}

async fn execute(runner: &Runner, count: usize) -> Result<()> {
    let runner: Arc<[Runner]> = Arc::new([runner.clone()]);
    in_flight(&runner, count).await.map(drop)
}

/// How long `count` executions take with 1,000 callers, each of which asks one tenant after the other.
async fn in_flight(runners: &Arc<[Runner]>, count: usize) -> Result<Duration> {
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let callers: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (runners, next) = (Arc::clone(runners), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return Ok::<_, anyhow::Error>(());
                    }
                    let result = runners[number % runners.len()].execute(ONE.workflow, input()).await?;
                    ensure!(
                        result.status == ExecutionStatus::Completed,
                        "an execution ended as {:?}",
                        result.status
                    );
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await??;
    }
    Ok(begun.elapsed())
}

/// How long it takes to claim and end `count` executions that become due at one moment, spread over the
/// tenants.
async fn at_one_moment(runners: &Arc<[Runner]>, count: usize) -> Result<Duration> {
    // Time enough to submit them all.
    let wait = Duration::from_secs(5) + Duration::from_millis(2) * u32::try_from(count)?;
    let moment = Instant::now() + wait;
    let start_at = SystemClock.now() + wait;
    let mut executions = Vec::with_capacity(count);
    for batch in (0..count).collect::<Vec<_>>().chunks(IN_FLIGHT) {
        let submitted = batch.iter().map(|number| {
            let runner = &runners[number % runners.len()];
            runner.submit(ONE.workflow).input(Context::new()).start_at(start_at).send()
        });
        executions.extend(try_join_all(submitted).await?);
    }
    ensure!(Instant::now() < moment, "there was no time to submit them all before they were due");
    for result in try_join_all(executions.iter().map(|execution| execution.wait_for_completion())).await? {
        ensure!(result.status == ExecutionStatus::Completed, "an execution ended as {:?}", result.status);
    }
    Ok(moment.elapsed())
}

/// Schedules of all tenants that are due in one second, until all that they start is recorded.
async fn schedules(runners: &Arc<[Runner]>, superuser: &Client) -> Result<Vec<Row>> {
    let count = runners.len() * SCHEDULES;
    // Time enough to put them all.
    let wait = Duration::from_secs(10) + Duration::from_millis(4) * u32::try_from(count)?;
    let (moment, start) = (Instant::now() + wait, SystemClock.now() + wait);
    for batch in (0..count).collect::<Vec<_>>().chunks(IN_FLIGHT) {
        let puts = batch.iter().map(|number| async move {
            let at = start + Duration::from_millis(*number as u64 * 1000 / count as u64);
            let schedule = Schedule::new(format!("s{}", number % SCHEDULES), ONE.workflow).at(at);
            runners[number / SCHEDULES].schedules().put(schedule).await
        });
        try_join_all(puts).await?;
    }
    ensure!(Instant::now() < moment, "there was no time to put all schedules before they were due");
    let fired = "SELECT count(*) FROM cloacina_shared.schedule_fires WHERE outcome = 'started'";
    tokio::time::sleep_until((moment + Duration::from_secs(1)).into()).await;
    let deadline = moment + Duration::from_secs(120);
    while superuser.query_one(fired, &[]).await?.get::<_, i64>(0) < i64::try_from(count)? {
        ensure!(Instant::now() < deadline, "not all schedules fired within two minutes");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = moment.elapsed().as_secs_f64();
    let executions = "SELECT count(*), count(DISTINCT (tenant_id, idempotency_key)) FROM cloacina_shared.workflow_executions
        WHERE created_at >= $1::text::timestamptz";
    let counts = superuser.query_one(executions, &[&start.to_string()]).await?;
    let (all, different): (i64, i64) = (counts.get(0), counts.get(1));
    ensure!(
        (all, different) == (i64::try_from(count)?, i64::try_from(count)?),
        "{count} schedules started {all} executions, {different} different ones"
    );
    let title =
        format!("{count} schedules of {} tenants due within a second, until all are recorded", runners.len());
    let target = Target { words: "≤ 6".to_owned(), met: took <= 6.0 };
    Ok(vec![Row { target: Some(target), ..figure(title, "s", took) }])
}

fn figure(title: String, unit: &'static str, value: f64) -> Row {
    Row { engine: Spread::of([value]), ..Row::new(title, unit) }
}

fn rate(title: String, runs: &[(f64, f64)]) -> Row {
    let mut row = Row {
        engine: Spread::of(runs.iter().map(|run| run.0)),
        hand: Spread::of(runs.iter().map(|run| run.1)),
        ratio: Spread::of(runs.iter().map(|run| run.0 / run.1)),
        ..Row::new(title, "1/s")
    };
    row.target = row.ratio.map(|ratio| Target { words: "≥ 50 %".to_owned(), met: ratio.median >= 0.5 });
    row
}
