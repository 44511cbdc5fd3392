//! What is said of wrong inputs, as people read it: `messages.txt`.
//!
//! With `CLOACINA_UPDATE=1` the file is written anew. Read each line aloud once before you commit it: it has
//! a verb, it names the tenant, the workflow or the task, and it says what to do. What is said of statements
//! on tenants' data stands in `cloacina-data/src/gate/tests/messages.txt`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use cloacina::rerun::From as RerunFrom;
use cloacina::runner::Runner;
use cloacina::{
    Ask, CatchUp, Context, Error, ErrorKind, ExecutionStatus, RetryPolicy, RunnerConfig, Schedule,
    TaskDefinition, Timestamp, Uuid, Wait, Workflow,
};

use crate::support::{Database, Gate, attempts, idle, in_time, quick, reaches, workflow};

/// What was tried, and what was said of it.
#[derive(Default)]
struct Said {
    text: String,
    count: usize,
    /// What differs from run to run, and what it is called in the file.
    names: Vec<(String, &'static str)>,
}

impl Said {
    fn chapter(&mut self, name: &str) {
        write!(self.text, "# {name}\n\n").unwrap();
    }

    fn note<T, E: Into<Error>>(&mut self, input: &str, result: Result<T, E>) {
        let error = result.err().unwrap_or_else(|| panic!("{input} is not refused")).into();
        assert_ne!(error.kind(), ErrorKind::Internal, "{input}: {error}");
        let mut said = error.to_string();
        for (found, called) in &self.names {
            said = said.replace(found, called);
        }
        let words = said.split(' ').map(|word| {
            let time = word.trim_end_matches(':');
            let is_now = time.parse().is_ok_and(|time: Timestamp| time.as_second() > 1_000_000_000);
            if is_now { word.replace(time, "<time>") } else { word.to_owned() }
        });
        let said = words.collect::<Vec<_>>().join(" ");
        writeln!(self.text, "{input}\n    {:?}: {said}\n", error.kind()).unwrap();
        self.count += 1;
    }
}

fn build(tasks: impl IntoIterator<Item = TaskDefinition>) -> Result<Workflow, Error> {
    let builder = tasks.into_iter().fold(Workflow::builder("invoice"), |builder, task| builder.task(task));
    Ok(builder.try_build()?)
}

async fn urls(said: &mut Said, directory: &Path) {
    said.chapter("URLs");
    let beside = directory.display().to_string();
    let urls = [
        String::new(),
        "mysql://localhost/shop".to_owned(),
        "shop.db?mode=ro".to_owned(),
        "sqlite://".to_owned(),
        "sqlite://./shop.db?mode=ro".to_owned(),
        format!("sqlite://{beside}/missing/shop.db"),
        format!("sqlite://{beside}/"),
        "postgresql://".to_owned(),
        "postgresql:///shop".to_owned(),
        "postgresql://db.internal:port/shop".to_owned(),
        "postgresql://app:p@ss@db.internal/shop".to_owned(),
        "postgresql://app:100%@db.internal/shop".to_owned(),
        "postgresql://db.internal/shop?sslmode=yes".to_owned(),
        "postgresql://db.internal/shop?ssl_mode=require".to_owned(),
        "postgresql://db.internal/shop?colour=red".to_owned(),
        "postgresql://db.internal/shop?pooler=pgbouncer".to_owned(),
        "postgresql://db.internal/shop?pooler=transaction&direct=db".to_owned(),
    ];
    for url in urls {
        let result = in_time(Runner::new(&url)).await;
        said.note(&format!("Runner::new({:?})", url.replace(&beside, "…")), result);
    }
    said.note("Runner::builder().build()", Runner::builder().build().await);
    let file = format!("sqlite://{beside}/shop.db");
    said.note("with_schema of a SQLite file", Runner::with_schema(&file, "acme").await);
    let server = Database::postgres().await.url;
    for schema in ["", "acme-corp", "pg_acme", "cloacina_acme", "information_schema"] {
        said.note(&format!("with_schema(…, {schema:?})"), Runner::with_schema(&server, schema).await);
    }
}

fn settings(said: &mut Said) {
    said.chapter("Settings");
    let day = Duration::from_secs(86_400);
    let settings = [
        ("max_connections(0)", RunnerConfig::builder().max_connections(0)),
        ("max_concurrent_tasks(0)", RunnerConfig::builder().max_concurrent_tasks(0)),
        ("max_process_tasks(0)", RunnerConfig::builder().max_process_tasks(0)),
        ("max_execution_bytes(1 GiB)", RunnerConfig::builder().max_execution_bytes(1 << 30)),
        ("max_waiting(0)", RunnerConfig::builder().max_waiting(0)),
        ("max_queue_length(0)", RunnerConfig::builder().max_queue_length(0)),
        ("max_process_queue(0)", RunnerConfig::builder().max_process_queue(0)),
        ("task_timeout(0)", RunnerConfig::builder().task_timeout(Duration::ZERO)),
        ("heartbeat_interval(0)", RunnerConfig::builder().heartbeat_interval(Duration::ZERO)),
        ("heartbeat_interval(1 day)", RunnerConfig::builder().heartbeat_interval(day)),
        ("max_lost(0)", RunnerConfig::builder().max_lost(0)),
        ("max_served_places(0)", RunnerConfig::builder().max_served_places(0)),
        (
            "serve_all_tenants(true).submit_only(true)",
            RunnerConfig::builder().serve_all_tenants(true).submit_only(true),
        ),
    ];
    for (setting, builder) in settings {
        said.note(setting, builder.build().validate());
    }
}

fn workflows(said: &mut Said) {
    said.chapter("Workflows");
    let task = |id: &str| idle(id);
    said.note("no task", build([]));
    said.note("an empty name", Workflow::builder("").task(task("charge")).try_build());
    said.note(
        "a name of the engine's",
        Workflow::builder("cloacina/invoice").task(task("charge")).try_build(),
    );
    said.note("a task without an id", build([task("")]));
    said.note("two tasks of one id", build([task("charge"), task("charge")]));
    said.note("an unknown dependency", build([task("charge"), task("send").dependencies(["chrage"])]));
    said.note(
        "a dependency nothing like any task",
        build([task("charge"), task("send").dependencies(["x"])]),
    );
    said.note("a dependency twice", build([task("charge"), task("send").dependencies(["charge", "charge"])]));
    said.note("a task before itself", build([task("charge").dependencies(["charge"])]));
    said.note(
        "a circle",
        build([task("charge").dependencies(["send"]), task("send").dependencies(["charge"])]),
    );
    said.note(
        "no attempts",
        build([task("charge").retry(RetryPolicy { attempts: 0, ..RetryPolicy::DEFAULT })]),
    );
    said.note("a map of which none runs at once", build([task("charge").map("invoices").parallel(0)]));
    let waits = |wait: Wait| Workflow::builder("invoice").task(idle("charge")).wait(wait).try_build();
    said.note("a wait behind nothing", waits(Wait::signal("paid").after("chrage")));
    said.note("a child of no workflow", waits(Wait::child("ship", "")));
    said.note(
        "a question on a sleep",
        waits(Wait::sleep("rest", Duration::from_secs(1)).ask(Ask::new("go on?"))),
    );
    said.note(
        "two waits for one signal",
        Workflow::builder("invoice")
            .wait(Wait::signal("paid"))
            .wait(Wait::signal("settled").named("paid"))
            .try_build(),
    );
}

async fn submissions(said: &mut Said, database: &Database) {
    said.chapter("Executions");
    let gate = Gate::new();
    let config = quick().max_queue_length(1).max_context_bytes(200);
    let runner = database.configured(config, [workflow("invoice", [gate.task("charge")])]).await;
    said.note("an unknown workflow", runner.execute("invoise", Context::new()).await);
    let submit = || runner.submit("invoice");
    said.note("priority(10)", submit().priority(10).send().await);
    said.note("idempotency_key(\"\")", submit().idempotency_key("").send().await);
    said.note("a key of the engine's", submit().idempotency_key("cloacina/1").send().await);
    said.note("a key of 501 bytes", submit().idempotency_key("k".repeat(501)).send().await);
    said.note("tag(\"\")", submit().tag("").send().await);
    said.note("11 tags", submit().tags((0..11).map(|tag| tag.to_string())).send().await);
    said.note("a large input", submit().input(Context::new().with("text", "x".repeat(300))).send().await);
    let input = Context::new().with("cloacina/parent", 1);
    said.note("an input with a key of the engine's", submit().input(input).send().await);
    said.note("an input with a NUL", submit().input(Context::new().with("text", "a\0b")).send().await);
    let first = submit().idempotency_key("1").input(Context::new().with("cents", 1)).send().await.unwrap();
    said.names.push((first.execution_id.to_string(), "<execution>"));
    gate.started().await;
    let limited = submit().send().await;
    let id = limited.as_ref().unwrap_err().to_string();
    let id = id.split_whitespace().find(|word| Uuid::parse_str(word).is_ok()).unwrap().to_owned();
    said.names.push((id, "<another>"));
    said.note("one more than max_queue_length", limited);
    said.note("a rerun of what runs", first.rerun(RerunFrom::Failed).send().await);
    gate.open(1);
    first.wait_for_completion().await.unwrap();
    let input = Context::new().with("cents", 2);
    said.note("a key with another input", submit().idempotency_key("1").input(input).send().await);
    said.note("cancel of what is over", first.cancel().await);
    said.note("pause of what is over", first.pause().await);
    said.note("a rerun from no task", first.rerun(RerunFrom::Task("chrage")).send().await);
    let nobody = runner.execution(Uuid::nil());
    said.note("the status of no execution", nobody.get_status().await);
    said.note("a signal to no execution", nobody.signal("paid", 1).send().await);
    said.note("a signal by no key", runner.by_key("invoice", "2").signal("paid", 1).send().await);
    runner.shutdown().await.unwrap();
    said.note("a runner that was shut down", runner.execute("invoice", Context::new()).await);
}

async fn waits(said: &mut Said, database: &Database) {
    said.chapter("Waits");
    let ask = Ask::new("Refund?").choices(["yes", "no"]);
    let refund = Workflow::builder("refund").wait(Wait::signal("approved").ask(ask)).build();
    let runner = database.runner([refund]).await;
    let execution = runner.submit("refund").send().await.unwrap();
    said.names.push((execution.execution_id.to_string(), "<refund>"));
    reaches(&execution, ExecutionStatus::Waiting).await;
    said.note("an answer that is no choice", execution.signal("approved", "perhaps").send().await);
    said.note("a signal without a name", execution.signal("", 1).send().await);
    said.note("wake of what does not wait", execution.wake("aproved").await);
    runner.shutdown().await.unwrap();
}

async fn schedules(said: &mut Said, database: &Database) {
    said.chapter("Schedules");
    let runner = database.runner([workflow("report", [idle("t")])]).await;
    let nightly = || Schedule::new("nightly", "report");
    said.note("cron(\"61 2 * * *\")", nightly().cron("61 2 * * *"));
    said.note("cron(\"every night\")", nightly().cron("every night"));
    said.note("zone(\"Europe/Zurch\")", nightly().zone("Europe/Zurch"));
    said.note("zone(\"Mars\")", nightly().zone("Mars"));
    let put = async |schedule: Schedule| runner.schedules().put(schedule).await;
    said.note("no times", put(nightly()).await);
    said.note(
        "a name without letters",
        put(Schedule::new("", "report").every(Duration::from_secs(60))).await,
    );
    said.note("every(1 s)", put(nightly().every(Duration::from_secs(1))).await);
    said.note("cron(\"0 0 30 2 *\")", put(nightly().cron("0 0 30 2 *").unwrap()).await);
    let hourly = || nightly().cron("0 * * * *").unwrap();
    said.note("catch_up(All) without a window", put(hourly().catch_up(CatchUp::All)).await);
    said.note("priority(10)", put(hourly().priority(10)).await);
    said.note("at_most(0)", put(hourly().at_most(0)).await);
    put(hourly()).await.unwrap();
    said.note("trigger(\"nightli\")", runner.schedules().trigger("nightli").await);
    said.note("pause(\"x\")", runner.schedules().pause("x", "").await);
    let year = Timestamp::UNIX_EPOCH..Timestamp::UNIX_EPOCH + Duration::from_secs(365 * 86_400);
    said.note("a backfill of 8,760 times", runner.schedules().backfill("nightly", year).dry_run().await);
    runner.shutdown().await.unwrap();
}

struct Bank;

async fn state(said: &mut Said, database: &Database) {
    said.chapter("State");
    let task = idle("charge").asks_for::<Bank>();
    let workflow = workflow("invoice", [task.retry(attempts(1))]);
    let opened = database.builder().workflow(workflow).build().await;
    said.note("a task whose state nobody gave", opened);
}

/// Everything but PostgreSQL's own words is the same on both databases, so a file is enough.
#[cfg(all(feature = "sqlite", feature = "postgres"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_inputs_are_refused_in_words_that_help() {
    let database = Database::sqlite();
    let directory = database.path().unwrap().parent().unwrap().to_owned();
    let mut said = Said::default();
    said.names.push((directory.canonicalize().unwrap().display().to_string(), "<directory>"));
    said.names.push((directory.display().to_string(), "<directory>"));
    Box::pin(urls(&mut said, &directory)).await;
    settings(&mut said);
    workflows(&mut said);
    Box::pin(submissions(&mut said, &database)).await;
    Box::pin(waits(&mut said, &database.of("globex"))).await;
    Box::pin(schedules(&mut said, &database.of("initech"))).await;
    Box::pin(state(&mut said, &database.of("umbrella"))).await;
    assert!(said.count >= 60, "{}", said.count);

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/messages.txt");
    if std::env::var_os("CLOACINA_UPDATE").is_some() {
        std::fs::write(path, &said.text).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        expected == said.text,
        "{path} is not what is said: run this test with CLOACINA_UPDATE=1, and read the difference\n{}",
        said.text
    );
}
