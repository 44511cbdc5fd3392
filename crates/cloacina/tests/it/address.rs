//! URLs and files that cannot be used.

use cloacina::runner::Runner;
use cloacina::{Error, ErrorKind};

use crate::support::{assert_error, in_full, in_time};

/// The error, which holds no password in any form.
async fn refused(url: &str) -> Error {
    let error = in_time(Runner::new(url)).await.unwrap_err();
    assert!(!in_full(&error).contains("s3cret"), "{error:?}");
    error
}

#[tokio::test]
async fn a_url_of_no_database_that_is_known_is_refused() {
    for url in [
        "mysql://user:s3cret@localhost/db",
        "user:s3cret@localhost/db",
        "localhost/db?password=s3cret",
        "http://user:s3cret@localhost",
        "s3cret",
        "",
    ] {
        let error = refused(url).await;
        assert_eq!(error.kind(), ErrorKind::Configuration, "{url}: {error}");
        assert!(!error.is_transient());
    }
    let error = Runner::builder().build().await.unwrap_err();
    assert_error(&error, ErrorKind::Configuration, "database_url");
}

#[test]
fn a_builder_does_not_show_its_url() {
    let builder = Runner::builder().database_url("postgres://user:s3cret@localhost/db");
    assert!(!format!("{builder:?}").contains("s3cret"));
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::fs;

    use cloacina::Context;

    use super::*;
    use crate::support::{Database, Gate, idle, quick, workflow};

    #[tokio::test]
    async fn a_file_needs_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let error = refused(&format!("sqlite://{}/a.db", missing.display())).await;
        assert_error(&error, ErrorKind::Configuration, missing.to_str().unwrap());
        assert!(!missing.exists());
        let error = refused(&format!("sqlite://{}", directory.path().display())).await;
        assert_error(&error, ErrorKind::Configuration, "directory");
        for url in ["sqlite://", "sqlite://a.db?mode=rwc"] {
            assert_eq!(refused(url).await.kind(), ErrorKind::Configuration, "{url}");
        }
    }

    #[tokio::test]
    async fn a_file_has_no_schemas() {
        let database = Database::sqlite();
        let error = Runner::with_schema(&database.url, "acme").await.unwrap_err();
        assert_error(&error, ErrorKind::Configuration, "a file of its own");
        assert!(!database.path().unwrap().exists());
    }

    #[tokio::test]
    async fn two_spellings_of_one_file_are_one_place() {
        let database = Database::sqlite();
        let path = database.path().unwrap();
        let (directory, name) = (path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap());
        let runner = database.runner([workflow("w", [idle("t")])]).await;
        runner.execute("w", Context::new()).await.unwrap();
        let other = Runner::new(&format!("sqlite://{}/./{name}", directory.display())).await.unwrap();
        assert_eq!(other.list_executions().await.unwrap().len(), 1);
        // One hub knows what the other opened.
        assert!(other.execute("w", Context::new()).await.unwrap().status.is_success());
        runner.shutdown().await.unwrap();
        other.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_left_alone() {
        let database = Database::sqlite();
        let text = "id,name\n1,Marcus\n".repeat(100);
        fs::write(database.path().unwrap(), &text).unwrap();
        let error = refused(&database.url).await;
        assert_error(&error, ErrorKind::Place, database.path().unwrap().to_str().unwrap());
        assert_eq!(fs::read_to_string(database.path().unwrap()).unwrap(), text);
    }

    #[tokio::test]
    async fn a_damaged_file_is_refused() {
        let database = Database::sqlite();
        database.run(Context::new(), [idle("t")]).await;
        let path = database.path().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        // Everything but SQLite's own header.
        bytes[100..].fill(0x5a);
        fs::write(&path, bytes).unwrap();
        let error = refused(&database.url).await;
        assert_error(&error, ErrorKind::Place, path.to_str().unwrap());
    }

    #[tokio::test]
    async fn a_database_of_another_program_is_left_alone() {
        let database = Database::sqlite();
        let path = database.path().unwrap();
        let connection = rusqlite::Connection::open(&path).unwrap();
        let table = "CREATE TABLE workflow_executions (x); INSERT INTO workflow_executions VALUES (1)";
        connection.execute_batch(table).unwrap();
        drop(connection);
        let error = refused(&database.url).await;
        assert_error(&error, ErrorKind::Place, path.to_str().unwrap());
        let connection = rusqlite::Connection::open(&path).unwrap();
        let count = "SELECT count(x) FROM workflow_executions";
        assert_eq!(connection.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    }

    #[tokio::test]
    async fn a_file_of_a_newer_program_is_refused() {
        let database = Database::sqlite();
        database.run(Context::new(), [idle("t")]).await;
        let path = database.path().unwrap();
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.execute_batch("UPDATE cloacina_place SET schema_version = 99, min_reader = 99").unwrap();
        drop(connection);
        let error = refused(&database.url).await;
        assert_error(&error, ErrorKind::Place, path.to_str().unwrap());
        assert_error(&error, ErrorKind::Place, "newer");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_file_that_somebody_else_has_locked_is_waited_for() {
        let database = Database::sqlite();
        let runner = database.runner([workflow("w", [idle("a"), idle("b").dependencies(["a"])])]).await;
        let connection = rusqlite::Connection::open(database.path().unwrap()).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        let running = tokio::spawn(async move {
            let result = runner.execute("w", Context::new()).await.unwrap();
            runner.shutdown().await.unwrap();
            result
        });
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        assert!(!running.is_finished());
        connection.execute_batch("ROLLBACK").unwrap();
        assert!(in_time(running).await.unwrap().status.is_success());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_file_that_is_deleted_is_the_trouble_of_its_tenant_alone() {
        let database = Database::sqlite();
        let gate = Gate::new();
        // What cannot be written keeps the shutdown for as long as it may.
        let config = quick().shutdown_timeout(std::time::Duration::from_millis(200));
        let acme = database
            .configured(config, [workflow("w", [idle("t")]), workflow("gated", [gate.task("t")])])
            .await;
        let globex = database.of("globex").runner([workflow("w", [idle("t")])]).await;
        acme.execute_async("gated", Context::new()).await.unwrap();
        gate.started().await;
        fs::remove_file(database.path().unwrap()).unwrap();
        let error = in_time(acme.execute("w", Context::new())).await.unwrap_err();
        assert_error(&error, ErrorKind::Place, "acme.db");
        gate.open(1);
        assert!(in_time(globex.execute("w", Context::new())).await.unwrap().status.is_success());
        in_time(globex.shutdown()).await.unwrap();
        in_time(acme.shutdown()).await.unwrap();
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use std::net::TcpListener;

    use super::*;
    use crate::support::Database;

    #[tokio::test]
    async fn a_password_that_is_not_encoded_is_refused_and_not_repeated() {
        for url in [
            "postgres://user:s3cret@more@localhost/db",
            "postgres://user:a/s3cret@localhost/db",
            "postgres://user:a?s3cret@localhost/db",
            "postgres://user:s3cret%@localhost/db",
            "postgres://user:s3cret%zz@localhost/db",
            "postgres://user:a#s3cret@localhost:x/db",
            "postgres://user:s3cret@localhost:port/db",
            "postgres://user:s3cret@localhost:99999/db",
            "postgres://user:s3cret@localhost/db?sslmode=maybe",
            "postgres://user:s3cret@localhost/db?s3cret=1",
            "postgresql://:s3cret@",
        ] {
            let error = refused(url).await;
            assert_eq!(error.kind(), ErrorKind::Configuration, "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn a_server_that_cannot_be_reached_is_named() {
        // A port that was free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = refused(&format!("postgres://user:s3cret@127.0.0.1:{port}/db")).await;
        assert_error(&error, ErrorKind::Unavailable, &format!("127.0.0.1:{port}/db"));
        assert!(error.is_transient());
        let error = refused("postgres://user:s3cret@no-such-host.invalid/db").await;
        assert_error(&error, ErrorKind::Unavailable, "no-such-host.invalid:5432/db");
    }

    #[tokio::test]
    async fn a_server_that_is_none_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                std::io::Write::write_all(&mut &stream, b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    .unwrap_or_default();
            }
        });
        let error = refused(&format!("postgres://user:s3cret@127.0.0.1:{port}/db")).await;
        assert_error(&error, ErrorKind::Unavailable, &format!("127.0.0.1:{port}/db"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_login_that_is_refused_is_told_apart_from_a_server_that_is_down() {
        let database = Database::postgres().await;
        let (login, place) = database.url.rsplit_once('@').unwrap();
        let (before, _) = login.rsplit_once(':').unwrap();
        let error = refused(&format!("{before}:s3cret@{place}")).await;
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Configuration), "{error:?}");
        assert!(error.to_string().contains("password"), "{error}");
        // Also when the right one is in use.
        let runner = Runner::new(&database.url).await.unwrap();
        let error = refused(&format!("{before}:s3cret@{place}")).await;
        assert!(error.to_string().contains("password"), "{error}");
        runner.shutdown().await.unwrap();

        let (server, _) = database.url.rsplit_once('/').unwrap();
        let error = refused(&format!("{server}/no_such_database")).await;
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Configuration), "{error:?}");
        assert!(error.to_string().contains("no_such_database"), "{error}");
        let password = login.rsplit_once(':').unwrap().1;
        assert!(!in_full(&error).contains(password), "{error:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn neither_runner_nor_execution_shows_the_password() {
        let database = Database::postgres().await;
        let password = database.url.rsplit_once('@').unwrap().0.rsplit_once(':').unwrap().1.to_owned();
        let runner = database.runner([]).await;
        assert!(!format!("{runner:?}").contains(&password));
        assert!(!format!("{:?}", runner.place_runner()).contains(&password));
        assert!(!format!("{:?}", runner.execution(uuid::Uuid::nil())).contains(&password));
        let error = runner.execute("none", cloacina::Context::new()).await.unwrap_err();
        assert!(!in_full(&error).contains(&password));
        runner.shutdown().await.unwrap();
    }
}
