//! How much of everything is measured.

use std::time::Duration;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// How often each measure is repeated.
    pub(crate) runs: usize,
    /// Executions of a latency measure, each run.
    pub(crate) alone: usize,
    /// Executions of a rate measure, each run.
    pub(crate) rate: usize,
    /// Executions submitted at once.
    pub(crate) outstanding: usize,
    /// Tenants that are opened and left idle.
    pub(crate) idle_tenants: usize,
    /// Tenants with logins that are made, each run.
    pub(crate) provisioned: usize,
    /// Tenants that are opened and used for the first time, each run.
    pub(crate) cold: usize,
    /// Tenants that are open side by side, idle or busy, in schemas of one database.
    pub(crate) open_tenants: usize,
    /// Tenants that share tables.
    pub(crate) shared_tenants: usize,
    /// How long quiet tenants are looked at beside one in trouble.
    pub(crate) beside: Duration,
    /// Executions of a tenant with much to do, or much behind it.
    pub(crate) backlog: usize,
    /// Rows that a login plants.
    pub(crate) planted: usize,
    /// Executions that are over, where many are.
    pub(crate) finished: usize,
}

impl Scale {
    pub(crate) fn full(runs: usize) -> Self {
        Self {
            runs,
            alone: 1_000,
            rate: 20_000,
            outstanding: 10_000,
            idle_tenants: 200,
            provisioned: 60,
            cold: 60,
            open_tenants: 1_000,
            shared_tenants: 10_000,
            beside: Duration::from_secs(20),
            backlog: 1_000_000,
            planted: 1_500_000,
            finished: 10_000_000,
        }
    }

    /// Enough to see that everything works.
    pub(crate) fn quick(runs: usize) -> Self {
        Self {
            runs,
            alone: 200,
            rate: 5_000,
            outstanding: 5_000,
            idle_tenants: 50,
            provisioned: 20,
            cold: 20,
            open_tenants: 100,
            shared_tenants: 500,
            beside: Duration::from_secs(6),
            backlog: 50_000,
            planted: 100_000,
            finished: 2_000_000,
        }
    }
}

/// How many executions are in flight where many are.
pub(super) const IN_FLIGHT: usize = 1_000;

/// How many executions the work by hand takes at once.
pub(super) const BATCH: usize = 256;

/// How many that is in a second.
pub(super) fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
