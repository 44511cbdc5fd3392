//! What was read a moment ago, for all who look at the same.
//!
//! When something changes, all open pages that show it are told at once, and fetch themselves anew. They
//! share one look at the database. It is not kept for longer than that takes, so nobody is shown what was
//! before the change that they were told of: a page waits longer than [`LASTS`] before it asks.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Problem;

/// For how long a look is shared. `live.js` waits longer than this.
const LASTS: Duration = Duration::from_millis(200);

/// How many looks are remembered before those that are over are forgotten.
const MOST: usize = 1_000;

/// A look, while it is taken and for a moment after.
type Look = Arc<tokio::sync::Mutex<Option<(Instant, Result<Arc<dyn Any + Send + Sync>, Problem>)>>>;

/// Looks by what they are at.
#[derive(Default)]
pub(crate) struct Kept {
    looks: Mutex<HashMap<String, (Instant, Look)>>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("looks", &self.looks.lock().len()).finish()
    }
}

impl Kept {
    /// What somebody read a moment ago, or what is read now. Those who waited for a look that failed share
    /// that, too.
    pub(crate) async fn get<T: Send + Sync + 'static>(
        &self,
        of: String,
        read: impl AsyncFnOnce() -> Result<T, Problem>,
    ) -> Result<Arc<T>, Problem> {
        self.lasting(LASTS, of, read).await
    }

    /// The same of what costs much and is nobody's answer to what they did, for so long.
    pub(crate) async fn lasting<T: Send + Sync + 'static>(
        &self,
        lasts: Duration,
        of: String,
        read: impl AsyncFnOnce() -> Result<T, Problem>,
    ) -> Result<Arc<T>, Problem> {
        let look = {
            let mut looks = self.looks.lock();
            if looks.len() >= MOST {
                looks.retain(|_, (asked, _)| asked.elapsed() < lasts);
            }
            let (asked, look) = looks.entry(of).or_insert_with(|| (Instant::now(), Look::default()));
            *asked = Instant::now();
            Arc::clone(look)
        };
        // Those who ask meanwhile wait for the one who reads.
        let mut look = look.lock().await;
        if let Some((_, read)) = look.as_ref().filter(|(at, _)| at.elapsed() < lasts) {
            match read.clone().map(Arc::downcast::<T>) {
                Ok(Ok(read)) => return Ok(read),
                Err(problem) => return Err(problem),
                Ok(Err(_)) => {}
            }
        }
        // It is as old as its beginning.
        let begun = Instant::now();
        let read = read().await.map(Arc::new);
        let at = if read.is_ok() { begun } else { Instant::now() };
        *look = Some((at, read.clone().map(|read| read as Arc<dyn Any + Send + Sync>)));
        read
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn those_who_ask_at_one_time_share_a_look_and_others_do_not() {
        let (kept, reads) = (Kept::default(), AtomicU32::new(0));
        let look = async |of: &str| {
            let read = async || Ok(reads.fetch_add(1, Ordering::Relaxed));
            *kept.get(of.to_owned(), read).await.unwrap()
        };
        let same = join_all((0..50).map(|_| look("acme"))).await;
        assert!(same.iter().all(|number| *number == 0), "{same:?}");
        assert_eq!(look("globex").await, 1);
    }

    #[tokio::test]
    async fn those_who_wait_for_a_look_that_failed_do_not_look_one_after_the_other() {
        let (kept, reads) = (Kept::default(), AtomicU32::new(0));
        let look = async || {
            let read = async || {
                reads.fetch_add(1, Ordering::Relaxed);
                Err::<u32, _>(Problem::not_found("away"))
            };
            kept.get("acme".to_owned(), read).await
        };
        let same = join_all((0..50).map(|_| look())).await;
        assert!(same.iter().all(Result::is_err));
        assert_eq!(reads.into_inner(), 1);
    }
}
