//! What is read of an execution for its page.

use cloacina::{
    AttemptRecord, Child, Cursor, Execution, ExecutionDetails, Progress, Waiting, WorkflowDescription,
};

use crate::Problem;

/// How many children stand on a page.
pub(super) const CHILDREN: usize = 50;

/// What is read of an execution.
pub(super) struct Read {
    pub(super) details: ExecutionDetails,
    pub(super) graph: Option<WorkflowDescription>,
    pub(super) history: Vec<AttemptRecord>,
    pub(super) waits: Vec<Waiting>,
    pub(super) progress: Vec<Progress>,
    pub(super) children: Vec<Child>,
}

pub(super) async fn read(execution: &Execution, after: Option<&str>) -> Result<Read, Problem> {
    let after = after.map(str::parse::<Cursor>).transpose()?;
    let details = execution.details().await?;
    let (graph, history, waits, progress) = futures_util::try_join!(
        execution.graph(),
        execution.history(),
        execution.waits(),
        execution.progress()
    )?;
    let children = if progress.is_empty() { Vec::new() } else { execution.children(after, CHILDREN).await? };
    Ok(Read { details, graph, history, waits, progress, children })
}
