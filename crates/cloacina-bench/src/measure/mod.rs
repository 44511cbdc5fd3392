//! The measures.

mod alone;
mod counts;
mod data;
mod history;
mod memory;
mod neighbours;
mod rate;
mod shared;
mod tenancy;

use std::time::Duration;

use anyhow::Result;

use crate::database::Kind;
use crate::shape;
use crate::table::Row;

pub(crate) use memory::{CHILD, child as memory_child};
pub(crate) use neighbours::TROUBLES;
pub(crate) use tenancy::{IDLE_CHILD, idle_child};

/// What can be asked for on the command line.
pub(crate) const NAMES: [(&str, &str); 11] = [
    ("one-task", "the latency of a one-task execution alone"),
    ("in-flight", "one-task executions with 1,000 in flight: rate and processor time"),
    ("outstanding", "10,000 one-task executions submitted at once"),
    ("shapes", "a chain of 3 and a fan-out of 3: latency alone, and rate with 1,000 in flight"),
    (
        "tenants",
        "executions of 100 tenants, 1,000 in flight in all; on PostgreSQL also of 1,000, and what tenants cost",
    ),
    (
        "shared",
        "10,000 tenants in the same tables: what one costs, and executions beside those of one tenant (PostgreSQL)",
    ),
    ("memory", "what an idle tenant costs this process"),
    ("data", "a transaction of five statements on a tenant's own data, beside plain SeaORM"),
    ("neighbours", "what quiet tenants notice of one in trouble; not among all"),
    ("history", "lists, looks and pruning in a place with 10,000,000 executions behind it; not among all"),
    ("counts", "statements, commits and round trips of a one-task execution (PostgreSQL)"),
];

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// How often each measure is repeated.
    pub(crate) runs: usize,
    /// Executions of a latency measure, each run.
    pub(crate) alone: usize,
    /// Executions of a rate measure, each run.
    pub(crate) rate: usize,
    /// Executions submitted at once.
    pub(crate) outstanding: usize,
    /// Tenants that are opened and left idle.
    pub(crate) idle_tenants: usize,
    /// Tenants with logins that are made, each run.
    pub(crate) provisioned: usize,
    /// Tenants that are opened and used for the first time, each run.
    pub(crate) cold: usize,
    /// Tenants that are open side by side, idle or busy, in schemas of one database.
    pub(crate) open_tenants: usize,
    /// Tenants that share tables.
    pub(crate) shared_tenants: usize,
    /// How long quiet tenants are looked at beside one in trouble.
    pub(crate) beside: Duration,
    /// Executions of a tenant with much to do, or much behind it.
    pub(crate) backlog: usize,
    /// Rows that a login plants.
    pub(crate) planted: usize,
    /// Executions that are over, where many are.
    pub(crate) finished: usize,
}

impl Scale {
    pub(crate) fn full(runs: usize) -> Self {
        Self {
            runs,
            alone: 1_000,
            rate: 20_000,
            outstanding: 10_000,
            idle_tenants: 200,
            provisioned: 60,
            cold: 60,
            open_tenants: 1_000,
            shared_tenants: 10_000,
            beside: Duration::from_secs(20),
            backlog: 1_000_000,
            planted: 1_500_000,
            finished: 10_000_000,
        }
    }

    /// Enough to see that everything works.
    pub(crate) fn quick(runs: usize) -> Self {
        Self {
            runs,
            alone: 200,
            rate: 5_000,
            outstanding: 5_000,
            idle_tenants: 50,
            provisioned: 20,
            cold: 20,
            open_tenants: 100,
            shared_tenants: 500,
            beside: Duration::from_secs(6),
            backlog: 50_000,
            planted: 100_000,
            finished: 2_000_000,
        }
    }
}

/// How many executions are in flight where many are.
const IN_FLIGHT: usize = 1_000;

/// How many executions the work by hand takes at once.
const BATCH: usize = 256;

/// How many tenants there are where there are many.
const TENANTS: usize = 100;

/// Measures one thing.
pub(crate) async fn measure(name: &str, kind: Kind, scale: Scale, only: Option<&str>) -> Result<Vec<Row>> {
    match name {
        "one-task" => alone::alone(kind, scale, shape::ONE).await,
        "in-flight" => rate::in_flight(kind, scale, shape::ONE, 1).await,
        "outstanding" => rate::outstanding(kind, scale).await,
        "shapes" => {
            let mut rows = Vec::new();
            for shape in [shape::CHAIN, shape::FAN] {
                rows.extend(alone::alone(kind, scale, shape).await?);
                rows.extend(rate::in_flight(kind, scale, shape, 1).await?);
            }
            Ok(rows)
        }
        "tenants" => {
            let mut rows = rate::in_flight(kind, scale, shape::ONE, TENANTS).await?;
            if kind == Kind::Postgres {
                rows.extend(rate::in_flight(kind, scale, shape::ONE, scale.open_tenants).await?);
                rows.extend(tenancy::tenancy(scale).await?);
            }
            Ok(rows)
        }
        "shared" if kind == Kind::Postgres => shared::shared(scale).await,
        "neighbours" => neighbours::neighbours(kind, scale, only).await,
        "memory" => memory::memory(kind, scale).await,
        "data" => data::data(kind, scale).await,
        "history" => history::history(kind, scale).await,
        "counts" if kind == Kind::Postgres => counts::counts(scale).await,
        _ => Ok(Vec::new()),
    }
}

fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
