//! The pages: HTML that the server writes, readable without JavaScript.

use std::sync::Arc;

use axum::Router;
use maud::{DOCTYPE, Markup, html};

use crate::Problem;
use crate::permit::{Permit, View};
use crate::routes::Routes;
use crate::state::Web;

/// All pages, and what their forms send.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes.page("/tenants/{tenant}", overview)
}

/// Puts on what all pages need.
pub(crate) fn finish(pages: Router<Arc<Web>>) -> Router<Arc<Web>> {
    pages
}

async fn overview(permit: Permit<View>) -> Result<Markup, Problem> {
    Ok(html! { (DOCTYPE) h1 { (permit.tenant()) } })
}
