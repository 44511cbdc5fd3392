//! What the output of `#[task]` and `#[workflow]` names. It changes without notice: write nothing that uses
//! it.

use std::marker::PhantomData;
use std::sync::Arc;

pub use cloacina_core::workflow::form::{InPlace, Input, Output, OutputInPlace};
pub use cloacina_core::workflow::{Task, TaskBody, TaskDefinition, WorkflowRegistration, check};
use cloacina_core::{Context, Shared, TaskError};
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

#[cfg(all(feature = "data", any(feature = "sqlite", feature = "postgres")))]
use cloacina_data::{TenantDb, TenantTx};

/// What a call of an async task is, also in a unit test.
pub type BoxFuture<'a, R> = Pin<Box<dyn Future<Output = R> + Send + 'a>>;

type Ran = Result<Context, TaskError>;

/// What a type of a task's function is. The compiler takes the constant of the type itself, and where there
/// is none that of [`Ordinary`].
pub struct Type<T: ?Sized>(PhantomData<T>);

/// See [`Type`].
pub trait Ordinary {
    const IS: Is = Is::Ordinary;
}

impl<T: ?Sized> Ordinary for Type<T> {}

impl Type<Context> {
    pub const IS: Is =
        Is::Refused("a task takes its context first, as `context: Context` or `context: &mut Context`");
}

impl<E> Type<Result<Context, E>> {
    pub const IS: Is = Is::Refused(
        "a task that takes a `&mut Context` cannot return another context: let it return `Result<(), E>`, or take a `Context`",
    );
}

#[cfg(all(feature = "data", any(feature = "sqlite", feature = "postgres")))]
impl Type<TenantTx> {
    pub const IS: Is = Is::Transaction;
}

#[cfg(all(feature = "data", any(feature = "sqlite", feature = "postgres")))]
impl Type<TenantDb> {
    pub const IS: Is = Is::Refused(
        "a task asks for its tenant's data by value, `db: TenantDb`, or for a transaction, `tx: &TenantTx`",
    );
}

/// See [`Type`].
#[derive(Clone, Copy)]
pub enum Is {
    /// State, or what a task may return.
    Ordinary,
    Transaction,
    /// Why it cannot stand there.
    Refused(&'static str),
}

impl Is {
    pub const fn transaction(self) -> bool {
        matches!(self, Self::Transaction)
    }

    /// # Panics
    ///
    /// If it cannot stand where it does: a compile error, since this is called in constants.
    #[track_caller]
    pub const fn check(self, is_blocking: bool) {
        match self {
            Self::Refused(reason) => panic!("{}", reason),
            Self::Transaction if is_blocking => {
                panic!(
                    "a task that works on its tenant's data awaits it: make it an `async fn` without `blocking`"
                )
            }
            Self::Transaction | Self::Ordinary => {}
        }
    }

    /// The task as one that asks for a `&T`.
    pub fn asked<T: Shared>(self, task: TaskDefinition) -> TaskDefinition {
        if self.transaction() { task.asks_for_resources() } else { task.asks_for::<T>() }
    }
}

/// Where a task finds what it asks for by reference.
pub struct Given<'tx> {
    /// The transaction that it runs in.
    #[cfg(all(feature = "data", any(feature = "sqlite", feature = "postgres")))]
    tx: Option<&'tx TenantTx>,
    lifetime: PhantomData<&'tx ()>,
}

/// What a task asks for by reference.
pub enum Lent<'tx, T> {
    Borrowed(&'tx T),
    Shared(Arc<T>),
}

impl<T> Deref for Lent<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Borrowed(value) => value,
            Self::Shared(value) => value,
        }
    }
}

impl<'tx> Given<'tx> {
    fn nothing() -> Self {
        Self {
            #[cfg(all(feature = "data", any(feature = "sqlite", feature = "postgres")))]
            tx: None,
            lifetime: PhantomData,
        }
    }

    /// # Errors
    ///
    /// A fatal one if its runner was not given a `T`.
    pub fn lent<T: Shared>(&self, context: &Context) -> Result<Lent<'tx, T>, TaskError> {
        #[cfg(all(feature = "data", any(feature = "sqlite", feature = "postgres")))]
        if let Some(tx) = self.tx.and_then(|tx| (tx as &dyn std::any::Any).downcast_ref()) {
            return Ok(Lent::Borrowed(tx));
        }
        context.lent().map(Lent::Shared)
    }
}

/// The body of an `async fn`.
pub fn asynchronous<F>(in_transaction: bool, run: F) -> TaskBody
where
    F: for<'tx> Fn(Context, Given<'tx>) -> BoxFuture<'tx, Ran> + Copy + Send + Sync + 'static,
{
    #[cfg(all(feature = "data", any(feature = "sqlite", feature = "postgres")))]
    if in_transaction {
        return TaskBody::Async(Arc::new(move |context| {
            Box::pin(cloacina_data::in_transaction(context, move |context, tx| {
                run(context, Given { tx: Some(tx), lifetime: PhantomData })
            }))
        }));
    }
    debug_assert!(!in_transaction, "no type is a transaction without the feature `data`");
    TaskBody::Async(Arc::new(move |context| run(context, Given::nothing())))
}

/// The body of a `fn` that may block.
pub fn blocking<F>(run: F) -> TaskBody
where
    F: Fn(Context, Given<'static>) -> Ran + Send + Sync + 'static,
{
    TaskBody::Blocking(Arc::new(move |context| run(context, Given::nothing())))
}

/// The type of what a task asks for by value, beside its input.
#[cfg(all(feature = "data", any(feature = "sqlite", feature = "postgres")))]
#[diagnostic::on_unimplemented(
    message = "a task cannot ask for a `{Self}` by value",
    label = "not a `TenantDb`",
    note = "beside its input a task may ask for `db: TenantDb`, `tx: &TenantTx`, `task: &TaskInfo`, and by reference for what the runner was given \
            with `.state(…)`"
)]
pub trait Handed: Sized + Send + 'static {
    /// # Errors
    ///
    /// A fatal one if its runner was given no data.
    fn of(context: &Context) -> Result<Self, TaskError>;
}

#[cfg(all(feature = "data", any(feature = "sqlite", feature = "postgres")))]
impl Handed for TenantDb {
    fn of(context: &Context) -> Result<Self, TaskError> {
        cloacina_data::db_of(context)
    }
}

/// The type of what a task asks for by value, beside its input: nothing is.
#[cfg(not(all(feature = "data", any(feature = "sqlite", feature = "postgres"))))]
#[diagnostic::on_unimplemented(
    message = "a task cannot ask for a `{Self}` by value",
    label = "ask for it by reference",
    note = "beside its input a task may ask for `task: &TaskInfo`, and by reference for what the runner was given with `.state(…)`; for its tenant's data \
            the crate `cloacina` needs the feature `data`"
)]
pub trait Handed: Sized + Send + 'static {
    /// # Errors
    ///
    /// None.
    fn of(context: &Context) -> Result<Self, TaskError>;
}
