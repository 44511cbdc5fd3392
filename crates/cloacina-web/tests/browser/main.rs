//! The pages in a browser: real clicks for every action, narrow screens, no JavaScript, accessibility; and a
//! crawl that looks for what a viewer must not see.

mod accessible;
mod actions;
mod crawl;
mod demo;
mod live;
mod plain;
mod tab;
