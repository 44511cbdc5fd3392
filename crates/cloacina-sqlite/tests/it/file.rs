//! Files: what can be opened, what cannot, and what is left behind.

use std::fs;
use std::time::Duration;

use cloacina_core::store::{PlaceName, Store, StoreError, StoreErrorKind};
use cloacina_sqlite::SqliteStore;
use rusqlite::Connection;

use crate::support::{File, Handle, completed, new_execution};

async fn refused(file: &File) -> StoreError {
    let error = SqliteStore::open(&file.url()).await.unwrap_err();
    assert!(error.to_string().contains(file.path().to_str().unwrap()), "{error}");
    error
}

#[tokio::test]
async fn a_new_file_is_made_and_keeps_its_identity() {
    let file = File::new();
    let store = SqliteStore::open(&file.url()).await.unwrap();
    let place = store.place_open(&PlaceName::Default).await.unwrap();
    assert_eq!(place.name, "acme");
    assert_eq!(store.place_open(&PlaceName::Named("acme".into())).await.unwrap(), place);
    assert!(file.names().iter().all(|name| name.starts_with("acme.db")), "{:?}", file.names());
    let error = store.place_open(&PlaceName::Named("globex".into())).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Configuration);
    drop(store);
    let store = SqliteStore::open(&file.url()).await.unwrap();
    assert_eq!(store.place_open(&PlaceName::Default).await.unwrap(), place);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_missing_directory_is_named() {
    let error = SqliteStore::open("sqlite:///no/such/place/acme.db").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Configuration);
    assert!(error.to_string().contains("/no/such/place"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_as_it_is() {
    let file = File::new();
    let text = "dear diary, ".repeat(1_000);
    fs::write(file.path(), &text).unwrap();
    let error = refused(&file).await;
    assert_eq!(error.kind(), StoreErrorKind::Place);
    assert!(error.to_string().contains("not an SQLite database"), "{error}");
    assert_eq!(fs::read_to_string(file.path()).unwrap(), text);
}

#[tokio::test]
async fn a_damaged_file_is_an_error_of_its_place_and_never_a_panic() {
    let file = File::new();
    let handle = file.open().await;
    for _ in 0..50 {
        handle.submit(1, new_execution(&[0, 1], &[])).await;
    }
    handle.store.close().await.unwrap();
    let good = fs::read(file.path()).unwrap();
    for page in 0..good.len() / 4096 {
        let mut bad = good.clone();
        bad[page * 4096 + 100 * usize::from(page == 0)..(page + 1) * 4096].fill(0xA5);
        fs::write(file.path(), &bad).unwrap();
        let error = match SqliteStore::open(&file.url()).await {
            Err(error) => Some(error),
            Ok(store) => {
                let place = store.place_open(&PlaceName::Default).await.unwrap();
                let runner = cloacina_core::id::RunnerId::new();
                let handle = Handle { store, place: place.into(), runner };
                let list = cloacina_core::store::ExecutionList {
                    filter: Default::default(),
                    before: None,
                    limit: 1_000,
                };
                let listed = handle.store.execution_list(&handle.place, &list).await.err();
                let flushed = handle.flush(2, vec![new_execution(&[0], &[0])], vec![], 100).await.err();
                flushed.filter(|error| error.kind() != StoreErrorKind::Fenced).or(listed)
            }
        };
        if let Some(error) = error {
            assert_eq!(error.kind(), StoreErrorKind::Place, "page {page}: {error}");
        }
    }
}

#[tokio::test]
async fn rows_that_no_engine_wrote_are_errors_of_their_execution_alone() {
    let file = File::new();
    let handle = file.open().await;
    let execution = handle.submit(1, new_execution(&[0], &[])).await;
    let hostile = Connection::open(file.path()).unwrap();
    hostile.pragma_update(None, "ignore_check_constraints", true).unwrap();
    for (damage, repair) in [
        ("state = 'mad'", "state = 'pending'"),
        ("priority = 100000", "priority = 5"),
        ("created_at = 9223372036854775807", "created_at = 1"),
    ] {
        hostile.execute(&format!("UPDATE workflow_executions SET {damage}"), []).unwrap();
        let error = handle.store.execution_load(&handle.place, &[execution]).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Data, "{damage}: {error}");
        hostile.execute(&format!("UPDATE workflow_executions SET {repair}"), []).unwrap();
    }
    hostile
        .execute(
            "INSERT INTO ready_tasks SELECT tenant_id, 9, 0, randomblob(16), 0, 'etl', 7 FROM cloacina_place",
            [],
        )
        .unwrap();
    assert_eq!(handle.claim(2, 10).await, [(execution, 0, 1)]);
    hostile.execute("DROP TABLE task_executions", []).unwrap();
    let error = handle.flush(3, vec![], vec![completed(execution, 0, 1, &[])], 0).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Place, "{error}");
}

#[tokio::test]
async fn triggers_in_the_file_are_not_run() {
    let file = File::new();
    let handle = file.open().await;
    let hostile = Connection::open(file.path()).unwrap();
    hostile
        .execute_batch(
            "CREATE TABLE loot (input); CREATE TRIGGER thief AFTER INSERT ON workflow_executions
             BEGIN INSERT INTO loot VALUES (new.input); END",
        )
        .unwrap();
    handle.submit(1, new_execution(&[0], &[])).await;
    let stolen: i64 = hostile.query_row("SELECT count(*) FROM loot", [], |row| row.get(0)).unwrap();
    assert_eq!(stolen, 0);
}

#[tokio::test]
async fn a_newer_file_is_refused() {
    let file = File::new();
    drop(SqliteStore::open(&file.url()).await.unwrap());
    Connection::open(file.path())
        .unwrap()
        .execute("UPDATE cloacina_place SET schema_version = 99, min_reader = 98", [])
        .unwrap();
    let error = refused(&file).await;
    assert_eq!(error.kind(), StoreErrorKind::Version);
    assert!(error.to_string().contains("98"), "{error}");
}

#[tokio::test]
async fn a_file_that_another_connection_holds_is_transient_and_then_works() {
    let file = File::new();
    let handle = file.open().await;
    let other = Connection::open(file.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = handle.flush(1, vec![new_execution(&[0], &[])], vec![], 0).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Transient, "{error}");
    // Readers do not wait for writers.
    handle.store.bell_due(None).await.unwrap();
    other.execute_batch("COMMIT").unwrap();
    handle.submit(1, new_execution(&[0], &[])).await;
}

#[tokio::test]
async fn closing_leaves_the_file_alone() {
    let file = File::new();
    let handle = file.open().await;
    let execution = handle.submit(1, new_execution(&[0], &[0])).await;
    assert_eq!(file.names(), ["acme.db", "acme.db-shm", "acme.db-wal"]);
    handle.store.close().await.unwrap();
    assert_eq!(file.names(), ["acme.db"]);
    handle.store.close().await.unwrap();
    let error = handle.flush(1, vec![], vec![], 0).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Place);
    assert_eq!(handle.store.bell_due(None).await.unwrap_err().kind(), StoreErrorKind::Place);

    let again = file.open().await;
    assert_eq!(again.load(execution).await.header.id, execution);
    drop(again);
    // A thread that reads may be the last to let go of it.
    let begun = std::time::Instant::now();
    while file.names() != ["acme.db"] {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", file.names());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_file_that_was_deleted_or_replaced_is_not_written() {
    let file = File::new();
    let handle = file.open().await;
    handle.submit(1, new_execution(&[0], &[])).await;
    let moved = file.directory.path().join("moved.db");
    fs::rename(file.path(), &moved).unwrap();
    let error = handle.flush(2, vec![new_execution(&[0], &[])], vec![], 0).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Place, "{error}");
    fs::write(file.path(), "").unwrap();
    let error = handle.flush(2, vec![new_execution(&[0], &[])], vec![], 0).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Place, "{error}");
    fs::rename(&moved, file.path()).unwrap();
    handle.submit(3, new_execution(&[0], &[])).await;
}

#[tokio::test]
async fn a_deleted_log_is_noticed_and_what_was_in_it_is_kept() {
    let file = File::new();
    let handle = file.open().await;
    let execution = handle.submit(1, new_execution(&[0], &[])).await;
    let log = file.directory.path().join("acme.db-wal");
    fs::remove_file(&log).unwrap();
    for _ in 0..2 {
        let error = handle.flush(2, vec![new_execution(&[0], &[])], vec![], 0).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Place, "{error}");
        assert!(error.to_string().contains("acme.db-wal was deleted"), "{error}");
    }
    assert_eq!(handle.load(execution).await.header.id, execution);
    // As if the process had died.
    let other = File::new();
    fs::copy(file.path(), other.path()).unwrap();
    let rescued = Handle::new(SqliteStore::open(&other.url()).await.unwrap()).await;
    assert_eq!(rescued.load(execution).await.header.id, execution);
    handle.store.close().await.unwrap();
    let again = file.open().await;
    assert_eq!(again.load(execution).await.header.id, execution);
    again.submit(3, new_execution(&[0], &[])).await;
}

#[tokio::test]
async fn a_replaced_log_is_noticed() {
    let file = File::new();
    let handle = file.open().await;
    handle.submit(1, new_execution(&[0], &[])).await;
    let log = file.directory.path().join("acme.db-wal");
    fs::rename(&log, file.directory.path().join("moved")).unwrap();
    fs::write(&log, "").unwrap();
    let error = handle.flush(2, vec![new_execution(&[0], &[])], vec![], 0).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Place, "{error}");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_an_error_of_its_place() {
    let file = File::new();
    drop(SqliteStore::open(&file.url()).await.unwrap());
    // An immutable file binds the superuser, too; where it cannot be made, the mode binds everybody else.
    let path = file.path();
    let attribute = |change: &str| {
        std::process::Command::new("chattr")
            .arg(change)
            .arg(&path)
            .status()
            .is_ok_and(|status| status.success())
    };
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions).unwrap();
    let immutable = attribute("+i");
    let writable = fs::OpenOptions::new().append(true).open(&path).is_ok();
    let opened = SqliteStore::open(&file.url()).await;
    if immutable {
        assert!(attribute("-i"));
    }
    match opened {
        Err(error) => assert_eq!(error.kind(), StoreErrorKind::Place, "{error}"),
        Ok(_) => assert!(writable, "a file that cannot be written was opened"),
    }
}

#[tokio::test]
async fn two_stores_on_one_file_see_each_other() {
    let file = File::new();
    let (one, two) = tokio::join!(file.open(), file.open());
    assert_eq!(one.place, two.place);
    assert_eq!(one.store.address(), two.store.address());
    one.store.bell_due(None).await.unwrap();
    let hints = one.store.hints();
    let execution = two.submit(1, new_execution(&[0], &[])).await;
    let bells = one.store.bell_due(None).await.unwrap();
    assert_eq!(bells.due.len(), 1);
    assert!(hints.has_changed().unwrap());
    assert_eq!(one.claim(2, 10).await, [(execution, 0, 1)]);
    assert_eq!(two.claim(2, 10).await, []);
    one.store.close().await.unwrap();
    // The other one still works, with the log that it uses.
    two.submit(3, new_execution(&[0], &[])).await;
    two.store.close().await.unwrap();
    assert_eq!(file.names(), ["acme.db"]);
}

#[tokio::test]
async fn many_open_a_new_file_at_once() {
    let file = File::new();
    let opens = (0..8).map(|_| {
        let url = file.url();
        tokio::spawn(async move { SqliteStore::open(&url).await.unwrap() })
    });
    let mut tenants = Vec::new();
    for open in opens.collect::<Vec<_>>() {
        tenants.push(open.await.unwrap().place_open(&PlaceName::Default).await.unwrap());
    }
    tenants.dedup();
    assert_eq!(tenants.len(), 1);
}
