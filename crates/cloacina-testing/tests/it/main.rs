//! The clock, and the suite for stores on the store in memory.

mod clock;
mod conformance;
