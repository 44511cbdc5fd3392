//! What the tests say in one line.

use std::sync::Arc;

use cloacina_postgres::{PostgresOptions, PostgresStore};
use cloacina_testing::cluster::Cluster;

/// The URL of an empty database.
pub(crate) async fn fresh_database() -> String {
    Cluster::shared().unwrap().fresh_database().await.unwrap()
}

pub(crate) async fn connect(url: &str) -> Arc<PostgresStore> {
    PostgresStore::connect(url, PostgresOptions { max_connections: 6, ..PostgresOptions::default() })
        .await
        .unwrap()
}
