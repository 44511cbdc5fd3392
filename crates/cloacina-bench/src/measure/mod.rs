//! The measures.

mod alone;
mod asleep;
mod counts;
mod data;
mod history;
mod log;
mod many;
mod map;
mod memory;
mod neighbours;
mod rate;
mod scale;
mod shared;
mod tenancy;
mod waiting;
mod web;

use anyhow::Result;

use crate::database::Kind;
use crate::shape;
use crate::table::Row;

pub(crate) use memory::{CHILD, child as memory_child};
pub(crate) use neighbours::TROUBLES;
pub(crate) use scale::Scale;
pub(crate) use tenancy::{IDLE_CHILD, idle_child};
pub(crate) use waiting::{WORKER, worker};

/// What can be asked for on the command line.
pub(crate) const NAMES: [(&str, &str); 17] = [
    ("one-task", "the latency of a one-task execution alone"),
    ("in-flight", "one-task executions with 1,000 in flight: rate and processor time"),
    ("log", "the same with spans and log at INFO, beside none"),
    ("outstanding", "10,000 one-task executions submitted at once"),
    ("waiting", "waiting for what is over, and for what another process runs"),
    ("asleep", "from a signal to the code that waits for it; many sleeps that are over at one moment"),
    ("map", "a map over a long list, beside ordinary executions"),
    ("submit-many", "executions recorded by the thousand, beside single ones and beside the rows by hand"),
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
    (
        "web",
        "the HTTP interface and the pages over 1,000,000 executions, with the engine at work; not among all",
    ),
    ("counts", "statements, commits and round trips of a one-task execution (PostgreSQL)"),
];

/// How many tenants there are where there are many.
const TENANTS: usize = 100;

/// Measures one thing.
pub(crate) async fn measure(name: &str, kind: Kind, scale: Scale, only: Option<&str>) -> Result<Vec<Row>> {
    match name {
        "one-task" => alone::alone(kind, scale, shape::ONE).await,
        "in-flight" => rate::in_flight(kind, scale, shape::ONE, 1).await,
        "log" => log::log(kind, scale).await,
        "outstanding" => rate::outstanding(kind, scale).await,
        "asleep" => asleep::asleep(kind, scale).await,
        "map" => map::map(kind, scale).await,
        "submit-many" => many::submit_many(kind, scale).await,
        "waiting" => waiting::waiting(kind, scale).await,
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
        "data" => {
            let mut rows = data::data(kind, scale).await?;
            if kind == Kind::Postgres {
                rows.extend(data::predicate::predicates(scale).await?);
            }
            Ok(rows)
        }
        "history" => history::history(kind, scale).await,
        "web" => web::web(kind, scale).await,
        "counts" if kind == Kind::Postgres => counts::counts(scale).await,
        _ => Ok(Vec::new()),
    }
}
