//! The HTTP interface over a real engine.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]

#[macro_use]
mod service;

mod api;
mod bad_input;
mod dashboard;
mod events;
mod keys;
mod openapi;
mod pages;
mod roles;
