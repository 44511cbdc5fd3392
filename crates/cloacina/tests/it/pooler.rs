//! Behind a pooler in transaction mode: each transaction may be another server process's.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cloacina::runner::Runner;
use cloacina::{Context, RetryPolicy, RunnerConfig, Workflow};
use cloacina_testing::pooler::Pooler;

use crate::admin::Administered;
use crate::support::{Gate, in_time, quick, setting, task, workflow};

/// Two server connections for each login, so that tenants take turns on them.
const SERVER_CONNECTIONS: u32 = 2;

/// A task that fails once and is tried again after a while, then one that says whose it is.
fn retrying(tenant: &'static str) -> Workflow {
    let tries = AtomicU32::new(0);
    let flaky = task("flaky", move |context: Context| {
        let fails = tries.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        async move { if fails { Err("once more".into()) } else { Ok(context) } }
    });
    let wait = Duration::from_millis(20);
    workflow(
        "w",
        [
            flaky.retry(RetryPolicy { attempts: 3, base: wait, cap: wait, ..RetryPolicy::DEFAULT }),
            setting("tell", "tenant", tenant).dependencies(["flaky"]),
        ],
    )
}

fn config(tenant: &'static str) -> RunnerConfig {
    quick().workflow(retrying(tenant)).build()
}

async fn executes(runner: &Runner, tenant: &str, number: u64) {
    let result = in_time(runner.execute("w", Context::new().with("number", number))).await.unwrap();
    assert!(result.status.is_success(), "{result:?}");
    assert_eq!(result.final_context.get("tenant"), Some(tenant.to_owned()));
    assert_eq!(result.final_context.get("number"), Some(number));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_take_turns_behind_a_pooler_in_transaction_mode() {
    let database = Administered::by_a_provisioner().await;
    let mut own = database.config("own");
    own.password = "open-sesame".to_owned();
    let own = database.admin.create_tenant(own).await.unwrap().connection_string;
    let pooler = Pooler::start(&[&database.url, &own], SERVER_CONNECTIONS).await.unwrap();

    let url = pooler.url(&database.url);
    let open = |schema: &'static str| {
        Runner::builder().database_url(&url).schema(schema).config(config(schema)).build()
    };
    let (acme, globex) = (open("acme").await.unwrap(), open("globex").await.unwrap());
    // The tenant's login hears others on a session of its own.
    let own = Runner::with_config(&pooler.url_with_direct(&own), config("own")).await.unwrap();
    for number in 0..15 {
        tokio::join!(
            executes(&acme, "acme", number),
            executes(&globex, "globex", number),
            executes(&own, "own", number)
        );
    }
    for runner in [acme, globex, own] {
        in_time(runner.shutdown()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn executions_survive_the_end_of_the_poolers_connections() {
    let database = Administered::by_a_provisioner().await;
    let pooler = Pooler::start(&[&database.url], SERVER_CONNECTIONS).await.unwrap();
    let superuser = database.superuser().await;
    let builder = Runner::builder().database_url(pooler.url(&database.url)).schema("acme");
    let runner = builder.config(config("acme")).build().await.unwrap();
    let cut = async {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            // The pooler tells its clients that their server connections are gone, whatever was under way.
            let text = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE datname = current_database() AND pid <> pg_backend_pid()";
            superuser.batch_execute(text).await.unwrap();
        }
    };
    let work = async {
        for number in 0..10 {
            executes(&runner, "acme", number).await;
        }
    };
    tokio::join!(cut, work);
    in_time(runner.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_of_another_process_begins_long_before_anybody_would_look() {
    let database = Administered::by_a_provisioner().await;
    let pooler = Pooler::start(&[&database.url], SERVER_CONNECTIONS).await.unwrap();
    let gate = Gate::new();
    let url = pooler.url_with_direct(&database.url);
    let open = |url: &str, config: RunnerConfig| {
        Runner::builder().database_url(url).schema("acme").config(config).build()
    };
    let config = || quick().workflow(workflow("w", [gate.task("t")]));
    let worker = open(&url, config().build()).await.unwrap();
    // Another address, and so another hub, as in another process: it does nothing itself.
    let url = pooler.url(&database.url).replacen("127.0.0.1", "localhost", 1);
    let submitter = open(&url, config().submit_only(true).build()).await.unwrap();
    let mut waits = Vec::new();
    for _ in 0..11 {
        let submitted = Instant::now();
        submitter.submit("w").send().await.unwrap();
        gate.started().await;
        waits.push(submitted.elapsed());
        gate.open(1);
    }
    waits.sort();
    // Who only looked would look once a second, and half a second later on average.
    assert!(waits[5] < Duration::from_millis(250), "{waits:?}");
    for runner in [submitter, worker] {
        in_time(runner.shutdown()).await.unwrap();
    }
}
