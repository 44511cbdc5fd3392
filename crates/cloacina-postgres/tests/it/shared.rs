//! The store where tenants share tables: as an operator's login that row security does not pass by.

use std::sync::Arc;

use async_trait::async_trait;
use cloacina_core::store::{PlaceName, Store};
use cloacina_postgres::admin::{Database, DatabaseAdmin};
use cloacina_testing::cluster::Cluster;
use cloacina_testing::conformance::Fixture;

use crate::support;

struct Shared;

#[async_trait]
impl Fixture for Shared {
    type Database = String;

    async fn create(&self) -> String {
        let url = support::fresh_database().await;
        Cluster::shared().unwrap().make_administrator(&url).await.unwrap();
        let name = url.rsplit('/').next().unwrap();
        let admin = DatabaseAdmin::new(Database::new(&url, name, 1));
        for tenant in ["acme", "Globex"] {
            admin.create_shared_tenant(tenant).await.unwrap();
        }
        // The administrator may be what it likes; who runs the engine is an ordinary login.
        let engine = Cluster::shared().unwrap().ordinary_login(&url).await.unwrap();
        let login = engine.split("://").nth(1).unwrap().split(':').next().unwrap();
        admin.allow_operator(login).await.unwrap();
        engine
    }

    async fn open(&self, url: &String) -> Arc<dyn Store> {
        support::connect(url).await
    }

    fn places(&self) -> Vec<PlaceName> {
        ["acme", "Globex"].map(|name| PlaceName::Tenant(name.to_owned())).into()
    }
}

cloacina_testing::store_conformance!(Shared);
