//! The pages in a browser: real clicks for every action, narrow screens, no JavaScript, accessibility; and a
//! crawl that looks for what a viewer must not see.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]

mod accessible;
mod actions;
mod crawl;
mod demo;
mod live;
mod plain;
mod tab;
