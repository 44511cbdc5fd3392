//! Several processes on one database.
//!
//! The other process is this very program, told by variables to play a part: [`another_process`] is a test
//! that does nothing where they are not set.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use cloacina::runner::{Runner, RunnerBuilder};
use cloacina::{
    AttemptOutcome, Context, ErrorKind, ExecutionStatus, TaskDefinition, TaskError, TaskState, Workflow,
};
use uuid::Uuid;

use crate::limit::Meter;
use crate::support::{Database, Gate, assert_error, idle, in_time, quick, task, task_of, until, workflow};

const PART: &str = "CLOACINA_TEST_PART";
const URL: &str = "CLOACINA_TEST_PLACE_URL";
const SCHEMA: &str = "CLOACINA_TEST_PLACE_SCHEMA";
const ARGUMENT: &str = "CLOACINA_TEST_ARGUMENT";

/// What the other process writes before what it has to say.
const SAYS: &str = "other process: ";

/// A process that plays a part.
pub(crate) struct Other {
    process: Child,
    stdin: Option<ChildStdin>,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

fn command(part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "process::another_process", "--nocapture"])
        .env(PART, part)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    command
}

impl Other {
    pub(crate) fn start(part: &str, database: &Database, argument: &str) -> Self {
        let mut command = command(part);
        command.env(URL, &database.url).env(ARGUMENT, argument);
        if let Some(schema) = &database.schema {
            command.env(SCHEMA, schema);
        }
        let mut process = command.spawn().unwrap();
        let stdin = process.stdin.take();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, stdin, lines }
    }

    /// The next thing that it says.
    pub(crate) fn says(&mut self) -> String {
        for line in &mut self.lines {
            let line = line.unwrap();
            if let Some((_, words)) = line.split_once(SAYS) {
                return words.to_owned();
            }
        }
        panic!("the other process ended without a word");
    }

    /// Waits until it has ended by itself.
    pub(crate) fn died(mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }

    /// Lets it go on to its end, which has to be a good one.
    pub(crate) fn end(mut self) {
        drop(self.stdin.take());
        let rest: Vec<String> = self.lines.by_ref().map_while(Result::ok).collect();
        assert!(self.process.wait().unwrap().success(), "{}", rest.join("\n"));
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // After `end` there is nothing left to be killed.
        self.process.kill().unwrap_or_default();
        drop(self.process.wait());
    }
}

pub(crate) fn say(words: impl std::fmt::Display) {
    // Past the test harness, which buffers what is printed.
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{SAYS}{words}").unwrap();
    stdout.flush().unwrap();
}

/// Waits until the first process lets us go on.
async fn told_to_go_on() {
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()).unwrap()).await.unwrap();
}

pub(crate) fn place() -> RunnerBuilder {
    let builder = Runner::builder().database_url(std::env::var(URL).unwrap());
    match std::env::var(SCHEMA) {
        Ok(schema) => builder.schema(schema),
        Err(_) => builder,
    }
}

fn argument() -> String {
    std::env::var(ARGUMENT).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process() {
    let Ok(part) = std::env::var(PART) else { return };
    match part.as_str() {
        "control" => control().await,
        "execute" => execute().await,
        "crash" => crash().await,
        "bulk" => crate::bulk::dies_in_the_midst().await,
        "serial" => crate::children::takes_part_in_serial(Path::new(&argument())).await,
        "submit" => submit().await,
        "note" => note_many().await,
        "environment" => environment().await,
        "read only" => read_only().await,
        "full" => full().await,
        "process limit" => process_limit().await,
        #[cfg(feature = "sqlite")]
        "thousand files" => crate::rest::thousand_files().await,
        #[cfg(feature = "sqlite")]
        "few descriptors" => crate::rest::few_descriptors().await,
        #[cfg(feature = "sqlite")]
        "no descriptors" => crate::rest::no_descriptors().await,
        other => panic!("there is no part `{other}`"),
    }
}

/// Tasks that the tests of this file run in either process; their shape is the same in both.
fn steps(second: TaskDefinition) -> Workflow {
    workflow("steps", [idle("first"), second.dependencies(["first"]), idle("third").dependencies(["second"])])
}

/// Does to an execution what the argument says: `cancel <id>`.
async fn control() {
    let runner = place().workflow(steps(idle("second"))).submit_only().build().await.unwrap();
    let argument = argument();
    let (verb, id) = argument.split_once(' ').unwrap();
    let execution = runner.execution(id.parse().unwrap());
    match verb {
        "cancel" => execution.cancel().await.unwrap(),
        "pause" => execution.pause().await.unwrap(),
        other => panic!("{other}"),
    }
    assert!(matches!(
        execution.get_status().await.unwrap(),
        ExecutionStatus::Cancelled | ExecutionStatus::Paused
    ));
    runner.shutdown().await.unwrap();
}

/// Runs what there is to run until it is told to end.
async fn execute() {
    let runner = place().workflow(steps(idle("second"))).build().await.unwrap();
    say("ready");
    told_to_go_on().await;
    runner.shutdown().await.unwrap();
}

/// Dies in the middle of a task.
async fn crash() {
    let deadly = task("second", |_| async { std::process::abort() });
    let runner = place().workflow(steps(deadly)).build().await.unwrap();
    match argument().as_str() {
        "" => drop(runner.execute("steps", Context::new()).await),
        _ => std::future::pending().await,
    }
}

async fn submit() {
    let runner = place().workflow(steps(idle("second"))).submit_only().build().await.unwrap();
    say("ready");
    told_to_go_on().await;
    let input = Context::new().with("n", 1);
    let ids = futures(20, |n| {
        runner.submit("steps").input(input.clone()).idempotency_key(format!("key {n}")).send()
    })
    .await;
    for execution in ids {
        say(execution.unwrap().execution_id);
    }
    runner.shutdown().await.unwrap();
}

/// Runs many futures at once and returns what they return, in their order.
async fn futures<F>(count: usize, make: impl Fn(usize) -> F) -> Vec<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let tasks: Vec<_> = (0..count).map(|n| tokio::spawn(make(n))).collect();
    let mut outputs = Vec::new();
    for task in tasks {
        outputs.push(task.await.unwrap());
    }
    outputs
}

/// A workflow whose tasks write a line for every time that they run.
fn noting(path: &Path) -> Workflow {
    let note = |id: &str| {
        let path = PathBuf::from(path);
        task(id, move |context| {
            let path = path.clone();
            async move {
                let mut file =
                    fs::OpenOptions::new().append(true).create(true).open(path).map_err(TaskError::new)?;
                let info = context.task();
                // One write of less than a page: lines of two processes do not mix.
                file.write_all(format!("{} {}\n", info.execution_id(), info.task_id()).as_bytes())
                    .map_err(TaskError::new)?;
                Ok(context)
            }
        })
    };
    let fan = ["a", "b", "c"];
    let tasks = fan.map(|id| note(id).dependencies(["root"]));
    workflow("note", [note("root")].into_iter().chain(tasks).chain([note("join").dependencies(fan)]))
}

async fn note_many() {
    let runner = place().workflow(noting(Path::new(&argument()))).build().await.unwrap();
    say("ready");
    let executions = futures(50, |_| {
        let runner = runner.clone();
        async move { runner.execute("note", Context::new()).await }
    });
    for result in executions.await {
        assert!(result.unwrap().status.is_success());
    }
    say("done");
    told_to_go_on().await;
    runner.shutdown().await.unwrap();
}

on_each_store! {
    async fn a_cancellation_by_another_process_reaches_the_task(database: Database) {
        let gate = Gate::new();
        let runner = database.runner([steps(gate.task("second"))]).await;
        let execution = runner.execute_async("steps", Context::new()).await.unwrap();
        let info = gate.started().await;
        Other::start("control", &database, &format!("cancel {}", execution.execution_id)).end();
        in_time(info.cancellation().cancelled()).await;
        let result = execution.wait_for_completion().await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Cancelled);
        assert_eq!(result.error_message.as_deref(), Some("cancelled by request"));
        assert_eq!(task_of(&result, "third").state, TaskState::Cancelled);
        runner.shutdown().await.unwrap();
    }

    async fn a_pause_by_another_process_holds(database: Database) {
        let gate = Gate::new();
        let runner = database.runner([steps(gate.task("second"))]).await;
        let execution = runner.execute_async("steps", Context::new()).await.unwrap();
        gate.started().await;
        Other::start("control", &database, &format!("pause {}", execution.execution_id)).end();
        gate.open(1);
        until(async || {
            let now = runner.get_execution(execution.execution_id).await.unwrap();
            task_of(&now, "second").state == TaskState::Completed
        }).await;
        assert!(execution.wait_for(Duration::from_millis(200)).await.unwrap().is_none());
        let now = runner.get_execution(execution.execution_id).await.unwrap();
        assert_eq!((now.status, task_of(&now, "third").attempts), (ExecutionStatus::Paused, 0));
        execution.resume().await.unwrap();
        assert!(execution.wait_for_completion().await.unwrap().status.is_success());
        runner.shutdown().await.unwrap();
    }

    async fn a_submitter_waits_for_what_another_process_runs(database: Database) {
        let runner = database.configured(quick().submit_only(true), [steps(idle("second"))]).await;
        let mut other = Other::start("execute", &database, "");
        assert_eq!(other.says(), "ready");
        for _ in 0..3 {
            let result = runner.execute("steps", Context::new().with("n", 1)).await.unwrap();
            assert_eq!(result.status, ExecutionStatus::Completed);
            assert_eq!(result.final_context.get::<i32>("n"), Some(1));
        }
        other.end();
        runner.shutdown().await.unwrap();
    }

    async fn the_work_of_a_process_that_died_is_taken_back_at_once(database: Database) {
        let mut other = Other::start("crash", &database, "");
        assert!(!other.process.wait().unwrap().success());
        // Its lease would last for half a minute.
        let runner = database.runner([steps(idle("second"))]).await;
        let listed = runner.list_executions().await.unwrap();
        let execution = runner.execution(listed[0].execution_id);
        let result = execution.wait_for(Duration::from_secs(20)).await.unwrap().unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed);
        let history = execution.history().await.unwrap();
        let seen: Vec<_> = history.iter().map(|attempt| (attempt.task_id.as_str(), attempt.outcome)).collect();
        assert_eq!(seen, [
            ("first", AttemptOutcome::Completed),
            ("second", AttemptOutcome::Lost),
            ("second", AttemptOutcome::Completed),
            ("third", AttemptOutcome::Completed),
        ]);
        assert_ne!(history[1].runner_id, history[2].runner_id);
        runner.shutdown().await.unwrap();
    }

    async fn a_task_that_keeps_killing_its_process_is_given_up(database: Database) {
        // Three times: at the first by the execution itself, then by whoever takes it over.
        for n in 0..3 {
            let mut other = Other::start("crash", &database, if n == 0 { "" } else { "take over" });
            assert!(!other.process.wait().unwrap().success());
        }
        let runner = database.runner([steps(idle("second"))]).await;
        let id = runner.list_executions().await.unwrap()[0].execution_id;
        let result = runner.execution(id).wait_for_completion().await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Failed);
        assert!(result.error_message.as_deref().unwrap().contains("3 times"), "{result:?}");
        runner.shutdown().await.unwrap();
    }

    async fn two_processes_that_submit_under_one_key_make_one_execution(database: Database) {
        let runner = database.configured(quick().submit_only(true), [steps(idle("second"))]).await;
        let mut other = Other::start("submit", &database, "");
        assert_eq!(other.says(), "ready");
        writeln!(other.stdin.as_mut().unwrap(), "go on").unwrap();
        let input = Context::new().with("n", 1);
        let executions = futures(20, |n| {
            runner.submit("steps").input(input.clone()).idempotency_key(format!("key {n}")).send()
        });
        for execution in executions.await {
            let theirs: Uuid = other.says().parse().unwrap();
            assert_eq!(execution.unwrap().execution_id, theirs);
        }
        assert_eq!(runner.list_executions().await.unwrap().len(), 20);
        let error = runner.submit("steps").idempotency_key("key 1").send().await.unwrap_err();
        assert_error(&error, ErrorKind::Conflict, "key 1");
        other.end();
        runner.shutdown().await.unwrap();
    }

    async fn two_processes_share_the_work_and_no_task_runs_twice(database: Database) {
        let notes = tempfile::tempdir().unwrap();
        let path = notes.path().join("notes");
        let runner = database.runner([noting(&path)]).await;
        let mut other = Other::start("note", &database, path.to_str().unwrap());
        assert_eq!(other.says(), "ready");
        let executions = futures(50, |_| {
            let runner = runner.clone();
            async move { runner.execute("note", Context::new()).await }
        });
        for result in executions.await {
            let result = result.unwrap();
            assert!(result.status.is_success());
            assert!(result.task_results.iter().all(|task| task.attempts == 1), "{result:?}");
        }
        assert_eq!(tokio::task::spawn_blocking(move || {
            let words = other.says();
            other.end();
            words
        }).await.unwrap(), "done");
        let listed = runner.list_executions().await.unwrap();
        assert_eq!(listed.len(), 100);
        assert!(listed.iter().all(|execution| execution.status == ExecutionStatus::Completed));
        let text = fs::read_to_string(&path).unwrap();
        let lines: HashSet<&str> = text.lines().collect();
        assert_eq!((lines.len(), text.lines().count()), (500, 500));
        runner.shutdown().await.unwrap();
    }
}

/// Runs a part that asserts by itself.
#[track_caller]
fn play(part: &str, database: &Database, variables: &[(&str, &str)]) {
    let mut command = command(part);
    command.env(URL, &database.url).envs(variables.iter().copied()).stderr(Stdio::piped());
    for name in [
        "DATABASE_URL",
        "TENANT_ID",
        "DEFAULT_SCHEMA",
        "MAX_CONCURRENT_TASKS",
        "TASK_TIMEOUT_SECONDS",
        "DB_POOL_SIZE",
    ] {
        if !variables.iter().any(|(given, _)| *given == name) {
            command.env_remove(name);
        }
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Opens what the environment names, and finds what the argument says: the name of the place, or words of an
/// error.
async fn environment() {
    let expected = argument();
    match (Runner::from_env().await, expected.split_once(": ")) {
        (Ok(runner), None) => {
            assert_eq!(runner.place(), expected);
            runner.shutdown().await.unwrap();
        }
        (Err(error), Some(("error", words))) => assert_error(&error, ErrorKind::Configuration, words),
        (other, _) => panic!("{other:?} is not {expected}"),
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn a_runner_can_be_described_by_the_environment() {
    let database = Database::sqlite();
    let all = [
        ("DATABASE_URL", database.url.as_str()),
        ("MAX_CONCURRENT_TASKS", "8"),
        ("TASK_TIMEOUT_SECONDS", "300"),
        ("DB_POOL_SIZE", "10"),
        ("TENANT_ID", ""),
        (ARGUMENT, "acme"),
    ];
    play("environment", &database, &all);
    for (name, value, words) in [
        ("DATABASE_URL", "", "error: DATABASE_URL is not set"),
        ("MAX_CONCURRENT_TASKS", "many", "error: MAX_CONCURRENT_TASKS is `many`"),
        ("MAX_CONCURRENT_TASKS", "-1", "error: MAX_CONCURRENT_TASKS is `-1`"),
        ("MAX_CONCURRENT_TASKS", "0", "error: max_concurrent_tasks is 0"),
        ("TASK_TIMEOUT_SECONDS", "1.5", "error: TASK_TIMEOUT_SECONDS is `1.5`"),
        ("DB_POOL_SIZE", "99999999999", "error: DB_POOL_SIZE is `99999999999`"),
        ("TENANT_ID", "acme", "error: a file of its own"),
    ] {
        let mut variables: Vec<_> =
            all.into_iter().filter(|(given, _)| *given != name && *given != ARGUMENT).collect();
        variables.extend([(name, value), (ARGUMENT, words)]);
        play("environment", &database, &variables);
    }
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_environment_names_the_schema() {
    let database = Database::postgres().await;
    let url = ("DATABASE_URL", database.url.as_str());
    for (variables, place) in [
        (vec![url], "cloacina_main"),
        (vec![url, ("DEFAULT_SCHEMA", "billing")], "billing"),
        (vec![url, ("DEFAULT_SCHEMA", "public")], "public"),
        (
            vec![url, ("DEFAULT_SCHEMA", "public"), ("TENANT_ID", "production_tenant_123")],
            "production_tenant_123",
        ),
        (vec![url, ("TENANT_ID", "tenant-123")], "error: \"tenant-123\""),
    ] {
        let variables: Vec<_> = variables.into_iter().chain([(ARGUMENT, place)]).collect();
        play("environment", &database, &variables);
    }
}

async fn read_only() {
    let error = Runner::new(&std::env::var(URL).unwrap()).await.unwrap_err();
    assert_error(&error, ErrorKind::Place, "acme.db");
    assert_error(&error, ErrorKind::Place, "cannot be written");
}

#[cfg(all(feature = "sqlite", unix))]
#[tokio::test]
async fn a_file_that_may_not_be_written_is_refused() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;

    let database = Database::sqlite();
    database.run(Context::new(), [idle("t")]).await;
    let path = database.path().unwrap();
    let directory = path.parent().unwrap().to_owned();
    let permit = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let program = directory.join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    permit(&program, 0o555);
    permit(&path, 0o444);
    permit(&directory, 0o555);
    let mut command = Command::new(&program);
    command.args(["--exact", "process::another_process"]).env(PART, "read only").env(URL, &database.url);
    // Root may write everything.
    if fs::metadata(&path).unwrap().uid() == 0 {
        command.uid(65534).gid(65534);
    }
    let output = command.current_dir("/").output().unwrap();
    permit(&directory, 0o755);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Submits until nothing more can be written, and says what was accepted.
async fn full() {
    let runner = place().workflow(steps(idle("second"))).submit_only().build().await.unwrap();
    let large = Context::new().with("text", "x".repeat(10_000));
    loop {
        match runner.execute_async("steps", large.clone()).await {
            Ok(execution) => say(execution.execution_id),
            Err(error) => {
                assert_error(&error, ErrorKind::Place, "acme.db");
                say("full");
                break;
            }
        }
    }
    assert!(!runner.list_executions().await.unwrap().is_empty(), "what is there can still be read");
    std::process::exit(0);
}

#[cfg(all(feature = "sqlite", unix))]
#[tokio::test]
async fn a_full_disk_is_an_error_and_loses_nothing() {
    let database = Database::sqlite();
    database.run(Context::new(), [idle("t")]).await;
    // A process that may write files of 1 MiB only is as good as a disk that is full. The signal would kill
    // it otherwise.
    let limited = "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\"";
    let output = Command::new("sh")
        .args(["-c", limited])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "process::another_process", "--nocapture"])
        .env(PART, "full")
        .env(URL, &database.url)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let said: Vec<&str> = said.lines().filter_map(|line| Some(line.split_once(SAYS)?.1)).collect();
    let (last, accepted) = said.split_last().unwrap();
    assert_eq!(*last, "full");
    assert!(accepted.len() > 10, "{accepted:?}");
    let runner = database.runner([steps(idle("second"))]).await;
    for id in accepted {
        let result = in_time(runner.execution(id.parse().unwrap()).wait_for_completion()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed);
    }
    runner.shutdown().await.unwrap();
}

/// The limit of the process holds over all its tenants.
async fn process_limit() {
    let (meter, mine) = (Meter::default(), [Meter::default(), Meter::default(), Meter::default()]);
    let directory = tempfile::tempdir().unwrap();
    let mut runners = Vec::new();
    for (n, mine) in mine.iter().enumerate() {
        let tasks = (0..10).map(|t| meter.with(mine).task(&format!("t{t}")));
        let config = quick().max_process_tasks(4).max_concurrent_tasks(n + 1).workflow(workflow("w", tasks));
        let url = format!("sqlite://{}/{n}.db", directory.path().display());
        runners.push(Runner::with_config(&url, config.build()).await.unwrap());
    }
    let mut executions = Vec::new();
    for _ in 0..5 {
        for runner in &runners {
            executions.push(runner.execute_async("w", Context::new()).await.unwrap());
        }
    }
    for execution in executions {
        assert!(in_time(execution.wait_for_completion()).await.unwrap().status.is_success());
    }
    assert_eq!(meter.most(), 4);
    for (n, mine) in mine.iter().enumerate() {
        assert!(mine.most() <= n + 1, "tenant {n}: {}", mine.most());
    }
    for runner in runners {
        runner.shutdown().await.unwrap();
    }
}

// The limit is the whole process's, so the test has to have one for itself.
#[cfg(feature = "sqlite")]
#[test]
fn all_tenants_together_never_run_more_tasks_than_the_process_may() {
    play("process limit", &Database::sqlite(), &[]);
}

/// A tenant that nobody opened since its process died is served by another one.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_work_of_a_process_that_died_is_taken_back_where_nobody_opens_its_place() {
    let database = Database::postgres().await;
    let mut other = Other::start("crash", &database.of("globex"), "");
    assert!(!other.process.wait().unwrap().success());
    let server = database.configured(quick().serve_all_tenants(true), [steps(idle("second"))]).await;
    let state = "SELECT state FROM globex.workflow_executions";
    until(async || crate::tenant::schemas::query(&database.url, state).await == "completed").await;
    server.shutdown().await.unwrap();
}

/// So is one that logged in as itself: the operator has no password of its, and needs none.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_work_of_a_tenants_own_process_that_died_is_taken_back_by_the_operator() {
    let administered = crate::admin::Administered::by_a_provisioner().await;
    let credentials = administered.tenant("acme").await;
    let own = Database { url: credentials.connection_string, schema: None, ..Database::postgres().await };
    let mut other = Other::start("crash", &own, "");
    assert!(!other.process.wait().unwrap().success());
    let operator =
        Database { url: administered.url.clone(), schema: Some("globex".to_owned()), ..own.clone() };
    let server = operator.configured(quick().serve_all_tenants(true), [steps(idle("second"))]).await;
    let state = "SELECT state FROM acme.workflow_executions";
    until(async || crate::tenant::schemas::query(&administered.superuser_url, state).await == "completed")
        .await;
    server.shutdown().await.unwrap();
}

/// And the other way round, at the latest when its lease has ended.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_work_of_an_operators_process_that_died_is_taken_back_by_the_tenants_own() {
    let administered = crate::admin::Administered::by_a_provisioner().await;
    let credentials = administered.tenant("acme").await;
    let operator = Database {
        url: administered.url.clone(),
        schema: Some("acme".to_owned()),
        ..Database::postgres().await
    };
    let mut other = Other::start("crash", &operator, "");
    assert!(!other.process.wait().unwrap().success());
    // As if its lease had been short: a tenant is not told where an operator's process runs, and waits for
    // it.
    let silent = "UPDATE cloacina.runner SET lease_ms = 100 WHERE tenant_id IS NULL";
    crate::tenant::schemas::sql(&administered.superuser_url, silent).await;
    let own = Database { url: credentials.connection_string, schema: None, ..operator.clone() };
    let runner = own.runner([steps(idle("second"))]).await;
    until(async || {
        let ended = runner.list_executions().await.unwrap();
        ended.iter().all(|execution| execution.status == ExecutionStatus::Completed)
    })
    .await;
    runner.shutdown().await.unwrap();
}

/// A file at rest, and another process that uses it.
#[cfg(feature = "sqlite")]
mod rest {
    use super::*;
    use crate::rest::open_in;

    /// Waits until nobody here has the file open.
    async fn at_rest(database: &Database) {
        let path = database.path().unwrap();
        until(async || !open_in(path.parent().unwrap()).contains(&path)).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_another_process_submits_to_a_file_at_rest_is_run() {
        let database = Database::sqlite();
        let gate = Gate::new();
        let runner = database.runner([steps(gate.task("second"))]).await;
        let mut other = Other::start("submit", &database, "");
        assert_eq!(other.says(), "ready");
        at_rest(&database).await;
        gate.open(20);
        drop(other.stdin.take());
        for _ in 0..20 {
            gate.started().await;
        }
        other.end();
        runner.shutdown().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_work_of_a_process_that_died_is_taken_back_by_a_runner_that_rested() {
        let database = Database::sqlite();
        let runner = database.runner([steps(idle("second"))]).await;
        at_rest(&database).await;
        let mut other = Other::start("crash", &database, "");
        assert!(!other.process.wait().unwrap().success());
        // Without a call of ours, which would wake it.
        let ended = || {
            let connection = rusqlite::Connection::open(database.path().unwrap()).unwrap();
            let sql = "SELECT count(*) FROM workflow_executions WHERE state = 'completed'";
            connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
        };
        until(async || ended() == 1).await;
        runner.shutdown().await.unwrap();
    }
}
