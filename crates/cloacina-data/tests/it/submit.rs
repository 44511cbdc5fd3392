//! Executions that are submitted in a transaction: each exists exactly if the transaction is committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cloacina::data::sea_orm::{self, TransactionSession, TransactionTrait};
use cloacina::data::{DataError, DataErrorKind, TenantDb, TenantTx};
use cloacina::rerun::From;
use cloacina::runner::{Runner, RunnerConfig};
use cloacina::{
    Context, Error, ErrorKind, ExecutionFilter, ExecutionStatus, Input, Task, TaskDefinition, TaskError,
    join_all, task,
};
use cloacina_core::clock::{Clock as _, SystemClock};
use cloacina_testing::proxy::{Cut, Proxy};
use jiff::Timestamp;
use uuid::Uuid;

use crate::crash::{Child, count, make, named};
use crate::ledger::{PATIENT, data, enter, entered, mark, noting, paying, until};
use crate::support::{Placement, assert_says, in_each_placement, workflow};

#[task(id = "pay")]
async fn pay(context: &mut Context, tx: &TenantTx) -> Result<(), sea_orm::DbErr> {
    enter(context, tx).await
}

/// Submits the payment of its order, and fails the first time after it did.
#[task(id = "order")]
async fn order(context: &mut Context, tx: &TenantTx) -> anyhow::Result<()> {
    let payment = tx.submit("paying").send().await?;
    anyhow::ensure!(context.task().attempt() > 1, "it changed its mind");
    context.set("payment", payment);
    Ok(())
}

#[task(id = "slow")]
async fn slow(_context: &mut Context, _tx: &TenantTx) -> Result<(), sea_orm::DbErr> {
    tokio::time::sleep(Duration::from_millis(300)).await;
    Ok(())
}

async fn open(place: &Placement) -> Runner {
    let workflows = vec![
        paying(pay.definition().retry(PATIENT)),
        noting(),
        cloacina::Workflow::builder("ordering").task(order.definition().retry(PATIENT)).build(),
    ];
    place.runner("acme", &data(), workflows).await
}

async fn open_with(place: &Placement, configure: impl FnOnce(&mut RunnerConfig)) -> Runner {
    let mut config =
        RunnerConfig::builder().workflow(paying(pay.definition().retry(PATIENT))).workflow(noting()).build();
    configure(&mut config);
    place.with("acme", &data(), config).await
}

fn now() -> Timestamp {
    SystemClock.now()
}

async fn submit(db: &TenantDb, workflow: &str) -> Uuid {
    db.run_as(async |tx| tx.submit(workflow).send().await).await.unwrap()
}

async fn completes(runner: &Runner, execution: Uuid) {
    let result = runner.execution(execution).wait_for_completion().await.unwrap();
    assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
}

async fn ids(runner: &Runner) -> Vec<Uuid> {
    let mut ids: Vec<_> =
        runner.list_executions().await.unwrap().iter().map(|execution| execution.execution_id).collect();
    ids.sort_unstable();
    ids
}

/// Fails unless each execution that was submitted in a transaction has the row that the transaction left, and
/// no row is without one; says how many there are.
async fn match_up(place: &Placement, hint: &str) -> usize {
    let all = entered(place, "acme").await;
    let wrong: Vec<_> = all.iter().filter(|entered| entered.rows != 1).collect();
    assert!(
        wrong.is_empty(),
        "executions and what was committed with them do not match ({hint}): {wrong:#?}"
    );
    all.len()
}

in_each_placement! {
    async fn what_is_submitted_runs_once_as_soon_as_it_is_committed(place: Placement) {
        let runner = open(&place).await;
        let db = runner.data().unwrap();
        completes(&runner, submit(&db, "paying").await).await;
        let begun = Instant::now();
        for _ in 0..20 {
            completes(&runner, submit(&db, "paying").await).await;
        }
        // The bell, which is looked at once a second, is not what is waited for.
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        let all = entered(&place, "acme").await;
        assert_eq!(all.len(), 21);
        assert!(all.iter().all(|one| one.agrees() && one.rows == 1 && one.attempt == 1), "{all:?}");
        runner.shutdown().await.unwrap();
    }

    async fn many_are_submitted_in_one_transaction(place: Placement) {
        let runner = open(&place).await;
        let db = runner.data().unwrap();
        let inputs = || (0..300).map(|n| Input::new(Context::new().with("n", n)).key(format!("{n}")).tag("night"));
        let undone = db
            .run_as(async |tx| {
                let all = tx.submit_many("noting", inputs()).send().await?;
                assert!(all.iter().all(Result::is_ok));
                Err::<(), Error>(Error::new(ErrorKind::Task, "it changed its mind"))
            })
            .await;
        assert!(undone.is_err());
        assert!(ids(&runner).await.is_empty());
        let one = db.run_as(async |tx| tx.submit("noting").input(Context::new().with("n", 7)).idempotency_key("7").send().await);
        let one: Uuid = one.await.unwrap();
        let all = db
            .run_as(async |tx| {
                let all = tx.submit_many("noting", inputs()).send().await?;
                assert_eq!(tx.submit_many("nothing", inputs()).send().await?[0].as_ref().unwrap_err().kind(), ErrorKind::Workflow);
                all.into_iter().collect::<Result<Vec<Uuid>, Error>>()
            })
            .await
            .unwrap();
        assert_eq!((all.len(), all[7]), (300, one));
        for execution in &all {
            completes(&runner, *execution).await;
        }
        let mut sorted = all;
        sorted.sort_unstable();
        assert_eq!(ids(&runner).await, sorted);
        let tagged = runner.list(ExecutionFilter::all().tag("night"), None, 1_000).await.unwrap();
        assert_eq!(tagged.len(), 299, "one was there before");
        assert_eq!(tagged[0].tags, ["night"]);
        runner.shutdown().await.unwrap();
    }

    async fn an_execution_is_tagged_and_rerun_in_every_placement(place: Placement) {
        let mended = Arc::new(AtomicBool::new(false));
        let is_mended = Arc::clone(&mended);
        let code = TaskDefinition::from_async("breaks", move |context: Context| {
            let mended = is_mended.load(Ordering::Relaxed);
            async move { if mended { Ok(context) } else { Err(TaskError::from("broken")) } }
        });
        let first = TaskDefinition::from_async("first", |context: Context| async { Ok::<_, TaskError>(context.with("first", 1)) });
        let config = RunnerConfig::builder()
            .workflow(workflow("w", [first, code.dependencies(["first"])]))
            .build();
        let runner = place.with("acme", &data(), config).await;
        let inputs = (0..10).map(|n| Input::new(Context::new().with("n", n)).tag("night"));
        let recorded = runner.submit_many("w", inputs).send().await.unwrap();
        let failed: Vec<_> = recorded.into_iter().map(Result::unwrap).collect();
        assert!(join_all(&failed).await.iter().all(|result| result.as_ref().unwrap().status == ExecutionStatus::Failed));
        mended.store(true, Ordering::Relaxed);
        let filter = ExecutionFilter::all().tag("night").status(ExecutionStatus::Failed).superseded(false);
        for old in runner.list(filter, None, 100).await.unwrap() {
            let new = runner.execution(old.execution_id).rerun(From::Failed).send().await.unwrap();
            let result = new.wait_for_completion().await.unwrap();
            assert_eq!((result.status, result.rerun_of), (ExecutionStatus::Completed, Some(old.execution_id)));
            assert_eq!(result.final_context.get::<i64>("first"), Some(1));
            assert_eq!(result.task_results[0].attempts, 0);
        }
        runner.shutdown().await.unwrap();
    }

    async fn all_that_can_be_said_about_a_submission_is_recorded(place: Placement) {
        let runner = open_with(&place, |config| config.submit_only = true).await;
        let db = runner.data().unwrap();
        let soon = now() + Duration::from_secs(2);
        let (later, missed) = db
            .run_as(async |tx| {
                let input = Context::new().with("n", 7);
                let later = tx.submit("noting").input(input).priority(8).start_at(soon).send().await?;
                let missed = tx.submit("noting").deadline(now()).send().await?;
                assert_eq!(tx.submit("nothing").send().await.unwrap_err().kind(), ErrorKind::Workflow);
                assert_eq!(tx.submit("noting").priority(10).send().await.unwrap_err().kind(), ErrorKind::Configuration);
                assert_eq!(tx.submit("noting").idempotency_key("").send().await.unwrap_err().kind(), ErrorKind::Configuration);
                let large = Context::new().with("x", "x".repeat(2 << 20));
                assert_eq!(tx.submit("noting").input(large).send().await.unwrap_err().kind(), ErrorKind::Context);
                Ok::<_, Error>((later, missed))
            })
            .await
            .unwrap();
        let mut both = [later, missed];
        both.sort_unstable();
        assert_eq!(ids(&runner).await, both);
        let worker = open(&place).await;
        let result = worker.execution(later).wait_for_completion().await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
        assert_eq!(result.final_context.get::<i64>("n"), Some(7));
        assert!(now() >= soon, "it began before its time");
        let result = worker.execution(missed).wait_for_completion().await.unwrap();
        assert!(result.status.is_terminal(), "{result:?}");
        worker.shutdown().await.unwrap();
        runner.shutdown().await.unwrap();
    }

    async fn of_what_is_rolled_back_nothing_exists_and_nothing_is_left_in_memory(place: Placement) {
        let runner = open_with(&place, |config| config.max_queue_length = Some(1)).await;
        let db = runner.data().unwrap();
        let mut gone = Vec::new();
        let failed = db
            .run_as(async |tx| {
                gone.push(tx.submit("paying").send().await?);
                Err::<(), _>(anyhow::anyhow!("changed its mind"))
            })
            .await;
        assert_eq!(failed.unwrap_err().to_string(), "changed its mind");
        let poisoned = db
            .run_as(async |tx| {
                gone.push(tx.submit("paying").send().await.unwrap());
                drop(sea_orm::ConnectionTrait::execute_unprepared(tx, "SELECT nonsense FROM ledger").await);
                let refused = tx.submit("paying").send().await.unwrap_err();
                assert!(refused.to_string().contains("met an error before"), "{refused}");
                Ok::<_, DataError>(())
            })
            .await;
        assert_eq!(poisoned.unwrap_err().kind(), DataErrorKind::Poisoned);
        let dropped = db.run_as(async |tx| {
            gone.push(tx.submit("paying").send().await.unwrap());
            std::future::pending::<()>().await;
            Ok::<_, DataError>(())
        });
        drop(tokio::time::timeout(Duration::from_millis(200), dropped).await);
        assert_eq!(gone.len(), 3);
        assert!(ids(&runner).await.is_empty());
        for gone in gone {
            let error = runner.execution(gone).wait_for_completion().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        }
        // They do not count any more.
        completes(&runner, submit(&db, "paying").await).await;
        assert!(runner.is_unused(), "something is left in memory");
        runner.shutdown().await.unwrap();
    }

    async fn a_transactional_task_that_is_tried_again_submits_once(place: Placement) {
        let runner = open(&place).await;
        let result = runner.execute("ordering", Context::new()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
        let payment: Uuid = result.final_context.get("payment").unwrap();
        completes(&runner, payment).await;
        let mut both = [result.execution_id, payment];
        both.sort_unstable();
        assert_eq!(ids(&runner).await, both);
        let paid: Vec<_> = entered(&place, "acme").await.into_iter().filter(|one| one.rows > 0).collect();
        assert!(matches!(&paid[..], [one] if one.execution == payment && one.rows == 1), "{paid:?}");
        runner.shutdown().await.unwrap();
    }

    async fn what_was_submitted_in_a_savepoint_goes_with_it(place: Placement) {
        let runner = open_with(&place, |config| config.submit_only = true).await;
        let db = runner.data().unwrap();
        let mut kept = db
            .run_as(async |tx| {
                let first = tx.submit("noting").send().await?;
                let inner = tx.begin().await?;
                inner.submit("noting").send().await?;
                let innermost = inner.begin().await?;
                innermost.submit("noting").send().await?;
                innermost.commit().await?;
                inner.rollback().await?;
                {
                    let dropped = tx.begin().await?;
                    dropped.submit("noting").idempotency_key("free again").send().await?;
                }
                let second = tx.submit("noting").idempotency_key("free again").send().await?;
                let released = tx.begin().await?;
                let third = released.submit("noting").send().await?;
                released.commit().await?;
                let dropped_at_the_end = tx.begin().await?;
                dropped_at_the_end.submit("noting").send().await?;
                anyhow::Ok([first, second, third])
            })
            .await
            .unwrap();
        kept.sort_unstable();
        assert_eq!(ids(&runner).await, kept);
        runner.shutdown().await.unwrap();
    }

    async fn a_key_that_was_used_before_is_answered_with_its_execution(place: Placement) {
        let runner = open_with(&place, |config| config.submit_only = true).await;
        let db = runner.data().unwrap();
        let input = || Context::new().with("n", 1);
        let before = runner.submit("noting").input(input()).idempotency_key("before").send().await.unwrap().execution_id;
        let now = db
            .run_as(async |tx| {
                let again = tx.submit("noting").input(input()).idempotency_key("before").send().await?;
                assert_eq!(again, before);
                let conflict = tx.submit("noting").idempotency_key("before").send().await.unwrap_err();
                assert_eq!(conflict.kind(), ErrorKind::Conflict, "{conflict}");
                let now = tx.submit("noting").input(input()).idempotency_key("now").send().await?;
                assert_eq!(tx.submit("noting").input(input()).idempotency_key("now").send().await?, now);
                assert_eq!(tx.submit("noting").idempotency_key("now").send().await.unwrap_err().kind(), ErrorKind::Conflict);
                // A key is one of its workflow.
                assert_ne!(tx.submit("paying").input(input()).idempotency_key("now").send().await?, now);
                Ok::<_, Error>(now)
            })
            .await
            .unwrap();
        assert_eq!(ids(&runner).await.len(), 3);
        let after = runner.submit("noting").input(input()).idempotency_key("now").send().await.unwrap();
        assert_eq!(after.execution_id, now);
        runner.shutdown().await.unwrap();
    }

    async fn a_key_that_another_transaction_uses_at_the_same_time_fails_the_later_one(place: Placement) {
        // In a file the second transaction waits for the end of the first, and finds what it did.
        if matches!(place, Placement::Sqlite(_)) {
            return;
        }
        let runner = open_with(&place, |config| config.submit_only = true).await;
        let db = runner.data().unwrap();
        let key = "the same";
        let mut first = None;
        let work = db
            .run_as(async |tx| {
                let id = tx.submit("noting").idempotency_key(key).send().await?;
                mark(tx, id).await?;
                // Nobody waits for a key that is not written yet.
                first = Some(runner.submit("noting").idempotency_key(key).send().await?.execution_id);
                Ok::<_, anyhow::Error>(())
            })
            .await;
        let error = work.unwrap_err().downcast::<DataError>().unwrap();
        assert_says(&error, DataErrorKind::Transient, "`the same` at the same time");
        let found = db.run_as(async |tx| tx.submit("noting").idempotency_key(key).send().await).await.unwrap();
        assert_eq!(Some(found), first);
        assert_eq!(ids(&runner).await, [found]);
        let all = entered(&place, "acme").await;
        assert!(matches!(&all[..], [one] if one.rows == 0), "{all:?}");
        runner.shutdown().await.unwrap();
    }

    async fn many_that_use_the_same_keys_at_once_record_each_once_without_a_deadlock(place: Placement) {
        let runner = open(&place).await;
        let db = runner.data().unwrap();
        // Its first use makes the tables.
        db.read_as(async |_| Ok::<_, DataError>(())).await.unwrap();
        let workers: Vec<_> = (0..6_u64)
            .map(|worker| {
                let (runner, db) = (runner.clone(), db.clone());
                tokio::spawn(async move {
                    let mut rng = fastrand::Rng::with_seed(worker);
                    for round in 0..10 {
                        let mut keys: Vec<_> = (0..5).map(|key| format!("{round}/{key}")).collect();
                        rng.shuffle(&mut keys);
                        if worker % 3 == 0 {
                            for key in keys {
                                runner.submit("paying").idempotency_key(key).send().await.unwrap();
                            }
                            continue;
                        }
                        loop {
                            let recorded = db
                                .run_as(async |tx| {
                                    for key in &keys {
                                        tx.submit("paying").idempotency_key(key).send().await?;
                                    }
                                    anyhow::Ok(())
                                })
                                .await;
                            let Err(error) = recorded else { break };
                            let error = error.downcast::<DataError>().unwrap();
                            assert_says(&error, DataErrorKind::Transient, "at the same time");
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
        let all = ids(&runner).await;
        assert_eq!(all.len(), 50);
        for id in all {
            completes(&runner, id).await;
        }
        let all = entered(&place, "acme").await;
        assert!(all.iter().all(|one| one.rows == 1), "{all:?}");
        runner.shutdown().await.unwrap();
    }

    async fn each_tenant_gets_what_is_submitted_in_its_own_transactions(place: Placement) {
        let data = data();
        let workflows = || vec![paying(pay.definition().retry(PATIENT))];
        let acme = place.runner("acme", &data, workflows()).await;
        let globex = place.runner("globex", &data, workflows()).await;
        let (a, g) = (acme.data().unwrap(), globex.data().unwrap());
        // Transactions of both, open at once.
        let (of_acme, of_globex) = a
            .run_as(async |acme| {
                let of_acme = acme.submit("paying").idempotency_key("mine").send().await?;
                let of_globex = g.run_as(async |globex| globex.submit("paying").idempotency_key("mine").send().await).await?;
                Ok::<_, Error>((of_acme, of_globex))
            })
            .await
            .unwrap();
        assert_eq!(ids(&acme).await, [of_acme]);
        assert_eq!(ids(&globex).await, [of_globex]);
        completes(&acme, of_acme).await;
        completes(&globex, of_globex).await;
        let stranger = acme.execution(of_globex).wait_for_completion().await.unwrap_err();
        assert_eq!(stranger.kind(), ErrorKind::NotFound);
        for tenant in ["acme", "globex"] {
            if !matches!(place, Placement::Shared(_)) {
                let all = entered(&place, tenant).await;
                assert!(all.len() == 1 && all[0].rows == 1, "{tenant}: {all:?}");
            }
        }
        acme.shutdown().await.unwrap();
        globex.shutdown().await.unwrap();
    }

    async fn no_more_is_submitted_than_the_tenant_may_have(place: Placement) {
        let runner = open_with(&place, |config| {
            config.submit_only = true;
            config.max_queue_length = Some(3);
        })
        .await;
        let db = runner.data().unwrap();
        submit(&db, "noting").await;
        for _ in 0..2 {
            let rolled_back = db
                .run_as(async |tx| {
                    tx.submit("noting").send().await?;
                    tx.submit("noting").send().await?;
                    let error = tx.submit("noting").send().await.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
                    Err::<(), _>(error)
                })
                .await;
            assert_eq!(rolled_back.unwrap_err().kind(), ErrorKind::Limit);
        }
        db.run_as(async |tx| {
            tx.submit("noting").send().await?;
            tx.submit("noting").send().await?;
            // What was refused does not end the transaction.
            assert_eq!(tx.submit("noting").send().await.unwrap_err().kind(), ErrorKind::Limit);
            Ok::<_, Error>(())
        })
        .await
        .unwrap();
        assert_eq!(ids(&runner).await.len(), 3);
        assert_eq!(runner.submit("noting").send().await.unwrap_err().kind(), ErrorKind::Limit);
        runner.shutdown().await.unwrap();
    }

    async fn a_transaction_that_only_reads_submits_nothing(place: Placement) {
        let runner = open(&place).await;
        let error = runner.data().unwrap().read_as(async |tx| tx.submit("noting").send().await).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("tenant `acme`") && error.to_string().contains("only reads"), "{error}");
        runner.shutdown().await.unwrap();
    }

    async fn the_data_of_a_runner_that_was_shut_down_submits_nothing(place: Placement) {
        let runner = open(&place).await;
        let db = runner.data().unwrap();
        runner.shutdown().await.unwrap();
        let next = open(&place).await;
        let error = db.run_as(async |tx| tx.submit("noting").send().await).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ShutDown, "{error}");
        completes(&next, submit(&next.data().unwrap(), "noting").await).await;
        next.shutdown().await.unwrap();
    }

    async fn an_open_transaction_keeps_nobody_else_of_its_tenant_waiting(place: Placement) {
        // A file has one writer.
        if matches!(place, Placement::Sqlite(_)) {
            return;
        }
        let runner = open(&place).await;
        let db = runner.data().unwrap();
        let last = db
            .run_as(async |tx| {
                let one = tx.submit("paying").idempotency_key("long").send().await?;
                mark(tx, one).await?;
                let begun = Instant::now();
                for n in 0..10 {
                    assert!(runner.execute("paying", Context::new()).await?.status.is_success());
                    completes(&runner, submit(&db, "paying").await).await;
                    let other = runner.submit("paying").idempotency_key(format!("other {n}")).send().await?;
                    completes(&runner, other.execution_id).await;
                }
                assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
                anyhow::Ok(one)
            })
            .await
            .unwrap();
        completes(&runner, last).await;
        assert_eq!(ids(&runner).await.len(), 31);
        runner.shutdown().await.unwrap();
    }

    async fn a_thousand_are_submitted_in_one_transaction(place: Placement) {
        let runner = open_with(&place, |config| config.submit_only = true).await;
        let db = runner.data().unwrap();
        let mut all = db
            .run_as(async |tx| {
                let mut all = Vec::new();
                for n in 0..1_000 {
                    all.push(tx.submit("paying").input(Context::new().with("n", n)).send().await?);
                }
                Ok::<_, Error>(all)
            })
            .await
            .unwrap();
        all.sort_unstable();
        assert_eq!(ids(&runner).await, all);
        runner.shutdown().await.unwrap();
    }

    async fn another_process_finds_what_was_committed(place: Placement) {
        make(&place).await;
        let worker = Child::start("work", &named(&place).await, None);
        let runner = open_with(&place, |config| config.submit_only = true).await;
        let db = runner.data().unwrap();
        completes(&runner, submit(&db, "paying").await).await;
        let begun = Instant::now();
        let times = if matches!(place, Placement::Sqlite(_)) { 10 } else { 40 };
        for _ in 0..times {
            completes(&runner, submit(&db, "paying").await).await;
        }
        // In a database it is hinted; looks at the bell alone would take twenty seconds, on average.
        if !matches!(place, Placement::Sqlite(_)) {
            assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
        }
        let all = entered(&place, "acme").await;
        assert!(all.len() == times + 1 && all.iter().all(|one| one.rows == 1), "{all:?}");
        runner.shutdown().await.unwrap();
        worker.succeeds().await;
    }

    async fn a_transactional_task_took_as_long_as_it_ran(place: Placement) {
        let runner = place.runner("acme", &data(), vec![workflow("slow", [slow.definition()])]).await;
        let result = runner.execute("slow", Context::new()).await.unwrap();
        assert!(result.duration.unwrap() >= Duration::from_millis(290), "{result:?}");
        runner.shutdown().await.unwrap();
    }

    async fn a_process_that_is_killed_before_its_commit_leaves_no_execution(place: Placement) {
        make(&place).await;
        let directory = tempfile::tempdir().unwrap();
        let reached = directory.path().join("reached");
        let child = Child::start("submit", &named(&place).await, Some(&reached));
        until("it has submitted", async || reached.exists().then_some(())).await;
        child.kill();
        assert_eq!(match_up(&place, "killed before the commit").await, 0);
    }

    async fn a_process_that_is_killed_while_it_submits_leaves_executions_that_run(place: Placement) {
        make(&place).await;
        let seed = count("CLOACINA_SEED", fastrand::u64(0..1_000_000));
        let mut rng = fastrand::Rng::with_seed(seed);
        let kills = count("CLOACINA_KILLS", 20) / 4;
        let mut found = 0;
        for life in 0..kills {
            let child = Child::start("submit", &named(&place).await, None);
            until("a child submits", async || {
                (entered(&place, "acme").await.len() > found).then_some(())
            })
            .await;
            tokio::time::sleep(Duration::from_micros(rng.u64(0..50_000))).await;
            child.kill();
            found = match_up(&place, &format!("seed {seed}, life {life}")).await;
        }
        Child::start("drain", &named(&place).await, None).succeeds().await;
        let all = entered(&place, "acme").await;
        assert_eq!(match_up(&place, &format!("seed {seed}")).await, all.len());
        assert!(all.iter().all(|entered| entered.task == "completed"), "seed {seed}: {all:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_tenant_submits_and_commits_after_its_suspension_is_refused() {
    let place = Placement::shared().await;
    let runner = open_with(&place, |config| config.submit_only = true).await;
    let db = runner.data().unwrap();
    let suspended = db
        .run_as(async |tx| {
            tx.submit("noting").send().await?;
            place.suspend("acme").await;
            let error =
                until("the suspension is known", async || tx.submit("noting").send().await.err()).await;
            assert_eq!(error.kind(), ErrorKind::Suspended, "{error}");
            anyhow::Ok(())
        })
        .await;
    let error = suspended.unwrap_err().downcast::<DataError>().unwrap();
    assert_says(&error, DataErrorKind::Place, "nothing of the transaction was written");
    place.resume("acme").await;
    until("it may work again", async || db.run_as(async |tx| tx.submit("noting").send().await).await.ok())
        .await;
    assert_eq!(ids(&runner).await.len(), 1);
    runner.shutdown().await.unwrap();
}

/// The answers to commits are lost again and again; what was committed says the ledger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_neither_loses_nor_doubles_an_execution() {
    let place = Placement::schema().await;
    let Placement::Schema(url) = &place else { unreachable!() };
    make(&place).await;
    let proxy = Proxy::start(url).await.unwrap();
    let open = async |url: &str, submit_only| {
        let config = RunnerConfig::builder().workflow(noting()).submit_only(submit_only).build();
        let builder = Runner::builder().database_url(url).schema("acme").data(&data()).config(config);
        builder.build().await.unwrap()
    };
    let (worker, runner) = (open(url, false).await, open(proxy.url(), true).await);
    let db = runner.data().unwrap();
    let (mut unknown, mut committed) = (0, 0);
    for round in 0..30 {
        let cut = [None, Some(Cut::BeforeReply), Some(Cut::BeforeCommit)][round % 3];
        let submitted = db
            .run_as(async |tx| {
                let id = tx.submit("noting").send().await?;
                mark(tx, id).await?;
                if let Some(cut) = cut {
                    proxy.cut_at_commit(1, cut);
                }
                anyhow::Ok(id)
            })
            .await;
        match submitted {
            Ok(id) => {
                completes(&worker, id).await;
                committed += 1;
            }
            Err(error) => {
                let error = error.downcast::<DataError>().unwrap();
                assert_eq!(error.kind(), DataErrorKind::Unknown, "{error}");
                unknown += 1;
            }
        }
    }
    assert!(unknown > 15 && committed >= 10, "{unknown} {committed}");
    for execution in ids(&worker).await {
        completes(&worker, execution).await;
    }
    let all = entered(&place, "acme").await;
    assert!(all.len() > committed && all.len() < 30, "{committed}: {all:?}");
    assert!(all.iter().all(|one| one.rows == 1 && one.attempt == 1), "{all:?}");
    runner.shutdown().await.unwrap();
    worker.shutdown().await.unwrap();
}

/// A file in which nothing happened for a while is closed, and so is the runner in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_at_rest_wakes_for_what_is_committed() {
    let place = Placement::sqlite();
    let Placement::Sqlite(directory) = &place else { unreachable!() };
    let runner = open(&place).await;
    let db = runner.data().unwrap();
    completes(&runner, submit(&db, "paying").await).await;
    let log = directory.path().join("acme.db-wal");
    until("the file rests", async || (!log.exists()).then_some(())).await;
    completes(&runner, submit(&db, "paying").await).await;
    until("the file rests", async || (!log.exists()).then_some(())).await;
    let only_submits = open_with(&place, |config| config.submit_only = true).await;
    completes(&runner, submit(&only_submits.data().unwrap(), "paying").await).await;
    only_submits.shutdown().await.unwrap();
    runner.shutdown().await.unwrap();
}

/// The clock of a machine may have been set back since the file was written to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_submitted_to_a_file_follows_what_was_recorded_in_it_before() {
    let place = Placement::sqlite();
    let Placement::Sqlite(directory) = &place else { unreachable!() };
    make(&place).await;
    let file = rusqlite::Connection::open(directory.path().join("acme.db")).unwrap();
    let latest = now() + jiff::SignedDuration::from_hours(1);
    file.execute("UPDATE cloacina_place SET latest_at = ?", [latest.as_microsecond()]).unwrap();
    let runner = open(&place).await;
    let db = runner.data().unwrap();
    let start_at = now() + jiff::SignedDuration::from_mins(10);
    let id = db.run_as(async |tx| tx.submit("paying").start_at(start_at).send().await).await.unwrap();
    let (created, due): (i64, i64) = file
        .query_row(
            "SELECT created_at, due_at FROM workflow_executions JOIN ready_tasks ON execution_id = id WHERE id = ?",
            [id.as_bytes()],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert!(created >= latest.as_microsecond());
    // What a user names is a time of the wall clock.
    let wait = jiff::SignedDuration::from_micros(due - created);
    assert!((9..=10).contains(&wait.as_mins()), "{wait:?}");
    runner.shutdown().await.unwrap();
}

/// Who looks for files with work due asks the registry beside them, in which a file at rest is without any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_after_a_commit_to_a_file_at_rest_leaves_it_to_be_looked_at() {
    let place = Placement::sqlite();
    let Placement::Sqlite(directory) = &place else { unreachable!() };
    let files = cloacina_sqlite::Directory::open(directory.path()).await.unwrap();
    assert_eq!(files.due(now()).await.unwrap(), []);
    make(&place).await;
    assert_eq!(files.due(now()).await.unwrap(), []);
    Child::start("rest", &named(&place).await, None).ends().await;
    assert_eq!(entered(&place, "acme").await.len(), 1);
    let due: Vec<_> = files.due(now()).await.unwrap().into_iter().map(|due| due.id.to_string()).collect();
    assert_eq!(due, ["acme"]);
}

/// A transaction that writes holds the file; while one waits, it has to be able to ask how many executions
/// there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_go_on_while_transactions_submit_to_a_file() {
    let place = Placement::sqlite();
    let runner = open_with(&place, |config| {
        config.max_queue_length = Some(100_000);
        config.heartbeat_interval = Duration::from_millis(50);
    })
    .await;
    let db = runner.data().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let submitters: Vec<_> = (0..3)
        .map(|_| {
            let (db, stop) = (db.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut all = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    all.push(submit(&db, "paying").await);
                }
                all
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.store(true, Ordering::Relaxed);
    for submitter in submitters {
        for id in submitter.await.unwrap() {
            completes(&runner, id).await;
        }
    }
    let all = entered(&place, "acme").await;
    assert!(all.len() > 20 && all.iter().all(|one| one.rows == 1 && one.attempt == 1), "{}", all.len());
    runner.shutdown().await.unwrap();
}
