//! Places: their names, their migrations and the rights they need.

use std::sync::Arc;

use cloacina_core::store::{PlaceName, Store, StoreErrorKind};
use cloacina_postgres::{Migration, PostgresOptions, PostgresStore, SchemaName};
use cloacina_testing::cluster::Cluster;

use crate::support;

fn named(name: &str) -> PlaceName {
    PlaceName::Named(name.to_owned())
}

#[test]
fn a_name_is_kept_as_given_or_refused() {
    for name in ["acme", "Acme", "_9", "public", &"a".repeat(63)] {
        assert_eq!(name.parse::<SchemaName>().unwrap().as_str(), name);
    }
    for name in [
        "",
        "a-b",
        "a\"b",
        "käse",
        "pg_x",
        "PG_X",
        "information_schema",
        "cloacina",
        "Cloacina_x",
        &"a".repeat(64),
    ] {
        assert_eq!(name.parse::<SchemaName>().unwrap_err().kind(), StoreErrorKind::Configuration, "{name}");
    }
}

#[tokio::test]
async fn names_that_differ_in_case_only_are_told_apart_by_an_error() {
    let store = support::connect(&support::fresh_database().await).await;
    store.place_open(&named("acme")).await.unwrap();
    let error = store.place_open(&named("Acme")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Configuration);
    assert!(error.to_string().contains("`Acme`") && error.to_string().contains("`acme`"), "{error}");
}

#[tokio::test]
async fn a_login_that_may_not_create_is_told_what_to_grant() {
    let url = support::fresh_database().await;
    let server = Cluster::shared().unwrap();
    let admin = support::client(&server.superuser_url_of(&url)).await;
    let name = format!("poor_{}", url.rsplit('_').next().unwrap().split('?').next().unwrap());
    admin.batch_execute(&format!("CREATE ROLE {name} LOGIN PASSWORD 'poor'")).await.unwrap();
    let database = url.rsplit('/').next().unwrap().split('?').next().unwrap();
    let poor = support::connect(&server.url(&name, "poor", database)).await;
    let error = poor.place_open(&named("acme")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Place);
    assert!(
        error.to_string().contains(&format!("GRANT CREATE ON DATABASE \"{database}\" TO \"{name}\"")),
        "{error}"
    );
}

#[tokio::test]
async fn a_login_that_may_not_use_the_control_schema_is_told_what_to_grant() {
    let t = support::Handle::new().await;
    let server = Cluster::shared().unwrap();
    let admin = support::client(&server.superuser_url_of(&t.url)).await;
    let database = t.url.rsplit('/').next().unwrap().split('?').next().unwrap();
    let name = format!("guest_{}", &database[5..]);
    admin.batch_execute(&format!("CREATE ROLE {name} LOGIN PASSWORD 'guest'")).await.unwrap();
    let guest = support::connect(&server.url(&name, "guest", database)).await;
    let error = guest.place_open(&named("acme")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Place);
    assert!(error.to_string().contains("GRANT USAGE ON SCHEMA cloacina"), "{error}");
}

async fn newer(url: &str, min_reader: i32) -> Arc<PostgresStore> {
    let further_migrations = vec![Migration {
        number: 2,
        text: "ALTER TABLE workflow_executions ADD COLUMN note text".to_owned(),
        min_reader,
    }];
    let options = PostgresOptions { max_connections: 4, further_migrations, ..PostgresOptions::default() };
    PostgresStore::connect(url, options).await.unwrap()
}

#[tokio::test]
async fn a_newer_program_migrates_a_place_while_an_older_one_works_in_it() {
    let t = support::Handle::new().await;
    let execution = t.submit(support::new_execution(&[0], &[0])).await;
    let place = newer(&t.url, 1).await.place_open(&named("acme")).await.unwrap();
    assert_eq!(place, *t.place);
    assert_eq!(t.flush(vec![], vec![support::completed(execution, 0, &[])], 0).await.closed.len(), 1);
    t.load(execution).await;
    // The migration allows it, so the older program may open the place too.
    support::connect(&t.url).await.place_open(&named("acme")).await.unwrap();
}

#[tokio::test]
async fn a_place_that_needs_a_newer_program_is_refused() {
    let url = support::fresh_database().await;
    newer(&url, 2).await.place_open(&named("acme")).await.unwrap();
    let error = support::connect(&url).await.place_open(&named("acme")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Version, "{error}");
}

#[tokio::test]
async fn a_migration_with_another_text_is_refused() {
    let t = support::Handle::new().await;
    t.beside.batch_execute("UPDATE cloacina.migration SET checksum = 1 WHERE scope = 'place'").await.unwrap();
    let error = support::connect(&t.url).await.place_open(&named("acme")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Version, "{error}");
}

#[tokio::test]
async fn a_schema_that_is_gone_is_an_error_of_the_place() {
    let t = support::Handle::new().await;
    t.submit(support::new_execution(&[0], &[0])).await;
    t.beside.batch_execute("DROP SCHEMA acme CASCADE").await.unwrap();
    let error = t.start(0, vec![support::new_execution(&[0], &[0])], vec![], 0).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Place);
    assert!(error.to_string().contains("`acme`"), "{error}");
}
