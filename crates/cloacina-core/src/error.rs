//! What callers and tasks are told when something goes wrong.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// What any error becomes.
type BoxError = Box<dyn StdError + Send + Sync>;

/// What a caller can branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration, a URL or a name cannot be used, or the database does not accept the login or its
    /// password.
    Configuration,
    /// No such workflow in this program, or its graph is wrong.
    Workflow,
    /// The context cannot be used as it is.
    Context,
    /// No such execution in this tenant's place.
    NotFound,
    /// The idempotency key was used before, with another input.
    Conflict,
    /// The execution is in a state that does not allow what was asked.
    WrongState,
    /// The operator decided that the tenant may not work: it is suspended, being moved, or removed.
    Suspended,
    /// As many executions are under way as may be: of the tenant, or of this process on their way to the
    /// database.
    Limit,
    /// The runner was shut down.
    ShutDown,
    /// The database could not be reached, or has no room for us at the moment. The same call may succeed
    /// later.
    Unavailable,
    /// The tenant's place is missing, damaged, read-only, full, or of a version that this program does not
    /// know.
    Place,
    /// What a task, or a closure on a tenant's data, failed with.
    Task,
    /// Anything else, a defect of the engine included.
    Internal,
}

/// What went wrong, to which tenant and execution, and what to do about it.
///
/// [`kind`](Self::kind) is for branching; `Display` tells this level, and [`source`](StdError::source) what
/// lies beneath it. No password and no connection string is ever in it.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<BoxError>,
}

impl Error {
    /// An error of this kind.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { inner: Box::new(Inner { kind, message: message.into(), source: None }) }
    }

    /// With what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// What a caller can branch on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The error of a task that this was made of, or itself.
    fn into_task_error(mut self: Box<Self>) -> Result<TaskError, Box<Self>> {
        match self.inner.source.take().map(|source| source.downcast::<Carried>()) {
            Some(Ok(carried)) if self.inner.kind == ErrorKind::Task => Ok(carried.0),
            Some(Ok(carried)) => {
                self.inner.source = Some(carried);
                Err(self)
            }
            Some(Err(source)) => {
                self.inner.source = Some(source);
                Err(self)
            }
            None => Err(self),
        }
    }

    /// The error of a task that this was made of.
    fn carried(&self) -> Option<&Carried> {
        self.inner.source.as_deref()?.downcast_ref()
    }

    /// Whether the same call may succeed later with nothing changed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.inner.kind == ErrorKind::Unavailable
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug.field("kind", &self.inner.kind).field("message", &self.inner.message);
        if let Some(source) = &self.inner.source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // What a task's error says of retries is no level of its own.
        match (self.carried(), self.inner.source.as_deref()) {
            (Some(carried), _) => Some(carried.0.get_ref()),
            (None, source) => source.map(|source| source as _),
        }
    }
}

/// A task's error where an error is needed: [`ErrorKind::Task`], with the task's own error as the source. One
/// of the engine's that became a `TaskError` by `?` is what it was. What it says of retries is kept: it
/// counts where this becomes a `TaskError` again.
///
/// ```
/// use cloacina_core::{Error, ErrorKind, TaskError};
///
/// async fn charge(cents: u64) -> Result<(), TaskError> {
///     if cents == 0 { Err(TaskError::fatal("there is nothing to charge")) } else { Ok(()) }
/// }
///
/// async fn by_hand() -> Result<(), Error> {
///     Ok(charge(500).await?)
/// }
///
/// async fn in_a_command() -> Result<(), Box<dyn std::error::Error>> {
///     charge(500).await.map_err(Error::from)?;
///     Ok(())
/// }
///
/// let error = Error::from(TaskError::fatal("there is nothing to charge"));
/// assert_eq!(error.kind(), ErrorKind::Task);
/// assert!(TaskError::from(error).is_fatal());
/// ```
impl From<TaskError> for Error {
    fn from(error: TaskError) -> Self {
        let carried = match error.into_plain() {
            Ok(plain) => match plain.downcast::<Self>() {
                Ok(own) => return *own,
                Err(plain) => TaskError { advice: Advice::Retry, error: plain },
            },
            Err(advised) => advised,
        };
        Self::new(ErrorKind::Task, "the code of a task failed").with_source(Carried(carried))
    }
}

/// What a task returns when it cannot do its work: an error, and what the engine should make of it.
///
/// `?` makes one of any error that is `Send + Sync`, of a database or of `anyhow` too, and of a text: it is
/// retried as the task's policy says. Return a `TaskError` made by hand to say something else.
///
/// ```
/// use std::time::Duration;
/// use cloacina_core::{Context, TaskError};
///
/// async fn charge(context: &mut Context) -> Result<(), TaskError> {
///     let card: String = context.get("card").ok_or_else(|| TaskError::fatal("no card"))?;
///     if card.is_empty() {
///         return Err(TaskError::retry_after(Duration::from_secs(90), "the bank is closed"));
///     }
///     let number: u64 = card.parse()?;
///     std::fs::write("last card", format!("{}", number % 10_000))?;
///     Ok(())
/// }
/// ```
///
/// Because it takes in every error, it cannot be one itself: it does not implement [`std::error::Error`].
/// Where one is needed, it becomes an [`Error`]: by `?` in a function that returns that, and by
/// `.map_err(Error::from)?` in one that returns a `Box<dyn std::error::Error>` or an `anyhow::Error`.
/// [`get_ref`](Self::get_ref) and [`into_inner`](Self::into_inner) have what it was made of.
#[derive(Debug)]
pub struct TaskError {
    advice: Advice,
    error: BoxError,
}

/// What the engine should make of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    /// As the task's retry policy says.
    Retry,
    /// Retry, if an attempt is left, but wait this long.
    RetryAfter(Duration),
    /// It is no failure: the next attempt is after this time.
    Snooze(Duration),
    /// No further attempt.
    Fatal,
}

impl TaskError {
    /// An error that is retried as the task's policy says: what `?` makes.
    pub fn new(error: impl Into<BoxError>) -> Self {
        let mut error: BoxError = error.into();
        // One that was an `Error` meanwhile is what it was.
        match error.downcast::<Error>() {
            Ok(own) => match own.into_task_error() {
                Ok(task) => return task,
                Err(own) => error = own,
            },
            Err(other) => error = other,
        }
        let advice = Carried::within(&*error).map_or(Advice::Retry, |carried| carried.0.advice);
        Self { advice, error }
    }

    /// An error after which the next attempt waits for `delay`, whatever the backoff says. It counts as a
    /// failure: when no attempt is left, the task fails.
    pub fn retry_after(delay: Duration, error: impl Into<BoxError>) -> Self {
        Self { advice: Advice::RetryAfter(delay), error: error.into() }
    }

    /// No failure, only too early: the next attempt is after `delay`, at least a second, and it counts as
    /// none of those that the task may fail. The reason stands in the history. Meanwhile the task holds no
    /// slot.
    ///
    /// Each costs a commit and a line of the history. A deadline of the execution ends it; without one a task
    /// may snooze for ever.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cloacina_core::{Context, TaskError};
    /// async fn fetch(context: &mut Context) -> Result<(), TaskError> {
    ///     if !std::fs::exists("export.csv")? {
    ///         return Err(TaskError::snooze(Duration::from_secs(600), "the export is not there yet"));
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn snooze(delay: Duration, reason: impl Into<BoxError>) -> Self {
        Self { advice: Advice::Snooze(delay), error: reason.into() }
    }

    /// An error that another attempt would not mend: the task fails at once.
    pub fn fatal(error: impl Into<BoxError>) -> Self {
        Self { advice: Advice::Fatal, error: error.into() }
    }

    /// Whether no further attempt is made, for tests.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.advice == Advice::Fatal
    }

    /// The underlying error, without the advice on retries.
    #[must_use]
    pub fn get_ref(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.error
    }

    /// The underlying error, by value. The advice is lost by that: an error that was fatal is retried where
    /// it becomes a `TaskError` again.
    #[must_use]
    pub fn into_inner(self) -> BoxError {
        self.error
    }

    /// The error, if it is to be retried as the task's policy says.
    ///
    /// # Errors
    ///
    /// Itself, if it says something else.
    #[doc(hidden)]
    pub fn into_plain(self) -> Result<BoxError, Self> {
        if self.advice == Advice::Retry { Ok(self.error) } else { Err(self) }
    }

    pub(crate) fn advice(&self) -> Advice {
        self.advice
    }

    /// The error and all its causes in one line, for the history.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.error.to_string();
        let mut source = self.error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.ends_with(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        text
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

// Sound only because `TaskError` is no `Error` and becomes no box of one.
impl<E: Into<BoxError>> From<E> for TaskError {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

/// A task's error within another one, on its way through code that knows of no tasks: what it says of retries
/// counts for the whole.
#[doc(hidden)]
#[derive(Debug)]
pub struct Carried(pub TaskError);

impl Carried {
    fn within<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(carried) = error.downcast_ref() {
                return Some(carried);
            }
            if let Some(carried) = error.downcast_ref::<Error>().and_then(Error::carried) {
                return Some(carried);
            }
            next = error.source();
        }
        None
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Carried {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.error.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_task_says_of_retries_survives_where_an_error_is_needed() {
        let error = Error::from(TaskError::fatal("no card"));
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::Task, "the code of a task failed")
        );
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("no card"));
        let again = TaskError::from(error);
        assert_eq!((again.advice(), again.chain().as_str()), (Advice::Fatal, "no card"));

        // Other code may have put it into an error of its own.
        let wrapped = Error::new(ErrorKind::Internal, "the shop is closed").with_source(Error::from(again));
        let again = TaskError::from(wrapped);
        assert_eq!(again.advice(), Advice::Fatal);
        assert_eq!(again.chain(), "the shop is closed: the code of a task failed: no card");
    }

    #[test]
    fn an_error_of_the_engine_that_a_task_returned_is_what_it_was() {
        let own = TaskError::from(Error::new(ErrorKind::NotFound, "there is no such execution"));
        assert_eq!(Error::from(own).kind(), ErrorKind::NotFound);
        let other = Error::from(TaskError::from(std::fmt::Error));
        assert!(other.source().is_some_and(|source| source.is::<std::fmt::Error>()));
    }
}
