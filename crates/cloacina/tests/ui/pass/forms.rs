//! Every form of a task, in a program that forbids what the macros must not need.
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs, unreachable_pub, rust_2018_idioms, unused_qualifications)]

use cloacina::{Context, Error, TaskError, Workflow, task, workflow};

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
    elided(&mut context).await?;
    context = returned_by_name(context).await?;
    blocking_in_place(&mut context)?;
    assert_eq!(context.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["blocking", "changed", "elided", "in place"]);
    assert_eq!(alias(blocking(context).map_err(anyhow::Error::msg)?).await?, Context::new());
    assert_eq!(cloacina::registered_workflows()?.len(), 1);
    Ok(())
}
