//! The store where tenants share tables: as an operator's login that row security does not pass by.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cloacina_core::clock::{Clock as _, SystemClock};
use cloacina_core::store::{DueKind, Flush, NewExecution, PlaceFlush, PlaceName, Store};
use cloacina_postgres::admin::{Database, DatabaseAdmin};
use cloacina_testing::cluster::Cluster;
use cloacina_testing::conformance::Fixture;
use jiff::Timestamp;

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

#[tokio::test]
async fn bells_of_several_tenants_are_lowered_together_but_for_one_that_is_being_rung() {
    let engine = Shared.create().await;
    let store = support::connect(&engine).await;
    let beside = support::client(&Cluster::shared().unwrap().superuser_url_of(&engine)).await;
    let mut places = Vec::new();
    for name in Shared.places() {
        let place = Arc::new(store.place_open(&name).await.unwrap());
        for start_at in [None, Some(SystemClock.now() + Duration::from_secs(3600))] {
            let new = NewExecution { start_at, ..support::new_execution(&[0], &[]) };
            let of = PlaceFlush {
                place: Arc::clone(&place),
                first_claim: false,
                submits: vec![Arc::new(new)],
                outcomes: Vec::new(),
                timed: Vec::new(),
                related: Vec::new(),
                claim: None,
            };
            store.flush(0, &Flush { runner: None, now: None, places: vec![of] }).await.unwrap();
        }
        places.push(place);
    }
    // As if they had been claimed.
    beside.batch_execute("DELETE FROM cloacina_shared.ready_tasks WHERE due_at <= now()").await.unwrap();
    let due =
        async || -> Vec<_> { store.bell_due(None).await.unwrap().due.iter().map(|due| due.tenant).collect() };
    assert_eq!(due().await.len(), 2);

    let rung = places[1].tenant;
    beside.batch_execute("BEGIN").await.unwrap();
    let ring = "SELECT FROM cloacina.doorbell WHERE tenant_id = $1 FOR KEY SHARE";
    beside.query_one(ring, &[&rung.0]).await.unwrap();
    let next = store.bell_lower(&places, DueKind::ALL, None).await.unwrap();
    assert!(next.len() == 2 && next.iter().all(|next| next.work > Some(next.now)), "{next:?}");
    assert_eq!(due().await, [rung]);
    beside.batch_execute("COMMIT").await.unwrap();

    let earliest: Vec<_> =
        store.bell_lower(&places, DueKind::ALL, None).await.unwrap().iter().map(|next| next.work).collect();
    assert_eq!(due().await, []);
    let bells = "SELECT due_at FROM cloacina.doorbell WHERE due_at IS NOT NULL ORDER BY due_at";
    let bells: Vec<Option<Timestamp>> =
        beside.query(bells, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(bells, earliest);
}
