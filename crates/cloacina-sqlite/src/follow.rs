//! Learns at once when somebody else writes to a file that is open here.
//!
//! SQLite tells nobody. The kernel tells of every write to a log, our own included, so whoever is told asks
//! the connection whether it was somebody else, which costs a look at shared memory. One thread does so for
//! all files of the process, at most a thousand times a second. Where there is no such kernel, a file is
//! looked at once a second.

use std::collections::{HashMap, HashSet};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;

use crate::opener::Opener;

/// How often files are looked at, at most.
const EVERY: Duration = Duration::from_millis(1);

/// Which stores follow which log.
type Logs = HashMap<i32, Vec<Weak<dyn Opener>>>;

struct Followed {
    inotify: OwnedFd,
    logs: Mutex<Logs>,
}

/// `None` if the kernel has none for us: then files are looked at once a second.
static FOLLOWED: LazyLock<Option<Arc<Followed>>> = LazyLock::new(|| {
    let inotify = init(CreateFlags::CLOEXEC);
    let inotify = inotify.inspect_err(not_followed).ok()?;
    let followed = Arc::new(Followed { inotify, logs: Mutex::default() });
    let follower = Arc::clone(&followed);
    let thread = std::thread::Builder::new().name("cloacina-follow".to_owned()).spawn(move || follower.run());
    thread.inspect_err(not_followed).ok()?;
    Some(followed)
});

fn not_followed(error: &impl std::fmt::Display) {
    tracing::warn!(%error, "what other processes write to files is learned of once a second");
}

/// Hints to a store whenever somebody else writes to its file, for as long as both are there.
pub(crate) fn follow(log: &Path, store: &Weak<dyn Opener>) {
    let Some(followed) = &*FOLLOWED else { return };
    // Held before the watch is there, so that the first event finds the store.
    let mut logs = followed.logs.lock();
    match add_watch(&followed.inotify, log, WatchFlags::MODIFY) {
        Ok(watch) => {
            let stores = logs.entry(watch).or_default();
            stores.retain(|known| known.strong_count() > 0 && !known.ptr_eq(store));
            stores.push(Weak::clone(store));
        }
        Err(error) => {
            tracing::debug!(log = %log.display(), %error, "what others write to this file is learned of once a second");
        }
    }
}

impl Followed {
    fn run(&self) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut written: HashSet<i32> = HashSet::new();
        loop {
            // Those that were busy are asked once more before the next event.
            if written.is_empty()
                && let Err(error) = self.wait(&mut buffer, &mut written)
            {
                return not_followed(&error);
            }
            std::thread::sleep(EVERY);
            let logs = self.logs.lock();
            let stores: Vec<(i32, Arc<dyn Opener>)> = written
                .drain()
                .flat_map(|watch| logs.get(&watch).into_iter().flatten().map(move |store| (watch, store)))
                .filter_map(|(watch, store)| Some((watch, store.upgrade()?)))
                .collect();
            drop(logs);
            for (watch, store) in stores {
                if !store.look_for_others() {
                    written.insert(watch);
                }
            }
        }
    }

    /// Waits until something was written, and takes all that is known by then.
    fn wait(&self, buffer: &mut [MaybeUninit<u8>], written: &mut HashSet<i32>) -> Result<(), Errno> {
        let mut events = Reader::new(&self.inotify, buffer);
        loop {
            let (watch, gone) = match events.next() {
                Ok(event) => (event.wd(), event.events().contains(ReadFlags::IGNORED)),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            if gone {
                self.logs.lock().remove(&watch);
            } else {
                written.insert(watch);
            }
            if events.is_buffer_empty() {
                return Ok(());
            }
        }
    }
}
