//! What everything that works on one database shares.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use cloacina_core::id::TenantId;
use cloacina_core::store::{Result, StoreError, StoreErrorKind};
use cloacina_core::streak::Streak;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio_postgres::Row;

use crate::error::Failure;
use crate::flight::{Scope, Step, Use};
use crate::hints::Hints;
use crate::migrations::{Migration, Migrations};
use crate::pool::Pool;
use crate::schema::SchemaName;
use crate::statement::Login;
use crate::turns::Turns;

pub(crate) struct Inner {
    pub(crate) pool: Arc<Pool>,
    pub(crate) migrations: Migrations,
    /// Whether the schema `cloacina` was found, or made, as this program needs it.
    pub(crate) control_ready: tokio::sync::Mutex<bool>,
    /// Whose reads are under way.
    pub(crate) reading: Turns,
    /// What this process tells others, and hears from them.
    pub(crate) hints: Arc<Hints>,
    runtime: Handle,
    /// The server processes that sent this process's own hints.
    own: Mutex<HashSet<i32>>,
    pub(crate) notices_pruned: Mutex<Option<Instant>>,
    pub(crate) pruning: Streak,
    /// The runners of whose rows it was told that they cannot be read.
    pub(crate) unreadable_runners: Mutex<HashSet<uuid::Uuid>>,
    /// The tenants with a login of their own, as far as they were looked at.
    guarded: RwLock<HashSet<TenantId>>,
}

impl Inner {
    pub(crate) fn new(pool: Arc<Pool>, further_migrations: &[Migration], runtime: Handle) -> Self {
        Self {
            pool,
            migrations: Migrations::with_places(further_migrations),
            control_ready: tokio::sync::Mutex::default(),
            reading: Turns::default(),
            hints: Arc::default(),
            runtime,
            own: Mutex::default(),
            notices_pruned: Mutex::default(),
            pruning: Streak::new("drop old notices", "everybody who looks at the doorbell reads them too"),
            unreadable_runners: Mutex::default(),
            guarded: RwLock::default(),
        }
    }

    pub(crate) fn label(&self) -> &str {
        self.pool.address.label()
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Does work in a task of its own, so that it ends properly when its caller goes away.
    pub(crate) async fn run<T: Send + 'static, E: From<StoreError> + Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E> {
        match self.runtime.spawn(work).await {
            Ok(result) => result,
            Err(error) => {
                let message = format!("an operation on {} did not end: {error}", self.label());
                Err(StoreError::new(StoreErrorKind::Internal, message).into())
            }
        }
    }

    /// A transaction on control tables.
    pub(crate) async fn in_control(&self, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>> {
        self.in_control_for(Use::Work, steps).await
    }

    pub(crate) async fn in_control_for(&self, used_for: Use, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>> {
        let mut side = self.pool.get(used_for).await?;
        side.transaction(Scope::Control, steps).await.map_err(Failure::in_control)
    }

    /// Where the statements for a place are to look.
    pub(crate) fn scope<'a>(&self, tenant: TenantId, schema: &'a SchemaName) -> Scope<'a> {
        if self.guarded.read().contains(&tenant) { Scope::Guarded(schema) } else { Scope::Schema(schema) }
    }

    /// Notes whether a tenant has a login of its own.
    pub(crate) fn guard(&self, tenant: TenantId, has_login: bool) {
        let mut guarded = self.guarded.write();
        // A tenant's own process waits for its own locks like anybody else.
        if has_login && self.pool.login == Login::Operator {
            guarded.insert(tenant);
        } else {
            guarded.remove(&tenant);
        }
    }

    pub(crate) fn remember_own(&self, pid: i32) {
        let mut own = self.own.lock();
        if own.len() > 1000 {
            own.clear();
        }
        own.insert(pid);
    }

    pub(crate) fn is_own(&self, pid: i32) -> bool {
        self.own.lock().contains(&pid)
    }
}
