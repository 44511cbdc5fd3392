//! A tenant's own data: what its tasks read and write, reachable only in a transaction that belongs to that
//! tenant.

// Without a database there is nothing to be reached.
#![cfg(any(feature = "sqlite", feature = "postgres"))]

mod access;
#[cfg(feature = "postgres")]
mod across;
mod connection;
#[cfg(feature = "postgres")]
mod credentials;
mod db;
mod declaration;
mod declared;
mod doctor;
mod error;
mod gate;
mod metrics;
mod migration;
mod name;
#[cfg(feature = "postgres")]
mod postgres;
mod source;
#[cfg(feature = "sqlite")]
mod sqlite;
mod task;
#[cfg(feature = "postgres")]
mod token;
mod tx;
mod versions;

#[cfg(feature = "postgres")]
pub use across::{Across, ReadTx, Scope};
#[cfg(feature = "postgres")]
pub use credentials::{CredentialSource, TenantLogin};
pub use db::TenantDb;
pub use declaration::{Data, DataBuilder};
pub use doctor::Finding;
pub use error::{DataError, DataErrorKind, Result};
pub use gate::Refusal;
pub use metrics::DataMetrics;
pub use migration::Migration;
pub use sea_orm;
#[doc(hidden)]
pub use source::{Source, TaskData};
#[doc(hidden)]
pub use task::{TaskCall, db_of, in_transaction};
pub use tx::TenantTx;

/// The error of a runner that was opened without data.
#[doc(hidden)]
#[must_use]
pub fn without_data(why: &str) -> DataError {
    DataError::without(why)
}
