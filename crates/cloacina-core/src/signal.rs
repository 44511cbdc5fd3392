//! Signals to executions, and what executions wait for.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::context::Context;
use crate::cursor::Cursor;
use crate::error::{Error, ErrorKind};
use crate::id::ExecutionId;
use crate::store::{NewSignal, OpenWait, Payload, SignalSent, SignalTarget};
use crate::workflow::{Ask, check_name};

/// What carries signals to a tenant's executions.
#[doc(hidden)]
pub trait Carrier: Sized {
    /// What its sender learns of a signal.
    type Receipt;

    /// Makes what a signal brings of a value; the name is for messages.
    fn payload(&self, name: &str, value: impl Serialize) -> Result<Payload, Error>;

    /// The tenant's name.
    fn tenant(&self) -> &str;

    /// Records a signal, and if there is no such execution, one with this input.
    fn carry(
        self,
        signal: NewSignal,
        starts: Option<Context>,
    ) -> impl Future<Output = Result<Self::Receipt, Error>> + Send;
}

/// A signal to an execution.
///
/// Whoever sends it needs no code of the workflow: a program that only submits may, and any process of the
/// tenant. It stays with the execution until a [wait](crate::workflow::Wait::signal) for its name takes it.
#[must_use = "nothing is sent before `send`"]
pub struct Signal<By> {
    by: By,
    target: SignalTarget,
    name: String,
    payload: Result<Payload, Error>,
    key: Option<String>,
    starts: Option<Context>,
}

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalReceipt {
    /// A wait for it is open, and takes it.
    Delivered,
    /// No wait for it is open: the first that is reached takes it.
    Buffered,
    /// There was no such execution: it was recorded in the same commit.
    Started,
    /// The execution has one of this name with this key already; this one is not recorded.
    Repeated,
    /// The execution is over; the signal is not recorded.
    AlreadyOver {
        /// The execution that took its place, if one did: see [`rerun`](crate::rerun).
        superseded_by: Option<Uuid>,
    },
}

/// An execution that is addressed by what it was submitted with.
#[derive(Debug, Clone)]
pub struct ByKey<By> {
    by: By,
    target: SignalTarget,
}

/// What an execution waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// The execution.
    pub execution_id: Uuid,
    /// Its workflow.
    pub workflow: String,
    /// The id of the wait.
    pub wait: String,
    /// Since when it waits.
    pub since: Timestamp,
    /// The name of the signal; `None` if it sleeps.
    pub signal: Option<String>,
    /// When its time is over, if it ever is.
    pub until: Option<Timestamp>,
    /// What it asks.
    pub ask: Option<Ask>,
    /// Its position.
    pub(crate) node: i16,
}

impl<By: Carrier> Signal<By> {
    #[doc(hidden)]
    pub fn new(by: By, target: SignalTarget, name: String, payload: impl Serialize) -> Self {
        let payload = by.payload(&name, payload);
        Self { by, target, name, payload, key: None, starts: None }
    }

    /// Records it only if the execution has none of this name with the same key: 1 to 200 bytes. So a signal
    /// that is sent again, because nobody knows whether it arrived, arrives once.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sends it. When this returns it is recorded, and the wait that takes it is looked at at once; in a
    /// transaction of the tenant it is recorded with the commit, and nothing is learned of it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if the tenant has no such execution; [`ErrorKind::Context`] if what it brings
    /// has no JSON form, is larger than [`max_patch_bytes`](crate::RunnerConfig::max_patch_bytes), or is none
    /// of the choices of the open wait; [`ErrorKind::Configuration`] for a name or key that cannot be used;
    /// [`ErrorKind::Limit`] if 10,000 signals of the execution wait to be taken. Nothing is recorded then.
    pub async fn send(self) -> Result<By::Receipt, Error> {
        let Self { by, target, name, payload, key, starts } = self;
        let unusable = |what: &str, text: &str, reason| {
            let message = format!("the {what} `{}` of a signal {reason}", text.escape_debug());
            Error::new(ErrorKind::Configuration, message)
        };
        check_name(&name).map_err(|reason| unusable("name", &name, reason))?;
        if let Some(key) = &key {
            check_name(key).map_err(|reason| unusable("key", key, reason))?;
        }
        let signal = NewSignal {
            target,
            name: name.into(),
            payload: payload?,
            key: key.map(Into::into),
            starts: None,
            audit: None,
        };
        by.carry(signal, starts).await
    }
}

impl SignalReceipt {
    /// What the sender learns of what became of a signal.
    pub(crate) fn of(
        sent: SignalSent,
        target: &SignalTarget,
        name: &str,
        tenant: &str,
    ) -> Result<Self, Error> {
        let of = |id: ExecutionId| format!("execution {id} of tenant `{tenant}`");
        match sent {
            SignalSent::Delivered(_) => Ok(Self::Delivered),
            SignalSent::Buffered(_) => Ok(Self::Buffered),
            SignalSent::Started(_) => Ok(Self::Started),
            SignalSent::Repeated(_) => Ok(Self::Repeated),
            SignalSent::AlreadyOver(_, _, by) => Ok(Self::AlreadyOver { superseded_by: by.map(Uuid::from) }),
            SignalSent::NotFound => {
                let whom = match target {
                    SignalTarget::Id(id) => id.to_string(),
                    SignalTarget::Key { workflow, key } => {
                        format!("of workflow `{}` with key `{}`", workflow.escape_debug(), key.escape_debug())
                    }
                };
                let message = format!("there is no execution {whom} in the place of tenant `{tenant}`");
                Err(Error::new(ErrorKind::NotFound, message))
            }
            SignalSent::NotAChoice(id) => {
                let message = format!(
                    "the signal `{name}` for {} brings none of the choices that are asked for; `waits()` tells which they are",
                    of(id)
                );
                Err(Error::new(ErrorKind::Context, message))
            }
            SignalSent::TooMany(id) => {
                let message = format!(
                    "10,000 signals of {} wait to be taken, as many as may be: does its workflow wait for `{name}`?",
                    of(id)
                );
                Err(Error::new(ErrorKind::Limit, message))
            }
        }
    }
}

impl<By: Carrier + Clone> ByKey<By> {
    #[doc(hidden)]
    pub fn new(by: By, workflow: &str, key: &str) -> Self {
        Self { by, target: SignalTarget::Key { workflow: workflow.into(), key: key.into() } }
    }

    /// Starts to describe a signal to it.
    pub fn signal(&self, name: impl Into<String>, payload: impl Serialize) -> Signal<By> {
        Signal::new(self.by.clone(), self.target.clone(), name.into(), payload)
    }
}

impl<By: Carrier<Receipt = SignalReceipt> + Clone> ByKey<By> {
    /// The same, but if there is no such execution, it is recorded with this input in the same commit: so
    /// whoever hears of something first, the one who submits or the one who signals, starts it. It is
    /// recorded as one that was [submitted by name](crate::Submission::by_name) under the key.
    ///
    /// What [`send`](Signal::send) refuses is more then: an input or a key that a submission could not have,
    /// and with [`ErrorKind::Limit`] or [`ErrorKind::Suspended`] an execution that could not be submitted.
    pub fn signal_or_start(
        &self,
        name: impl Into<String>,
        payload: impl Serialize,
        input: Context,
    ) -> Signal<By> {
        Signal { starts: Some(input), ..self.signal(name, payload) }
    }
}

impl From<OpenWait> for Waiting {
    fn from(open: OpenWait) -> Self {
        Self {
            execution_id: open.execution.into(),
            workflow: open.workflow.to_string(),
            wait: open.name,
            since: open.reached_at,
            signal: open.signal,
            until: open.until,
            ask: open.ask.as_deref().and_then(Ask::from_json),
            node: open.node,
        }
    }
}

impl Waiting {
    /// Where a list goes on after it.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { major: self.execution_id.as_u128(), minor: self.node.into() }
    }

    /// Where a list goes on after this wait.
    #[doc(hidden)]
    #[must_use]
    pub fn cursor_of(execution: Uuid, node: i16) -> Cursor {
        Cursor { major: execution.as_u128(), minor: node.into() }
    }

    /// What the store takes for that.
    #[doc(hidden)]
    #[must_use]
    pub fn after(cursor: Cursor) -> (ExecutionId, i16) {
        let node = i16::try_from(cursor.minor).unwrap_or(i16::MAX);
        (ExecutionId(Uuid::from_u128(cursor.major)), node)
    }
}

impl<By> fmt::Debug for Signal<By> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it brings belongs to the tenant.
        f.debug_struct("Signal")
            .field("target", &self.target)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
