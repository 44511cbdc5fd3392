//! The behaviour that every store must show, each on a file of its own.

use std::sync::Arc;

use async_trait::async_trait;
use cloacina_core::store::Store;
use cloacina_sqlite::SqliteStore;
use cloacina_testing::conformance::Fixture;

use crate::support::File;

struct Sqlite;

#[async_trait]
impl Fixture for Sqlite {
    type Database = File;

    async fn create(&self) -> File {
        File::new()
    }

    async fn open(&self, database: &File) -> Arc<dyn Store> {
        SqliteStore::open(&database.url()).await.unwrap()
    }
}

cloacina_testing::store_conformance!(Sqlite);
