//! `--serve`: the pages over two airlines, with something on them.
//!
//! The reports of this program take a fraction of a second, too short to be watched. So a workflow is shown
//! that sends a report out: one of its tasks fails at first and is tried again, one fails for good until a
//! person runs the execution again, and another asks a person.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use cloacina::tenants::TenantManager;
use cloacina::{Ask, Context, ErrorKind, Schedule, TaskError, Wait, Workflow, task, workflow};
use cloacina_web::{ApiKeys, KeyRequest, Role};
use tokio::net::TcpListener;

/// Where the pages are: on this machine, and not to be reached from elsewhere.
const ADDRESS: &str = "127.0.0.1:8750";

/// The airlines that are shown.
const AIRLINES: [&str; 2] = ["B6", "UA"];

/// Until when a task pretends to work, so that it can be watched.
const WORK: Duration = Duration::from_millis(1_500);

#[task]
async fn collect_figures(context: &mut Context) -> Result<(), TaskError> {
    tokio::time::sleep(WORK).await;
    context.set("flights", 54_049);
    Ok(())
}

/// Fails at its first attempt, as a network does.
#[task(dependencies = [collect_figures], retry(attempts = 3, base = "4s"))]
async fn fetch_weather(context: &mut Context) -> Result<(), TaskError> {
    tokio::time::sleep(WORK).await;
    if context.task().attempt() == 1 {
        return Err("the weather service did not answer in time".into());
    }
    context.set("weather", "8,730 hours");
    Ok(())
}

#[task(dependencies = [collect_figures])]
async fn draw_charts(context: &mut Context) -> Result<(), TaskError> {
    tokio::time::sleep(WORK * 2).await;
    context.set("charts", ["months", "hours", "destinations"]);
    Ok(())
}

/// Fails for good, until somebody runs the execution again.
#[task(dependencies = [fetch_weather, draw_charts])]
async fn send_out(context: &mut Context) -> Result<(), TaskError> {
    tokio::time::sleep(WORK).await;
    if context.task().rerun_of().is_none() {
        return Err(TaskError::fatal(
            "the printer has no paper: fill it, and run this execution again from what failed",
        ));
    }
    context.set("sent", true);
    Ok(())
}

#[task(dependencies = [send_out])]
async fn file_away(_: &mut Context) -> Result<(), TaskError> {
    tokio::time::sleep(WORK).await;
    Ok(())
}

#[workflow]
fn send_report() -> Workflow {
    Workflow::builder("send_report")
        .description("Sends a report out: one task is tried twice, another waits for you to run it again")
        .task(collect_figures)
        .task(fetch_weather)
        .task(draw_charts)
        .task(send_out)
        .task(file_away)
        .build()
}

#[workflow]
fn release() -> Workflow {
    let ask =
        Ask::new("Release the report of 54,049 flights?").choices(["release", "hold back"]).role("editor");
    Workflow::builder("release")
        .description("Asks a person")
        .wait(Wait::signal("editor").named("decision").ask(ask).timeout(Duration::from_secs(48 * 3_600)))
        .build()
}

/// Serves the pages until Ctrl-C.
pub(crate) fn serve(out: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let tenants = TenantManager::sqlite(out.join("served")).build().await?;
        for airline in AIRLINES {
            begin(&tenants, airline).await?;
        }
        let keys = ApiKeys::new(tenants.keys());
        let wanted = KeyRequest::of_all("the newcomer", Role::Admin).with_payloads();
        let (secret, _) = keys.issue(wanted, "airline_reports --serve").await?;
        let listener = TcpListener::bind(ADDRESS).await.with_context(|| format!("failed to listen on {ADDRESS}"))?;
        println!("The pages are at http://{ADDRESS}/. Log in with this key, which is good until you end it there:\n\n    {secret}\n");
        println!("Look at `send_report` of {}: it runs, a task is tried again, and the last one fails.", AIRLINES[0]);
        println!("Then run it again from what failed. Ctrl-C ends this.");
        let router = cloacina_web::router(tenants.clone(), keys);
        let stopped = async { drop(tokio::signal::ctrl_c().await) };
        axum::serve(listener, router).with_graceful_shutdown(stopped).await?;
        Ok(tenants.shutdown_all().await?)
    })
}

/// Gives an airline something to do.
async fn begin(tenants: &TenantManager, airline: &str) -> anyhow::Result<()> {
    match tenants.provision(airline).await {
        // It was there before.
        Err(error) if error.kind() == ErrorKind::Conflict => {}
        made => drop(made?),
    }
    let runner = tenants.runner(airline).await?;
    runner.submit("send_report").tag("demonstration").send().await?;
    runner.submit("release").tag("demonstration").send().await?;
    runner
        .schedules()
        .put(Schedule::new("every_five_minutes", "send_report").every(Duration::from_secs(300)))
        .await?;
    Ok(())
}
