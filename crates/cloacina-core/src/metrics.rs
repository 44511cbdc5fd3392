//! How a tenant does, in numbers.

use std::time::Duration;

use crate::store::{ExecutionHeader, PlaceFigures};

/// How a tenant does, in numbers. See [`PlaceRunner::metrics`](crate::PlaceRunner::metrics). Executions and
/// tasks are counted up to [`MOST_COUNTED`](Self::MOST_COUNTED).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TenantMetrics {
    /// The executions that are not over and do not only wait.
    pub active_executions: usize,
    /// The executions that wait for a time or a signal.
    pub waiting_executions: u64,
    /// The executions that are kept, the finished ones included: see
    /// [`retention`](crate::RunnerConfig::retention).
    pub total_executions: u64,
    /// How long the latest 1,000 executions that completed or failed took, from their first task to their
    /// end, on average.
    pub avg_execution_time: Duration,
    /// Half of them took no longer.
    pub p50_execution_time: Duration,
    /// 95 of 100 took no longer.
    pub p95_execution_time: Duration,
    /// 99 of 100 took no longer.
    pub p99_execution_time: Duration,
    /// The tasks that are due and wait for a slot, or for a process that has their code.
    pub queue_depth: u64,
    /// For how long the first of them has been waiting.
    pub oldest_queued: Option<Duration>,
}

impl TenantMetrics {
    /// How far executions and tasks are counted: 10,000, which takes some milliseconds. Where there are more,
    /// the number is this one.
    pub const MOST_COUNTED: u64 = PlaceFigures::MOST_COUNTED;

    /// From the numbers of a place, and the executions of it that ended last.
    pub(crate) fn new(figures: PlaceFigures, latest: &[ExecutionHeader]) -> Self {
        let mut times: Vec<Duration> = latest
            .iter()
            .filter_map(|header| {
                let took = header.finished_at?.duration_since(header.started_at?);
                // What a tenant wrote may have ended before it began.
                Some(took.try_into().unwrap_or(Duration::ZERO))
            })
            .collect();
        times.sort_unstable();
        let of = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100);
            times.get(rank.saturating_sub(1)).copied().unwrap_or_default()
        };
        let sum = times.iter().fold(Duration::ZERO, |sum, time| sum.saturating_add(*time));
        let count = u32::try_from(times.len().max(1)).unwrap_or(u32::MAX);
        Self {
            active_executions: usize::try_from(figures.open).unwrap_or(usize::MAX),
            waiting_executions: figures.waiting,
            total_executions: figures.executions,
            avg_execution_time: sum / count,
            p50_execution_time: of(50),
            p95_execution_time: of(95),
            p99_execution_time: of(99),
            queue_depth: figures.queued,
            oldest_queued: figures.oldest_queued,
        }
    }
}
