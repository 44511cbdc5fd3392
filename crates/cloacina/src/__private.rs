//! What the output of `#[task]` and `#[workflow]` names. It changes without notice: write nothing that uses it.

use std::error::Error as StdError;
use std::sync::Arc;

pub use cloacina_core::workflow::{Task, TaskBody, TaskDefinition, WorkflowRegistration, check};
use cloacina_core::{Context, TaskError};
pub use inventory;
pub use std::boxed::Box;
pub use std::clone::Clone;
pub use std::fmt::Debug;
pub use std::future::Future;
pub use std::marker::Copy;
pub use std::ops::Deref;
pub use std::option::Option::{None, Some};
pub use std::pin::Pin;
pub use std::time::Duration;
pub use std::{concat, file, line, module_path, stringify, unreachable};

/// What a call of an async task is, also in a unit test.
pub type BoxFuture<'a, R> = Pin<Box<dyn Future<Output = R> + Send + 'a>>;

/// The type of a task's parameter, or what it refers to.
#[diagnostic::on_unimplemented(
    message = "a task cannot take a `{Self}`",
    label = "not a `Context`",
    note = "a task has one parameter, `context: Context` or `context: &mut Context`"
)]
pub trait TaskParameter: Send + 'static {
    fn from_context(context: Context) -> Self;
    fn into_context(self) -> Context;
}

impl TaskParameter for Context {
    fn from_context(context: Context) -> Self {
        context
    }

    fn into_context(self) -> Context {
        self
    }
}

/// What a task that takes a `Context` returns.
#[diagnostic::on_unimplemented(
    message = "a task that takes a `Context` cannot return `{Self}`",
    label = "not a `Result<Context, E>`",
    note = "it returns `Result<Context, E>`, where `E` is an error that is `Send + Sync`, or becomes one: `TaskError`, `Error`, `anyhow::Error`, `String`, …",
    note = "a task that changes the context in place takes `&mut Context` and returns `Result<(), E>`"
)]
pub trait ReturnsContext: 'static {
    fn into_result(self) -> Result<Context, TaskError>;
}

// Without `do_not_recommend` the compiler would tell why this implementation does not fit instead of the notes above.
#[diagnostic::do_not_recommend]
impl<E: Into<Box<dyn StdError + Send + Sync>> + 'static> ReturnsContext for Result<Context, E> {
    fn into_result(self) -> Result<Context, TaskError> {
        self.map_err(TaskError::new)
    }
}

/// What a task that takes a `&mut Context` returns.
#[diagnostic::on_unimplemented(
    message = "a task that takes a `&mut Context` cannot return `{Self}`",
    label = "not a `Result<(), E>`",
    note = "it returns `Result<(), E>`, where `E` is an error that is `Send + Sync`, or becomes one: `TaskError`, `Error`, `anyhow::Error`, `String`, …",
    note = "a task that returns the context takes `Context`"
)]
pub trait ReturnsNothing: 'static {
    fn into_result(self) -> Result<(), TaskError>;
}

#[diagnostic::do_not_recommend]
impl<E: Into<Box<dyn StdError + Send + Sync>> + 'static> ReturnsNothing for Result<(), E> {
    fn into_result(self) -> Result<(), TaskError> {
        self.map_err(TaskError::new)
    }
}

/// `async fn f(context: Context) -> Result<Context, E>`
pub fn by_value<P: TaskParameter, R: ReturnsContext>(code: fn(P) -> BoxFuture<'static, R>) -> TaskBody {
    TaskBody::Async(Arc::new(move |context| {
        Box::pin(async move { code(P::from_context(context)).await.into_result() })
    }))
}

/// `async fn f(context: &mut Context) -> Result<(), E>`
pub fn in_place<P: TaskParameter, R: ReturnsNothing>(code: fn(&mut P) -> BoxFuture<'_, R>) -> TaskBody {
    TaskBody::Async(Arc::new(move |context| {
        Box::pin(async move {
            let mut context = P::from_context(context);
            code(&mut context).await.into_result()?;
            Ok(context.into_context())
        })
    }))
}

/// `fn f(context: Context) -> Result<Context, E>`
pub fn blocking_by_value<P: TaskParameter, R: ReturnsContext>(code: fn(P) -> R) -> TaskBody {
    TaskBody::Blocking(Arc::new(move |context| code(P::from_context(context)).into_result()))
}

/// `fn f(context: &mut Context) -> Result<(), E>`
pub fn blocking_in_place<P: TaskParameter, R: ReturnsNothing>(code: fn(&mut P) -> R) -> TaskBody {
    TaskBody::Blocking(Arc::new(move |context| {
        let mut context = P::from_context(context);
        code(&mut context).into_result()?;
        Ok(context.into_context())
    }))
}

/// The forms of a task that asks for its tenant's data.
#[cfg(all(feature = "data", any(feature = "sqlite", feature = "postgres")))]
pub mod data {
    use std::sync::Arc;

    use cloacina_data::{TenantDb, TenantTx, in_transaction, with_db};

    use super::{BoxFuture, ReturnsContext, ReturnsNothing, TaskBody, TaskParameter};

    /// The type of a task's second parameter that is taken by value.
    #[diagnostic::on_unimplemented(
        message = "a task cannot ask for a `{Self}`",
        label = "not a `TenantDb`",
        note = "beside its context a task may ask for `db: TenantDb`, or for `tx: &TenantTx`"
    )]
    pub trait TaskDb: Send + 'static {
        fn from_db(db: TenantDb) -> Self;
    }

    impl TaskDb for TenantDb {
        fn from_db(db: TenantDb) -> Self {
            db
        }
    }

    /// What a task's second parameter refers to.
    #[diagnostic::on_unimplemented(
        message = "a task cannot ask for a `&{Self}`",
        label = "not a `TenantTx`",
        note = "beside its context a task may ask for `tx: &TenantTx`, or for `db: TenantDb`"
    )]
    pub trait TaskTx: Send + Sync + 'static {
        fn from_tx(tx: &TenantTx) -> &Self;
    }

    impl TaskTx for TenantTx {
        fn from_tx(tx: &TenantTx) -> &Self {
            tx
        }
    }

    /// `async fn f(context: Context, db: TenantDb) -> Result<Context, E>`
    pub fn by_value_with_db<P: TaskParameter, D: TaskDb, R: ReturnsContext>(
        code: fn(P, D) -> BoxFuture<'static, R>,
    ) -> TaskBody {
        TaskBody::Async(Arc::new(move |context| {
            Box::pin(with_db(context, move |context, db| async move {
                code(P::from_context(context), D::from_db(db)).await.into_result()
            }))
        }))
    }

    /// `async fn f(context: &mut Context, db: TenantDb) -> Result<(), E>`
    pub fn in_place_with_db<P: TaskParameter, D: TaskDb, R: ReturnsNothing>(
        code: fn(&mut P, D) -> BoxFuture<'_, R>,
    ) -> TaskBody {
        TaskBody::Async(Arc::new(move |context| {
            Box::pin(with_db(context, move |context, db| async move {
                let mut context = P::from_context(context);
                code(&mut context, D::from_db(db)).await.into_result()?;
                Ok(context.into_context())
            }))
        }))
    }

    /// `async fn f(context: Context, tx: &TenantTx) -> Result<Context, E>`
    pub fn by_value_with_tx<P: TaskParameter, T: TaskTx, R: ReturnsContext>(
        code: for<'call> fn(P, &'call T) -> BoxFuture<'call, R>,
    ) -> TaskBody {
        TaskBody::Async(Arc::new(move |context| {
            Box::pin(in_transaction(context, move |context, tx| {
                Box::pin(async move { code(P::from_context(context), T::from_tx(tx)).await.into_result() })
            }))
        }))
    }

    /// `async fn f(context: &mut Context, tx: &TenantTx) -> Result<(), E>`
    pub fn in_place_with_tx<P: TaskParameter, T: TaskTx, R: ReturnsNothing>(
        code: for<'call> fn(&'call mut P, &'call T) -> BoxFuture<'call, R>,
    ) -> TaskBody {
        TaskBody::Async(Arc::new(move |context| {
            Box::pin(in_transaction(context, move |context, tx| {
                Box::pin(async move {
                    let mut context = P::from_context(context);
                    code(&mut context, T::from_tx(tx)).await.into_result()?;
                    Ok(context.into_context())
                })
            }))
        }))
    }
}

/// What says that a second parameter needs the feature.
#[cfg(not(all(feature = "data", any(feature = "sqlite", feature = "postgres"))))]
pub mod data {
    use super::{BoxFuture, TaskBody};

    /// The type of a task's second parameter, or what it refers to.
    #[diagnostic::on_unimplemented(
        message = "a task cannot ask for a `{Self}`",
        label = "a second parameter needs a feature",
        note = "beside its context a task may ask for its tenant's data, with the feature `data` of the crate `cloacina`; other input is a value in \
                the context: `context.get::<…>(\"…\")`"
    )]
    pub trait TaskData {}

    macro_rules! forms {
        ($($form:ident: $code:ty;)*) => {
            $(
                pub fn $form<P, D: TaskData, R>(_code: $code) -> TaskBody {
                    unreachable!("nothing is data")
                }
            )*
        };
    }

    forms! {
        by_value_with_db: fn(P, D) -> BoxFuture<'static, R>;
        in_place_with_db: fn(&mut P, D) -> BoxFuture<'_, R>;
        by_value_with_tx: for<'call> fn(P, &'call D) -> BoxFuture<'call, R>;
        in_place_with_tx: for<'call> fn(&'call mut P, &'call D) -> BoxFuture<'call, R>;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(body: TaskBody) -> Result<Context, TaskError> {
        let context = Context::new().with("n", 1);
        match body {
            TaskBody::Async(code) => code(context).await,
            TaskBody::Blocking(code) => code(context),
        }
    }

    fn add(context: &mut Context) {
        context.set("n", context.get::<i64>("n").unwrap_or_default() + 1);
    }

    fn added(mut context: Context) -> Context {
        add(&mut context);
        context
    }

    #[tokio::test]
    async fn every_form_hands_on_what_the_code_changed() {
        let bodies = [
            by_value(|context| Box::pin(async { Ok::<_, String>(added(context)) })),
            in_place(|context| {
                Box::pin(async {
                    add(context);
                    Ok::<_, String>(())
                })
            }),
            blocking_by_value(|context| Ok::<_, String>(added(context))),
            blocking_in_place(|context| {
                add(context);
                Ok::<_, String>(())
            }),
        ];
        for body in bodies {
            assert_eq!(run(body).await.unwrap().get::<i64>("n"), Some(2));
        }
    }

    #[tokio::test]
    async fn every_form_hands_on_the_error() {
        let bodies = [
            by_value(|_: Context| Box::pin(async { Err::<Context, _>("broken") })),
            in_place(|_: &mut Context| Box::pin(async { Err::<(), _>("broken") })),
            blocking_by_value(|_: Context| Err::<Context, _>("broken")),
            blocking_in_place(|_: &mut Context| Err::<(), _>("broken")),
        ];
        for body in bodies {
            assert_eq!(run(body).await.unwrap_err().to_string(), "broken");
        }
    }
}
