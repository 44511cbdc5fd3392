//! Tenants of an older version.

use cloacina_core::store::{PlaceName, Store, StoreErrorKind};
use cloacina_postgres::admin::{AdminErrorKind, Database, DatabaseAdmin, TenantConfig};
use cloacina_postgres::{Migration, PostgresOptions, PostgresStore};

use crate::support::{client, fresh_database};
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

/// Who owns the schema `cloacina` and what is in it, and who may do what with it.
const OWNED_AND_GRANTED: &str = "
    WITH object (what, owner, rights) AS (
        SELECT 'schema', nspowner, nspacl FROM pg_namespace WHERE nspname = 'cloacina'
        UNION ALL
        SELECT relkind::text || ' ' || relname, relowner, coalesce(relacl, acldefault('r', relowner)) FROM pg_class
        WHERE relnamespace = 'cloacina'::regnamespace AND relkind IN ('r', 'S')
        UNION ALL
        SELECT relname || '.' || attname, relowner, attacl FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE relnamespace = 'cloacina'::regnamespace AND attacl IS NOT NULL
        UNION ALL
        SELECT pg_proc.oid::regprocedure::text, proowner, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc
        WHERE pronamespace = 'cloacina'::regnamespace
    )
    SELECT format('%s of %s: %s', what, pg_get_userbyid(owner), ARRAY(SELECT unnest(rights)::text ORDER BY 1)) FROM object ORDER BY 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_taken_over_at_an_older_version_grants_what_a_new_one_does() {
    let server = cloacina_testing::cluster::Cluster::shared().unwrap();
    let (new, old) = (fresh_database().await, fresh_database().await);
    let admin = async |url: &str| {
        server.make_administrator(url).await.unwrap();
        DatabaseAdmin::new(Database::new(url, url.rsplit('/').next().unwrap(), 1))
    };
    admin(&new).await.list_tenants().await.unwrap();
    let scripts = "SELECT number, checksum FROM cloacina.migration WHERE scope = 'control' AND number <= 2";
    let new = client(&server.superuser_url_of(&new)).await;
    let scripts = new.query(scripts, &[]).await.unwrap();

    // As the program of version 2 left it: without the functions and tables that came later, in the hands of
    // the owner.
    let admin = admin(&old).await;
    let login = client(&old).await;
    login.batch_execute("CREATE SCHEMA cloacina; SET search_path = cloacina, pg_temp").await.unwrap();
    login.batch_execute(include_str!("../../migrations/control_0001_control.sql")).await.unwrap();
    login.batch_execute(include_str!("../../migrations/control_0002_tenants.sql")).await.unwrap();
    for script in scripts {
        let (number, checksum): (i32, i64) = (script.get(0), script.get(1));
        let noted = "INSERT INTO cloacina.migration (scope, number, checksum, min_reader) VALUES ('control', $1, $2, 1)";
        login.execute(noted, &[&number, &checksum]).await.unwrap();
    }
    login.batch_execute(include_str!("../../sql/admin_take_over.sql")).await.unwrap();

    admin.list_tenants().await.unwrap();
    let old = client(&server.superuser_url_of(&old)).await;
    let look = async |client: &tokio_postgres::Client| -> Vec<String> {
        client.query(OWNED_AND_GRANTED, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    let (of_new, of_old) = (look(&new).await, look(&old).await);
    assert!(
        of_new.iter().all(|one| one.contains(" of cloacina_owner: ")) && of_new.len() > 40,
        "{of_new:#?}"
    );
    assert_eq!(of_old, of_new);
}
