//! Processes that are killed or stopped, databases that go away, and answers that are lost.
//!
//! What must hold is said once, in `check`; what happens on the way is decided by seeds, which a failure
//! prints.
//!
//! | variable | stands for |
//! |---|---|
//! | `CLOACINA_SEED` | the one seed to run |
//! | `CLOACINA_SEEDS` | how many seeds the store that fails is tried with; 20 in a usual run |
//! | `CLOACINA_STORMS` | how often all sessions are ended again and again; 1 in a usual run |
//! | `CLOACINA_YEAR` | that 1,000 schedules fire for a year; some of them for a month in a usual run |
//! | `CLOACINA_KILLS` | how many processes are killed in each database; 10 in a usual run |
#![allow(clippy::unwrap_used, reason = "clippy takes only the test functions for tests, not their helpers")]

mod check;
mod faults;
mod fence;
mod journal;
mod kill;
#[cfg(feature = "postgres")]
mod outage;
mod process;
mod workload;
mod year;

/// Does nothing in a usual run; the other tests start this binary once more with this test and a role.
#[test]
fn a_child_does_what_its_parent_says() {
    process::be_a_child();
}
