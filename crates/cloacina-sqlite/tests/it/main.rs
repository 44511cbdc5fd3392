//! The store on SQLite: what is particular to files, and the steps of a flush.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]
mod clock;
mod conformance;
mod directory;
mod file;
mod flush;
mod long;
mod process;
mod support;
