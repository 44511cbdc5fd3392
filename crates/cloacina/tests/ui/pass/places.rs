//! Tasks in functions, from macros and under names that other things have, too.
#![deny(warnings)]

use cloacina::{Context, TaskError, Workflow, task, workflow};

#[allow(dead_code)]
struct Box;
#[allow(dead_code)]
struct Pin;
#[allow(dead_code)]
mod std {}
#[allow(dead_code)]
mod core {}

type Result<T> = ::std::result::Result<T, TaskError>;

fn helper(n: i64) -> i64 {
    n + 1
}

fn call(n: i64) -> i64 {
    helper(n)
}

#[task]
async fn uses_neighbours(context: Context) -> Result<Context> {
    Ok(context.with("n", call(1)))
}

#[task(dependencies = [uses_neighbours])]
async fn r#async(context: Context) -> Result<Context> {
    Ok(context)
}

#[task(dependencies = ["async"])]
async fn recursive(context: Context) -> Result<Context> {
    match context.get::<i64>("n") {
        Some(n) if n > 0 => ::std::boxed::Box::pin(recursive(context.with("n", n - 1))).await,
        _ => Ok(context),
    }
}

macro_rules! made {
    ($name:ident, $ty:ty, $result:ty) => {
        #[task]
        async fn $name(context: $ty) -> $result {
            assert!(context.get::<bool>("made").is_none());
            Ok(Default::default())
        }
    };
}

made!(made_by_value, Context, Result<Context>);
made!(made_in_place, &mut Context, Result<()>);

#[workflow]
fn everything() -> Workflow {
    Workflow::builder("everything")
        .task(recursive)
        .task(r#async)
        .task(uses_neighbours)
        .task(made_by_value)
        .task(made_in_place)
        .build()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    #[task]
    async fn local(context: Context) -> Result<Context> {
        Ok(context.with("local", true))
    }

    #[workflow]
    fn local_workflow() -> Workflow {
        #[task(dependencies = [local])]
        async fn inner(context: Context) -> Result<Context> {
            Ok(context)
        }
        Workflow::builder("local").task(local).task(inner).build()
    }

    let _ = everything();
    assert_eq!(local(Context::new()).await.unwrap().get("local"), Some(true));
    let context = uses_neighbours(Context::new()).await.unwrap();
    assert_eq!(recursive(context).await.unwrap().get("n"), Some(0));
    let names: Vec<String> =
        cloacina::registered_workflows().unwrap().iter().map(|workflow| workflow.name().to_owned()).collect();
    assert_eq!(names, ["everything", "local"]);
}
