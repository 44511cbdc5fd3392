//! A process that is stopped for longer than its lease, and goes on: the tasks that it held are another's.

use std::time::Duration;

use crate::journal::Event;
use crate::process::{Database, PATIENCE, Role, on_each_database};

const LEASE: Duration = Duration::from_millis(800);

on_each_database! {
    async fn a_process_that_was_stopped_records_nothing_under_its_old_name(database: Database) {
        let stopped = database.child(Role::Stopped, 0, LEASE, None);
        let started_by = |attempt: u32, pid: u32| {
            move |events: &[Event]| {
                let started = |event: &&Event| {
                    matches!(event, Event::Start { task, attempt: number, pid: process, .. }
                        if task == "slow" && *number == attempt && *process == pid)
                };
                (events.iter().filter(started).count() == 10).then_some(())
            }
        };
        database.until("the slow tasks start", started_by(1, stopped.pid())).await;
        stopped.signal("STOP");
        let mut other = database.child(Role::Serve, 0, LEASE, None);
        database.until("another process takes them over", started_by(2, other.pid())).await;
        let reader = database.reader().await;
        let is_open = |execution: &cloacina::ExecutionResult| !execution.status.is_terminal();
        tokio::time::timeout(PATIENCE, async {
            while crate::check::everything(reader.place_runner()).await.iter().any(is_open) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .expect("the other process completes them");
        reader.shutdown().await.unwrap();

        stopped.signal("CONT");
        let told = stopped.succeeds().await;
        assert!(told.contains("was declared dead"), "it did not say that it was declared dead:\n{told}");
        other.finish();
        let rescuer = other.pid();
        other.succeeds().await;

        let events = database.events();
        let slow: Vec<&Event> = events
            .iter()
            .filter(|event| matches!(event, Event::Start { task, attempt: 2, .. } if task == "slow"))
            .collect();
        let by_rescuer = |event: &&Event| matches!(event, Event::Start { pid, .. } if *pid == rescuer);
        assert_eq!(slow.iter().filter(|event| by_rescuer(event)).count(), 10, "{slow:?}");
        // The completed attempts are those that were started last, and their values are the ones that count.
        let summary = database.check("").await;
        assert_eq!(summary.executions, 30);
        assert_eq!(summary.lost, 10, "more was lost than what the stopped process held");
    }
}
