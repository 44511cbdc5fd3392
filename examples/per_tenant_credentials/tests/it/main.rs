//! The program from outside.
#![allow(clippy::unwrap_used, reason = "clippy takes only the test functions for tests, not their helpers")]

use std::process::{Command, Output};

use cloacina::database::{Database, DatabaseAdmin, TenantConfig};
use cloacina_testing::cluster::Cluster;

const GIVEN: &str = "a/given: p@ss%word";

fn run(url: &str) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_per_tenant_credentials"));
    program.env("ADMIN_DATABASE_URL", url).env("TENANT_PASSWORD", GIVEN).output().unwrap()
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    format!("{out}\n{err}")
}

async fn administered() -> (String, DatabaseAdmin) {
    let server = Cluster::shared().unwrap();
    let url = server.fresh_database().await.unwrap();
    // One that hardens the database with its first action.
    let url = server.superuser_url_of(&url);
    let admin = DatabaseAdmin::new(Database::new(&url, url.rsplit('/').next().unwrap(), 2));
    (url, admin)
}

/// The password of a URL that needs no encoding.
fn password_of(url: &str) -> &str {
    url.split(['@', ':']).nth(2).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_run_again_and_again_tells_no_password_and_leaves_nothing() {
    let (url, admin) = administered().await;
    for _ in 0..2 {
        let output = run(&url);
        let said = said(&output);
        assert!(output.status.success(), "{said}");
        for step in 1..=7 {
            assert!(said.contains(&format!("{step}. ")), "step {step} is not in: {said}");
        }
        assert!(said.contains("none of which reaches outside") && said.contains("***"), "{said}");
        for secret in [GIVEN, "a%2Fgiven", password_of(&url), "postgres://", "postgresql://"] {
            assert!(!said.contains(secret), "`{secret}` is in: {said}");
        }
        // A password that was drawn has 32 characters in a row; nothing else has but ids and names.
        let is_told = |word: &str| {
            word.len() >= 32
                && !word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-\"`;:,.()/".contains(&byte))
        };
        assert!(!said.split_whitespace().any(is_told), "{said}");
        assert!(admin.list_tenants().await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_without_the_rights_of_a_superuser_is_told_what_is_open_and_what_closes_it() {
    let server = Cluster::shared().unwrap();
    let url = server.fresh_database().await.unwrap();
    server.make_administrator(&url).await.unwrap();
    let admin = DatabaseAdmin::new(Database::new(&url, url.rsplit('/').next().unwrap(), 2));
    let output = run(&url);
    let before = said(&output);
    assert!(output.status.success(), "{before}");
    let (_, looked) = before.split_once("6. ").unwrap();
    for words in
        ["can take advisory locks", "(REVOKE EXECUTE ON FUNCTION ", "a superuser say", "7. ", "2 tenants"]
    {
        assert!(looked.contains(words), "`{words}` is not in: {looked}");
    }
    assert!(!before.contains(GIVEN) && !before.contains(password_of(&url)), "{before}");
    assert!(admin.list_tenants().await.unwrap().is_empty());

    // Other databases of the server are those of other tests.
    let hardening = admin.preflight().await.unwrap().hardening.into_iter();
    let hardening: String =
        hardening.filter(|statement| !statement.contains("CONNECT ON DATABASE")).collect();
    let superuser = server.superuser_url_of(&url);
    let (client, connection) = tokio_postgres::connect(&superuser, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(&hardening).await.unwrap();
    let output = run(&url);
    let after = said(&output);
    assert!(output.status.success() && after.contains("none of which reaches outside"), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_left_that_was_killed_goes_with_the_next_one() {
    let (url, admin) = administered().await;
    for name in ["credentials_example_acme_0", "somebody_elses"] {
        let username = format!("{}_{name}", url.rsplit('/').next().unwrap());
        let config = TenantConfig { schema_name: name.to_owned(), username, password: String::new() };
        admin.create_tenant(config).await.unwrap();
    }
    let output = run(&url);
    assert!(output.status.success(), "{}", said(&output));
    let left: Vec<_> =
        admin.list_tenants().await.unwrap().into_iter().map(|tenant| tenant.schema_name).collect();
    assert_eq!(left, ["somebody_elses"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_who_may_not_is_told_what_is_missing() {
    let url = Cluster::shared().unwrap().fresh_database().await.unwrap();
    let output = run(&url);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("hint: ") && said.contains("  ALTER ROLE \"test_") && said.contains(" CREATEROLE;"),
        "{said}"
    );
    assert!(!said.contains(password_of(&url)), "{said}");
}

#[test]
fn a_database_that_is_not_there_is_said_to_be_not_there() {
    let output = run("postgresql://admin:sesame@127.0.0.1:1/cloacina");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("hint: is PostgreSQL running") && !said.contains("sesame"), "{said}");
}
