//! The hub: what all runners of one process that use one database share.
//!
//! ```text
//!   runner handles ──submit──►  lanes ──flush──► store          one commit for all that piled up
//!        ▲                       │  ▲
//!        │ result              kernel└── endings ── attempts    on the caller's runtime
//!        └────────── perform ────┴── starts ─────────►
//!   claims      grants slots, claims ready work, waits for due times
//!   due         does what the engine itself has to do at a time, without slots
//!   heartbeat   renews the lease          rescue      takes back the work of runners that died
//!   doorbell    looks for due work        elsewhere   asks for executions that are waited for and run elsewhere
//!   settling    has nodes looked at that the engine runs itself
//!   waits       decides what becomes of nodes that wait
//!   children    starts the executions that nodes wait for, and adds up those that have ended
//!   expand      gives executions that were submitted by name their tasks
//!   beside      records many executions in one commit, and reruns
//!   orphans     executions whose code nobody has       retention   mends, and deletes what is old
//!   serving     opens the places of tenants that nobody opened here and that have work due, and closes them again
//!   schedules   fires schedules, and changes them
//!   describe    records what the workflows of this process look like
//!   status      puts into force what the operator decided about a tenant
//!   rest        while nothing happens: no heartbeat, no runner, nothing open; stores that are files only
//!   holding     says it when tasks that wait for executions hold all slots
//!   watch       ends attempts that take too long, or do not stop
//!   auditor     compares what the database says with what is held here, and adopts what is ours
//! ```
//!
//! The [kernel] decides and does nothing else: what a flush did and the state of a place go in, effects come
//! out, and [`Hub::perform`] does them. Everything else waits, asks the database or starts something. Modules
//! import downwards only, in this order: `stop`, `live`, `place`, `transition`, `batch`, `kernel`, then what
//! the hub is made of (`timers`, `turns`, `awake`, `watch`, `places`, `troubles`), `shared` with the hub
//! itself, and above it what it does.
//!
//! The database is authoritative for everything. What is held in memory is a copy that lets a runner go on
//! without reading: the tasks it holds, and the executions it knows. A task is *held* from the flush that
//! claimed it until its outcome is recorded. Whatever leaves the two in doubt (the answer to a commit was
//! lost, an outcome found its row changed, a lease went by) goes to the auditor, which keeps the place from
//! being flushed for the moment of its look, so that no claim is in between.

mod admission;
mod attempt;
mod auditor;
mod awake;
mod batch;
#[cfg(feature = "testing")]
mod begun;
mod beside;
mod children;
mod claims;
mod deferred;
mod describe;
mod doorbell;
mod due;
mod elsewhere;
mod expand;
mod heartbeat;
mod holding;
#[cfg(feature = "testing")]
mod idle;
mod kernel;
mod lane;
mod lifetime;
mod live;
mod node;
mod orphans;
mod perform;
mod place;
mod places;
mod recording;
mod registration;
mod report;
mod rescue;
mod rest;
mod retention;
mod rounds;
mod schedules;
mod serving;
mod settling;
mod shared;
mod status;
mod stop;
mod stream;
mod submitting;
mod timers;
mod transition;
mod troubles;
mod turns;
mod waits;
mod watch;

use std::sync::Arc;

use tokio::sync::mpsc;

use lane::{LOGIN_LANES, Lane};

pub(crate) use admission::Room;
pub use deferred::{Deferred, Prepared, Submitter};
pub(crate) use describe::infos;
pub(crate) use holding::waiting;
#[cfg(feature = "testing")]
pub use idle::{Doing, RunningTask};
pub use live::summary_of;
pub(crate) use live::{details_of, result_of};
pub(crate) use place::{Ended, HandleNumber, OpenPlace};
pub use recording::{Completion, Recording, Writing};
pub use shared::Hub;
pub(crate) use submitting::Roots;
pub(crate) use transition::{Submit, SubmitReply};

use crate::config::RunnerConfig;
use crate::store::Store;

impl Hub {
    /// Starts the hub of a database. `settings` are those of its first runner.
    pub fn start(store: Arc<dyn Store>, settings: &RunnerConfig) -> Arc<Self> {
        let (audits, audit_inbox) = mpsc::unbounded_channel();
        let lanes = store.lanes() + if store.has_aside() { 1 + LOGIN_LANES } else { 0 };
        let (lanes, inboxes): (Vec<_>, Vec<_>) = (0..lanes).map(|_| mpsc::unbounded_channel()).unzip();
        let hub = Arc::new(Self::new(store, settings, lanes, audits));
        for (index, inbox) in inboxes.into_iter().enumerate() {
            hub.spawn(Lane::new(Arc::clone(&hub), index, inbox).run());
        }
        // Nobody waits for its end: it looks after attempts that go on for a while when the last runner was
        // shut down.
        let watching = Arc::clone(&hub);
        let watch = async move { watching.watch.run(&*watching.clock, &watching.stop).await };
        drop(hub.store.runtime().spawn(hub.guarded(watch)));
        hub.spawn(Arc::clone(&hub).audit(audit_inbox));
        hub.spawn(Arc::clone(&hub).claim_ready_work());
        hub.spawn(Arc::clone(&hub).ring_bells());
        hub.spawn(Arc::clone(&hub).hear_of_ends());
        hub.spawn(Arc::clone(&hub).close_served_places());
        hub.spawn(Arc::clone(&hub).beat());
        hub.spawn(Arc::clone(&hub).watch_runners());
        hub.spawn(Arc::clone(&hub).pause_orphans());
        hub.spawn(Arc::clone(&hub).prune());
        #[cfg(feature = "testing")]
        hub.lasting_tasks.store(hub.tasks.len(), std::sync::atomic::Ordering::Relaxed);
        hub
    }
}
