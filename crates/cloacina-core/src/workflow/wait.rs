//! Waits: nodes of a workflow that the engine runs itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Task;
use super::children::{Children, DEFAULT_PARALLEL, ParentClose, Tolerance};
use super::name::check_name;
use crate::rule::TriggerRule;

/// The most choices of an [`Ask`].
const MOST_CHOICES: usize = 100;

/// The longest question, in bytes; a choice or role may have 200.
const LONGEST_QUESTION: usize = 2000;

/// A node of a workflow that waits: for a time, for a signal, or for other executions.
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
    /// What was said of it that cannot be said of what it waits for.
    misused: Option<&'static str>,
}

/// What a [`Wait`] waits for.
#[derive(Debug, Clone)]
pub(crate) enum Awaited {
    /// Until so much time has passed since it was reached.
    Sleep(Duration),
    Signal(Signal),
    Children(Children),
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
        Self { id, dependencies: Vec::new(), rule: TriggerRule::default(), what, misused: None }
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

    /// Starts an execution of this workflow, a *child*, waits for its end, and leaves its final context under
    /// its id.
    ///
    /// The input of the child is the context as it is here, unless [`input`](Self::input) says which part of
    /// it. The child has the priority and the deadline of its parent. It fails where the child does not
    /// complete, and its error says which execution that is. No process needs the code of the child to start
    /// it.
    ///
    /// ```
    /// use cloacina_core::workflow::{ParentClose, Wait};
    ///
    /// let ship = Wait::child("ship", "shipping").after("pack").on_close(ParentClose::Abandon);
    /// ```
    #[must_use]
    pub fn child(id: impl Into<String>, workflow: impl Into<String>) -> Self {
        Self::new(id.into(), Awaited::Children(Children::of(workflow.into())))
    }

    /// Starts an execution of this workflow for each item of a list in the context, and waits for their ends.
    ///
    /// The list is a JSON array of up to 1,000,000 items of up to 64 KiB each, under the key that
    /// [`over`](Self::over) names; without a call, under the id of the node. The input of a child is `item`,
    /// the item, and `index`, its number from 0. At most [`parallel`](Self::parallel) of them are open at a
    /// time, over all processes. It fails as soon as more failed than are [tolerated](Self::tolerate).
    ///
    /// It leaves nothing in the context: the results are [read by pages](crate::Context::results). An empty
    /// list is over at once.
    ///
    /// ```
    /// use cloacina_core::workflow::Wait;
    ///
    /// let resize = Wait::map("resize", "resize_image").over("images").parallel(64).tolerate("2%").after("list");
    /// ```
    #[must_use]
    pub fn map(id: impl Into<String>, workflow: impl Into<String>) -> Self {
        let id = id.into();
        let children =
            Children { list: Some(id.clone()), parallel: DEFAULT_PARALLEL, ..Children::of(workflow.into()) };
        Self::new(id, Awaited::Children(children))
    }

    /// Under which key of the context the list of a [map](Self::map) is.
    #[must_use]
    pub fn over(self, key: impl Into<String>) -> Self {
        self.of_map("over", |children| children.list = Some(key.into()))
    }

    /// How many children of a [map](Self::map) are open at once, at most: 1 to 10,000; 64 without this call.
    #[must_use]
    pub fn parallel(self, parallel: u32) -> Self {
        self.of_map("parallel", |children| children.parallel = parallel)
    }

    /// How many items of a [map](Self::map) may fail before it fails: a number, or a part as `"2%"`; none
    /// without this call. A child that was cancelled has failed. When it fails nothing new is started; what
    /// runs goes on to its end, if the parent does not end before.
    #[must_use]
    pub fn tolerate(self, tolerance: impl Into<Tolerance>) -> Self {
        self.of_map("tolerate", |children| children.tolerance = tolerance.into())
    }

    /// Under which key of the context the input of a [child](Self::child) is, an object.
    #[must_use]
    pub fn input(mut self, key: impl Into<String>) -> Self {
        match &mut self.what {
            Awaited::Children(children) if children.list.is_none() => children.input = Some(key.into()),
            _ => self.misused = Some("says `input`, which is for the wait for one child"),
        }
        self
    }

    /// What becomes of its children if the parent ends before them; [`ParentClose::Cancel`] without this
    /// call. If the time of the wait is over, they are treated the same way.
    #[must_use]
    pub fn on_close(mut self, on_close: ParentClose) -> Self {
        match &mut self.what {
            Awaited::Children(children) => children.on_close = on_close,
            _ => self.misused = Some("says `on_close`, which is for a wait for children"),
        }
        self
    }

    /// Waits for the items of a task.
    pub(super) fn of_task(
        id: &str,
        dependencies: Vec<String>,
        rule: TriggerRule,
        children: Children,
    ) -> Self {
        Self { dependencies, rule, ..Self::new(id.to_owned(), Awaited::Children(children)) }
    }

    /// Waits for the signal of this name. Without this call the name is the id of the wait, so that a
    /// workflow with two waits for one signal needs it.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        self.of_signal("named", |signal| signal.name = name.into())
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

    /// Waits for its signal, or its children, so long at most, from when it was reached. Without this call it
    /// waits for ever, or to the deadline of the execution. Children that are not over in time let it fail.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        match &mut self.what {
            Awaited::Signal(signal) => signal.timeout = Some(timeout),
            Awaited::Children(children) => children.timeout = Some(timeout),
            Awaited::Sleep(_) => {
                self.misused = Some("is a sleep with a `timeout`: it ends when its own time is over");
            }
        }
        self
    }

    /// What becomes of it when its time is over; [`OnTimeout::Fail`] without this call.
    #[must_use]
    pub fn on_timeout(self, on_timeout: OnTimeout) -> Self {
        self.of_signal("on_timeout", |signal| signal.on_timeout = on_timeout)
    }

    /// Puts this question in the list of what waits.
    #[must_use]
    pub fn ask(self, ask: Ask) -> Self {
        self.of_signal("ask", |signal| signal.ask = Some(ask))
    }

    /// The id, unique in its workflow.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    fn of_signal(mut self, said: &str, change: impl FnOnce(&mut Signal)) -> Self {
        match &mut self.what {
            Awaited::Signal(signal) => change(signal),
            _ => {
                self.misused = Some(match said {
                    "named" => "has a `.named(…)`, which only a wait for a signal can have",
                    "ask" => "has an `.ask(…)`, which only a wait for a signal can have",
                    _ => "has an `.on_timeout(…)`, which only a wait for a signal can have",
                });
            }
        }
        self
    }

    fn of_map(mut self, said: &str, change: impl FnOnce(&mut Children)) -> Self {
        match &mut self.what {
            Awaited::Children(children) if children.list.is_some() => change(children),
            _ => {
                self.misused = Some(match said {
                    "over" => "says `over`, which is for a map",
                    "parallel" => "says `parallel`, which is for a map",
                    _ => "says `tolerate`, which is for a map",
                });
            }
        }
        self
    }

    /// What is wrong with it, besides its name and its dependencies.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if let Some(misused) = self.misused {
            return Err(misused);
        }
        let signal = match &self.what {
            Awaited::Signal(signal) => signal,
            Awaited::Children(children) => return children.check(),
            Awaited::Sleep(_) => return Ok(()),
        };
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
            Self::Sleep(_) | Self::Children(_) => None,
            Self::Signal(signal) => Some(signal),
        }
    }

    /// The children, if it is those.
    pub(crate) fn children(&self) -> Option<&Children> {
        match self {
            Self::Sleep(_) | Self::Signal(_) => None,
            Self::Children(children) => Some(children),
        }
    }

    /// How long it waits at most.
    pub(crate) fn lasts(&self) -> Option<Duration> {
        match self {
            Self::Sleep(duration) => Some(*duration),
            Self::Signal(signal) => signal.timeout,
            Self::Children(children) => children.timeout,
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
