//! Gives executions their tasks that were submitted by name, in a process that did not have the code.

use std::sync::Arc;

use super::place::OpenPlace;
use super::shared::Hub;
use crate::context::values_from_json;
use crate::error::Error;
use crate::id::ExecutionId;
use crate::origin::taken_out;
use crate::rerun::{self, From};
use crate::store::{Control, Expanded, Expansion, NewExecution, Rerun, StoreError};

/// How many executions are expanded in one transaction, and how many tasks they have then at most, unless one
/// has more.
const AT_ONCE: (usize, usize) = (256, 10_000);

/// How many executions of each place are expanded where several share a transaction. A place with more has
/// one of its own for the others.
const OF_EACH: usize = 10;

impl Hub {
    /// Expands what is due in a place. It needs no slot: the tasks go to the ready table. Whether that is
    /// under way now.
    pub(super) fn expand(self: &Arc<Self>, place: &Arc<OpenPlace>) -> bool {
        {
            let mut state = place.state();
            if state.claiming.expanding {
                return true;
            }
            if !state.may_expand() || state.expandable().next().is_none() {
                return false;
            }
            state.claiming.expanding = true;
        }
        if !place.place.shared {
            self.spawn(Arc::clone(self).expand_alone(Arc::clone(place), false));
        } else if self.expanding.add(Arc::clone(place)) {
            self.spawn(Arc::clone(self).expand_together());
        }
        true
    }

    /// Places that share tables are expanded together: while some are, others gather.
    async fn expand_together(self: Arc<Self>) {
        loop {
            let places = self.expanding.next();
            if places.is_empty() {
                return;
            }
            let answer = self.expand_some(&places, OF_EACH).await;
            for (at, place) in places.into_iter().enumerate() {
                match answer.as_ref().map(|(limit, expanded)| (*limit, &expanded[at])) {
                    Ok((limit, Expanded { executions, reruns })) => {
                        let any = *executions > 0;
                        if any {
                            self.expanded(&place);
                        }
                        if reruns.is_empty() && *executions < limit {
                            self.end_expanding(&place, any);
                        } else {
                            self.spawn(Arc::clone(&self).expand_alone(place, any));
                        }
                    }
                    // One of them may be in trouble, and keeps the others waiting no longer.
                    Err(_) => self.spawn(Arc::clone(&self).expand_alone(place, false)),
                }
            }
        }
    }

    /// Expands all that is due in a place. `any` is whether something was before.
    async fn expand_alone(self: Arc<Self>, place: Arc<OpenPlace>, mut any: bool) {
        while place.state().may_expand() {
            let answer = {
                let _turn = self.turn_in(&place).await;
                self.expand_some(std::slice::from_ref(&place), AT_ONCE.0).await
            };
            place.troubles.expanding.note(place.whose(), &answer);
            // What was not expanded now is seen by the next look.
            let Ok((limit, mut expanded)) = answer else { break };
            let Expanded { executions, reruns } = expanded.pop().unwrap_or_default();
            let mut done = executions;
            if !reruns.is_empty() {
                let expansions = place.state().expansions();
                for rerun in &reruns {
                    let answer = self.expand_rerun(&place, *rerun, &expansions).await;
                    place.troubles.expanding.note(place.whose(), &answer);
                    done += usize::from(answer.unwrap_or_default());
                }
            }
            any |= done > 0;
            if done > 0 {
                self.expanded(&place);
            }
            // Reruns of which nothing came would be met again at once.
            if done == 0 || executions + reruns.len() < limit {
                break;
            }
        }
        self.end_expanding(&place, any);
    }

    /// There are tasks to be claimed.
    fn expanded(&self, place: &Arc<OpenPlace>) {
        place.state().claiming.note_any();
        self.look(place);
    }

    /// Expands at most `most` executions of each of these places, in one transaction. How many of each it may
    /// have been, and what came of it.
    async fn expand_some(
        &self,
        places: &[Arc<OpenPlace>],
        most: usize,
    ) -> Result<(usize, Vec<Expanded>), StoreError> {
        let expanding: Vec<(_, Arc<[Expansion]>)> = places
            .iter()
            .map(|place| {
                let state = place.state();
                let expansions = if state.may_expand() { state.expansions() } else { Vec::new() };
                (Arc::clone(&place.place), expansions.into())
            })
            .collect();
        let tasks = expanding.iter().flat_map(|(_, expansions)| expansions.iter());
        let longest = tasks.map(|expansion| expansion.tasks.len()).max().unwrap_or_default();
        let limit = (AT_ONCE.1 / longest.max(1) / places.len().max(1)).clamp(1, most);
        let (store, now) = (Arc::clone(&self.store), self.clock.database_now());
        let expanded = self.ask(async move { store.execution_expand(&expanding, limit, now).await }).await?;
        Ok((limit, expanded))
    }

    /// `any` is whether something has tasks now.
    fn end_expanding(self: &Arc<Self>, place: &Arc<OpenPlace>, any: bool) {
        place.state().claiming.expanding = false;
        if !any {
            // What is due may be of workflows that nobody has.
            self.look_for_orphans(place);
        }
    }

    /// Works out what a rerun copies and what it runs again, and gives it these tasks. One that cannot be is
    /// cancelled, with the reason. False if somebody else did it.
    async fn expand_rerun(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        id: ExecutionId,
        expansions: &[Expansion],
    ) -> Result<bool, StoreError> {
        let (store, inner, now) =
            (Arc::clone(&self.store), Arc::clone(&place.place), self.clock.database_now());
        let planned = match self.load_one(place, id).await? {
            None => return Ok(false),
            Some(new) => {
                let origin =
                    values_from_json(&new.input).map(|values| taken_out(values).1).unwrap_or_default();
                let old = match origin.rerun_of.or(new.header.rerun_of.map(|of| of.0)) {
                    Some(of) => self.load_one(place, ExecutionId(of)).await?,
                    None => None,
                };
                let from = origin.from.as_deref().and_then(From::of_stored).unwrap_or(From::Failed);
                planned(place, &new.header.workflow.name, id, old.as_ref(), from, expansions)
            }
        };
        let _turn = self.turn_in(place).await;
        match planned {
            Ok(Some(new)) => {
                let new = Arc::new(new);
                self.ask(async move { store.execution_expand_rerun(&inner, &new, now).await }).await
            }
            Ok(None) => Ok(false),
            Err(error) => {
                let control = Control::Cancel { reason: error.to_string() };
                self.ask(async move { store.execution_control(&inner, id, control, None, now).await })
                    .await?;
                tracing::warn!(tenant = place.place.name, execution = %id, %error, "a rerun was cancelled");
                Ok(true)
            }
        }
    }

    async fn load_one(
        &self,
        place: &Arc<OpenPlace>,
        id: ExecutionId,
    ) -> Result<Option<crate::store::ExecutionRecord>, StoreError> {
        let (store, inner) = (Arc::clone(&self.store), Arc::clone(&place.place));
        Ok(self.ask(async move { store.execution_load(&inner, &[id]).await }).await?.pop())
    }
}

/// What a rerun becomes; `None` if this process does not have its workflow any more.
fn planned(
    place: &OpenPlace,
    name: &str,
    id: ExecutionId,
    old: Option<&crate::store::ExecutionRecord>,
    from: From<'_>,
    expansions: &[Expansion],
) -> Result<Option<NewExecution>, Error> {
    let Some(expansion) = expansions.iter().find(|expansion| &*expansion.workflow.name == name) else {
        return Ok(None);
    };
    let (workflow, before) = {
        let state = place.state();
        let workflows = &state.handles.workflows;
        let before = old.and_then(|old| workflows.version(&old.header.workflow)).cloned();
        (workflows.version(&expansion.workflow).cloned(), before)
    };
    let Some(workflow) = workflow else { return Ok(None) };
    let mut new = NewExecution::expanding(id, expansion);
    let Some(old) = old else {
        if from == From::Start {
            return Ok(Some(new));
        }
        let message = "the execution whose place it takes was deleted before somebody with the code met this one: \
                       what completed there is not known";
        return Err(Error::new(crate::error::ErrorKind::NotFound, message));
    };
    let plan = rerun::plan(old, &new.tasks, &workflow, before.as_deref(), from)
        .map_err(|misfit| misfit.into_error(old.header.id, &place.place.name, name, from))?;
    new.tasks = plan.tasks;
    new.rerun = Some(Box::new(Rerun { of: old.header.id, copied: plan.copied, audit: None }));
    Ok(Some(new))
}
