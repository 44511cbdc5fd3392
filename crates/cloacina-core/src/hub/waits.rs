//! Looks after the waits of executions: decides what becomes of those that are due.
//!
//! It needs no slot, and no task of the execution has to be known here. What is freed by the end of a wait
//! goes to the ready table.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use tracing::warn;

use super::children::begun;
use super::node::{Ends, Known};
use super::place::OpenPlace;
use super::shared::{Audit, Hub};
use crate::execution::ExecutionStatus;
use crate::id::ExecutionId;
use crate::meters::count_ended;
use crate::store::{
    DueWait, DueWaits, MANY, Place, SettledWaits, Store, StoreError, StoreErrorKind, WaitCursor, WaitStep,
};

impl Hub {
    /// Settles the waits of a place that are due. Returns how many due rows that took away.
    pub(super) async fn settle_all_waits(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
    ) -> Result<usize, StoreError> {
        let (mut settled, mut after) = (0, None);
        loop {
            let workflows = {
                let state = place.state();
                if !state.may_expand() {
                    return Ok(settled);
                }
                Arc::clone(state.claimable())
            };
            let _turn = self.turn_in(place).await;
            let (store, inner, now) = self.asked_for(place);
            let looked =
                self.ask(async move { store.wait_due(&inner, &workflows, after.as_ref(), MANY, now).await });
            let DueWaits { now, waits, void, next } = looked.await?;
            let steps = self.decide(place, waits, now).await?;
            if !steps.is_empty() || !void.is_empty() {
                let done = match self.settle_steps(place, &steps, void).await {
                    Err(error) if error.kind() == StoreErrorKind::Data && steps.len() > 1 => {
                        self.settle_each(place, &steps).await?
                    }
                    done => done?,
                };
                settled += done.done + done.voided;
                if done.voided > 0 {
                    let rows = done.voided;
                    warn!(
                        tenant = place.place.name,
                        rows, "due rows are left out, because nothing waits there"
                    );
                }
                let starts =
                    |step: &WaitStep| matches!(step, WaitStep::Begin(begin) if begin.children.is_some());
                if steps.iter().any(starts) {
                    self.look_for_children(place);
                }
                self.settled_waits(place, done);
            }
            let Some(next) = next else { return Ok(settled) };
            after = Some(next);
        }
    }

    async fn settle_steps(
        &self,
        place: &OpenPlace,
        steps: &Arc<[WaitStep]>,
        void: Vec<WaitCursor>,
    ) -> Result<SettledWaits, StoreError> {
        let (store, inner, now) = self.asked_for(place);
        let steps = Arc::clone(steps);
        self.ask(async move { store.wait_settle(&inner, &steps, &void, now).await }).await
    }

    /// Settles waits one by one, because the database refused something about one of them.
    async fn settle_each(&self, place: &OpenPlace, steps: &[WaitStep]) -> Result<SettledWaits, StoreError> {
        let mut all = SettledWaits::default();
        for step in steps {
            match self.settle_steps(place, &[step.clone()].into(), Vec::new()).await {
                Ok(done) => all.absorb(done),
                Err(error) if error.kind() == StoreErrorKind::Data => {
                    let (tenant, execution) = (&place.place.name, step.execution());
                    warn!(tenant, %execution, node = step.node(), %error, "a wait cannot be settled");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    pub(super) fn asked_for(&self, place: &OpenPlace) -> (Arc<dyn Store>, Arc<Place>, Option<Timestamp>) {
        (Arc::clone(&self.store), Arc::clone(&place.place), self.clock.database_now())
    }

    /// Decides what becomes of waits.
    async fn decide(
        &self,
        place: &OpenPlace,
        waits: Vec<DueWait>,
        now: Timestamp,
    ) -> Result<Arc<[WaitStep]>, StoreError> {
        let known = Arc::clone(&place.state().handles.workflows);
        let of = |wait: DueWait| {
            let workflow = Arc::clone(known.version(&wait.workflow)?);
            Known::new(wait, workflow)
        };
        let waits: Vec<Known> = waits.into_iter().filter_map(of).collect();
        let asks = waits.iter().filter(|known| known.asks()).map(|known| known.execution());
        let asks: Vec<ExecutionId> = asks.collect::<BTreeSet<_>>().into_iter().collect();
        let ends = self.ends_of(place, asks).await?;
        let none = Ends::new();
        let step = |known: &Known| known.step(ends.get(&known.execution()).unwrap_or(&none), now);
        let steps: Vec<_> = waits.iter().filter_map(|known| Some((known, step(known)?))).collect();
        let begins =
            |known: &Known, step: &WaitStep| known.children().is_some() && matches!(step, WaitStep::Begin(_));
        let starting = steps.iter().filter(|(known, step)| begins(known, step)).map(|(known, _)| (*known, 0));
        let items = self.items_of(place, starting).await?;
        let steps = steps.into_iter().filter_map(|(known, step)| match begins(known, &step) {
            // One whose list was not read is for the next look.
            true => begun(known, items.get(&(known.execution(), known.node()))?),
            false => Some(step),
        });
        Ok(steps.collect())
    }

    pub(super) fn settled_waits(self: &Arc<Self>, place: &Arc<OpenPlace>, done: SettledWaits) {
        if done.done > 0 {
            // What was freed waits in the ready table.
            place.state().claiming.note_any();
            self.look(place);
        }
        place.queue.left(done.closed.len());
        let mut failed = Vec::new();
        for closed in done.closed {
            count_ended(closed.status, 1);
            if closed.status == ExecutionStatus::Failed {
                failed.push(closed.execution);
            }
            self.request_audit(Audit::Execution(Arc::clone(place), closed.execution));
        }
        if !failed.is_empty() {
            // What they start.
            self.lower(Arc::clone(place));
            self.spawn(Arc::clone(self).say_failures(Arc::clone(place), failed));
        }
        if !done.submitters.is_empty() {
            self.store.tell(&done.submitters);
        }
    }
}
