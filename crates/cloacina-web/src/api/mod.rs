//! The HTTP interface: JSON in, JSON out.

mod audit;
mod bulk;
mod events;
mod everywhere;
mod executions;
mod input;
mod keys;
mod model;
mod runners;
mod schedules;
mod tenants;
mod waits;

pub(crate) use input::{context_of, time_of};
pub(crate) use keys::{KeyBody, issue, keys};
pub(crate) use model::Page;
pub(crate) use schedules::duration_of;

use crate::routes::Routes;

/// All of its routes.
pub(crate) fn routes(routes: Routes) -> Routes {
    let parts: [fn(Routes) -> Routes; 10] = [
        executions::routes,
        waits::routes,
        bulk::routes,
        schedules::routes,
        events::routes,
        tenants::routes,
        keys::routes,
        runners::routes,
        audit::routes,
        everywhere::routes,
    ];
    parts.into_iter().fold(routes, |routes, add| add(routes))
}
