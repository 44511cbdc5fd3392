//! The program from outside.
#![allow(clippy::unwrap_used, reason = "clippy takes only the test functions for tests, not their helpers")]

use std::path::Path;
use std::process::{Command, Output};

use cloacina_testing::cluster::Cluster;

const OUTPUT: &str = "\
--- Example 1: INSERT Users (Tenant-Scoped) ---
[Acme] Created user: Alice Johnson (alice@acme.com)
[Widget] Created user: Bob Smith (bob@widget.com)

--- Example 2: SELECT with Auto Tenant Filtering ---
[Acme] Found 1 users:
  - Alice Johnson (alice@acme.com)
[Widget] Found 1 users:
  - Bob Smith (bob@widget.com)

--- Example 3: INSERT Documents (Tenant-Scoped) ---
[Acme] Created document: Acme Q1 Report
[Widget] Created document: Widget Product Roadmap

--- Example 4: SELECT Documents (Tenant Isolated) ---
[Acme] Found 1 documents:
  - Acme Q1 Report
[Widget] Found 1 documents:
  - Widget Product Roadmap

--- Example 5: UPDATE with Tenant Filtering ---
[Acme] Updated 1 user(s) to super_admin

--- Example 6: COUNT (Tenant-Scoped) ---
[Acme] Total users: 1
[Widget] Total users: 1

--- Example 7: Verify Tenant Isolation ---
✓ ";

fn run(directory: &Path, url: Option<&str>, admin: Option<&str>) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_multi_tenancy_patterns"));
    program.env_remove("DATABASE_URL").env_remove("ADMIN_DATABASE_URL").arg(directory);
    program.envs(url.map(|url| ("DATABASE_URL", url))).envs(admin.map(|admin| ("ADMIN_DATABASE_URL", admin)));
    program.output().unwrap()
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    format!("{out}\n{err}")
}

fn succeeds(output: &Output, patterns: usize) {
    let said = said(output);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches(OUTPUT).count(), patterns, "{said}");
    assert_eq!(said.matches(">>> Pattern").count(), patterns, "{said}");
    assert!(said.contains("=== All Examples Complete ==="), "{said}");
    for bad in ["ERROR", "WARN", "postgres://", "postgresql://"] {
        assert!(!said.contains(bad), "`{bad}` is in: {said}");
    }
}

#[test]
fn without_a_database_it_shows_files_and_can_be_run_again() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        succeeds(&run(directory.path(), None, None), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_database_it_shows_every_pattern_and_can_be_run_again() {
    let cluster = Cluster::shared().unwrap();
    let admin = cluster.fresh_database().await.unwrap();
    cluster.make_administrator(&admin).await.unwrap();
    let url = cluster.ordinary_login(&admin).await.unwrap();
    may_make_schemas(&url, &admin).await;
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let output = run(directory.path(), Some(&url), Some(&admin));
        succeeds(&output, 5);
        assert!(
            said(&output)
                .contains("10 small tenants share tables, 2 large ones have databases of their own\n✓ ")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_login_is_enough_for_schemas() {
    let url = Cluster::shared().unwrap().fresh_database().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        succeeds(&run(directory.path(), Some(&url), None), 2);
    }
}

/// What the login needs where the operator's login makes the schemas itself.
async fn may_make_schemas(url: &str, admin: &str) {
    let above = Cluster::shared().unwrap().superuser_url_of(admin);
    let (client, connection) = tokio_postgres::connect(&above, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let (database, login) = (admin.rsplit('/').next().unwrap(), url.split(['/', ':']).nth(3).unwrap());
    client.batch_execute(&format!("GRANT CREATE ON DATABASE {database} TO {login}")).await.unwrap();
}

#[test]
fn a_place_that_cannot_be_opened_ends_with_1() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("taken");
    std::fs::write(&file, "").unwrap();
    let output = run(&file, None, None);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("cannot be made"), "{}", said(&output));
}
