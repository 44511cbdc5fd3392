//! The kernel beside a database that is nothing but rows: no store, no runtime, no clock.

mod histories;
#[path = "../../../../../cloacina-testing/src/memory/place.rs"]
#[expect(dead_code, reason = "the store in memory needs more of the rows than the kernel")]
mod place;
mod rounds;
#[path = "../../../../../cloacina-testing/src/memory/schedule.rs"]
#[expect(dead_code, reason = "the store in memory needs more of the rows than the kernel")]
mod schedule;
mod single;
mod world;
