//! Gives executions their tasks that were submitted by name, in a process that did not have the code.

use std::sync::Arc;

use super::place::OpenPlace;
use super::shared::Hub;
use crate::store::Expansion;

/// How many executions are expanded in one transaction, and how many tasks they have then at most, unless one
/// has more.
const AT_ONCE: (usize, usize) = (256, 10_000);

impl Hub {
    /// Expands what is due in a place. It needs no slot: the tasks go to the ready table.
    pub(super) fn expand(self: &Arc<Self>, place: &Arc<OpenPlace>) {
        let expansions = {
            let mut state = place.state();
            if state.claiming.expanding || !state.may_expand() {
                return;
            }
            let expansions = state.expansions();
            state.claiming.expanding = !expansions.is_empty();
            expansions
        };
        if !expansions.is_empty() {
            self.spawn(Arc::clone(self).expand_all(Arc::clone(place), expansions.into()));
        }
    }

    async fn expand_all(self: Arc<Self>, place: Arc<OpenPlace>, expansions: Arc<[Expansion]>) {
        let most = expansions.iter().map(|expansion| expansion.tasks.len()).max().unwrap_or_default();
        let limit = (AT_ONCE.1 / most.max(1)).clamp(1, AT_ONCE.0);
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
            if expanded > 0 {
                place.state().claiming.note_any();
                self.look(&place);
            }
            if expanded < limit {
                break;
            }
        }
        place.state().claiming.expanding = false;
    }
}
