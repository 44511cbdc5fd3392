//! The tests of what the other tests stand on.
#![allow(clippy::unwrap_used, reason = "clippy takes only the test functions for tests, not their helpers")]

mod clock;
mod cluster;
mod conformance;
