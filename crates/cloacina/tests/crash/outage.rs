//! A PostgreSQL server that goes away and comes back, and connections that are cut around a commit.

use std::time::Duration;

use cloacina::RunnerConfig;
use cloacina::runner::Runner;
use cloacina_testing::cluster::Cluster;
use cloacina_testing::proxy::{Cut, Proxy};

use crate::check::check;
use crate::journal::{Event, noted};
use crate::process::{Database, LONG, PATIENCE, Role, seed};
use crate::workload::run_many;

/// Longer than it takes a process to reconnect, shorter than the server is away.
const LEASE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_for_longer_than_a_lease_costs_nobody_its_work() {
    let cluster = Cluster::start().expect("a server of its own starts");
    let database = Database::at(cluster.fresh_database().await.expect("a fresh database"));
    let mut children =
        [database.child(Role::Load, 0, LEASE, None), database.child(Role::Load, 1_000_000, LEASE, None)];
    let ended_since = |known: usize, pid: u32| {
        move |events: &[Event]| {
            let ends = |event: &&Event| matches!(event, Event::End { pid: process, .. } if *process == pid);
            (events.iter().skip(known).filter(ends).count() > 20).then_some(())
        }
    };
    for child in &children {
        database.until("the children work", ended_since(0, child.pid())).await;
    }
    for (round, away) in [Duration::from_millis(300), Duration::from_millis(3_500)].into_iter().enumerate() {
        for killed in [false, true] {
            match killed {
                false => cluster.stop().expect("the server stops"),
                true => cluster.kill().expect("the server ends"),
            }
            tokio::time::sleep(away).await;
            cluster.restart().expect("the server starts again");
            let known = database.events().len();
            for child in &children {
                let what = format!("round {round}, killed {killed}: {} goes on", child.pid());
                database.until(&what, ended_since(known, child.pid())).await;
            }
        }
    }
    for child in &mut children {
        child.finish();
    }
    for child in children {
        let told = child.succeeds().await;
        assert!(!told.contains("was declared dead"), "a process that lived was declared dead:\n{told}");
    }
    let summary = database.check("").await;
    assert_eq!(summary.lost, 0, "attempts were lost, though nobody died");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_around_a_commit_loses_nothing_and_does_nothing_twice() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let server = Cluster::shared().expect("a server for tests starts");
    let database = Database::at(server.fresh_database().await.expect("a fresh database"));
    let proxy = Proxy::start(&database.url).await.unwrap();
    let settings = RunnerConfig::builder()
        .lease(LONG)
        .heartbeat_interval(Duration::from_millis(100))
        .max_lost(1_000u32)
        .build();
    let runner = Runner::with_config(proxy.url(), settings).await.unwrap();
    let mut commit = 0;
    for _ in 0..40 {
        commit += rng.u64(1..8);
        proxy.cut_at_commit(commit, if rng.bool() { Cut::BeforeReply } else { Cut::BeforeCommit });
    }
    let work = run_many(runner.place_runner(), 0..300, 8);
    let ids = tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| {
        panic!("it does not come to an end (seed {seed}, {:?})", proxy.counts());
    });
    runner.shutdown().await.unwrap();
    let counts = proxy.counts();
    assert!(counts.cuts >= 30, "hardly anything was cut (seed {seed}): {counts:?}");
    let reader = database.reader().await;
    let summary = check(reader.place_runner(), &noted(&ids), &format!("seed {seed}, {counts:?}")).await;
    reader.shutdown().await.unwrap();
    assert_eq!((summary.executions, summary.lost), (300, 0), "seed {seed}, {counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_are_ended_again_and_again_leave_nothing_that_stands_still() {
    let rounds: usize = std::env::var("CLOACINA_STORMS").map_or(1, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        let seed = seed();
        let mut rng = fastrand::Rng::with_seed(seed);
        let server = Cluster::shared().expect("a server for tests starts");
        let database = Database::at(server.fresh_database().await.expect("a fresh database"));
        let settings = RunnerConfig::builder()
            .lease(LONG)
            .heartbeat_interval(Duration::from_millis(100))
            .max_lost(1_000u32)
            .build();
        let runner = Runner::with_config(&database.url, settings).await.unwrap();
        let superuser = server.superuser_url_of(&database.url);
        let (beside, connection) = tokio_postgres::connect(&superuser, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let storm = async {
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE datname = current_database() AND pid <> pg_backend_pid()";
            for _ in 0..20 {
                beside.execute(end, &[]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(rng.u64(50..400))).await;
            }
        };
        let work = tokio::spawn({
            let runner = runner.clone();
            async move { run_many(runner.place_runner(), 0..2_000, 64).await }
        });
        storm.await;
        let ids = tokio::time::timeout(Duration::from_secs(90), work).await.unwrap_or_else(|_| {
            panic!("round {round}: it does not come to an end after the storm (seed {seed})");
        });
        runner.shutdown().await.unwrap();
        let reader = database.reader().await;
        let summary = check(reader.place_runner(), &noted(&ids.unwrap()), &format!("seed {seed}")).await;
        reader.shutdown().await.unwrap();
        assert_eq!((summary.executions, summary.lost), (2_000, 0), "round {round}, seed {seed}");
    }
}
