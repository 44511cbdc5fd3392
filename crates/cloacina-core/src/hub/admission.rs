//! How many executions of a tenant may be under way, and how many may wait.
//!
//! The [estimate](super::place::Queue) decides while it is below the limit, which costs nothing. When it
//! reaches the limit the database is asked again, once for all who wait for the answer, and it stops counting
//! at the limit.
//!
//! What is on its way counts as recorded, so one process never passes the limit, however many submit at once.
//! Of other processes it learns when it asks, at least once a second while it submits: several may together
//! pass it by what the others submit in a second.
//!
//! Of those that wait the same is done, for workflows that have waits. One that was just submitted counts as
//! waiting until they are counted anew.

use std::sync::Arc;

use super::place::{Admitted, Counted, OpenPlace, Queue};
use super::shared::Hub;
use super::transition::{Submit, Transition};
use crate::error::{Error, ErrorKind};
use crate::store::{NewExecution, StoreError, StoreErrorKind};

/// How many executions of a tenant there may be, where it matters for a new one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// That are not over, and do not wait.
    pub(crate) open: Option<usize>,
    /// That wait.
    pub(crate) waiting: Option<usize>,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    Open,
    Waiting,
}

impl Room {
    /// It does not matter how many there are.
    pub(crate) const ENDLESS: Self = Self { open: None, waiting: None };

    fn limits(self) -> impl Iterator<Item = (Count, usize)> {
        let open = self.open.map(|limit| (Count::Open, limit));
        open.into_iter().chain(self.waiting.map(|limit| (Count::Waiting, limit)))
    }

    fn is_endless(self) -> bool {
        self.open.is_none() && self.waiting.is_none()
    }
}

impl Count {
    fn of(self, place: &OpenPlace) -> &Arc<Queue> {
        match self {
            Self::Open => &place.queue,
            Self::Waiting => &place.waiting,
        }
    }
}

impl Hub {
    /// Sends a new execution on its way, unless there are as many of its tenant as there may be.
    pub(crate) fn admit(self: &Arc<Self>, mut submit: Box<Submit>, room: Room) {
        if room.is_endless() {
            return self.send(Transition::Submit(submit));
        }
        submit.admitted = self.admit_now(&submit.place, room);
        if submit.admitted.is_some() {
            return self.send(Transition::Submit(submit));
        }
        let hub = Arc::clone(self);
        self.spawn(async move {
            match hub.admit_asking(&submit.place, &submit.execution, room).await {
                Ok(admitted) => {
                    submit.admitted = Some(admitted);
                    hub.send(Transition::Submit(submit));
                }
                Err(error) => submit.reply.fail(error),
            }
        });
    }

    /// Counts a new execution, unless there are as many of its tenant as there may be.
    pub(crate) async fn admitted(self: &Arc<Self>, mut submit: Submit, room: Room) -> Result<Submit, Error> {
        if room.is_endless() {
            return Ok(submit);
        }
        submit.admitted = self.admit_now(&submit.place, room);
        if submit.admitted.is_none() {
            let (hub, place) = (Arc::clone(self), Arc::clone(&submit.place));
            let execution = Arc::clone(&submit.execution);
            let asked =
                self.store.runtime().spawn(async move { hub.admit_asking(&place, &execution, room).await });
            let answered = asked.await.unwrap_or_else(|error| {
                Err(StoreError::new(StoreErrorKind::Internal, error.to_string()).into())
            });
            submit.admitted = Some(answered?);
        }
        Ok(submit)
    }

    /// Counts a new execution, if by what is known there is room.
    fn admit_now(self: &Arc<Self>, place: &Arc<OpenPlace>, room: Room) -> Option<Admitted> {
        let of = |(what, limit): (Count, usize)| {
            let (counted, recounts) = what.of(place).admit(limit, self.clock.monotonic());
            if recounts {
                let (hub, place) = (Arc::clone(self), Arc::clone(place));
                self.spawn(async move {
                    place.troubles.counting.note(place.whose(), &hub.count(&place, what, limit).await);
                    what.of(&place).recounted();
                });
            }
            counted
        };
        room.limits().map(of).collect::<Option<Vec<_>>>().map(Admitted)
    }

    /// Asks the database before it decides.
    async fn admit_asking(
        &self,
        place: &Arc<OpenPlace>,
        execution: &NewExecution,
        room: Room,
    ) -> Result<Admitted, Error> {
        let mut all = Vec::with_capacity(2);
        for (what, limit) in room.limits() {
            all.push(self.count_asking(place, execution, what, limit).await?);
        }
        Ok(Admitted(all))
    }

    async fn count_asking(
        &self,
        place: &Arc<OpenPlace>,
        execution: &NewExecution,
        what: Count,
        limit: usize,
    ) -> Result<Counted, Error> {
        let queue = what.of(place);
        let _one_at_a_time = queue.turn().await;
        if let Some(counted) = queue.try_admit(limit) {
            return Ok(counted);
        }
        if !queue.is_fresh(self.clock.monotonic()) {
            self.count(place, what, limit).await?;
            if let Some(counted) = queue.try_admit(limit) {
                return Ok(counted);
            }
        }
        let (reason, todo) = match what {
            Count::Open => ("under way (max_queue_length)", "have ended"),
            Count::Waiting => ("that wait (max_waiting)", "wait no longer"),
        };
        let message = format!(
            "execution {} of workflow `{}` was not recorded: tenant `{}` may have {limit} {reason}, and has them; submit it again when some \
             {todo}, or raise the limit",
            execution.id, execution.workflow.name, place.place.name
        );
        Err(Error::new(ErrorKind::Limit, message))
    }

    async fn count(&self, place: &Arc<OpenPlace>, what: Count, limit: usize) -> Result<(), StoreError> {
        let _turn = self.turn_in(place).await;
        let queue = what.of(place);
        let before = queue.begin_count();
        let counted = match what {
            Count::Open => self.store.execution_count(&place.place, limit).await?,
            Count::Waiting => self.store.execution_waiting(&place.place, limit).await?,
        };
        queue.end_count(&before, counted, self.clock.monotonic());
        Ok(())
    }
}
