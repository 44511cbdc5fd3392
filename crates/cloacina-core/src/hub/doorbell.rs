//! The doorbell: which tenants have work due, and what was decided about executions and tenants elsewhere.

use std::sync::Arc;
use std::time::Duration;

use super::rest::Quiet;
use super::shared::{Audit, Hub};

/// How often the doorbell is looked at when nobody hints.
const BELL: Duration = Duration::from_secs(1);

/// For how long a notice is told at least.
const NOTICED: Duration = Duration::from_secs(8);

impl Hub {
    /// Asks the doorbell once a second, and whenever somebody hints that it rang.
    pub(super) async fn ring_bells(self: Arc<Self>) {
        let mut hints = self.store.hints();
        let mut looked = self.clock.monotonic();
        let mut quiet = Quiet::default();
        loop {
            let hint = async {
                if hints.changed().await.is_err() {
                    // This store does not hint.
                    std::future::pending::<()>().await;
                }
            };
            let awake = self.rest.is_awake();
            let pressed = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = hint => {
                    self.rest.awaken();
                    false
                }
                () = self.bells_wanted.woken() => false,
                () = self.store.pressed(), if awake => true,
                () = self.clock.sleep(BELL), if awake => false,
            };
            if self.places().open.is_empty() {
                continue;
            }
            let rung = self.store.bell_due(self.clock.database_now()).await;
            self.troubles.bells.note(self.whose(), &rung);
            let Ok(bells) = rung else { continue };
            let now = self.clock.monotonic();
            if now.saturating_sub(std::mem::replace(&mut looked, now)) > NOTICED {
                // What was told in the meantime was missed.
                self.all_places().into_iter().for_each(|place| self.reread_status(place));
            }
            self.statuses_changed(&bells.changed);
            self.serve(&bells.due);
            let mut waiting = Vec::new();
            for due in bells.due {
                let place = self.open_place(due.tenant);
                if let Some(place) = place {
                    {
                        let mut state = place.state();
                        // A tenant with a login can keep a due row of its own locked: then its bell stays
                        // due, and it is looked at as often as the row is tried.
                        let is_locked =
                            state.standing.status.has_login && state.claiming.due_in(now) > Duration::ZERO;
                        // Looked at already, or looked at lately with nothing for us in it.
                        if is_locked
                            || state.claiming.has_backlog()
                            || state.claiming.under_way
                            || state.claiming.patience.is_some()
                        {
                            drop(state);
                            waiting.push(place);
                            continue;
                        }
                        state.claiming.note_any();
                    }
                    self.look(&place);
                }
            }
            self.look_without_slots(waiting);
            for (tenant, execution) in bells.notices {
                let place = self.open_place(tenant);
                if let Some(place) = place {
                    let concerned = {
                        let state = place.state();
                        state.work.live.contains_key(&execution) || state.waiters.contains(execution)
                    };
                    if concerned {
                        self.request_audit(Audit::Execution(place, execution));
                    }
                }
            }
            if self.store.rests() {
                self.rest_if_quiet(&mut quiet, pressed).await;
            }
        }
    }
}
