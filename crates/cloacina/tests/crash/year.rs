//! A year of schedules, while the hubs that fire them die and the clock jumps: each time exactly once.
//!
//! `CLOACINA_YEAR` has 1,000 schedules live for a year; a usual run has a slice of it with a fixed seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloacina::runner::PlaceRunner;
use cloacina::{CatchUp, FireOutcome, Overlap, RunnerConfig, Schedule, Timestamp, Workflow};
use cloacina_core::clock::{Clock as _, ManualClock};
use cloacina_core::store::{PlaceName, Store, StoreErrorKind};
use cloacina_core::{Doing, Hub};
use cloacina_sqlite::SqliteStore;
use cloacina_testing::faulty::{FaultyStore, Verdict};
use cloacina_testing::memory::MemoryDatabase;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan as _};

use crate::process::PATIENCE;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const ZONES: [&str; 5] = ["UTC", "Europe/Zurich", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"];

/// The dead keep their connections.
const DEATHS: usize = 20;

/// How much is tried.
#[derive(Debug, Clone, Copy)]
struct Size {
    schedules: usize,
    days: i64,
}

const USUAL: Size = Size { schedules: 12, days: 20 };

impl Size {
    fn asked() -> Self {
        let is_whole = std::env::var_os("CLOACINA_YEAR").is_some();
        if is_whole { Self { schedules: 1_000, days: 365 } } else { USUAL }
    }
}

/// A schedule, and its times as a calendar on the wall has them.
struct Plan {
    name: String,
    schedule: Schedule,
    times: BTreeSet<Timestamp>,
}

impl Plan {
    /// In the hours of a day that no clock leaves out.
    fn new(number: usize, (from, to): (Timestamp, Timestamp), rng: &mut fastrand::Rng) -> Self {
        let zone = ZONES[rng.usize(0..ZONES.len())];
        let (hour, minute) = (rng.i8(4..23), rng.i8(0..60));
        let name = format!("s{number}");
        let schedule = Schedule::new(&name, "t").catch_up(CatchUp::All).window(20 * 24 * HOUR);
        let schedule = schedule.overlap(Overlap::Allow).zone(zone).unwrap();
        let tz = TimeZone::get(zone).unwrap();
        let days = |fits: fn(Weekday) -> bool| {
            let first = from.to_zoned(tz.clone()).date();
            let all = std::iter::successors(Some(first), |day| day.checked_add(1.day()).ok());
            let times = all.map(|day| day.at(hour, minute, 0, 0).to_zoned(tz.clone()).unwrap());
            let times = times.map(|time| (time.weekday(), time.timestamp()));
            let times =
                times.take_while(|(_, time)| *time <= to).filter(|(day, time)| fits(*day) && *time > from);
            times.map(|(_, time)| time).collect()
        };
        let (schedule, times) = match number % 3 {
            0 => (schedule.cron(format!("{minute} {hour} * * *")).unwrap(), days(|_| true)),
            1 => {
                let works = |day| !matches!(day, Weekday::Saturday | Weekday::Sunday);
                (schedule.cron(format!("{minute} {hour} * * MON-FRI")).unwrap(), days(works))
            }
            _ => {
                // Time that passes, from 1970.
                let period = 60 * rng.i64(13 * 60..23 * 60);
                let first = (from.as_second() / period + 1) * period;
                let times = (first..=to.as_second()).step_by(usize::try_from(period).unwrap());
                let times = times.map(|second| Timestamp::from_second(second).unwrap()).collect();
                (schedule.every(Duration::from_secs(period.unsigned_abs())), times)
            }
        };
        Self { name, schedule, times }
    }
}

/// A hub that can be switched off as by a power cut: nothing that it says reaches the database any more.
struct Mortal {
    runner: PlaceRunner,
    is_dead: Arc<AtomicBool>,
}

impl Mortal {
    async fn born(store: Arc<dyn Store>, place: &PlaceName, clock: &ManualClock) -> Self {
        let is_dead = Arc::new(AtomicBool::new(false));
        let dead = Arc::clone(&is_dead);
        let store = FaultyStore::new(store, move |_| match dead.load(Ordering::SeqCst) {
            true => Verdict::Fail(StoreErrorKind::Transient),
            false => Verdict::Pass,
        });
        let code = cloacina::TaskDefinition::from_async("t", |context| async {
            Ok::<_, cloacina::TaskError>(context)
        });
        let settings = RunnerConfig::builder()
            .clock(Arc::new(clock.clone()))
            .retention(None)
            .max_lost(1_000u32)
            .workflow(Workflow::builder("t").task(code).build())
            .build();
        let hub = Hub::start(store, &settings);
        let runner = PlaceRunner::open(hub, place.clone(), settings, Vec::new()).await.unwrap().unwrap();
        Self { runner, is_dead }
    }
}

/// Returns when none of them has anything to do at this time; when the next thing is due.
async fn idle(hubs: &[Mortal]) -> Option<Timestamp> {
    let settled = async {
        'again: loop {
            let mut next = None;
            for hub in hubs {
                match hub.runner.hub().doing(|_| false).await.unwrap() {
                    Doing::Idle(then) => next = then.into_iter().chain(next).min(),
                    _ => {
                        tokio::time::sleep(Duration::from_micros(200)).await;
                        continue 'again;
                    }
                }
            }
            return next;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("what is due at this time is done")
}

async fn live(seed: u64, size: Size, place: PlaceName, connect: impl AsyncFn() -> Arc<dyn Store>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let clock = ManualClock::new();
    let (from, to) = (clock.now(), clock.now() + SignedDuration::from_hours(24 * size.days));
    let plans: Vec<Plan> =
        (0..size.schedules).map(|number| Plan::new(number, (from, to), &mut rng)).collect();
    let mut hubs = Vec::new();
    for _ in 0..3 {
        hubs.push(Mortal::born(connect().await, &place, &clock).await);
    }
    for (number, plan) in plans.iter().enumerate() {
        hubs[number % 3].runner.schedules().put(plan.schedule.clone()).await.unwrap();
    }
    let (mut deaths, mut jumps, mut backwards) = (0, 0, 0);
    while clock.now() < to {
        let next = idle(&hubs).await.unwrap_or(to);
        let now = clock.now();
        let target = match rng.u32(0..100) {
            // As if the machine had slept.
            0..4 => {
                jumps += 1;
                now + SignedDuration::from_hours(rng.i64(24..100))
            }
            4..6 => {
                backwards += 1;
                clock.set(now - SignedDuration::from_mins(rng.i64(1..90)));
                now
            }
            6..60 => next.max(now + SignedDuration::from_secs(1)),
            _ => next.max(now) + SignedDuration::from_mins(rng.i64(1..240)),
        };
        clock.advance_to(target.min(to));
        if rng.u32(0..100) < 3 && deaths < DEATHS {
            // In the middle of what is due now.
            for _ in 0..rng.u32(0..50) {
                tokio::task::yield_now().await;
            }
            deaths += 1;
            let dies = rng.usize(0..hubs.len());
            let dead = hubs.swap_remove(dies);
            dead.is_dead.store(true, Ordering::SeqCst);
            drop(dead.runner);
            hubs.push(Mortal::born(connect().await, &place, &clock).await);
        }
    }
    // What the last one held is taken back when its lease is over.
    for _ in 0..10 {
        idle(&hubs).await;
        clock.advance(MINUTE);
    }
    idle(&hubs).await;

    let runner = &hubs[0].runner;
    let hint = format!("seed {seed}, {deaths} deaths, {jumps} jumps, {backwards} times back");
    let mut executions = BTreeMap::new();
    for plan in &plans {
        let name = &plan.name;
        let fires = runner.schedules().fires(name, None, 1_000).await.unwrap();
        let fires: Vec<_> = fires.into_iter().filter(|fire| fire.nominal <= to).collect();
        let times: BTreeSet<Timestamp> = fires.iter().map(|fire| fire.nominal).collect();
        assert_eq!(times, plan.times, "{name}: {hint}");
        for fire in fires {
            assert_eq!(fire.outcome, FireOutcome::Started, "{name} at {}: {hint}", fire.nominal);
            let other = executions.insert(fire.execution.unwrap(), (name.clone(), fire.nominal));
            assert_eq!(other, None, "one execution for two times: {hint}");
        }
    }
    let figures = runner.metrics().await.unwrap();
    // Some became due while the last leases ended.
    let after = figures.total_executions - executions.len() as u64;
    assert!(after <= size.schedules as u64, "{after} more than there were times: {hint}");
    assert_eq!((figures.active_executions, figures.queue_depth), (0, 0), "{hint}");
    eprintln!("{} fires, {hint}", executions.len());
    for hub in hubs {
        hub.runner.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_year_fires_each_time_once_in_memory() {
    let database = MemoryDatabase::new();
    let connect = async || Arc::new(database.open()) as Arc<dyn Store>;
    live(1, USUAL, PlaceName::Named("year".to_owned()), connect).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_year_fires_each_time_once_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/year.db", directory.path().display());
    let connect = async || SqliteStore::open(&url).await.unwrap() as Arc<dyn Store>;
    live(2, Size::asked(), PlaceName::Default, connect).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_year_fires_each_time_once_on_postgres() {
    use cloacina_postgres::{PostgresOptions, PostgresStore};
    let url = cloacina_testing::cluster::Cluster::shared().unwrap().fresh_database().await.unwrap();
    let options = || PostgresOptions { max_connections: 3, ..PostgresOptions::default() };
    let connect = async || PostgresStore::connect(&url, options()).await.unwrap() as Arc<dyn Store>;
    live(3, Size::asked(), PlaceName::Named("year".to_owned()), connect).await;
}
