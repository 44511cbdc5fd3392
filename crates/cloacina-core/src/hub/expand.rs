//! Gives executions their tasks that were submitted by name, in a process that did not have the code.

use std::sync::Arc;

use super::place::OpenPlace;
use super::shared::Hub;
use crate::context::values_from_json;
use crate::error::Error;
use crate::id::ExecutionId;
use crate::origin::taken_out;
use crate::rerun::{self, From};
use crate::store::{Control, Expansion, NewExecution, Rerun, StoreError};

/// How many executions are expanded in one transaction, and how many tasks they have then at most, unless one
/// has more.
const AT_ONCE: (usize, usize) = (256, 10_000);

impl Hub {
    /// Expands what is due in a place. It needs no slot: the tasks go to the ready table. Whether that is
    /// under way now.
    pub(super) fn expand(self: &Arc<Self>, place: &Arc<OpenPlace>) -> bool {
        let expansions = {
            let mut state = place.state();
            if state.claiming.expanding {
                return true;
            }
            if !state.may_expand() {
                return false;
            }
            let expansions = state.expansions();
            state.claiming.expanding = !expansions.is_empty();
            expansions
        };
        if expansions.is_empty() {
            return false;
        }
        self.spawn(Arc::clone(self).expand_all(Arc::clone(place), expansions.into()));
        true
    }

    async fn expand_all(self: Arc<Self>, place: Arc<OpenPlace>, expansions: Arc<[Expansion]>) {
        let most = expansions.iter().map(|expansion| expansion.tasks.len()).max().unwrap_or_default();
        let limit = (AT_ONCE.1 / most.max(1)).clamp(1, AT_ONCE.0);
        let mut any = false;
        while place.state().may_expand() {
            let (store, inner, now) =
                (Arc::clone(&self.store), Arc::clone(&place.place), self.clock.database_now());
            let known = Arc::clone(&expansions);
            let answer = {
                let _turn = self.turn_in(&place).await;
                self.ask(async move { store.execution_expand(&inner, &known, limit, now).await }).await
            };
            place.troubles.expanding.note(place.whose(), &answer);
            // What was not expanded now is seen by the next look.
            let expanded = answer.unwrap_or_default();
            let mut done = expanded.executions;
            for rerun in &expanded.reruns {
                let answer = self.expand_rerun(&place, *rerun, &expansions).await;
                place.troubles.expanding.note(place.whose(), &answer);
                done += usize::from(answer.unwrap_or_default());
            }
            any |= done > 0;
            if done > 0 {
                place.state().claiming.note_any();
                self.look(&place);
            }
            // Reruns of which nothing came would be met again at once.
            if done == 0 || expanded.executions + expanded.reruns.len() < limit {
                break;
            }
        }
        place.state().claiming.expanding = false;
        if !any {
            // What is due may be of workflows that nobody has.
            self.look_for_orphans(&place);
        }
    }

    /// Works out what a rerun copies and what it runs again, and gives it these tasks. One that cannot be is
    /// cancelled, with the reason. False if somebody else did it.
    async fn expand_rerun(
        self: &Arc<Self>,
        place: &Arc<OpenPlace>,
        id: ExecutionId,
        expansions: &Arc<[Expansion]>,
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
