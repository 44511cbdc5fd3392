//! What a schedule says.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::expression;
use crate::context::Context;
use crate::error::Error;

/// What becomes of the times that passed while nobody was there to fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CatchUp {
    /// Nothing: they are missed. A minute is forgiven, so that a restart drops no run.
    Nothing,
    /// One run for all of them, with the latest time. Its [`Fire`](super::Fire) says how many it stands for.
    #[default]
    Latest,
    /// A run for each, the oldest first. Needs a [window](Schedule::window).
    All,
}

/// What happens when a schedule fires and the execution that it started last is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Overlap {
    /// The new one is not started.
    #[default]
    Skip,
    /// It is started when the other has ended. So many wait at most, up to 1,000; those beyond are dropped.
    Buffer(u32),
    /// It is started beside the other.
    Allow,
    /// The other is cancelled.
    CancelOther,
}

/// What becomes, when a paused schedule goes on, of the times that passed meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missed {
    /// They are missed: to pause is a decision.
    #[default]
    Skip,
    /// They are caught up with, by the schedule's [`CatchUp`].
    CatchUp,
}

/// Which times a backfill runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Redo {
    /// Those that started no execution.
    #[default]
    Missing,
    /// Those, and those whose execution failed or was cancelled.
    MissingAndFailed,
    /// All.
    All,
}

/// When a workflow runs by itself, and with what input.
///
/// ```
/// use std::time::Duration;
/// use cloacina_core::{CatchUp, Context, Overlap, Schedule};
///
/// # fn schedules() -> Result<(), cloacina_core::Error> {
/// let nightly = Schedule::new("nightly", "report")
///     .cron("0 2 * * MON-FRI")?
///     .zone("Europe/Zurich")?
///     .except("* * 25 12 *")?
///     .input(Context::new().with("kind", "full"))
///     .catch_up(CatchUp::Latest)
///     .overlap(Overlap::Skip)
///     .spread(Duration::from_secs(600));
/// # Ok(()) }
/// # schedules().unwrap();
/// ```
///
/// Several times may be given, of each kind; two at one moment are one.
#[derive(Debug, Clone)]
#[must_use = "nothing is scheduled before it is put"]
pub struct Schedule {
    pub(crate) name: String,
    pub(crate) input: Context,
    pub(crate) spec: Spec,
}

/// The stored form.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) workflow: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) cron: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) every_ms: Vec<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) at: Vec<Timestamp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) except: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) zone: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) input: BTreeMap<String, Value>,
    pub(crate) priority: u8,
    pub(crate) catch_up: CatchUp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) window_ms: Option<u64>,
    pub(crate) overlap: Overlap,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) spread_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) starts_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ends_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at_most: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pause_after_failures: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) on_failure: Option<String>,
}

/// Without the input, which belongs to the tenant.
impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spec")
            .field("workflow", &self.workflow)
            .field("cron", &self.cron)
            .field("every_ms", &self.every_ms)
            .field("at", &self.at)
            .field("except", &self.except)
            .field("zone", &self.zone)
            .finish_non_exhaustive()
    }
}

impl Schedule {
    /// A schedule of this name, at most 200 bytes, that runs the workflow of that name. The tenant has one of
    /// a name. Whoever has the workflow runs it; this process need not.
    pub fn new(name: impl Into<String>, workflow: impl Into<String>) -> Self {
        let spec = Spec {
            workflow: workflow.into(),
            cron: Vec::new(),
            every_ms: Vec::new(),
            at: Vec::new(),
            except: Vec::new(),
            zone: None,
            input: BTreeMap::new(),
            priority: 5,
            catch_up: CatchUp::default(),
            window_ms: None,
            overlap: Overlap::default(),
            spread_ms: None,
            starts_at: None,
            ends_at: None,
            at_most: None,
            pause_after_failures: None,
            on_failure: None,
        };
        Self { name: name.into(), input: Context::new(), spec }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The workflow that it runs.
    #[must_use]
    pub fn workflow(&self) -> &str {
        &self.spec.workflow
    }

    /// Fires when this expression says: minute, hour, day of month, month, day of week, and if there are six
    /// fields, the second before them. `0 2 * * MON-FRI` is two o'clock on working days. `L`, `W`, `#` and
    /// `@daily` are known. If day of month and day of week are both given, either is enough.
    ///
    /// An expression that names one time of the day fires once a day: a time that summer time leaves out is
    /// the first moment after the gap, one that it repeats is the first of the two. Any other expression
    /// fires whenever the clock on the wall says so.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) for an expression that cannot be read or
    /// is longer than 256 bytes.
    pub fn cron(mut self, expression: impl Into<String>) -> Result<Self, Error> {
        let expression = expression.into();
        expression::read(&expression)?;
        self.spec.cron.push(expression);
        Ok(self)
    }

    /// Does not fire when this expression says, with the same fields: `* * 25 12 *` leaves Christmas out. One
    /// with five fields stands for whole minutes.
    ///
    /// # Errors
    ///
    /// As [`cron`](Self::cron).
    pub fn except(mut self, expression: impl Into<String>) -> Result<Self, Error> {
        let expression = expression.into();
        expression::read(&expression)?;
        self.spec.except.push(expression);
        Ok(self)
    }

    /// Fires in intervals of whole seconds, counted from the start of [`between`](Self::between), or else
    /// from 1970. With a zone, multiples of 24 hours are days there: the time of day stays the same when the
    /// clocks change.
    pub fn every(mut self, period: Duration) -> Self {
        self.spec.every_ms.push(u64::try_from(period.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Fires once, at this time. If that has passed when the schedule is put, it fires then.
    pub fn at(mut self, time: Timestamp) -> Self {
        self.spec.at.push(time);
        self
    }

    /// The zone whose clocks the expressions mean, as in `Europe/Zurich`. Its rules are those that the
    /// program was built with, never the machine's. Defaults to UTC.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) for a zone that there is not.
    pub fn zone(mut self, zone: impl Into<String>) -> Result<Self, Error> {
        let zone = zone.into();
        expression::zone(&zone)?;
        self.spec.zone = Some(zone);
        Ok(self)
    }

    /// What the first tasks are given. Defaults to an empty context.
    pub fn input(mut self, input: Context) -> Self {
        self.input = input;
        self
    }

    /// From 0 to 9, as of any [submission](crate::Submission::priority). Defaults to 5.
    pub fn priority(mut self, priority: u8) -> Self {
        self.spec.priority = priority;
        self
    }

    /// What becomes of the times that passed while nobody was there to fire. Defaults to
    /// [`CatchUp::Latest`].
    pub fn catch_up(mut self, catch_up: CatchUp) -> Self {
        self.spec.catch_up = catch_up;
        self
    }

    /// How long after its time a run is still worth starting. Older ones are missed. Defaults to no limit;
    /// [`CatchUp::All`] needs one.
    pub fn window(mut self, window: Duration) -> Self {
        self.spec.window_ms = Some(u64::try_from(window.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// What happens when the execution that it started last is not over. Defaults to [`Overlap::Skip`].
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.spec.overlap = overlap;
        self
    }

    /// Fires later by a time below this one, always the same for this schedule of this tenant: so ten
    /// thousand tenants do not start at the same second. A run never moves past the next one.
    pub fn spread(mut self, spread: Duration) -> Self {
        self.spec.spread_ms = Some(u64::try_from(spread.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Fires from the first time on, and before the second.
    pub fn between(mut self, from: impl Into<Option<Timestamp>>, to: impl Into<Option<Timestamp>>) -> Self {
        (self.spec.starts_at, self.spec.ends_at) = (from.into(), to.into());
        self
    }

    /// Starts this many executions and is then done.
    pub fn at_most(mut self, executions: u32) -> Self {
        self.spec.at_most = Some(executions);
        self
    }

    /// Names a workflow that is started once for each of its executions that fails for good; see
    /// [`WorkflowBuilder::on_failure`](crate::workflow::WorkflowBuilder::on_failure), whose place it takes
    /// for what this schedule starts from now on.
    pub fn on_failure(mut self, workflow: impl Into<String>) -> Self {
        self.spec.on_failure = Some(workflow.into());
        self
    }

    /// Pauses itself after this many executions in a row that failed.
    pub fn pause_after_failures(mut self, failures: u32) -> Self {
        self.spec.pause_after_failures = Some(failures);
        self
    }
}
