//! The same work written by hand: the limit that the engine is measured against.
//!
//! The same tables, made by the engine's own migrations; the same statements, from the engine's own files;
//! the same flights and commits; and nothing around them: no scheduling, no waiting, no types between the
//! numbers and the driver. One batch goes through all of its transactions before its connection takes the
//! next.

pub(crate) mod postgres;
mod share;
pub(crate) mod sqlite;

use std::time::Duration;

use anyhow::Result;

use crate::shape::Shape;

/// Places with the engine's tables and connections to them.
pub(crate) enum Hand {
    Sqlite(sqlite::Hand),
    Postgres(postgres::Hand),
}

impl Hand {
    /// The latencies of executions one after another, in the first place.
    pub(crate) async fn alone(&mut self, shape: Shape, count: usize) -> Result<Vec<Duration>> {
        match self {
            Self::Sqlite(hand) => tokio::task::block_in_place(|| hand.alone(shape, count)),
            Self::Postgres(hand) => hand.alone(shape, count).await,
        }
    }

    /// How long executions take in batches of `batch` per place and transaction.
    pub(crate) async fn batches(&mut self, shape: Shape, count: usize, batch: usize) -> Result<Duration> {
        match self {
            Self::Sqlite(hand) => tokio::task::block_in_place(|| hand.batches(shape, count, batch)),
            Self::Postgres(hand) => hand.batches(shape, count, batch).await,
        }
    }

    /// How long it takes to record executions in the first place, of which nothing is claimed, in batches of
    /// `batch` per transaction.
    pub(crate) async fn submits(&mut self, shape: Shape, count: usize, batch: usize) -> Result<Duration> {
        match self {
            Self::Sqlite(hand) => tokio::task::block_in_place(|| hand.submits(shape, count, batch)),
            Self::Postgres(hand) => hand.submits(shape, count, batch).await,
        }
    }

    /// The times of `count` groups of `group` commits that change one row each, one after another.
    pub(crate) async fn bare(&mut self, count: usize, group: usize) -> Result<Vec<Duration>> {
        match self {
            Self::Sqlite(hand) => tokio::task::block_in_place(|| hand.bare(count, group)),
            Self::Postgres(hand) => hand.bare(count, group).await,
        }
    }
}
