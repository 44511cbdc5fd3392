//! The HTTP interface over a real engine.

mod api;
mod bad_input;
mod events;
mod keys;
mod openapi;
mod roles;
mod service;
