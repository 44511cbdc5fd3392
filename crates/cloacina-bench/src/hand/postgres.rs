//! By hand, on PostgreSQL: a transaction is one flight.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row, Statement};
use uuid::Uuid;

use super::share::share;
use crate::shape::{INPUT, PATCH, Shape};

macro_rules! statement {
    ($name:literal) => {
        include_str!(concat!("../../../cloacina-postgres/sql/", $name, ".sql"))
    };
}

const RUNNER_REGISTER: &str = statement!("runner_register");

/// How many connections work at once.
const CONNECTIONS: usize = 4;

/// How many of them record executions of which nothing is claimed: as many as the engine has commits of that
/// kind under way.
const SUBMITTING: usize = 2;

/// Set once for each connection: what makes the plans the same as the engine's.
const SESSION: &str = "SET plan_cache_mode = force_generic_plan; SET jit = off; SET enable_seqscan = off; SET enable_bitmapscan = off; \
                       SET enable_hashjoin = off; SET enable_mergejoin = off";

/// Schemas with the engine's tables, and connections to their database.
pub(crate) struct Hand {
    connections: Vec<Connection>,
}

struct Connection {
    client: Client,
    runner: Uuid,
    statements: Statements,
    /// Its share of the schemas, or the only one.
    places: Vec<Place>,
}

#[derive(Clone)]
struct Place {
    tenant: Uuid,
    enter: Arc<str>,
}

struct Statements {
    fence: Statement,
    execution_insert: Statement,
    task_insert: Statement,
    execution_lock: Statement,
    task_record: Statement,
    task_end: Statement,
    execution_close: Statement,
    bell_ring: Statement,
}

/// The executions of one flight by place.
type Batch = Vec<(Place, Vec<Uuid>)>;

impl Hand {
    /// Takes over schemas that the engine has made and closed.
    pub(crate) async fn open(url: &str, schemas: &[String]) -> Result<Self> {
        let mut connections = Vec::new();
        for number in 0..CONNECTIONS {
            let client = connect(url).await?;
            client.batch_execute(SESSION).await?;
            let mut places = Vec::new();
            for (index, schema) in schemas.iter().enumerate() {
                if schemas.len() > 1 && index % CONNECTIONS != number {
                    continue;
                }
                let row = client
                    .query_one("SELECT tenant_id FROM cloacina.tenant WHERE schema_name = $1", &[schema])
                    .await?;
                let enter = format!("SET LOCAL search_path = \"{schema}\", pg_temp").into();
                places.push(Place { tenant: row.get(0), enter });
            }
            let first = places.first().context("there are fewer schemas than connections")?;
            client.batch_execute(&format!("BEGIN; {}", first.enter)).await?;
            let statements = Statements::prepare(&client).await?;
            client.batch_execute("COMMIT").await?;
            let runner = Uuid::now_v7();
            let (no_text, no_number, no_start): (Option<&str>, Option<i32>, Option<i64>) = (None, None, None);
            let (names, fingerprints): (Vec<&str>, Vec<i64>) = Default::default();
            client
                .execute(
                    RUNNER_REGISTER,
                    &[
                        &runner,
                        &30_000_i64,
                        &no_text,
                        &no_number,
                        &no_start,
                        &names,
                        &fingerprints,
                        &None::<Timestamp>,
                        &no_text,
                    ],
                )
                .await?;
            connections.push(Connection { client, runner, statements, places });
        }
        Ok(Self { connections })
    }

    pub(crate) async fn alone(&mut self, shape: Shape, count: usize) -> Result<Vec<Duration>> {
        let connection = &self.connections[0];
        let mut latencies = Vec::with_capacity(count);
        for _ in 0..count {
            let begun = Instant::now();
            let batch = vec![(connection.places[0].clone(), vec![Uuid::now_v7()])];
            connection.run(shape, &batch).await?;
            latencies.push(begun.elapsed());
        }
        Ok(latencies)
    }

    /// The latencies of one execution in each of `count` places from the `first` on.
    pub(crate) async fn cold(&mut self, shape: Shape, first: usize, count: usize) -> Result<Vec<Duration>> {
        let all = self
            .connections
            .iter()
            .flat_map(|connection| connection.places.iter().map(move |place| (connection, place)));
        let mut latencies = Vec::with_capacity(count);
        for (connection, place) in all.skip(first).take(count) {
            let begun = Instant::now();
            connection.run(shape, &vec![(place.clone(), vec![Uuid::now_v7()])]).await?;
            latencies.push(begun.elapsed());
        }
        Ok(latencies)
    }

    pub(crate) async fn batches(&mut self, shape: Shape, count: usize, batch: usize) -> Result<Duration> {
        let begun = Instant::now();
        let left = Arc::new(AtomicUsize::new(count));
        let mut workers = Vec::new();
        // The connections travel into tasks of their own, so that both cores work, and come back.
        for connection in self.connections.drain(..) {
            let left = Arc::clone(&left);
            workers.push(tokio::spawn(async move {
                loop {
                    let places = connection.places.iter().map(|place| {
                        let ids = (0..share(&left, batch)).map(|_| Uuid::now_v7()).collect::<Vec<_>>();
                        (place.clone(), ids)
                    });
                    let flight: Batch = places.filter(|(_, ids)| !ids.is_empty()).collect();
                    if flight.is_empty() {
                        return Ok::<_, anyhow::Error>(connection);
                    }
                    connection.run(shape, &flight).await?;
                }
            }));
        }
        for worker in workers {
            self.connections.push(worker.await??);
        }
        Ok(begun.elapsed())
    }

    /// Executions of which nothing is claimed, in the first schema, over as many connections as the engine
    /// uses for that.
    pub(crate) async fn submits(&mut self, shape: Shape, count: usize, batch: usize) -> Result<Duration> {
        let begun = Instant::now();
        let left = Arc::new(AtomicUsize::new(count));
        let mut workers = Vec::new();
        for connection in self.connections.drain(..SUBMITTING) {
            let left = Arc::clone(&left);
            workers.push(tokio::spawn(async move {
                loop {
                    let ids: Vec<Uuid> = (0..share(&left, batch)).map(|_| Uuid::now_v7()).collect();
                    if ids.is_empty() {
                        return Ok::<_, anyhow::Error>(connection);
                    }
                    let flight = vec![(connection.places[0].clone(), ids)];
                    connection.fly(&flight, |place, ids| connection.submit(shape, place, ids)).await?;
                }
            }));
        }
        for worker in workers {
            self.connections.push(worker.await??);
        }
        Ok(begun.elapsed())
    }

    pub(crate) async fn bare(&mut self, count: usize, group: usize) -> Result<Vec<Duration>> {
        let client = &self.connections[0].client;
        client
            .batch_execute(
                "CREATE SCHEMA IF NOT EXISTS bare; CREATE TABLE IF NOT EXISTS bare.bare (id int PRIMARY KEY, n int NOT NULL);
                 INSERT INTO bare.bare VALUES (1, 0) ON CONFLICT DO NOTHING;",
            )
            .await?;
        let update = client.prepare("UPDATE bare.bare SET n = n + 1 WHERE id = 1").await?;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let begun = Instant::now();
            for _ in 0..group {
                client.execute(&update, &[]).await?;
            }
            times.push(begun.elapsed());
        }
        Ok(times)
    }
}

/// A connection that is served in the background and ends when the client is dropped.
pub(crate) async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("a connection of the work by hand broke: {error}");
        }
    });
    Ok(client)
}

impl Statements {
    async fn prepare(client: &Client) -> Result<Self> {
        Ok(Self {
            fence: client.prepare(statement!("fence")).await?,
            execution_insert: client.prepare(statement!("execution_insert")).await?,
            task_insert: client.prepare(statement!("task_insert")).await?,
            execution_lock: client.prepare(statement!("execution_lock")).await?,
            task_record: client.prepare(statement!("task_record")).await?,
            task_end: client.prepare(statement!("task_end")).await?,
            execution_close: client.prepare(statement!("execution_close")).await?,
            bell_ring: client.prepare(statement!("bell_ring")).await?,
        })
    }
}

/// A step of a flight.
enum Step<'a> {
    Text(String),
    Run(&'a Statement, Vec<Box<dyn ToSql + Sync + Send>>),
}

macro_rules! run {
    ($statement:expr, $($value:expr),* $(,)?) => {
        Step::Run($statement, vec![$(Box::new($value) as Box<dyn ToSql + Sync + Send>),*])
    };
}

const NOW: Option<Timestamp> = None;

impl Connection {
    /// A batch of executions from the first flight to the last.
    async fn run(&self, shape: Shape, batch: &Batch) -> Result<()> {
        self.fly(batch, |place, ids| self.insert(shape, place, ids, true)).await?;
        for layer in 0..shape.layers.len() {
            self.fly(batch, |place, ids| self.finish(shape, layer, place, ids)).await?;
        }
        Ok(())
    }

    async fn fly<'a>(
        &'a self,
        batch: &Batch,
        steps_of: impl Fn(&Place, &[Uuid]) -> Vec<Step<'a>>,
    ) -> Result<()> {
        let mut steps = Vec::new();
        for (nth, (place, ids)) in batch.iter().enumerate() {
            if nth == 0 {
                steps.push(Step::Text(format!("BEGIN; {}", place.enter)));
                steps.push(run!(&self.statements.fence, self.runner, NOW));
            } else {
                steps.push(Step::Text(place.enter.to_string()));
            }
            steps.extend(steps_of(place, ids));
        }
        steps.push(Step::Text("COMMIT".to_owned()));
        // `try_join_all` asks them in their order, and the driver sends them so.
        let answers = try_join_all(steps.iter().map(|step| self.send(step))).await?;
        anyhow::ensure!(answers.len() == steps.len(), "a step has no answer");
        Ok(())
    }

    async fn send(&self, step: &Step<'_>) -> Result<Vec<Row>, tokio_postgres::Error> {
        match step {
            Step::Text(text) => self.client.batch_execute(text).await.map(|()| Vec::new()),
            Step::Run(statement, values) => {
                let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| &**value as _).collect();
                self.client.query(*statement, &values).await
            }
        }
    }

    fn submit(&self, shape: Shape, place: &Place, ids: &[Uuid]) -> Vec<Step<'_>> {
        let mut steps = self.insert(shape, place, ids, false);
        steps.push(run!(&self.statements.bell_ring, place.tenant, NOW, NOW));
        steps
    }

    fn insert(&self, shape: Shape, place: &Place, ids: &[Uuid], claims: bool) -> Vec<Step<'_>> {
        let count = ids.len();
        let tasks = shape.tasks();
        let of_each = |value: &dyn Fn(usize) -> i16| -> Vec<i16> {
            ids.iter().flat_map(|_| (0..tasks.len()).map(value)).collect()
        };
        let executions: Vec<Uuid> = ids.iter().flat_map(|id| tasks.iter().map(|_| *id)).collect();
        let names: Vec<&'static str> = ids.iter().flat_map(|_| tasks.iter().map(|task| task.name)).collect();
        let waiting_on = of_each(&|task| tasks[task].waiting_on);
        let claimed: Vec<bool> = waiting_on.iter().map(|waiting_on| claims && *waiting_on == 0).collect();
        let (start_at, no_waits) = (vec![NOW; executions.len()], executions.len());
        vec![
            run!(
                &self.statements.execution_insert,
                place.tenant,
                NOW,
                ids.to_vec(),
                vec![shape.workflow; count],
                vec![1_i64; count],
                vec![5_i16; count],
                vec![INPUT; count],
                vec![NOW; count],
                vec![None::<&str>; count],
                vec![None::<i64>; count],
                vec![claims; count],
                vec![None::<Uuid>; count],
                vec![NOW; count],
            ),
            run!(
                &self.statements.task_insert,
                place.tenant,
                NOW,
                self.runner,
                executions,
                of_each(&|task| tasks[task].position),
                names,
                waiting_on,
                claimed,
                start_at,
                vec![false; no_waits],
            ),
        ]
    }

    fn finish(&self, shape: Shape, layer: usize, place: &Place, ids: &[Uuid]) -> Vec<Step<'_>> {
        let positions = shape.layer(layer);
        let count = ids.len() * positions.len();
        let executions: Vec<Uuid> = ids.iter().flat_map(|id| positions.clone().map(|_| *id)).collect();
        let tasks: Vec<i16> = ids.iter().flat_map(|_| positions.clone()).collect();
        let lock = run!(&self.statements.execution_lock, place.tenant, ids.to_vec());
        if layer + 1 == shape.layers.len() {
            return vec![
                lock,
                run!(
                    &self.statements.task_end,
                    place.tenant,
                    NOW,
                    self.runner,
                    executions,
                    tasks,
                    vec![1_i32; count],
                    vec!["completed"; count],
                    vec![Some("completed"); count],
                    vec![Some(PATCH); count],
                    vec![None::<&str>; count],
                    vec![None::<&str>; count],
                ),
                run!(&self.statements.execution_close, place.tenant, NOW, ids.to_vec()),
            ];
        }
        let list = |entries: Vec<String>| Some(format!("{{{}}}", entries.join(",")));
        let successors = list(shape.layer(layer + 1).map(|task| task.to_string()).collect());
        let claimed = list(shape.layer(layer + 1).map(|_| "c".to_owned()).collect());
        vec![
            lock,
            run!(
                &self.statements.task_record,
                place.tenant,
                NOW,
                self.runner,
                executions,
                tasks,
                vec![1_i32; count],
                vec!["completed"; count],
                vec![Some("completed"); count],
                vec![Some(PATCH); count],
                vec![None::<&str>; count],
                vec![None::<&str>; count],
                vec![None::<i64>; count],
                vec![successors; count],
                vec![claimed; count],
                vec![None::<&str>; count],
            ),
        ]
    }
}

/// A tenant with a login of its own, to be made by hand.
pub(crate) struct NewTenant<'a> {
    pub(crate) database: &'a str,
    pub(crate) schema: &'a str,
    pub(crate) login: &'a str,
    /// What the server keeps of the password, computed before.
    pub(crate) verifier: &'a str,
}

impl NewTenant<'_> {
    /// What `DatabaseAdmin::create_tenant` does, as one message.
    pub(crate) fn in_one_batch(&self) -> String {
        let Self { database, schema, login, verifier } = self;
        let tenant = Uuid::now_v7().to_string();
        let group = format!("{login}__g");
        let roles = format!("{{{login},{login}__2,{group}}}");
        let insert = filled(statement!("tenant_insert"), &[&tenant, schema, &roles, schema]);
        let place = include_str!("../../../cloacina-postgres/migrations/0001_place.sql");
        let version = filled(statement!("place_version"), &[&tenant, "1", "1"]);
        let migration = filled(statement!("migration_insert"), &["place", "1", "0", "1"]);
        let bind = filled(statement!("tenant_bind"), &[&tenant, &group]);
        let note = filled(statement!("login_insert"), &[&tenant, login]);
        let audit = filled(statement!("audit_insert"), &["create_tenant", &tenant, schema, login]);
        format!(
            "BEGIN; SET LOCAL ROLE cloacina_owner; {insert}; SET LOCAL ROLE NONE;
             CREATE ROLE \"{group}\" NOLOGIN IN ROLE cloacina_tenant;
             CREATE ROLE \"{login}\" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 20
                 PASSWORD '{verifier}' IN ROLE \"{group}\";
             ALTER ROLE \"{login}\" IN DATABASE \"{database}\" SET search_path = \"{schema}\";
             ALTER ROLE \"{login}\" IN DATABASE \"{database}\" SET statement_timeout = 60000;
             ALTER ROLE \"{login}\" IN DATABASE \"{database}\" SET idle_in_transaction_session_timeout = 300000;
             CREATE SCHEMA \"{schema}\" AUTHORIZATION cloacina_owner; SET LOCAL ROLE cloacina_owner;
             SET LOCAL search_path = \"{schema}\", pg_temp; {place}; {version}; {migration};
             GRANT USAGE ON SCHEMA \"{schema}\" TO cloacina_engine, \"{group}\";
             GRANT SELECT, INSERT, UPDATE, DELETE ON workflow_executions, task_executions, ready_tasks, due_rows, task_waits, signals, task_attempts
                 TO cloacina_engine, \"{group}\";
             {bind}; {note}; {audit}; COMMIT"
        )
    }
}

/// A statement with its parameters as literals; nothing in them has to be escaped.
fn filled(statement: &str, values: &[&str]) -> String {
    let mut text = statement.to_owned();
    for (number, value) in values.iter().enumerate() {
        text = text.replace(&format!("${}", number + 1), &format!("'{value}'"));
    }
    text
}
