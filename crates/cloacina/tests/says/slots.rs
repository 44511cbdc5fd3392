//! Tasks that hold all slots while they wait for executions that get none.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cloacina::{Context, ExecutionStatus, RetryPolicy, Runner, TaskBody, TaskDefinition};
use tokio::runtime::Handle;
use tokio::sync::Barrier;
use tracing::Level;

use crate::heard::{all, said, tenant_of};
use crate::support::{Database, idle, quick, reaches, task, workflow};

const FULL: &str = "every slot is held by a task that waits for an execution";

on_each_store! {
    async fn tasks_that_hold_all_slots_and_wait_for_what_gets_none_are_a_warning(database: Database) {
        let (place, tenant) = tenant_of(&database);
        let runner: Arc<OnceLock<Runner>> = Arc::default();
        // Both have their slots before one wants another.
        let both = Arc::new(Barrier::new(2));
        let asynchronous = {
            let (runner, both) = (Arc::clone(&runner), Arc::clone(&both));
            task("executes", move |context| {
                let (runner, both) = (Arc::clone(&runner), Arc::clone(&both));
                async move {
                    both.wait().await;
                    runner.get().unwrap().execute("child", Context::new()).await?;
                    Ok(context)
                }
            })
        };
        let blocking = {
            let runner = Arc::clone(&runner);
            let code = move |context: Context| {
                let runner = runner.get().unwrap();
                Handle::current().block_on(async {
                    both.wait().await;
                    let child = runner.execute_async("child", Context::new()).await?;
                    child.wait_for(Duration::from_secs(3600)).await
                })?;
                Ok(context)
            };
            TaskDefinition::new("waits", TaskBody::Blocking(Arc::new(code))).retry(RetryPolicy::NEVER)
        };
        let workflows = [
            workflow("one", [asynchronous]),
            workflow("two", [blocking]),
            workflow("child", [idle("work")]),
        ];
        let opened = place.configured(quick().max_concurrent_tasks(2), workflows).await;
        runner.set(opened.clone()).unwrap();
        let one = opened.execute_async("one", Context::new()).await.unwrap();
        let two = opened.execute_async("two", Context::new()).await.unwrap();

        let warning = said(|said| said.is(Level::WARN, &tenant, FULL)).await;
        let of = |name| warning.fields.of(name).to_owned();
        let expected = [(one.execution_id, "one", "executes"), (two.execution_id, "two", "waits")];
        assert!(expected.contains(&(of("execution").parse().unwrap(), &of("workflow"), &of("task"))), "{warning:?}");
        assert_eq!((of("slots"), of("setting")), ("2".to_owned(), "max_concurrent_tasks".to_owned()));
        let child = opened.execution(of("waits_for").parse().unwrap());
        assert_eq!(child.get_status().await.unwrap(), ExecutionStatus::Pending);

        // One that gives its slot back lets the children run, and the other one end.
        one.cancel().await.unwrap();
        reaches(&two, ExecutionStatus::Completed).await;
        reaches(&child, ExecutionStatus::Completed).await;
        assert_eq!(all(|said| said.is(Level::WARN, &tenant, FULL)).len(), 1, "once in a while");
        opened.shutdown().await.unwrap();
    }
}
