//! The HTTP interface: JSON in, JSON out.

mod audit;
mod bulk;
mod doctor;
mod events;
mod everywhere;
mod executions;
mod input;
mod keys;
mod model;
mod overview;
mod runners;
mod schedules;
mod tenants;
mod waits;

pub(crate) use input::{context_of, in_time, time_of};
pub(crate) use keys::{KeyBody, issue, keys};
pub(crate) use model::Page;
pub(crate) use schedules::duration_of;

use crate::routes::Routes;

/// All of its routes.
pub(crate) fn routes(routes: Routes) -> Routes {
    let parts: [fn(Routes) -> Routes; 12] = [
        executions::routes,
        waits::routes,
        bulk::routes,
        schedules::routes,
        events::routes,
        tenants::routes,
        keys::routes,
        runners::routes,
        audit::routes,
        doctor::routes,
        overview::routes,
        everywhere::routes,
    ];
    parts.into_iter().fold(routes, |routes, add| add(routes))
}
