//! The HTTP interface: JSON in, JSON out.

mod executions;

use crate::routes::Routes;

/// All of its routes.
pub(crate) fn routes(routes: Routes) -> Routes {
    executions::routes(routes)
}
