//! The store on PostgreSQL: what every store must do, and what is particular to this one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]

mod address;
mod alternate;
mod cancelled;
mod defaults;
mod due;
mod migrate;
mod plan;
mod pooler;
mod race;
mod retention;
mod schema;
mod shared;
mod support;
mod template;
mod tenant;
mod unreadable;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use cloacina_core::store::{PlaceName, Store};
use cloacina_testing::conformance::Fixture;

struct Postgres;

#[async_trait]
impl Fixture for Postgres {
    type Database = String;

    async fn create(&self) -> String {
        support::fresh_database().await
    }

    async fn open(&self, url: &String) -> Arc<dyn Store> {
        support::connect(url).await
    }

    fn places(&self) -> Vec<PlaceName> {
        ["acme", "Globex"].map(|name| PlaceName::Named(name.to_owned())).into()
    }
}

cloacina_testing::store_conformance!(Postgres);
