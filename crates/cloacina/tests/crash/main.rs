//! Processes that are killed or stopped, databases that go away, and answers that are lost.
//!
//! What must hold is said once, in `check`; what happens on the way is decided by seeds, which a failure prints.
#![allow(clippy::unwrap_used, reason = "clippy takes only the test functions for tests, not their helpers")]

mod check;
mod faults;
mod journal;
mod workload;
