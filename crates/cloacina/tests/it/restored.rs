//! Places in which rows stand that no transaction of ours left: put back from a backup, or spoiled by an
//! earlier fault.

use std::time::Duration;

use std::sync::Arc;

use cloacina::{
    CatchUp, Context, ErrorKind, ExecutionStatus, FireOutcome, Overdue, Overlap, Schedule, TaskDefinition,
    Wait, Workflow,
};
use cloacina_core::Doing;
use cloacina_core::clock::Clock as _;
use cloacina_testing::clock::ManualClock;

use crate::support::{Database, Gate, assert_error, idle, in_time, quick, until, workflow};

const TABLES: [&str; 10] = [
    "workflow_executions",
    "task_executions",
    "ready_tasks",
    "due_rows",
    "task_waits",
    "task_children",
    "signals",
    "execution_tags",
    "task_pages",
    "task_attempts",
];

/// Runs SQL in a place, whichever database it is in.
async fn sql(database: &Database, text: &str) {
    match database.path() {
        #[cfg(feature = "sqlite")]
        Some(path) => {
            let connection = rusqlite::Connection::open(path).unwrap();
            connection.busy_timeout(Duration::from_secs(10)).unwrap();
            connection.execute_batch(text).unwrap();
        }
        #[cfg(feature = "postgres")]
        None => {
            let (client, connection) =
                tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute(&format!("SET search_path = acme; {text}")).await.unwrap();
        }
        #[expect(unreachable_patterns, reason = "with one database only")]
        _ => unreachable!(),
    }
}

async fn back_up(database: &Database) {
    for table in TABLES {
        sql(database, &format!("CREATE TABLE backup_{table} AS SELECT * FROM {table}")).await;
    }
}

async fn put_back(database: &Database) {
    for table in TABLES {
        let text =
            format!("BEGIN; DELETE FROM {table}; INSERT INTO {table} SELECT * FROM backup_{table}; COMMIT");
        sql(database, &text).await;
    }
}

fn gated(gate: &Gate) -> [Workflow; 2] {
    [workflow("gated", [gate.task("t")]), workflow("w", [idle("t")])]
}

on_each_store! {
    async fn what_ran_when_a_backup_was_made_is_tried_again_when_it_is_put_back(database: Database) {
        let gate = Gate::new();
        let runner = database.runner(gated(&gate)).await;
        let execution = runner.execute_async("gated", Context::new()).await.unwrap().execution_id;
        gate.started().await;
        back_up(&database).await;
        gate.open(1);
        in_time(runner.execution(execution).wait_for_completion()).await.unwrap();
        runner.shutdown().await.unwrap();
        put_back(&database).await;

        let runner = database.runner(gated(&gate)).await;
        assert_eq!(gate.started().await.attempt(), 2);
        gate.open(1);
        let result = in_time(runner.execution(execution).wait_for_completion()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed);
        runner.shutdown().await.unwrap();
    }

    async fn a_backup_that_is_put_back_under_a_running_process_goes_on_with_the_next_execution(database: Database) {
        let gate = Gate::new();
        let first = database.runner(gated(&gate)).await;
        let execution = first.execute_async("gated", Context::new()).await.unwrap().execution_id;
        gate.started().await;
        back_up(&database).await;
        gate.open(1);
        in_time(first.execution(execution).wait_for_completion()).await.unwrap();
        first.shutdown().await.unwrap();

        // Longer than a busy machine keeps a heartbeat waiting: a lease that is lost begins the task anew.
        let lease = Duration::from_secs(4);
        let config = quick().lease(lease).heartbeat_interval(lease / 4);
        let runner = database.configured(config, gated(&gate)).await;
        in_time(runner.execute("w", Context::new())).await.unwrap();
        put_back(&database).await;
        let again = async {
            // Every process looks for such tasks where it works.
            until(async || {
                runner.execute("w", Context::new()).await.unwrap();
                gate.has_started().await
            })
            .await;
            gate.started().await
        };
        assert_eq!(again.await.attempt(), 2);
        gate.open(1);
        let result = in_time(runner.execution(execution).wait_for_completion()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed);
        runner.shutdown().await.unwrap();
    }

    async fn a_place_that_was_put_back_says_what_is_overdue_before_it_goes_on(database: Database) {
        const HOUR: Duration = Duration::from_secs(3600);
        let clock = ManualClock::new();
        let config = || quick().clock(Arc::new(clock.clone()));
        let workflows = || [
            Workflow::builder("sleeps").wait(Wait::sleep("nap", HOUR)).build(),
            Workflow::builder("asks").wait(Wait::signal("answer")).build(),
            workflow("hourly", [idle("t")]),
        ];
        let before = database.configured(config(), workflows()).await;
        let sleeps = before.submit("sleeps").send().await.unwrap().execution_id;
        let asks = before.submit("asks").deadline(clock.now() + HOUR).send().await.unwrap().execution_id;
        let every_hour = Schedule::new("hourly", "hourly").every(HOUR).overlap(Overlap::Allow).catch_up(CatchUp::All).window(24 * HOUR);
        before.schedules().put(every_hour).await.unwrap();
        until(async || before.waits(None, 10).await.unwrap().len() == 2).await;
        before.shutdown().await.unwrap();

        clock.advance(3 * HOUR);
        let held = database.configured(config().after_restore(true), workflows()).await;
        let idles = || async || matches!(held.place_runner().hub().doing(|_| false).await.unwrap(), Doing::Idle(_));
        until(idles()).await;
        let overdue = held.overdue().await.unwrap();
        assert_eq!((overdue.waits, overdue.deadlines, overdue.tasks, overdue.schedules.len()), (1, 1, 0, 1));
        let fires: Vec<_> = overdue.schedules[0].fires.iter().map(|fire| fire.outcome).collect();
        assert_eq!((overdue.schedules[0].name.as_str(), fires), ("hourly", vec![FireOutcome::Started; 3]));
        // Nothing begins, also when the clock goes on, and nothing was written.
        clock.advance(Duration::from_secs(60));
        until(idles()).await;
        assert_eq!(held.overdue().await.unwrap().schedules[0].fires.len(), 3);
        assert_eq!(held.execution(sleeps).get_status().await.unwrap(), ExecutionStatus::Waiting);
        assert_eq!(held.schedules().fires("hourly", None, 10).await.unwrap(), []);
        let refused = held.execute_async("hourly", Context::new()).await.unwrap_err();
        assert_error(&refused, ErrorKind::Suspended, "resume_after_restore");

        held.resume_after_restore().unwrap();
        in_time(held.execution(sleeps).wait_for_completion()).await.unwrap();
        let late = in_time(held.execution(asks).wait_for_completion()).await.unwrap();
        assert_eq!(late.status, ExecutionStatus::Cancelled);
        until(async || held.overdue().await.unwrap() == Overdue::default()).await;
        assert_eq!(held.schedules().fires("hourly", None, 10).await.unwrap().len(), 3);
        assert_eq!(held.execute("hourly", Context::new()).await.unwrap().status, ExecutionStatus::Completed);
        held.shutdown().await.unwrap();
    }

    async fn an_execution_in_which_nothing_is_left_to_be_done_is_closed(database: Database) {
        let gate = Gate::new();
        let runner = database.runner(gated(&gate)).await;
        let execution = runner.execute_async("gated", Context::new()).await.unwrap().execution_id;
        gate.started().await;
        sql(
            &database,
            "UPDATE task_executions SET state = 'completed', outcome = 'completed', finished_at = started_at",
        )
        .await;
        gate.open(1);
        runner.shutdown().await.unwrap();

        let runner = database.runner(gated(&gate)).await;
        let result = in_time(runner.execution(execution).wait_for_completion()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed);
        runner.shutdown().await.unwrap();
    }

    async fn any_number_of_executions_without_code_go_on_when_it_comes(database: Database) {
        let version = |tasks: usize| {
            let ids = ["a", "b", "c"];
            let tasks: Vec<TaskDefinition> = ids[..tasks].iter().map(|id| idle(id)).collect();
            workflow("w", tasks)
        };
        let count = 1_200;
        let mut ids = Vec::new();
        for tasks in [1, 2] {
            let config = quick().submit_only(true);
            let runner = database.configured(config, [version(tasks)]).await;
            let sent: Vec<_> = (0..count).map(|_| runner.execute_async("w", Context::new())).collect();
            for sent in futures_util::future::join_all(sent).await {
                ids.push(sent.unwrap().execution_id);
            }
            runner.shutdown().await.unwrap();
        }
        let orphaned = cloacina_core::store::ORPHANED;
        let pause = format!(
            "UPDATE workflow_executions SET state = 'paused', error = '{orphaned}'; DELETE FROM ready_tasks"
        );
        sql(&database, &pause).await;

        // The executions of the first version, which nobody has, are the oldest.
        let runner = database.runner([version(2)]).await;
        for execution in &ids[count..] {
            let result = in_time(runner.execution(*execution).wait_for_completion()).await.unwrap();
            assert_eq!(result.status, ExecutionStatus::Completed);
        }
        assert_eq!(runner.get_execution_status(ids[0]).await.unwrap(), ExecutionStatus::Paused);
        runner.shutdown().await.unwrap();
    }
}
