//! How all tenants do: what failed in the last day, hour by hour, and who uses most.
//!
//! Nothing is counted and no tenant is opened for it: it is read from the newest executions that failed, and
//! the newest that are under way. Where there are more of them than are read, that is said.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use cloacina::tenants::Across;
use cloacina::{ExecutionFilter, ExecutionResult, ExecutionStatus, Timestamp};
use jiff::SignedDuration;

use crate::Problem;
use crate::engine::Engine;
use crate::kept::Kept;
use crate::time::now;

/// How many hours are told.
pub(crate) const HOURS: usize = 24;
/// How many executions are read at most, of those that failed and of those that are under way.
pub(crate) const READ: usize = 1_000;
/// For how long a look at who uses most is shared.
const SHARED: Duration = Duration::from_secs(10);
/// How many tenants are told that use most.
const TENANTS: usize = 10;

/// What failed in the last hours.
#[derive(Debug)]
pub(crate) struct Failures {
    /// What was read of all tenants, the newest first.
    pub(crate) failed: Across<ExecutionResult>,
    /// When that was.
    pub(crate) at: Timestamp,
}

/// The failures of a workflow, in all tenants.
#[derive(Debug)]
pub(crate) struct OfWorkflow<'a> {
    pub(crate) workflow: &'a str,
    pub(crate) failed: u64,
    /// In each hour, the one that is under way last.
    pub(crate) hours: [u64; HOURS],
    pub(crate) tenants: BTreeSet<&'a str>,
    /// The one that was recorded last, and whose it is.
    pub(crate) last: (&'a str, &'a ExecutionResult),
}

impl Failures {
    /// Whether more have failed than were read.
    pub(crate) fn are_more(&self) -> bool {
        self.failed.found.len() >= READ
    }

    /// In each hour, the one that is under way last.
    pub(crate) fn hours(&self) -> [u64; HOURS] {
        let mut hours = [0; HOURS];
        self.failed.found.iter().for_each(|(_, execution)| self.count(execution, &mut hours));
        hours
    }

    fn count(&self, execution: &ExecutionResult, hours: &mut [u64; HOURS]) {
        let ended = execution.end_time.unwrap_or(execution.start_time);
        let ago = self.at.duration_since(ended).as_hours().clamp(0, HOURS as i64 - 1).unsigned_abs();
        if let Some(hour) = hours.iter_mut().rev().nth(usize::try_from(ago).unwrap_or_default()) {
            *hour += 1;
        }
    }

    /// The workflows that failed, the one that failed most often first.
    pub(crate) fn workflows(&self) -> Vec<OfWorkflow<'_>> {
        let mut workflows: HashMap<&str, OfWorkflow<'_>> = HashMap::new();
        for (tenant, execution) in &self.failed.found {
            let name = execution.workflow_name.as_str();
            let of = workflows.entry(name).or_insert_with(|| OfWorkflow {
                workflow: name,
                failed: 0,
                hours: [0; HOURS],
                tenants: BTreeSet::new(),
                last: (tenant, execution),
            });
            of.failed += 1;
            of.tenants.insert(tenant);
            self.count(execution, &mut of.hours);
        }
        let mut workflows: Vec<OfWorkflow<'_>> = workflows.into_values().collect();
        workflows.sort_by(|one, other| (other.failed, one.workflow).cmp(&(one.failed, other.workflow)));
        workflows
    }
}

/// What failed in the last hours.
pub(crate) async fn failures(engine: &Engine) -> Result<Failures, Problem> {
    let at = now();
    let since = at - SignedDuration::from_hours(HOURS as i64);
    let failed = ExecutionFilter::all().status(ExecutionStatus::Failed).since(since);
    Ok(Failures { failed: engine.executions(failed, None, READ).await?, at })
}

/// What a tenant uses.
#[derive(Debug, Clone)]
pub(crate) struct Uses {
    pub(crate) tenant: String,
    /// How many of its executions are under way, of those that were read.
    pub(crate) under_way: u64,
    /// The bytes of its place, if they are known.
    pub(crate) bytes: Option<u64>,
}

/// Who uses most.
#[derive(Debug)]
pub(crate) struct Busiest {
    pub(crate) tenants: Vec<Uses>,
    /// Whether more are under way than were read.
    pub(crate) are_more: bool,
}

/// The tenants with most under way, and behind them the largest.
pub(crate) async fn busiest(kept: &Kept, engine: &Engine) -> Result<std::sync::Arc<Busiest>, Problem> {
    let look = kept.lasting(SHARED, "busiest".to_owned(), async || {
        let under_way =
            ExecutionFilter::all().status(ExecutionStatus::Running).status(ExecutionStatus::Pending);
        let (open, largest) =
            futures_util::try_join!(engine.executions(under_way, None, READ), engine.largest(TENANTS * 10))?;
        Ok(Busiest { are_more: open.found.len() >= READ, tenants: ranked(&open.found, &largest) })
    });
    Box::pin(look).await
}

fn ranked(open: &[(String, ExecutionResult)], largest: &[(String, u64)]) -> Vec<Uses> {
    let mut tenants: HashMap<String, Uses> = HashMap::new();
    let mut of = |tenant: &str, change: &dyn Fn(&mut Uses)| {
        let uses = tenants.entry(tenant.to_owned());
        change(uses.or_insert_with(|| Uses { tenant: tenant.to_owned(), under_way: 0, bytes: None }));
    };
    open.iter().for_each(|(tenant, _)| of(tenant, &|uses| uses.under_way += 1));
    largest.iter().for_each(|(tenant, bytes)| of(tenant, &|uses| uses.bytes = Some(*bytes)));
    let mut tenants: Vec<Uses> = tenants.into_values().collect();
    tenants.sort_by(|one, other| {
        (other.under_way, other.bytes, &one.tenant).cmp(&(one.under_way, one.bytes, &other.tenant))
    });
    tenants.truncate(TENANTS);
    tenants
}
