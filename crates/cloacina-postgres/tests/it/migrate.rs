//! Tenants of an older version.

use cloacina_core::store::{PlaceName, Store, StoreErrorKind};
use cloacina_postgres::admin::{AdminErrorKind, Database, DatabaseAdmin, TenantConfig};
use cloacina_postgres::{Migration, PostgresOptions, PostgresStore};

use crate::support::client;
use crate::tenant::Tenant;

fn migrations(last: i32) -> Vec<Migration> {
    (2..=last)
        .map(|number| Migration {
            number,
            text: format!("CREATE TABLE extra_{number} (id uuid)"),
            min_reader: 1,
        })
        .collect()
}

fn admin(tenant: &Tenant, version: i32) -> DatabaseAdmin {
    let name = tenant.operator.rsplit('/').next().unwrap();
    DatabaseAdmin::with_migrations(Database::new(&tenant.operator, name, 2), migrations(version))
}

async fn open(url: &str, version: i32) -> Result<(), cloacina_core::store::StoreError> {
    let options = PostgresOptions {
        max_connections: 3,
        further_migrations: migrations(version),
        ..PostgresOptions::default()
    };
    let store = PostgresStore::connect(url, options).await.unwrap();
    let opened = store.place_open(&PlaceName::Named("acme".to_owned())).await.map(drop);
    store.close().await.unwrap();
    opened
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_migrates_tenants_one_after_another_and_again_where_it_failed() {
    let tenant = Tenant::new().await;
    let new = admin(&tenant, 2);
    let name = tenant.operator.rsplit('/').next().unwrap();
    let config = TenantConfig {
        schema_name: "globex".to_owned(),
        username: format!("{name}_globex"),
        password: String::new(),
    };
    admin(&tenant, 1).create_tenant(config).await.unwrap();
    // Somebody is in the way of one of them.
    let superuser =
        client(&cloacina_testing::cluster::Cluster::shared().unwrap().superuser_url_of(&tenant.operator))
            .await;
    superuser.batch_execute("CREATE TABLE globex.extra_2 ()").await.unwrap();
    let migrated = new.migrate_tenants(&[]).await.unwrap();
    let told: Vec<_> =
        migrated.iter().map(|one| (&*one.schema_name, one.from, one.to.as_ref().ok())).collect();
    assert_eq!(told, [("acme", 1, Some(&2)), ("globex", 1, None)]);
    superuser.batch_execute("DROP TABLE globex.extra_2").await.unwrap();
    let migrated = new.migrate_tenants(&["globex"]).await.unwrap();
    assert_eq!(migrated.len(), 1);
    assert!(migrated[0].to.is_ok());
    assert!(new.migrate_tenants(&[]).await.unwrap().is_empty());
    let owner = "SELECT string_agg(DISTINCT tableowner::text, ',') FROM pg_tables WHERE schemaname IN ('acme', 'globex')";
    let owner: String = superuser.query_one(owner, &[]).await.unwrap().get(0);
    assert_eq!(owner, "cloacina_owner");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_own_login_works_one_version_back_and_is_sent_to_the_administrator_beyond() {
    let tenant = Tenant::new().await;
    open(&tenant.own, 1).await.unwrap();
    open(&tenant.own, 2).await.unwrap();
    let error = open(&tenant.own, 3).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Place);
    assert!(error.to_string().contains("migrate_tenants"), "{error}");
    let migrated = admin(&tenant, 3).migrate_tenants(&["acme"]).await.unwrap();
    assert_eq!(migrated[0].to.as_ref().unwrap(), &3);
    open(&tenant.own, 3).await.unwrap();
    // A table that no release has made is something to be looked at.
    let error = admin(&tenant, 3).verify_tenant("acme").await.unwrap_err();
    assert_eq!(error.kind(), AdminErrorKind::NotIsolated);
    assert!(error.to_string().contains("extra_2"), "{error}");
}
