//! The engine's store on SQLite: one store is one file, and one file is one tenant.
//!
//! The file is in write-ahead-log mode with `synchronous=FULL`: what a flush reported is on the disk. It may
//! be opened by several processes at once; SQLite's lock on the file keeps their transactions apart. This
//! crate knows the statements; what they are for is decided by `cloacina-core`. Its twin on PostgreSQL has
//! the same files and the same names of statements.
//!
//! # Threads
//!
//! A store has no thread and no timer of its own. It has two connections, one that writes and one that only
//! reads and so never waits for the writer; while nothing happens [it has none][rest], so that ten thousand
//! idle files cost some memory only. All stores of a process share one small runtime, on which the engine
//! runs their futures; the calls into SQLite happen there directly, since a hop to another thread would take
//! longer than most of them. A lock is never held across an `.await`, and a file that another process has
//! locked is waited for without holding a thread. Whoever wants to write to a file, or to read from it, waits
//! for its turn without a thread as well, so that a slow file holds two of them at most. What may take long
//! runs on threads and connections of its own.
//!
//! # When a commit fails
//!
//! SQLite decides every commit before it answers. Where writing or syncing the log fails, the transaction is
//! rolled back: no reader will see it, and the next commit writes over its pages. So a flush never ends as
//! [`StoreErrorKind::Unknown`][unknown]: either it is committed, or nothing was written. (After a power
//! failure at just that moment the log may hold the whole commit after all. Then its runner is gone as well,
//! and what was recorded is adopted like everything that it recorded before.)
//!
//! [rest]: cloacina_core::store::Store::rest
//! [unknown]: cloacina_core::store::StoreErrorKind::Unknown

mod across;
mod address;
mod audit;
mod children;
mod connect;
mod descriptors;
mod directory;
mod doorbell;
mod due;
mod error;
mod execution;
mod expand;
mod files;
mod flush;
#[cfg(target_os = "linux")]
mod follow;
mod guest;
mod holds;
mod inspect;
mod keys;
mod long;
mod migrate;
mod opener;
#[cfg(test)]
mod plans;
mod registry;
mod release;
mod row;
mod rows;
mod runner;
mod runtime;
mod schedule;
mod store;
mod tenant;
mod time;
mod transaction;
mod wait;
mod workflow;

pub use across::Across;
pub use address::{FileId, FileIdentity, SqliteAddress};
pub use directory::{Directory, DueFile};
pub use error::deleted_log;
pub use files::set_max_open_files;
pub use guest::{Opened, check_as_guest, find_as_guest, flush_as_guest, prepare_for_data};
pub use inspect::{file_findings, findings, version, versions};
pub use release::{Release, release_with};
pub use store::SqliteStore;
