//! Tenants' data through the public API, in every placement.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]

mod across;
mod child;
mod crash;
mod credentials;
mod doctor;
mod ending;
mod isolation;
mod ledger;
mod metrics;
mod mistake;
mod model;
mod nested;
mod pooler;
mod row_security;
mod scope;
mod signal;
mod submit;
mod support;
mod task;
mod testing;
mod transaction;
mod ui;
