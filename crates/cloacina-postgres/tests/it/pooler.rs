//! Behind a pooler in transaction mode.

use std::time::Duration;

use cloacina_core::store::{PlaceName, Store, StoreErrorKind, TenantLimits, TenantState};
use cloacina_postgres::admin::{Database, DatabaseAdmin, TenantConfig, TenantCredentials};
use cloacina_testing::cluster::Cluster;
use cloacina_testing::pooler::Pooler;

use crate::support::{Handle, client, connect, fresh_database, new_execution};

/// With one server connection, so that what one client does to it is what the next one finds.
async fn pooler(url: &str) -> Pooler {
    Pooler::start(&[url], 1).await.unwrap()
}

#[tokio::test]
async fn hints_are_heard_beside_the_pooler() {
    let url = fresh_database().await;
    let pooler = pooler(&url).await;
    let listening = connect(&pooler.url_with_direct(&url)).await;
    let mut hints = listening.hints();
    // Nothing in the store polls: without hints there is no change, however long one waits.
    let mut heard = async || tokio::time::timeout(Duration::from_secs(30), hints.changed()).await;
    // The first one says that they are heard from now on.
    heard().await.unwrap().unwrap();
    let writing = Handle::through(&url, Some(&pooler.url(&url))).await;
    writing.submit(new_execution(&[0], &[])).await;
    heard().await.unwrap().unwrap();
}

#[tokio::test]
async fn an_administrator_works_through_the_pooler() {
    let url = fresh_database().await;
    let server = Cluster::shared().unwrap();
    server.make_administrator(&url).await.unwrap();
    let database = url.rsplit('/').next().unwrap();
    let pooler = pooler(&url).await;
    let admin = DatabaseAdmin::new(Database::new(&pooler.url_with_direct(&url), database, 2));
    // The credentials lead through the pooler too. Whether that knows them is for whoever runs it, so they
    // are tried on the server.
    let opens = async |credentials: &TenantCredentials| {
        let direct = server.url(&credentials.username, &credentials.password, database);
        let through = pooler.url_with_direct(&direct).replacen("postgres://", "postgresql://", 1);
        assert_eq!(credentials.connection_string, through);
        connect(&direct).await.place_open(&PlaceName::Default).await.unwrap().name == "acme"
    };

    let preflight = admin.preflight().await.unwrap();
    assert!(preflight.is_ready());
    // Other databases are those of other tests.
    let ours = preflight.hardening.iter().filter(|statement| !statement.contains("CONNECT ON DATABASE"));
    let superuser = client(&server.superuser_url_of(&url)).await;
    superuser.batch_execute(&ours.map(String::as_str).collect::<Vec<_>>().concat()).await.unwrap();
    let username = format!("{database}_acme");
    let config = TenantConfig { schema_name: "acme".to_owned(), username, password: String::new() };
    let first = admin.create_tenant(config).await.unwrap();
    assert!(opens(&first).await);
    let mut limits = TenantLimits::default();
    limits.max_queue_length = Some(7);
    admin.set_limits("acme", limits).await.unwrap();
    admin.suspend("acme").await.unwrap();
    let listed = admin.list_tenants().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].state, listed[0].limits.max_queue_length), (TenantState::Suspended, Some(7)));
    admin.resume("acme").await.unwrap();
    let second = admin.rotate_credentials_within("acme", Duration::ZERO).await.unwrap();
    assert_ne!(second.username, first.username);
    assert!(opens(&second).await);
    assert_eq!(admin.reap_sessions().await.unwrap(), 0);
    assert!(admin.verify_tenant("acme").await.unwrap().findings.is_empty());
    admin.remove_tenant("acme", &second.username).await.unwrap();
    assert!(admin.list_tenants().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_pooler_that_the_url_does_not_tell_of_is_named_when_a_prepared_statement_is_gone() {
    let url = fresh_database().await;
    let pooler = pooler(&url).await;
    let t = Handle::through(&url, Some(&pooler.plain_url(&url))).await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    let until_refused = async {
        loop {
            // The pooler makes another server connection, on which nothing is prepared; unless it gives up
            // its client's.
            t.beside.execute(end, &[]).await.unwrap();
            if let Err(error) = t.store.execution_count(&t.place, 10).await
                && error.to_string().contains("26000")
            {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(30), until_refused).await.unwrap();
    assert_eq!(error.kind(), StoreErrorKind::Transient);
    assert!(error.to_string().contains("`?pooler=transaction`"), "{error}");
}

#[tokio::test]
async fn a_pooler_that_the_url_does_not_tell_of_is_named_when_another_clients_statement_is_there() {
    let url = fresh_database().await;
    let pooler = pooler(&url).await;
    let t = Handle::through(&url, Some(&pooler.plain_url(&url))).await;
    // As another process does it that counts its statements as ours does.
    let other = client(&pooler.plain_url(&url)).await;
    let text: String = (0..20_000)
        .map(|number| {
            format!("DO $$ BEGIN EXECUTE 'PREPARE s{number} AS SELECT 1'; EXCEPTION WHEN duplicate_prepared_statement THEN NULL; END $$;")
        })
        .collect();
    other.batch_execute(&text).await.unwrap();
    let error = t.store.execution_count(&t.place, 10).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Transient, "{error}");
    assert!(error.to_string().contains("42P05"), "{error}");
    assert!(error.to_string().contains("`?pooler=transaction`"), "{error}");
}

/// Whatever the URL says of it.
#[tokio::test]
async fn a_poolers_session_is_left_as_it_was() {
    let url = fresh_database().await;
    let pooler = pooler(&url).await;
    // The name of a client the pooler sets itself.
    let settings = "SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings \
                    WHERE source = 'session' AND name <> 'application_name'";
    let other = client(&pooler.plain_url(&url)).await;
    let before: Option<String> = other.query_one(settings, &[]).await.unwrap().get(0);
    for through in [pooler.plain_url(&url), pooler.url(&url)] {
        let t = Handle::through(&url, Some(&through)).await;
        t.submit(new_execution(&[0], &[])).await;
        let after: Option<String> = other.query_one(settings, &[]).await.unwrap().get(0);
        assert_eq!(after, before);
    }
}
