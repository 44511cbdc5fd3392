//! What `#[task]` and `#[workflow]` make of functions.

use cloacina::{Context, Error, ErrorKind, Task, TaskError, Workflow, registered_workflows, task, workflow};

type Result<T> = std::result::Result<T, TaskError>;

#[task(id = "load")]
async fn load(mut context: Context) -> std::result::Result<Context, Error> {
    if context.get::<bool>("fail").unwrap_or_default() {
        return Err(Error::new(ErrorKind::Task, "no data"));
    }
    context.set("n", 1);
    Ok(context)
}

mod steps {
    use super::*;

    /// Adds one.
    #[task(dependencies = [super::load])]
    pub(crate) async fn add(context: &mut Context) -> Result<()> {
        let n: i64 = context.try_get("n")?;
        context.set("n", n + 1);
        Ok(())
    }

    #[task(id = "double it", dependencies = [load, "add"], blocking, rule = none_failed)]
    pub(crate) fn double(context: &mut Context) -> anyhow::Result<()> {
        let n: i64 = context.try_get("n")?;
        context.set("n", n * 2);
        Ok(())
    }

    #[task(
        dependencies = [add, steps_again::double],
        retry(attempts = 5, backoff = linear, base = "250ms", cap = "1h30m", jitter = none),
        timeout = "30s",
        rule = any_failed,
        blocking,
    )]
    pub(crate) fn r#final(context: Context) -> anyhow::Result<Context> {
        Ok(context.with("final", true))
    }

    use super::steps as steps_again;
}

#[task(retry = none, timeout = none, rule = all_done)]
async fn once(context: Context) -> Result<Context> {
    Ok(context)
}

#[task(retry(attempts = 7))]
async fn often(context: Context) -> Result<Context> {
    Ok(context)
}

#[workflow]
fn second() -> Workflow {
    Workflow::builder("numbers").task(load).task(steps::add).task(steps::double).task(steps::r#final).build()
}

/// Registered before `second` by its name, not by its place.
#[workflow]
pub(crate) fn first() -> cloacina::Workflow {
    use steps::add;
    cloacina::Workflow::builder("additions").description("Adds").task(add).task(load).build()
}

#[tokio::test]
async fn a_task_is_called_like_the_function_it_was() -> anyhow::Result<()> {
    let mut context = load(Context::new()).await?;
    steps::add(&mut context).await.unwrap();
    steps::double(&mut context)?;
    let context = steps::r#final(context)?;
    assert_eq!(context, Context::new().with("n", 4).with("final", true));
    Ok(())
}

#[tokio::test]
async fn the_error_of_a_called_task_is_the_one_it_returned() {
    let error: Error = load(Context::new().with("fail", true)).await.unwrap_err();
    assert_eq!(error.to_string(), "no data");
}

#[test]
fn what_is_not_given_is_the_engines_default() {
    let written = cloacina::TaskDefinition::from_async("load", |context| async { Ok::<_, String>(context) });
    assert_eq!(format!("{:?}", load.definition()), format!("{written:?}"));
}

#[test]
fn every_argument_reaches_the_definition() {
    let shown = |task: cloacina::TaskDefinition| format!("{task:?}");
    assert_eq!(
        shown(steps::r#final.definition()),
        "TaskDefinition { id: \"final\", dependencies: [\"add\", \"double it\"], retry: RetryPolicy { attempts: 5, \
         backoff: Linear, base: 250ms, cap: 5400s, jitter: None }, timeout: After(30s), rule: AnyFailed, \
         blocking: true }"
    );
    assert_eq!(
        shown(once.definition()),
        "TaskDefinition { id: \"once\", dependencies: [], retry: RetryPolicy { attempts: 1, backoff: Exponential, \
         base: 1s, cap: 60s, jitter: Full }, timeout: Never, rule: AllDone, blocking: false }"
    );
    assert_eq!(
        shown(often.definition()),
        "TaskDefinition { id: \"often\", dependencies: [], retry: RetryPolicy { attempts: 7, backoff: Exponential, \
         base: 1s, cap: 60s, jitter: Full }, timeout: Default, rule: AllSuccess, blocking: false }"
    );
}

#[test]
fn the_dependencies_of_a_task_are_known_at_compile_time() {
    const IDS: &[&str] = <steps::double as Task>::DEPENDENCIES;
    assert_eq!(IDS, ["load", "add"]);
}

#[test]
fn workflows_are_registered_in_the_order_of_their_names() {
    let workflows = registered_workflows().unwrap();
    let names: Vec<&str> = workflows.iter().map(Workflow::name).collect();
    assert_eq!(names, ["additions", "customer_processing", "every_form", "numbers"]);
    assert!(workflows.iter().all(|workflow| workflow.fingerprint().is_ok()));
}

#[test]
fn a_workflows_function_stays_callable() {
    let ids: Vec<String> = first().tasks().iter().map(|task| task.id().to_owned()).collect();
    assert_eq!(ids, ["add", "load"]);
    assert_eq!(first().description(), "Adds");
}
