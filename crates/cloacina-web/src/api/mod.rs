//! The HTTP interface: JSON in, JSON out.

mod bulk;
mod events;
mod executions;
mod input;
mod model;
mod schedules;
mod tenants;
mod waits;

use crate::routes::Routes;

/// All of its routes.
pub(crate) fn routes(routes: Routes) -> Routes {
    let parts: [fn(Routes) -> Routes; 6] =
        [executions::routes, waits::routes, bulk::routes, schedules::routes, events::routes, tenants::routes];
    parts.into_iter().fold(routes, |routes, add| add(routes))
}
