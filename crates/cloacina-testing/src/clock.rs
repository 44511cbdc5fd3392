//! A clock that a test moves by hand.

pub use cloacina_core::clock::ManualClock;
