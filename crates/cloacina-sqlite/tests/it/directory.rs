//! The tenants of a directory.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cloacina_core::execution::ExecutionStatus;
use cloacina_core::store::{
    ExecutionFilter, ExecutionList, KeyHash, KeyId, KeyStore as _, NewKey, Result, Store, StoreError,
    StoreErrorKind, WaitFilter,
};
use cloacina_sqlite::{Directory, FileId, SqliteAddress, SqliteStore};
use cloacina_testing::rollout;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::support::{Handle, at, completed, failed, new_execution, retry};

struct Tenants {
    directory: Directory,
    _parent: TempDir,
}

fn id(name: &str) -> FileId {
    FileId::parse(name).unwrap()
}

impl Tenants {
    async fn new() -> Self {
        let parent = tempfile::tempdir().unwrap();
        let directory = Directory::open(parent.path().join("tenants")).await.unwrap();
        Self { directory, _parent: parent }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn open(&self, name: &str) -> Result<Arc<SqliteStore>> {
        SqliteStore::open_address(self.directory.address(&id(name))?).await
    }

    /// A store with a live runner on it.
    async fn handle(&self, name: &str) -> Handle {
        Handle::new(self.open(name).await.unwrap()).await
    }

    async fn due(&self, now: i64) -> Vec<(String, i64)> {
        let due = self.directory.due(at(now)).await.unwrap();
        due.into_iter().map(|file| (file.id.to_string(), file.due_at.as_second())).collect()
    }

    async fn names(&self) -> Vec<String> {
        self.directory.list().await.unwrap().iter().map(FileId::to_string).collect()
    }
}

/// Signs the runner off and closes the file.
async fn close(handle: Handle) {
    handle.store.runner_retire(handle.runner).await.unwrap();
    handle.store.close().await.unwrap();
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>, kind: StoreErrorKind, words: &[&str]) -> StoreError {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is not in: {error}");
    }
    error
}

#[cfg(unix)]
fn mode(path: &std::path::Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_tenant_is_created_listed_and_deleted() {
    let tenants = Tenants::new().await;
    for name in ["globex", "acme"] {
        tenants.directory.create(&id(name)).await.unwrap();
    }
    // Neither is a tenant's file.
    fs::write(tenants.path("notes.txt"), "").unwrap();
    fs::write(tenants.path(".acme.db.0.new"), "").unwrap();
    fs::write(tenants.path("a.b.db"), "").unwrap();
    let store = tenants.open("acme").await.unwrap();
    assert_eq!(tenants.names().await, ["acme", "globex"]);
    store.close().await.unwrap();
    #[cfg(unix)]
    {
        assert_eq!(mode(tenants.directory.path()), 0o700);
        assert_eq!(mode(&tenants.path("acme.db")), 0o600);
        assert_eq!(mode(&tenants.path("cloacina.registry")), 0o600);
    }
    fs::write(tenants.path("acme.db-journal"), "").unwrap();
    assert!(tenants.directory.delete(&id("acme")).await.unwrap());
    assert!(!tenants.directory.delete(&id("acme")).await.unwrap());
    assert_eq!(tenants.names().await, ["globex"]);
    assert!(!tenants.path("acme.db-journal").exists() && !tenants.path("acme.db-wal").exists());
    let again = tenants.directory.create(&id("acme")).await.unwrap();
    assert_eq!(again.path().unwrap(), tenants.path("acme.db"));
}

#[tokio::test]
async fn a_name_that_differs_from_another_only_in_case_is_refused_with_both() {
    let tenants = Tenants::new().await;
    tenants.directory.create(&id("acme")).await.unwrap();
    refused(
        tenants.directory.create(&id("acme")).await,
        StoreErrorKind::Configuration,
        &["`acme`", "already"],
    );
    let both = &["`acme`", "`Acme`"];
    refused(tenants.directory.create(&id("Acme")).await, StoreErrorKind::Configuration, both);
    // Nor by opening it.
    refused(tenants.open("Acme").await, StoreErrorKind::Configuration, both);
    fs::remove_file(tenants.path("Acme.db")).unwrap();
    tenants.directory.delete(&id("acme")).await.unwrap();
    tenants.directory.create(&id("Acme")).await.unwrap();
}

#[tokio::test]
async fn many_create_the_same_tenant_and_one_does() {
    let tenants = Arc::new(Tenants::new().await);
    let creations: Vec<_> = ["acme", "Acme", "ACME", "acme", "aCme", "acme"]
        .into_iter()
        .map(|name| {
            let tenants = Arc::clone(&tenants);
            tokio::spawn(async move { tenants.directory.create(&id(name)).await })
        })
        .collect();
    let mut made = 0;
    for creation in creations {
        match creation.await.unwrap() {
            Ok(_) => made += 1,
            error => drop(refused(error, StoreErrorKind::Configuration, &["there is a tenant"])),
        }
    }
    assert_eq!((made, tenants.names().await.len()), (1, 1));
}

#[tokio::test]
async fn a_file_that_takes_the_place_of_another_has_none_of_its_keys() {
    let tenants = Tenants::new().await;
    let key_of = |tenant: &str| NewKey {
        id: KeyId::new(),
        hash: KeyHash([7; 32]),
        parent: None,
        tenant: Some(tenant.to_owned()),
        role: String::new(),
        payloads: false,
        name: String::new(),
        created_by: String::new(),
        expires_at: None,
    };
    let is_there = async |key: &NewKey| tenants.directory.key_find(key.id, None).await.unwrap().is_some();
    let mut keys = Vec::new();
    for name in ["acme", "globex"] {
        tenants.directory.create(&id(name)).await.unwrap();
        close(tenants.handle(name).await).await;
        let key = key_of(name);
        tenants.directory.key_insert(&key, None, None).await.unwrap().unwrap();
        assert!(is_there(&key).await);
        keys.push(key);
    }
    // As somebody does by hand.
    fs::remove_file(tenants.path("acme.db")).unwrap();
    close(tenants.handle("acme").await).await;
    assert!(!is_there(&keys[0]).await);
    // A tenant that comes back is the one that it was.
    let aside = tenants.path("aside");
    fs::rename(tenants.path("globex.db"), &aside).unwrap();
    fs::rename(&aside, tenants.path("globex.db")).unwrap();
    close(tenants.handle("globex").await).await;
    assert!(is_there(&keys[1]).await);
}

#[tokio::test]
async fn a_look_over_all_files_reads_those_that_may_hold_what_is_looked_for() {
    let tenants = Tenants::new().await;
    for name in ["busy", "idle", "new", "open"] {
        tenants.directory.create(&id(name)).await.unwrap();
    }
    let of_failed = |filter: ExecutionFilter| filter.status(ExecutionStatus::Failed);
    for name in ["busy", "idle", "open"] {
        let handle = tenants.handle(name).await;
        let execution = handle.submit(1, new_execution(&[0], &[0])).await;
        let outcome =
            if name == "idle" { completed(execution, 0, 1, &[]) } else { failed(execution, 0, &[]) };
        handle.record(2, vec![outcome]).await;
        if name == "open" {
            std::mem::forget(handle);
        } else {
            close(handle).await;
        }
    }
    let listed = async |filter: ExecutionFilter| {
        let (found, unreadable) = tenants.directory.executions_across(list(filter)).await.unwrap();
        let found: Vec<_> = found.into_iter().map(|(tenant, _)| tenant).collect();
        (found, unreadable.into_iter().map(|(tenant, _)| tenant).collect::<Vec<_>>())
    };
    assert_eq!(listed(of_failed(ExecutionFilter::all())).await.0.len(), 2);
    // What is not read cannot be found to be broken.
    for name in ["idle.db", "new.db"] {
        fs::write(tenants.path(name), "no database at all").unwrap();
    }
    assert_eq!(listed(of_failed(ExecutionFilter::all())).await.1, [""; 0]);
    let of_completed = ExecutionFilter::all().status(ExecutionStatus::Completed);
    assert_eq!(listed(of_completed).await.1, ["idle"]);
    assert_eq!(listed(ExecutionFilter::all()).await.1, ["idle"]);
    let later = of_failed(ExecutionFilter::all().since(at(i32::MAX.into())));
    assert_eq!(listed(later).await.0, ["open"], "of a file that is open nothing is promised");
    let waits = WaitFilter { limit: 10, ..WaitFilter::default() };
    let (found, unreadable) = tenants.directory.waits_across(None, waits).await.unwrap();
    assert_eq!((found.len(), unreadable.len()), (0, 0));
}

fn list(filter: ExecutionFilter) -> ExecutionList {
    ExecutionList { filter, before: None, limit: 100 }
}

#[cfg(unix)]
#[tokio::test]
async fn links_are_not_followed() {
    let tenants = Tenants::new().await;
    tenants.directory.create(&id("acme")).await.unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("target.db");
    drop(SqliteStore::open_address(SqliteAddress::parse(target.to_str().unwrap()).unwrap()).await.unwrap());
    std::os::unix::fs::symlink(&target, tenants.path("link.db")).unwrap();
    let words = &["link.db", "symbolic link"];
    refused(tenants.directory.address(&id("link")), StoreErrorKind::Place, words);
    refused(tenants.directory.create(&id("link")).await, StoreErrorKind::Place, words);
    refused(tenants.directory.delete(&id("link")).await, StoreErrorKind::Place, words);
    refused(tenants.directory.list().await, StoreErrorKind::Place, words);
    assert!(target.exists());
    // One that takes the file's place after the address was asked for.
    let address = tenants.directory.address(&id("globex")).unwrap();
    std::os::unix::fs::symlink(&target, tenants.path("globex.db")).unwrap();
    refused(SqliteStore::open_address(address).await, StoreErrorKind::Place, &["globex.db"]);

    let link = elsewhere.path().join("directory");
    std::os::unix::fs::symlink(tenants.directory.path(), &link).unwrap();
    refused(Directory::open(link).await, StoreErrorKind::Configuration, &["symbolic link"]);
}

#[cfg(unix)]
#[tokio::test]
async fn a_directory_that_others_may_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    for mode in [0o770, 0o702, 0o777] {
        fs::set_permissions(parent.path(), fs::Permissions::from_mode(mode)).unwrap();
        refused(
            Directory::open(parent.path()).await,
            StoreErrorKind::Configuration,
            &["others than its owner"],
        );
    }
    fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o755)).unwrap();
    Directory::open(parent.path()).await.unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    refused(Directory::open(file).await, StoreErrorKind::Configuration, &["no directory"]);
    refused(Directory::open(parent.path().join("no/such")).await, StoreErrorKind::Place, &["no/such"]);
}

#[tokio::test]
async fn a_file_that_is_open_anywhere_is_not_deleted() {
    let tenants = Tenants::new().await;
    let acme = id("acme");
    tenants.directory.create(&acme).await.unwrap();
    let store = tenants.open("acme").await.unwrap();
    refused(tenants.directory.delete(&acme).await, StoreErrorKind::Transient, &["acme.db", "shut it down"]);
    store.bell_due(None).await.unwrap();
    assert!(store.rest().await.unwrap());
    refused(tenants.directory.delete(&acme).await, StoreErrorKind::Transient, &["acme.db", "shut it down"]);
    store.close().await.unwrap();
    // By a connection that no registry knows of, and that does nothing.
    let other = Connection::open(tenants.path("acme.db")).unwrap();
    let count =
        || other.query_row("SELECT count(*) FROM cloacina_place", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count(), 1);
    refused(tenants.directory.delete(&acme).await, StoreErrorKind::Transient, &["acme.db", "open"]);
    assert_eq!(count(), 1);
    drop(other);
    assert!(tenants.directory.delete(&acme).await.unwrap());
    assert!(tenants.names().await.is_empty());
}

#[tokio::test]
async fn what_is_due_in_files_that_nobody_has_open_is_known() {
    let tenants = Tenants::new().await;
    for name in ["acme", "globex", "idle"] {
        let handle = tenants.handle(name).await;
        if name == "acme" {
            let mut execution = new_execution(&[0], &[]);
            execution.start_at = Some(at(500));
            handle.submit(1, execution).await;
        }
        if name == "globex" {
            let execution = handle.submit(1, new_execution(&[0], &[0])).await;
            handle.record(100, vec![retry(execution, 0, 1, Duration::from_secs(200))]).await;
        }
        // While it is open here it is the affair of who has it open.
        assert_eq!(tenants.due(1_000).await.iter().filter(|(due, _)| due == name).count(), 0);
        close(handle).await;
    }
    assert_eq!(tenants.due(299).await, []);
    assert_eq!(tenants.due(300).await, [("globex".into(), 300)]);
    assert_eq!(tenants.due(500).await, [("globex".into(), 300), ("acme".into(), 500)]);
    // By who opens it next as well.
    let handle = tenants.handle("globex").await;
    assert_eq!(tenants.due(500).await, [("acme".into(), 500)]);
    assert_eq!(handle.claim(600, 10).await.len(), 1);
    let execution = handle.claim(600, 10).await;
    assert_eq!(execution, []);
    close(handle).await;
}

#[tokio::test]
async fn a_file_that_was_left_open_or_half_done_is_looked_at() {
    let tenants = Tenants::new().await;
    let handle = tenants.handle("acme").await;
    // A runner that is still in it may be one that died.
    handle.submit(1, new_execution(&[0], &[0])).await;
    handle.store.close().await.unwrap();
    assert_eq!(tenants.due(2).await, [("acme".into(), 0)]);
    let store = tenants.open("acme").await.unwrap();
    store.runner_retire(handle.runner).await.unwrap();
    store.runner_rescue(handle.runner, Some(at(3))).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(tenants.due(2).await, []);
    assert_eq!(tenants.due(3).await, [("acme".into(), 3)]);

    // As if this process had died with the file open.
    let registry = Connection::open(tenants.path("cloacina.registry")).unwrap();
    registry.execute("INSERT INTO holder VALUES (x'00', 'acme', 1, 'another boot', 1, 1)", []).unwrap();
    assert_eq!(tenants.due(2).await, [("acme".into(), 0)]);
}

#[tokio::test]
async fn a_registry_that_is_lost_or_damaged_makes_itself_again() {
    let tenants = Tenants::new().await;
    let mut execution = new_execution(&[0], &[]);
    execution.start_at = Some(at(500));
    let handle = tenants.handle("acme").await;
    handle.submit(1, execution).await;
    close(handle).await;
    close(tenants.handle("globex").await).await;
    assert_eq!(tenants.due(499).await, []);
    for damage in [None, Some("no database, but long enough to look like one ".repeat(100))] {
        for side in ["", "-wal", "-shm"] {
            drop(fs::remove_file(tenants.path(&format!("cloacina.registry{side}"))));
        }
        if let Some(damage) = &damage {
            fs::write(tenants.path("cloacina.registry"), damage).unwrap();
        }
        let again = Directory::open(tenants.directory.path()).await.unwrap();
        let due = again.due(at(2)).await.unwrap();
        assert_eq!(due.iter().map(|file| file.id.as_str()).collect::<Vec<_>>(), ["acme", "globex"]);
        for file in due {
            let handle =
                Handle::new(SqliteStore::open_address(again.address(&file.id).unwrap()).await.unwrap()).await;
            close(handle).await;
        }
        assert_eq!(again.due(at(499)).await.unwrap(), []);
        assert_eq!(again.due(at(500)).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn after_the_machine_was_started_everything_is_looked_at_once() {
    let tenants = Tenants::new().await;
    close(tenants.handle("acme").await).await;
    assert_eq!(tenants.due(1).await, []);
    let path = tenants.directory.path().to_owned();
    let Tenants { directory, _parent } = tenants;
    drop(directory);
    let registry = Connection::open(path.join("cloacina.registry")).unwrap();
    registry.execute("UPDATE boot SET host = 'the boot before'", []).unwrap();
    drop(registry);
    let tenants = Tenants { directory: Directory::open(path).await.unwrap(), _parent };
    assert_eq!(tenants.due(1).await, [("acme".into(), 0)]);
    close(tenants.handle("acme").await).await;
    assert_eq!(tenants.due(1).await, []);
}

#[tokio::test]
async fn a_copy_of_a_file_is_refused_with_the_names_of_both_and_a_renamed_one_is_not() {
    let tenants = Tenants::new().await;
    close(tenants.handle("acme").await).await;
    fs::copy(tenants.path("acme.db"), tenants.path("copy.db")).unwrap();
    refused(tenants.open("copy").await, StoreErrorKind::Configuration, &["copy.db", "acme.db", "copy"]);
    fs::remove_file(tenants.path("acme.db")).unwrap();
    close(tenants.handle("copy").await).await;
    assert_eq!(tenants.due(1).await, []);
    // In place of the one that was there.
    tenants.directory.create(&id("acme")).await.unwrap();
    fs::rename(tenants.path("copy.db"), tenants.path("acme.db")).unwrap();
    close(tenants.handle("acme").await).await;
}

#[tokio::test]
async fn a_store_that_rests_says_when_it_is_due_and_hints_when_somebody_else_writes() {
    let tenants = Tenants::new().await;
    let handle = tenants.handle("acme").await;
    let mut execution = new_execution(&[0], &[]);
    execution.start_at = Some(at(500));
    handle.submit(1, execution).await;
    handle.store.runner_retire(handle.runner).await.unwrap();
    handle.store.bell_due(Some(at(2))).await.unwrap();
    assert!(handle.store.rest().await.unwrap());
    assert!(!tenants.path("acme.db-wal").exists());
    // As another process sees it.
    let registry = Connection::open(tenants.path("cloacina.registry")).unwrap();
    let due =
        || registry.query_row("SELECT due_at FROM place", [], |row| row.get::<_, Option<i64>>(0)).unwrap();
    assert_eq!(due(), Some(500_000_000));

    let mut hints = handle.store.hints();
    hints.mark_unchanged();
    let other = Connection::open(tenants.path("acme.db")).unwrap();
    other.execute("UPDATE cloacina_place SET created_at = created_at + 1", []).unwrap();
    tokio::time::timeout(Duration::from_secs(30), hints.changed()).await.unwrap().unwrap();
    // What was written since the last look at the bell is not slept over.
    handle.store.bell_due(Some(at(2))).await.unwrap();
    other.execute("UPDATE cloacina_place SET created_at = created_at + 1", []).unwrap();
    assert!(!handle.store.rest().await.unwrap());
    handle.store.bell_due(Some(at(2))).await.unwrap();
    assert!(handle.store.rest().await.unwrap());
    handle.store.close().await.unwrap();
}

#[tokio::test]
async fn a_rollout_is_one_process_s_at_a_time_and_goes_on_where_it_stopped() {
    let tenants = Tenants::new().await;
    let directory = &tenants.directory;
    rollout::is_one_process_s_at_a_time_and_goes_on_where_it_stopped(directory).await;
}
