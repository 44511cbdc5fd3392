//! Limits of a tenant as the registry keeps them.

use std::time::Duration;

use cloacina_core::id::TenantId;
use cloacina_core::store::{StoreError, StoreErrorKind, TenantLimits};
use uuid::Uuid;

use crate::flight::{Step, params};
use crate::statement as sql;

/// How long a statement and a transaction of a tenant's login may take unless its limits say otherwise, and
/// how many sessions it may have.
pub(crate) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);
pub(crate) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(300);
pub(crate) const CONNECTIONS: u32 = 20;

/// Limits that can be kept.
pub(crate) struct Checked {
    tasks: Option<i32>,
    queue: Option<i32>,
    context: Option<i32>,
    pub(crate) connections: Option<i32>,
    /// In milliseconds.
    pub(crate) waiting: Option<i32>,
    pub(crate) statement: Option<i64>,
    pub(crate) transaction: Option<i64>,
}

impl Checked {
    pub(crate) fn of(limits: &TenantLimits) -> Result<Self, StoreError> {
        let number = |name: &str, limit: Option<u32>| match limit {
            None => Ok(None),
            Some(limit) => match i32::try_from(limit) {
                Ok(limit) if limit > 0 => Ok(Some(limit)),
                _ => Err(refused(name)),
            },
        };
        let time = |name: &str, limit: Option<Duration>| match limit.map(milliseconds) {
            Some(limit) if !(1..=i64::from(i32::MAX)).contains(&limit) => Err(refused(name)),
            limit => Ok(limit),
        };
        Ok(Self {
            tasks: number("max_concurrent_tasks", limits.max_concurrent_tasks)?,
            queue: number("max_queue_length", limits.max_queue_length)?,
            waiting: number("max_waiting", limits.max_waiting)?,
            context: number("max_context_bytes", limits.max_context_bytes)?,
            connections: number("max_connections", limits.max_connections)?,
            statement: time("statement_timeout", limits.statement_timeout)?,
            transaction: time("transaction_timeout", limits.transaction_timeout)?,
        })
    }

    pub(crate) fn step(&self, tenant: TenantId) -> Step<'static> {
        let Self { tasks, queue, waiting, context, connections, statement, transaction } = *self;
        let parameters =
            params![Uuid::from(tenant), tasks, queue, context, connections, statement, transaction, waiting];
        Step::Run(sql::TENANT_LIMITS, parameters)
    }
}

fn refused(name: &str) -> StoreError {
    let message =
        format!("{name} has to be at least 1 and below 2^31; `None` is no limit of the tenant's own");
    StoreError::new(StoreErrorKind::Configuration, message)
}

pub(crate) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
