//! What is checked of a new execution before it is sent on its way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::warn;

use super::admission::Room;
use super::place::{OpenPlace, PlaceState, Submitting, key_and_tasks, smaller};
use super::shared::Hub;
use super::transition::{Submit, SubmitReply};
use crate::config::RunnerConfig;
use crate::context::{Context, ContextError, INPUT, Values, hash_of, values_to_json};
use crate::error::{Error, ErrorKind};
use crate::id::ExecutionId;
use crate::meant::did_you_mean;
use crate::origin::Origin;
use crate::reserved::reserved_key;
use crate::store::{Idempotency, NewExecution, SignalStart, SignalTarget, WorkflowKey};
use crate::submission::{DEFAULT_PRIORITY, Described, checked_tags, idempotency};
use crate::trace::submitted;
use crate::workflow::{Fingerprint, RESERVED, Workflow, check_workflow_name};

/// The priority that is claimed first.
const MAX_PRIORITY: u8 = 9;

/// How often it is said of a workflow that its deadlines are too early, and of how many that is remembered.
const SAID_AGAIN: Duration = Duration::from_secs(30);
const MOST_SAID: usize = 10_000;

/// The latest time that anything starts or ends: the beginning of the year 9000.
const LATEST: Timestamp = Timestamp::constant(221_845_392_000, 0);

/// Whether the first tasks of an execution may be claimed by who records it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Roots {
    /// If there are slots for them.
    Claimed,
    /// They go to the ready table.
    Left,
}

impl Hub {
    /// Checks what would keep all executions that are described so from being recorded.
    pub(crate) fn check_workflow(&self, place: &OpenPlace, described: &Described) -> Result<(), Error> {
        check_workflow_is_not_ours(&described.workflow)?;
        let state = place.state();
        state.check_active()?;
        let workflows = &state.handles.workflows;
        if described.by_name || workflows.get(&described.workflow).is_some() {
            return Ok(());
        }
        Err(unknown_workflow(&described.workflow, &workflows.names()))
    }

    /// Checks all that can be known of it here, and makes what is to be written. The second value is how many
    /// executions the tenant may have that are not over, if that is limited.
    pub(crate) fn check(
        &self,
        described: Described,
        place: &Arc<OpenPlace>,
        settings: &RunnerConfig,
        roots: Roots,
        reply: SubmitReply,
    ) -> Result<(Submit, Room), Error> {
        let Described {
            workflow: name,
            by_name,
            input,
            idempotency_key,
            start_at,
            deadline,
            priority,
            tags,
            submitted_by,
            origin,
            by_engine,
            child,
        } = described;
        if !by_engine {
            check_workflow_is_not_ours(&name)?;
        }
        let tenant = &place.place.name;
        // Before the look at the state, so that the hub does not go to rest between the two.
        let under_way = Submitting::new(place).map_err(|there_are| too_many(there_are, tenant))?;
        let (workflow, mut direct, Limits { max_context_bytes, max_queue_length, max_waiting }) = {
            let state = place.state();
            state.check_active()?;
            let limits = limits(&state, settings);
            let workflow = state.handles.workflows.get(&name);
            if workflow.is_none() {
                if !by_name {
                    return Err(unknown_workflow(&name, &state.handles.workflows.names()));
                }
                if !by_engine {
                    check_workflow_name(&name).map_err(|reason| misnamed(&name, reason))?;
                }
            }
            if workflow.is_some_and(|workflow| state.forbids(workflow)) {
                let message = format!(
                    "workflow `{}` is for the operator only and was not submitted: tenant `{tenant}` has a database login of its own; submit it \
                     in a place without one",
                    name.escape_debug(),
                );
                return Err(Error::new(ErrorKind::Workflow, message));
            }
            // What waits in the ready table goes first.
            let direct = roots == Roots::Claimed
                && state.claims()
                && !state.claiming.has_backlog()
                && workflow.is_some_and(|workflow| state.may_start(workflow));
            (workflow.cloned(), direct, limits)
        };
        let (key, tasks) = match &workflow {
            Some(workflow) => key_and_tasks(workflow)?,
            // Whoever has the code says which version it is, and which tasks it has.
            None => (WorkflowKey { name: name.into(), fingerprint: Fingerprint::UNKNOWN }, Arc::default()),
        };
        if priority > MAX_PRIORITY {
            let message = format!("priority {priority} is above {MAX_PRIORITY}, the highest");
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        let tags = checked_tags(tags)?;
        let shared_tags = (!tags.is_empty()).then(|| tags.clone().into());
        let trace = submitted(&key.name, origin.trace.clone());
        let origin = Origin { tags: shared_tags, trace, ..origin };
        let (values, json) = checked_input(input, &origin, max_context_bytes)?;
        let idempotency = match idempotency_key {
            // The engine's own: it says which task, and under which name.
            Some(key) if child.is_some() => Some(Idempotency { key, input_hash: hash_of(&values) }),
            Some(key) => Some(idempotency(key, &values)?),
            None => None,
        };
        let now = self.clock.database_now().unwrap_or_else(|| self.clock.now());
        // Only its deadline ends what can begin no earlier.
        let start_at = match deadline {
            Some(deadline) if deadline <= start_at.unwrap_or(now).max(now) => Some(LATEST),
            _ => start_at,
        };
        if let (Some(workflow), Some(deadline)) = (&workflow, deadline) {
            let time = deadline.duration_since(start_at.unwrap_or(now).max(now));
            self.say_late_waits(place, workflow, Duration::try_from(time).unwrap_or_default());
        }
        direct = direct && start_at.is_none();
        let first: Vec<i16> =
            (0..).zip(&*tasks).filter(|(_, task)| task.is_ready()).map(|(task, _)| task).collect();
        let permits = if direct { place.slots.take(first.len()) } else { Vec::new() };
        let claimed = first[..permits.len()].to_vec();
        let execution = NewExecution {
            id: ExecutionId::new(),
            workflow: key,
            priority: i16::from(priority),
            input: json.into(),
            idempotency,
            start_at: start_at.map(within_reach),
            deadline: deadline.map(within_reach),
            tasks,
            claimed,
            submitter: self.store.submitter(),
            tags,
            submitted_by,
            on_failure: workflow.as_ref().and_then(|workflow| workflow.shared_on_failure().cloned()),
            rerun: None,
            child: child.and_then(|child| child.link).map(Box::new),
        };
        let submit = Submit {
            place: Arc::clone(place),
            execution: Arc::new(execution),
            workflow,
            input: values,
            origin,
            permits,
            reply,
            under_way,
            since: self.clock.monotonic(),
            unsure: false,
            admitted: None,
        };
        let waits = submit
            .workflow
            .as_ref()
            .is_some_and(|workflow| workflow.graph().is_ok_and(|graph| graph.has_waits()));
        let limit = |limit: usize| (limit < usize::MAX).then_some(limit);
        let room = Room { open: limit(max_queue_length), waiting: limit(max_waiting).filter(|_| waits) };
        Ok((submit, room))
    }

    /// Says it if an execution has less time than its waits take. Once in a while for each workflow.
    fn say_late_waits(&self, place: &OpenPlace, workflow: &Workflow, time: Duration) {
        let Some(wait) = workflow.ends_after(time) else { return };
        let now = self.clock.monotonic();
        {
            let mut told = self.late_waits_told.lock();
            let key = (place.place.tenant, Arc::from(workflow.name()));
            if told.get(&key).is_some_and(|at| now < *at + SAID_AGAIN) {
                return;
            }
            if told.len() >= MOST_SAID {
                told.clear();
            }
            told.insert(key, now);
        }
        warn!(
            tenant = place.place.name,
            workflow = workflow.name(),
            wait = wait.id(),
            ?time,
            "an execution is submitted with a deadline before which one of its waits cannot end: it will be cancelled, unless the wait is \
             skipped"
        );
    }

    /// Checks what a signal starts if there is no such execution, which is addressed by its key.
    pub(crate) async fn signal_start(
        &self,
        place: &Arc<OpenPlace>,
        settings: &RunnerConfig,
        target: &SignalTarget,
        input: Context,
    ) -> Result<Option<SignalStart>, Error> {
        let SignalTarget::Key { workflow, key } = target else { return Ok(None) };
        check_workflow_name(workflow).map_err(|reason| misnamed(workflow, reason))?;
        let Limits { max_context_bytes, max_queue_length, .. } = limits(&place.state(), settings);
        let origin = Origin { trace: submitted(workflow, None), ..Origin::default() };
        let (values, json) = checked_input(input, &origin, max_context_bytes)?;
        let Idempotency { input_hash, .. } = idempotency(key.to_string(), &values)?;
        place.state().check_active()?;
        if max_queue_length < usize::MAX {
            let (store, inner) = (Arc::clone(&self.store), Arc::clone(&place.place));
            let open = self.ask(async move { store.execution_count(&inner, max_queue_length).await }).await?;
            if open >= max_queue_length {
                return Err(queue_is_full(workflow, place, max_queue_length));
            }
        }
        let priority = i16::from(DEFAULT_PRIORITY);
        Ok(Some(SignalStart { execution: ExecutionId::new(), priority, input: json.into(), input_hash }))
    }

    /// An execution was recorded by the name of its workflow beside the lanes.
    pub(crate) fn started(self: &Arc<Self>, place: &Arc<OpenPlace>, workflow: &Arc<str>) {
        let is_known = place.state().handles.workflows.get(workflow).is_some();
        if !is_known {
            self.look_for_name(place, workflow);
        }
        self.lower(Arc::clone(place));
    }
}

/// What the engine starts by itself is started by nobody else.
fn check_workflow_is_not_ours(name: &str) -> Result<(), Error> {
    if !name.starts_with(RESERVED) {
        return Ok(());
    }
    check_workflow_name(name).map_err(|reason| misnamed(name, reason))
}

fn misnamed(name: &str, reason: &str) -> Error {
    let message = format!("the name of a workflow {reason}: `{}`", name.escape_debug());
    Error::new(ErrorKind::Workflow, message)
}

/// What a tenant may have.
struct Limits {
    /// The largest input.
    max_context_bytes: usize,
    /// How many executions that are not over.
    max_queue_length: usize,
    /// How many that wait.
    max_waiting: usize,
}

fn limits(state: &PlaceState, settings: &RunnerConfig) -> Limits {
    let decided = &state.standing.status.limits;
    let input = settings.max_context_bytes.min(settings.max_execution_bytes);
    let queue = settings.max_queue_length.unwrap_or(usize::MAX);
    let waiting = settings.max_waiting.unwrap_or(usize::MAX);
    Limits {
        max_context_bytes: smaller(input, decided.max_context_bytes),
        max_queue_length: smaller(queue, decided.max_queue_length),
        max_waiting: smaller(waiting, decided.max_waiting),
    }
}

/// The input of an execution, if it may have it.
fn checked_input(input: Context, origin: &Origin, limit: usize) -> Result<(Arc<Values>, String), Error> {
    let values = input.into_values()?;
    if let Some(key) = reserved_key(&values) {
        let key = key.escape_debug();
        let message = format!("the input has a key `{key}`, which is the engine's: use another one");
        return Err(Error::new(ErrorKind::Context, message));
    }
    let json = if origin.is_empty() {
        values_to_json(&values)?
    } else {
        let mut stored = BTreeMap::clone(&values);
        origin.put_into(&mut stored);
        values_to_json(&stored)?
    };
    if json.len() > limit {
        let size = json.len();
        return Err(ContextError::TooLarge { what: INPUT, size, limit }.into());
    }
    Ok((values, json))
}

fn queue_is_full(workflow: &str, place: &OpenPlace, limit: usize) -> Error {
    let message = format!(
        "no execution of workflow `{}` was recorded: tenant `{}` may have {limit} under way (max_queue_length), and has them; \
         send the signal again when some have ended, or raise the limit",
        workflow.escape_debug(),
        place.place.name
    );
    Error::new(ErrorKind::Limit, message)
}

fn too_many(there_are: usize, tenant: &str) -> Error {
    let message = format!(
        "an execution of tenant `{tenant}` was not recorded: {there_are} executions of this process are on their way to the database, as many \
         as may be (max_process_queue); submit it again in a moment, and less at once if this happens often"
    );
    Error::new(ErrorKind::Limit, message)
}

/// The same time as far as anybody will see, and one that every database can keep.
fn within_reach(time: Timestamp) -> Timestamp {
    time.clamp(Timestamp::UNIX_EPOCH, LATEST)
}

fn unknown_workflow(name: &str, known: &[&str]) -> Error {
    let there_is = match known {
        [] => "it has none: put `#[workflow]` on the function that builds it".to_owned(),
        known => did_you_mean(name, "workflow", known),
    };
    let name = name.escape_debug();
    let message = format!(
        "this program has no workflow `{name}` (if another one has it, submit it with `by_name`); {there_is}"
    );
    Error::new(ErrorKind::Workflow, message)
}
