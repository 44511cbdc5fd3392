//! The HTTP interface over a real engine.

#[macro_use]
mod service;

mod api;
mod bad_input;
mod events;
mod keys;
mod openapi;
mod pages;
mod roles;
