//! Processes that are killed, at a random moment or at a certain point, and what the next one makes of what
//! they left.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use cloacina::{CatchUp, FireOutcome, Overlap, Schedule, ScheduleState, Timestamp};
use cloacina_testing::faulty::{Method, Moment};

use crate::journal::Event;
use crate::process::{Database, LONG, PATIENCE, Point, Role, count, ended_by_abort, on_each_database, seed};

const SECOND: Duration = Duration::from_secs(1);

/// Child after child numbers its executions from another thousand.
const NUMBERS: u64 = 100_000;

on_each_database! {
    async fn a_process_that_is_killed_again_and_again_loses_nothing_and_does_nothing_twice(database: Database) {
        let seed = seed();
        let mut rng = fastrand::Rng::with_seed(seed);
        let kills = count("CLOACINA_KILLS", 10);
        for life in 0..kills {
            let child = database.child(Role::Load, life * NUMBERS, LONG, None);
            // Some die while they still open the place, most while they work.
            if rng.u32(0..4) > 0 {
                works(&database, child.pid()).await;
            }
            tokio::time::sleep(Duration::from_millis(rng.u64(0..300))).await;
            child.kill();
        }
        database.drain().await;
        let summary = database.check(&format!("seed {seed}, {kills} kills")).await;
        println!("seed {seed}: {summary:?}");
        assert!(summary.executions > 50, "hardly anything ran: {summary:?}");
    }

    async fn a_process_that_ends_between_two_steps_loses_nothing_and_does_nothing_twice(database: Database) {
        let seed = seed();
        let mut rng = fastrand::Rng::with_seed(seed);
        let points = [
            // Nothing of it is written.
            (Method::Flush, Moment::Before, false),
            // Everything of it is, and nobody is told.
            (Method::Flush, Moment::After, false),
            // Tasks are claimed, and were never started.
            (Method::Flush, Moment::After, true),
        ];
        for (life, (method, moment, with_claims)) in (0..).zip(points) {
            let nth = rng.u64(5..60);
            let point = Point { method, moment, with_claims, nth };
            let mut child = database.child(Role::Load, life * NUMBERS, LONG, Some(point));
            let status = child.ended().await;
            assert!(ended_by_abort(status), "seed {seed}, {point:?}: {status}\n{}", child.told());
        }
        // Each finds what the one before left, and ends while it returns it.
        let rescue = [
            (Method::RunnerCondemn, Moment::Before),
            (Method::RunnerCondemn, Moment::After),
            (Method::RunnerRescue, Moment::Before),
            (Method::RunnerRescue, Moment::After),
        ];
        for (method, moment) in rescue {
            let point = Point { method, moment, with_claims: false, nth: 1 };
            let child = database.child(Role::Load, 90 * NUMBERS + rng.u64(0..NUMBERS) * 100, LONG, None);
            works(&database, child.pid()).await;
            tokio::time::sleep(Duration::from_millis(rng.u64(0..100))).await;
            child.kill();
            let mut child = database.child(Role::Drain, 0, LONG, Some(point));
            let status = child.ended().await;
            assert!(ended_by_abort(status), "seed {seed}, {point:?}: {status}\n{}", child.told());
        }
        database.drain().await;
        let summary = database.check(&format!("seed {seed}")).await;
        println!("seed {seed}: {summary:?}");
    }

    async fn processes_that_work_side_by_side_and_are_killed_do_nothing_twice(database: Database) {
        let seed = seed();
        let mut rng = fastrand::Rng::with_seed(seed);
        let kills = count("CLOACINA_KILLS", 10);
        let start = |life: u64| database.child(Role::Load, life * NUMBERS, LONG, None);
        let mut children = vec![start(0), start(1), start(2)];
        works(&database, children[2].pid()).await;
        for life in 3..3 + kills {
            tokio::time::sleep(Duration::from_millis(rng.u64(20..350))).await;
            let victim = rng.usize(0..children.len());
            let next = start(life);
            std::mem::replace(&mut children[victim], next).kill();
        }
        // Those that are left are asked to end, and finish what they have begun.
        for child in &mut children {
            child.finish();
        }
        for child in children {
            child.succeeds().await;
        }
        database.drain().await;
        let summary = database.check(&format!("seed {seed}, {kills} kills")).await;
        println!("seed {seed}: {summary:?}");
        assert!(summary.executions > 50, "hardly anything ran: {summary:?}");
    }

    async fn schedules_fire_each_time_once_although_processes_are_killed_and_stopped(database: Database) {
        let seed = seed();
        let mut rng = fastrand::Rng::with_seed(seed);
        let kills = count("CLOACINA_KILLS", 10);
        // Together they fire 16 times a second; each for as long as there are kills.
        // A database keeps microseconds.
        let now = Timestamp::from_second(cloacina_core::clock::Clock::now(&cloacina_core::clock::SystemClock).as_second()).unwrap();
        let (first, last) = (now + 2 * SECOND, Duration::from_millis(1_000 + 200 * kills));
        let schedules: Vec<_> = (0..16u64).map(|n| (format!("s{n}"), first + Duration::from_micros(62_500 * n))).collect();
        let runner = database.reader_with(|settings| settings.min_schedule_period(SECOND)).await;
        for (name, from) in &schedules {
            let schedule = Schedule::new(name, "crash_single").every(SECOND).between(*from, first + last);
            let schedule = schedule.overlap(Overlap::Allow).catch_up(CatchUp::All).window(60 * SECOND);
            runner.schedules().put(schedule).await.unwrap();
        }
        // It would fire them itself.
        runner.shutdown().await.unwrap();
        let start = || database.child(Role::Serve, 0, LONG, None);
        let mut children = vec![start(), start(), start()];
        works(&database, children[2].pid()).await;
        for _ in 0..kills {
            tokio::time::sleep(Duration::from_millis(rng.u64(20..250))).await;
            let victim = rng.usize(0..children.len());
            if rng.bool() {
                std::mem::replace(&mut children[victim], start()).kill();
            } else {
                children[victim].signal("STOP");
                tokio::time::sleep(Duration::from_millis(rng.u64(0..150))).await;
                children[victim].signal("CONT");
            }
        }
        let runner = database.reader().await;
        let begun = Instant::now();
        while runner.schedules().list().await.unwrap().iter().any(|info| info.state != ScheduleState::Done) {
            assert!(begun.elapsed() < PATIENCE, "seed {seed}: the schedules do not come to their end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for child in &mut children {
            child.finish();
        }
        for child in children {
            child.succeeds().await;
        }
        database.drain().await;
        let mut executions = HashSet::new();
        let mut times = 0;
        for (name, from) in schedules {
            let fires = runner.schedules().fires(&name, None, 1_000).await.unwrap();
            assert!(fires.iter().all(|fire| fire.outcome == FireOutcome::Started), "seed {seed}: {fires:?}");
            let nominal: Vec<Timestamp> = fires.iter().rev().map(|fire| fire.nominal).collect();
            let all = std::iter::successors(Some(from), |time| Some(*time + SECOND));
            let expected: Vec<Timestamp> = all.take_while(|time| *time < first + last).collect();
            assert_eq!(nominal, expected, "seed {seed}: {name}");
            executions.extend(fires.iter().filter_map(|fire| fire.execution));
            times += fires.len();
        }
        runner.shutdown().await.unwrap();
        let summary = database.check(&format!("seed {seed}, {kills} kills")).await;
        println!("seed {seed}: {summary:?}");
        assert_eq!((summary.executions, executions.len()), (times, times), "seed {seed}");
    }

    async fn the_work_of_a_killed_process_is_taken_over_at_once_by_one_that_lives(database: Database) {
        let victim = database.child(Role::Slow, 0, LONG, None);
        let pid = victim.pid();
        slow_ones(&database, "the slow tasks start", 1, pid).await;
        let mut other = database.child(Role::Serve, 0, LONG, None);
        // It may not have opened the place yet; what it is asked for is to notice a death while it lives.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begun = Instant::now();
        victim.kill();
        slow_ones(&database, "the slow tasks start again", 2, other.pid()).await;
        let took = begun.elapsed();
        assert!(took < LONG / 4, "it took {took:?} to take the work over");
        database.drain().await;
        other.finish();
        other.succeeds().await;
        let summary = database.check("").await;
        assert_eq!((summary.executions, summary.lost), (10, 10));
    }

    async fn the_work_of_a_killed_process_is_taken_over_at_once_at_the_next_start(database: Database) {
        let victim = database.child(Role::Slow, 0, LONG, None);
        slow_ones(&database, "the slow tasks start", 1, victim.pid()).await;
        victim.kill();
        let begun = Instant::now();
        let next = database.child(Role::Drain, 0, LONG, None);
        slow_ones(&database, "the slow tasks start again", 2, next.pid()).await;
        let took = begun.elapsed();
        assert!(took < LONG / 4, "it took {took:?} to take the work over");
        next.succeeds().await;
        let summary = database.check("").await;
        assert_eq!((summary.executions, summary.lost), (10, 10));
    }
}

/// Waits until this process runs tasks.
async fn works(database: &Database, pid: u32) {
    let starts = |event: &Event| matches!(event, Event::Start { pid: process, .. } if *process == pid);
    database.until("a child works", |events| events.iter().rev().any(starts).then_some(())).await;
}

/// Waits until all ten slow tasks have started for this attempt in this process.
async fn slow_ones(database: &Database, what: &str, attempt: u32, pid: u32) {
    let started = |event: &&Event| {
        matches!(event, Event::Start { task, attempt: number, pid: process, .. }
            if task == "slow" && *number == attempt && *process == pid)
    };
    database.until(what, |events| (events.iter().filter(started).count() == 10).then_some(())).await;
}
