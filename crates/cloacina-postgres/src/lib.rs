//! The engine's store on PostgreSQL 14 and later.
//!
//! This crate turns the named steps of [`cloacina_core::store::Store`] into statements and moves them over
//! few connections. It decides nothing about workflows. What it promises beside the trait:
//!
//! - a flush is one transaction in one round trip, in two behind a pooler, whatever the number of tenants in
//!   it ([`PostgresStore`]);
//! - nothing is set on a connection that outlives a transaction, but that a session of ours only reads
//!   without one;
//! - no text becomes an identifier except through [`SchemaName`];
//! - no error, log line or debug output holds a password or a URL.
//!
//! The statements are files in `sql/`, the tables are made by `migrations/`.

mod across;
mod address;
pub mod admin;
mod audit;
mod children;
mod connect;
mod doorbell;
mod due;
mod ends;
mod error;
mod execution;
mod expand;
mod flight;
mod flush;
pub mod guest;
mod hints;
mod inner;
mod key;
mod keys;
mod limits;
mod migrate;
mod migrations;
mod options;
mod outcomes;
mod pool;
mod record;
mod retention;
mod role;
mod row;
mod runner;
mod schedule;
mod schema;
mod statement;
mod submits;
mod tenant;
mod tls;
mod turns;
mod value;
mod wait;
mod workflow;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cloacina_core::Retention;
use cloacina_core::execution::ExecutionStatus;
use cloacina_core::id::{ExecutionId, RunnerId, SubmitterId, TenantId};
use cloacina_core::store::{
    Aged, AttemptList, AuditChain, AuditList, AuditOf, AuditRecord, AuditStore, Bells, ChildList,
    ChildRecord, ChildrenProgress, Claimed, Control, Controlled, Decide, DescribedWorkflow, DueChildren,
    DueKind, DueWaits, ExecutionHeader, ExecutionList, ExecutionRecord, Expanded, Expansion, FireList,
    FireRecord, Flush, Flushed, KeptTask, KeyId, KeyList, KeyRecord, KeyRefusal, KeyStore, KnownWorkflow,
    Liveness, NewAudit, NewExecution, NewKey, NewSignal, NextDue, NodeEnd, OldestEnds, OpenWait, ParentStep,
    Place, PlaceFigures, PlaceName, PlaceVersion, Pulse, RecordedExecutions, Repaired, RescuedPlace, Result,
    Rollout, RunnerRecord, RunnerRegistration, ScheduleRecord, ScheduleSelection, ScheduleTemplates,
    SchedulesSettled, Settled, SettledWaits, SignalSent, Store, StoreError, StoreErrorKind, Stream,
    StreamPage, TemplateStore, TenantLimits, TenantState, TenantStatus, WaitCursor, WaitFilter, WaitStep,
    WorkflowKey,
};
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_postgres_rustls::MakeRustlsConnect;

pub use across::Across;
pub use address::{AddressParts, PostgresAddress};
pub use migrate::VersionOf;
#[doc(hidden)]
pub use migrations::Migration;
pub use options::PostgresOptions;
pub use schema::SchemaName;
pub use tenant::NamedTenant;

use crate::connect::{Connection, Refusal};
use crate::flush::OwnedFlush;
use crate::inner::Inner;
use crate::limits::Checked;
use crate::pool::Pool;
use crate::statement::Login;

/// One PostgreSQL database with any number of places in it, over a few connections.
///
/// Its futures never block a thread. They do their work in Tokio tasks of their own on
/// [`runtime`](Store::runtime): one that is dropped before it is done gives up the answer, not the work, and
/// leaves no connection half used.
///
/// A flush whose commit is not answered waits until the server can be asked what became of it, however long
/// it cannot be reached; see [`Store::flush`] on [`StoreErrorKind::Unknown`].
pub struct PostgresStore {
    inner: Arc<Inner>,
    background: [AbortHandle; 3],
}

impl PostgresStore {
    /// Connects once, to prove that it works, and keeps what is needed to connect again.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Configuration`] if the URL cannot be read, or the server does not accept the login,
    /// its password or the name of the database; [`StoreErrorKind::Transient`] if the server cannot be
    /// reached.
    pub async fn connect(url: &str, options: PostgresOptions) -> Result<Arc<Self>> {
        Self::connect_address(PostgresAddress::parse(url)?, options).await
    }

    /// As [`connect`](Self::connect), with a URL that was read before.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_address(address: PostgresAddress, options: PostgresOptions) -> Result<Arc<Self>> {
        let runtime = options.runtime()?;
        let connector = tls::connector(&address)?;
        let (to, tls) = (address.clone(), connector.clone());
        let identified = runtime.spawn(async move {
            let connection = dial(&to, &tls).await?;
            let login = connection.identify().await.map_err(|error| connect::dial_error(&to, &error))?;
            Ok((connection, login))
        });
        let (connection, login) = identified
            .await
            .unwrap_or_else(|error| Err(StoreError::new(StoreErrorKind::Internal, error.to_string())))?;
        let mut pool = Pool::new(address, connector, options.max_connections, login);
        pool.lane_patience = options.lane_patience.unwrap_or(pool.lane_patience);
        let pool = Arc::new(pool);
        pool.adopt(connection);
        let inner = Arc::new(Inner::new(pool, &options.further_migrations, runtime.clone()));
        let background = [
            runtime.spawn(doorbell::send_hints(Arc::downgrade(&inner))).abort_handle(),
            runtime.spawn(doorbell::hear_hints(Arc::downgrade(&inner))).abort_handle(),
            runtime.spawn(doorbell::pass_hints_on(Arc::downgrade(&inner))).abort_handle(),
        ];
        Ok(Arc::new(Self { inner, background }))
    }

    /// Opens one connection with this URL and closes it: proves that its password is accepted, where a store
    /// for the same [`PostgresAddress`] is there already under another one.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn authenticate(address: PostgresAddress) -> Result<()> {
        let tls = tls::connector(&address)?;
        let runtime = PostgresOptions::default().runtime()?;
        let dialled = runtime.spawn(async move { dial(&address, &tls).await.map(drop) });
        let dialled = dialled.await;
        dialled.unwrap_or_else(|error| Err(StoreError::new(StoreErrorKind::Internal, error.to_string())))
    }

    /// Which database this is and how it is reached.
    #[must_use]
    pub fn address(&self) -> &PostgresAddress {
        &self.inner.pool.address
    }

    /// Whether the login belongs to a tenant, whose place is then the only one that can be opened.
    #[must_use]
    pub fn is_tenant_login(&self) -> bool {
        self.inner.pool.login == Login::Tenant
    }

    /// The names of the tenants that work in databases of their own on this server.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn tenants_with_databases(&self) -> Result<Vec<String>> {
        let inner = Arc::clone(&self.inner);
        self.run(async move { tenant::with_databases(&inner).await }).await
    }

    /// The tenants that the operator calls by this name, or by one from which only the case tells it apart;
    /// all of them if none is given.
    ///
    /// # Errors
    ///
    /// As [`Store::place_open`].
    pub async fn tenants_named(&self, name: Option<&str>) -> Result<Vec<NamedTenant>> {
        let (inner, name) = (Arc::clone(&self.inner), name.map(str::to_owned));
        self.run(async move { tenant::named(&inner, name.as_deref()).await }).await
    }

    /// The tenants with the largest tables, the largest first, as they were when an administrator measured
    /// them last.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn tenants_largest(&self, limit: usize) -> Result<Vec<(String, u64)>> {
        let inner = Arc::clone(&self.inner);
        self.run(async move { tenant::largest(&inner, limit).await }).await
    }

    /// Which version the schema `cloacina` has, and which the places of tenants have: of all, or of one.
    /// Nothing is made or migrated.
    ///
    /// # Errors
    ///
    /// As [`Store::place_open`].
    pub async fn versions(&self, name: Option<&str>) -> Result<(PlaceVersion, Vec<VersionOf>)> {
        let (inner, name) = (Arc::clone(&self.inner), name.map(str::to_owned));
        self.run(async move { migrate::versions(&inner, name.as_deref()).await }).await
    }

    /// The newest executions of a list in the places of all these tenants that are in this database, without
    /// opening one.
    ///
    /// # Errors
    ///
    /// None at present: what is wrong with a place is told with its tenant.
    pub async fn executions_across(
        &self,
        tenants: Vec<NamedTenant>,
        list: ExecutionList,
    ) -> Result<Across<ExecutionHeader>> {
        self.run(across::executions(Arc::clone(&self.inner), tenants, list)).await
    }

    /// The waits in the places of all these tenants that are in this database, tenant after tenant, without
    /// opening one. What is to be left out before the first one is the first tenant's.
    ///
    /// # Errors
    ///
    /// As [`executions_across`](Self::executions_across).
    pub async fn waits_across(
        &self,
        tenants: Vec<NamedTenant>,
        filter: WaitFilter,
    ) -> Result<Across<OpenWait>> {
        self.run(across::waits(Arc::clone(&self.inner), tenants, filter)).await
    }

    /// Makes a place for a tenant that the operator calls by another name than its schema's; `None` if either
    /// is taken.
    ///
    /// # Errors
    ///
    /// As [`Store::place_open`].
    pub async fn place_create(
        &self,
        schema: &SchemaName,
        name: &str,
        audit: Option<NewAudit>,
    ) -> Result<Option<Place>> {
        let (inner, schema, name) = (Arc::clone(&self.inner), schema.clone(), name.to_owned());
        self.run(async move { tenant::create_named(&inner, &schema, &name, audit.as_ref()).await }).await
    }

    /// Removes a place that this login made, with everything in it: nothing new is started there, running
    /// tasks may end for `drain`.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Place`] if the login does not own it; otherwise as [`Store::place_open`]. May be
    /// repeated.
    pub async fn place_remove(&self, place: &Place, drain: Duration, audit: Option<NewAudit>) -> Result<()> {
        let (inner, place) = (Arc::clone(&self.inner), place.clone());
        self.run(async move { tenant::remove(&inner, &place, drain, audit.as_ref()).await }).await
    }

    /// Suspends a tenant that has no login of its own: within a second no process starts anything for it.
    /// What is recorded stays.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Place`] for one that is being removed; otherwise as [`Store::place_open`].
    pub async fn place_suspend(&self, place: &Place, audit: Option<NewAudit>) -> Result<()> {
        let (inner, place) = (Arc::clone(&self.inner), place.clone());
        self.run(async move { tenant::change(&inner, &place, TenantState::Suspended, audit.as_ref()).await })
            .await
    }

    /// Lets a suspended tenant that has no login of its own go on.
    ///
    /// # Errors
    ///
    /// As [`place_suspend`](Self::place_suspend).
    pub async fn place_resume(&self, place: &Place, audit: Option<NewAudit>) -> Result<()> {
        let (inner, place) = (Arc::clone(&self.inner), place.clone());
        self.run(async move { tenant::change(&inner, &place, TenantState::Active, audit.as_ref()).await })
            .await
    }

    /// Sets all limits of a tenant that has no login of its own; what is `None` has none. In force within a
    /// second.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Configuration`] for a limit of 0; otherwise as [`Store::place_open`].
    pub async fn place_limit(
        &self,
        place: &Place,
        limits: TenantLimits,
        audit: Option<NewAudit>,
    ) -> Result<()> {
        let checked = Checked::of(&limits)?;
        let (inner, place) = (Arc::clone(&self.inner), place.clone());
        self.run(async move { tenant::limit(&inner, &place, &checked, audit.as_ref()).await }).await
    }

    /// Raises the number of connections to `max_connections`, if it is lower.
    pub fn ensure_connections(&self, max_connections: u32) {
        self.inner.pool.ensure(max_connections);
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.inner.run(work).await
    }
}

/// A connection before there is a pool.
async fn dial(address: &PostgresAddress, tls: &MakeRustlsConnect) -> Result<Connection> {
    let dialled = Connection::dial(address, tls, Login::Operator, |_| {}).await;
    dialled.map_err(|refusal| match refusal {
        Refusal::Full(error) => connect::dial_error(address, &error),
        Refusal::Other(error) => error,
    })
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        for task in &self.background {
            task.abort();
        }
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresStore({})", self.inner.label())
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn label(&self) -> &str {
        self.inner.label()
    }

    fn runtime(&self) -> Handle {
        self.inner.runtime().clone()
    }

    fn lanes(&self) -> usize {
        self.inner.pool.lanes()
    }

    fn has_aside(&self) -> bool {
        true
    }

    fn hint_others(&self) {
        self.inner.hints.tell_of_work();
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.inner.hints.work.subscribe()
    }

    fn submitter(&self) -> Option<SubmitterId> {
        Some(self.inner.hints.me)
    }

    fn ends(&self) -> watch::Receiver<u64> {
        self.inner.hints.ends.subscribe()
    }

    fn tell(&self, submitters: &[SubmitterId]) {
        self.inner.hints.tell_of_ends(submitters);
    }

    async fn place_open(&self, name: &PlaceName) -> Result<Place> {
        let (inner, name) = (Arc::clone(&self.inner), name.clone());
        self.run(async move { tenant::open(&inner, &name).await }).await
    }

    async fn place_of(&self, tenant: TenantId) -> Result<Option<Place>> {
        let inner = Arc::clone(&self.inner);
        self.run(async move { tenant::place_of(&inner, tenant).await }).await
    }

    async fn tenant_status(&self, place: &Place) -> Result<TenantStatus> {
        let (inner, place) = (Arc::clone(&self.inner), place.clone());
        self.run(async move { tenant::status(&inner, &place).await }).await
    }

    async fn flush(&self, lane: usize, flush: &Flush) -> Result<Flushed> {
        self.run(flush::flush(Arc::clone(&self.inner), lane, OwnedFlush::from(flush))).await
    }

    async fn execution_record(
        &self,
        place: &Place,
        submits: &[Arc<NewExecution>],
        now: Option<Timestamp>,
    ) -> Result<RecordedExecutions> {
        self.run(record::record(Arc::clone(&self.inner), place.clone(), submits.to_vec(), now)).await
    }

    async fn execution_control(
        &self,
        place: &Place,
        execution: ExecutionId,
        control: Control,
        audit: Option<&NewAudit>,
        now: Option<Timestamp>,
    ) -> Result<Controlled> {
        let (inner, audit) = (Arc::clone(&self.inner), audit.cloned());
        self.run(execution::control(inner, place.clone(), execution, control, audit, now)).await
    }

    async fn execution_overdue(
        &self,
        place: &Place,
        known: &Arc<[WorkflowKey]>,
        grace: Duration,
        now: Option<Timestamp>,
    ) -> Result<Vec<(ExecutionId, WorkflowKey)>> {
        self.run(execution::overdue(Arc::clone(&self.inner), place.clone(), Arc::clone(known), grace, now))
            .await
    }

    async fn place_repair(&self, place: &Place, now: Option<Timestamp>) -> Result<Repaired> {
        self.run(runner::repair(Arc::clone(&self.inner), place.clone(), now)).await
    }

    async fn execution_orphaned(
        &self,
        place: &Place,
        known: &Arc<[WorkflowKey]>,
    ) -> Result<Vec<(ExecutionId, WorkflowKey)>> {
        self.run(execution::orphaned(Arc::clone(&self.inner), place.clone(), Arc::clone(known))).await
    }

    async fn place_figures(&self, place: &Place, now: Option<Timestamp>) -> Result<PlaceFigures> {
        self.run(execution::figures(Arc::clone(&self.inner), place.clone(), now)).await
    }

    async fn execution_count(&self, place: &Place, at_most: usize) -> Result<usize> {
        self.run(execution::count(Arc::clone(&self.inner), place.clone(), at_most)).await
    }

    async fn execution_waiting(&self, place: &Place, at_most: usize) -> Result<usize> {
        self.run(execution::waiting(Arc::clone(&self.inner), place.clone(), at_most)).await
    }

    async fn execution_expand(
        &self,
        places: &[(Arc<Place>, Arc<[Expansion]>)],
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<Vec<Expanded>> {
        self.run(expand::expand(Arc::clone(&self.inner), places.to_vec(), limit, now)).await
    }

    async fn execution_expand_rerun(
        &self,
        place: &Place,
        rerun: &Arc<NewExecution>,
        now: Option<Timestamp>,
    ) -> Result<bool> {
        let rerun = Arc::clone(rerun);
        self.run(expand::expand_rerun(Arc::clone(&self.inner), place.clone(), rerun, now)).await
    }

    async fn due_settle(
        &self,
        place: &Place,
        kinds: &'static [DueKind],
        now: Option<Timestamp>,
    ) -> Result<Settled> {
        self.run(due::settle(Arc::clone(&self.inner), place.clone(), kinds, now)).await
    }

    async fn schedule_settle(
        &self,
        places: &[(Arc<Place>, Decide)],
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<Vec<SchedulesSettled>> {
        self.run(schedule::settle(Arc::clone(&self.inner), places.to_vec(), limit, now)).await
    }

    async fn schedule_change(
        &self,
        place: &Place,
        selection: &ScheduleSelection,
        now: Option<Timestamp>,
        decide: &Decide,
    ) -> Result<SchedulesSettled> {
        self.run(schedule::change(
            Arc::clone(&self.inner),
            place.clone(),
            selection.clone(),
            now,
            Arc::clone(decide),
        ))
        .await
    }

    async fn schedule_list(
        &self,
        place: &Place,
        selection: &ScheduleSelection,
    ) -> Result<Vec<ScheduleRecord>> {
        self.run(schedule::list(Arc::clone(&self.inner), place.clone(), selection.clone())).await
    }

    async fn schedule_fires(&self, place: &Place, list: &FireList) -> Result<Vec<FireRecord>> {
        self.run(schedule::fires(Arc::clone(&self.inner), place.clone(), list.clone())).await
    }

    async fn wait_due(
        &self,
        place: &Place,
        workflows: &Arc<[WorkflowKey]>,
        after: Option<&WaitCursor>,
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<DueWaits> {
        let (workflows, after) = (Arc::clone(workflows), after.cloned());
        self.run(wait::due(Arc::clone(&self.inner), place.clone(), workflows, after, limit, now)).await
    }

    async fn wait_ends(&self, place: &Place, executions: &[ExecutionId]) -> Result<Vec<NodeEnd>> {
        self.run(wait::ends(Arc::clone(&self.inner), place.clone(), executions.to_vec())).await
    }

    async fn wait_settle(
        &self,
        place: &Place,
        steps: &Arc<[WaitStep]>,
        void: &[WaitCursor],
        now: Option<Timestamp>,
    ) -> Result<SettledWaits> {
        let (steps, void) = (Arc::clone(steps), void.to_vec());
        self.run(wait::settle(Arc::clone(&self.inner), place.clone(), steps, void, now)).await
    }

    async fn wait_move(
        &self,
        place: &Place,
        execution: ExecutionId,
        wait: &str,
        until: Option<Timestamp>,
        audit: Option<&NewAudit>,
        now: Option<Timestamp>,
    ) -> Result<bool> {
        let (inner, wait, audit) = (Arc::clone(&self.inner), wait.to_owned(), audit.cloned());
        self.run(wait::move_to(inner, place.clone(), execution, wait, until, audit, now)).await
    }

    async fn wait_list(&self, place: &Place, filter: &WaitFilter) -> Result<Vec<OpenWait>> {
        self.run(wait::list(Arc::clone(&self.inner), place.clone(), filter.clone())).await
    }

    async fn children_due(
        &self,
        place: &Place,
        workflows: &Arc<[WorkflowKey]>,
        after: Option<&WaitCursor>,
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<DueChildren> {
        let (inner, workflows) = (Arc::clone(&self.inner), Arc::clone(workflows));
        self.run(children::due(inner, place.clone(), workflows, after.cloned(), limit, now)).await
    }

    async fn children_settle(
        &self,
        place: &Place,
        steps: &Arc<[ParentStep]>,
        void: &[WaitCursor],
        now: Option<Timestamp>,
    ) -> Result<SettledWaits> {
        let (inner, steps) = (Arc::clone(&self.inner), Arc::clone(steps));
        self.run(children::settle(inner, place.clone(), steps, void.to_vec(), now)).await
    }

    async fn page_write(
        &self,
        place: &Place,
        runner: RunnerId,
        stream: &Stream,
        page: &StreamPage,
    ) -> Result<bool> {
        let (inner, stream, page) = (Arc::clone(&self.inner), stream.clone(), page.clone());
        self.run(children::page_write(inner, place.clone(), runner, stream, page)).await
    }

    async fn page_read(&self, place: &Place, stream: &Stream, item: i64) -> Result<Vec<StreamPage>> {
        self.run(children::page_read(Arc::clone(&self.inner), place.clone(), stream.clone(), item)).await
    }

    async fn task_keep(&self, place: &Place, kept: &KeptTask) -> Result<bool> {
        self.run(execution::keep(Arc::clone(&self.inner), place.clone(), kept.clone())).await
    }

    async fn children_list(&self, place: &Place, list: &ChildList) -> Result<Vec<ChildRecord>> {
        self.run(children::list(Arc::clone(&self.inner), place.clone(), list.clone())).await
    }

    async fn children_progress(
        &self,
        place: &Place,
        execution: ExecutionId,
    ) -> Result<Vec<ChildrenProgress>> {
        self.run(children::progress(Arc::clone(&self.inner), place.clone(), execution)).await
    }

    async fn children_parallel(
        &self,
        place: &Place,
        execution: ExecutionId,
        node: &str,
        parallel: i64,
        audit: Option<&NewAudit>,
        now: Option<Timestamp>,
    ) -> Result<bool> {
        let (inner, node, audit) = (Arc::clone(&self.inner), node.to_owned(), audit.cloned());
        self.run(children::set_parallel(inner, place.clone(), execution, node, parallel, audit, now)).await
    }

    async fn signal_send(
        &self,
        place: &Place,
        signal: &NewSignal,
        now: Option<Timestamp>,
    ) -> Result<SignalSent> {
        self.run(wait::send(Arc::clone(&self.inner), place.clone(), signal.clone(), now)).await
    }

    async fn execution_load(
        &self,
        place: &Place,
        executions: &[ExecutionId],
    ) -> Result<Vec<ExecutionRecord>> {
        self.run(execution::load(Arc::clone(&self.inner), place.clone(), executions.to_vec())).await
    }

    async fn execution_headers(
        &self,
        place: &Place,
        executions: &[ExecutionId],
    ) -> Result<Vec<ExecutionHeader>> {
        self.run(execution::headers(Arc::clone(&self.inner), place.clone(), executions.to_vec())).await
    }

    async fn execution_pulse(
        &self,
        place: &Place,
        executions: &[ExecutionId],
    ) -> Result<Vec<(ExecutionId, Pulse)>> {
        self.run(execution::pulse(Arc::clone(&self.inner), place.clone(), executions.to_vec())).await
    }

    async fn execution_find(
        &self,
        place: &Place,
        workflow: &str,
        key: &str,
    ) -> Result<Option<(ExecutionId, i64)>> {
        let (workflow, key) = (workflow.to_owned(), key.to_owned());
        self.run(execution::find(Arc::clone(&self.inner), place.clone(), workflow, key)).await
    }

    async fn execution_list(&self, place: &Place, list: &ExecutionList) -> Result<Vec<ExecutionHeader>> {
        self.run(execution::list(Arc::clone(&self.inner), place.clone(), list.clone())).await
    }

    async fn attempt_list(&self, place: &Place, execution: ExecutionId) -> Result<Option<AttemptList>> {
        self.run(execution::attempts(Arc::clone(&self.inner), place.clone(), execution)).await
    }

    async fn task_held(&self, place: &Place, runner: RunnerId) -> Result<Vec<Claimed>> {
        self.run(execution::held(Arc::clone(&self.inner), place.clone(), runner)).await
    }

    async fn execution_prune(
        &self,
        place: &Place,
        end: ExecutionStatus,
        retention: Duration,
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<usize> {
        self.run(execution::prune(Arc::clone(&self.inner), place.clone(), end, retention, limit, now)).await
    }

    async fn execution_oldest(&self, places: &[Arc<Place>]) -> Result<Vec<OldestEnds>> {
        self.run(retention::oldest(Arc::clone(&self.inner), places.to_vec())).await
    }

    async fn retention_take(
        &self,
        open: &[(TenantId, Retention)],
        others: Option<&Retention>,
        limit: usize,
        now: Option<Timestamp>,
    ) -> Result<Aged> {
        let take = retention::take(Arc::clone(&self.inner), open.to_vec(), others.copied(), limit, now);
        self.run(take).await
    }

    async fn retention_note(
        &self,
        left: &[(TenantId, OldestEnds, Duration)],
        now: Option<Timestamp>,
    ) -> Result<()> {
        self.run(retention::note(Arc::clone(&self.inner), left.to_vec(), now)).await
    }

    async fn bell_due(&self, now: Option<Timestamp>) -> Result<Bells> {
        self.run(doorbell::due(Arc::clone(&self.inner), now)).await
    }

    async fn bell_lower(
        &self,
        places: &[Arc<Place>],
        kinds: &'static [DueKind],
        now: Option<Timestamp>,
    ) -> Result<Vec<NextDue>> {
        self.run(doorbell::lower(Arc::clone(&self.inner), places.to_vec(), kinds, now)).await
    }

    async fn runner_register(&self, runner: &RunnerRegistration, now: Option<Timestamp>) -> Result<()> {
        self.run(runner::register(Arc::clone(&self.inner), runner.clone(), now)).await
    }

    async fn runner_heartbeat(
        &self,
        runner: RunnerId,
        workflows: &Arc<[WorkflowKey]>,
        now: Option<Timestamp>,
    ) -> Result<Liveness> {
        self.run(runner::heartbeat(Arc::clone(&self.inner), runner, Arc::clone(workflows), now)).await
    }

    async fn workflow_describe(
        &self,
        _place: &Place,
        workflows: &Arc<[DescribedWorkflow]>,
        now: Option<Timestamp>,
    ) -> Result<()> {
        self.run(workflow::describe(Arc::clone(&self.inner), Arc::clone(workflows), now)).await
    }

    async fn workflow_list(&self, place: &Place) -> Result<Vec<KnownWorkflow>> {
        self.run(workflow::list(Arc::clone(&self.inner), place.clone())).await
    }

    async fn workflow_description(&self, place: &Place, key: &WorkflowKey) -> Result<Option<String>> {
        self.run(workflow::description(Arc::clone(&self.inner), place.clone(), key.clone())).await
    }

    async fn audit_note(&self, place: &Place, audit: &NewAudit, now: Option<Timestamp>) -> Result<()> {
        self.run(audit::note_alone(Arc::clone(&self.inner), place.clone(), audit.clone(), now)).await
    }

    async fn runner_list(&self) -> Result<Vec<RunnerRecord>> {
        self.run(runner::list(Arc::clone(&self.inner))).await
    }

    async fn runner_condemn(&self, runner: RunnerId, beat: i64) -> Result<bool> {
        self.run(runner::condemn(Arc::clone(&self.inner), runner, beat)).await
    }

    async fn runner_rescue(&self, runner: RunnerId, now: Option<Timestamp>) -> Result<Vec<RescuedPlace>> {
        self.run(runner::rescue(Arc::clone(&self.inner), runner, now)).await
    }

    async fn runner_retire(&self, runner: RunnerId) -> Result<()> {
        self.run(runner::retire(Arc::clone(&self.inner), runner)).await
    }

    async fn close(&self) -> Result<()> {
        for task in &self.background {
            task.abort();
        }
        let pool = Arc::clone(&self.inner.pool);
        self.run(async move {
            pool.close().await;
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl KeyStore for PostgresStore {
    async fn key_insert(
        &self,
        key: &NewKey,
        audit: Option<&NewAudit>,
        now: Option<Timestamp>,
    ) -> Result<Result<Timestamp, KeyRefusal>> {
        Box::pin(self.run(keys::insert(Arc::clone(&self.inner), key.clone(), audit.cloned(), now))).await
    }

    async fn key_find(&self, id: KeyId, now: Option<Timestamp>) -> Result<Option<KeyRecord>> {
        self.run(keys::find(Arc::clone(&self.inner), id, now)).await
    }

    async fn key_list(&self, list: &KeyList) -> Result<Vec<KeyRecord>> {
        self.run(keys::list(Arc::clone(&self.inner), list.clone())).await
    }

    async fn key_delete(&self, id: KeyId, audit: Option<&NewAudit>, now: Option<Timestamp>) -> Result<bool> {
        self.run(keys::delete(Arc::clone(&self.inner), id, audit.cloned(), now)).await
    }

    async fn key_used(&self, ids: &[KeyId], now: Option<Timestamp>) -> Result<()> {
        self.run(keys::used(Arc::clone(&self.inner), ids.to_vec(), now)).await
    }

    async fn key_prune(&self, now: Option<Timestamp>) -> Result<u64> {
        self.run(keys::prune(Arc::clone(&self.inner), now)).await
    }
}

#[async_trait]
impl TemplateStore for PostgresStore {
    async fn template_put(
        &self,
        templates: &ScheduleTemplates,
        audit: Option<&NewAudit>,
        now: Option<Timestamp>,
    ) -> Result<()> {
        let (inner, templates, audit) = (Arc::clone(&self.inner), templates.clone(), audit.cloned());
        self.run(keys::template_put(inner, templates, audit, now)).await
    }

    async fn template_list(&self) -> Result<Vec<ScheduleTemplates>> {
        self.run(keys::template_list(Arc::clone(&self.inner))).await
    }

    async fn rollout_take(&self, now: Option<Timestamp>) -> Result<Rollout> {
        self.run(keys::rollout_take(Arc::clone(&self.inner), now)).await
    }

    async fn rollout_note(
        &self,
        versions: &[(String, i64)],
        last: Option<&str>,
        now: Option<Timestamp>,
    ) -> Result<()> {
        let (inner, versions, last) = (Arc::clone(&self.inner), versions.to_vec(), last.map(str::to_owned));
        self.run(keys::rollout_note(inner, versions, last, now)).await
    }
}

#[async_trait]
impl AuditStore for PostgresStore {
    async fn audit_seal(&self) -> Result<()> {
        self.run(audit::seal(Arc::clone(&self.inner))).await
    }

    async fn audit_list(&self, list: &AuditList) -> Result<Vec<AuditRecord>> {
        self.run(audit::list(Arc::clone(&self.inner), list.clone())).await
    }

    async fn audit_chain(&self, of: &AuditOf, after: (String, i64)) -> Result<AuditChain> {
        self.run(audit::chain(Arc::clone(&self.inner), of.clone(), after)).await
    }
}
