//! What changes, for whoever watches.
//!
//! Watchers of one tenant share one look at it, which is two queries: the pulses of all executions that
//! anybody watches, and the newest execution; and a third where somebody wants to know what is asked. The
//! looks of all tenants together are kept below [`QUERIES_PER_SECOND`], so open pages cost the database the
//! same however many they are; with many tenants watched at once each is looked at less often.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use cloacina::{Error, ErrorKind, ExecutionFilter};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use uuid::Uuid;

use crate::engine::Engine;

/// How long after a look the next one follows, if few tenants are watched.
const PAUSE: Duration = Duration::from_millis(800);

/// How many queries all looks make in a second at most.
const QUERIES_PER_SECOND: f64 = 5.0;

/// How many questions of a tenant are looked at.
const MOST_ASKED: usize = 200;

/// How many may watch at once.
const MOST_WATCHERS: usize = 1_000;

/// How many executions of a tenant are watched at once; those beyond are not.
const MOST_WATCHED: usize = 1_000;

/// How many changes a slow watcher may be behind.
const BEHIND: usize = 64;

/// What was seen.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// These are looked at from now on: whatever changes later is told. What was read before may be older.
    Watching(Arc<Looked>),
    /// These executions changed.
    Executions(Arc<HashSet<Uuid>>),
    /// There is a newer execution.
    Newer,
    /// Other questions wait for an answer than before.
    Asked,
    /// The tenant could not be looked at.
    Unknown,
}

/// What was looked at.
#[derive(Debug)]
pub(crate) struct Looked {
    executions: HashSet<Uuid>,
    /// Whether that is what people are asked as well.
    asked: bool,
}

/// All that is watched.
#[derive(Debug)]
pub(crate) struct Tails {
    tenants: Mutex<HashMap<String, Arc<Tail>>>,
    watchers: Arc<Semaphore>,
}

/// A tenant that is watched.
#[derive(Debug)]
struct Tail {
    watched: Mutex<HashMap<Uuid, usize>>,
    /// How many want to know what is asked.
    asking: AtomicUsize,
    changes: broadcast::Sender<Change>,
}

/// Somebody who watches.
#[derive(Debug)]
pub(crate) struct Watcher {
    tail: Arc<Tail>,
    ids: Vec<Uuid>,
    /// Whether it wants to know what is asked.
    asks: bool,
    /// Whether it was told that its executions are looked at.
    is_told: bool,
    changes: broadcast::Receiver<Change>,
    _permit: OwnedSemaphorePermit,
}

impl Tails {
    pub(crate) fn new() -> Self {
        Self { tenants: Mutex::default(), watchers: Arc::new(Semaphore::new(MOST_WATCHERS)) }
    }

    /// Watches these executions of a tenant, for newer ones and, if `asks`, for what people are asked.
    pub(crate) fn watch(
        self: &Arc<Self>,
        engine: &Engine,
        tenant: &str,
        ids: Vec<Uuid>,
        asks: bool,
    ) -> Result<Watcher, Error> {
        let permit = Arc::clone(&self.watchers).try_acquire_owned().map_err(|_| {
            let message = format!(
                "{MOST_WATCHERS} streams of events are open, the most: close some, or try again later"
            );
            Error::new(ErrorKind::Limit, message)
        })?;
        let mut tenants = self.tenants.lock();
        let tail = tenants.entry(tenant.to_owned()).or_insert_with(|| {
            let (watched, asking) = (Mutex::default(), AtomicUsize::new(0));
            let tail = Arc::new(Tail { watched, asking, changes: broadcast::channel(BEHIND).0 });
            let (tails, engine, tenant) = (Arc::downgrade(self), engine.clone(), tenant.to_owned());
            tokio::spawn(follow(tails, Arc::clone(&tail), engine, tenant));
            tail
        });
        let mut watched = tail.watched.lock();
        for id in &ids {
            *watched.entry(*id).or_default() += 1;
        }
        drop(watched);
        tail.asking.fetch_add(usize::from(asks), Ordering::Relaxed);
        let changes = tail.changes.subscribe();
        Ok(Watcher { tail: Arc::clone(tail), ids, asks, is_told: false, changes, _permit: permit })
    }

    /// How long a look has to wait, so that all of them are not too many.
    fn pause(&self) -> Duration {
        let queries: usize = self.tenants.lock().values().map(|tail| tail.queries()).sum();
        let share = Duration::from_secs_f64(queries as f64 / QUERIES_PER_SECOND);
        PAUSE.max(share)
    }

    /// Forgets a tenant that nobody watches.
    fn forget(&self, tenant: &str) -> bool {
        let mut tenants = self.tenants.lock();
        let is_idle = tenants.get(tenant).is_none_or(|tail| tail.changes.receiver_count() == 0);
        if is_idle {
            tenants.remove(tenant);
        }
        is_idle
    }
}

impl Tail {
    fn is_asked(&self) -> bool {
        self.asking.load(Ordering::Relaxed) > 0
    }

    /// How many queries a look is.
    fn queries(&self) -> usize {
        2 + usize::from(self.is_asked())
    }
}

impl Watcher {
    /// The next thing that concerns this watcher. The first is that it is watching.
    pub(crate) async fn next(&mut self) -> Option<Change> {
        loop {
            match self.changes.recv().await {
                Ok(Change::Watching(looked)) => {
                    // A look that began before does not know them.
                    let knows = |id| looked.executions.contains(id);
                    if !self.is_told && self.ids.iter().all(knows) && (looked.asked || !self.asks) {
                        self.is_told = true;
                        return Some(Change::Watching(looked));
                    }
                }
                Ok(Change::Executions(changed)) => {
                    let mine: HashSet<Uuid> =
                        self.ids.iter().copied().filter(|id| changed.contains(id)).collect();
                    if !mine.is_empty() {
                        return Some(Change::Executions(Arc::new(mine)));
                    }
                }
                Ok(Change::Asked) if !self.asks => {}
                Ok(change) => return Some(change),
                // What was missed may have been about any of them.
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    return Some(Change::Executions(Arc::new(self.ids.iter().copied().collect())));
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.tail.asking.fetch_sub(usize::from(self.asks), Ordering::Relaxed);
        let mut watched = self.tail.watched.lock();
        for id in &self.ids {
            if let Some(count) = watched.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    watched.remove(id);
                }
            }
        }
    }
}

/// Looks at a tenant again and again, as long as anybody watches it.
async fn follow(tails: Weak<Tails>, tail: Arc<Tail>, engine: Engine, tenant: String) {
    let mut seen: HashMap<Uuid, u64> = HashMap::new();
    let mut newest = None;
    let mut asked = None;
    let mut is_first = true;
    loop {
        let watched: Vec<Uuid> = tail.watched.lock().keys().copied().take(MOST_WATCHED).collect();
        match look(&engine, &tenant, &watched, tail.is_asked()).await {
            Ok(Look { pulses, newest: last, asked: asks }) => {
                let is_new = |(id, pulse): &&(Uuid, u64)| seen.get(id).is_some_and(|known| known != pulse);
                let changed: HashSet<Uuid> = pulses.iter().filter(is_new).map(|(id, _)| *id).collect();
                if !changed.is_empty() {
                    _ = tail.changes.send(Change::Executions(Arc::new(changed)));
                }
                seen = pulses.into_iter().collect();
                if !is_first && last != newest {
                    _ = tail.changes.send(Change::Newer);
                }
                (newest, is_first) = (last, false);
                if asked.is_some() && asks.is_some() && asks != asked {
                    _ = tail.changes.send(Change::Asked);
                }
                asked = asks;
                let looked = Looked { executions: watched.into_iter().collect(), asked: asked.is_some() };
                _ = tail.changes.send(Change::Watching(Arc::new(looked)));
            }
            Err(error) => {
                tracing::debug!(%error, tenant, "a tenant that is watched could not be looked at");
                _ = tail.changes.send(Change::Unknown);
            }
        }
        let Some(pause) = tails.upgrade().map(|tails| tails.pause()) else { return };
        tokio::time::sleep(pause).await;
        if tail.changes.receiver_count() == 0 && tails.upgrade().is_none_or(|tails| tails.forget(&tenant)) {
            return;
        }
    }
}

/// What is seen at once.
struct Look {
    pulses: Vec<(Uuid, u64)>,
    newest: Option<Uuid>,
    /// The executions that ask, with the ids of their waits, if somebody wants to know that.
    asked: Option<Vec<(Uuid, String)>>,
}

async fn look(engine: &Engine, tenant: &str, watched: &[Uuid], asks: bool) -> Result<Look, Error> {
    let runner = engine.runner(tenant).await?;
    let pulses = if watched.is_empty() { Vec::new() } else { runner.pulse(watched).await? };
    let newest = runner.list(ExecutionFilter::all(), None, 1).await?;
    let newest = newest.first().map(|execution| execution.execution_id);
    let asked = match asks {
        true => {
            let inbox = runner.inbox(None, MOST_ASKED).await?.into_iter();
            Some(inbox.map(|wait| (wait.execution_id, wait.wait)).collect())
        }
        false => None,
    };
    Ok(Look { pulses, newest, asked })
}
