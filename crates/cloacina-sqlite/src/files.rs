//! The files that this process has open, how many they may be, and a watch over those that rest.
//!
//! A process has a budget of open files. Above it, whoever wants to open one has the least recently used ones
//! pressed: their hubs rest if nothing happens there, which closes them, and refuse if not. When all are
//! worked on, the budget is exceeded, and comes down again as they become quiet.
//!
//! It is exceeded only as far as the process's limit of open files allows ([`most`]). From there on the least
//! recently used file is closed between two transactions although its hub is at work; its next call opens it
//! again. That is slow, but nobody is refused.
//!
//! A file that rests is watched from outside, all of them by one task: a look at the size and times of the
//! file and of its log once a second costs some microseconds and no descriptor, where a connection costs half
//! a megabyte and three.

use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Once, OnceLock, Weak};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use crate::address::FileIdentity;
use crate::descriptors::limit;
use crate::opener::Opener;
use crate::release::release;

/// How many files a process has open at once unless it is told otherwise.
const DEFAULT_BUDGET: usize = 128;

/// How many descriptors an open file costs: two connections with the file and its log each, and the index of
/// the log.
const DESCRIPTORS: usize = 5;

/// How often the resting files are looked at.
const WATCH: Duration = Duration::from_secs(1);

/// How long no file has to be closed before the budget is exceeded, and how long somebody waits at most
/// although some are.
const ROOM: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(20));

/// How often files are pressed while somebody waits: what was busy may be quiet by then.
const PRESS: Duration = Duration::from_millis(50);

/// Which part of the budget is kept free by pressing early, and by which part it is exceeded when nobody
/// makes room.
const STEP: usize = 16;

static FILES: LazyLock<Files> = LazyLock::new(|| Files {
    state: Mutex::new(State {
        budget: DEFAULT_BUDGET,
        beyond: 0,
        room_at: Instant::now(),
        pressed_at: Instant::now(),
        open: HashMap::new(),
        resting: HashMap::new(),
        is_watched: false,
    }),
    room: Notify::new(),
    clock: AtomicU64::new(0),
});

struct Files {
    state: Mutex<State>,
    /// Wakes one of those that wait for every file that is closed.
    room: Notify,
    /// Counts uses, to tell which file was used last.
    clock: AtomicU64,
}

struct State {
    budget: usize,
    /// How many files there may be beyond the budget at the moment, because all were busy.
    beyond: usize,
    /// When a file was closed last, or it was found that none is.
    room_at: Instant,
    /// When files were pressed last while there was no room.
    pressed_at: Instant,
    open: HashMap<u64, Arc<File>>,
    resting: HashMap<u64, Arc<File>>,
    is_watched: bool,
}

/// Sets how many SQLite files this process has open at once; the others rest, closed, until something happens
/// in them.
///
/// Each costs up to five descriptors and half a megabyte. Fewer than are worked on at once, and each of them
/// is opened and closed all the time. While more are worked on at once, more are open, but never more than
/// three quarters of the process's limit of open files (`RLIMIT_NOFILE`, `ulimit -n`) have room for: 153
/// where it is 1,024. The value given last holds; 0 counts as 1.
///
/// Defaults to 128.
pub fn set_max_open_files(files: usize) {
    FILES.lock().budget = files.max(1);
}

/// How many files may be open at most: a quarter of the descriptors is the user's, and for what else is
/// opened beside the files.
fn most() -> usize {
    limit().map_or(usize::MAX, |limit| (limit - limit / 4) / DESCRIPTORS).max(1)
}

/// Closes the least recently used file that nobody uses at this moment, whether its hub is at work or not.
/// False if there is none.
pub(crate) async fn evict() -> bool {
    let mut files: Vec<Arc<File>> = FILES.lock().open.values().cloned().collect();
    files.sort_by_cached_key(|file| file.used.load(Ordering::Relaxed));
    for file in files {
        let Some(opener) = file.opener.get().and_then(Weak::upgrade) else { continue };
        release(Some(&file.path)).await;
        if opener.evict() {
            return true;
        }
    }
    false
}

impl Files {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn made_room(&self, mut state: MutexGuard<'_, State>) {
        state.room_at = Instant::now();
        if state.open.len() < state.budget {
            state.beyond = 0;
        }
        drop(state);
        self.room.notify_one();
    }
}

impl State {
    /// Whether no more files can be open than are, however long somebody waits.
    fn is_full(&self) -> bool {
        self.open.len() >= most()
    }

    /// Whether one more file may be open. The budget is exceeded step by step while nobody makes room.
    fn has_room(&mut self) -> bool {
        let open = self.open.len();
        if self.is_full() {
            return false;
        }
        if open < self.budget + self.beyond {
            return true;
        }
        if self.room_at.elapsed() < ROOM.0 {
            return false;
        }
        self.room_at = Instant::now();
        self.beyond = open - self.budget + self.budget / STEP + 1;
        true
    }

    /// Asks the least recently used files to rest, as many as there are too many, or soon will be; those that
    /// were asked since they were used last are busy.
    fn press(&mut self) {
        let count = (self.open.len() + self.budget / STEP).saturating_sub(self.budget);
        if count == 0 {
            return;
        }
        if self.open.len() >= self.budget {
            // Many may wait, and each comes by here.
            if self.pressed_at.elapsed() < PRESS / 2 {
                return;
            }
            self.pressed_at = Instant::now();
        }
        // They are used meanwhile, and what is sorted by must not change: each is asked once.
        let mut files: Vec<_> = self.open.values().collect();
        files.sort_by_cached_key(|file| file.used.load(Ordering::Relaxed));
        let asked = files.into_iter().filter(|file| !file.was_pressed.swap(true, Ordering::Relaxed));
        asked.take(count).for_each(|file| file.pressed.notify_one());
    }
}

/// The paths of all files that stores of this process use, open or at rest.
pub(crate) fn used() -> HashSet<PathBuf> {
    let state = FILES.lock();
    state.open.values().chain(state.resting.values()).map(|file| file.path.clone()).collect()
}

/// Whether a store of this process uses a file.
pub(crate) fn is_used(path: &Path) -> bool {
    let state = FILES.lock();
    state.open.values().chain(state.resting.values()).any(|file| file.path == path)
}

/// Who of this process uses a file.
pub(crate) fn opener_of(path: &Path) -> Option<Arc<dyn Opener>> {
    let state = FILES.lock();
    let mut files = state.open.values().chain(state.resting.values()).filter(|file| file.path == path);
    files.find_map(|file| file.opener.get()?.upgrade())
}

/// A file as a store uses it, open or at rest; forgotten when dropped.
pub(crate) struct OpenFile(Arc<File>);

struct File {
    number: u64,
    path: PathBuf,
    log: PathBuf,
    hints: watch::Sender<u64>,
    /// When it was used last, by the count of [`Files::clock`].
    used: AtomicU64,
    pressed: Notify,
    /// Whether it was pressed since it was used last.
    was_pressed: AtomicBool,
    /// Who has it open; set once it was opened for the first time.
    opener: OnceLock<Weak<dyn Opener>>,
    /// What it looked like when it went to rest, or when that was last told to have changed.
    seen: Mutex<Option<Footprint>>,
}

impl OpenFile {
    pub(crate) fn new(path: &Path, hints: watch::Sender<u64>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(Arc::new(File {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            path: path.to_owned(),
            log: log_of(path),
            hints,
            used: AtomicU64::new(0),
            pressed: Notify::new(),
            was_pressed: AtomicBool::new(false),
            opener: OnceLock::new(),
            seen: Mutex::new(None),
        }))
    }

    /// Says who has it open.
    pub(crate) fn of(&self, opener: Weak<dyn Opener>) {
        self.0.opener.get_or_init(|| opener);
        self.follow();
    }

    /// Has its opener hint whenever somebody else writes to it, from now on until it is closed.
    pub(crate) fn follow(&self) {
        #[cfg(target_os = "linux")]
        if let Some(opener) = self.0.opener.get() {
            crate::follow::follow(&self.0.log, opener);
        }
    }

    /// Waits until there is room for one more open file, or nobody else makes room, and counts it as open.
    pub(crate) async fn admit(&self, runtime: &Handle) {
        let begun = Instant::now();
        loop {
            let room = FILES.room.notified();
            tokio::pin!(room);
            // Before the look, so that room that is made in between is not missed.
            room.as_mut().enable();
            let is_full = {
                let mut state = FILES.lock();
                if state.open.contains_key(&self.0.number) {
                    return;
                }
                if state.has_room() || begun.elapsed() >= ROOM.1 {
                    self.touch();
                    state.resting.remove(&self.0.number);
                    state.open.insert(self.0.number, Arc::clone(&self.0));
                    // So that the next to come need not wait.
                    state.press();
                    return;
                }
                state.press();
                state.is_full()
            };
            if is_full {
                static WARNED: Once = Once::new();
                WARNED.call_once(|| {
                    tracing::warn!(
                        most = most(),
                        limit = limit(),
                        "more SQLite files are worked on at once than the limit of open files (RLIMIT_NOFILE, `ulimit -n`) allows to be open; \
                         they are closed and opened all the time; raise the limit"
                    );
                });
                if evict().await {
                    continue;
                }
            }
            let sleep = {
                // Whoever polls this future need not have a timer.
                let _context = runtime.enter();
                tokio::time::sleep(PRESS)
            };
            tokio::select! {
                () = room => {}
                () = sleep => {}
            }
        }
    }

    /// Notes that it is being used.
    pub(crate) fn touch(&self) {
        self.0.used.store(FILES.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        self.0.was_pressed.store(false, Ordering::Relaxed);
    }

    /// Returns when somebody else wants to open a file.
    pub(crate) async fn pressed(&self) {
        self.0.pressed.notified().await;
    }

    /// It was closed. From now on it is watched, unless it looks as told.
    pub(crate) fn rested(&self, footprint: Option<Footprint>, runtime: &Handle) {
        *self.0.seen() = footprint;
        let mut state = FILES.lock();
        state.open.remove(&self.0.number);
        state.resting.insert(self.0.number, Arc::clone(&self.0));
        let must_watch = !std::mem::replace(&mut state.is_watched, true);
        FILES.made_room(state);
        if must_watch {
            runtime.spawn(watch());
        }
    }

    /// It was closed for good.
    pub(crate) fn closed(&self) {
        let mut state = FILES.lock();
        state.resting.remove(&self.0.number);
        if state.open.remove(&self.0.number).is_some() {
            FILES.made_room(state);
        }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.closed();
    }
}

impl File {
    fn seen(&self) -> MutexGuard<'_, Option<Footprint>> {
        self.seen.lock()
    }

    /// Hints if it looks other than before.
    fn look(&self) {
        let now = Footprint::with_log(&self.path, &self.log);
        let mut seen = self.seen();
        if *seen != now {
            *seen = now;
            self.hints.send_modify(|hints| *hints = hints.wrapping_add(1));
        }
    }
}

/// Looks at the resting files until there are none.
async fn watch() {
    loop {
        tokio::time::sleep(WATCH).await;
        let files: Vec<Arc<File>> = {
            let mut state = FILES.lock();
            if state.resting.is_empty() {
                state.is_watched = false;
                return;
            }
            state.resting.values().cloned().collect()
        };
        for some in files.chunks(64) {
            some.iter().for_each(|file| file.look());
            tokio::task::yield_now().await;
        }
    }
}

/// What a file and its log look like from outside. A commit changes it, unless it comes in the same tick of
/// the file system's clock as the commit before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footprint {
    pub(crate) identity: FileIdentity,
    file: Looks,
    /// An empty log says as much as none.
    log: Option<Looks>,
}

impl Footprint {
    /// `None` if there is no file.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        Self::with_log(path, &log_of(path))
    }

    fn with_log(path: &Path, log: &Path) -> Option<Self> {
        let file = std::fs::metadata(path).ok()?;
        let log = std::fs::metadata(log).ok().filter(|log| log.len() > 0);
        Some(Self {
            identity: FileIdentity::of_metadata(&file)?,
            file: Looks::of(&file),
            log: log.as_ref().map(Looks::of),
        })
    }
}

pub(crate) fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Looks {
    size: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    changed: (i64, i64),
}

impl Looks {
    fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            changed: {
                use std::os::unix::fs::MetadataExt;
                (metadata.ctime(), metadata.ctime_nsec())
            },
        }
    }
}
