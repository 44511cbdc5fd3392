//! Two processes on one file.

use std::process::{Command, Stdio};

use cloacina_core::store::{ExecutionFilter, ExecutionList, Store};
use cloacina_sqlite::SqliteStore;

use crate::support::{File, Handle, new_execution};

const FILE: &str = "CLOACINA_SQLITE_TEST_FILE";
const EACH: usize = 50;

async fn submit_many(handle: &Handle) {
    for _ in 0..EACH {
        handle.submit(1, new_execution(&[0, 1], &[])).await;
    }
}

/// Run by the test below in processes of its own; without their variable there is nothing to do.
#[tokio::test]
async fn another_process() {
    if let Ok(url) = std::env::var(FILE) {
        submit_many(&Handle::new(SqliteStore::open(&url).await.unwrap()).await).await;
    }
}

#[tokio::test]
async fn processes_share_a_new_file() {
    let file = File::new();
    let children: Vec<_> = (0..2)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "process::another_process"])
                .env(FILE, file.url())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let handle = file.open().await;
    submit_many(&handle).await;
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let list = ExecutionList { filter: ExecutionFilter::all(), before: None, limit: 1_000 };
    assert_eq!(handle.store.execution_list(&handle.place, &list).await.unwrap().len(), 3 * EACH);
    assert_eq!(handle.claim(2, 1_000).await.len(), 3 * EACH);
}
