//! One execution: what it waits for, its graph, its attempts and waits over time, its errors, what each task
//! changed, and what can be done about it.

mod actions;
mod read;
mod show;
pub(super) mod view;

use axum::extract::Path;
use cloacina::Runner;
use maud::Markup;

use self::read::read;
use self::view::View;
use super::layout::{self, Frame, Nav, Page};
use super::parts::url;
use super::wanted::id;
use crate::Problem;
use crate::permit::{self, Permit};
use crate::routes::Routes;

pub(super) fn routes(routes: Routes) -> Routes {
    actions::routes(routes.page("/tenants/{tenant}/executions/{id}", page))
}

async fn page(
    permit: Permit<permit::View>,
    frame: Frame,
    Path((tenant, text)): Path<(String, String)>,
) -> Result<Markup, Problem> {
    let runner = permit.runner().await?;
    let view = look(&permit, &runner, &text, &frame).await?;
    let ask = actions::question(&permit, &frame, &view);
    let body = show::body(&permit, &frame, &view, ask.as_ref());
    Ok(layout::page(
        &permit,
        &frame,
        &Page::new(
            format!("{} {}", view.workflow, super::parts::text::short_id(view.id)),
            Nav::Executions,
            &body,
        )
        .live(format!("v1/tenants/{}/executions/{}/events", url::part(&tenant), view.id)),
    ))
}

async fn look<A: permit::Action>(
    permit: &Permit<A>,
    runner: &Runner,
    text: &str,
    frame: &Frame,
) -> Result<View, Problem> {
    let execution = runner.execution(id(text)?);
    let children = frame.param("children");
    let of = format!("execution {} {} {children:?}", permit.tenant(), execution.execution_id);
    let read = permit.web().kept.get(of, async || read(&execution, children).await).await?;
    Ok(View::new(permit.tenant(), &read, frame, permit.sees_payloads(), runner.now()))
}
