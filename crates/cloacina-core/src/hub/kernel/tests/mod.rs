//! The kernel beside a database that is nothing but rows: no store, no runtime, no clock.

mod histories;
mod rounds;
/// The rows of the store in memory.
#[path = "../../../../../cloacina-testing/src/memory"]
#[expect(dead_code, reason = "the store in memory needs more of the rows than the kernel")]
mod rows {
    pub(crate) mod place;
    mod schedule;
}
mod single;
mod world;
