//! A store that fails at every call, sooner or later: before it wrote anything, after it wrote everything,
//! and nobody is told which. The engine on it must lose nothing and do nothing twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cloacina::runner::PlaceRunner;
use cloacina::{RunnerConfig, registered_workflows};
use cloacina_core::Hub;
use cloacina_core::store::{Liveness, PlaceName, Store, StoreErrorKind};
use cloacina_sqlite::SqliteStore;
use cloacina_testing::faulty::{Call, FaultyStore, Method, Moment, Verdict};
use cloacina_testing::memory::MemoryDatabase;

use crate::check::check;
use crate::journal::noted;
use crate::process::{PATIENCE, count, join_all};
use crate::workload::{run_many, run_one};

/// How often what happens, in percent of the calls.
#[derive(Debug, Clone, Copy)]
struct Rates {
    /// A flush is refused, and it is known that nothing was written.
    refused: u32,
    /// A flush is refused, and it is not known that nothing was written.
    unsure: u32,
    /// A flush is written, and its answer is lost.
    lost: u32,
    /// Any other call fails before it did anything.
    others_before: u32,
    /// Any other call fails after it did everything.
    others_after: u32,
    /// A call takes up to 5 ms longer, before or after.
    delayed: u32,
    /// Somebody else declares the runner dead, how often in all.
    condemned: u32,
}

impl Rates {
    /// One kind of trouble at a time for the first seeds, then mixtures.
    fn of(seed: u64, rng: &mut fastrand::Rng) -> Self {
        let none = Self {
            refused: 0,
            unsure: 0,
            lost: 0,
            others_before: 0,
            others_after: 0,
            delayed: 30,
            condemned: 0,
        };
        match seed % 10 {
            1 => Self { lost: 50, ..none },
            2 => Self { unsure: 50, ..none },
            3 => Self { refused: 50, ..none },
            4 => Self { lost: 30, unsure: 30, ..none },
            5 => Self { others_before: 40, ..none },
            6 => Self { others_after: 40, lost: 20, ..none },
            7 => Self { condemned: 4, ..none },
            8 => Self { condemned: 4, lost: 30, ..none },
            _ => Self {
                refused: rng.u32(0..30),
                unsure: rng.u32(0..30),
                lost: rng.u32(0..40),
                others_before: rng.u32(0..30),
                others_after: rng.u32(0..30),
                delayed: rng.u32(0..80),
                condemned: rng.u32(0..4),
            },
        }
    }

    fn verdict(&self, call: &Call, rng: &mut fastrand::Rng) -> Verdict {
        let mut happens = |percent: u32| rng.u32(0..100) < percent;
        let failure = match (call.method, call.moment) {
            (Method::Flush, Moment::Before) if happens(self.refused) => Some(StoreErrorKind::Transient),
            (Method::Flush, Moment::Before) if happens(self.unsure) => Some(StoreErrorKind::Unknown),
            (Method::Flush, Moment::After) if happens(self.lost) => Some(StoreErrorKind::Unknown),
            (Method::Flush, _) => None,
            (_, Moment::Before) if happens(self.others_before) => Some(StoreErrorKind::Transient),
            (_, Moment::After) if happens(self.others_after) => Some(StoreErrorKind::Unknown),
            _ => None,
        };
        match failure {
            Some(kind) => Verdict::Fail(kind),
            None if happens(self.delayed) => Verdict::Delay(Duration::from_micros(rng.u64(0..5_000))),
            None => Verdict::Pass,
        }
    }
}

/// What a runner on a store that fails is started with: a lease that cannot end by itself.
fn settings() -> RunnerConfig {
    RunnerConfig::builder()
        .lease(Duration::from_secs(60))
        .heartbeat_interval(Duration::from_millis(100))
        .cancel_grace(Duration::from_millis(500))
        .max_lost(1_000u32)
        .build()
}

async fn open(store: Arc<dyn Store>, settings: RunnerConfig) -> PlaceRunner {
    let hub = Hub::start(store, &settings);
    let workflows = registered_workflows().unwrap();
    PlaceRunner::open(hub, PlaceName::Default, settings, workflows).await.unwrap().expect("a new hub is open")
}

/// Runs the mixed load over a store that fails as the seed says, then looks at what is in the database.
async fn round<S: AsyncFn() -> Arc<dyn Store>>(name: &str, seed: u64, connect: S) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let rates = Rates::of(seed, &mut rng);
    let hint = format!("{name}, seed {seed}, {rates:?}");
    let armed = Arc::new(AtomicBool::new(false));
    let hook = {
        let (armed, rng) = (Arc::clone(&armed), Mutex::new(rng.fork()));
        move |call: &Call| match armed.load(Ordering::Relaxed) {
            true => rates.verdict(call, &mut rng.lock().unwrap()),
            false => Verdict::Pass,
        }
    };
    let runner = open(FaultyStore::new(connect().await, hook), settings()).await;
    armed.store(true, Ordering::Relaxed);
    let executioner = connect().await;
    let work = async {
        tokio::join!(run_many(&runner, 0..80, 25), async {
            for _ in 0..rates.condemned {
                tokio::time::sleep(Duration::from_millis(rng.u64(10..150))).await;
                condemn(&*executioner).await;
            }
        })
    };
    let Ok((mut ids, ())) = tokio::time::timeout(PATIENCE, work).await else {
        armed.store(false, Ordering::Relaxed);
        let open = crate::check::everything(&runner).await;
        let open: Vec<_> = open.iter().filter(|result| !result.status.is_terminal()).collect();
        panic!("it does not come to an end ({hint}): {open:#?}");
    };
    armed.store(false, Ordering::Relaxed);
    // One more, so that the runner has certainly seen what happened to it.
    ids.insert(run_one(&runner, 1_000).await.unwrap().execution_id);
    let begun = Instant::now();
    runner.shutdown().await.unwrap();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "the shutdown took {took:?}: something is still held ({hint})");
    let left = executioner.runner_list().await.unwrap();
    assert!(left.is_empty(), "a runner is left ({hint}): {left:?}");
    let reader = open(connect().await, RunnerConfig::builder().submit_only(true).build()).await;
    let summary = check(&reader, &noted(&ids), &hint).await;
    assert_eq!(summary.executions, 81, "executions were lost or doubled ({hint})");
    if rates.condemned == 0 {
        assert_eq!(summary.lost, 0, "attempts were lost, though nobody died ({hint})");
    }
    reader.shutdown().await.unwrap();
}

/// Declares every runner dead, as another process would that has not heard of it for its lease, and returns
/// its work.
async fn condemn(store: &dyn Store) {
    for runner in store.runner_list().await.unwrap() {
        if runner.liveness == Liveness::Live && store.runner_condemn(runner.id, runner.beat).await.unwrap() {
            store.runner_rescue(runner.id, None).await.unwrap();
        }
    }
}

/// The usual seeds, as many as `CLOACINA_SEEDS` says, or the one that `CLOACINA_SEED` names.
fn seeds() -> Vec<u64> {
    match std::env::var("CLOACINA_SEED") {
        Ok(seed) => vec![seed.parse().expect("CLOACINA_SEED is a number")],
        Err(_) => (1..=count("CLOACINA_SEEDS", 20)).collect(),
    }
}

/// Runs the seeds, some side by side: most of the time they wait before they try again.
async fn rounds(round: impl AsyncFn(u64)) {
    for seeds in seeds().chunks(10) {
        join_all(seeds.iter().map(|seed| round(*seed))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_done_twice_when_the_store_in_memory_fails() {
    rounds(async |seed| {
        let database = MemoryDatabase::new();
        round("memory", seed, async || Arc::new(database.open()) as Arc<dyn Store>).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_done_twice_when_a_sqlite_file_fails() {
    rounds(async |seed| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("faulty.db");
        let path = path.to_str().expect("a temporary directory has a name in UTF-8");
        round("sqlite", seed, async || SqliteStore::open(path).await.unwrap() as Arc<dyn Store>).await;
    })
    .await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_done_twice_when_a_postgresql_database_fails() {
    use cloacina_postgres::{PostgresOptions, PostgresStore};
    let server = cloacina_testing::cluster::Cluster::shared().expect("a server for tests starts");
    rounds(async |seed| {
        let url = server.fresh_database().await.expect("a fresh database");
        let connect = async || {
            PostgresStore::connect(&url, PostgresOptions::default()).await.unwrap() as Arc<dyn Store>
        };
        round("postgresql", seed, connect).await;
    })
    .await;
}

/// A database that does not answer at all for a while, and then one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_for_longer_than_a_lease_kills_nobody() {
    const LEASE: Duration = Duration::from_millis(900);
    let database = MemoryDatabase::new();
    let thaw = Arc::new(Mutex::new(Instant::now()));
    let settings =
        RunnerConfig::builder().lease(LEASE).heartbeat_interval(Duration::from_millis(100)).build();
    let hook = |later: Duration| {
        let thaw = Arc::clone(&thaw);
        // In either direction: what is on its way arrives when it thaws.
        move |_: &Call| {
            let thaw = *thaw.lock().unwrap();
            match thaw > Instant::now() - later {
                true => Verdict::Delay((thaw + later).saturating_duration_since(Instant::now())),
                false => Verdict::Pass,
            }
        }
    };
    let one = open(FaultyStore::new(Arc::new(database.open()), hook(Duration::ZERO)), settings.clone()).await;
    // It takes a moment longer until the network lets this one through again.
    let other = open(FaultyStore::new(Arc::new(database.open()), hook(LEASE / 6)), settings).await;
    let store = database.open();
    let runners = async || {
        let mut ids: Vec<_> =
            store.runner_list().await.unwrap().into_iter().map(|runner| runner.id).collect();
        ids.sort_unstable();
        ids
    };
    let before = runners().await;
    assert_eq!(before.len(), 2);
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        *thaw.lock().unwrap() = Instant::now() + LEASE * 2;
        tokio::time::sleep(LEASE * 2 + LEASE / 3).await;
        assert_eq!(runners().await, before, "a runner was declared dead because the database did not answer");
    }
    one.shutdown().await.unwrap();
    other.shutdown().await.unwrap();
}
