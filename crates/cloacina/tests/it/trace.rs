//! In which trace an execution was submitted.

use cloacina::rerun::From;
use cloacina::{Context, ErrorKind, Input, Wait, Workflow};

use crate::support::{Database, assert_error, in_time, task};

const REQUEST: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Leaves the trace that it is told of in its context, and the keys of its input.
fn told(workflow: &str) -> Workflow {
    let task = task("told", |context: Context| async move {
        let keys: Vec<String> = context.input().iter().map(|(key, _)| key.to_string()).collect();
        let trace = context.task().traceparent().map(str::to_owned);
        Ok(context.with("trace", trace).with("keys", keys))
    });
    Workflow::builder(workflow).task(task).build()
}

/// What such a task left. With traces of OpenTelemetry in this process, which nobody listens to here, it is
/// the same.
fn left(context: &Context) -> Option<String> {
    context.get::<Option<String>>("trace").unwrap()
}

on_each_store! {
    async fn an_execution_keeps_the_trace_context_that_it_was_submitted_with(database: Database) {
        let runner = database.runner([told("w")]).await;
        let submit = |trace: &str| runner.submit("w").input(Context::new().with("a", 1)).traceparent(trace);
        let execution = submit(REQUEST).send().await.unwrap();
        let result = in_time(execution.wait_for_completion()).await.unwrap();
        assert_eq!(left(&result.final_context).as_deref(), Some(REQUEST));
        assert_eq!(result.final_context.get::<Vec<String>>("keys").unwrap(), ["a"], "it is none of the input");
        assert_eq!(result.traceparent.as_deref(), Some(REQUEST));
        let read = runner.get_execution(execution.execution_id).await.unwrap();
        assert_eq!(read.traceparent.as_deref(), Some(REQUEST));

        let many = runner.submit_many("w", [Context::new(), Context::new()]).traceparent(REQUEST).send().await;
        for execution in many.unwrap() {
            let result = in_time(execution.unwrap().wait_for_completion()).await.unwrap();
            assert_eq!(left(&result.final_context).as_deref(), Some(REQUEST));
        }
        // Any proxy may have written it.
        for nonsense in ["", "rubbish\0", &REQUEST.to_uppercase(), &format!("{REQUEST}-{}", "x".repeat(1 << 20))] {
            let execution = submit(nonsense).send().await.unwrap();
            let result = in_time(execution.wait_for_completion()).await.unwrap();
            assert_eq!((left(&result.final_context), result.traceparent), (None, None), "{nonsense:.20}");
        }
        runner.shutdown().await.unwrap();
    }

    async fn the_same_key_from_another_trace_is_the_same_execution(database: Database) {
        let runner = database.runner([told("w")]).await;
        let submit = || runner.submit("w").idempotency_key("k");
        let first = submit().traceparent(REQUEST).send().await.unwrap();
        let other = REQUEST.replace("b7ad", "c7ad");
        assert_eq!(submit().traceparent(other).send().await.unwrap().execution_id, first.execution_id);
        let error = runner.submit("w").input(Context::new().with("cloacina/trace", REQUEST)).send().await;
        assert_error(&error.unwrap_err(), ErrorKind::Context, "cloacina/trace");
        runner.shutdown().await.unwrap();
    }

    async fn children_belong_to_the_trace_of_their_parent_and_reruns_to_none(database: Database) {
        let parent = Workflow::builder("parent").wait(Wait::child("told", "w")).build();
        let runner = database.runner([parent, told("w")]).await;
        let execution = runner.submit("parent").traceparent(REQUEST).send().await.unwrap();
        in_time(execution.wait_for_completion()).await.unwrap();
        let child = execution.children(None, 1).await.unwrap().remove(0);
        let child = runner.get_execution(child.execution_id).await.unwrap();
        assert_eq!(left(&child.final_context).as_deref(), Some(REQUEST));

        let first = runner.submit_many("w", [Input::default()]).traceparent(REQUEST).send().await.unwrap();
        let first = first.into_iter().next().unwrap().unwrap();
        in_time(first.wait_for_completion()).await.unwrap();
        // It is another request that asks for it.
        let again = first.rerun(From::Start).send().await.unwrap();
        let again = in_time(again.wait_for_completion()).await.unwrap();
        assert_eq!((left(&again.final_context), again.traceparent), (None, None));
        runner.shutdown().await.unwrap();
    }
}
