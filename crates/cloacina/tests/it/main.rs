//! The public surface of the crate.

mod macros;
mod ui;
