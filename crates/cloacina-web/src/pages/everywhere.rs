//! All tenants at once.

use maud::{Markup, html};

use super::clock::now;
use super::layout::{self, Frame, Nav, Page};
use super::parts::table::empty;
use super::parts::{text, url};
use crate::Problem;
use crate::permit::{Permit, ViewAll};
use crate::routes::Routes;

/// How many tenants are named.
const NAMED: usize = 20;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.page("/overview", overview)
}

async fn overview(permit: Permit<ViewAll>, frame: Frame) -> Result<Markup, Problem> {
    let names = permit.engine().tenants().await?;
    let body = html! {
        header {
            div.head { h1 { "Overview" } (layout::live(now())) }
            p.lede { (text::count(names.len() as u64, "tenant", "tenants")) "." }
        }
        section {
            div.bar { h2 { "Tenants" } span.end.small { a href=(frame.to("tenants")) { "All" } } }
            @if names.is_empty() {
                (empty("No tenant yet.", &html! { "Make one on the page of tenants." }))
            } @else {
                ul.rows {
                    @for name in names.iter().take(NAMED) {
                        li {
                            span.cut { a href=(frame.to(url::tenant(name))) { (name) } }
                            div {
                                a href=(frame.to(format!("{}/executions?state=failed&superseded=no", url::tenant(name)))) { "What failed" } " · "
                                a href=(frame.to(format!("{}/executions?state=waiting", url::tenant(name)))) { "what waits" } " · "
                                a href=(frame.to(format!("{}/inbox", url::tenant(name)))) { "what is asked" }
                            }
                            div.do {}
                        }
                    }
                }
            }
        }
    };
    Ok(layout::page(&permit, &frame, &Page::new("Overview", Nav::Overview, &body)))
}
