//! Databases of tests that have ended are dropped, so that a long run keeps some hundred of them on the disk
//! and not thousands: an empty one takes 7.5 MB.
//!
//! A test ends with its thread, and what is local to the thread goes with it. That is the sign to go by: a
//! URL is a string, which nobody has to hold on to. Only threads that carry a test's name count; a runtime's
//! workers end when they like.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// How many are dropped together. PostgreSQL writes a checkpoint for each, which is cheap right after
/// another one.
const TOGETHER: usize = 16;

/// What waits to be dropped: names, by the URL of the superuser who may do it.
static OVER: Mutex<Option<HashMap<String, Vec<String>>>> = Mutex::new(None);

thread_local! {
    static OURS: RefCell<Ours> = const { RefCell::new(Ours(Vec::new())) };
}

/// The databases that the test of this thread has made.
struct Ours(Vec<(String, String)>);

/// Remembers a database that belongs to the test which runs on this thread.
pub(super) fn drop_after_the_test(superuser: String, name: &str) {
    let of_a_test = thread::current().name().is_some_and(|name| name.contains("::"));
    if of_a_test {
        let made = (superuser, name.to_owned());
        // Where the thread is about to end, the database stays: it is only room on the disk.
        let _ = OURS.try_with(|ours| ours.borrow_mut().0.push(made));
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let mut over = OVER.lock().unwrap_or_else(PoisonError::into_inner);
        let over = over.get_or_insert_default();
        for (url, name) in self.0.drain(..) {
            let names = over.entry(url.clone()).or_default();
            names.push(name);
            if names.len() >= TOGETHER {
                let names = std::mem::take(names);
                // A thread of its own, because the one that ends here has a test's successor to make way for.
                thread::spawn(move || drop_them(&url, &names));
            }
        }
    }
}

/// Drops what these logins own. What cannot be dropped stays, as it does when the process ends before.
fn drop_them(url: &str, owners: &[String]) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let Ok((client, connection)) = tokio_postgres::connect(url, tokio_postgres::NoTls).await else {
            return;
        };
        let connection = tokio::spawn(connection);
        // Tenants' own databases too: the login that made them owns them.
        let owned = "SELECT datname::text FROM pg_database WHERE pg_get_userbyid(datdba) = ANY ($1)";
        for row in client.query(owned, &[&owners]).await.unwrap_or_default() {
            let name: String = row.get(0);
            let name = name.replace('"', "\"\"");
            let _ = client.batch_execute(&format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)")).await;
        }
        drop(client);
        let _ = connection.await;
    });
}
