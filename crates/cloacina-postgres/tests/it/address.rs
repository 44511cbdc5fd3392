//! What a URL means, and what is said about one that cannot be used.

use cloacina_core::store::StoreErrorKind;
use cloacina_postgres::{PostgresAddress, PostgresOptions, PostgresStore};

use crate::support;

async fn refusal(url: &str) -> (StoreErrorKind, String) {
    let error = PostgresStore::connect(url, PostgresOptions::default()).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("s3cret") && !shown.contains(url), "{shown}");
    (error.kind(), shown)
}

#[tokio::test]
async fn a_url_that_cannot_be_used_says_why_and_keeps_its_secrets() {
    let configuration = StoreErrorKind::Configuration;
    for (url, says) in [
        ("mysql://u:s3cret@localhost/db", "postgres://"),
        ("postgres://u:s3cret@ss/w@localhost/db", "percent-encoded"),
        ("postgres://u:s3cret/w@localhost/db", "percent-encoded"),
        ("postgres://u:s3cret?w@localhost/db", "percent-encoded"),
        ("postgres://u:s3cret%w@localhost/db", "%25"),
        ("postgres://u:s3cret@localhost:port/db", "port"),
        ("postgres://u:s3cret@localhost/db?sslmode=maybe", "sslmode"),
    ] {
        let (kind, shown) = refusal(url).await;
        assert_eq!(kind, configuration, "{shown}");
        assert!(shown.contains(says), "{shown}");
    }
    let (kind, shown) = refusal("postgres://u:s3cret@127.0.0.1:1/db").await;
    assert_eq!(kind, StoreErrorKind::Transient, "{shown}");
    assert!(shown.contains("127.0.0.1:1/db cannot be reached"), "{shown}");
}

#[tokio::test]
async fn a_server_that_refuses_is_told_by_what_it_refuses() {
    let url = support::fresh_database().await;
    let (login, rest) = url.rsplit_once('@').unwrap();
    let (user, _) = login.rsplit_once(':').unwrap();
    let (kind, shown) = refusal(&format!("{user}:s3cret@{rest}")).await;
    assert_eq!(kind, StoreErrorKind::Configuration);
    assert!(shown.contains("does not accept the password"), "{shown}");
    PostgresStore::authenticate(PostgresAddress::parse(&format!("{user}:s3cret@{rest}")).unwrap())
        .await
        .unwrap_err();
    PostgresStore::authenticate(PostgresAddress::parse(&url).unwrap()).await.unwrap();

    let (server, _) = url.rsplit_once('/').unwrap();
    let (kind, shown) = refusal(&format!("{server}/nowhere")).await;
    assert_eq!(kind, StoreErrorKind::Configuration);
    assert!(shown.contains("there is no database `nowhere`"), "{shown}");
}

#[test]
fn addresses_are_the_same_whatever_the_password_and_the_spelling() {
    let parse = |url| PostgresAddress::parse(url).unwrap();
    let address = parse("postgres://u:a@LOCALHOST/db");
    assert_eq!(address, parse("postgresql://u:b@localhost:5432/db?application_name=x"));
    assert!(!address.same_password(&parse("postgres://u:b@localhost/db")));
    assert_eq!(address.label(), "localhost:5432/db");
    for other in [
        "postgres://v:a@localhost/db",
        "postgres://u:a@localhost/other",
        "postgres://u:a@localhost:5433/db",
        "postgres://u:a@localhost/db?sslmode=require",
    ] {
        assert_ne!(address, parse(other), "{other}");
    }
    assert!(!format!("{:?}", parse("postgres://u:s3cret@localhost/db")).contains("s3cret"));
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_required() {
    let url = support::fresh_database().await;
    let separator = if url.contains('?') { '&' } else { '?' };
    for mode in ["require", "verify-ca", "verify-full"] {
        let (kind, shown) = refusal(&format!("{url}{separator}sslmode={mode}")).await;
        assert_eq!(kind, StoreErrorKind::Configuration, "{shown}");
        assert!(shown.contains("TLS"), "{shown}");
    }
    PostgresStore::connect(&format!("{url}{separator}sslmode=disable"), PostgresOptions::default())
        .await
        .unwrap();
}
