//! Processes and servers that end around the commit of a transactional task: what it did and that it is done
//! are there together, or neither is.
//!
//! `CLOACINA_KILLS` says how many processes are killed in each placement at a random moment; 20 in a usual
//! run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cloacina::data::{DataError, DataErrorKind, TenantTx, sea_orm};
use cloacina::runner::{Runner, RunnerConfig};
use cloacina::{Context, Task, task};
use cloacina_testing::cluster::Cluster;
use cloacina_testing::proxy::{Cut, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::ledger::{
    COMMITTING, PATIENT, RECORDING, connect, data, enter, entered, mark, noting, paying, set_traps, trapped,
    until,
};
use crate::support::{PATIENCE, Placement, in_files_and_schemas};

const ROLE: &str = "CLOACINA_LEDGER_ROLE";
const PLACE: &str = "CLOACINA_LEDGER_PLACE";
/// A file that a child makes when its task has done its work and waits.
const REACHED: &str = "CLOACINA_LEDGER_REACHED";

/// How many executions a child that submits has under way.
const AT_ONCE: usize = 8;

/// Where a task that is to stay waits for its end.
static STAYS: OnceLock<PathBuf> = OnceLock::new();

#[task(id = "pay")]
async fn pay(context: &mut Context, tx: &TenantTx) -> Result<(), sea_orm::DbErr> {
    enter(context, tx).await?;
    if let Some(reached) = STAYS.get() {
        std::fs::write(reached, "").unwrap();
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// Does nothing in a usual run; the other tests start this binary once more with this test and a role.
#[test]
fn a_child_does_what_its_parent_says() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let place = std::env::var(PLACE).unwrap();
    if let Ok(reached) = std::env::var(REACHED) {
        STAYS.set(reached.into()).unwrap();
    }
    let may_end = Arc::new(AtomicBool::new(false));
    let until_input_ends = Arc::clone(&may_end);
    std::thread::spawn(move || {
        // It ends when the parent says so, and also when the parent is gone.
        drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
        until_input_ends.store(true, Ordering::Relaxed);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async move {
        let runner = open(&place).await;
        match role.as_str() {
            "load" => load(&runner, &may_end).await,
            "work" => {
                while !may_end.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            "submit" => submit(&runner, &may_end).await,
            "rest" => {
                // Opened again with a handle that runs nothing, and then nothing happens for a while.
                let only_submits = open_to_submit(&place).await;
                runner.shutdown().await.unwrap();
                let log = format!("{}-wal", place.split_once("sqlite://").unwrap().1);
                until("the file rests", async || (!Path::new(&log).exists()).then_some(())).await;
                let db = only_submits.data().unwrap();
                db.run_as(async |tx| tx.submit("noting").send().await).await.unwrap();
                std::process::abort();
            }
            "one" => drop(runner.execute("paying", Context::new()).await.unwrap()),
            _ => drain(&runner).await,
        }
        runner.shutdown().await.unwrap();
    });
}

async fn open(place: &str) -> Runner {
    open_as(place, false).await
}

async fn open_to_submit(place: &str) -> Runner {
    open_as(place, true).await
}

async fn open_as(place: &str, submit_only: bool) -> Runner {
    let config = RunnerConfig::builder()
        .submit_only(submit_only)
        .lease(Duration::from_secs(60))
        .heartbeat_interval(Duration::from_millis(100))
        .max_lost(1_000u32)
        .workflow(paying(pay.definition().retry(PATIENT)))
        .workflow(noting())
        .build();
    let (builder, data) = (Runner::builder().config(config), data());
    let builder = match place.split(' ').collect::<Vec<_>>()[..] {
        ["schema", url] => builder.database_url(url).schema("acme").data(&data),
        ["shared", url, username, password] => {
            builder.database_url(url).tenant("acme").data(&data.app_login(username, password))
        }
        ["database", url] => builder.database_url(url).tenant("acme").data(&data),
        [_, url] => builder.database_url(url).data(&data),
        _ => panic!("no place: {place}"),
    };
    builder.build().await.unwrap()
}

/// Runs one execution after the other, several side by side.
async fn load(runner: &Runner, may_end: &Arc<AtomicBool>) {
    let submitters: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (runner, may_end) = (runner.clone(), Arc::clone(may_end));
            tokio::spawn(async move {
                while !may_end.load(Ordering::Relaxed) {
                    // A server that goes away may take the answer with it; what was recorded is finished all
                    // the same.
                    if let Ok(result) = runner.execute("paying", Context::new()).await {
                        assert!(result.status.is_success(), "{result:?}");
                    }
                }
            })
        })
        .collect();
    for submitter in submitters {
        submitter.await.unwrap();
    }
}

/// Submits executions in transactions that leave a row for each, several side by side. Where it is to stay,
/// each transaction does, before its end.
async fn submit(runner: &Runner, may_end: &Arc<AtomicBool>) {
    let db = runner.data().unwrap();
    let submitters: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (db, may_end) = (db.clone(), Arc::clone(may_end));
            tokio::spawn(async move {
                while !may_end.load(Ordering::Relaxed) {
                    let submitted = db
                        .run_as(async |tx| {
                            let execution = tx.submit("noting").send().await?;
                            mark(tx, execution).await?;
                            if let Some(reached) = STAYS.get() {
                                std::fs::write(reached, "").unwrap();
                                std::future::pending::<()>().await;
                            }
                            anyhow::Ok(())
                        })
                        .await;
                    // A file has one writer, who may be kept waiting for too long.
                    if let Err(error) = submitted {
                        let error = error.downcast::<DataError>().unwrap();
                        assert_eq!(error.kind(), DataErrorKind::Transient, "{error}");
                    }
                }
            })
        })
        .collect();
    for submitter in submitters {
        submitter.await.unwrap();
    }
}

/// Works until nothing is left.
async fn drain(runner: &Runner) {
    while runner.list_executions().await.unwrap().iter().any(|execution| !execution.status.is_terminal()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A child, which is killed when it is dropped.
pub(crate) struct Child(std::process::Child);

impl Child {
    pub(crate) fn start(role: &str, place: &str, reached: Option<&Path>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "crash::a_child_does_what_its_parent_says", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(PLACE, place)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        if let Some(reached) = reached {
            command.env(REACHED, reached);
        }
        Self(command.spawn().unwrap())
    }

    /// Kills it; fails if it has come to a bad end before.
    pub(crate) fn kill(mut self) {
        let ended = self.0.try_wait().unwrap();
        assert!(ended.is_none_or(|status| status.success()), "a child ended before it was killed: {ended:?}");
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Waits until it has ended, in whatever way.
    pub(crate) async fn ends(mut self) {
        until("a child ends", async || self.0.try_wait().unwrap()).await;
    }

    /// Waits until it has ended well.
    pub(crate) async fn succeeds(mut self) {
        drop(self.0.stdin.take());
        let status = until("a child ends", async || self.0.try_wait().unwrap()).await;
        assert!(status.success(), "a child ended with {status}");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// How a child is told of a place.
pub(crate) async fn named(place: &Placement) -> String {
    let kind = match place {
        Placement::Sqlite(_) => "file",
        Placement::Schema(_) => "schema",
        Placement::OwnRole(_) => "login",
        Placement::Shared(_) => "shared",
        Placement::Database(_) => "database",
    };
    format!("{kind} {}", place.told("acme", &data()).await.join(" "))
}

/// Makes the place with its tables.
pub(crate) async fn make(place: &Placement) {
    let runner = place.runner("acme", &data(), vec![]).await;
    let db = runner.data().unwrap();
    db.read_as(async |_| Ok::<_, cloacina::data::DataError>(())).await.unwrap();
    runner.shutdown().await.unwrap();
}

/// Fails if what the task did and that it is done are not together everywhere; otherwise says how many
/// executions have come so far.
async fn agree(place: &Placement, hint: &str) -> usize {
    let all = entered(place, "acme").await;
    let wrong: Vec<_> = all.iter().filter(|entered| !entered.agrees()).collect();
    assert!(wrong.is_empty(), "effect and completion do not agree ({hint}): {wrong:#?}");
    all.iter().filter(|entered| entered.rows == 1).count()
}

/// Has everything finished, and fails unless each execution has its one row.
async fn finish(place: &Placement, hint: &str) -> Vec<crate::ledger::Entered> {
    Child::start("drain", &named(place).await, None).succeeds().await;
    agree(place, hint).await;
    let all = entered(place, "acme").await;
    assert!(all.iter().all(|entered| entered.rows == 1), "executions were left ({hint}): {all:#?}");
    all
}

pub(crate) fn count(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |count| count.parse().unwrap())
}

async fn kill_again_and_again(place: Placement) {
    make(&place).await;
    let seed = count("CLOACINA_SEED", fastrand::u64(0..1_000_000));
    let mut rng = fastrand::Rng::with_seed(seed);
    let kills = count("CLOACINA_KILLS", 20);
    let (mut done, mut idle) = (0, 0);
    for life in 0..kills {
        let child = Child::start("load", &named(&place).await, None);
        let before = done;
        // Some die while they still open the place, most while they work.
        if rng.u32(0..4) > 0 {
            until("a child works", async || {
                (entered(&place, "acme").await.iter().filter(|one| one.rows == 1).count() > before)
                    .then_some(())
            })
            .await;
        }
        tokio::time::sleep(Duration::from_micros(rng.u64(0..150_000))).await;
        child.kill();
        done = agree(&place, &format!("seed {seed}, life {life}")).await;
        idle += u32::from(done == before);
    }
    let all = finish(&place, &format!("seed {seed}, {kills} kills")).await;
    let again = all.iter().filter(|entered| entered.attempt > 1).count();
    println!(
        "seed {seed}: {kills} kills ({idle} before any work), {} executions, {again} tasks run again",
        all.len()
    );
    assert!(all.len() > 50, "hardly anything ran: {}", all.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_again_and_again_leaves_one_row_for_each_execution_in_a_file() {
    kill_again_and_again(Placement::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_again_and_again_leaves_one_row_for_each_execution_in_a_schema() {
    kill_again_and_again(Placement::schema().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_again_and_again_leaves_one_row_for_each_execution_with_its_own_login() {
    kill_again_and_again(Placement::own_role().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_again_and_again_leaves_one_row_for_each_execution_in_shared_tables() {
    kill_again_and_again(Placement::shared().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_again_and_again_leaves_one_row_for_each_execution_in_a_database_of_its_own()
{
    kill_again_and_again(Placement::database().await).await;
}

in_files_and_schemas! {
    async fn a_process_that_is_killed_when_the_work_is_done_and_nothing_is_recorded_leaves_nothing(place: Placement) {
        make(&place).await;
        let directory = tempfile::tempdir().unwrap();
        let reached = directory.path().join("reached");
        let child = Child::start("one", &named(&place).await, Some(&reached));
        until("the task has done its work", async || reached.exists().then_some(())).await;
        child.kill();
        assert_eq!(agree(&place, "killed before the completion").await, 0);
        let all = finish(&place, "killed before the completion").await;
        assert_eq!(all.iter().map(|entered| (entered.attempt, entered.rows)).collect::<Vec<_>>(), [(2, 1)]);
    }

    async fn a_process_that_is_killed_as_soon_as_its_row_is_seen_leaves_a_completed_task(place: Placement) {
        make(&place).await;
        for round in 1..=5 {
            let child = Child::start("one", &named(&place).await, None);
            until("the row is there", async || (agree(&place, "as soon as it is seen").await == round).then_some(())).await;
            child.kill();
        }
        let all = finish(&place, "killed after the commit").await;
        assert!(all.iter().all(|entered| entered.attempt == 1), "a task that was done ran again: {all:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_while_its_commit_is_under_way_leaves_both_or_neither() {
    for (trap, freed_first, attempt) in [
        // The statements were cut short: rolled back.
        (RECORDING, true, 2),
        // COMMIT had been sent: it is done, whoever is there to hear of it.
        (COMMITTING, true, 1),
        // The rescuer finds the commit under way; it ends by its own time limit, and is rolled back.
        (COMMITTING, false, 2),
    ] {
        let hint = format!("trap {trap}, freed first: {freed_first}");
        let place = Placement::schema().await;
        let Placement::Schema(url) = &place else { unreachable!() };
        make(&place).await;
        set_traps(url).await;
        let client = connect(url, "acme").await;
        client.execute("SELECT pg_advisory_lock($1)", &[&trap]).await.unwrap();
        let child = Child::start("one", &named(&place).await, None);
        trapped(&client).await;
        child.kill();
        assert_eq!(agree(&place, &hint).await, 0);
        let named = named(&place).await;
        let rescuer = (!freed_first).then(|| Child::start("drain", &named, None));
        if !freed_first {
            until("the transaction is given up", async || {
                let waits = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'";
                client.query(waits, &[]).await.unwrap().is_empty().then_some(())
            })
            .await;
        }
        client.execute("SELECT pg_advisory_unlock($1)", &[&trap]).await.unwrap();
        if let Some(rescuer) = rescuer {
            rescuer.succeeds().await;
        }
        let all = finish(&place, &hint).await;
        assert_eq!(
            all.iter().map(|entered| (entered.attempt, entered.rows)).collect::<Vec<_>>(),
            [(attempt, 1)],
            "{hint}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_before_it_hears_of_its_commit_leaves_a_completed_task() {
    let place = Placement::schema().await;
    let Placement::Schema(url) = &place else { unreachable!() };
    make(&place).await;
    set_traps(url).await;
    let client = connect(url, "acme").await;
    client.execute("SELECT pg_advisory_lock($1)", &[&COMMITTING]).await.unwrap();
    let (through, deaf) = deafening(url).await;
    let child = Child::start("one", &format!("schema {through}"), None);
    trapped(&client).await;
    deaf.send_replace(true);
    client.execute("SELECT pg_advisory_unlock($1)", &[&COMMITTING]).await.unwrap();
    until("it is committed", async || (agree(&place, "deaf").await == 1).then_some(())).await;
    child.kill();
    let all = finish(&place, "deaf").await;
    assert_eq!(all.iter().map(|entered| (entered.attempt, entered.rows)).collect::<Vec<_>>(), [(1, 1)]);
}

/// A way to the server on which, once told, no answer comes back.
async fn deafening(url: &str) -> (String, watch::Sender<bool>) {
    let (before, rest) = url.split_once('@').unwrap();
    let (server, after) = rest.split_once('/').unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let through = format!("{before}@{}/{after}", listener.local_addr().unwrap());
    let (deaf, is_deaf) = watch::channel(false);
    let server = server.to_owned();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (server, is_deaf) = (TcpStream::connect(&server).await.unwrap(), is_deaf.clone());
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move {
                drop(tokio::io::copy(&mut from_client, &mut to_server).await);
                drop(to_server.shutdown().await);
            });
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 << 10];
                while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
                    if !*is_deaf.borrow() && to_client.write_all(&buffer[..length]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (through, deaf)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_around_a_commit_leaves_one_row_for_each_execution() {
    let seed = count("CLOACINA_SEED", fastrand::u64(0..1_000_000));
    let mut rng = fastrand::Rng::with_seed(seed);
    let place = Placement::schema().await;
    make(&place).await;
    let Placement::Schema(url) = &place else { unreachable!() };
    let proxy = Proxy::start(url).await.unwrap();
    let runner = open(&format!("schema {}", proxy.url())).await;
    let mut commit = 0;
    for _ in 0..60 {
        commit += rng.u64(1..8);
        proxy.cut_at_commit(commit, if rng.bool() { Cut::BeforeReply } else { Cut::BeforeCommit });
    }
    let runs: Vec<_> = (0..8)
        .map(|_| {
            let runner = runner.clone();
            tokio::spawn(async move {
                for _ in 0..25 {
                    let result = runner.execute("paying", Context::new()).await.unwrap();
                    assert!(result.status.is_success(), "{result:?}");
                }
            })
        })
        .collect();
    for run in runs {
        tokio::time::timeout(PATIENCE, run)
            .await
            .unwrap_or_else(|_| panic!("no end (seed {seed}, {:?})", proxy.counts()))
            .unwrap();
    }
    runner.shutdown().await.unwrap();
    let counts = proxy.counts();
    assert!(counts.cuts >= 40, "hardly anything was cut (seed {seed}): {counts:?}");
    let all = finish(&place, &format!("seed {seed}, {counts:?}")).await;
    let again = all.iter().filter(|entered| entered.attempt > 1).count();
    println!("seed {seed}: {} cuts, {} executions, {again} tasks run again", counts.cuts, all.len());
    assert_eq!(all.len(), 200, "seed {seed}, {counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_started_again_has_one_row_for_each_execution() {
    let cluster = Cluster::start().unwrap();
    let place = Placement::Schema(cluster.fresh_database().await.unwrap());
    make(&place).await;
    let child = Child::start("load", &named(&place).await, None);
    let mut done = 0;
    for round in 0..4 {
        until("the child works", async || {
            (entered(&place, "acme").await.iter().filter(|one| one.rows == 1).count() > done + 20)
                .then_some(())
        })
        .await;
        cluster.kill().unwrap();
        cluster.restart().unwrap();
        done = agree(&place, &format!("the server was killed, round {round}")).await;
    }
    child.succeeds().await;
    let all = finish(&place, "the server was killed").await;
    let again = all.iter().filter(|entered| entered.attempt > 1).count();
    println!("the server was killed 4 times: {} executions, {again} tasks run again", all.len());
}
