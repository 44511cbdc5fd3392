//! Executions that are recorded in a transaction that is somebody else's: each exists exactly if that
//! transaction is committed.
//!
//! The transaction collects them, and writes them right before its commit with the statements of a flush:
//! their first tasks go to the ready table, and the bell is rung at the very end. So nothing of the engine's
//! is locked while the transaction is open: not the row of the bell, which other commits of the tenant would
//! wait for, and no idempotency key, for which a lane would wait, and with it other tenants.
//!
//! Signals are sent in the same way: collected, and recorded right before the commit.
//!
//! Until then executions are on their way like any other: they count where executions are limited, and the
//! place does not go to rest. Once the commit is answered this process looks for the work, and hints to
//! others; if it is not answered, both are done all the same. That is only for speed: the bell is part of the
//! commit. Whatever drops them leaves nothing.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use super::admission::Room;
use super::batch::PlaceBatch;
use super::children::DEEPEST;
use super::place::OpenPlace;
use super::recording::{Recording, over};
use super::shared::Hub;
use super::submitting::Roots;
use super::transition::{Submit, SubmitReply};
use crate::config::RunnerConfig;
use crate::context::{payload_of, token_base, token_of_child};
use crate::error::{Error, ErrorKind, TaskError};
use crate::execution::TaskInfo;
use crate::id::ExecutionId;
use crate::meters::count_signal;
use crate::origin::{Origin, Parent};
use crate::store::{NewExecution, Payload, PlaceFlushed, SignalSent, TaskChild};
use crate::submission::{ChildOf, DEFAULT_PRIORITY, Described, MAX_TAGS, same};
use crate::workflow::{ParentClose, check_name};

/// Submits executions of one tenant in its transactions.
#[derive(Clone)]
pub struct Submitter {
    hub: Arc<Hub>,
    place: Arc<OpenPlace>,
    /// Those of a handle; otherwise those of the place count.
    settings: Option<Arc<RunnerConfig>>,
}

/// An execution that was checked, and does not count yet.
pub struct Prepared {
    submit: Box<Submit>,
    room: Room,
}

/// An execution that waits for the commit of a transaction.
pub struct Deferred {
    hub: Arc<Hub>,
    submit: Box<Submit>,
}

impl Submitter {
    pub(crate) fn new(hub: Arc<Hub>, place: Arc<OpenPlace>, settings: Option<Arc<RunnerConfig>>) -> Self {
        Self { hub, place, settings }
    }

    /// That of the tenant whose task this is.
    ///
    /// # Errors
    ///
    /// The task was not started by the engine, or its attempt is over.
    pub fn of(task: &TaskInfo) -> Result<Self, TaskError> {
        let (hub, place) = Recording::of(task)?.whereabouts().ok_or_else(over)?;
        Ok(Self::new(hub, place, None))
    }

    /// The time, if the clock of a test overrides the database's.
    #[must_use]
    pub fn now(&self) -> Option<Timestamp> {
        self.hub.clock.database_now()
    }

    /// Finds out what an execution becomes a child of, if a task starts it.
    ///
    /// # Errors
    ///
    /// Those of [`Submission::child_of`](crate::Submission::child_of), and what is wrong with the database.
    pub async fn as_child(&self, mut described: Described) -> Result<Described, Error> {
        let Some(child) = &mut described.child else { return Ok(described) };
        let ChildOf { task, name, on_close, link } = &mut **child;
        let (id, tenant) = (task.execution_id(), &self.place.place.name);
        let refused = |kind, problem: &str| {
            let name = name.escape_debug();
            let message = format!(
                "the child `{name}` of execution {id} of tenant `{tenant}` was not recorded: {problem}"
            );
            Err(Error::new(kind, message))
        };
        if let Err(problem) = check_name(name) {
            return refused(ErrorKind::Configuration, &format!("its name {problem}"));
        }
        if described.idempotency_key.is_some() {
            let problem = "it has an idempotency key as well, and its name is one: leave out either";
            return refused(ErrorKind::Configuration, problem);
        }
        let position = Recording::of(task).ok().and_then(Recording::position);
        let Some((parent, index, place)) = position else {
            let problem = "its parent's task is over, or was not started by a runner";
            return refused(ErrorKind::WrongState, problem);
        };
        if place.place.tenant != self.place.place.tenant {
            return refused(ErrorKind::Configuration, "the task runs for another tenant");
        }
        let depth = task.parent().map_or(0, |parent| parent.depth).saturating_add(1);
        if depth > DEEPEST {
            let problem =
                format!("there would be more than {DEEPEST} generations: a workflow may start itself");
            return refused(ErrorKind::Limit, &problem);
        }
        let (store, inner) = (Arc::clone(&self.hub.store), Arc::clone(&place.place));
        let header =
            self.hub.ask(async move { store.execution_headers(&inner, &[parent]).await }).await?.pop();
        let Some(header) = header.filter(|header| !header.status.is_terminal()) else {
            return refused(ErrorKind::WrongState, "its parent is over");
        };
        let input = described.input.clone().into_values()?;
        let base = token_base(&task.origin, id, &task.input);
        let token = token_of_child(base, &format!("{}/{name}", task.task_id()), 0, &input);
        let (execution_id, node) = (id, task.task_id().to_owned());
        let parent_of = Parent { execution_id, node, item: 0, depth };
        described.origin =
            Origin { parent: Some(Arc::new(parent_of)), token: Some(token), ..described.origin.clone() };
        if described.priority == DEFAULT_PRIORITY {
            described.priority = u8::try_from(header.priority).unwrap_or_default();
        }
        described.deadline = described.deadline.into_iter().chain(header.deadline).min();
        for tag in header.tags {
            if described.tags.len() < MAX_TAGS && !described.tags.contains(&tag) {
                described.tags.push(tag);
            }
        }
        let key = format!("cloacina/child/{id}/{}/{name}", task.task_id());
        if *on_close == ParentClose::Cancel {
            let of = format!("{}/{key}", described.workflow);
            *link = Some(TaskChild { parent, task: index, number: number_of(&of) });
            if let Some(live) = place.state().work.live.get_mut(&parent) {
                live.has_children = true;
            }
        }
        described.idempotency_key = Some(key);
        Ok(described)
    }

    /// Checks all that a runner checks.
    ///
    /// # Errors
    ///
    /// Those of [`Submission::send`](crate::Submission::send).
    pub fn prepare(&self, described: Described) -> Result<Prepared, Error> {
        let Self { hub, place, .. } = self;
        self.check_open("an execution")?;
        let settings = self.settings();
        let reply = SubmitReply::Recorded(oneshot::channel().0, Arc::default());
        let (submit, room) = hub.check(described, place, &settings, Roots::Left, reply)?;
        if !submit.execution.is_expanded() {
            hub.look_for_name(place, &submit.execution.workflow.name);
        }
        Ok(Prepared { submit: Box::new(submit), room })
    }

    /// Has it wait for the commit, unless there are as many as the tenant may have.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Limit`], and what is wrong with the database.
    pub async fn defer(&self, prepared: Prepared) -> Result<Deferred, Error> {
        let Prepared { submit, room } = prepared;
        // It does not go to rest while something is on its way.
        self.rouse().await?;
        let submit = Box::new(self.hub.admitted(*submit, room).await?);
        Ok(Deferred { hub: Arc::clone(&self.hub), submit })
    }

    /// Makes what a signal brings of a value; the name is for messages.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Context`].
    pub fn payload(&self, name: &str, value: impl Serialize) -> Result<Payload, Error> {
        Ok(payload_of(name, value, self.settings().max_patch_bytes)?)
    }

    /// Whether a signal may wait for the commit of a transaction.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ShutDown`] and [`ErrorKind::Suspended`].
    pub fn check_signal(&self) -> Result<(), Error> {
        self.check_open("a signal")?;
        self.place.state().check_takes_signals()
    }

    /// A file at rest is opened, so that who looks for due files knows of it before anything is written.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn rouse(&self) -> Result<(), Error> {
        if self.hub.store.rests() {
            let (hub, now) = (Arc::clone(&self.hub), self.now());
            self.hub.ask(async move { hub.store.bell_due(now).await }).await?;
        }
        Ok(())
    }

    /// A transaction with signals was committed, or only the database knows whether it was.
    pub fn signalled(&self, sent: &[SignalSent]) {
        sent.iter().for_each(count_signal);
        self.hub.look_for_waits(&self.place);
        self.hub.store.hint_others();
    }

    fn settings(&self) -> Arc<RunnerConfig> {
        self.settings.clone().unwrap_or_else(|| Arc::clone(&self.place.state().handles.settings))
    }

    fn check_open(&self, what: &str) -> Result<(), Error> {
        let Self { hub, place, .. } = self;
        if hub.open_place(place.place.tenant).is_some_and(|open| Arc::ptr_eq(&open, place)) {
            return Ok(());
        }
        let message = format!(
            "{what} of tenant `{}` was not recorded: the runner that its data was taken from was shut down; take the data of a runner that is \
             open",
            place.place.name
        );
        Err(Error::new(ErrorKind::ShutDown, message))
    }
}

/// A number that no two of these texts share.
fn number_of(text: &str) -> i64 {
    let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let [a, b, c, d, e, f, g, h, ..] = hash;
    i64::from_be_bytes([a, b, c, d, e, f, g, h]) & i64::MAX
}

impl Prepared {
    /// What is to be written.
    #[must_use]
    pub fn execution(&self) -> &Arc<NewExecution> {
        &self.submit.execution
    }

    /// The execution that was found under its idempotency key, with the hash of its input.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`]: its input is another.
    pub fn same(&self, found: (ExecutionId, i64)) -> Result<ExecutionId, Error> {
        same(&self.submit.place.place.name, &self.submit.execution, found)
    }
}

impl Deferred {
    /// What is to be written.
    #[must_use]
    pub fn execution(&self) -> &Arc<NewExecution> {
        &self.submit.execution
    }

    /// Whether the tenant may still work, asked right before it is written.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Suspended`].
    pub fn check(&self) -> Result<(), Error> {
        self.submit.place.state().check_active()
    }

    /// The transaction was committed at this time, by the database's clock.
    pub fn committed(all: Vec<Self>, now: Timestamp) {
        let Some(first) = all.first() else { return };
        let (hub, place) = (Arc::clone(&first.hub), Arc::clone(&first.submit.place));
        let mut batch = PlaceBatch::new(Arc::clone(&place));
        batch.submits.extend(all.into_iter().map(|deferred| *deferred.submit));
        let submitted = batch.submits.iter().map(|submit| submit.execution.id).collect();
        let done = PlaceFlushed { submitted, ..PlaceFlushed::default() };
        let effects = place.state().apply(batch, done, hub.moment(Some(now)));
        hub.perform(&place, None, effects);
        hub.store.hint_others();
    }

    /// Only the database knows whether the transaction was committed.
    pub fn unknown(all: Vec<Self>) {
        for Self { hub, submit } in all {
            let Submit { place, execution, admitted, .. } = *submit;
            if let Some(admitted) = admitted {
                // The next count says how many there are.
                admitted.recorded();
            }
            place.state().claiming.note_backlog(execution.priority);
            hub.look(&place);
            hub.store.hint_others();
        }
    }
}

impl fmt::Debug for Submitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submitter").field("place", &self.place.place.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred").field("execution", &self.submit.execution.id).finish_non_exhaustive()
    }
}
