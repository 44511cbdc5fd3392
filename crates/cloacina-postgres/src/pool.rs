//! The connections of a store: few, ours, and each only ever put away with its transaction closed.
//!
//! A connection can serve any use. What is limited is how many of each use are in use at once, so that none
//! can hold up another:
//!
//! | `max_connections` | lanes | with logins | the engine's own | its work in places | users' reads | in trouble | listens |
//! |---|---|---|---|---|---|---|---|
//! | 1, 2, 3 | 1 | 1 of these | 1 | 1 | 1 | 1 | none: bells are looked at once a second |
//! | 4 | 1 | 1 of these | 1 | 1 | 1 | 1 | 1 |
//! | 6 | 3 | 2 of these | 1 | 1 | 1 | 1 | 1 |
//! | 10 | 4 | 3 more | 1 | 2 | 2 | 1 | 1 |
//!
//! Lanes of tenants with logins are more than their connections and take turns. As long as there are 7
//! connections or fewer, they take turns with the other lanes too, since what flushes must leave one for work
//! in places. Where these are more than there are connections, they take turns in the order of the columns.
//! From 2 connections on, one is left for the engine's own calls, without which the runner would lose its
//! lease.
//!
//! The server may let us have fewer than that (`CONNECTION LIMIT` of the login or the database, or
//! `max_connections` of the server). Then those that there are serve all uses, and another one is asked for
//! now and then.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cloacina_core::backoff::Backoff;
use cloacina_core::store::{Result, StoreError, StoreErrorKind};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::address::PostgresAddress;
use crate::connect::{Backend, Connection, Refusal};
use crate::error::describe;
use crate::flight::Use;
use crate::statement::Login;

/// The connections that one listener needs, and the smallest number of all of them where there is one.
const LEAST_WITH_LISTENER: u32 = 4;
const LANES: u32 = 4;
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How many flushes of tenants with logins are under way at once at most.
const GUARDED: u32 = 3;

/// How long to get on with the connections that the server lets us have before another one is asked for.
const GROW_AFTER: Duration = Duration::from_secs(10);

/// How long a lane waits for a lock. Whoever works as we do holds one for a few milliseconds.
const LANE_PATIENCE: Duration = Duration::from_millis(50);

/// How long to wait for a connection before the caller is told.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Pool {
    pub(crate) address: PostgresAddress,
    tls: MakeRustlsConnect,
    lanes: Vec<Arc<Semaphore>>,
    /// The flushes of tenants with logins, and all flushes but those of places in trouble.
    guarded: Arc<Semaphore>,
    flushes: Arc<Semaphore>,
    flushes_at_once: u32,
    engine: Arc<Semaphore>,
    work: Arc<Semaphore>,
    aside: Arc<Semaphore>,
    read: Arc<Semaphore>,
    /// How many permits of `read` there are, taken or not.
    reads: AtomicUsize,
    state: Mutex<State>,
    /// Told when the listener has to give its connection up.
    few: Notify,
    trouble: Mutex<Option<Trouble>>,
    /// How long a lane waits for a lock.
    pub(crate) lane_patience: Duration,
    pub(crate) login: Login,
}

/// Which connections there are. Changed by whoever takes one or puts one back, for moments only.
struct State {
    /// How many there may be: what the options say.
    wanted: u32,
    /// How many there may be now: fewer where the server refused one.
    most: u32,
    /// When the server refused one last.
    refused: Option<Instant>,
    /// How many there are, those that are being made included.
    open: u32,
    /// How many of them are used for anything but the engine's own calls, the listener included.
    busy: u32,
    listens: bool,
    /// Those that nobody uses, with what they were used for last; the latest is the last.
    idle: Vec<(Use, Connection)>,
    /// Who waits for one, in the order in which they are served.
    waiting: BTreeMap<Turn, Arc<Notify>>,
    next_turn: u64,
    closed: bool,
}

/// The last attempt to connect failed; until `until` no other is made, so that a server that struggles is
/// left in peace.
struct Trouble {
    until: Instant,
    pause: Backoff,
    kind: StoreErrorKind,
    message: String,
}

/// Where somebody stands among those who wait: the rank of its use, and a number that rises.
type Turn = (u8, u64);

/// What to do to get a connection.
enum Next {
    Take(Box<Connection>),
    Dial,
    Wait,
}

impl Pool {
    pub(crate) fn new(
        address: PostgresAddress,
        tls: MakeRustlsConnect,
        max_connections: u32,
        login: Login,
    ) -> Self {
        let wanted = max_connections.max(1);
        let lanes = wanted.saturating_sub(3).clamp(1, LANES);
        let listener = u32::from(wanted >= LEAST_WITH_LISTENER);
        let rest = wanted.saturating_sub(lanes + listener + 1);
        Self::with(address, tls, (lanes, rest.div_ceil(2).max(1), (rest / 2).max(1)), wanted, login)
    }

    /// One without lanes and listener, for whoever flushes nothing.
    pub(crate) fn without_lanes(
        address: PostgresAddress,
        tls: MakeRustlsConnect,
        max_connections: u32,
    ) -> Self {
        let wanted = max_connections.max(1);
        Self::with(address, tls, (0, wanted, 1), wanted, Login::Operator)
    }

    fn with(
        address: PostgresAddress,
        tls: MakeRustlsConnect,
        (lanes, work, read): (u32, u32, u32),
        wanted: u32,
        login: Login,
    ) -> Self {
        let permits = |count: u32| Arc::new(Semaphore::new(count as usize));
        // One is left for work in places, the listener and the engine's own calls each.
        let more = wanted.saturating_sub(lanes + LEAST_WITH_LISTENER - 1).min(GUARDED);
        let flushes = lanes + more;
        Self {
            address,
            tls,
            lanes: (0..lanes).map(|_| permits(1)).collect(),
            guarded: permits(flushes.saturating_sub(1).clamp(1, GUARDED)),
            flushes: permits(flushes),
            flushes_at_once: flushes,
            engine: permits(1),
            work: permits(work),
            aside: permits(1),
            read: permits(read),
            reads: AtomicUsize::new(read as usize),
            state: Mutex::new(State {
                wanted,
                most: wanted,
                refused: None,
                open: 0,
                busy: 0,
                listens: false,
                idle: Vec::new(),
                waiting: BTreeMap::new(),
                next_turn: 0,
                closed: false,
            }),
            few: Notify::new(),
            trouble: Mutex::default(),
            lane_patience: LANE_PATIENCE,
            login,
        }
    }

    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// How many connections may be used for reads at once.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    /// Raises the number of connections; it is never lowered.
    pub(crate) fn ensure(&self, max_connections: u32) {
        let mut state = self.state();
        let more = max_connections.saturating_sub(state.wanted);
        if more == 0 {
            return;
        }
        state.wanted += more;
        if state.refused.is_none() {
            state.most = state.wanted;
        }
        self.work.add_permits(more.div_ceil(2) as usize);
        self.read.add_permits(more as usize / 2);
        self.reads.fetch_add(more as usize / 2, Ordering::Relaxed);
    }

    /// Takes over a connection that was made before the pool.
    pub(crate) fn adopt(&self, mut connection: Connection) {
        connection.login = self.login;
        let mut state = self.state();
        state.open += 1;
        state.idle.push((Use::Work, connection));
    }

    /// A connection, as soon as one may be used for this.
    pub(crate) async fn get(self: &Arc<Self>, wanted_for: Use) -> Result<Lent> {
        let permits = match wanted_for {
            Use::Engine => &self.engine,
            Use::Lane(lane) => self.lanes.get(lane).ok_or_else(|| {
                StoreError::new(StoreErrorKind::Internal, format!("there is no lane {lane}"))
            })?,
            Use::Guarded => &self.guarded,
            Use::Work | Use::Waits => &self.work,
            Use::Aside => &self.aside,
            Use::Read => &self.read,
        };
        let permit = Arc::clone(permits).acquire_owned().await.map_err(|_| closed())?;
        let flushes = match wanted_for {
            Use::Lane(_) | Use::Guarded => Some(Arc::clone(&self.flushes)),
            _ => None,
        };
        let flushing = match flushes {
            Some(flushes) => Some(flushes.acquire_owned().await.map_err(|_| closed())?),
            None => None,
        };
        let begun = Instant::now();
        let mut waiter = Waiter { pool: self, turn: None, woken: Arc::new(Notify::new()) };
        loop {
            let next = self.state().next(wanted_for, &mut waiter)?;
            let connection = match next {
                Next::Take(connection) => *connection,
                Next::Dial => {
                    // Counts as open and busy from here on, also if this future is dropped.
                    let place = Slot { pool: self, counted_for: wanted_for };
                    match self.dial_to(&self.address, |_| {}).await {
                        Ok(connection) => {
                            std::mem::forget(place);
                            connection
                        }
                        Err(Refusal::Full(error)) => {
                            drop(place);
                            if !self.make_do() || begun.elapsed() > PATIENCE {
                                return Err(self.full(&error));
                            }
                            continue;
                        }
                        Err(Refusal::Other(error)) => return Err(error),
                    }
                }
                Next::Wait => {
                    let left = PATIENCE.saturating_sub(begun.elapsed());
                    match tokio::time::timeout(left, waiter.woken.notified()).await {
                        Ok(()) => continue,
                        Err(_) => return Err(self.busy(wanted_for)),
                    }
                }
            };
            let mut lent = Lent {
                connection: Some(connection),
                wanted_for,
                pool: Arc::clone(self),
                _permits: (permit, flushing),
            };
            lent.used_for = wanted_for;
            lent.lane_patience = self.lane_patience;
            return Ok(lent);
        }
    }

    /// A connection for what is done in places beside flushes, and for an administrator.
    pub(crate) async fn side(self: &Arc<Self>) -> Result<Lent> {
        self.get(Use::Work).await
    }

    /// Counts a connection for the listener, if there are enough of them.
    pub(crate) fn lend_to_listener(self: &Arc<Self>) -> Option<Listening> {
        let mut state = self.state();
        state.grow();
        if state.listens || state.most < LEAST_WITH_LISTENER || state.closed {
            return None;
        }
        state.listens = true;
        state.open += 1;
        state.busy += 1;
        Some(Listening { pool: Arc::clone(self) })
    }

    /// A connection that hears notifications; never one through a pooler.
    pub(crate) async fn dial_listening(
        &self,
        address: &PostgresAddress,
        hear: impl FnMut(tokio_postgres::AsyncMessage) + Send + 'static,
    ) -> Result<Connection> {
        self.dial_to(address, hear).await.map_err(|refusal| match refusal {
            Refusal::Full(error) => {
                // Whoever works needs what there is more.
                self.make_do();
                self.full(&error)
            }
            Refusal::Other(error) => error,
        })
    }

    /// Returns when the listener has to give its connection up.
    pub(crate) async fn needs_listener(&self) {
        loop {
            let few = self.few.notified();
            if self.state().most < LEAST_WITH_LISTENER {
                return;
            }
            few.await;
        }
    }

    async fn dial_to(
        &self,
        address: &PostgresAddress,
        hear: impl FnMut(tokio_postgres::AsyncMessage) + Send + 'static,
    ) -> Result<Connection, Refusal> {
        if let Some(trouble) = &*self.trouble.lock()
            && Instant::now() < trouble.until
        {
            return Err(Refusal::Other(StoreError::new(trouble.kind, trouble.message.clone())));
        }
        let dialled = Connection::dial(address, &self.tls, self.login, hear).await;
        let mut trouble = self.trouble.lock();
        match &dialled {
            Ok(_) | Err(Refusal::Full(_)) => *trouble = None,
            Err(Refusal::Other(error)) => {
                let first = Backoff::new(Duration::from_millis(50), LONGEST_PAUSE).spread();
                let mut pause = trouble.as_ref().map_or(first, |trouble| trouble.pause);
                *trouble = Some(Trouble {
                    until: Instant::now() + pause.next(),
                    pause,
                    kind: error.kind(),
                    message: error.to_string(),
                });
            }
        }
        dialled
    }

    /// The server refused another connection: from now on those that there are serve all uses. False if there
    /// is none.
    fn make_do(&self) -> bool {
        let mut state = self.state();
        if state.refused.is_none() {
            tracing::warn!(
                database = self.address.label(),
                connections = state.open,
                wanted = state.wanted,
                "the server lets this login have no more connections; those that there are serve all uses. Raise its \
                 CONNECTION LIMIT or the server's max_connections, or lower max_connections of the runner"
            );
        }
        state.refused = Some(Instant::now());
        state.most = state.open.max(1);
        if state.most < LEAST_WITH_LISTENER {
            self.few.notify_waiters();
        }
        state.open > 0
    }

    fn full(&self, error: &tokio_postgres::Error) -> StoreError {
        let message = format!(
            "the server of {} has no connection for `{}` now: {}; raise that limit, or end sessions that are not needed",
            self.address.label(),
            self.address.user(),
            describe(error)
        );
        StoreError::new(StoreErrorKind::Transient, message)
    }

    fn busy(&self, wanted_for: Use) -> StoreError {
        let (most, wanted) = {
            let state = self.state();
            (state.most, state.wanted)
        };
        let message = format!(
            "no connection to {} became free for {wanted_for:?} within {} s: all {most} of them are used; raise max_connections \
             of the runner, which is {wanted}",
            self.address.label(),
            PATIENCE.as_secs(),
        );
        StoreError::new(StoreErrorKind::Transient, message)
    }

    /// Closes what is open, as the server likes it: waits for flushes under way, says goodbye and sees it
    /// sent.
    pub(crate) async fn close(&self) {
        for permits in [&self.engine, &self.work, &self.aside, &self.read] {
            permits.close();
        }
        // Nobody is in the middle of a flush then.
        drop(self.flushes.acquire_many(self.flushes_at_once).await);
        self.flushes.close();
        let open: Vec<_> = {
            let mut state = self.state();
            state.closed = true;
            state.wake();
            std::mem::take(&mut state.idle)
        };
        for (_, connection) in open {
            connection.close().await;
        }
    }

    /// Returns once a server process is gone for certain. While the server cannot be reached it is not
    /// certain, however long that takes: then this does not return.
    pub(crate) async fn decide(self: &Arc<Self>, backend: &Backend) {
        let mut pause = Backoff::new(Duration::from_millis(20), LONGEST_PAUSE).spread();
        loop {
            match self.get(Use::Engine).await {
                Ok(lent) => match lent.end_backend(backend).await {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::warn!(
                            database = self.address.label(),
                            error = describe(&error),
                            "looking for the server process of a broken connection"
                        );
                        lent.discard();
                    }
                },
                Err(error) => tracing::warn!(
                    database = self.address.label(),
                    %error,
                    "a commit was not answered, and whether it happened cannot be asked"
                ),
            }
            tokio::time::sleep(pause.next()).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// A connection that was counted for this use is there no more, or nobody uses it.
    fn give_back(&self, wanted_for: Use, connection: Option<Connection>) {
        let mut state = self.state();
        state.busy -= u32::from(wanted_for != Use::Engine);
        match connection
            .filter(|connection| connection.is_usable() && !state.closed && state.open <= state.most)
        {
            Some(connection) => state.idle.push((wanted_for, connection)),
            None => state.open -= 1,
        }
        state.wake();
    }
}

impl State {
    /// How a connection for this use is had now.
    fn next(&mut self, wanted_for: Use, waiter: &mut Waiter<'_>) -> Result<Next> {
        if self.closed {
            return Err(closed());
        }
        self.grow();
        // One that broke is not there any more.
        let known = self.idle.len();
        self.idle.retain(|(_, connection)| connection.is_usable());
        self.open -= u32::try_from(known - self.idle.len()).unwrap_or(0);
        let turn = *waiter.turn.get_or_insert_with(|| {
            self.next_turn += 1;
            (wanted_for.rank(), self.next_turn)
        });
        let reserved = u32::from(self.most > 1);
        let free = wanted_for == Use::Engine || self.busy < self.most - reserved;
        let may = free && self.waiting.range(..turn).next().is_none();
        let own = self.idle.iter().rposition(|(used_for, _)| *used_for == wanted_for);
        let next = if !may {
            None
        } else if let Some(own) = own {
            Some(self.take(own))
        } else if self.open < self.most {
            self.open += 1;
            Some(Next::Dial)
        } else if self.idle.is_empty() {
            None
        } else {
            // What was put away longest ago is missed least.
            Some(self.take(0))
        };
        match next {
            Some(next) => {
                self.busy += u32::from(wanted_for != Use::Engine);
                self.waiting.remove(&turn);
                Ok(next)
            }
            None => {
                self.waiting.insert(turn, Arc::clone(&waiter.woken));
                Ok(Next::Wait)
            }
        }
    }

    fn take(&mut self, at: usize) -> Next {
        Next::Take(Box::new(self.idle.remove(at).1))
    }

    /// Has another connection tried for, some time after the server refused one.
    fn grow(&mut self) {
        if self.refused.is_some_and(|refused| refused.elapsed() > GROW_AFTER) {
            self.most = (self.most + 1).min(self.wanted);
            self.refused = (self.most < self.wanted).then(Instant::now);
        }
    }

    /// Lets those who wait look again: all of them, since any of them may have given up.
    fn wake(&self) {
        self.waiting.values().for_each(|waiter| waiter.notify_one());
    }
}

/// Somebody who may have to wait for a connection.
struct Waiter<'a> {
    pool: &'a Pool,
    turn: Option<Turn>,
    woken: Arc<Notify>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        let waited = self.turn.is_some_and(|turn| state.waiting.remove(&turn).is_some());
        if waited {
            state.wake();
        }
    }
}

/// A connection that is being made.
struct Slot<'a> {
    pool: &'a Pool,
    counted_for: Use,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.pool.give_back(self.counted_for, None);
    }
}

/// A connection while an operation uses it. It returns to the pool only if it can be used again.
pub(crate) struct Lent {
    connection: Option<Connection>,
    wanted_for: Use,
    pool: Arc<Pool>,
    _permits: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

impl Lent {
    /// Closes it.
    pub(crate) fn discard(mut self) {
        self.connection = None;
    }
}

impl Deref for Lent {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("taken only when it is given up")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("taken only when it is given up")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.pool.give_back(self.wanted_for, self.connection.take());
    }
}

/// The listener's right to a connection.
pub(crate) struct Listening {
    pool: Arc<Pool>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.listens = false;
        state.open -= 1;
        state.busy -= 1;
        state.wake();
    }
}

fn closed() -> StoreError {
    StoreError::new(StoreErrorKind::Internal, "the store was closed")
}
