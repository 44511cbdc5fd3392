//! What a runner does, by the one of its place that the hub knows.

use cloacina_core::execution::{ExecutionResult, ExecutionStatus};
use cloacina_core::rerun::From;
use cloacina_core::store::{Actor, AuditRecord, AuditVerdict, ExecutionFilter, Finding, TenantStatus};
use cloacina_core::workflow::{Fingerprint, WorkflowDescription, WorkflowInfo};
use cloacina_core::{
    Bulk, BulkReport, BulkRun, ByKey, Context, Cursor, Error, Execution, Input, Keys, Overdue, PlaceRunner,
    RunnerInfo, Schedule, Schedules, Submission, Submissions, TenantMetrics, Waiting,
};
use jiff::Timestamp;
use uuid::Uuid;

use super::Runner;

/// Every method runs to its end in the background once its future was polled, also if that is dropped:
/// dropping the future of [`execute`](Self::execute) does not cancel the execution, it only stops waiting for
/// it.
impl Runner {
    /// The tenant's name: as the operator calls it, else its schema on PostgreSQL, or the name of its SQLite
    /// file without the extension.
    #[must_use]
    pub fn place(&self) -> &str {
        self.runner.place()
    }

    /// The runner of its place, as the hub knows it.
    #[doc(hidden)]
    #[must_use]
    pub fn place_runner(&self) -> &PlaceRunner {
        &self.runner
    }

    /// Runs a workflow and waits for its end.
    ///
    /// # Errors
    ///
    /// An execution that failed or was cancelled is `Ok`, with that status. An error means that the engine
    /// could not record the execution ([`ErrorKind::Workflow`](crate::ErrorKind::Workflow),
    /// [`Context`](crate::ErrorKind::Context), [`Unavailable`](crate::ErrorKind::Unavailable),
    /// [`Place`](crate::ErrorKind::Place)) or could not learn how it ended
    /// ([`ShutDown`](crate::ErrorKind::ShutDown)).
    pub async fn execute(&self, workflow: &str, context: Context) -> Result<ExecutionResult, Error> {
        self.runner.execute(workflow, context).await
    }

    /// Records an execution and returns a handle on it at once.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute), as far as recording goes.
    pub async fn execute_async(&self, workflow: &str, context: Context) -> Result<Execution, Error> {
        self.runner.execute_async(workflow, context).await
    }

    /// Starts to describe an execution: its input, and what else can be said about it. `send()` records it.
    pub fn submit(&self, workflow: impl Into<String>) -> Submission<PlaceRunner> {
        self.runner.submit(workflow)
    }

    /// Starts to describe many executions of one workflow, which are recorded a thousand at a time. `send()`
    /// returns what came of each.
    ///
    /// ```
    /// # use cloacina::{Context, Error, Input, Runner};
    /// # async fn import(runner: &Runner, lines: Vec<String>) -> Result<(), Error> {
    /// let inputs = lines.iter().map(|line| Input::new(Context::new().with("line", line)).key(line));
    /// for (line, recorded) in lines.iter().zip(runner.submit_many("import", inputs).send().await?) {
    ///     if let Err(error) = recorded {
    ///         eprintln!("{line} was not imported: {error}");
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn submit_many<Inputs>(
        &self,
        workflow: impl Into<String>,
        inputs: Inputs,
    ) -> Submissions<PlaceRunner, Inputs::IntoIter>
    where
        Inputs: IntoIterator<Item: Into<Input>>,
    {
        self.runner.submit_many(workflow, inputs)
    }

    /// Starts to describe a rerun of all executions of a filter that were not rerun before: of those that
    /// failed, if it names no states. An execution of the engine's own does it, whatever becomes of this
    /// process: see [`Bulk::start`].
    ///
    /// ```
    /// # use cloacina::{Error, ExecutionFilter, Runner, rerun::From};
    /// # async fn repair(acme: &Runner) -> Result<(), Error> {
    /// let night = ExecutionFilter::all().tag("night");
    /// let report = acme.rerun_many(night, From::Failed).pace(500).send().await?;
    /// println!("{} of {} run again", report.done, report.matched);
    /// # Ok(()) }
    /// ```
    pub fn rerun_many(&self, filter: ExecutionFilter, from: From<'_>) -> Bulk<'static> {
        self.runner.rerun_many(filter, from)
    }

    /// The same to cancel all executions of a filter that are not over.
    pub fn cancel_many(&self, filter: ExecutionFilter) -> Bulk<'static> {
        self.runner.cancel_many(filter)
    }

    /// The same to pause all executions of a filter that are not over.
    pub fn pause_many(&self, filter: ExecutionFilter) -> Bulk<'static> {
        self.runner.pause_many(filter)
    }

    /// The same to resume all executions of a filter that are paused.
    pub fn resume_many(&self, filter: ExecutionFilter) -> Bulk<'static> {
        self.runner.resume_many(filter)
    }

    /// What is due and not done: what begins at once when somebody works for this tenant. Where somebody
    /// does, that is next to nothing; where the tenant is suspended, or its place was [put
    /// back](crate::RunnerConfig::after_restore) from a backup, it is what the next moment brings. Work that
    /// follows from it is not in it: the tasks after a wait, say.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Place`](crate::ErrorKind::Place) and
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) for what is wrong with the database.
    pub async fn overdue(&self) -> Result<Overdue, Error> {
        self.runner.overdue().await
    }

    /// Lets a place go on that was [put back](crate::RunnerConfig::after_restore) from a backup: what is
    /// [overdue](Self::overdue) begins. One that is at work already goes on as it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ShutDown`](crate::ErrorKind::ShutDown).
    pub fn resume_after_restore(&self) -> Result<(), Error> {
        self.runner.resume_after_restore()
    }

    /// An action on many executions that was started. Whether there is one is found out when it is used.
    #[must_use]
    pub fn bulk_run(&self, execution_id: Uuid) -> BulkRun {
        self.runner.bulk_run(execution_id)
    }

    /// How far the actions on many executions of this tenant are, or were, the newest first: at most `limit`.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn bulk_runs(&self, limit: usize) -> Result<Vec<BulkReport>, Error> {
        self.runner.bulk_runs(limit).await
    }

    /// The schedules of this tenant: what runs by itself.
    #[must_use]
    pub fn schedules(&self) -> Schedules {
        self.runner.schedules()
    }

    /// Runs a workflow whenever a cron expression says so, by the clocks of a zone, as in `Europe/Zurich`. A
    /// short form of [`Schedules::put`] with a name that is made of these three, which it returns: to
    /// register the same again changes nothing.
    ///
    /// # Errors
    ///
    /// As [`Schedules::put`].
    pub async fn register_cron_workflow(
        &self,
        workflow: &str,
        expression: &str,
        zone: &str,
    ) -> Result<String, Error> {
        let name = format!("{workflow}: {expression} {zone}");
        self.schedules().put(Schedule::new(&name, workflow).cron(expression)?.zone(zone)?).await?;
        Ok(name)
    }

    /// A handle on an execution of this tenant. Whether there is one is found out when it is used.
    #[must_use]
    pub fn execution(&self, id: Uuid) -> Execution {
        self.runner.execution(id)
    }

    /// The execution of a workflow that was submitted under an idempotency key, to send it a signal.
    #[must_use]
    pub fn by_key(&self, workflow: &str, key: &str) -> ByKey<PlaceRunner> {
        self.runner.by_key(workflow, key)
    }

    /// What the executions of this tenant wait for, in the order of executions: at most `limit`, all after
    /// `after`, the [cursor](Waiting::cursor) of the last one of the page before.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn waits(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Waiting>, Error> {
        self.runner.waits(after, limit).await
    }

    /// What is asked of humans: those of [`waits`](Self::waits) that [ask](crate::Ask).
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn inbox(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Waiting>, Error> {
        self.runner.inbox(after, limit).await
    }

    /// The state of an execution.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if this tenant has no such execution.
    pub async fn get_execution_status(&self, id: Uuid) -> Result<ExecutionStatus, Error> {
        self.runner.get_execution_status(id).await
    }

    /// For each of these executions, a thousand at most, a number that changes whenever its state, one of its
    /// tasks or a counter of its children does: to look at many at once for what is new. Those that are not
    /// there are left out.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn pulse(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, u64)>, Error> {
        self.runner.pulse(ids).await
    }

    /// An execution as it is now, with its tasks and the context as far as it is known.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if this tenant has no such execution.
    pub async fn get_execution(&self, id: Uuid) -> Result<ExecutionResult, Error> {
        self.runner.get_execution(id).await
    }

    /// The newest 10,000 executions, newest first. Their contexts are not merged and their tasks not read;
    /// ask [`get_execution`](Self::get_execution) for one.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn list_executions(&self) -> Result<Vec<ExecutionResult>, Error> {
        self.runner.list_executions().await
    }

    /// A page of executions, newest first: at most `limit`, all older than `before`, which is the last one of
    /// the page before. With [`since`](ExecutionFilter::since) a page that has fewer is the last one.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn list(
        &self,
        filter: ExecutionFilter,
        before: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<ExecutionResult>, Error> {
        self.runner.list(filter, before, limit).await
    }

    /// What the operator decided about this tenant: whether it may work, and what it may use. Of a file
    /// nobody can decide that.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn tenant_status(&self) -> Result<TenantStatus, Error> {
        self.runner.tenant_status().await
    }

    /// Looks whether the place is as it has to be, as far as its database tells: of a SQLite file whether it
    /// is whole, and who may write to it. Changes nothing.
    ///
    /// # Errors
    ///
    /// What keeps the place from being looked at. What is found is no error.
    pub async fn examine(&self) -> Result<Vec<Finding>, Error> {
        self.runner.examine().await
    }

    /// What time it is for what is shown of this tenant: the time of this process, or of the clock that a
    /// test moves.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.runner.now()
    }

    /// The versions of workflows that can run here and that some process had, by name, the newest of each
    /// first, with who has them now: at most 10,000. A program that has a workflow describes it in the
    /// database when it opens a place, for those that have not.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn workflows(&self) -> Result<Vec<WorkflowInfo>, Error> {
        self.runner.workflows().await
    }

    /// What a version of a workflow looks like: from the code if this process has it, else as a process that
    /// had it described it. `None` if nobody did, or if its graph is too large to be kept.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn workflow(
        &self,
        name: &str,
        fingerprint: Fingerprint,
    ) -> Result<Option<WorkflowDescription>, Error> {
        self.runner.workflow(name, fingerprint).await
    }

    /// The same runner, acting for somebody: what it does to executions, schedules and keys is noted in the
    /// [audit](Self::audit), in the transaction in which it is done, and what it submits says
    /// [by whom](crate::ExecutionResult::submitted_by). So do the handles that come of it.
    ///
    /// Of what is done to many executions ([`cancel_many`](Self::cancel_many)) one row is written. What
    /// changes nothing is not noted. A runner that acts for nobody notes nothing, and pays nothing.
    #[must_use]
    pub fn acting(&self, actor: Actor) -> Self {
        let mut acting = self.clone();
        acting.runner = self.runner.acting(actor);
        acting
    }

    /// Rows of the audit about this tenant, the newest first: at most `limit`, all before `before`, the
    /// number of the last one of the page before. On SQLite: what was done in its file; what was done about
    /// it is in [`TenantManager::audit`](crate::tenants::TenantManager::audit).
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn audit(&self, before: Option<i64>, limit: usize) -> Result<Vec<AuditRecord>, Error> {
        self.runner.audit_list(before, limit).await
    }

    /// Whether the rows of [`audit`](Self::audit) are as they were written: each has a hash over itself and
    /// the one before. On PostgreSQL rows get theirs once an hour, and before they are read.
    ///
    /// A change of a row, one that is missing and one that was slipped in are found. Who can write to all of
    /// the database can make the whole chain anew: note the [`head`](AuditVerdict::head) elsewhere from time
    /// to time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) for a tenant's own login, since that is
    /// for the operator; what is wrong with the database.
    pub async fn audit_verify(&self) -> Result<AuditVerdict, Error> {
        self.runner.audit_verify().await
    }

    /// The keys that are kept beside this place: in its SQLite file, or for all tenants of its PostgreSQL
    /// database. Those of a directory of files are
    /// [`TenantManager::keys`](crate::tenants::TenantManager::keys).
    #[must_use]
    pub fn keys(&self) -> Keys {
        self.runner.keys()
    }

    /// How this tenant does, in numbers. It counts rows, so it is for a look now and then.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Place`](crate::ErrorKind::Place) and [`Unavailable`](crate::ErrorKind::Unavailable) for
    /// what is wrong with the database.
    pub async fn metrics(&self) -> Result<TenantMetrics, Error> {
        self.runner.metrics().await
    }

    /// The runners of this tenant's database: the processes that work on it, or did until a moment ago.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn runners(&self) -> Result<Vec<RunnerInfo>, Error> {
        self.runner.runners().await
    }

    /// Whether nothing of this tenant is under way in this process, and nobody but the caller has this
    /// runner: it could be shut down without anybody noticing.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        self.runner.is_unused()
    }

    /// Whether it was shut down.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.runner.is_shut_down()
    }

    /// Stops this runner: nothing more is claimed, running tasks may finish for
    /// [`shutdown_timeout`](crate::RunnerConfig::shutdown_timeout), the rest is given back; returns when
    /// everything is written.
    ///
    /// Clones share one runner, so this ends it for all of them; later calls give
    /// [`ErrorKind::ShutDown`](crate::ErrorKind::ShutDown). A second shutdown waits for the first, and is Ok.
    /// Other runners that were opened on the same place go on, and with them the tasks.
    ///
    /// # Errors
    ///
    /// None at present.
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.runner.shutdown().await
    }
}
