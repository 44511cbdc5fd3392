//! The connections of a store: few, ours, and each only ever put away with its transaction closed.
//!
//! ```text
//! lanes       one connection each; flushes, nothing else
//! side        everything else: reads, control, runners; as many as the options leave
//! listener    one, for LISTEN
//! ```

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cloacina_core::store::{Result, StoreError, StoreErrorKind};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::address::PostgresAddress;
use crate::connect::{Backend, Connection, Plans};
use crate::statement::Login;

pub(crate) struct Pool {
    pub(crate) address: PostgresAddress,
    tls: MakeRustlsConnect,
    lanes: Vec<Arc<tokio::sync::Mutex<Option<Connection>>>>,
    idle: Mutex<Vec<Connection>>,
    side: Arc<Semaphore>,
    cap: Mutex<u32>,
    trouble: Mutex<Option<Trouble>>,
    pub(crate) login: Login,
}

/// The last attempt to connect failed; until `until` no other is made, so that a server that struggles is left in peace.
struct Trouble {
    until: Instant,
    pause: Duration,
    kind: StoreErrorKind,
    message: String,
}

const LANES: u32 = 4;
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Pool {
    pub(crate) fn new(
        address: PostgresAddress,
        tls: MakeRustlsConnect,
        max_connections: u32,
        login: Login,
    ) -> Self {
        let lanes = LANES.min(max_connections.saturating_sub(2)).max(1);
        let side = max_connections.saturating_sub(lanes + 1).max(1);
        Self::with(address, tls, lanes, side, login)
    }

    /// One without lanes and listener, for whoever flushes nothing.
    pub(crate) fn without_lanes(
        address: PostgresAddress,
        tls: MakeRustlsConnect,
        max_connections: u32,
    ) -> Self {
        Self::with(address, tls, 0, max_connections.max(1), Login::Operator)
    }

    fn with(address: PostgresAddress, tls: MakeRustlsConnect, lanes: u32, side: u32, login: Login) -> Self {
        Self {
            address,
            tls,
            lanes: (0..lanes).map(|_| Arc::default()).collect(),
            idle: Mutex::default(),
            side: Arc::new(Semaphore::new(side as usize)),
            cap: Mutex::new(lanes + 1 + side),
            trouble: Mutex::default(),
            login,
        }
    }

    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Raises the number of connections; it is never lowered.
    pub(crate) fn ensure(&self, max_connections: u32) {
        let mut cap = lock(&self.cap);
        if max_connections > *cap {
            self.side.add_permits((max_connections - *cap) as usize);
            *cap = max_connections;
        }
    }

    /// The connection of a lane, made if it is not there.
    pub(crate) async fn lane(&self, lane: usize) -> Result<Lane> {
        let slot = self
            .lanes
            .get(lane)
            .ok_or_else(|| StoreError::new(StoreErrorKind::Internal, format!("there is no lane {lane}")))?;
        let mut slot = Arc::clone(slot).lock_owned().await;
        if slot.as_ref().is_none_or(|connection| !connection.is_usable()) {
            // The old one is closed before its successor is made.
            *slot = None;
            *slot = Some(self.dial_as(Plans::Kept, |_| {}).await?);
        }
        Ok(Lane { slot })
    }

    /// A connection for anything else.
    pub(crate) async fn side(self: &Arc<Self>) -> Result<Side> {
        let permit = Arc::clone(&self.side)
            .acquire_owned()
            .await
            .map_err(|_| StoreError::new(StoreErrorKind::Internal, "the store was closed"))?;
        let idle = loop {
            let idle = lock(&self.idle).pop();
            match idle {
                Some(connection) if !connection.is_usable() => {}
                idle => break idle,
            }
        };
        let connection = match idle {
            Some(connection) => connection,
            None => self.dial().await?,
        };
        Ok(Side { connection: Some(connection), pool: Arc::clone(self), _permit: permit })
    }

    /// A connection that the pool does not keep.
    pub(crate) async fn dial(&self) -> Result<Connection> {
        self.dial_as(Plans::Fresh, |_| {}).await
    }

    /// A connection that the pool does not keep, which hears notifications; never one through a pooler.
    pub(crate) async fn dial_listening(
        &self,
        address: &PostgresAddress,
        hear: impl FnMut(tokio_postgres::AsyncMessage) + Send + 'static,
    ) -> Result<Connection> {
        self.dial_to(address, Plans::Fresh, hear).await
    }

    async fn dial_as(
        &self,
        plans: Plans,
        hear: impl FnMut(tokio_postgres::AsyncMessage) + Send + 'static,
    ) -> Result<Connection> {
        self.dial_to(&self.address, plans, hear).await
    }

    async fn dial_to(
        &self,
        address: &PostgresAddress,
        plans: Plans,
        hear: impl FnMut(tokio_postgres::AsyncMessage) + Send + 'static,
    ) -> Result<Connection> {
        if let Some(trouble) = &*lock(&self.trouble)
            && Instant::now() < trouble.until
        {
            return Err(StoreError::new(trouble.kind, trouble.message.clone()));
        }
        let dialled = Connection::dial(address, &self.tls, plans, self.login, hear).await;
        let mut trouble = lock(&self.trouble);
        match &dialled {
            Ok(_) => *trouble = None,
            Err(error) => {
                let pause = trouble.as_ref().map_or(Duration::from_millis(50), |trouble| trouble.pause * 2);
                let pause = pause.min(LONGEST_PAUSE);
                *trouble = Some(Trouble {
                    until: Instant::now() + pause.mul_f64(0.5 + fastrand::f64() / 2.0),
                    pause,
                    kind: error.kind(),
                    message: error.to_string(),
                });
            }
        }
        dialled
    }

    /// Closes what is open, as the server likes it: waits for flushes under way, says goodbye and sees it sent.
    pub(crate) async fn close(&self) {
        self.side.close();
        let mut open: Vec<Connection> = std::mem::take(&mut *lock(&self.idle));
        for lane in &self.lanes {
            open.extend(lane.lock().await.take());
        }
        for connection in open {
            connection.close().await;
        }
    }

    /// Returns once a server process is gone for certain. While the server cannot be reached it is not certain, however long
    /// that takes: then this does not return.
    pub(crate) async fn decide(&self, backend: &Backend) {
        let mut pause = Duration::from_millis(20);
        loop {
            match self.dial().await {
                Ok(connection) => match connection.end_backend(backend).await {
                    Ok(()) => return,
                    Err(error) => tracing::warn!(
                        database = self.address.label(),
                        error = crate::error::describe(&error),
                        "looking for the server process of a broken connection"
                    ),
                },
                Err(error) => tracing::warn!(
                    database = self.address.label(),
                    %error,
                    "a commit was not answered, and whether it happened cannot be asked"
                ),
            }
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// A lane's connection while a flush uses it.
pub(crate) struct Lane {
    slot: OwnedMutexGuard<Option<Connection>>,
}

impl Lane {
    /// Closes it; the next flush of the lane makes another.
    pub(crate) fn close(&mut self) {
        *self.slot = None;
    }
}

impl Deref for Lane {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.slot.as_ref().expect("a lane is handed out with its connection")
    }
}

impl DerefMut for Lane {
    fn deref_mut(&mut self) -> &mut Connection {
        self.slot.as_mut().expect("a lane is handed out with its connection")
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // A transaction that was left open would go on until the next flush.
        if self.slot.as_ref().is_some_and(|connection| !connection.is_usable()) {
            *self.slot = None;
        }
    }
}

/// A side connection while an operation uses it. It returns to the pool only if it can be used again.
pub(crate) struct Side {
    connection: Option<Connection>,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Deref for Side {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("taken only when dropped")
    }
}

impl DerefMut for Side {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("taken only when dropped")
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take().filter(Connection::is_usable)
            && !self.pool.side.is_closed()
        {
            lock(&self.pool.idle).push(connection);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing panics while it holds one of these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
