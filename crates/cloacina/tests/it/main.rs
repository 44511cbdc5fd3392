//! The public surface of the crate.

mod macros;
