//! What the engine says of what happens, in events and spans of `tracing`.
//!
//! The engine works on threads of its own, so the subscriber is that of the whole program, and what it hears
//! is kept in [`heard`]; each test has a tenant of its own name.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]

#[path = "../it/support.rs"]
#[macro_use]
#[expect(dead_code, reason = "the other tests of this crate need more of it")]
mod support;

mod heard;
mod process;

mod attempts;
mod orphans;
mod runners;
mod schedules;
mod secrets;
mod slots;
mod streaks;
mod waits;
