//! Keys that a service keeps for those whom it lets in.

use cloacina::keys::{KeyHash, KeyId, NewKey};
use cloacina::{ErrorKind, Runner};

use crate::support::{Database, assert_error};

pub(crate) fn new_key(tenant: Option<&str>) -> NewKey {
    NewKey {
        id: KeyId::new(),
        hash: KeyHash([211; 32]),
        parent: None,
        tenant: tenant.map(str::to_owned),
        role: "operator".to_owned(),
        payloads: false,
        name: "night shift".to_owned(),
        created_by: "ada".to_owned(),
        expires_at: None,
    }
}

async fn open(database: &Database) -> Runner {
    database.runner([]).await
}

on_each_store! {
    async fn a_key_is_kept_beside_the_place_of_a_runner(database: Database) {
        let runner = open(&database).await;
        let keys = runner.keys();
        let kept = keys.insert(new_key(Some(runner.place()))).await.unwrap();
        assert_eq!(keys.insert(new_key(Some(runner.place()))).await.unwrap().last_used_at, None);
        runner.shutdown().await.unwrap();
        assert_eq!(keys.find(kept.id.as_str()).await.unwrap_err().kind(), ErrorKind::ShutDown);

        let runner = open(&database).await;
        let keys = runner.keys();
        assert_eq!(keys.find(kept.id.as_str()).await.unwrap(), Some(kept.clone()));
        keys.used(&[kept.id.as_str(), "no id"]).await.unwrap();
        assert!(keys.find(kept.id.as_str()).await.unwrap().unwrap().last_used_at.is_some());
        assert_eq!(keys.list(None, None, usize::MAX).await.unwrap().len(), 2);
        assert_eq!(keys.list(Some(runner.place()), Some(kept.id.as_str()), 10).await.unwrap().len(), {
            usize::from(keys.list(None, None, 1).await.unwrap()[0].id == kept.id)
        });
        assert!(keys.delete(kept.id.as_str()).await.unwrap());
        assert_eq!(keys.prune().await.unwrap(), 0);
        runner.shutdown().await.unwrap();
    }

    async fn a_key_that_cannot_be_kept_is_refused_with_the_reason(database: Database) {
        let runner = open(&database).await;
        let keys = runner.keys();
        let kept = new_key(None);
        keys.insert(kept.clone()).await.unwrap();
        let other = NewKey { hash: KeyHash([1; 32]), ..kept.clone() };
        assert_error(&keys.insert(other).await.unwrap_err(), ErrorKind::Conflict, kept.id.as_str());
        let session = NewKey { parent: Some(KeyId::new()), ..new_key(None) };
        assert_error(&keys.insert(session).await.unwrap_err(), ErrorKind::NotFound, "have a session");
        let error = keys.insert(new_key(Some("nobody"))).await.unwrap_err();
        assert_error(&error, ErrorKind::NotFound, "no tenant `nobody`");
        for bad in [
            NewKey { name: "x".repeat(101), ..new_key(None) },
            NewKey { name: "a\0b".to_owned(), ..new_key(None) },
            NewKey { role: "r".repeat(65), ..new_key(None) },
            NewKey { created_by: "a\nb".to_owned(), ..new_key(None) },
        ] {
            assert_error(&keys.insert(bad).await.unwrap_err(), ErrorKind::Configuration, "cannot be kept");
        }
        let longest = NewKey { name: "\u{1F980}".repeat(100), ..new_key(None) };
        keys.insert(longest).await.unwrap();
        for no_id in ["", "x", "clc_0123456789ab", "'; DROP TABLE x;--", "0123456789\u{e9}"] {
            assert_eq!(keys.find(no_id).await.unwrap(), None);
            assert!(!keys.delete(no_id).await.unwrap());
        }
        assert_eq!(keys.list(None, Some("no id"), 1).await.unwrap_err().kind(), ErrorKind::Configuration);
        runner.shutdown().await.unwrap();
    }

    async fn what_is_said_of_a_key_in_debug_output_has_no_hash(database: Database) {
        let runner = open(&database).await;
        let new = new_key(None);
        let kept = runner.keys().insert(new.clone()).await.unwrap();
        let said = format!("{new:?} {kept:?} {:?}", runner.keys());
        assert!(said.contains("night shift") && !said.contains("211"), "{said}");
        runner.shutdown().await.unwrap();
    }
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_login_can_touch_no_key() {
    use crate::admin::{Administered, connect, runner};
    use cloacina_testing::cluster::Cluster;

    let database = Administered::by_a_provisioner().await;
    let acme = database.tenant("acme").await;
    let operator = runner(&database.url, Some("acme"), "acme").await;
    let kept = operator.keys().insert(new_key(Some("acme"))).await.unwrap();
    let own = runner(&acme.connection_string, None, "acme").await;
    for error in [
        own.keys().insert(new_key(Some("acme"))).await.unwrap_err(),
        own.keys().find(kept.id.as_str()).await.unwrap_err(),
        own.keys().list(Some("acme"), None, 1).await.unwrap_err(),
        own.keys().delete(kept.id.as_str()).await.unwrap_err(),
    ] {
        assert_error(&error, ErrorKind::Configuration, "belongs to a tenant");
    }
    let session = connect(&acme.connection_string).await.unwrap();
    for text in [
        "SELECT id FROM cloacina.api_key",
        "DELETE FROM cloacina.api_key",
        "UPDATE cloacina.api_key SET last_used_at = now()",
        "INSERT INTO cloacina.api_key SELECT * FROM cloacina.api_key",
    ] {
        let error = session.batch_execute(text).await.unwrap_err();
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{text}: {error}");
    }
    assert_eq!(database.admin.verify_tenant("acme").await.unwrap().findings, [""; 0]);
    // What an operator may change of a key is when it was used.
    let serves = Cluster::shared().unwrap().ordinary_login(&database.url).await.unwrap();
    let login = serves.split("://").nth(1).unwrap().split(':').next().unwrap();
    database.admin.allow_operator(login).await.unwrap();
    let session = connect(&serves).await.unwrap();
    session.batch_execute("UPDATE cloacina.api_key SET last_used_at = now()").await.unwrap();
    let error = session.batch_execute("UPDATE cloacina.api_key SET tenant_id = NULL").await.unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{error}");
    own.shutdown().await.unwrap();
    operator.shutdown().await.unwrap();
}
