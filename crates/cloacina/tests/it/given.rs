//! What tasks are given beside a context: state by its type, an input of a type of their own, what the engine
//! knows of them.

use std::sync::Arc;

use cloacina::{
    AttemptOutcome, Context, ErrorKind, ExecutionResult, ExecutionStatus, RetryPolicy, Task, TaskDefinition,
    TaskError, TaskInfo, task,
};
use serde::{Deserialize, Serialize};

use crate::support::{Database, assert_error, idle, quick, task_of, until, workflow};

/// What a program has once and its tasks share.
pub(crate) struct Mailer {
    pub(crate) from: &'static str,
}

pub(crate) trait Bank: Send + Sync {
    fn fee(&self) -> u32;
}

struct Flat(u32);

impl Bank for Flat {
    fn fee(&self) -> u32 {
        self.0
    }
}

#[task]
pub(crate) async fn mail(context: &mut Context, mailer: &Mailer) -> Result<(), TaskError> {
    context.set("from", mailer.from);
    Ok(())
}

#[task]
async fn by_value(context: Context, task: &TaskInfo, mailer: &Mailer) -> Result<Context, TaskError> {
    Ok(context.with("by value", format!("{} of {}", task.task_id(), mailer.from)))
}

#[task(blocking)]
fn at_the_bank(context: &mut Context, bank: &Arc<dyn Bank>, _: &Mailer) -> Result<(), TaskError> {
    context.set("fee", bank.fee());
    Ok(())
}

#[derive(Deserialize)]
struct Order {
    cents: u32,
    items: Vec<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Receipt {
    cents: u32,
    token: String,
}

#[derive(Deserialize)]
struct Shipping {
    items: Vec<String>,
    charge: Receipt,
}

#[task(retry(attempts = 3, base = "0s"))]
async fn charge(order: Order, task: &TaskInfo, bank: &Arc<dyn Bank>) -> Result<Receipt, TaskError> {
    Ok(Receipt { cents: order.cents + bank.fee(), token: task.idempotency_token().to_string() })
}

#[task(dependencies = [charge], blocking)]
fn ship(shipping: Shipping) -> Result<String, TaskError> {
    Ok(format!("{} for {}", shipping.items.join(" and "), shipping.charge.cents))
}

#[task(dependencies = [ship])]
async fn count(context: &mut Context) -> Result<u32, TaskError> {
    let receipt: Receipt = context.try_get("charge")?;
    context.set("seen", &receipt.token);
    Ok(receipt.cents)
}

#[task(dependencies = [count])]
async fn tell(order: Order) -> Result<(), TaskError> {
    if order.items.is_empty() { Err("nothing was ordered".into()) } else { Ok(()) }
}

fn order() -> Context {
    Context::new().with("cents", 100).with("items", ["a", "b"]).with("other", true)
}

async fn run(
    database: &Database,
    input: Context,
    tasks: impl IntoIterator<Item = TaskDefinition>,
) -> ExecutionResult {
    let bank: Arc<dyn Bank> = Arc::new(Flat(5));
    let config = quick().state(Mailer { from: "acme" }).state(bank);
    let runner = database.configured(config, [workflow("w", tasks)]).await;
    let result = runner.execute("w", input).await.unwrap();
    runner.shutdown().await.unwrap();
    result
}

on_each_store! {
    async fn a_task_is_given_state_by_its_type(database: Database) {
        let tasks = [mail.definition(), by_value.definition(), at_the_bank.definition()];
        let result = run(&database, Context::new(), tasks).await;
        assert_eq!(result.status, ExecutionStatus::Completed, "{:?}", result.error_message);
        let expected = Context::new().with("from", "acme").with("by value", "by_value of acme").with("fee", 5);
        assert_eq!(result.final_context, expected);
    }

    async fn a_runner_without_what_a_task_asks_for_does_not_start(database: Database) {
        let lacking = || database.builder().workflow(workflow("w", [charge.definition(), mail.definition()]));
        let bank: Arc<dyn Bank> = Arc::new(Flat(5));
        let error = lacking().state(bank).build().await.unwrap_err();
        assert_error(&error, ErrorKind::Configuration, "task `mail` of workflow `w` asks for a `it::given::Mailer`");
        assert_error(&error, ErrorKind::Configuration, "the runner of tenant `acme` was not given: add `.state(…)`");
        // It runs no task.
        lacking().submit_only().build().await.unwrap().shutdown().await.unwrap();
    }

    async fn a_runner_that_only_submits_takes_no_state_from_one_that_runs(database: Database) {
        let tasks = || [workflow("w", [mail.definition()])];
        let runner = database.configured(quick().state(Mailer { from: "acme" }), tasks()).await;
        let submitter = database.configured(quick().submit_only(true), tasks()).await;
        let result = submitter.execute("w", Context::new()).await.unwrap();
        assert_eq!(result.final_context.get::<String>("from").as_deref(), Some("acme"));
        submitter.shutdown().await.unwrap();
        runner.shutdown().await.unwrap();
    }

    async fn what_a_runner_that_only_submits_recorded_before_gets_the_state_of_the_one_that_runs(database: Database) {
        let tasks = || [workflow("w", [mail.definition()])];
        let submitter = database.configured(quick().submit_only(true), tasks()).await;
        let waits = tokio::spawn({
            let submitter = submitter.clone();
            async move { submitter.execute("w", Context::new()).await.unwrap() }
        });
        until(async || !submitter.list_executions().await.unwrap().is_empty()).await;
        // It runs something else, and leaves what it was given nothing for.
        let other = database.runner([workflow("v", [idle("idle")])]).await;
        assert!(other.execute("v", Context::new()).await.unwrap().status.is_success());
        let runner = database.configured(quick().state(Mailer { from: "acme" }), tasks()).await;
        let result = waits.await.unwrap();
        assert_eq!(result.final_context.get::<String>("from").as_deref(), Some("acme"), "{result:?}");
        for runner in [other, runner, submitter] {
            runner.shutdown().await.unwrap();
        }
    }

    async fn one_tenant_may_be_given_other_state(database: Database) {
        let config = || quick().state(Mailer { from: "all" }).state_for("globex", Mailer { from: "globex" });
        for (tenant, from) in [("acme", "all"), ("globex", "globex")] {
            let runner = database.of(tenant).configured(config(), [workflow("w", [mail.definition()])]).await;
            let result = runner.execute("w", Context::new()).await.unwrap();
            assert_eq!(result.final_context.get::<String>("from").as_deref(), Some(from));
            runner.shutdown().await.unwrap();
        }
    }

    async fn tasks_take_and_return_types_of_their_own(database: Database) {
        let tasks = [charge.definition(), ship.definition(), count.definition(), tell.definition()];
        let result = run(&database, order(), tasks).await;
        assert_eq!(result.status, ExecutionStatus::Completed, "{:?}", result.error_message);
        let receipt: Receipt = result.final_context.try_get("charge").unwrap();
        assert_eq!(receipt.cents, 105);
        assert_eq!(result.final_context.get::<String>("seen").as_ref(), Some(&receipt.token));
        assert_eq!(result.final_context.get::<String>("ship").as_deref(), Some("a and b for 105"));
        assert_eq!(result.final_context.get::<u32>("count"), Some(105));
        assert_eq!(result.final_context.value("tell"), None);
        assert_eq!(result.final_context.get::<bool>("other"), Some(true));
    }

    async fn an_input_that_does_not_fit_fails_at_once_and_says_where(database: Database) {
        let result = run(&database, order().with("items", [1]), [charge.definition()]).await;
        assert_eq!(result.status, ExecutionStatus::Failed);
        let charged = task_of(&result, "charge");
        assert_eq!(charged.attempts, 1);
        assert_eq!(
            charged.error_message.as_deref(),
            Some("the context does not fit the input of task `charge` at `items[0]`: invalid type: integer, expected a string")
        );
    }

    async fn an_error_of_any_kind_is_tried_again(database: Database) {
        let broken = TaskDefinition::from_async("broken", async |_: Context| {
            std::fs::read("/not/there")?;
            Err::<Context, TaskError>("there is such a file".into())
        });
        let policy = RetryPolicy { attempts: 2, base: std::time::Duration::ZERO, ..RetryPolicy::DEFAULT };
        let runner = database.runner([workflow("w", [broken.retry(policy)])]).await;
        let execution = runner.execute_async("w", Context::new()).await.unwrap();
        execution.wait_for_completion().await.unwrap();
        let history = execution.history().await.unwrap();
        assert_eq!(history.len(), 2);
        assert!(history.iter().all(|attempt| attempt.outcome == AttemptOutcome::Failed));
        runner.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_task_that_asks_for_its_token_is_called_in_a_unit_test() {
    #[task]
    async fn copy(context: &mut Context) -> Result<(), TaskError> {
        context.set("token", context.task().idempotency_token());
        context.task().cancellation().cancelled().await;
        Ok(())
    }

    let bank: Arc<dyn Bank> = Arc::new(Flat(5));
    let task = TaskInfo::for_test("charge").with_attempt(2);
    let receipt = charge(Order { cents: 1, items: Vec::new() }, &task, &bank).await.unwrap();
    assert_eq!(receipt, Receipt { cents: 6, token: task.idempotency_token().to_string() });

    let (task, cancel) = TaskInfo::for_test("copy").cancellable();
    let token = task.idempotency_token();
    cancel();
    let mut context = Context::new().in_task(task);
    copy(&mut context).await.unwrap();
    assert_eq!(context.get("token"), Some(token));
}
