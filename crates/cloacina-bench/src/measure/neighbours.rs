//! What nine quiet tenants notice of one that is in trouble, or makes some.
//!
//! Each quiet tenant has one execution of one task done after the other, 40 in a second. Their latencies are
//! taken while they are alone, and then beside the other one. A connection of its own commits one row as
//! often, for what the server itself can do at that time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use cloacina::database::{Database as AdminDatabase, DatabaseAdmin, TenantConfig};
use cloacina::{
    Context, ExecutionFilter, ExecutionStatus, RetryPolicy, Runner, RunnerConfig, TaskBody, TaskDefinition,
    Workflow,
};
use cloacina_core::clock::{Clock as _, SystemClock};
use cloacina_testing::cluster::Cluster;
use futures_util::future::try_join_all;
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::scale::{IN_FLIGHT, Scale};
use crate::database::Kind;
use crate::engine;
use crate::hand::postgres::connect;
use crate::sample::Spread;
use crate::shape::{ONE, input};
use crate::table::{Row, Target};

/// How often a quiet tenant asks for an execution.
const EVERY: Duration = Duration::from_millis(25);

/// What nobody notices, whatever it is beside.
const UNNOTICED: Duration = Duration::from_millis(25);

/// The troubles by name, and what they are.
pub(crate) const TROUBLES: [(&str, &str); 8] = [
    ("locked", "a table is locked"),
    ("backlog", "a backlog of executions"),
    ("slots", "5,000 tasks of 1 s and of 10 s"),
    ("read", "20 callers list and measure finished rows"),
    ("large", "1,000 inputs of 1 MiB"),
    ("blocking", "blocking tasks that block"),
    ("planted", "a login planted ready rows of a version that nobody has"),
    ("flood", "a login floods notices, bells and runners"),
];

/// Has a server write its log into files that are there, as one does that has run for a while.
///
/// A new server makes a file of 16 MB for every 16 MB of log, and everybody who commits waits for that: 20 to
/// 40 ms, several times a second beside a backlog. That would be measured here, and nothing else.
async fn has_run_for_a_while(superuser: &Client) -> Result<()> {
    for setting in ["min_wal_size = '2GB'", "max_wal_size = '4GB'"] {
        superuser.batch_execute(&format!("ALTER SYSTEM SET {setting}")).await?;
    }
    let log = "SELECT pg_reload_conf(); CHECKPOINT; \
               SELECT count(pg_logical_emit_message(false, 'log', repeat('x', 16000000))) FROM generate_series(1, 70); CHECKPOINT";
    for statement in log.split("; ") {
        superuser.batch_execute(statement).await?;
    }
    Ok(())
}

/// A tenant, and how it is placed.
struct Tenant {
    placement: &'static str,
    runner: Runner,
}

struct World {
    quiet: Vec<Tenant>,
    /// Who is in trouble, by placement.
    loud: Runner,
    loud_with_login: Option<Runner>,
    /// The database as a superuser and as the login of the tenant that has one reach it.
    urls: Option<(String, String)>,
    files: Option<TempDir>,
}

pub(crate) async fn neighbours(kind: Kind, scale: Scale, only: Option<&str>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, what) in TROUBLES {
        let needs_login = matches!(name, "planted" | "flood");
        if only.is_some_and(|only| only != name) || (needs_login && kind == Kind::Sqlite) {
            continue;
        }
        let begun = Instant::now();
        let world = World::new(kind).await?;
        rows.extend(world.measure(name, what, scale).await.with_context(|| format!("beside: {what}"))?);
        world.close().await?;
        eprintln!("{kind}, beside {what}: {:.0?}", begun.elapsed());
    }
    Ok(rows)
}

fn workflows() -> [Workflow; 4] {
    let sleeping = |name: &'static str, time| {
        let task = TaskDefinition::from_async("sleep", move |context: Context| async move {
            tokio::time::sleep(time).await;
            Ok::<_, anyhow::Error>(context)
        });
        Workflow::builder(name).task(task.retry(RetryPolicy::NEVER)).build()
    };
    let blocking = |name: &'static str, time| {
        let body = TaskBody::Blocking(Arc::new(move |context| {
            std::thread::sleep(time);
            Ok(context)
        }));
        Workflow::builder(name).task(TaskDefinition::new("block", body).retry(RetryPolicy::NEVER)).build()
    };
    [
        sleeping("second", Duration::from_secs(1)),
        sleeping("ten_seconds", Duration::from_secs(10)),
        blocking("blocks", Duration::from_secs(2)),
        blocking("blocks_not", Duration::ZERO),
    ]
}

fn config() -> RunnerConfig {
    let config = RunnerConfig::builder()
        .max_concurrent_tasks(2048)
        .max_process_tasks(1024)
        .max_process_queue(2_000_000)
        .shutdown_timeout(Duration::ZERO)
        .cancel_grace(Duration::ZERO)
        .retention(None);
    workflows().into_iter().fold(config, |config, workflow| config.workflow(workflow)).build()
}

impl World {
    async fn new(kind: Kind) -> Result<Self> {
        match kind {
            Kind::Sqlite => Self::files().await,
            Kind::Postgres => Self::schemas().await,
        }
    }

    async fn files() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("cloacina-bench-").tempdir()?;
        let open = async |name: &str| -> Result<Runner> {
            let url = format!("sqlite://{}/{name}.db", directory.path().display());
            Ok(Runner::builder().database_url(url).config(config()).build().await?)
        };
        let mut quiet = Vec::new();
        for number in 0..9 {
            quiet.push(Tenant { placement: "file", runner: open(&format!("quiet_{number}")).await? });
        }
        let loud = open("loud").await?;
        Ok(Self { quiet, loud, loud_with_login: None, urls: None, files: Some(directory) })
    }

    async fn schemas() -> Result<Self> {
        let server = Cluster::shared()?;
        let url = server.fresh_database().await?;
        static HAS_RUN: OnceCell<()> = OnceCell::const_new();
        let superuser = server.superuser_url_of(&url);
        let client = connect(&superuser).await?;
        HAS_RUN.get_or_try_init(|| has_run_for_a_while(&client)).await?;
        server.make_administrator(&url).await?;
        let name = url.rsplit('/').next().context("the URL names no database")?.to_owned();
        let admin = DatabaseAdmin::new(AdminDatabase::new(&url, &name, 4));
        let operator = server.ordinary_login(&url).await?;
        let login = operator.split("://").nth(1).and_then(|rest| rest.split(':').next());
        let login = login.context("the URL names no login")?;
        admin.allow_operator(login).await?;
        let make = format!("GRANT CREATE ON DATABASE \"{name}\" TO \"{login}\"");
        client.batch_execute(&make).await?;
        let suffix = &name[name.len().saturating_sub(8)..];
        let with_login = async |tenant: &str| {
            let made = admin.create_tenant(TenantConfig {
                schema_name: tenant.to_owned(),
                username: format!("{tenant}_{suffix}"),
                password: String::new(),
            });
            Ok::<_, anyhow::Error>(made.await?.connection_string)
        };
        let builder = || Runner::builder().database_url(&operator).config(config());
        let mut quiet = Vec::new();
        for number in 0..3 {
            let runner = builder().schema(format!("quiet_{number}")).build().await?;
            quiet.push(Tenant { placement: "schema", runner });
            let name = format!("quiet_login_{number}");
            with_login(&name).await?;
            quiet.push(Tenant {
                placement: "schema and login",
                runner: builder().tenant(&name).build().await?,
            });
            let name = format!("quiet_shared_{number}");
            admin.create_shared_tenant(&name).await?;
            quiet.push(Tenant { placement: "shared tables", runner: builder().tenant(&name).build().await? });
        }
        let loud_url = with_login("loud_login").await?;
        Ok(Self {
            quiet,
            loud: builder().schema("loud").build().await?,
            loud_with_login: Some(builder().tenant("loud_login").build().await?),
            urls: Some((superuser, loud_url)),
            files: None,
        })
    }

    async fn close(self) -> Result<()> {
        let runners = self.quiet.iter().map(|tenant| &tenant.runner).chain([&self.loud]);
        try_join_all(runners.chain(&self.loud_with_login).map(|runner| runner.shutdown())).await?;
        Ok(())
    }

    async fn measure(&self, name: &'static str, what: &str, scale: Scale) -> Result<Vec<Row>> {
        let workflow = if name == "blocking" { "blocks_not" } else { ONE.workflow };
        // Connections, statements and plans are there before anything is measured.
        self.look(workflow, Duration::from_secs(1)).await?;
        let (alone, _) = self.look(workflow, scale.beside / 2).await?;
        let trouble = self.begin(name, scale).await?;
        let (beside, bare) = self.look(workflow, scale.beside).await?;
        trouble.end().await?;
        let mut rows = Vec::new();
        for (placement, alone) in &alone {
            let beside = &beside.iter().find(|other| other.0 == *placement).context("it was measured")?.1;
            for (title, part) in [("p50", 50), ("p99", 99)] {
                let (alone, beside, bare) =
                    (part_of(alone, part), part_of(beside, part), part_of(&bare, part));
                let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
                let mut row = Row {
                    engine: Spread::of([milliseconds(beside)]),
                    hand: Spread::of([milliseconds(alone)]),
                    bare: Spread::of([milliseconds(bare)]),
                    ratio: Spread::of([beside.as_secs_f64() / alone.as_secs_f64()]),
                    ..Row::new(format!("{what}: {placement}, {title} (by hand: alone)"), "ms")
                };
                if part == 99 {
                    let most = UNNOTICED.max(alone * 2).max(bare * 2);
                    let words = format!("≤ {:.0} ms", milliseconds(most));
                    row.target = Some(Target { words, met: beside <= most });
                }
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// The latencies of the quiet tenants by placement, and those of bare commits at the same time.
    async fn look(
        &self,
        workflow: &'static str,
        time: Duration,
    ) -> Result<(Vec<(&'static str, Vec<Duration>)>, Vec<Duration>)> {
        let until = Instant::now() + time;
        let bare = self.bare(until);
        let asking: Vec<_> = self
            .quiet
            .iter()
            .map(|tenant| {
                let runner = tenant.runner.clone();
                let asking = tokio::spawn(async move {
                    let mut latencies = Vec::new();
                    let mut ticks = tokio::time::interval(EVERY);
                    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                    while Instant::now() < until {
                        ticks.tick().await;
                        let begun = Instant::now();
                        let result = runner.execute(workflow, input()).await?;
                        ensure!(
                            result.status == ExecutionStatus::Completed,
                            "it ended as {:?}",
                            result.status
                        );
                        latencies.push(begun.elapsed());
                    }
                    Ok(latencies)
                });
                (tenant.placement, asking)
            })
            .collect();
        let mut all: Vec<(&str, Vec<Duration>)> = Vec::new();
        for (placement, asking) in asking {
            let latencies = asking.await??;
            match all.iter_mut().find(|known| known.0 == placement) {
                Some((_, known)) => known.extend(latencies),
                None => all.push((placement, latencies)),
            }
        }
        Ok((all, bare.await??))
    }

    /// Commits of one row each, until then.
    fn bare(&self, until: Instant) -> JoinHandle<Result<Vec<Duration>>> {
        let url = self.urls.as_ref().map(|urls| urls.0.clone());
        let file = self.files.as_ref().map(|files| files.path().join("bare.db"));
        let mut latencies = Vec::new();
        match (url, file) {
            (Some(url), _) => tokio::spawn(async move {
                let client = connect(&url).await?;
                let make = "CREATE TABLE IF NOT EXISTS public.bare (n integer); TRUNCATE public.bare; INSERT INTO public.bare VALUES (0)";
                client.batch_execute(make).await?;
                let update = client.prepare("UPDATE public.bare SET n = n + 1").await?;
                while Instant::now() < until {
                    let begun = Instant::now();
                    client.execute(&update, &[]).await?;
                    latencies.push(begun.elapsed());
                    tokio::time::sleep(EVERY).await;
                }
                Ok(latencies)
            }),
            (None, Some(file)) => tokio::task::spawn_blocking(move || {
                let connection = rusqlite::Connection::open(file)?;
                let make = "PRAGMA journal_mode = wal; PRAGMA synchronous = full; CREATE TABLE IF NOT EXISTS bare (n); \
                            DELETE FROM bare; INSERT INTO bare VALUES (0)";
                connection.execute_batch(make)?;
                while Instant::now() < until {
                    let begun = Instant::now();
                    connection.execute("UPDATE bare SET n = n + 1", [])?;
                    latencies.push(begun.elapsed());
                    std::thread::sleep(EVERY);
                }
                Ok(latencies)
            }),
            (None, None) => tokio::spawn(async { bail!("there is no database") }),
        }
    }

    async fn begin(&self, name: &str, scale: Scale) -> Result<Trouble> {
        let mut trouble = Trouble::default();
        let loud = &self.loud;
        match name {
            "locked" => {
                self.lock(&mut trouble, scale.beside).await?;
                trouble.ask(loud, ONE.workflow, 50);
            }
            "backlog" => {
                // Time enough to record them all.
                let wait = Duration::from_millis(scale.backlog as u64 / 10);
                let due = SystemClock.now() + wait;
                let moment = Instant::now() + wait;
                for chunk in (0..scale.backlog).collect::<Vec<_>>().chunks(10 * IN_FLIGHT) {
                    let sent =
                        chunk.iter().map(|_| loud.submit(ONE.workflow).input(input()).start_at(due).send());
                    try_join_all(sent).await?;
                }
                tokio::time::sleep_until(moment.into()).await;
            }
            "slots" => {
                for workflow in ["second", "ten_seconds"] {
                    let sent = (0..2_500).map(|_| loud.execute_async(workflow, input()));
                    try_join_all(sent).await?;
                }
            }
            "read" => {
                let all = [loud.clone()];
                engine::in_flight(&all, ONE, scale.backlog, IN_FLIGHT).await?;
                for number in 0..20 {
                    let loud = loud.clone();
                    trouble.again_and_again(move |_| {
                        let loud = loud.clone();
                        async move {
                            if number % 2 == 0 {
                                let rare = ExecutionFilter::all().status(ExecutionStatus::Cancelled);
                                loud.list(rare, None, 100).await?;
                            } else {
                                loud.metrics().await?;
                            }
                            Ok(())
                        }
                    });
                }
            }
            "large" => {
                let text: Arc<str> = "x".repeat((1 << 20) - 64).into();
                for _ in 0..20 {
                    let (loud, text) = (loud.clone(), Arc::clone(&text));
                    trouble.again_and_again(move |turn| {
                        let (loud, text) = (loud.clone(), Arc::clone(&text));
                        async move {
                            if turn < 50 {
                                loud.execute_async(ONE.workflow, Context::new().with("text", &*text)).await?;
                            } else {
                                tokio::time::sleep(EVERY).await;
                            }
                            Ok(())
                        }
                    });
                }
            }
            "blocking" => {
                let sent = (0..1_000).map(|_| loud.execute_async("blocks", input()));
                try_join_all(sent).await?;
            }
            "planted" => self.plant(scale.planted).await?,
            "flood" => {
                for kind in 0..8 {
                    let client = Arc::new(self.as_login().await?);
                    trouble.again_and_again(move |_| {
                        let client = Arc::clone(&client);
                        async move { flood(&client, kind).await }
                    });
                }
            }
            _ => bail!("there is no trouble `{name}`"),
        }
        Ok(trouble)
    }

    /// Locks a table of the loud tenant, or its file.
    async fn lock(&self, trouble: &mut Trouble, time: Duration) -> Result<()> {
        if let Some((superuser, _)) = &self.urls {
            let client = connect(superuser).await?;
            client.batch_execute("BEGIN; LOCK TABLE loud.task_executions IN ACCESS EXCLUSIVE MODE").await?;
            trouble.lasting.push(tokio::spawn(async move {
                tokio::time::sleep(time).await;
                client.batch_execute("COMMIT").await?;
                Ok(())
            }));
        } else if let Some(files) = &self.files {
            let file = files.path().join("loud.db");
            let (locked, is_locked) = tokio::sync::oneshot::channel();
            trouble.lasting.push(tokio::task::spawn_blocking(move || {
                let connection = rusqlite::Connection::open(file)?;
                connection.busy_timeout(Duration::from_secs(10))?;
                connection.execute_batch("BEGIN IMMEDIATE")?;
                locked.send(()).map_err(|()| anyhow::anyhow!("nobody waits for the lock"))?;
                std::thread::sleep(time);
                connection.execute_batch("COMMIT")?;
                Ok(())
            }));
            is_locked.await?;
        }
        Ok(())
    }

    async fn as_login(&self) -> Result<Client> {
        connect(&self.urls.as_ref().context("only on PostgreSQL")?.1).await
    }

    /// As the tenant's own login: ready rows of a workflow that no process has.
    async fn plant(&self, count: usize) -> Result<()> {
        let loud = self.loud_with_login.as_ref().context("only on PostgreSQL")?;
        loud.execute(ONE.workflow, input()).await?;
        let client = self.as_login().await?;
        let insert = "INSERT INTO ready_tasks (tenant_id, priority, due_at, execution_id, task, workflow, fingerprint) \
                      SELECT tenant_id, 9, now() - interval '1 hour', gen_random_uuid(), 0, 'nobody', 1 \
                      FROM cloacina.me(), generate_series(1, $1::bigint)";
        client.batch_execute("SET statement_timeout = 0").await?;
        client.execute(insert, &[&i64::try_from(count)?]).await?;
        client.query("SELECT cloacina.ring(now() - interval '1 hour')", &[]).await?;
        Ok(())
    }
}

/// What a login may call as often as it likes.
async fn flood(client: &Client, kind: usize) -> Result<()> {
    let text = match kind % 4 {
        0 => "SELECT cloacina.my_notice(ARRAY(SELECT gen_random_uuid() FROM generate_series(1, 100)))",
        1 => "SELECT cloacina.ring(now() - interval '1 hour')",
        2 => {
            "SELECT cloacina.my_runner_register(gen_random_uuid(), 30000, NULL, NULL, NULL, '{}', '{}', NULL)"
        }
        _ => "SELECT * FROM cloacina.my_bells(NULL)",
    };
    // A refusal is what we hope for.
    drop(client.simple_query(text).await);
    Ok(())
}

/// What goes on beside the quiet tenants.
#[derive(Default)]
struct Trouble {
    over: Arc<AtomicBool>,
    /// What ends when it is told to, whatever came of it.
    asking: Vec<JoinHandle<Result<()>>>,
    /// What ends by itself.
    lasting: Vec<JoinHandle<Result<()>>>,
}

impl Trouble {
    /// Does something in a loop, with the number of the turn, until the trouble is over.
    fn again_and_again<Fut: Future<Output = Result<()>> + Send>(
        &mut self,
        work: impl Fn(usize) -> Fut + Send + 'static,
    ) {
        let over = Arc::clone(&self.over);
        self.asking.push(tokio::spawn(async move {
            for turn in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                work(turn).await?;
            }
            Ok(())
        }));
    }

    /// Has so many callers ask for executions, one after the other.
    fn ask(&mut self, runner: &Runner, workflow: &'static str, callers: usize) {
        for _ in 0..callers {
            let runner = runner.clone();
            self.again_and_again(move |_| {
                let runner = runner.clone();
                async move { Ok(runner.execute(workflow, input()).await.map(drop)?) }
            });
        }
    }

    async fn end(self) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        for lasting in self.lasting {
            lasting.await??;
        }
        for asking in self.asking {
            // Whoever is in trouble may be refused, or wait longer than we do.
            asking.abort();
        }
        Ok(())
    }
}

fn part_of(latencies: &[Duration], part: usize) -> Duration {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    sorted.get((sorted.len() * part / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}
