//! What is done by name is noted, and what was noted cannot be changed unseen.

use std::time::Duration;

use cloacina::audit::{Actor, AuditRecord};
use cloacina::keys::NewKey;
use cloacina::rerun::From;
use cloacina::{
    Context, ErrorKind, ExecutionFilter, ExecutionStatus, Missed, Runner, Schedule, Timestamp, Wait, Workflow,
};

use cloacina_core::clock::{Clock as _, SystemClock};

use crate::keys::new_key;
use crate::support::{Database, assert_error, setting, task, until, workflow};

fn ada() -> Actor {
    Actor::new("ada").role("operator").reason("on call")
}

async fn runner(database: &Database) -> Runner {
    let waits = Workflow::builder("waits").wait(Wait::signal("paid")).wait(Wait::signal("sent")).build();
    let fails = workflow("fails", [task("t", |_| async { Err("no".into()) })]);
    let map = Workflow::builder("map").wait(Wait::map("each", "waits").over("list").parallel(1)).build();
    database.runner([workflow("w", [setting("t", "k", 1)]), waits, fails, map]).await
}

async fn rows(runner: &Runner) -> Vec<AuditRecord> {
    let mut rows = runner.audit(None, 1000).await.unwrap();
    rows.reverse();
    rows
}

async fn actions(runner: &Runner) -> Vec<String> {
    rows(runner).await.into_iter().map(|row| row.action).collect()
}

on_each_store! {
    async fn what_is_done_by_name_is_noted_once_and_what_changes_nothing_is_not(database: Database) {
        let runner = runner(&database).await;
        let acting = runner.acting(ada());
        let waits = acting.execute_async("waits", Context::new()).await.unwrap();
        until(async || waits.waits().await.unwrap().len() == 2).await;
        for _ in 0..2 {
            waits.pause().await.unwrap();
        }
        waits.resume().await.unwrap();
        waits.signal("paid", 7).key("once").send().await.unwrap();
        waits.signal("paid", 7).key("once").send().await.unwrap();
        waits.wait_until("sent", Timestamp::MAX).await.unwrap();
        assert!(waits.wake("nothing").await.is_err());
        waits.cancel().await.unwrap();
        waits.cancel().await.unwrap();
        assert!(waits.pause().await.is_err());
        let said = ["pause", "resume", "signal", "move_wait", "cancel"];
        assert_eq!(actions(&runner).await, said);
        let noted = rows(&runner).await;
        let id = waits.execution_id.to_string();
        for row in &noted {
            assert_eq!((row.actor.as_str(), row.role.as_deref(), row.reason.as_deref()), ("ada", Some("operator"), Some("on call")));
            assert_eq!(row.object.as_deref(), Some(id.as_str()));
            assert!(!row.detail.as_deref().unwrap_or_default().contains('7'), "a payload is not noted");
        }
        assert_eq!(noted[4].detail.as_deref(), Some(r#"{"before":"waiting","after":"cancelled"}"#));
        // Who submitted it is told with it, and not in the audit.
        assert_eq!(acting.get_execution(waits.execution_id).await.unwrap().submitted_by.as_deref(), Some("ada"));
        // Nobody by name: nothing.
        let other = runner.execute_async("waits", Context::new()).await.unwrap();
        other.cancel().await.unwrap();
        assert_eq!(runner.get_execution(other.execution_id).await.unwrap().submitted_by, None);
        assert_eq!(rows(&runner).await.len(), said.len());
        runner.shutdown().await.unwrap();
    }

    async fn reruns_and_the_width_of_maps_are_noted(database: Database) {
        let runner = runner(&database).await;
        let acting = runner.acting(ada());
        let failed = runner.execute("fails", Context::new()).await.unwrap().execution_id;
        let again = acting.execution(failed).rerun(From::Failed).send().await.unwrap();
        again.wait_for_completion().await.unwrap();
        assert!(acting.execution(failed).rerun(From::Failed).send().await.is_err());
        assert_eq!(acting.get_execution(again.execution_id).await.unwrap().submitted_by.as_deref(), Some("ada"));
        let map = runner.execute_async("map", Context::new().with("list", [1, 2])).await.unwrap();
        until(async || map.progress().await.unwrap().iter().any(|node| node.started > 0)).await;
        acting.execution(map.execution_id).set_parallel("each", 2).await.unwrap();
        assert!(acting.execution(map.execution_id).set_parallel("none", 2).await.is_err());
        let noted = rows(&runner).await;
        assert_eq!(actions(&runner).await, ["rerun", "set_parallel"]);
        let (old, new) = (failed.to_string(), again.execution_id.to_string());
        assert_eq!(noted[0].object.as_deref(), Some(old.as_str()));
        assert!(noted[0].detail.as_deref().unwrap().contains(&new));
        assert_eq!(noted[1].detail.as_deref(), Some(r#"{"node":"each","parallel":2}"#));
        map.cancel().await.unwrap();
        runner.shutdown().await.unwrap();
    }

    async fn changes_of_schedules_are_noted_with_what_they_said_before(database: Database) {
        let runner = runner(&database).await;
        let schedules = runner.acting(ada()).schedules();
        let daily = || Schedule::new("nightly", "w").cron("0 2 * * *").unwrap();
        schedules.put(daily()).await.unwrap();
        schedules.put(daily()).await.unwrap();
        schedules.put(daily().cron("0 3 * * *").unwrap()).await.unwrap();
        schedules.pause("nightly", "holidays").await.unwrap();
        schedules.resume("nightly", Missed::Skip).await.unwrap();
        schedules.trigger("nightly").await.unwrap();
        assert!(schedules.trigger("nothing").await.is_err());
        schedules.delete("nightly").await.unwrap();
        schedules.apply("deploy", [daily()]).await.unwrap();
        let noted = rows(&runner).await;
        let said = ["put_schedule", "put_schedule", "pause_schedule", "resume_schedule", "trigger_schedule", "delete_schedule", "apply_schedules"];
        assert_eq!(actions(&runner).await, said);
        let hash = |row: usize, which: &str| {
            let detail: serde_json::Value = serde_json::from_str(noted[row].detail.as_deref().unwrap()).unwrap();
            detail[which].as_str().map(str::to_owned)
        };
        assert!(noted.iter().all(|row| row.object.as_deref() == Some("nightly")));
        assert_eq!(hash(0, "before"), None);
        assert_eq!(hash(0, "after"), hash(1, "before"));
        assert_ne!(hash(1, "before"), hash(1, "after"));
        assert_eq!((hash(5, "before"), hash(5, "after")), (hash(1, "after"), None));
        runner.shutdown().await.unwrap();
    }

    async fn of_an_action_on_many_executions_one_row_is_written(database: Database) {
        let runner = runner(&database).await;
        for _ in 0..3 {
            runner.execute("fails", Context::new()).await.unwrap();
            runner.submit("waits").tag("night").send().await.unwrap();
        }
        let acting = runner.acting(ada());
        assert_eq!(acting.rerun_many(ExecutionFilter::all(), From::Failed).send().await.unwrap().done, 3);
        let night = ExecutionFilter::all().tag("night");
        assert_eq!(acting.cancel_many(night).send().await.unwrap().done, 3);
        let noted = rows(&runner).await;
        assert_eq!(actions(&runner).await, ["rerun_many", "cancel_many"]);
        assert!(noted[1].detail.as_deref().unwrap().contains("night"));
        let rerun = ExecutionFilter::all().workflow("fails").superseded(false);
        let by: Vec<_> = runner.list(rerun, None, 10).await.unwrap().into_iter().map(|rerun| rerun.submitted_by).collect();
        assert_eq!(by, vec![Some("ada".to_owned()); 3]);
        runner.shutdown().await.unwrap();
    }

    async fn keys_that_are_made_and_ended_are_noted_and_sessions_are_not(database: Database) {
        let runner = runner(&database).await;
        let keys = runner.acting(ada()).keys();
        let of = Some(runner.place().to_owned());
        let key = keys.insert(new_key(of.as_deref())).await.unwrap();
        let session = NewKey { parent: Some(key.id), ..new_key(of.as_deref()) };
        let session = keys.insert(session).await.unwrap();
        assert!(keys.delete(session.id.as_str()).await.unwrap());
        assert!(keys.delete(key.id.as_str()).await.unwrap());
        assert!(!keys.delete(key.id.as_str()).await.unwrap());
        assert_eq!(actions(&runner).await, ["make_key", "end_key"]);
        assert!(rows(&runner).await.iter().all(|row| row.object.as_deref() == Some(key.id.as_str())));
        runner.shutdown().await.unwrap();
    }

    async fn a_row_that_was_changed_deleted_or_slipped_in_is_found(database: Database) {
        for tampering in [
            "UPDATE {audit} SET actor = 'eve' WHERE id = {third}",
            "UPDATE {audit} SET reason = NULL WHERE id = {third}",
            "DELETE FROM {audit} WHERE id = {third}",
            "DELETE FROM {audit} WHERE id >= {third}",
            "DELETE FROM {audit}",
            "{insert}",
        ] {
            let database = match database.path() {
                Some(_) => Database::sqlite(),
                None => fresh().await,
            };
            let runner = runner(&database).await;
            let acting = runner.acting(ada());
            for _ in 0..5 {
                let execution = runner.execute_async("waits", Context::new()).await.unwrap();
                acting.execution(execution.execution_id).cancel().await.unwrap();
            }
            let verdict = runner.audit_verify().await.unwrap();
            assert_eq!((verdict.rows, verdict.broken_at), (5, None));
            assert_eq!(runner.audit_verify().await.unwrap(), verdict);
            let third = rows(&runner).await[2].id;
            let insert = match database.path() {
                Some(_) => "INSERT INTO cloacina_audit (at, actor, action, tenant, position, seal) SELECT 0, 'eve', 'x', tenant, 6, zeroblob(32) FROM cloacina_audit LIMIT 1",
                // Behind the seal: it claims to be old, and is sealed with what comes next.
                None => "INSERT INTO cloacina.audit (id, actor, action, tenant_id, at) OVERRIDING SYSTEM VALUE
                         SELECT -1, 'eve', 'x', tenant_id, now() - interval '1 day' FROM cloacina.audit WHERE tenant_id IS NOT NULL LIMIT 1",
            };
            let table = if database.path().is_some() { "cloacina_audit" } else { "cloacina.audit" };
            let text = tampering.replace("{audit}", table).replace("{third}", &third.to_string()).replace("{insert}", insert);
            tamper(&database, &text).await;
            let broken = runner.audit_verify().await.unwrap();
            assert!(broken.broken_at.is_some(), "{text}: {broken:?}");
            assert!(broken.rows <= 5);
            runner.shutdown().await.unwrap();
        }
    }
}

async fn fresh() -> Database {
    #[cfg(feature = "postgres")]
    return Database::postgres().await;
    #[cfg(not(feature = "postgres"))]
    unreachable!()
}

async fn tamper(database: &Database, text: &str) {
    match database.path() {
        Some(path) => {
            let connection = rusqlite::Connection::open(path).unwrap();
            connection.busy_timeout(Duration::from_secs(10)).unwrap();
            connection.execute_batch(text).unwrap();
        }
        #[cfg(feature = "postgres")]
        None => {
            let url = cloacina_testing::cluster::Cluster::shared().unwrap().superuser_url_of(&database.url);
            crate::admin::connect(&url).await.unwrap().batch_execute(text).await.unwrap();
        }
        #[cfg(not(feature = "postgres"))]
        None => unreachable!(),
    }
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_login_notes_in_its_own_audit_alone_and_only_so_much() {
    use crate::admin::{Administered, connect};

    crate::support::in_time(async {
        let database = Administered::by_a_provisioner().await;
        let acme = database.tenant("acme").await;
        database.tenant("globex").await;
        let own = crate::admin::runner(&acme.connection_string, None, "acme").await;
        let acting = own.acting(ada());
        let soon = SystemClock.now() + Duration::from_secs(3600);
        let execution = acting.submit("w").start_at(soon).send().await.unwrap();
        execution.cancel().await.unwrap();
        assert_eq!(execution.get_status().await.unwrap(), ExecutionStatus::Cancelled);
        let noted = rows(&own).await;
        let last = noted.last().unwrap();
        assert_eq!((last.actor.as_str(), last.action.as_str()), ("ada", "cancel"));
        assert!(last.login.as_deref().unwrap().contains("acme"));
        assert_error(&own.audit_verify().await.unwrap_err(), ErrorKind::Configuration, "belongs to a tenant");
        let operator = crate::admin::runner(&database.url, Some("acme"), "acme").await;
        let verdict = operator.audit_verify().await.unwrap();
        assert_eq!((verdict.rows, verdict.broken_at), (noted.len() as u64, None));
        let other = crate::admin::runner(&database.url, Some("globex"), "globex").await;
        assert!(rows(&other).await.iter().all(|row| row.action == "create_tenant"));

        let session = connect(&acme.connection_string).await.unwrap();
        for text in [
            "UPDATE cloacina.audit SET actor = 'x'",
            "INSERT INTO cloacina.audit (actor, action) VALUES ('x', 'x')",
            "UPDATE cloacina.audit_chain SET position = 1",
            "SELECT cloacina.my_audit('x', repeat('x', 300), NULL, NULL, NULL, NULL, NULL)",
            "SELECT cloacina.my_audit('x', 'x', NULL, NULL, NULL, repeat('x', 5000), NULL)",
            "SELECT cloacina.my_audit('x', 'x', NULL, NULL, NULL, NULL, 'infinity')",
            "SELECT cloacina.my_audit('x', 'x', NULL, NULL, NULL, NULL, NULL) FROM generate_series(1, 2000)",
        ] {
            assert!(session.batch_execute(text).await.is_err(), "{text}");
        }
        assert_eq!(rows(&operator).await.len(), noted.len());
        assert_eq!(database.admin.verify_tenant("acme").await.unwrap().findings, [""; 0]);
        for runner in [own, operator, other] {
            runner.shutdown().await.unwrap();
        }
    })
    .await;
}
