//! New executions that are recorded beside the lanes: many in one commit, and reruns.
//!
//! Nothing of them is claimed by who records them; their first tasks go to the ready table. A commit whose
//! answer is lost is tried again with the same ids. What the database cannot keep is found by halves, so that
//! it does not take the others along.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::admission::Room;
use super::batch::PlaceBatch;
use super::place::OpenPlace;
use super::shared::Hub;
use super::submitting::Roots;
use super::transition::{Submit, SubmitReply};
use crate::backoff::Backoff;
use crate::config::RunnerConfig;
use crate::context::{Context, token_base, values_from_json};
use crate::error::{Error, ErrorKind};
use crate::id::ExecutionId;
use crate::origin::{Origin, taken_out};
use crate::rerun::{self, From};
use crate::store::{
    ExecutionRecord, NewExecution, PlaceFlushed, RecordedExecutions, Rerun, RerunRefusal, StoreError,
    StoreErrorKind,
};
use crate::submission::{Described, same};

/// How long to wait after a failure: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How long new executions may wait for a database that cannot be reached before their caller is told.
const PATIENCE: Duration = Duration::from_secs(30);

impl Hub {
    /// Checks all that can be known of a rerun here, and makes what is to be written. The second value is how
    /// many executions the tenant may have that are not over, if that is limited.
    pub(crate) fn prepare_rerun(
        &self,
        record: &ExecutionRecord,
        from: From<'_>,
        input: Option<Context>,
        place: &Arc<OpenPlace>,
        settings: &RunnerConfig,
        reply: SubmitReply,
    ) -> Result<(Submit, Room), Error> {
        let header = &record.header;
        let (of, tenant) = (header.id, &place.place.name);
        // It is looked at again under its lock.
        let refusal = match header.superseded_by {
            _ if !header.status.is_terminal() => Some(RerunRefusal::NotOver(header.status)),
            by => by.map(RerunRefusal::Superseded),
        };
        if let Some(refusal) = refusal {
            return Err(rerun_error(refusal, of, tenant));
        }
        let stored = values_from_json(&record.input).map_err(|error| {
            let message = format!("the stored input of execution {of} of tenant `{tenant}` cannot be read");
            Error::new(ErrorKind::Context, message).with_source(error)
        })?;
        let (values, origin) = taken_out(stored);
        let token = match from {
            From::Start => None,
            From::Failed | From::Task(_) => Some(token_base(&origin, of.0, &values)),
        };
        // Without the code it is recorded by its name. Whoever has the code works out what is copied.
        let by_name = place.state().handles.workflows.get(&header.workflow.name).is_none();
        let described = Described {
            workflow: header.workflow.name.to_string(),
            by_name,
            input: input.unwrap_or_else(|| Context::shared(values)),
            idempotency_key: None,
            start_at: None,
            deadline: None,
            priority: u8::try_from(header.priority).unwrap_or_default(),
            tags: header.tags.to_vec(),
            submitted_by: None,
            // A child is an execution of its own when it is rerun; its tasks still know what it was for.
            origin: Origin {
                rerun_of: Some(of.0),
                from: by_name.then(|| from.stored().into()),
                token,
                trace: None,
                ..origin
            },
            by_engine: true,
            child: None,
        };
        let (mut submit, limit) = self.check(described, place, settings, Roots::Left, reply)?;
        let before = place.state().handles.workflows.version(&header.workflow).cloned();
        let new = Arc::get_mut(&mut submit.execution).expect("nobody else has it yet");
        let Some(workflow) = submit.workflow.as_deref() else {
            new.rerun = Some(Box::new(Rerun { audit: None, of, copied: Vec::new() }));
            return Ok((submit, limit));
        };
        let plan = rerun::plan(record, &new.tasks, workflow, before.as_deref(), from)
            .map_err(|misfit| misfit.into_error(of, tenant, &header.workflow.name, from))?;
        new.tasks = plan.tasks;
        new.rerun = Some(Box::new(Rerun { audit: None, of, copied: plan.copied }));
        Ok((submit, limit))
    }

    /// Records new executions of a place in one commit, in the background. Each reply is answered.
    pub(crate) fn record(self: &Arc<Self>, place: Arc<OpenPlace>, submits: Vec<Submit>) {
        let hub = Arc::clone(self);
        self.spawn(async move { hub.write_beside(place, submits).await });
    }

    async fn write_beside(self: Arc<Self>, place: Arc<OpenPlace>, submits: Vec<Submit>) {
        let mut parts = vec![submits];
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        while let Some(mut part) = parts.pop() {
            let active = place.state().check_active();
            if let Err(refusal) = active {
                for submit in part.extract_if(.., |submit| !submit.unsure) {
                    submit.reply.fail(Error::new(refusal.kind(), refusal.to_string()));
                }
            }
            if part.is_empty() {
                continue;
            }
            let executions: Vec<Arc<NewExecution>> =
                part.iter().map(|submit| Arc::clone(&submit.execution)).collect();
            self.rest.stir();
            let recorded = {
                let _turn = self.turn_in(&place).await;
                self.store.execution_record(&place.place, &executions, self.clock.database_now()).await
            };
            let error = match recorded {
                Ok(recorded) => {
                    self.apply_recorded(&place, part, recorded);
                    backoff.reset();
                    continue;
                }
                Err(error) => error,
            };
            match error.kind() {
                StoreErrorKind::Transient | StoreErrorKind::Busy | StoreErrorKind::Unknown => {
                    let unsure = error.kind() == StoreErrorKind::Unknown;
                    part.iter_mut().for_each(|submit| submit.unsure |= unsure);
                    let now = self.clock.monotonic();
                    let is_old =
                        |submit: &mut Submit| !submit.unsure && now.saturating_sub(submit.since) >= PATIENCE;
                    part.extract_if(.., is_old).for_each(|submit| refuse(submit, &error));
                    tokio::select! {
                        () = self.clock.sleep(backoff.next()) => {}
                        () = self.stop.cancelled() => return,
                    }
                    parts.push(part);
                }
                StoreErrorKind::Data if part.len() > 1 => {
                    let rest = part.split_off(part.len() / 2);
                    parts.extend([rest, part]);
                }
                _ => part.into_iter().for_each(|submit| refuse(submit, &error)),
            }
        }
    }

    fn apply_recorded(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        submits: Vec<Submit>,
        recorded: RecordedExecutions,
    ) {
        let RecordedExecutions { now, submitted, met, refused } = recorded;
        let (met, refused): (HashMap<_, _>, HashMap<_, _>) =
            (met.into_iter().collect(), refused.into_iter().collect());
        let tenant = &place.place.name;
        let mut batch = PlaceBatch::new(Arc::clone(place));
        for submit in submits {
            let id = submit.execution.id;
            if let Some(refusal) = refused.get(&id) {
                let error = refused_rerun(*refusal, &submit.execution, tenant);
                submit.reply.fail(error);
            } else if let Some(found) = met.get(&id).filter(|(found, _)| *found != id) {
                submit.reply.answer(same(tenant, &submit.execution, *found));
            } else {
                batch.submits.push(submit);
            }
        }
        let done = PlaceFlushed { submitted, ..PlaceFlushed::default() };
        let effects = place.state().apply(batch, done, self.moment(Some(now)));
        self.perform(place, None, effects);
        self.store.hint_others();
    }
}

fn refuse(submit: Submit, error: &StoreError) {
    let message = format!(
        "execution {} of workflow `{}` was not recorded in the place of tenant `{}`: {error}",
        submit.execution.id, submit.execution.workflow.name, submit.place.place.name
    );
    let kind = if error.kind() == StoreErrorKind::Data { ErrorKind::Context } else { error.kind().into() };
    submit.reply.fail(Error::new(kind, message).with_source(error.copy()));
}

fn refused_rerun(refusal: RerunRefusal, new: &NewExecution, tenant: &str) -> Error {
    let of = new.rerun.as_ref().map_or(ExecutionId(uuid::Uuid::nil()), |rerun| rerun.of);
    rerun_error(refusal, of, tenant)
}

/// Why an execution is not rerun.
fn rerun_error(refusal: RerunRefusal, of: ExecutionId, tenant: &str) -> Error {
    let (kind, message) = match refusal {
        RerunRefusal::NotFound => (
            ErrorKind::NotFound,
            format!("there is no execution {of} in the place of tenant `{tenant}`: it may have been deleted"),
        ),
        RerunRefusal::NotOver(status) => (
            ErrorKind::WrongState,
            format!(
                "execution {of} of tenant `{tenant}` is {status}, and only what is over can be rerun: cancel it before"
            ),
        ),
        RerunRefusal::Superseded(by) => (
            ErrorKind::WrongState,
            format!(
                "execution {of} of tenant `{tenant}` was rerun before, as execution {by}: rerun that one"
            ),
        ),
    };
    Error::new(kind, message)
}
