//! The macros `#[task]` and `#[workflow]` of the crate `cloacina`, which re-exports them.

mod arguments;
mod duration;
mod function;
mod task;
mod workflow;

use proc_macro::TokenStream;

/// Makes a function a task.
///
/// ```
/// use cloacina::{Context, TaskError, task};
///
/// /// Adds up the amounts.
/// #[task(id = "sum", retry(attempts = 5, base = "500ms"), timeout = "30s")]
/// async fn sum(context: &mut Context) -> Result<(), TaskError> {
///     let amounts: Vec<i64> = context.get("amounts").unwrap_or_default();
///     context.set("sum", amounts.iter().sum::<i64>());
///     Ok(())
/// }
///
/// /// Tells the sum.
/// #[task(dependencies = [sum])]
/// async fn tell(context: &mut Context) -> Result<(), TaskError> {
///     let total: i64 = context.get("sum").ok_or("no sum")?;
///     context.set("text", format!("the sum is {total}"));
///     Ok(())
/// }
/// ```
///
/// # The function
///
/// | | |
/// |---|---|
/// | `async fn f(context: &mut Context) -> Result<(), E>` | changes the context in place |
/// | `async fn f(context: Context) -> Result<Context, E>` | takes the context and returns it, or another |
/// | `async fn f(input: Charge) -> Result<Receipt, E>` | takes and returns types of your own, see below |
/// | `async fn f() -> Result<T, E>` | takes nothing |
/// | the same without `async`, with `blocking` | runs on a thread where it may block |
///
/// `E` is `TaskError`, into which `?` turns any error that is `Send + Sync`, of a database and of `anyhow`
/// too, and texts; or whatever becomes one: `anyhow::Error`, `std::io::Error`, `String`. Its type has to be
/// as visible as the task. Any error is retried as the task's policy says; `TaskError::fatal` and
/// `TaskError::retry_after` say otherwise.
///
/// Besides that it may have any number of these, in any order; `db: TenantDb` not as the first parameter:
///
/// | parameter | what it is |
/// |---|---|
/// | `mailer: &Mailer` | what the runner was given by `.state(mailer)`, whatever its type; a runner without it does not start |
/// | `task: &TaskInfo` | the execution, the attempt, the idempotency token, the cancellation |
/// | `db: TenantDb`, `tx: &TenantTx` | the tenant's data, and a transaction in which the task is recorded as done; not in blocking tasks |
///
/// # Types of your own
///
/// ```
/// use cloacina::{TaskError, TaskInfo, task};
/// # use serde::{Deserialize, Serialize};
///
/// #[derive(Deserialize)]
/// struct Charge { card: String, cents: u32 }
///
/// #[derive(Serialize, Deserialize)]
/// struct Receipt { number: String }
///
/// #[task]
/// async fn charge(input: Charge, task: &TaskInfo) -> Result<Receipt, TaskError> {
///     Ok(Receipt { number: format!("{}-{}", input.card, task.idempotency_token()) })
/// }
///
/// /// What `charge` returned is under its id.
/// #[derive(Deserialize)]
/// struct Confirm { charge: Receipt }
///
/// #[task(dependencies = [charge])]
/// async fn confirm(input: Confirm) -> Result<(), TaskError> {
///     println!("paid: {}", input.charge.number);
///     Ok(())
/// }
/// ```
///
/// - The input is made of the whole context: its keys are the fields. Keys that it does not know are left
///   out. If it does not fit, the task fails at once, without another attempt, with an error that names the
///   task and the field, and of the value only what its type puts into the message.
/// - What is returned is stored in the context under the task's id. A value that stood there is replaced.
///   `()` stores nothing; of a `Context` its changes are kept. A task that takes `&mut Context` may
///   return a value as well.
/// - Later tasks read it as a field of that name, or by `context.get::<Receipt>("charge")`.
///
/// # Tests
///
/// The function keeps its name, its visibility and its documentation, and a unit test calls it as it would
/// any other:
///
/// ```
/// # use cloacina::{Context, TaskInfo, task};
/// # #[task]
/// # async fn sum(context: Context) -> Result<Context, String> { Ok(context.with("sum", 3)) }
/// # #[task]
/// # async fn tell(context: &mut Context) -> Result<(), String> { Ok(context.set("by", context.task().task_id().to_owned())) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), String> {
/// let context = sum(Context::new().with("amounts", [1, 2])).await?;
/// // One that asks `context.task()` is told something.
/// let mut context = context.in_task(TaskInfo::for_test("tell"));
/// tell(&mut context).await?;
/// assert_eq!(context.get::<String>("by").as_deref(), Some("tell"));
/// # Ok(())
/// # }
/// ```
///
/// What bears its name is a unit struct, which implements `Task` and dereferences to a pointer to the
/// function. Hence a variable in its scope cannot have the same name: the compiler takes the `sum` of `let
/// sum = …` for the struct, says so, and proposes `let other_sum = …`. In a module that does not import the
/// task (`steps::sum(context)`) the name is free. Nor can a task stand in an `impl`.
///
/// # The arguments
///
/// All of them are optional.
///
/// | argument | meaning | without it |
/// |---|---|---|
/// | `id = "sum"` | the id, unique in a workflow and stored with every execution | the function's name |
/// | `dependencies = [sum, other::task, "id"]` | the tasks it comes after, by path or by id | none |
/// | `retry(attempts = 5, …)` | when it is tried again, see below | 3 attempts |
/// | `retry = none` | it is not: `attempts = 1` | |
/// | `timeout = "30s"` | how long one attempt may take | as the runner is configured |
/// | `timeout = none` | as long as it likes | |
/// | `rule = all_done` | whether it runs, given how its dependencies ended | `all_success` |
/// | `map = "images"` | it runs for each item of this list of the context, see below | it runs once |
/// | `parallel = 64` | how many items of a map run at once: 1 to 10,000 | 64 |
/// | `tolerate = "2%"`, `tolerate = 3` | how many items may fail before the map does | none |
/// | `blocking` | the function is not `async` and may block, see below | |
///
/// A task with `map` takes an `Item<T>` first. Each item is an execution of its own, with this one task:
/// retries and the timeout are those of each, the rule and the dependencies those of the map. What it returns
/// is read by pages, with `context.results::<T>("id")`, in a task that comes after it.
///
/// A blocking task takes a thread. All tenants of a process together have as many as the machine has cores,
/// and those that wait are served in turn, one of each tenant. One tenant never has more. A tenant of which
/// no blocking task runs has one thread beyond that, so no tenant can keep another one waiting; 256 threads,
/// or as many as there are cores, are the limit of all. While a task waits for a thread it holds its slot and
/// its timeout has not begun. A cancel or a shutdown ends the wait at once.
///
/// In `retry(…)`:
///
/// | argument | meaning | without it |
/// |---|---|---|
/// | `attempts = 5` | tries in all, the first included | 3 |
/// | `backoff = exponential` | how the wait between tries grows; also `linear`, `fixed` | `exponential` |
/// | `base = "1s"` | the wait after the first failure | `"1s"` |
/// | `cap = "1m"` | the longest wait | `"1m"` |
/// | `jitter = full` | waits are drawn evenly from 0 to the whole; also `none` | `full` |
///
/// The rules are `all_success`, `all_done`, `any_success`, `any_failed` and `none_failed`; `TriggerRule`
/// explains them. Durations are whole numbers with a unit, the larger one first: `"250ms"`, `"30s"`, `"5m"`,
/// `"1h30m"`, `"2d"`.
///
/// A dependency that is given by path has to exist for the program to compile; whether it is in the workflow
/// is checked by [`#[workflow]`](macro@workflow).
#[proc_macro_attribute]
pub fn task(arguments: TokenStream, item: TokenStream) -> TokenStream {
    task::expand(arguments.into(), &item.into()).into()
}

/// Registers the workflow that a function returns, under the workflow's name.
///
/// ```
/// use cloacina::{Context, Workflow, task, workflow};
///
/// #[task]
/// async fn fetch(context: Context) -> Result<Context, String> {
///     Ok(context.with("amounts", [1, 2]))
/// }
///
/// #[task(dependencies = [fetch])]
/// async fn sum(mut context: Context) -> Result<Context, String> {
///     let amounts: Vec<i64> = context.get("amounts").unwrap_or_default();
///     context.set("sum", amounts.iter().sum::<i64>());
///     Ok(context)
/// }
///
/// #[workflow]
/// fn daily_report() -> Workflow {
///     Workflow::builder("daily_report").description("What came in today").task(fetch).task(sum).build()
/// }
///
/// # fn main() {
/// let workflows = cloacina::registered_workflows().expect("their names differ");
/// assert_eq!(workflows[0].name(), "daily_report");
/// # }
/// ```
///
/// Runners of this program know it from their start. The function has no parameters and stays callable.
///
/// If its body ends with one chain of calls `Workflow::builder(…)….task(x)….build()`, and every `x` is the
/// path of a task, then two tasks of one id, a dependency that is not in the workflow and dependencies that
/// go round in a circle are compile errors:
///
/// ```compile_fail
/// # use cloacina::{Context, Workflow, task, workflow};
/// # #[task]
/// # async fn fetch(context: Context) -> Result<Context, String> { Ok(context) }
/// # #[task(dependencies = [fetch])]
/// # async fn sum(context: Context) -> Result<Context, String> { Ok(context) }
/// #[workflow]
/// fn daily_report() -> Workflow {
///     Workflow::builder("daily_report").task(sum).build() // `fetch` is missing
/// }
/// ```
///
/// In any other workflow they are errors when a runner starts.
#[proc_macro_attribute]
pub fn workflow(arguments: TokenStream, item: TokenStream) -> TokenStream {
    workflow::expand(arguments.into(), &item.into()).into()
}
