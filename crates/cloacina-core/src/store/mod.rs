//! What the engine asks of a database.
//!
//! A [`Store`] is one database: a PostgreSQL database with any number of places in it, or one SQLite file.
//! Every method is one transaction, unless it says otherwise; the stores are twins that do the same named
//! steps. *SQL counts, core decides*: trigger rules, retries and who may run how much are decided by the
//! engine, the store only moves rows from a state that the caller names to another. A write that finds
//! another state changes nothing and says so.
//!
//! The order of locks is the same everywhere: tenant, schedule, execution, due row, task, bell. Every
//! transaction that changes the tasks of an execution locks the execution first, in a statement of its own,
//! so that the next statement's snapshot sees what the previous holder of the lock wrote.

mod audit;
mod children;
mod due;
mod error;
mod execution;
mod finding;
mod flush;
mod key;
mod payload;
mod place;
mod runner;
mod schedule;
mod template;
mod tenant;
mod wait;
mod workflow;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::watch;

pub use audit::{
    AUDIT_PAGE, Actor, AuditChain, AuditList, AuditOf, AuditRecord, AuditStore, AuditVerdict, NewAudit, Seal,
};
pub(crate) use audit::{Verifying, short_hash};
pub use children::{
    ChildList, ChildRecord, ChildrenNode, ChildrenProgress, DueChildren, DueParent, EndedChild,
    MOST_ITEM_BYTES, MOST_STARTED_BYTES, NewChild, NodeStep, PAGE_BYTES, PAGE_ITEMS, ParentStep, Stream,
    StreamPage,
};
pub use due::{DueKind, Settled};
pub use error::{StoreError, StoreErrorKind};
pub use execution::{
    AttemptList, BULK, Control, Controlled, ExecutionFilter, ExecutionHeader, ExecutionList, ExecutionRecord,
    KeptTask, ORPHANED, PlaceFigures, Pulse, TaskRecord,
};
pub use finding::{Finding, PlaceVersion};
pub use flush::{
    Claim, Claimed, Closed, CopiedTask, Expanded, Expansion, Flush, Flushed, Freed, Fresh, Idempotency,
    MOST_CHILDREN_OF_A_TASK, NewExecution, NewTask, ON_FAILURE, Outcome, PlaceFlush, PlaceFlushed, Recorded,
    RecordedExecutions, Rerun, RerunRefusal, TaskChild, TaskOutcome, WorkflowKey,
};
pub use key::{KeyHash, KeyId, KeyList, KeyRecord, KeyRefusal, KeyStore, NewKey};
pub use payload::Payload;
pub use place::{Place, PlaceName};
pub use runner::{Liveness, RescuedPlace, RunnerRecord, RunnerRegistration};
pub use schedule::{
    Budget, Decide, FireList, FireOutcome, FireRecord, NewFire, ScheduleChange, ScheduleRecord, ScheduleRow,
    ScheduleSelection, ScheduleState, ScheduledExecution, SchedulesSettled,
};
pub use template::{Rollout, ScheduleTemplates, TemplateStore};
pub use tenant::{Placement, TenantLimits, TenantState, TenantStatus};
pub use wait::{
    ChildrenPlan, DueWait, DueWaits, EndedBy, MOST_SIGNALS, NEVER, NewSignal, NodeEnd, OpenWait,
    ReceivedSignal, SettledWaits, SignalLook, SignalSent, SignalStart, SignalTarget, WaitBegin, WaitCursor,
    WaitEnd, WaitFilter, WaitStep,
};

pub use workflow::{DescribedWorkflow, KnownWorkflow, LARGEST_DESCRIPTION, MOST_WORKFLOWS};

pub use crate::config::MOST_EXECUTION_BYTES;
use crate::execution::ExecutionStatus;
use crate::id::{ExecutionId, RunnerId, SubmitterId, TenantId};
use crate::retention::Retention;
pub use crate::retention::{ENDS, OldestEnds};

/// The result of a store's method.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// A tenant that has work due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Whose work it is.
    pub tenant: TenantId,
}

/// What the doorbell says.
#[derive(Debug, Clone, Default)]
pub struct Bells {
    /// The tenants whose bell is due.
    pub due: Vec<Due>,
    /// Executions that were cancelled or paused in the last seconds, by whatever process. The same one is
    /// told several times.
    pub notices: Vec<(TenantId, ExecutionId)>,
    /// The tenants whose [`TenantStatus`] was changed in the last seconds. The same one is told several
    /// times.
    pub changed: Vec<TenantId>,
}

/// The earliest rows of a place that are not claimed, whatever workflow they belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextDue {
    /// What time it is there.
    pub now: Timestamp,
    /// When the earliest ready task is due.
    pub work: Option<Timestamp>,
    /// When the earliest due row is due of those kinds that were asked for.
    pub due: Option<Timestamp>,
    /// When the earliest due row is due of any other kind.
    pub unknown: Option<Timestamp>,
    /// Whether executions wait that are [not expanded](NewExecution::is_expanded).
    pub unexpanded: bool,
}

impl NextDue {
    /// The earliest of all: what the bell is set to.
    #[must_use]
    pub fn earliest(&self) -> Option<Timestamp> {
        [self.work, self.due, self.unknown].into_iter().flatten().min()
    }
}

/// The tenants in whose places something is to be deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aged {
    /// Which this process deletes in; no other one does meanwhile.
    pub tenants: Vec<TenantId>,
    /// For how long something has been kept already that should be gone, whichever process deletes there.
    pub behind: Duration,
}

/// What a repair changed in a place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// The executions with tasks that are ready again.
    pub rescued: Vec<ExecutionId>,
    /// How many tasks these are.
    pub tasks: usize,
    /// The executions that were closed.
    pub closed: Vec<ExecutionId>,
}

impl Repaired {
    /// Whether there was nothing to be mended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rescued.is_empty() && self.closed.is_empty()
    }
}

/// How many executions a call tells at once. Whoever gets so many asks again.
pub const MANY: usize = 1000;

/// How many bytes of context one [`execution_load`](Store::execution_load) of several executions reads at
/// most.
pub const MOST_BYTES_AT_ONCE: usize = 64 << 20;

/// One database with the engine's tables in it.
///
/// Whatever is given an `audit` notes it in its transaction, if it changes anything.
///
/// `now`, wherever it is a parameter, is `None` in production: the database's own time counts. A manual clock
/// passes its own.
///
/// The futures run on [`runtime`](Self::runtime) and may block its threads.
#[async_trait]
pub trait Store: KeyStore + AuditStore {
    /// Which database this is, for messages: host, port and database, or the path of the file. Never a
    /// password.
    fn label(&self) -> &str;

    /// Where this store's futures must be run.
    fn runtime(&self) -> Handle;

    /// How many flushes may be under way at once.
    fn lanes(&self) -> usize;

    /// Whether there are more lanes than [`lanes`](Self::lanes), so that in those nobody waits for a single
    /// place. The one of that number is for places whose flushes take long or fail. Those after it, as many
    /// as the engine likes, are for tenants that may keep others waiting: their flushes share a few
    /// connections, and wait for one another only where there are none left.
    fn has_aside(&self) -> bool {
        false
    }

    /// Changes whenever another process hints that there may be work or a notice. Only a hint: the bells
    /// decide.
    fn hints(&self) -> watch::Receiver<u64>;

    /// Hints to other processes that there is work. For what was not written by a [`flush`](Self::flush) of
    /// this store, which does it itself.
    fn hint_others(&self) {}

    /// Under which id this process is told of the ends of executions that it submitted; `None` if it learns
    /// of them otherwise.
    fn submitter(&self) -> Option<SubmitterId> {
        None
    }

    /// Changes whenever another process hints that executions may be over that this one
    /// [submitted](Self::submitter). Only a hint.
    fn ends(&self) -> watch::Receiver<u64> {
        self.hints()
    }

    /// Hints to other processes that executions may be over that they submitted.
    fn tell(&self, _submitters: &[SubmitterId]) {}

    /// Finds a place, makes or migrates it where that is needed and allowed. A place that is current sees no
    /// DDL.
    async fn place_open(&self, name: &PlaceName) -> Result<Place>;

    /// The place of a tenant that is here and has never been opened by this process; `None` if there is none
    /// that may be worked in.
    async fn place_of(&self, tenant: TenantId) -> Result<Option<Place>>;

    /// What the operator decided about the tenant of a place.
    async fn tenant_status(&self, _place: &Place) -> Result<TenantStatus> {
        // Where nobody can decide anything about tenants, all of them are active and without limits of their
        // own.
        Ok(TenantStatus::default())
    }

    /// What is wrong with a place, as far as the store can see that for itself. Changes nothing.
    async fn place_examine(&self, _place: &Place) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    /// Writes a batch of transitions and claims work, in one commit. `lane` is less than
    /// [`lanes`](Self::lanes), or any number if [`has_aside`](Self::has_aside); two flushes of one lane are
    /// never under way at once.
    ///
    /// An error of the kind [`StoreErrorKind::Unknown`] means that the commit may or may not have happened,
    /// and that it is decided now: whatever transaction was under way is over.
    async fn flush(&self, lane: usize, flush: &Flush) -> Result<Flushed>;

    /// Records new executions of which nothing is claimed, in one commit. Those that are
    /// [reruns](NewExecution::rerun) are recorded if the executions whose places they take are there, are
    /// over and were not rerun before; these are locked first, in the order of ids, and say from then on by
    /// which they are superseded.
    async fn execution_record(
        &self,
        place: &Place,
        submits: &[Arc<NewExecution>],
        now: Option<Timestamp>,
    ) -> Result<RecordedExecutions>;

    /// Cancels, pauses or resumes an execution, and leaves a notice for the runner that works on it.
    async fn execution_control(
        &self,
        place: &Place,
        execution: ExecutionId,
        control: Control,
        audit: Option<&NewAudit>,
        now: Option<Timestamp>,
    ) -> Result<Controlled>;

    /// Keeps a page of what a task emits; with the first one those go that other attempts of it left. False,
    /// and nothing is kept, if it does not run as this attempt under this runner.
    async fn page_write(
        &self,
        place: &Place,
        runner: RunnerId,
        stream: &Stream,
        page: &StreamPage,
    ) -> Result<bool>;

    /// The page of what a task emitted that has the item of this number, and the next one.
    async fn page_read(&self, place: &Place, stream: &Stream, item: i64) -> Result<Vec<StreamPage>>;

    /// Keeps what a task has done so far. Another attempt of it finds that in its row, and a patch that its
    /// outcome brings takes its place. None of the attempts that were lost before counts any more. False, and
    /// nothing is kept, if it does not run as this attempt under this runner.
    async fn task_keep(&self, place: &Place, kept: &KeptTask) -> Result<bool>;

    /// Takes rows of these [kinds](DueKind) that are due, at most [`MANY`] of each, and does what they ask
    /// for, in one transaction for each kind. What somebody else has locked at this moment stays. A deadline
    /// cancels its execution, and leaves a notice.
    async fn due_settle(
        &self,
        place: &Place,
        kinds: &'static [DueKind],
        now: Option<Timestamp>,
    ) -> Result<Settled>;

    /// The executions of other workflows than these with a task that has been ready to be claimed for at
    /// least `grace`, and what they run; at most [`MANY`].
    async fn execution_overdue(
        &self,
        place: &Place,
        known: &Arc<[WorkflowKey]>,
        grace: Duration,
        now: Option<Timestamp>,
    ) -> Result<Vec<(ExecutionId, WorkflowKey)>>;

    /// The executions of these workflows that are paused as [orphans](Control::Orphan), and what they run; at
    /// most [`MANY`].
    async fn execution_orphaned(
        &self,
        place: &Place,
        known: &Arc<[WorkflowKey]>,
    ) -> Result<Vec<(ExecutionId, WorkflowKey)>>;

    /// Gives executions that were submitted by the names of workflows of their place and whose start is due
    /// the tasks of the workflow, at most `limit` of each place, in one transaction. From then on they are as
    /// if they had been submitted with it. What somebody else has locked stays. Reruns are told and left as
    /// they are: what they become has to be worked out for each. The places [share tables](Place::shared), or
    /// there is one. The answers come in their order.
    async fn execution_expand(
        &self,
        places: &[(Arc<Place>, Arc<[Expansion]>)],
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<Vec<Expanded>>;

    /// Gives a rerun that was recorded by the name of its workflow its tasks, those that are copied among
    /// them; what else is [said of it](NewExecution::expanding) does not count. False if somebody else did,
    /// or it is over, paused or gone.
    async fn execution_expand_rerun(
        &self,
        place: &Place,
        rerun: &Arc<NewExecution>,
        now: Option<Timestamp>,
    ) -> Result<bool>;

    /// Takes due rows of schedules, at most `limit` of each place, with the locks on these, and does what is
    /// decided about those of the place, in one transaction. What somebody else has locked at this moment
    /// stays. The places [share tables](Place::shared), or there is one. The answers come in their order.
    async fn schedule_settle(
        &self,
        places: &[(Arc<Place>, Decide)],
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<Vec<SchedulesSettled>>;

    /// Locks schedules and does what `decide` says about them, in one transaction. An error of the kind
    /// [`StoreErrorKind::Transient`] if somebody else makes one of the same name at this moment.
    async fn schedule_change(
        &self,
        place: &Place,
        selection: &ScheduleSelection,
        now: Option<Timestamp>,
        decide: &Decide,
    ) -> Result<SchedulesSettled>;

    /// Schedules by their names, in the order of these, at most [`MANY`].
    async fn schedule_list(
        &self,
        place: &Place,
        selection: &ScheduleSelection,
    ) -> Result<Vec<ScheduleRecord>>;

    /// What came of the times of a schedule, the latest first.
    async fn schedule_fires(&self, place: &Place, list: &FireList) -> Result<Vec<FireRecord>>;
    /// The waits of a place that are due, of these workflows, the longest due first: the first `limit` due
    /// rows after `after`, whatever they are about. It locks nothing.
    ///
    /// Of the payloads of signals at most [`MOST_BYTES_AT_ONCE`] are read; the waits behind that are left to
    /// the next look.
    async fn wait_due(
        &self,
        place: &Place,
        workflows: &Arc<[WorkflowKey]>,
        after: Option<&WaitCursor>,
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<DueWaits>;

    /// How the nodes of executions ended that are over.
    async fn wait_ends(&self, place: &Place, executions: &[ExecutionId]) -> Result<Vec<NodeEnd>>;

    /// Does what was decided about waits, where it is still right, and takes due rows away of which nothing
    /// can come. It waits for no execution that somebody else has locked.
    async fn wait_settle(
        &self,
        place: &Place,
        steps: &Arc<[WaitStep]>,
        void: &[WaitCursor],
        now: Option<Timestamp>,
    ) -> Result<SettledWaits>;

    /// Says when the time of an open wait is over; now if `until` is not given. The wait is named by its id.
    /// False if no such wait is open.
    async fn wait_move(
        &self,
        place: &Place,
        execution: ExecutionId,
        wait: &str,
        until: Option<Timestamp>,
        audit: Option<&NewAudit>,
        now: Option<Timestamp>,
    ) -> Result<bool>;

    /// The waits that are open, in the order of executions.
    async fn wait_list(&self, place: &Place, filter: &WaitFilter) -> Result<Vec<OpenWait>>;

    /// The executions of a place whose children are to be looked at, of these workflows, the longest due
    /// first: what the first `limit` due rows after `after` say, whatever they are about. It locks nothing.
    async fn children_due(
        &self,
        place: &Place,
        workflows: &Arc<[WorkflowKey]>,
        after: Option<&WaitCursor>,
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<DueChildren>;

    /// Does what was decided about nodes that wait for children, where their counters are those that it goes
    /// by, and takes due rows away of which nothing can come. A step that starts anything in an execution
    /// that is paused is not done. It waits for no execution that somebody else has locked.
    async fn children_settle(
        &self,
        place: &Place,
        steps: &Arc<[ParentStep]>,
        void: &[WaitCursor],
        now: Option<Timestamp>,
    ) -> Result<SettledWaits>;

    /// The children of an execution, in the order of nodes and items.
    async fn children_list(&self, place: &Place, list: &ChildList) -> Result<Vec<ChildRecord>>;

    /// How far the nodes of an execution are that wait, or waited, for children.
    async fn children_progress(&self, place: &Place, execution: ExecutionId)
    -> Result<Vec<ChildrenProgress>>;

    /// Says how many children of a node may be open at once, and has it looked at. The node is named by its
    /// id. False if no such node waits for children.
    async fn children_parallel(
        &self,
        place: &Place,
        execution: ExecutionId,
        node: &str,
        parallel: i64,
        audit: Option<&NewAudit>,
        now: Option<Timestamp>,
    ) -> Result<bool>;

    /// Records a signal, and has the wait looked at that takes it. Nobody needs the code for it.
    async fn signal_send(
        &self,
        place: &Place,
        signal: &NewSignal,
        now: Option<Timestamp>,
    ) -> Result<SignalSent>;

    /// Looks for what no transaction of ours leaves behind, and mends it: tasks that run under runners of
    /// which there is no row, as in a place that was put back from a backup, are ready again; running
    /// executions in which nothing is left to be done are closed.
    async fn place_repair(&self, place: &Place, now: Option<Timestamp>) -> Result<Repaired>;

    /// How many executions of a place are not over; not counted further than `at_most`.
    async fn execution_count(&self, place: &Place, at_most: usize) -> Result<usize>;

    /// How many executions of a place wait; not counted further than `at_most`.
    async fn execution_waiting(&self, place: &Place, at_most: usize) -> Result<usize>;

    /// What there is in a place, in numbers. It counts rows, up to `PlaceFigures::MOST_COUNTED`.
    async fn place_figures(&self, place: &Place, now: Option<Timestamp>) -> Result<PlaceFigures>;

    /// The executions of these ids with all their tasks. Those that are not there are left out.
    ///
    /// Whoever writes to a place may have left anything there, so what is read is bounded before it is
    /// fetched. An error of the kind [`StoreErrorKind::Data`] if one of them has more than
    /// [`MOST_EXECUTION_BYTES`] of context, or several have more than [`MOST_BYTES_AT_ONCE`] together: then
    /// each can be asked for by itself.
    async fn execution_load(&self, place: &Place, executions: &[ExecutionId])
    -> Result<Vec<ExecutionRecord>>;

    /// The executions of these ids without tasks and input. Those that are not there are left out.
    async fn execution_headers(
        &self,
        place: &Place,
        executions: &[ExecutionId],
    ) -> Result<Vec<ExecutionHeader>>;

    /// For each of these executions a number that changes whenever its state, one of its tasks or a counter
    /// of its children does. Those that are not there are left out.
    async fn execution_pulse(
        &self,
        place: &Place,
        executions: &[ExecutionId],
    ) -> Result<Vec<(ExecutionId, Pulse)>>;

    /// The execution that was recorded under an idempotency key, and the hash of its input.
    async fn execution_find(
        &self,
        place: &Place,
        workflow: &str,
        key: &str,
    ) -> Result<Option<(ExecutionId, i64)>>;

    /// Executions, newest first.
    async fn execution_list(&self, place: &Place, list: &ExecutionList) -> Result<Vec<ExecutionHeader>>;

    /// Every attempt of every task of an execution, in the order of tasks and attempts; `None` if there is no
    /// such execution.
    async fn attempt_list(&self, place: &Place, execution: ExecutionId) -> Result<Option<AttemptList>>;

    /// The tasks that are running in this place under this runner.
    async fn task_held(&self, place: &Place, runner: RunnerId) -> Result<Vec<Claimed>>;

    /// Deletes executions, with all that belongs to them, that ended like this and longer ago than
    /// `retention`; at most `limit`, in one transaction or several. Returns how many.
    async fn execution_prune(
        &self,
        place: &Place,
        end: ExecutionStatus,
        retention: Duration,
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<usize>;

    /// When those executions ended that ended first. The places [share tables](Place::shared), or there is
    /// one. The answers come in their order.
    async fn execution_oldest(&self, places: &[Arc<Place>]) -> Result<Vec<OldestEnds>>;

    /// Takes tenants in whose places executions may be kept for longer than they are to be: those of the
    /// `open` ones, and if there is a retention for the `others`, at most `limit` of them. A tenant that was
    /// taken is left to this process for an hour, unless that is [noted](Self::retention_note) otherwise.
    /// One statement, whatever the number of tenants.
    async fn retention_take(
        &self,
        open: &[(TenantId, Retention)],
        _others: Option<&Retention>,
        _limit: usize,
        _now: Option<Timestamp>,
    ) -> Result<Aged> {
        // Whoever has such a database open is alone with it, or deletes in vain what others have deleted.
        let any = open.iter().filter(|(_, retention)| retention.shortest().is_some());
        Ok(Aged { tenants: any.map(|(tenant, _)| *tenant).collect(), behind: Duration::ZERO })
    }

    /// Notes what is left in places that were [taken](Self::retention_take), and for how long nobody has to
    /// look there.
    async fn retention_note(
        &self,
        _left: &[(TenantId, OldestEnds, Duration)],
        _now: Option<Timestamp>,
    ) -> Result<()> {
        Ok(())
    }

    /// The tenants with work due, and recent notices. One statement, whatever the number of tenants.
    async fn bell_due(&self, now: Option<Timestamp>) -> Result<Bells>;

    /// Sets the bells of places to their earliest ready or due rows, of whatever kind, and says when those
    /// are due, in the order of the places. The caller knows these kinds. Several places are given only if
    /// they share tables.
    async fn bell_lower(
        &self,
        places: &[Arc<Place>],
        kinds: &'static [DueKind],
        now: Option<Timestamp>,
    ) -> Result<Vec<NextDue>>;

    /// Records a new runner as live. Repeated after a lost answer, it changes nothing.
    async fn runner_register(&self, runner: &RunnerRegistration, now: Option<Timestamp>) -> Result<()>;

    /// Counts the runner's heartbeat up and announces what it can run. `Dead` if somebody has declared it
    /// dead.
    async fn runner_heartbeat(
        &self,
        runner: RunnerId,
        workflows: &Arc<[WorkflowKey]>,
        now: Option<Timestamp>,
    ) -> Result<Liveness>;

    /// Keeps the descriptions of those of these workflows that are not known yet, and changes the others not.
    /// What a tenant's login tells is kept for that tenant, and only so many.
    async fn workflow_describe(
        &self,
        place: &Place,
        workflows: &Arc<[DescribedWorkflow]>,
        now: Option<Timestamp>,
    ) -> Result<()>;

    /// The workflows that are known and can run in a place, at most [`MOST_WORKFLOWS`]: by name, the newest
    /// of each first. A tenant's login learns of its own.
    async fn workflow_list(&self, place: &Place) -> Result<Vec<KnownWorkflow>>;

    /// The description of a workflow, if it is known and not larger than [`LARGEST_DESCRIPTION`].
    async fn workflow_description(&self, place: &Place, key: &WorkflowKey) -> Result<Option<String>>;

    /// Notes in the audit what somebody does in a place, for an action of many transactions.
    async fn audit_note(&self, place: &Place, audit: &NewAudit, now: Option<Timestamp>) -> Result<()>;

    /// All runners, the dead ones whose work is not returned yet included.
    async fn runner_list(&self) -> Result<Vec<RunnerRecord>>;

    /// Declares a runner dead if its heartbeat is still at `beat`; waits for a flush of it that is under way.
    /// True if the runner is dead now, by whomever.
    async fn runner_condemn(&self, runner: RunnerId, beat: i64) -> Result<bool>;

    /// Returns the work of a dead runner to the ready table, place by place, each in a transaction of its
    /// own, and removes the runner when all are clean. May be repeated, and done by several processes at
    /// once. An error of one place does not keep the others from being cleaned; the first is returned at the
    /// end.
    async fn runner_rescue(&self, runner: RunnerId, now: Option<Timestamp>) -> Result<Vec<RescuedPlace>>;

    /// Removes a live runner that holds nothing any more. One that still holds something is declared dead
    /// instead.
    async fn runner_retire(&self, runner: RunnerId) -> Result<()>;

    /// Whether [`rest`](Self::rest) is worth calling.
    fn rests(&self) -> bool {
        false
    }

    /// Returns when what this store keeps open is wanted elsewhere in the process: if nothing is going on, it
    /// should rest now.
    async fn pressed(&self) {
        std::future::pending::<()>().await;
    }

    /// Closes what is open. The next call, whichever it is, opens it again.
    ///
    /// From then on [`hints`](Self::hints) also changes when somebody else wrote, and with the call that
    /// opens it again. False, and nothing is closed, if somebody else may have written since the last
    /// [`bell_due`](Self::bell_due).
    async fn rest(&self) -> Result<bool> {
        Ok(false)
    }

    /// Closes all connections, in good order. Nothing is called after it.
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
