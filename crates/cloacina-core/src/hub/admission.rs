//! How many executions of a tenant may be under way.
//!
//! The [estimate](super::place::Queue) decides while it is below the limit, which costs nothing. When it
//! reaches the limit the database is asked again, once for all who wait for the answer, and it stops counting
//! at the limit.
//!
//! What is on its way counts as recorded, so one process never passes the limit, however many submit at once.
//! Of other processes it learns when it asks, at least once a second while it submits: several may together
//! pass it by what the others submit in a second.

use std::sync::Arc;

use super::place::{Admitted, OpenPlace};
use super::shared::Hub;
use super::transition::{Submit, Transition};
use crate::error::{Error, ErrorKind};
use crate::store::{NewExecution, StoreError, StoreErrorKind};

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

    /// Counts a new execution, unless there are `limit` of its tenant that are not over.
    pub(crate) async fn admitted(
        self: &Arc<Self>,
        mut submit: Submit,
        limit: Option<usize>,
    ) -> Result<Submit, Error> {
        let Some(limit) = limit else { return Ok(submit) };
        submit.admitted = self.admit_now(&submit.place, limit);
        if submit.admitted.is_none() {
            let (hub, place) = (Arc::clone(self), Arc::clone(&submit.place));
            let execution = Arc::clone(&submit.execution);
            let asked =
                self.store.runtime().spawn(async move { hub.admit_asking(&place, &execution, limit).await });
            let answered = asked.await.unwrap_or_else(|error| {
                Err(StoreError::new(StoreErrorKind::Internal, error.to_string()).into())
            });
            submit.admitted = Some(answered?);
        }
        Ok(submit)
    }

    /// Counts a new execution, if by what is known there are fewer than `limit`.
    pub(super) fn admit_now(self: &Arc<Self>, place: &Arc<OpenPlace>, limit: usize) -> Option<Admitted> {
        let (admitted, recounts) = place.queue.admit(limit, self.clock.monotonic());
        if recounts {
            let (hub, place) = (Arc::clone(self), Arc::clone(place));
            self.spawn(async move {
                place.troubles.counting.note(place.whose(), &hub.count(&place, limit).await);
                place.queue.recounted();
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
    ) -> Result<Admitted, Error> {
        let _one_at_a_time = place.queue.turn().await;
        if let Some(admitted) = place.queue.try_admit(limit) {
            return Ok(admitted);
        }
        if !place.queue.is_fresh(self.clock.monotonic()) {
            self.count(place, limit).await?;
            if let Some(admitted) = place.queue.try_admit(limit) {
                return Ok(admitted);
            }
        }
        let message = format!(
            "execution {} of workflow `{}` was not recorded: tenant `{}` has {limit} executions that are not over, as many as it may \
             (max_queue_length); submit it again when some have ended, or raise the limit",
            execution.id, execution.workflow.name, place.place.name
        );
        Err(Error::new(ErrorKind::Limit, message))
    }

    async fn count(&self, place: &Arc<OpenPlace>, limit: usize) -> Result<(), StoreError> {
        let _turn = self.turn_in(place).await;
        let before = place.queue.begin_count();
        let counted = self.store.execution_count(&place.place, limit).await?;
        place.queue.end_count(&before, counted, self.clock.monotonic());
        Ok(())
    }
}
