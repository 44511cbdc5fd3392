//! One execution: what it waits for, its graph, its attempts and waits over time, its errors, what each task
//! changed, and what can be done about it.

mod actions;
mod show;
pub(super) mod view;

use axum::extract::Path;
use cloacina::{Child, Execution, ExecutionDetails, Progress, Runner, WorkflowDescription};
use maud::Markup;

use self::view::View;
use super::executions::id;
use super::layout::{self, Frame, Nav, Page};
use super::parts::url;
use crate::Problem;
use crate::permit::{self, Permit};
use crate::routes::Routes;

/// How many children stand on a page.
const CHILDREN: usize = 50;

pub(super) fn routes(routes: Routes) -> Routes {
    actions::routes(routes.page("/tenants/{tenant}/executions/{id}", page))
}

/// What is read of an execution.
struct Read {
    details: ExecutionDetails,
    graph: Option<WorkflowDescription>,
    history: Vec<cloacina::AttemptRecord>,
    waits: Vec<cloacina::Waiting>,
    progress: Vec<Progress>,
    children: Vec<Child>,
}

async fn read(execution: &Execution) -> Result<Read, Problem> {
    let details = execution.details().await?;
    let (graph, history, waits, progress) = futures_util::try_join!(
        execution.graph(),
        execution.history(),
        execution.waits(),
        execution.progress()
    )?;
    let children = if progress.is_empty() { Vec::new() } else { execution.children(None, CHILDREN).await? };
    Ok(Read { details, graph, history, waits, progress, children })
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
    let read = read(&execution).await?;
    Ok(View::new(permit.tenant(), read, frame, permit.sees_payloads(), runner.now()))
}
