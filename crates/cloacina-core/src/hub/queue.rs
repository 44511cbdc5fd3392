//! How many executions of a tenant may be under way.
//!
//! No row counts them: the estimate is what the database said last, and what was submitted here since, less what ended here since.
//! While it is below the limit a submission costs nothing. When it reaches the limit the database is asked again, once for all who
//! wait for the answer, and it stops counting at the limit.
//!
//! What is on its way counts as recorded, so one process never passes the limit, however many submit at once. Of other processes it
//! learns when it asks, at least once a second while it submits: several may together pass it by what the others submit in a second.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::place::OpenPlace;
use super::{Hub, Submit, Transition};
use crate::error::{ErrorKind, PipelineError};
use crate::store::{NewExecution, StoreError};

/// How old an answer may become while executions are submitted.
const RECOUNT: Duration = Duration::from_secs(1);

/// How old an answer may be for a refusal.
const FRESH: Duration = Duration::from_millis(100);

/// What is known of the executions of a place that are not over.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    estimate: usize,
    /// When the database was asked last; `None` if never.
    counted: Option<Duration>,
    /// Whether it is being asked beside the submissions.
    counting: bool,
    /// Admitted and not known to be recorded.
    under_way: usize,
    /// How many were ever admitted.
    admitted: u64,
}

/// A new execution that counts. It no longer does if this is dropped before it is recorded.
#[derive(Debug)]
pub(crate) struct Admitted {
    place: Arc<OpenPlace>,
    recorded: bool,
}

impl Admitted {
    pub(crate) fn recorded(mut self) {
        self.recorded = true;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut queue = self.place.queue();
        queue.under_way -= 1;
        if !self.recorded {
            queue.estimate = queue.estimate.saturating_sub(1);
        }
    }
}

impl OpenPlace {
    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Executions ended.
    pub(crate) fn left_queue(&self, ended: usize) {
        let mut queue = self.queue();
        queue.estimate = queue.estimate.saturating_sub(ended);
    }

    fn try_admit(self: &Arc<Self>, queue: &mut Queue, limit: usize) -> Option<Admitted> {
        if queue.counted.is_none() || queue.estimate >= limit {
            return None;
        }
        queue.estimate += 1;
        queue.under_way += 1;
        queue.admitted += 1;
        Some(Admitted { place: Arc::clone(self), recorded: false })
    }
}

impl Hub {
    /// Sends a new execution on its way, unless there are `limit` of its tenant that are not over.
    pub(crate) fn admit(self: &Arc<Self>, mut submit: Box<Submit>, limit: Option<usize>) {
        let Some(limit) = limit else { return self.send(Transition::Submit(submit)) };
        submit.admitted = self.admit_now(&submit.place, limit);
        if submit.admitted.is_some() {
            return self.send(Transition::Submit(submit));
        }
        let hub = Arc::clone(self);
        self.spawn(async move {
            match hub.admit_asking(&submit.place, &submit.execution, limit).await {
                Ok(admitted) => {
                    submit.admitted = Some(admitted);
                    hub.send(Transition::Submit(submit));
                }
                Err(error) => submit.reply.fail(error),
            }
        });
    }

    /// Counts a new execution, if by what is known there are fewer than `limit`.
    pub(super) fn admit_now(self: &Arc<Self>, place: &Arc<OpenPlace>, limit: usize) -> Option<Admitted> {
        let now = self.clock.monotonic();
        let (admitted, old) = {
            let mut queue = place.queue();
            let admitted = place.try_admit(&mut queue, limit);
            let old = !queue.counting && queue.counted.is_some_and(|counted| now >= counted + RECOUNT);
            queue.counting |= old && admitted.is_some();
            (admitted, old)
        };
        if admitted.is_some() && old {
            let (hub, place) = (Arc::clone(self), Arc::clone(place));
            self.spawn(async move {
                place.troubles.counting.note(place.whose(), &hub.count(&place, limit).await);
                place.queue().counting = false;
            });
        }
        admitted
    }

    /// Asks the database before it decides.
    pub(super) async fn admit_asking(
        &self,
        place: &Arc<OpenPlace>,
        execution: &NewExecution,
        limit: usize,
    ) -> Result<Admitted, PipelineError> {
        let _one_at_a_time = place.counting.lock().await;
        let now = self.clock.monotonic();
        let (admitted, fresh) = {
            let mut queue = place.queue();
            let admitted = place.try_admit(&mut queue, limit);
            (admitted, queue.counted.is_some_and(|counted| now < counted + FRESH))
        };
        if let Some(admitted) = admitted {
            return Ok(admitted);
        }
        if !fresh {
            self.count(place, limit).await?;
            if let Some(admitted) = place.try_admit(&mut place.queue(), limit) {
                return Ok(admitted);
            }
        }
        let message = format!(
            "execution {} of workflow `{}` was not recorded: tenant `{}` has {limit} executions that are not over, as many as it may \
             (max_queue_length); submit it again when some have ended, or raise the limit",
            execution.id, execution.workflow.name, place.place.name
        );
        Err(PipelineError::new(ErrorKind::Limit, message))
    }

    async fn count(&self, place: &Arc<OpenPlace>, limit: usize) -> Result<(), StoreError> {
        let _turn = self.turn_in(place).await;
        let (under_way, admitted) = {
            let queue = place.queue();
            (queue.under_way, queue.admitted)
        };
        let counted = self.store.execution_count(&place.place, limit).await?;
        let now = self.clock.monotonic();
        let mut queue = place.queue();
        // What was under way may have been counted as well, and what ended in the meantime may not: the estimate errs on the safe side.
        let since = usize::try_from(queue.admitted - admitted).unwrap_or(usize::MAX);
        queue.estimate = counted.saturating_add(under_way).saturating_add(since);
        queue.counted = Some(now);
        Ok(())
    }
}
