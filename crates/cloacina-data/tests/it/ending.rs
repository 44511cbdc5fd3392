//! Attempts of a transactional task that end in another way while it works or commits.
//!
//! Another connection holds a lock that the transaction needs, so that it stands where the test wants it. In
//! a SQLite file nothing can come between: the transaction is the only one that writes, from its beginning to
//! its end.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use cloacina::data::sea_orm::{self, TransactionSession, TransactionTrait};
use cloacina::data::{DataErrorKind, TenantDb, TenantTx};
use cloacina::runner::{Runner, RunnerConfig};
use cloacina::{Context, Execution, ExecutionStatus, RetryPolicy, Task, TaskState, task};
use cloacina_core::store::{Liveness, Store};
use cloacina_postgres::{PostgresOptions, PostgresStore};
use cloacina_testing::proxy::Proxy;
use tokio::sync::Semaphore;

use crate::ledger::{COMMITTING, PATIENT, connect, data, enter, entered, paying, set_traps, trapped, until};
use crate::support::{Placement, assert_says, in_files_and_schemas};

/// What a task tells its test, and what it waits for.
struct Gate {
    has_entered: Semaphore,
    may_end: Semaphore,
    was_stopped: Semaphore,
}

static GATES: LazyLock<Mutex<HashMap<u64, Arc<Gate>>>> = LazyLock::new(Mutex::default);

impl Gate {
    /// A gate, and the input by which a task finds it.
    fn new() -> (Arc<Self>, Context) {
        let gate = Arc::new(Self {
            has_entered: Semaphore::new(0),
            may_end: Semaphore::new(0),
            was_stopped: Semaphore::new(0),
        });
        let number = fastrand::u64(0..1 << 50);
        GATES.lock().unwrap().insert(number, Arc::clone(&gate));
        (gate, Context::new().with("gate", number))
    }
}

async fn comes(signal: &Semaphore) {
    signal.acquire().await.unwrap().forget();
}

/// Enters its row, says so, and ends when it may.
#[task(id = "pay")]
async fn pay(context: &mut Context, tx: &TenantTx) -> Result<(), sea_orm::DbErr> {
    enter(context, tx).await?;
    let number: u64 = context.get("gate").unwrap();
    let gate = Arc::clone(&GATES.lock().unwrap()[&number]);
    let (cancellation, watched) = (context.task().cancellation().clone(), Arc::clone(&gate));
    tokio::spawn(async move {
        cancellation.cancelled().await;
        watched.was_stopped.add_permits(1);
    });
    gate.has_entered.add_permits(1);
    comes(&gate.may_end).await;
    Ok(())
}

struct World {
    place: Placement,
    url: String,
    runner: Runner,
    gate: Arc<Gate>,
    execution: Execution,
}

impl World {
    /// An execution whose task has entered its row and waits.
    async fn new(configure: impl FnOnce(&mut RunnerConfig)) -> Self {
        let place = Placement::schema().await;
        let Placement::Schema(url) = &place else { unreachable!() };
        let url = url.clone();
        let runner = open(&url, configure).await;
        // Its first use makes the tables.
        runner.data().unwrap().read_as(async |_| Ok::<_, cloacina::data::DataError>(())).await.unwrap();
        set_traps(&url).await;
        let (gate, input) = Gate::new();
        let execution = runner.execute_async("paying", input).await.unwrap();
        comes(&gate.has_entered).await;
        Self { place, url, runner, gate, execution }
    }

    /// Lets the task end, and stops its transaction within COMMIT until the returned session lets it go on.
    async fn commits(&self) -> Held {
        let client = connect(&self.url, "acme").await;
        client.execute("SELECT pg_advisory_lock($1)", &[&COMMITTING]).await.unwrap();
        self.gate.may_end.add_permits(1);
        trapped(&client).await;
        Held(client)
    }

    /// The state of the task, its attempt, and the rows of the ledger.
    async fn shows(&self) -> (String, i32, i64) {
        let all = entered(&self.place, "acme").await;
        assert!(all.iter().all(crate::ledger::Entered::agrees), "{all:?}");
        let [one] = &all[..] else { panic!("{all:?}") };
        (one.task.clone(), one.attempt, one.rows)
    }
}

async fn open(url: &str, configure: impl FnOnce(&mut RunnerConfig)) -> Runner {
    let mut config = RunnerConfig::builder()
        .heartbeat_interval(Duration::from_millis(100))
        .cancel_grace(Duration::from_millis(20))
        .workflow(paying(pay.definition().retry(PATIENT)))
        .build();
    configure(&mut config);
    Runner::builder().database_url(url).schema("acme").data(&data()).config(config).build().await.unwrap()
}

struct Held(tokio_postgres::Client);

impl Held {
    async fn go_on(self) {
        self.0.execute("SELECT pg_advisory_unlock($1)", &[&COMMITTING]).await.unwrap();
    }

    /// Waits until the transaction was given up, by the time limit that locks have.
    async fn is_given_up(&self) {
        let waits =
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'";
        until("it is given up", async || self.0.query(waits, &[]).await.unwrap().is_empty().then_some(()))
            .await;
    }
}

fn done(attempt: i32) -> (String, i32, i64) {
    ("completed".to_owned(), attempt, 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_that_passes_within_the_commit_comes_too_late() {
    let world = World::new(|config| config.task_timeout = Some(Duration::from_millis(300))).await;
    let held = world.commits().await;
    comes(&world.gate.was_stopped).await;
    held.go_on().await;
    let result = world.execution.wait_for_completion().await.unwrap();
    assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
    assert_eq!(world.shows().await, done(1));
    world.runner.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_given_up_after_the_timeout_is_tried_again() {
    let world = World::new(|config| config.task_timeout = Some(Duration::from_millis(300))).await;
    let held = world.commits().await;
    comes(&world.gate.was_stopped).await;
    world.gate.may_end.add_permits(10);
    held.is_given_up().await;
    held.go_on().await;
    let result = world.execution.wait_for_completion().await.unwrap();
    assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
    let (task, attempt, rows) = world.shows().await;
    assert!(task == "completed" && attempt > 1 && rows == 1, "{task} {attempt} {rows}");
    world.runner.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_within_the_commit_finds_the_task_completed() {
    let world = World::new(|_| {}).await;
    let held = world.commits().await;
    let execution = world.execution.clone();
    let cancelling = tokio::spawn(async move { execution.cancel().await });
    let waits = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event IN ('tuple', 'transactionid')";
    until("the cancellation waits", async || {
        (!held.0.query(waits, &[]).await.unwrap().is_empty()).then_some(())
    })
    .await;
    held.go_on().await;
    cancelling.await.unwrap().unwrap();
    let result = world.execution.wait_for_completion().await.unwrap();
    assert_eq!(result.status, ExecutionStatus::Cancelled, "{result:?}");
    assert_eq!(world.shows().await, done(1));
    world.runner.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_within_the_commit_returns_when_it_is_done() {
    for patience in [Duration::from_millis(50), Duration::from_secs(30)] {
        let world = World::new(|config| config.shutdown_timeout = patience).await;
        let held = world.commits().await;
        let runner = world.runner.clone();
        let ending = tokio::spawn(async move { runner.shutdown().await });
        if patience < Duration::from_secs(1) {
            comes(&world.gate.was_stopped).await;
        }
        held.go_on().await;
        ending.await.unwrap().unwrap();
        assert_eq!(world.shows().await, done(1), "{patience:?}");
        let next = open(&world.url, |_| {}).await;
        let result = next.execution(world.execution.execution_id).wait_for_completion().await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
        next.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_execution_was_cancelled_elsewhere_leaves_nothing() {
    let world = World::new(|config| config.cancel_grace = Duration::from_secs(30)).await;
    let proxy = Proxy::start(&world.url).await.unwrap();
    let other = open(proxy.url(), |config| config.submit_only = true).await;
    other.execution(world.execution.execution_id).cancel().await.unwrap();
    world.gate.may_end.add_permits(1);
    let result = world.execution.wait_for_completion().await.unwrap();
    assert_eq!(result.status, ExecutionStatus::Cancelled);
    world.runner.shutdown().await.unwrap();
    let (task, _, rows) = world.shows().await;
    assert_eq!((task.as_str(), rows), ("cancelled", 0));
    other.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_was_rescued_meanwhile_leaves_nothing_and_its_successor_one_row() {
    let world = World::new(|_| {}).await;
    let store = PostgresStore::connect(&world.url, PostgresOptions::default()).await.unwrap();
    // Its heartbeat goes on meanwhile.
    let condemned = until("the runner is declared dead", async || {
        let live = store
            .runner_list()
            .await
            .unwrap()
            .into_iter()
            .find(|runner| runner.liveness == Liveness::Live)?;
        store.runner_condemn(live.id, live.beat).await.unwrap().then_some(live.id)
    })
    .await;
    store.runner_rescue(condemned, None).await.unwrap();
    let (task, attempt, rows) = world.shows().await;
    assert!(task != "completed" && attempt <= 2 && rows == 0, "{task} {attempt} {rows}");
    world.gate.may_end.add_permits(10);
    let result = world.execution.wait_for_completion().await.unwrap();
    assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
    assert_eq!(world.shows().await, done(2));
    world.runner.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_ends_in_a_paused_execution_is_recorded() {
    let world = World::new(|_| {}).await;
    world.execution.pause().await.unwrap();
    world.gate.may_end.add_permits(1);
    until("it is recorded", async || (world.shows().await == done(1)).then_some(())).await;
    assert_eq!(world.execution.get_status().await.unwrap(), ExecutionStatus::Paused);
    world.execution.resume().await.unwrap();
    let result = world.execution.wait_for_completion().await.unwrap();
    assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
    assert_eq!(world.shows().await, done(1));
    world.runner.shutdown().await.unwrap();
}

#[task(id = "pay")]
async fn pay_and_say_too_much(context: &mut Context, tx: &TenantTx) -> Result<(), sea_orm::DbErr> {
    enter(context, tx).await?;
    context.set("much", "x".repeat(20_000));
    Ok(())
}

#[task(id = "pay")]
async fn pay_and_fail(context: &mut Context, tx: &TenantTx) -> anyhow::Result<()> {
    let inner = tx.begin().await?;
    enter(context, &inner).await?;
    inner.commit().await?;
    anyhow::bail!("it changed its mind")
}

#[task(id = "pay")]
async fn pay_and_pass_over_an_error(context: &mut Context, tx: &TenantTx) -> Result<(), sea_orm::DbErr> {
    enter(context, tx).await?;
    drop(sea_orm::ConnectionTrait::execute_unprepared(tx, "SELECT nonsense FROM ledger").await);
    Ok(())
}

#[task(id = "pay")]
async fn pay_and_panic(context: &mut Context, tx: &TenantTx) -> Result<(), sea_orm::DbErr> {
    enter(context, tx).await?;
    panic!("it fell over")
}

#[task(id = "pay")]
async fn pay_twice_and_take_one_back(context: &mut Context, tx: &TenantTx) -> Result<(), sea_orm::DbErr> {
    enter(context, tx).await?;
    let inner = tx.begin().await?;
    enter(context, &inner).await?;
    drop(sea_orm::ConnectionTrait::execute_unprepared(&inner, "SELECT nonsense FROM ledger").await);
    drop(inner);
    Ok(())
}

in_files_and_schemas! {
    async fn an_attempt_that_fails_after_its_work_leaves_nothing_of_it(place: Placement) {
        let cases = [
            (pay_and_say_too_much.definition(), "bytes"),
            (pay_and_fail.definition(), "changed its mind"),
            (pay_and_pass_over_an_error.definition(), "met an error before"),
            (pay_and_panic.definition(), "fell over"),
        ];
        for (number, (task, words)) in cases.into_iter().enumerate() {
            let tenant = format!("tenant_{number}");
            let config = RunnerConfig::builder().max_patch_bytes(10_000usize);
            let config = config.workflow(paying(task.retry(RetryPolicy::NEVER))).build();
            let runner = place.with(&tenant, &data(), config).await;
            let result = runner.execute("paying", Context::new()).await.unwrap();
            assert_eq!(result.status, ExecutionStatus::Failed, "{result:?}");
            assert_eq!(result.task_results[0].state, TaskState::Failed);
            let message = result.error_message.unwrap();
            assert!(message.contains(words), "`{words}` is not in: {message}");
            let all = entered(&place, &tenant).await;
            assert!(all.len() == 1 && all[0].rows == 0, "{all:?}");
            runner.shutdown().await.unwrap();
        }
    }

    async fn a_timeout_or_a_shutdown_while_the_task_works_leaves_nothing(place: Placement) {
        let configured = |timeout: Option<Duration>, retry: RetryPolicy| {
            let config = RunnerConfig::builder()
                .cancel_grace(Duration::from_millis(20))
                .shutdown_timeout(Duration::from_millis(50))
                .workflow(paying(pay.definition().retry(retry).timeout(timeout)));
            config.build()
        };
        let (_gate, input) = Gate::new();
        let config = configured(Some(Duration::from_millis(200)), RetryPolicy::NEVER);
        let runner = place.with("acme", &data(), config).await;
        let result = runner.execute("paying", input).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Failed, "{result:?}");
        runner.shutdown().await.unwrap();
        let all = entered(&place, "acme").await;
        assert!(all.len() == 1 && all[0].rows == 0, "{all:?}");

        let (gate, input) = Gate::new();
        let runner = place.with("globex", &data(), configured(None, PATIENT)).await;
        let execution = runner.execute_async("paying", input).await.unwrap();
        comes(&gate.has_entered).await;
        runner.shutdown().await.unwrap();
        let all = entered(&place, "globex").await;
        assert!(all.len() == 1 && all[0].agrees() && all[0].rows == 0, "{all:?}");
        gate.may_end.add_permits(1);
        let next = place.with("globex", &data(), configured(None, PATIENT)).await;
        let result = next.execution(execution.execution_id).wait_for_completion().await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
        let all = entered(&place, "globex").await;
        assert!(all.len() == 1 && all[0].agrees() && all[0].attempt == 2, "{all:?}");
        next.shutdown().await.unwrap();
    }

    async fn a_savepoint_that_is_given_up_is_no_part_of_what_is_committed(place: Placement) {
        let config = RunnerConfig::builder();
        let config = config.workflow(paying(pay_twice_and_take_one_back.definition().retry(RetryPolicy::NEVER))).build();
        let runner = place.with("acme", &data(), config).await;
        let result = runner.execute("paying", Context::new()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
        let all = entered(&place, "acme").await;
        assert!(all.len() == 1 && all[0].agrees(), "{all:?}");
        runner.shutdown().await.unwrap();
    }

    async fn a_savepoint_that_met_an_error_and_was_not_ended_is_not_passed_over(place: Placement) {
        let runner = place.runner("acme", &data(), vec![]).await;
        let db: TenantDb = runner.data().unwrap();
        let mut kept = None;
        let ended = db
            .run_as(async |tx| {
                let inner = tx.begin().await?;
                drop(sea_orm::ConnectionTrait::execute_unprepared(&inner, "SELECT nonsense FROM ledger").await);
                kept = Some(inner);
                Ok::<_, cloacina::data::DataError>(())
            })
            .await;
        assert_says(&ended.unwrap_err(), DataErrorKind::Poisoned, "tenant `acme`: a transaction within this one met an error");
        drop(kept);
        runner.shutdown().await.unwrap();
    }
}
