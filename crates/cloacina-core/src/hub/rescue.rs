//! Watches over other runners, and takes back the work of those that died.
//!
//! The runner row decides who is alive, not a clock. A runner is declared dead if its heartbeat has stood
//! still for its whole lease while we could see the database all that time, so a database that was down kills
//! nobody; or at once if its process ran on this host and is provably gone.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{debug, info};

use super::place::Poll;
use super::shared::Hub;
use crate::id::{RunnerId, TenantId};
use crate::lease::ProcessIdentity;
use crate::store::{Liveness, RescuedPlace, RunnerRecord, StoreError};

/// How often other runners are looked at, at least.
const WATCH: Duration = Duration::from_secs(2);

impl Hub {
    /// Declares runners dead whose heartbeat stands still, and returns their work.
    pub(super) async fn watch_runners(self: Arc<Self>) {
        let here = ProcessIdentity::current();
        // For how long which heartbeat has been seen unchanged; emptied when the database could not be seen.
        let mut seen: HashMap<RunnerId, (i64, Duration)> = HashMap::new();
        let mut looked = self.clock.monotonic();
        let period = WATCH.min(self.heartbeat_interval);
        while self.tick(period).await {
            let me = self.incarnation().map(|incarnation| incarnation.id);
            if me.is_none() && !self.executes() {
                continue;
            }
            let listed = self.store.runner_list().await;
            self.troubles.runners.note(self.whose(), &listed);
            let Ok(runners) = listed else {
                seen.clear();
                continue;
            };
            let now = self.clock.monotonic();
            let unseen = now.saturating_sub(looked);
            looked = now;
            let mut others: Vec<RunnerRecord> =
                runners.into_iter().filter(|runner| Some(runner.id) != me).collect();
            // A tenant may keep whoever rescues its own runners waiting: these come last, and only until the
            // first that fails.
            others.sort_by_key(|runner| runner.tenant);
            let mut failed: HashSet<TenantId> = HashSet::new();
            seen.retain(|id, _| others.iter().any(|runner| runner.id == *id));
            self.note_alone(others.is_empty());
            for runner in others {
                // A look that took long counts little: the database, the network or this very process stood
                // still, and the heartbeat may be on its way as our question was. No single look declares
                // anybody dead.
                let counts = unseen.min(period * 3 / 2).min(runner.lease / 2);
                let stood = match seen.get(&runner.id) {
                    Some((beat, stood)) if *beat == runner.beat => *stood + counts,
                    _ => Duration::ZERO,
                };
                seen.insert(runner.id, (runner.beat, stood));
                if let Some(why) = Death::of(&runner, here.as_ref(), stood) {
                    if runner.tenant.is_some_and(|tenant| failed.contains(&tenant)) {
                        continue;
                    }
                    if !self.rescue(&runner, why).await {
                        failed.extend(runner.tenant);
                    }
                    // If it is still there the next attempt waits for another whole lease, unless it is dead
                    // already.
                    seen.remove(&runner.id);
                }
            }
        }
    }

    /// Notes whether no other runner was seen. What only we ran may run elsewhere now, or one that left has
    /// ended it: all that is waited for is asked for once more.
    pub(super) fn note_alone(self: &Arc<Self>, alone: bool) {
        if self.alone.swap(alone, Ordering::Relaxed) == alone {
            return;
        }
        let now = self.clock.monotonic();
        for place in self.all_places() {
            place.state().waiters.arm_everybody(Poll::now(now));
            self.ask_elsewhere(&place);
        }
    }

    /// Takes back what processes of this host that have ended left behind.
    pub(super) async fn rescue_the_provably_dead(self: Arc<Self>) -> Result<(), StoreError> {
        let Some(here) = ProcessIdentity::current() else { return Ok(()) };
        let store = Arc::clone(&self.store);
        let runners = self.ask(async move { store.runner_list().await }).await?;
        let me = self.incarnation().map(|incarnation| incarnation.id);
        self.note_alone(runners.iter().all(|runner| Some(runner.id) == me));
        let of = |runner: RunnerRecord| Some((Death::of(&runner, Some(&here), Duration::ZERO)?, runner));
        let mut gone: Vec<(Death, RunnerRecord)> = runners.into_iter().filter_map(of).collect();
        gone.sort_by_key(|(_, runner)| runner.tenant);
        let mut failed: HashSet<TenantId> = HashSet::new();
        for (why, runner) in gone {
            if runner.tenant.is_some_and(|tenant| failed.contains(&tenant)) {
                continue;
            }
            let (hub, tenant) = (Arc::clone(&self), runner.tenant);
            if !self.ask(async move { Ok(hub.rescue(&runner, why).await) }).await? {
                failed.extend(tenant);
            }
        }
        Ok(())
    }

    /// Declares a runner dead and returns its work. What fails is tried again by the next look at the
    /// runners; false then.
    async fn rescue(self: &Arc<Self>, runner: &RunnerRecord, why: Death) -> bool {
        let dead = match runner.liveness {
            Liveness::Dead => Ok(true),
            Liveness::Live => self.store.runner_condemn(runner.id, runner.beat).await,
        };
        match dead {
            Ok(true) => {}
            Ok(false) => return true,
            Err(_) => {
                self.troubles.rescue.note(self.whose(), &dead);
                return false;
            }
        }
        let rescued = self.store.runner_rescue(runner.id, self.clock.database_now()).await;
        self.troubles.rescue.note(self.whose(), &rescued);
        match rescued {
            Ok(rescued) => {
                self.say_rescued(runner, why, &rescued);
                for rescued in rescued {
                    let place = self.open_place(rescued.place.tenant);
                    if let Some(place) = place {
                        place.state().claiming.note_any();
                        self.look(&place);
                    }
                }
                true
            }
            Err(_) => false,
        }
    }

    fn say_rescued(&self, runner: &RunnerRecord, why: Death, rescued: &[RescuedPlace]) {
        let executions: usize = rescued.iter().map(|rescued| rescued.executions.len()).sum();
        let tasks: usize = rescued.iter().map(|rescued| rescued.tasks).sum();
        let (database, id, process) = (self.label(), runner.id, Whereabouts(runner));
        if tasks == 0 {
            // It held nothing, or somebody else was faster.
            debug!(database, runner = %id, "took back no tasks of a runner {process}, {why}");
            return;
        }
        let noun = if tasks == 1 { "task" } else { "tasks" };
        info!(database, runner = %id, tasks, executions, "took back {tasks} {noun} of a runner {process}, {why}");
    }
}

/// How it is known that a runner does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    /// Somebody has declared it dead.
    Declared,
    /// It ran on this host, and its process is not there.
    Gone,
    /// Its heartbeat was seen unchanged for this long, which is at least its lease.
    Silent(Duration),
}

impl Death {
    /// `None` of a runner that may live; `stood` is for how long its heartbeat was seen unchanged.
    fn of(runner: &RunnerRecord, here: Option<&ProcessIdentity>, stood: Duration) -> Option<Self> {
        match (runner.liveness, &runner.process, here) {
            (Liveness::Dead, ..) => Some(Self::Declared),
            (Liveness::Live, Some(process), Some(here)) if process.is_gone(here) => Some(Self::Gone),
            (Liveness::Live, ..) => {
                (!stood.is_zero() && stood >= runner.lease).then_some(Self::Silent(stood))
            }
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declared => f.write_str("which had been declared dead before"),
            Self::Gone => f.write_str("whose process is gone"),
            Self::Silent(stood) if stood.as_secs() == 0 => {
                write!(f, "whose heartbeat stood still for {} ms", stood.as_millis())
            }
            Self::Silent(stood) => write!(f, "whose heartbeat stood still for {} s", stood.as_secs()),
        }
    }
}

/// Where a runner runs, as far as it was recorded. A tenant writes the rows of its own runners itself.
struct Whereabouts<'a>(&'a RunnerRecord);

impl fmt::Display for Whereabouts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.host_name {
            Some(name) => write!(f, "on host {}", name.escape_debug())?,
            None => f.write_str("on a host of unknown name")?,
        }
        match &self.0.process {
            Some(process) => write!(f, ", pid {}", process.pid),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner(liveness: Liveness, process: Option<ProcessIdentity>) -> RunnerRecord {
        RunnerRecord {
            id: RunnerId::new(),
            tenant: None,
            liveness,
            beat: 7,
            lease: Duration::from_secs(30),
            process,
            host_name: Some("web-3".to_owned()),
            workflows: Vec::new(),
        }
    }

    #[test]
    fn the_reason_is_the_one_that_is_known() {
        let here = ProcessIdentity { host: "here".to_owned(), pid: 1, started: 0 };
        let nobody = ProcessIdentity { pid: i32::MAX, ..here.clone() };
        let elsewhere = ProcessIdentity { host: "there".to_owned(), ..nobody.clone() };
        let of = |liveness, process: &ProcessIdentity, seconds: u64| {
            let runner = runner(liveness, Some(process.clone()));
            let why = Death::of(&runner, Some(&here), Duration::from_millis(seconds * 1000 + 400));
            why.map(|why| format!("{}, {why}", Whereabouts(&runner)))
        };
        assert_eq!(of(Liveness::Live, &elsewhere, 29), None);
        let pid = i32::MAX;
        let expected = format!("on host web-3, pid {pid}, whose heartbeat stood still for 30 s");
        assert_eq!(of(Liveness::Live, &elsewhere, 30), Some(expected));
        let expected = format!("on host web-3, pid {pid}, which had been declared dead before");
        assert_eq!(of(Liveness::Dead, &elsewhere, 30), Some(expected));
        if cfg!(target_os = "linux") {
            let expected = format!("on host web-3, pid {pid}, whose process is gone");
            assert_eq!(of(Liveness::Live, &nobody, 0), Some(expected));
        }
    }

    #[test]
    fn a_runner_that_does_not_say_where_it_runs_is_on_an_unknown_host() {
        let silent = RunnerRecord { host_name: None, ..runner(Liveness::Live, None) };
        assert_eq!(Whereabouts(&silent).to_string(), "on a host of unknown name");
        let forged = RunnerRecord { host_name: Some("x\n\u{1b}[2J".to_owned()), ..silent };
        assert_eq!(Whereabouts(&forged).to_string(), "on host x\\n\\u{1b}[2J");
    }
}
