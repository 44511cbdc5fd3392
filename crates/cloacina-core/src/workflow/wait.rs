//! Waits: nodes of a workflow that the engine runs itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Task;
use super::name::check_name;
use crate::rule::TriggerRule;

/// The most choices of an [`Ask`].
const MOST_CHOICES: usize = 100;

/// The longest question, in bytes; a choice or role may have 200.
const LONGEST_QUESTION: usize = 2000;

/// A node of a workflow that waits: for a time, or for a signal.
///
/// It stands beside the tasks, is named by their dependencies as they are, and depends on them with
/// [`after`](Self::after). When it is reached, its rule decides, as that of a task does, whether it is
/// skipped. From then on the execution waits in the database alone: it holds no slot, no connection and no
/// memory, and no process has to be there.
///
/// ```
/// use std::time::Duration;
/// use cloacina_core::workflow::{OnTimeout, Wait};
///
/// let pause = Wait::sleep("cool_off", Duration::from_secs(15 * 60)).after("reserve");
/// let answer = Wait::signal("approved")
///     .after("cool_off")
///     .timeout(Duration::from_secs(48 * 3600))
///     .on_timeout(OnTimeout::Skip);
/// ```
#[derive(Debug, Clone)]
pub struct Wait {
    pub(crate) id: String,
    pub(crate) dependencies: Vec<String>,
    pub(crate) rule: TriggerRule,
    pub(crate) what: Awaited,
    /// Whether something was said of a sleep that can only be said of a wait for a signal.
    misused: bool,
}

/// What a [`Wait`] waits for.
#[derive(Debug, Clone)]
pub(crate) enum Awaited {
    /// Until so much time has passed since it was reached.
    Sleep(Duration),
    Signal(Signal),
}

/// A signal, and how long it is waited for.
#[derive(Debug, Clone)]
pub(crate) struct Signal {
    pub(crate) name: String,
    pub(crate) timeout: Option<Duration>,
    pub(crate) on_timeout: OnTimeout,
    pub(crate) ask: Option<Ask>,
}

/// The largest form in which an [`Ask`] is stored, in bytes.
const LARGEST_ASK: usize = 64 << 10;

/// What becomes of a wait whose signal did not come in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnTimeout {
    /// It fails, and a task with the rule [`any_failed`](crate::TriggerRule::AnyFailed) can handle that.
    #[default]
    Fail,
    /// It is skipped, and with it by default what comes after it.
    Skip,
    /// It completes, with `null` in place of what the signal would have brought.
    Continue,
}

/// A question to a human, which a [wait for a signal](Wait::signal) puts.
///
/// It stands in the list of what waits, with what it may be answered by. The engine asks nobody: whoever
/// shows the list checks who may answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The question.
    pub question: String,
    /// What it may be answered by; anything if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// Who is to answer it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// What a [`Wait`] can come after: a task, or the id of a node.
pub trait Dependency {
    /// Its id.
    fn id(self) -> String;
}

impl<T: Task> Dependency for T {
    fn id(self) -> String {
        if T::ID.is_empty() { self.definition().id } else { T::ID.to_owned() }
    }
}

impl Dependency for &str {
    fn id(self) -> String {
        self.to_owned()
    }
}

impl Dependency for String {
    fn id(self) -> String {
        self
    }
}

impl Wait {
    fn new(id: String, what: Awaited) -> Self {
        Self { id, dependencies: Vec::new(), rule: TriggerRule::default(), what, misused: false }
    }

    /// Waits until `duration` has passed since it was reached, by the database's clock. A crash or a restart
    /// does not begin it anew. It leaves nothing in the context.
    #[must_use]
    pub fn sleep(id: impl Into<String>, duration: Duration) -> Self {
        Self::new(id.into(), Awaited::Sleep(duration))
    }

    /// Waits for a signal, and leaves what it brought in the context under its id, which is also the name of
    /// the signal.
    ///
    /// A signal that came before is taken at once; each is taken by one wait, the first that came first.
    #[must_use]
    pub fn signal(id: impl Into<String>) -> Self {
        let id = id.into();
        let signal = Signal { name: id.clone(), timeout: None, on_timeout: OnTimeout::default(), ask: None };
        Self::new(id, Awaited::Signal(signal))
    }

    /// Waits for the signal of this name. Without this call the name is the id of the wait, so that a
    /// workflow with two waits for one signal needs it.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        self.of_signal(|signal| signal.name = name.into())
    }

    /// Comes after this task, or after the node with this id. May be called several times.
    #[must_use]
    pub fn after(mut self, dependency: impl Dependency) -> Self {
        self.dependencies.push(dependency.id());
        self
    }

    /// With this trigger rule: it says whether the wait is skipped when it is reached.
    #[must_use]
    pub fn rule(mut self, rule: TriggerRule) -> Self {
        self.rule = rule;
        self
    }

    /// Waits for its signal so long at most, from when it was reached. Without this call it waits for ever,
    /// or to the deadline of the execution.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.of_signal(|signal| signal.timeout = Some(timeout))
    }

    /// What becomes of it when its time is over; [`OnTimeout::Fail`] without this call.
    #[must_use]
    pub fn on_timeout(self, on_timeout: OnTimeout) -> Self {
        self.of_signal(|signal| signal.on_timeout = on_timeout)
    }

    /// Puts this question in the list of what waits.
    #[must_use]
    pub fn ask(self, ask: Ask) -> Self {
        self.of_signal(|signal| signal.ask = Some(ask))
    }

    /// The id, unique in its workflow.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    fn of_signal(mut self, change: impl FnOnce(&mut Signal)) -> Self {
        match &mut self.what {
            Awaited::Signal(signal) => change(signal),
            Awaited::Sleep(_) => self.misused = true,
        }
        self
    }

    /// What is wrong with it, besides its name and its dependencies.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.misused {
            return Err("is a sleep: `named`, `timeout`, `on_timeout` and `ask` are for a wait for a signal");
        }
        let Awaited::Signal(signal) = &self.what else { return Ok(()) };
        check_name(&signal.name)?;
        let Some(ask) = &signal.ask else { return Ok(()) };
        let short = |text: &String| text.len() <= 200;
        if ask.question.is_empty() || ask.question.len() > LONGEST_QUESTION {
            return Err("asks a question that is empty or longer than 2000 bytes");
        }
        if ask.choices.len() > MOST_CHOICES || !ask.choices.iter().chain(&ask.role).all(short) {
            return Err("asks with more than 100 choices, or with a choice or role longer than 200 bytes");
        }
        if serde_json::to_string(ask).map_or(usize::MAX, |json| json.len()) > LARGEST_ASK {
            return Err("asks a question that is longer than 64 KiB as JSON, with its choices");
        }
        Ok(())
    }
}

impl Awaited {
    /// The signal, if it is one.
    pub(crate) fn signal(&self) -> Option<&Signal> {
        match self {
            Self::Sleep(_) => None,
            Self::Signal(signal) => Some(signal),
        }
    }

    /// How long it waits at most.
    pub(crate) fn lasts(&self) -> Option<Duration> {
        match self {
            Self::Sleep(duration) => Some(*duration),
            Self::Signal(signal) => signal.timeout,
        }
    }
}

impl Ask {
    /// A question that may be answered by anything.
    #[must_use]
    pub fn new(question: impl Into<String>) -> Self {
        Self { question: question.into(), choices: Vec::new(), role: None }
    }

    /// It may be answered by one of these only: a signal that brings anything else is refused.
    #[must_use]
    pub fn choices(mut self, choices: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.choices = choices.into_iter().map(Into::into).collect();
        self
    }

    /// As it is stored.
    #[doc(hidden)]
    #[must_use]
    pub fn from_json(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// Whether this JSON is one of its choices, if it has any.
    #[must_use]
    pub fn is_answered_by(&self, json: &str) -> bool {
        self.choices.is_empty()
            || serde_json::from_str::<String>(json).is_ok_and(|answer| self.choices.contains(&answer))
    }

    /// Who is to answer it, in your own words.
    #[must_use]
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.role = Some(role.into());
        self
    }
}
