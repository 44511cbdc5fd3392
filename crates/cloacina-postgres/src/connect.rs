//! A connection, and transactions that travel in one flight.
//!
//! Everything of a transaction is written at once: `BEGIN` with its settings, the statements, `COMMIT`. So it
//! costs one round trip. What the client pays for it is that it cannot branch: when a statement fails, the
//! server refuses the rest and turns the `COMMIT` that is on its way into a rollback. That `COMMIT` answers
//! without an error, so **its answer means nothing: success is that every statement of the flight
//! succeeded**.
//!
//! A statement may also be cancelled, by an administrator or by a timeout, at the very moment at which it
//! would have begun or ended the transaction. Where `BEGIN` is cancelled, what follows it in the same write
//! would be done statement by statement. So our sessions can only read, and each transaction says that it
//! writes: what comes without one is refused. This setting, and how statements are planned, outlive a
//! transaction, and are made only on a session that is ours alone; on any other the rest is sent when `BEGIN`
//! has been answered, which is a second round trip. Where `COMMIT` is cancelled, the transaction stays open,
//! as one that failed, and the connection is closed.
//!
//! No other setting outlives its transaction, so a pooler in transaction mode cannot mix tenants. Behind one
//! no statement has a name: each is sent with its text and the types of its parameters, since the next
//! transaction may be another server process's. Nor is it known which one works on a transaction, so each
//! carries a mark in its `application_name`, by which it is found while it lasts.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use cloacina_core::backoff::Backoff;
use cloacina_core::id::TenantId;
use cloacina_core::store::{Result, StoreError, StoreErrorKind};
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::address::PostgresAddress;
use crate::error::{Failure, describe, is_lost, refused, spoils_connection};
use crate::flight::{Scope, Step, Use};
use crate::statement::{Login, Statement};

/// The longest that a flight may take before the connection counts as lost. Longer than `statement_timeout`,
/// so the server ends what is merely slow.
const FLIGHT_TIMEOUT: Duration = Duration::from_secs(60);

/// A backend caches what it knows of every table it has touched, some 40 kB for a place, and never forgets:
/// after this many places its connection is replaced.
const PLACES_PER_CONNECTION: usize = 1000;

/// How often a transaction must not be found behind a pooler before it counts as ended: over a second in all.
const POOLER_LOOKS: u32 = 12;

/// How statements are planned: set once for a session that is ours alone, else in the message of every
/// `BEGIN`.
///
/// Every statement walks indexes from the rows that it was sent, whatever the statistics of a young or a
/// hurriedly filled table say: anything but nested loops over index scans can only be a mistake. Where there
/// is no other way than one that is switched off, the planner counts it as dearer than everything, and a
/// server that has `jit` on compiles such a plan to machine code: on PostgreSQL 15 for 0.2 to 0.3 s when a
/// place or a tenant is looked up, and for 3 s when a tenant is verified.
const SETTINGS: [&str; 5] = [
    "jit = off",
    "enable_seqscan = off",
    "enable_bitmapscan = off",
    "enable_hashjoin = off",
    "enable_mergejoin = off",
];

/// What a flush does with plans.
///
/// Its statements are written so that there is only one plan to be made; making it anew costs more than
/// running it. Anything else is planned for each run, with the sizes that the tables have then.
const PLANS_OF_A_FLUSH: &str = "plan_cache_mode = force_generic_plan";
const OTHER_PLANS: &str = "plan_cache_mode = force_custom_plan";

/// How each transaction begins: a flush relies on every statement seeing what was committed before it,
/// whatever the database, the role or the URL sets as `default_transaction_isolation`.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
const BEGIN_WRITING: &str = "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE";

/// Why a connection was not made.
pub(crate) enum Refusal {
    /// The server has no more of them for this login.
    Full(tokio_postgres::Error),
    Other(StoreError),
}

/// How a flight ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Commit,
    /// The transaction stays open for a second flight.
    Open,
}

/// A connection to the database.
pub(crate) struct Connection {
    client: Client,
    /// What moves the bytes.
    driver: JoinHandle<()>,
    pub(crate) backend: Backend,
    prepared: HashMap<&'static str, tokio_postgres::Statement>,
    places: HashSet<TenantId>,
    /// What it is used for at the moment.
    pub(crate) used_for: Use,
    /// How long a flush of a lane waits for a lock.
    pub(crate) lane_patience: Duration,
    /// Which texts the statements have.
    pub(crate) login: Login,
    /// Whether a transaction may be open or half sent: then it must not be used for another one.
    dirty: bool,
    begin: Begin,
}

/// How a transaction begins.
#[derive(Debug, Clone, Copy)]
enum Begin {
    /// With this, in one write with the rest: the session writes nothing outside of a transaction.
    Along(&'static str),
    /// Before the rest is sent.
    Alone,
}

impl Begin {
    fn text(self) -> &'static str {
        match self {
            Self::Along(text) => text,
            Self::Alone => BEGIN,
        }
    }
}

/// Who works, or worked, on a connection's transaction.
#[derive(Debug, Clone)]
pub(crate) enum Backend {
    /// A server process, told apart from a later one of the same id.
    Process {
        pid: i32,
        /// When it was started, in seconds: in a form that no setting of a session changes.
        started: String,
    },
    /// Whichever server process bears this name.
    Marked(String),
}

impl Backend {
    pub(crate) fn pid(&self) -> Option<i32> {
        match self {
            Self::Process { pid, .. } => Some(*pid),
            Self::Marked(_) => None,
        }
    }
}

impl Connection {
    /// Connects. What the server announces asynchronously (notifications) is handed to `hear`.
    pub(crate) async fn dial(
        address: &PostgresAddress,
        tls: &MakeRustlsConnect,
        login: Login,
        mut hear: impl FnMut(AsyncMessage) + Send + 'static,
    ) -> Result<Self, Refusal> {
        let timeout = address.config.get_connect_timeout().copied().unwrap_or(Duration::from_secs(5));
        // The library's own timeout covers the socket only, not a server that accepts and says nothing.
        let dialled = tokio::time::timeout(timeout * 2, address.config.connect(tls.clone())).await;
        let (client, mut connection) = match dialled {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) if error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) => {
                return Err(Refusal::Full(error));
            }
            Ok(Err(error)) => return Err(Refusal::Other(dial_error(address, &error))),
            Err(_) => return Err(Refusal::Other(unreachable_error(address, "it does not answer"))),
        };
        let driver = tokio::spawn(async move {
            // Ends when the client is dropped, or when the server is gone, which the client then reports.
            while let Some(Ok(message)) =
                std::future::poll_fn(|context| connection.poll_message(context)).await
            {
                hear(message);
            }
        });
        let dialled = |error| Refusal::Other(dial_error(address, &error));
        let session = identity(&client).await.map_err(dialled)?;
        let session = session.filter(|_| !address.pooled);
        let begin = match &session {
            Some(session) if crate::key::process(&client).await == Some(session.get(0)) => {
                let settings =
                    SETTINGS.iter().chain([&PLANS_OF_A_FLUSH]).map(|setting| format!("SET {setting}; "));
                let text = settings.collect::<String>() + "SET default_transaction_read_only = on";
                client.batch_execute(&text).await.map_err(dialled)?;
                // What was read-only before is a standby, or was closed to writing.
                let is_closed = session.get::<_, &str>(2) == "on";
                Begin::Along(if is_closed { BEGIN } else { BEGIN_WRITING })
            }
            _ => Begin::Alone,
        };
        let backend = match session {
            Some(session) => Backend::Process { pid: session.get(0), started: session.get(1) },
            None => Backend::Marked(format!("cloacina {:032x}", fastrand::u128(..))),
        };
        Ok(Self {
            client,
            driver,
            backend,
            prepared: HashMap::new(),
            places: HashSet::new(),
            used_for: Use::Work,
            lane_patience: Duration::ZERO,
            login,
            dirty: false,
            begin,
        })
    }

    /// As whom the connection is logged in: a tenant's login finds its tenant in `cloacina.me()`.
    pub(crate) async fn identify(&self) -> Result<Login, tokio_postgres::Error> {
        // The catalogs say whether there is such a function without an error that a function's call would be.
        let known = self
            .client
            .query_typed(
                "SELECT FROM pg_catalog.pg_proc AS proc \
                 JOIN pg_catalog.pg_namespace AS space ON space.oid = proc.pronamespace \
                 WHERE space.nspname = 'cloacina' AND proc.proname = 'me' \
                   AND pg_catalog.has_schema_privilege(space.oid, 'USAGE') \
                   AND pg_catalog.has_function_privilege(proc.oid, 'EXECUTE')",
                &[],
            )
            .await?;
        if known.is_empty() {
            return Ok(Login::Operator);
        }
        let me = self.client.query_typed("SELECT FROM cloacina.me()", &[]).await?;
        Ok(if me.is_empty() { Login::Operator } else { Login::Tenant })
    }

    /// Says goodbye and returns once that is sent.
    pub(crate) async fn close(self) {
        drop(self.client);
        if let Err(error) = self.driver.await {
            tracing::debug!(%error, "a connection did not close in good order");
        }
    }

    /// Whether another transaction may be run on it.
    pub(crate) fn is_usable(&self) -> bool {
        !self.dirty && !self.client.is_closed() && self.places.len() <= PLACES_PER_CONNECTION
    }

    fn timeouts(&self, scope: Scope<'_>) -> String {
        let (lock, statement) = scope.patience(self.used_for, self.lane_patience);
        format!("SET LOCAL lock_timeout = {lock}; SET LOCAL statement_timeout = {statement}")
    }

    /// What a transaction says of plans that its session does not have.
    fn planning(&self) -> String {
        let plans = if self.used_for.has_one_plan() { PLANS_OF_A_FLUSH } else { OTHER_PLANS };
        let (settings, plans) = match self.begin {
            Begin::Along(_) => (&[][..], Some(plans).filter(|plans| *plans != PLANS_OF_A_FLUSH)),
            Begin::Alone => (&SETTINGS[..], Some(plans)),
        };
        settings.iter().copied().chain(plans).map(|setting| format!("; SET LOCAL {setting}")).collect()
    }

    fn is_pooled(&self) -> bool {
        matches!(self.backend, Backend::Marked(_))
    }

    pub(crate) fn touch(&mut self, tenant: TenantId) {
        self.places.insert(tenant);
    }

    /// A transaction of these steps, in one round trip where the session is ours. The rows of each step, in
    /// their order.
    pub(crate) async fn transaction(
        &mut self,
        scope: Scope<'_>,
        steps: &[Step<'_>],
    ) -> Result<Vec<Vec<Row>>, Failure> {
        self.prepare(scope, steps).await?;
        self.fly(Some(scope), steps, End::Commit).await
    }

    /// The first half of a transaction in which the client has to look at what it found. It must be ended by
    /// [`finish`](Self::finish); a connection that is put away without it is closed.
    pub(crate) async fn begin(
        &mut self,
        scope: Scope<'_>,
        steps: &[Step<'_>],
    ) -> Result<Vec<Vec<Row>>, Failure> {
        self.prepare(scope, steps).await?;
        self.fly(Some(scope), steps, End::Open).await
    }

    /// More steps of a transaction that was begun, in which the client looks at what they find.
    pub(crate) async fn go_on(&mut self, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>, Failure> {
        self.prepare_missing(steps).await?;
        self.fly(None, steps, End::Open).await
    }

    /// The second half.
    pub(crate) async fn finish(&mut self, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>, Failure> {
        // Inside the transaction its search path counts, so what the second half needs can be prepared there.
        self.prepare_missing(steps).await?;
        self.fly(None, steps, End::Commit).await
    }

    async fn prepare(&mut self, scope: Scope<'_>, steps: &[Step<'_>]) -> Result<(), Failure> {
        if self.missing(steps).is_empty() {
            return Ok(());
        }
        // Names are looked up while a statement is prepared, so this needs the search path too. It may
        // outlive a failed transaction, which is why it is not done in the one that needs it.
        let first_scope = steps
            .iter()
            .find_map(|step| if let Step::Enter(scope) = step { Some(*scope) } else { None })
            .filter(|_| matches!(scope, Scope::Control))
            .unwrap_or(scope);
        self.dirty = true;
        // Preparing a statement locks the tables that it names, and waits for whoever has them locked.
        self.client
            .batch_execute(&format!("BEGIN; {}; {}", first_scope.search_path(), self.timeouts(first_scope)))
            .await
            .map_err(|error| not_sent(&error, first_scope))?;
        let prepared = self.prepare_missing(steps).await;
        self.client.batch_execute("COMMIT").await.map_err(|error| not_sent(&error, first_scope))?;
        self.dirty = false;
        prepared.map_err(|failure| Failure::NotSent(failure.into_error(&first_scope.label())))
    }

    fn missing(&self, steps: &[Step<'_>]) -> Vec<&'static Statement> {
        let mut missing: Vec<&'static Statement> = Vec::new();
        if self.is_pooled() {
            return missing;
        }
        for step in steps {
            if let Step::Run(statement, _) = step
                && !self.prepared.contains_key(statement.name)
                && !missing.iter().any(|known| known.name == statement.name)
            {
                missing.push(statement);
            }
        }
        missing
    }

    async fn prepare_missing(&mut self, steps: &[Step<'_>]) -> Result<(), Failure> {
        let missing = self.missing(steps);
        let client = &self.client;
        let prepared = in_order(
            missing.iter().map(|statement| boxed(client.prepare(statement.text(self.login)))).collect(),
        )
        .await;
        for (step, (statement, prepared)) in missing.iter().zip(prepared).enumerate() {
            match prepared {
                Ok(prepared) => {
                    self.prepared.insert(statement.name, prepared);
                }
                Err(error) if is_lost(&error) => return Err(Failure::Lost { cause: describe(&error) }),
                Err(error) => return Err(Failure::Refused { step, error }),
            }
        }
        Ok(())
    }

    async fn fly(
        &mut self,
        begin: Option<Scope<'_>>,
        steps: &[Step<'_>],
        end: End,
    ) -> Result<Vec<Vec<Row>>, Failure> {
        self.dirty = true;
        let flown = match tokio::time::timeout(FLIGHT_TIMEOUT, self.send(begin, steps, end)).await {
            Ok(flown) => flown,
            Err(_) => return Err(Failure::Lost { cause: "no answer within a minute".to_owned() }),
        };
        let mut rows = Vec::with_capacity(steps.len());
        let mut failure = None;
        for (step, result) in flown.into_iter().enumerate() {
            match result {
                Ok(result) => rows.push(result),
                // Whatever else failed: if the connection broke, it is not known what became of the commit.
                Err(error) if is_lost(&error) => return Err(Failure::Lost { cause: describe(&error) }),
                Err(error) => {
                    // The first one is the reason, the others are the server refusing the rest.
                    failure.get_or_insert((step, error));
                }
            }
        }
        match failure {
            None => {
                self.dirty = end == End::Open;
                // The answers to BEGIN and COMMIT are not the caller's.
                let first = usize::from(begin.is_some());
                rows.truncate(first + steps.len());
                rows.drain(..first);
                Ok(rows)
            }
            Some((step, error)) => {
                let first = usize::from(begin.is_some());
                // Every answer has come. A COMMIT has closed the transaction, unless it was itself refused.
                let closed = end == End::Commit && (first..first + steps.len()).contains(&step);
                self.dirty = !closed || spoils_connection(&error);
                Err(Failure::Refused { step: step.saturating_sub(first), error })
            }
        }
    }

    async fn send(
        &self,
        begin: Option<Scope<'_>>,
        steps: &[Step<'_>],
        end: End,
    ) -> Vec<Result<Vec<Row>, tokio_postgres::Error>> {
        // A transaction that stays open while the client looks must not hold its locks if the client never
        // comes back.
        let idle =
            if end == End::Open { "; SET LOCAL idle_in_transaction_session_timeout = '10s'" } else { "" };
        let mark = match &self.backend {
            Backend::Process { .. } => String::new(),
            Backend::Marked(name) => format!("; SET LOCAL application_name = '{name}'"),
        };
        let begin = begin.map(|scope| {
            let (begin, search_path, timeouts) =
                (self.begin.text(), scope.search_path(), self.timeouts(scope));
            format!("{begin}{mark}; {search_path}; {timeouts}{}{idle}", self.planning())
        });
        let scopes: Vec<_> = steps
            .iter()
            .map(|step| if let Step::Enter(scope) = step { scope.search_path() } else { String::new() })
            .collect();
        let parameters: Vec<Vec<&(dyn ToSql + Sync)>> = steps
            .iter()
            .map(|step| match step {
                Step::Run(_, parameters) => parameters.iter().map(|value| &**value as _).collect(),
                _ => Vec::new(),
            })
            .collect();
        let mut futures = Vec::with_capacity(steps.len() + 2);
        if let Some(begin) = &begin {
            let begun: Boxed<'_, _> = match self.begin {
                Begin::Along(_) => boxed(self.batch(begin)),
                Begin::Alone => {
                    let begun = self.batch(begin).await;
                    if begun.is_err() {
                        return vec![begun];
                    }
                    boxed(std::future::ready(begun))
                }
            };
            futures.push(begun);
        }
        for ((step, scope), parameters) in steps.iter().zip(&scopes).zip(&parameters) {
            futures.push(match step {
                Step::Run(statement, _) if self.is_pooled() => {
                    let types = statement.types(self.login);
                    let typed: Vec<_> = parameters.iter().copied().zip(types).collect();
                    boxed(async move { self.client.query_typed(statement.text(self.login), &typed).await })
                }
                Step::Run(statement, _) => {
                    let prepared =
                        self.prepared.get(statement.name).expect("a flight prepares before it runs");
                    boxed(self.client.query(prepared, parameters))
                }
                Step::Enter(_) => boxed(self.batch(scope)),
                Step::Batch(text) => boxed(self.batch(text)),
            });
        }
        if end == End::Commit {
            futures.push(boxed(self.batch("COMMIT")));
        }
        in_order(futures).await
    }

    async fn batch(&self, text: &str) -> Result<Vec<Row>, tokio_postgres::Error> {
        self.client.batch_execute(text).await.map(|()| Vec::new())
    }

    /// Ends a server process and returns once it is gone, and with it whatever transaction it was in: then
    /// that is decided.
    pub(crate) async fn end_backend(&self, backend: &Backend) -> Result<(), tokio_postgres::Error> {
        let mut pause = Backoff::new(Duration::from_millis(1), Duration::from_millis(200));
        let mut looks = 0;
        loop {
            let look = match backend {
                Backend::Process { pid, started } => {
                    let text = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
                                WHERE pid = $1 AND EXTRACT(epoch FROM backend_start)::text = $2";
                    as_login(&self.client, text, &[(pid, Type::INT4), (started, Type::TEXT)]).await
                }
                Backend::Marked(name) => {
                    let text = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
                                WHERE application_name = $1";
                    as_login(&self.client, text, &[(name, Type::TEXT)]).await
                }
            };
            let there = look?;
            looks = if there.is_empty() { looks + 1 } else { 0 };
            // What a pooler had read from us when we went away reaches the server a moment later.
            match backend {
                Backend::Process { .. } if looks == 1 => return Ok(()),
                Backend::Marked(_) if looks == POOLER_LOOKS => return Ok(()),
                _ => {}
            }
            tokio::time::sleep(pause.next()).await;
        }
    }

    /// A statement by itself, outside of any transaction of ours, which writes nothing.
    pub(crate) async fn alone(&self, text: &str) -> Result<(), Failure> {
        self.client.batch_execute(text).await.map_err(|error| Failure::Refused { step: 0, error })
    }

    /// A statement that must not be in a transaction, and writes. The connection is not used for another one.
    pub(crate) async fn alone_and_last(&mut self, text: &str) -> Result<(), Failure> {
        self.dirty = true;
        if let Begin::Along(_) = self.begin {
            self.alone("SET default_transaction_read_only = off").await?;
        }
        self.alone(text).await
    }
}

/// The process that serves the session, when it was started, and whether its transactions only read.
async fn identity(client: &Client) -> Result<Option<Row>, tokio_postgres::Error> {
    let text = "SELECT pid, EXTRACT(epoch FROM backend_start)::text, pg_catalog.current_setting('transaction_read_only') \
                FROM pg_catalog.pg_stat_activity \
                WHERE pid = pg_catalog.pg_backend_pid() AND backend_start IS NOT NULL";
    Ok(as_login(client, text, &[]).await?.pop())
}

/// Asks as the login itself: where its sessions work as another role, that one is told nothing of them and
/// may not end them.
async fn as_login(
    client: &Client,
    text: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let batch =
        |text: &'static str| boxed(async move { client.batch_execute(text).await.map(|()| Vec::new()) });
    let asked = boxed(async move { client.query_typed(text, parameters).await });
    let answers = in_order(vec![batch("BEGIN; SET LOCAL ROLE NONE"), asked, batch("ROLLBACK")]).await;
    // The first that was refused is the reason why the others were.
    let mut answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(answers.swap_remove(1))
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

fn boxed<'a, T>(future: impl Future<Output = T> + Send + 'a) -> Boxed<'a, T> {
    Box::pin(future)
}

/// Polls every future once in order, which is what sends its message, and so puts all of them into one write.
/// Answers come in the same order, so waiting for one after the other loses nothing.
async fn in_order<T>(mut futures: Vec<Boxed<'_, T>>) -> Vec<T> {
    let mut early: Vec<Option<T>> = std::future::poll_fn(|context| {
        Poll::Ready(
            futures
                .iter_mut()
                .map(|future| match future.as_mut().poll(context) {
                    Poll::Ready(value) => Some(value),
                    Poll::Pending => None,
                })
                .collect(),
        )
    })
    .await;
    let mut values = Vec::with_capacity(futures.len());
    for (future, early) in futures.into_iter().zip(&mut early) {
        values.push(match early.take() {
            Some(value) => value,
            None => future.await,
        });
    }
    values
}

fn not_sent(error: &tokio_postgres::Error, scope: Scope<'_>) -> Failure {
    if is_lost(error) {
        let message = format!("the connection broke: {}", describe(error));
        return Failure::NotSent(StoreError::new(StoreErrorKind::Transient, message));
    }
    Failure::NotSent(refused(error, &scope.label()))
}

fn unreachable_error(address: &PostgresAddress, cause: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Transient,
        format!("the PostgreSQL server at {} cannot be reached: {cause}", address.label()),
    )
}

pub(crate) fn dial_error(address: &PostgresAddress, error: &tokio_postgres::Error) -> StoreError {
    let (label, user) = (address.label(), address.user());
    let configuration = |message: String| StoreError::new(StoreErrorKind::Configuration, message);
    let Some(code) = error.code() else {
        let cause = describe(error);
        // What has to be changed to get on is the URL or the server's settings, not the network.
        let text = error.to_string();
        if text.contains("TLS") || text.contains("password") || text.contains("authentication") {
            return configuration(format!("{label} refuses the connection: {cause}"));
        }
        return unreachable_error(address, &cause);
    };
    if *code == SqlState::INVALID_PASSWORD {
        return configuration(format!("{label} does not accept the password of `{user}`"));
    }
    if *code == SqlState::INVALID_CATALOG_NAME {
        return configuration(format!(
            "there is no database `{}` on the server of {label}",
            address.database()
        ));
    }
    if code.code().starts_with("28") {
        return configuration(format!("{label} does not let `{user}` in: {}", describe(error)));
    }
    if code.code().starts_with("53") || code.code().starts_with("57") || code.code().starts_with("08") {
        return unreachable_error(address, &describe(error));
    }
    configuration(format!("{label} refuses the connection: {}", describe(error)))
}
