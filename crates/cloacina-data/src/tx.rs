//! A transaction that belongs to one tenant.

mod orm;
mod pending;
mod run;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use cloacina_core::id::ExecutionId;
use cloacina_core::store::{Flush, Flushed, NewExecution, NewSignal, Payload, PlaceFlush, SignalTarget};
use cloacina_core::{
    ByKey, Carrier, Completion, Context, Described, Destination, Error, ErrorKind, Input, Recording, Signal,
    StartsChildren, Submission, Submissions, Submitter, TaskError,
};
use parking_lot::{Mutex, MutexGuard};
use sea_orm::sea_query::{Value, Values};
use sea_orm::{DbBackend, Statement};
use serde::Serialize;
use uuid::Uuid;

use crate::access::Access;
use crate::connection::Connection;
use crate::db::TenantDb;
use crate::error::{DataError, DataErrorKind, FlushError, Result};
use crate::gate::{Admitted, Dialect};
use crate::tx::pending::{Mark, Pending, Written};

/// A transaction of one tenant: what SeaORM's queries run on.
///
/// Every statement is parsed, refused if a part of it is not understood, and rewritten so that it sees and
/// touches only the rows of the tenant. After an error nothing more is accepted, as PostgreSQL has it, and
/// nothing is committed; what may fail goes into a transaction of its own within this one, a savepoint.
///
/// It lives as long as the closure that is given it; what is kept of it beyond that takes no statement.
pub struct TenantTx {
    shared: Arc<Shared>,
    /// 0 for the transaction itself, otherwise the number of its savepoint.
    savepoint: u32,
    /// What waited for the commit when it was set.
    pending_before: Mark,
    poisoned: AtomicBool,
    /// Whether the savepoint was released or rolled back.
    ended: bool,
}

struct Shared {
    db: TenantDb,
    access: Access,
    /// `None` once the transaction is over.
    connection: tokio::sync::Mutex<Option<Connection>>,
    savepoints: AtomicU32,
    /// Whether its end was counted.
    ended: AtomicBool,
    /// How many savepoints met an error and have not come to their end: what is open in the database then is
    /// none of what was asked for.
    failed: AtomicU32,
    /// The first of the savepoints that were dropped without an end, and what waited for the commit when it
    /// was set: they are rolled back before anything else is done.
    dropped: Mutex<Option<(u32, Mark)>>,
    /// The executions that were submitted and the signals that were sent. Changed under the lock of the
    /// connection, so that they are rolled back to a savepoint like the statements between which they came.
    pending: Mutex<Pending>,
}

fn is_not_a_number(value: &Value) -> bool {
    match value {
        Value::Float(Some(number)) => number.is_nan(),
        Value::Double(Some(number)) => number.is_nan(),
        _ => false,
    }
}

/// What a transaction came to.
enum End {
    Committed(Option<Flushed>),
    /// The task is not this runner's any more: rolled back.
    Superseded,
}

impl TenantTx {
    pub(crate) fn new(db: TenantDb, connection: Connection, access: Access) -> Self {
        db.counters().begun();
        Self {
            shared: Arc::new(Shared {
                db,
                access,
                connection: tokio::sync::Mutex::new(Some(connection)),
                savepoints: AtomicU32::new(0),
                ended: AtomicBool::new(false),
                failed: AtomicU32::new(0),
                dropped: Mutex::new(None),
                pending: Mutex::default(),
            }),
            savepoint: 0,
            pending_before: Mark::default(),
            poisoned: AtomicBool::new(false),
            ended: false,
        }
    }

    /// Whose data it is, as messages name the place.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.shared.db.tenant()
    }

    /// Starts to describe an execution of this tenant that exists exactly if the transaction is committed:
    /// like `Runner::submit`, with everything that applies there, but `send` returns its id.
    ///
    /// It is written right before the commit, so until then nobody sees it, not even who asks for that id,
    /// and it holds no locks. One that is submitted in a savepoint is rolled back with it. A submission that
    /// is refused leaves the transaction as it was.
    ///
    /// Under an [idempotency key](Submission::idempotency_key) that was used before, the id of that execution
    /// is returned, and it does not depend on this transaction. If another transaction uses the key at the
    /// same time, this one fails at its commit with [`DataErrorKind::Transient`]; run it again. If the answer
    /// to the commit is lost ([`DataErrorKind::Unknown`]), the execution exists if and only if the rest of
    /// the transaction does; with a key, the whole can be repeated without a second execution.
    ///
    /// ```no_run
    /// use cloacina_core::{Context, Error};
    /// use cloacina_data::TenantDb;
    ///
    /// # async fn run(db: TenantDb) -> Result<(), Error> {
    /// let shipping = db
    ///     .run(async |tx| {
    ///         // … what the order changes …
    ///         Ok(tx.submit("ship").input(Context::new().with("order", 7)).idempotency_key("order 7").send().await?)
    ///     })
    ///     .await?;
    /// println!("shipped by execution {shipping}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn submit(&self, workflow: impl Into<String>) -> Submission<&Self> {
        Submission::new(self, workflow)
    }

    /// Starts to describe many executions of one workflow, which are all part of this transaction's commit.
    /// What applies to [`submit`](Self::submit) applies to each.
    pub fn submit_many<Inputs>(
        &self,
        workflow: impl Into<String>,
        inputs: Inputs,
    ) -> Submissions<&Self, Inputs::IntoIter>
    where
        Inputs: IntoIterator<Item: Into<Input>>,
    {
        Submissions::new(self, workflow, inputs.into_iter())
    }

    /// Starts to describe a signal to an execution of this tenant, which is sent exactly if the transaction
    /// is committed. `payload` is what it brings, anything that has a JSON form.
    ///
    /// It is recorded right before the commit, so nothing is learned of it: if the execution is over by then,
    /// or there is none, it has no effect, and the log says so. The transaction is committed all the same.
    /// With a [key](Signal::key), a transaction that is run again sends it once. One that is sent in a
    /// savepoint is rolled back with it. An execution that is [submitted](Self::submit) in the same
    /// transaction may be sent signals by the id that `send` returned: under an idempotency key, that
    /// is the one that was there, so that whoever comes first starts it.
    ///
    /// ```no_run
    /// use cloacina_core::Error;
    /// use cloacina_data::TenantDb;
    /// use uuid::Uuid;
    ///
    /// # async fn run(db: TenantDb, order: Uuid) -> Result<(), Error> {
    /// db.run(async |tx| {
    ///     // … what the payment changes …
    ///     tx.signal(order, "paid", 1_990).key("payment 7").send().await?;
    ///     tx.by_key("reminder", "order 7").signal("paid", 1_990).send().await?;
    ///     Ok(())
    /// })
    /// .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn signal(&self, execution: Uuid, name: impl Into<String>, payload: impl Serialize) -> Signal<&Self> {
        Signal::new(self, SignalTarget::Id(ExecutionId(execution)), name.into(), payload)
    }

    /// The execution of a workflow that was submitted under an idempotency key, to send it a
    /// [signal](Self::signal).
    pub fn by_key(&self, workflow: &str, key: &str) -> ByKey<&Self> {
        ByKey::new(self, workflow, key)
    }

    fn backend(&self) -> DbBackend {
        match self.shared.db.source().dialect() {
            Dialect::Postgres => DbBackend::Postgres,
            Dialect::Sqlite => DbBackend::Sqlite,
        }
    }

    fn poison(&self) {
        if !self.poisoned.swap(true, Ordering::AcqRel) && self.savepoint > 0 {
            self.shared.failed.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn error(&self, kind: DataErrorKind, what: &str) -> DataError {
        DataError::new(kind, format!("tenant `{}`: {what}", self.tenant()))
    }

    fn check(&self) -> Result<()> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(self.error(
                DataErrorKind::Poisoned,
                "the transaction met an error before and takes nothing more; let that error end it, or put what may fail into a transaction \
                 within this one",
            ));
        }
        Ok(())
    }

    /// The statement as it may be sent.
    fn admit(&self, sql: &str, values: Option<Values>) -> Result<(Arc<Admitted>, Statement)> {
        self.check()?;
        let source = self.shared.db.source();
        let admitted = source.declared.gate(source.dialect()).admit(sql).map_err(|refusal| {
            self.poison();
            self.shared.db.counters().refused();
            tracing::warn!(tenant = self.tenant(), %refusal, "a statement was refused");
            DataError::refused(self.tenant(), &refusal)
        })?;
        let mut values = values.unwrap_or(Values(Vec::new()));
        if !admitted.fits(values.0.len()) {
            self.poison();
            self.shared.db.counters().refused();
            let problem = format!(
                "a statement names {} parameters and is given {} values",
                admitted.parameters,
                values.0.len()
            );
            return Err(self.error(DataErrorKind::Refused, &problem));
        }
        let stored_as_null = values.0.iter().position(is_not_a_number);
        if let Some(value) = stored_as_null.filter(|_| source.dialect() == Dialect::Sqlite) {
            self.poison();
            self.shared.db.counters().refused();
            let problem = format!(
                "value {} of a statement on {} is NaN, which SQLite stores as NULL: give a number, or NULL itself",
                value + 1,
                admitted.tables.join(", ")
            );
            return Err(self.error(DataErrorKind::Refused, &problem));
        }
        if admitted.tenant_parameter {
            values.0.push(Value::Uuid(Some(self.shared.db.tenant_id())));
        }
        let statement =
            Statement { sql: admitted.sql.clone(), values: Some(values), db_backend: self.backend() };
        Ok((admitted, statement))
    }

    /// The connection, with savepoints that were dropped rolled back.
    async fn connection(&self) -> Result<tokio::sync::MutexGuard<'_, Option<Connection>>> {
        let mut guard = self.shared.connection.lock().await;
        let dropped = self.shared.dropped.lock().take();
        let Some(connection) = guard.as_mut() else {
            return Err(self.error(DataErrorKind::Over, "the transaction is over"));
        };
        if let Some((dropped, pending_before)) = dropped {
            let undo = format!("ROLLBACK TO SAVEPOINT sp_{dropped}");
            connection
                .savepoint(undo)
                .await
                .map_err(|error| self.driver("roll back to a savepoint", error))?;
            self.pending().back_to(pending_before);
        }
        Ok(guard)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.shared.pending.lock()
    }

    /// The execution of a workflow that was committed under this idempotency key, and the hash of its input.
    async fn recorded(
        &self,
        connection: &mut Connection,
        workflow: &str,
        key: &str,
    ) -> Result<Option<(ExecutionId, i64)>> {
        let found = connection.find(self.shared.db.place(), workflow, key).await;
        found.map_err(|error| self.flush_error("look for an execution by its idempotency key", error))
    }

    fn flush_error(&self, doing: &str, error: FlushError) -> DataError {
        match error {
            FlushError::Driver(error) => self.driver(doing, error),
            FlushError::Store(error) => {
                self.poison();
                self.error(DataErrorKind::Database, &format!("failed to {doing}: {error}"))
            }
        }
    }

    fn driver(&self, doing: &str, error: sqlx::Error) -> DataError {
        self.poison();
        self.shared.db.counters().failed();
        let error = DataError::driver(self.tenant(), doing, error);
        // What the database says may hold a value of a row.
        tracing::debug!(target: "cloacina::data", tenant = self.tenant(), kind = ?error.kind(), "failed to {doing}");
        error
    }

    fn ran(&self, admitted: &Admitted, begun: Instant, rows: u64) {
        let time = begun.elapsed();
        self.shared.db.counters().ran(rows, time);
        tracing::debug!(
            target: "cloacina::data",
            tenant = self.tenant(), tables = ?admitted.tables, writes = admitted.writes, rows, ?time,
            "ran a statement"
        );
    }

    /// Commits.
    pub(crate) async fn finish(self) -> Result<()> {
        self.end(None).await.map(drop)
    }

    /// Rolls back.
    pub(crate) async fn undo(&self) {
        let connection = self.shared.connection.lock().await.take();
        self.pending().back_to(Mark::default());
        if let Some(connection) = connection {
            connection.rollback(self.poisoned.load(Ordering::Acquire)).await;
        }
        self.shared.ended();
    }

    /// Commits, and with it that the task is done. It goes on when its caller goes away.
    pub(crate) async fn complete(self, recording: Recording, context: Context) -> Result<(), TaskError> {
        if let Err(error) = self.check() {
            self.undo().await;
            return Err(TaskError::new(error));
        }
        let writing = match recording.begin(context).await {
            Ok(writing) => writing,
            Err(error) => {
                self.undo().await;
                return Err(error);
            }
        };
        match self.end(Some(writing.completion())).await {
            Ok(End::Committed(flushed)) => {
                if let Some(Flushed { now, mut places }) = flushed {
                    writing.committed(now, places.pop().unwrap_or_default());
                }
                Ok(())
            }
            Ok(End::Superseded) => {
                writing.unknown();
                Err(TaskError::new(self.error(
                    DataErrorKind::Database,
                    "the task was taken from this runner while it ran; nothing of it was written",
                )))
            }
            Err(error) => {
                if error.kind() == DataErrorKind::Unknown {
                    writing.unknown();
                }
                Err(TaskError::new(error))
            }
        }
    }

    async fn end(&self, completion: Option<&Completion>) -> Result<End> {
        let written = match self.flush(completion).await {
            Ok(written) => written,
            Err(error) => {
                self.undo().await;
                return Err(error);
            }
        };
        let recorded =
            written.flushed.iter().flat_map(|flushed| &flushed.places).any(|done| !done.recorded.is_empty());
        if completion.is_some() && !recorded {
            self.undo().await;
            return Ok(End::Superseded);
        }
        let connection = self.shared.connection.lock().await.take();
        let Some(connection) = connection else {
            return Err(self.error(DataErrorKind::Over, "the transaction is over"));
        };
        let submitter = self.shared.db.submitter();
        match connection.commit().await {
            Ok(()) => {
                self.shared.db.counters().committed();
                self.shared.ended();
                Ok(End::Committed(written.committed(self.tenant(), submitter)))
            }
            Err(error) => {
                self.shared.db.counters().failed();
                let error = DataError::driver(self.tenant(), "commit a transaction", error).or_unknown();
                if error.kind() == DataErrorKind::Unknown {
                    self.shared.db.counters().unknown();
                    written.unknown(submitter);
                }
                Err(error)
            }
        }
    }

    /// Writes what the engine records together with the transaction, if there is anything.
    async fn flush(&self, completion: Option<&Completion>) -> Result<Written> {
        self.check()?;
        // Rolls dropped savepoints back.
        let mut guard = self.connection().await?;
        // To PostgreSQL the whole transaction has failed then, and its answer to COMMIT would not say so.
        if self.shared.failed.load(Ordering::Acquire) > 0 {
            return Err(self.error(
                DataErrorKind::Poisoned,
                "a transaction within this one met an error and was not ended: commit it, roll it back or drop it before this one ends",
            ));
        }
        let pending = std::mem::take(&mut *self.pending());
        let Some(connection) = guard.as_mut().filter(|_| completion.is_some() || !pending.is_empty()) else {
            return Ok(Written::default());
        };
        let refused = |error: Error| {
            self.error(DataErrorKind::Place, &format!("nothing of the transaction was written: {error}"))
        };
        if let Some(first) = pending.executions.first() {
            first.check().map_err(refused)?;
        }
        let submitter = self.shared.db.submitter();
        if let Some(submitter) = submitter.filter(|_| !pending.signals.is_empty()) {
            submitter.check_signal().map_err(refused)?;
            submitter.rouse().await.map_err(refused)?;
        }
        let mut written = self.addressed(connection, pending).await?;
        let submitted = &written.executions;
        let place = PlaceFlush {
            place: Arc::clone(self.shared.db.place()),
            first_claim: false,
            submits: submitted.iter().map(|deferred| Arc::clone(deferred.execution())).collect(),
            outcomes: completion.iter().map(|completion| Arc::clone(&completion.outcome)).collect(),
            timed: completion
                .iter()
                .filter(|completion| completion.timed)
                .map(|completion| completion.outcome.execution)
                .collect(),
            related: completion
                .iter()
                .filter(|completion| completion.related)
                .map(|completion| completion.outcome.execution)
                .collect(),
            claim: None,
        };
        let now = match completion {
            Some(completion) => completion.now,
            None => submitter.and_then(Submitter::now),
        };
        let flush =
            Flush { runner: completion.map(|completion| completion.runner), now, places: vec![place] };
        let doing = match completion {
            Some(_) => "record that the task is done",
            None => "record the executions that were submitted and the signals that were sent",
        };
        let flushed = connection.flush(&flush, &written.signals).await;
        let (flushed, sent) = flushed.map_err(|error| self.flush_error(doing, error))?;
        let recorded = flushed.places.first().map_or(&[][..], |done| &done.submitted);
        if let Some(lost) = submitted.iter().find(|deferred| !recorded.contains(&deferred.execution().id)) {
            return Err(self.overtaken(lost.execution()));
        }
        written.sent = sent;
        written.flushed = Some(flushed);
        Ok(written)
    }

    /// Looks for whom the signals are for that are addressed by a key.
    async fn addressed(&self, connection: &mut Connection, pending: Pending) -> Result<Written> {
        let (mut signals, mut lost) = (Vec::with_capacity(pending.signals.len()), Vec::new());
        for signal in &pending.signals {
            let to = match &signal.target {
                SignalTarget::Id(id) => Some(*id),
                SignalTarget::Key { workflow, key } => match pending.find(workflow, key) {
                    Some((id, _)) => Some(id),
                    None => self.recorded(connection, workflow, key).await?.map(|(id, _)| id),
                },
            };
            match to {
                Some(id) => signals.push((id, signal.clone())),
                None => lost.push(signal.clone()),
            }
        }
        Ok(Written { executions: pending.executions, signals, lost, ..Written::default() })
    }

    fn overtaken(&self, execution: &NewExecution) -> DataError {
        let key = execution.idempotency.as_ref().map_or("", |idempotency| &idempotency.key);
        let problem = format!(
            "another transaction recorded an execution of workflow `{}` under the idempotency key `{}` at the same time; nothing of this one was \
             written: run it again, and it finds that execution",
            execution.workflow.name,
            key.escape_debug()
        );
        self.error(DataErrorKind::Transient, &problem)
    }

    /// What records executions and signals, unless the transaction only reads.
    fn writer(&self, what: &str) -> Result<&Submitter, Error> {
        self.shared.db.submitter().filter(|_| self.shared.access == Access::Write).ok_or_else(|| {
            let message = format!(
                "{what} of tenant `{}` was not recorded: the transaction only reads; do it in one of `run`",
                self.tenant()
            );
            Error::new(ErrorKind::Configuration, message)
        })
    }

    async fn nested(&self) -> Result<Self> {
        self.check()?;
        let number = self.shared.savepoints.fetch_add(1, Ordering::Relaxed) + 1;
        let mut guard = self.connection().await?;
        if let Some(connection) = guard.as_mut() {
            let set = format!("SAVEPOINT sp_{number}");
            connection.savepoint(set).await.map_err(|error| self.driver("set a savepoint", error))?;
        }
        Ok(Self {
            shared: Arc::clone(&self.shared),
            savepoint: number,
            pending_before: self.pending().mark(),
            poisoned: AtomicBool::new(false),
            ended: false,
        })
    }

    /// Ends a savepoint.
    async fn leave(mut self, keep: bool) -> Result<()> {
        if self.savepoint == 0 {
            // Only what `begin` returns is owned by anybody.
            return Err(self.error(
                DataErrorKind::Refused,
                "the transaction ends with the closure that it was given to",
            ));
        }
        let outcome = if keep { self.check() } else { Ok(()) };
        let text = match keep && outcome.is_ok() {
            true => format!("RELEASE SAVEPOINT sp_{}", self.savepoint),
            false => format!("ROLLBACK TO SAVEPOINT sp_{}", self.savepoint),
        };
        let mut guard = self.connection().await?;
        if let Some(connection) = guard.as_mut() {
            connection.savepoint(text).await.map_err(|error| self.driver("end a savepoint", error))?;
            if !(keep && outcome.is_ok()) {
                self.pending().back_to(self.pending_before);
            }
        }
        drop(guard);
        self.ended = true;
        outcome
    }
}

impl Drop for TenantTx {
    fn drop(&mut self) {
        if self.savepoint > 0 && *self.poisoned.get_mut() {
            self.shared.failed.fetch_sub(1, Ordering::AcqRel);
        }
        if self.savepoint > 0 && !self.ended {
            let mut dropped = self.shared.dropped.lock();
            let this = (self.savepoint, self.pending_before);
            *dropped = Some(dropped.map_or(this, |first| first.min(this)));
        }
    }
}

impl Shared {
    /// Before anybody is told of it, or else when nobody has it any more.
    fn ended(&self) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            self.db.counters().ended();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.ended();
    }
}

impl fmt::Debug for TenantTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantTx").field("tenant", &self.tenant()).finish_non_exhaustive()
    }
}

impl Carrier for &TenantTx {
    type Receipt = ();

    fn payload(&self, name: &str, value: impl Serialize) -> Result<Payload, Error> {
        self.writer("a signal")?.payload(name, value)
    }

    fn tenant(&self) -> &str {
        TenantTx::tenant(self)
    }

    async fn carry(self, signal: NewSignal, _starts: Option<Context>) -> Result<(), Error> {
        self.check()?;
        self.writer("a signal")?.check_signal()?;
        let _guard = self.connection().await?;
        self.pending().signals.push(signal);
        Ok(())
    }
}

impl StartsChildren for &TenantTx {}

impl Destination for &TenantTx {
    type Recorded = Uuid;

    async fn record(self, described: Described) -> Result<Uuid, Error> {
        self.check()?;
        let submitter = self.writer("an execution")?;
        let prepared = submitter.prepare(submitter.as_child(described).await?)?;
        let mut connection = self.connection().await?;
        let new = prepared.execution();
        if let Some((connection, known)) = connection.as_mut().zip(new.idempotency.as_ref()) {
            let here = self.pending().find(&new.workflow.name, &known.key);
            let found = match here {
                Some(found) => Some(found),
                None => self.recorded(connection, &new.workflow.name, &known.key).await?,
            };
            if let Some(found) = found {
                return prepared.same(found).map(Uuid::from);
            }
        }
        let deferred = submitter.defer(prepared).await?;
        let id = deferred.execution().id;
        self.pending().executions.push(deferred);
        Ok(id.into())
    }

    async fn record_many(
        self,
        described: Described,
        inputs: impl Iterator<Item = Input> + Send,
    ) -> Result<Vec<Result<Uuid, Error>>, Error> {
        self.check()?;
        let mut results = Vec::with_capacity(inputs.size_hint().0);
        for input in inputs {
            results.push(self.record(described.one(input)).await);
        }
        Ok(results)
    }
}
