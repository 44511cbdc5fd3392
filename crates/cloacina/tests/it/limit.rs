//! How many tasks run at once, and which go first.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cloacina::{Context, ExecutionStatus, TaskDefinition};

use crate::support::{Database, Gate, quick, reaches, task, workflow};

/// Counts how many of its tasks run at once.
#[derive(Clone, Default)]
pub(crate) struct Meter {
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Meter {
    pub(crate) fn task(&self, id: &str) -> TaskDefinition {
        let Self { running, most } = self.clone();
        task(id, move |context| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(context)
            }
        })
    }

    /// One whose tasks the other one counts as well.
    pub(crate) fn with(&self, other: &Self) -> Both {
        Both(self.clone(), other.clone())
    }

    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// Two of them that count the same tasks.
pub(crate) struct Both(Meter, Meter);

impl Both {
    pub(crate) fn task(&self, id: &str) -> TaskDefinition {
        let meters = [self.0.clone(), self.1.clone()];
        task(id, move |context| {
            let meters = meters.clone();
            async move {
                for Meter { running, most } in &meters {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
                for meter in &meters {
                    meter.running.fetch_sub(1, Ordering::SeqCst);
                }
                Ok(context)
            }
        })
    }
}

on_each_store! {
    async fn a_tenant_never_runs_more_tasks_than_it_may(database: Database) {
        let meter = Meter::default();
        let wide = (0..20).map(|n| meter.task(&format!("t{n}")));
        let chain = [meter.task("a"), meter.task("b").dependencies(["a"]), meter.task("c").dependencies(["a"])];
        let runner = database.configured(
            quick().max_concurrent_tasks(3),
            [workflow("wide", wide), workflow("chain", chain)],
        ).await;
        let mut executions = Vec::new();
        for _ in 0..8 {
            executions.push(runner.execute_async("wide", Context::new()).await.unwrap());
            executions.push(runner.execute_async("chain", Context::new()).await.unwrap());
        }
        for execution in executions {
            assert!(execution.wait_for_completion().await.unwrap().status.is_success());
        }
        assert_eq!(meter.most(), 3);
        runner.shutdown().await.unwrap();
    }

    async fn the_limit_that_was_given_last_holds(database: Database) {
        let gate = Gate::new();
        let workflows = || [workflow("w", [gate.task("t")])];
        let first = database.configured(quick().max_concurrent_tasks(1), workflows()).await;
        for _ in 0..3 {
            first.execute_async("w", Context::new()).await.unwrap();
        }
        gate.started().await;
        let second = database.configured(quick().max_concurrent_tasks(3), workflows()).await;
        gate.started().await;
        gate.started().await;
        gate.open(3);
        first.shutdown().await.unwrap();
        second.shutdown().await.unwrap();
    }

    async fn a_full_tenant_does_not_keep_another_waiting(database: Database) {
        let gate = Gate::new();
        let full = database.configured(quick().max_concurrent_tasks(1), [workflow("w", [gate.task("t")])]).await;
        let other = database.of("globex").runner([workflow("w", [task("t", |context| async { Ok(context) })])]).await;
        let first = full.execute_async("w", Context::new()).await.unwrap();
        let second = full.execute_async("w", Context::new()).await.unwrap();
        gate.started().await;
        for _ in 0..5 {
            assert!(other.execute("w", Context::new()).await.unwrap().status.is_success());
        }
        assert_eq!(second.get_status().await.unwrap(), ExecutionStatus::Pending);
        gate.open(2);
        assert!(first.wait_for_completion().await.unwrap().status.is_success());
        assert!(second.wait_for_completion().await.unwrap().status.is_success());
        full.shutdown().await.unwrap();
        other.shutdown().await.unwrap();
    }

    async fn what_waits_for_a_slot_goes_in_the_order_of_priority(database: Database) {
        let gate = Gate::new();
        let runner = database.configured(quick().max_concurrent_tasks(1), [
            workflow("first", [gate.task("first")]),
            workflow("w", [gate.task("t")]),
        ]).await;
        let first = runner.execute_async("first", Context::new()).await.unwrap();
        gate.started().await;
        let mut waiting = Vec::new();
        for priority in [2, 9, 0, 5, 7] {
            let execution = runner.submit("w").priority(priority).send().await.unwrap();
            waiting.push((priority, execution));
        }
        let usual = runner.submit("w").send().await.unwrap();
        waiting.push((5, usual));
        gate.open(1);
        let mut order = Vec::new();
        for _ in 0..waiting.len() {
            let started = gate.started().await.execution_id();
            order.push(waiting.iter().find(|(_, execution)| execution.execution_id == started).unwrap().0);
            gate.open(1);
        }
        assert_eq!(order, [9, 7, 5, 5, 2, 0]);
        reaches(&first, ExecutionStatus::Completed).await;
        for (_, execution) in waiting {
            assert!(execution.wait_for_completion().await.unwrap().status.is_success());
        }
        runner.shutdown().await.unwrap();
    }

    async fn an_urgent_execution_does_not_wait_for_the_whole_of_another(database: Database) {
        let gate = Gate::new();
        let long = [gate.task("a"), gate.task("b").dependencies(["a"]), gate.task("c").dependencies(["b"])];
        let runner = database.configured(
            quick().max_concurrent_tasks(1),
            [workflow("long", long), workflow("urgent", [gate.task("urgent")])],
        ).await;
        let long = runner.execute_async("long", Context::new()).await.unwrap();
        assert_eq!(gate.started().await.task_id(), "a");
        let urgent = runner.submit("urgent").priority(9).send().await.unwrap();
        gate.open(4);
        let order = [gate.started().await, gate.started().await, gate.started().await].map(|info| info.task_id().to_owned());
        assert_eq!(order, ["urgent", "b", "c"]);
        assert!(urgent.wait_for_completion().await.unwrap().status.is_success());
        assert!(long.wait_for_completion().await.unwrap().status.is_success());
        runner.shutdown().await.unwrap();
    }
}
