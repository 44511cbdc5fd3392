//! The public surface of the crate.
//!
//! What the engine promises is stated once and holds on every database: `on_each_store!` runs a test on a
//! SQLite file and on a PostgreSQL database of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]

#[macro_use]
mod support;

mod address;
#[cfg(feature = "postgres")]
mod admin;
#[cfg(feature = "postgres")]
mod attack;
mod audit;
mod blocking;
mod bulk;
mod by_name;
mod children;
mod configuration;
mod context;
mod control;
#[cfg(feature = "postgres")]
mod database;
mod defect;
mod dependency;
mod due;
mod edge;
mod failure;
mod given;
mod guide;
mod hostile;
mod keys;
mod limit;
#[cfg(feature = "postgres")]
mod login;
mod macros;
mod many;
mod messages;
mod names;
#[cfg(feature = "postgres")]
mod neighbour;
mod outcome;
#[cfg(feature = "postgres")]
mod pooler;
mod process;
mod read;
mod rerun;
#[cfg(feature = "sqlite")]
mod rest;
mod restored;
mod rule;
mod run;
#[cfg(feature = "postgres")]
mod scarce;
mod schedule;
mod serve;
#[cfg(feature = "postgres")]
mod shared;
mod shutdown;
mod stream;
mod submit;
mod suspend;
mod tenant;
#[cfg(all(feature = "postgres", feature = "sqlite"))]
mod tenants;
mod testing;
mod trace;
// What the compiler says depends on the features.
#[cfg(feature = "data")]
mod ui;
mod untrusted;
mod version;
mod views;
mod wait;
mod workflows;
