//! The kernel beside a database that is nothing but rows: no store, no runtime, no clock.

mod histories;
mod rounds;
#[path = "../../../../../cloacina-testing/src/memory/place.rs"]
#[expect(dead_code, reason = "the store in memory needs more of the rows than the kernel")]
mod rows;
mod single;
mod world;
