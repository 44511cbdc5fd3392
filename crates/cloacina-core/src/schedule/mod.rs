//! When workflows run by themselves.
//!
//! Everything here is decided without asking or waiting: what a schedule says, when it fires, what it owes
//! and what becomes of that go in and out as values. What is written is decided under the lock of the
//! schedule's row, by [`decide`]; see `docs/design/schedules.md`.

mod calendar;
pub(crate) mod decide;
mod definition;
mod expression;
mod fire;
mod owed;

pub(crate) use calendar::{Calendar, before as just_before};
pub use definition::{CatchUp, Missed, Overlap, Redo, Schedule};
pub use fire::Fire;
