//! Every form of a task, in a program that forbids what the macros must not need.
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs, unreachable_pub, rust_2018_idioms, unused_qualifications)]

use cloacina::{Context, Error, TaskError, TaskInfo, Workflow, task, workflow};

/// A result of one's own.
type Outcome<T = Context, E = TaskError> = Result<T, E>;

#[task]
async fn plain(context: Context) -> Result<Context, Error> {
    Ok(context)
}

#[task()]
async fn changed(mut context: Context) -> Result<Context, String> {
    context.set("changed", true);
    Ok(context)
}

#[task(id = "in place")]
async fn in_place(context: &mut Context) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    tokio::task::yield_now().await;
    context.set("in place", "1".parse::<i32>()?);
    Ok(())
}

#[task(id = "elided",)]
async fn elided(context: &'_ mut Context) -> Outcome<()> {
    context.set("elided", true);
    Ok(())
}

#[task]
async fn alias(_: Context) -> Outcome {
    Ok(Context::new())
}

#[task]
async fn returned_by_name(context: Context) -> anyhow::Result<Context> {
    anyhow::ensure!(context.get::<bool>("changed").is_some(), "nothing changed");
    Ok(context)
}

#[task(blocking)]
fn blocking(context: Context) -> Result<Context, &'static str> {
    Ok(context)
}

#[task(blocking, timeout = "1h30m", retry = none)]
fn blocking_in_place(context: &mut Context) -> Result<(), std::io::Error> {
    context.set("blocking", true);
    Ok(())
}

/// What tasks share.
pub struct Mailer;

/// What a task takes.
#[derive(serde::Deserialize)]
pub struct Charge {
    cents: u32,
}

/// What a task returns.
#[derive(serde::Serialize, Debug, PartialEq)]
pub struct Receipt {
    number: u32,
}

#[task]
async fn with_state(context: &mut Context, _: &Mailer, names: &Vec<String>, task: &TaskInfo) -> Result<(), TaskError> {
    context.set(task.task_id(), names);
    Ok(())
}

#[task]
async fn with_state_by_value(context: Context, mailer: &Mailer) -> Result<Context, TaskError> {
    let _ = mailer;
    Ok(context)
}

#[task(blocking)]
fn blocking_with_state(context: &mut Context, mailer: &'_ Mailer) -> Result<(), TaskError> {
    let _ = (context, mailer);
    Ok(())
}

#[task]
async fn typed(input: Charge) -> Result<Receipt, std::io::Error> {
    Ok(Receipt { number: input.cents })
}

#[task(blocking)]
fn blocking_typed(input: Charge, _: &Mailer, _: &std::sync::Arc<dyn Fn() + Send + Sync>) -> anyhow::Result<()> {
    anyhow::ensure!(input.cents > 0);
    Ok(())
}

#[task]
async fn typed_and_untyped(context: &mut Context) -> Result<Receipt, TaskError> {
    Ok(Receipt { number: context.try_get("cents")? })
}

#[task]
async fn changes_of_a_typed(input: Charge) -> Result<Context, TaskError> {
    Ok(Context::new().with("twice", input.cents * 2))
}

#[task]
async fn without_input() -> Result<u32, TaskError> {
    Ok(1)
}

#[task]
async fn only_state(_: &Mailer) -> Outcome<()> {
    Err("no mail")?;
    Err("no mail".parse::<u32>().unwrap_err())?;
    Err(anyhow::anyhow!("no mail"))?;
    Err(std::io::Error::other("no mail"))?;
    Err(Box::<dyn std::error::Error + Send + Sync>::from("no mail"))?;
    Err(TaskError::fatal("no mail"))
}

/// What the macro calls its own is called otherwise.
mod names {
    use super::{Context, TaskError, task};

    #[task]
    async fn input(_: &mut Context) -> Result<(), TaskError> {
        Ok(())
    }

    #[task]
    async fn result(_: &mut Context) -> Result<(), TaskError> {
        Ok(())
    }

    #[task(blocking)]
    fn code(_: &super::Mailer) -> Result<u32, TaskError> {
        Ok(1)
    }

    #[task]
    async fn body() -> Result<(), TaskError> {
        Ok(())
    }

    #[task]
    async fn context() -> Result<(), TaskError> {
        Ok(())
    }

    #[task]
    async fn given(_: &super::Mailer) -> Result<(), TaskError> {
        Ok(())
    }
}

#[workflow]
fn with_types() -> Workflow {
    Workflow::builder("with types")
        .task(with_state)
        .task(with_state_by_value)
        .task(blocking_with_state)
        .task(typed)
        .task(blocking_typed)
        .task(typed_and_untyped)
        .task(changes_of_a_typed)
        .task(without_input)
        .task(only_state)
        .build()
}

#[workflow]
fn all() -> Workflow {
    Workflow::builder("all")
        .task(plain)
        .task(changed)
        .task(in_place)
        .task(elided)
        .task(alias)
        .task(returned_by_name)
        .task(blocking)
        .task(blocking_in_place)
        .build()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let context = plain(Context::new()).await?;
    let mut context = changed(context).await.map_err(anyhow::Error::msg)?;
    in_place(&mut context).await.map_err(anyhow::Error::from_boxed)?;
    elided(&mut context).await.map_err(TaskError::into_inner).map_err(anyhow::Error::from_boxed)?;
    context = returned_by_name(context).await?;
    blocking_in_place(&mut context)?;
    assert_eq!(context.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["blocking", "changed", "elided", "in place"]);
    assert_eq!(alias(blocking(context).map_err(anyhow::Error::msg)?).await.unwrap(), Context::new());
    let context = with_state_by_value(Context::new(), &Mailer).await.unwrap();
    blocking_with_state(&mut Context::new(), &Mailer).unwrap();
    assert_eq!(typed(Charge { cents: 5 }).await?, Receipt { number: 5 });
    blocking_typed(Charge { cents: 5 }, &Mailer, &(std::sync::Arc::new(|| ()) as _))?;
    assert_eq!(typed_and_untyped(&mut context.with("cents", 7)).await.unwrap(), Receipt { number: 7 });
    assert_eq!(without_input().await.unwrap(), 1);
    assert!(!only_state(&Mailer).await.unwrap_err().is_fatal());
    assert_eq!(cloacina::registered_workflows()?.len(), 2);
    Ok(())
}
