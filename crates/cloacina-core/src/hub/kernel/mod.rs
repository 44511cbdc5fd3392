//! The kernel: what a flush did, or what was read, taken over into the state of a place.
//!
//! Nothing here waits, asks a database or starts anything. A place's state, what happened and the time go in;
//! [`Effects`] come out, and whoever called has them [performed](super::Hub::perform) once the state is free.
//! So what the engine decides can be tested without a database, a runtime or a clock.

mod apply;
mod effects;
mod end;
mod plan;
mod reconcile;
mod report;
#[cfg(test)]
mod tests;

pub(crate) use effects::{Effects, Moment, Run, Start};
pub(crate) use reconcile::Loaded;
pub(crate) use report::{Report, Short};
