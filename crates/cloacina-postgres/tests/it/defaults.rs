//! The store on a database whose sessions begin with other settings than those of a new server.

use std::sync::Arc;

use async_trait::async_trait;
use cloacina_core::execution::ExecutionStatus;
use cloacina_core::store::{PlaceName, Store};
use cloacina_testing::conformance::Fixture;

use crate::race::two_dependencies_free_their_task_once;
use crate::support::{self, Handle, completed, new_execution};

/// What an operator may have set for reasons that are not ours, as far as it could change what a statement
/// means.
const DEFAULTS: [(&str, &str); 11] = [
    ("default_transaction_isolation", "'repeatable read'"),
    ("default_transaction_deferrable", "on"),
    ("search_path", "nowhere"),
    ("timezone", "'Pacific/Apia'"),
    ("datestyle", "'SQL, DMY'"),
    ("intervalstyle", "iso_8601"),
    ("standard_conforming_strings", "off"),
    ("transform_null_equals", "on"),
    ("array_nulls", "off"),
    ("bytea_output", "escape"),
    ("lock_timeout", "'1ms'"),
];

struct OtherDefaults;

#[async_trait]
impl Fixture for OtherDefaults {
    type Database = String;

    async fn create(&self) -> String {
        let url = support::fresh_database().await;
        let client = support::client(&url).await;
        let database = url.rsplit('/').next().unwrap();
        for (setting, value) in DEFAULTS {
            let set = format!("ALTER DATABASE {database} SET {setting} = {value}");
            client.batch_execute(&set).await.unwrap();
        }
        url
    }

    async fn open(&self, url: &String) -> Arc<dyn Store> {
        support::connect(url).await
    }

    fn places(&self) -> Vec<PlaceName> {
        ["acme", "Globex"].map(|name| PlaceName::Named(name.to_owned())).into()
    }
}

cloacina_testing::store_conformance!(OtherDefaults);

#[tokio::test]
async fn two_flushes_that_finish_the_two_dependencies_of_a_task_free_it_once() {
    let t = Handle::through(&OtherDefaults.create().await, None).await;
    t.beside.batch_execute("SET lock_timeout = 0").await.unwrap();
    two_dependencies_free_their_task_once(&t).await;
}

#[tokio::test]
async fn two_flushes_that_finish_the_last_two_tasks_of_an_execution_close_it() {
    for level in ["repeatable read", "serializable"] {
        let url = support::fresh_database().await;
        let database = url.rsplit('/').next().unwrap();
        let set = format!("ALTER DATABASE {database} SET default_transaction_isolation = '{level}'");
        support::client(&url).await.batch_execute(&set).await.unwrap();
        let t = Handle::through(&url, None).await;
        let execution = t.submit(new_execution(&[0, 0], &[0, 1])).await;
        t.lock(execution).await;
        let left = t.start(0, vec![], vec![completed(execution, 0, &[])], 0);
        t.until_waiting(1).await;
        let right = t.start(1, vec![], vec![completed(execution, 1, &[])], 0);
        t.until_waiting(2).await;
        t.commit().await;

        let (left, right) = (left.await.unwrap().unwrap(), right.await.unwrap().unwrap());
        assert_eq!(left.closed.len() + right.closed.len(), 1, "{level}: {left:?} {right:?}");
        assert_eq!(t.load(execution).await.header.status, ExecutionStatus::Completed);
    }
}
