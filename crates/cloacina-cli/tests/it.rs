//! The command as a shell runs it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cloacina::database::{Database, DatabaseAdmin};
use cloacina::tenants::{TenantManager, TenantManagerBuilder};
use cloacina::{Context, TaskError, Wait, Workflow, task, workflow};
use cloacina_testing::cluster::Cluster;
use serde_json::Value;

#[task]
async fn greet(context: &mut Context) -> Result<(), TaskError> {
    if context.get::<bool>("fail").unwrap_or_default() {
        return Err(TaskError::fatal("the printer is on fire"));
    }
    context.set("greeting", "hello");
    Ok(())
}

#[workflow]
fn hello() -> Workflow {
    Workflow::builder("hello").task(greet).build()
}

#[workflow]
fn asks() -> Workflow {
    Workflow::builder("asks").wait(Wait::signal("go")).build()
}

/// Where the engine is, as the command line says it.
struct Engine {
    place: Vec<String>,
    /// In this process: it has the code.
    tenants: TenantManager,
    _directory: tempfile::TempDir,
}

/// What came of a command.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Engine {
    async fn over(place: [&str; 2], builder: TenantManagerBuilder, directory: tempfile::TempDir) -> Self {
        let tenants = builder.build().await.unwrap();
        let place = place.map(str::to_owned).to_vec();
        Self { place, tenants, _directory: directory }
    }

    async fn files() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tenants");
        let builder = TenantManager::sqlite(&path);
        Self::over(["--directory", path.to_str().unwrap()], builder, directory).await
    }

    async fn postgres() -> Self {
        let url = Cluster::shared().unwrap().fresh_database().await.unwrap();
        let builder = TenantManager::postgres(&url);
        Self::over(["--database", &url], builder, tempfile::tempdir().unwrap()).await
    }

    async fn run(&self, arguments: &[&str]) -> Ran {
        let place: Vec<&str> = self.place.iter().map(String::as_str).collect();
        run(&[&place, arguments].concat()).await
    }

    /// The same where it has to succeed; what it prints.
    async fn done(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments).await;
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.err);
        ran.out
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let out = self.done(&[arguments, &["--json"]].concat()).await;
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}"))
    }
}

/// What is done to the tables of a tenant behind the engine's back.
enum Alter {
    /// There are none.
    Empty,
    /// A newer program made them.
    Newer,
}

impl Engine {
    async fn alter(&self, tenant: &str, how: Alter) {
        if self.place[0] == "--directory" {
            let path = Path::new(&self.place[1]).join(format!("{tenant}.db"));
            match how {
                Alter::Empty => std::fs::write(path, "").unwrap(),
                Alter::Newer => {
                    let newer = "UPDATE cloacina_place SET schema_version = 99, min_reader = 99";
                    rusqlite::Connection::open(path).unwrap().execute_batch(newer).unwrap();
                }
            }
            return;
        }
        let statements = match how {
            Alter::Empty => format!(
                "DO $$ DECLARE schema text; BEGIN SELECT schema_name INTO schema FROM cloacina.tenant WHERE name = '{tenant}';
                 EXECUTE format('DROP SCHEMA %I CASCADE', schema); EXECUTE format('CREATE SCHEMA %I', schema);
                 UPDATE cloacina.tenant SET schema_version = 0, min_reader = 0 WHERE name = '{tenant}'; END $$"
            ),
            Alter::Newer => {
                format!("UPDATE cloacina.tenant SET schema_version = 99, min_reader = 99 WHERE name = '{tenant}'")
            }
        };
        sql(&self.place[1], &statements).await;
    }
}

/// Runs statements in a PostgreSQL database.
async fn sql(url: &str, statements: &str) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    client.batch_execute(statements).await.unwrap();
    drop(client);
    _ = connection.await;
}

async fn run(arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloacina"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CLOACINA_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

macro_rules! on_both {
    ($(async fn $name:ident($engine:ident: Engine) $body:block)*) => {
        on_both!(@ files $($name $engine $body)*);
        on_both!(@ postgres $($name $engine $body)*);
    };
    (@ $database:ident $($name:ident $engine:ident $body:block)*) => {
        mod $database {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let $engine = Engine::$database().await;
                    $body
                }
            )*
        }
    };
}

on_both! {
    async fn tables_are_migrated_and_newer_ones_refused(engine: Engine) {
        for tenant in ["acme", "globex"] {
            engine.done(&["tenants", "create", tenant]).await;
        }
        let out = engine.done(&["migrate"]).await;
        assert!(out.contains("are up to date") && !out.contains("acme"), "{out}");
        // The tables of one are gone, as in a place that was never used.
        engine.alter("acme", Alter::Empty).await;
        let dry = engine.json(&["migrate", "--dry-run"]).await;
        let of = |all: &Value, tenant: &str| {
            let of = all.as_array().unwrap().iter().find(|of| of["tenant"] == tenant);
            of.unwrap_or_else(|| panic!("{tenant}: {all}")).clone()
        };
        assert_eq!(of(&dry, "acme")["version"], 0);
        assert_eq!(of(&dry, "acme")["state"], "to be migrated");
        assert_eq!(of(&engine.json(&["migrate", "--dry-run"]).await, "acme")["version"], 0, "it was only said");
        let done = engine.json(&["migrate"]).await;
        assert_eq!(of(&done, "acme")["state"], "up to date");
        assert_eq!(engine.tenants.runner("acme").await.unwrap().list_executions().await.unwrap().len(), 0);

        engine.alter("globex", Alter::Newer).await;
        for arguments in [&["migrate"][..], &["migrate", "--dry-run"]] {
            let ran = engine.run(arguments).await;
            assert_eq!(ran.code, 1, "{}", ran.out);
            assert!(ran.err.contains("globex is newer than this program"), "{}", ran.err);
            assert!(ran.err.contains("update this program"), "{}", ran.err);
        }
        let ran = engine.run(&["doctor", "--tenant", "globex"]).await;
        assert!(ran.code == 8 && ran.out.contains("update this program"), "{}{}", ran.out, ran.err);
    }

    async fn an_execution_is_submitted_waited_for_shown_and_run_again(engine: Engine) {
        engine.done(&["tenants", "create", "acme"]).await;
        // Somebody has the code.
        let acme = engine.tenants.runner("acme").await.unwrap();
        let shown = engine.done(&["executions", "submit", "hello", "--wait"]).await;
        assert!(shown.contains("completed") && shown.contains("\"greeting\": \"hello\""), "{shown}");

        let failed = engine.run(&["executions", "submit", "hello", "--input", r#"{"fail": true}"#, "--wait"]).await;
        assert_eq!(failed.code, 1);
        assert!(failed.out.contains("the printer is on fire"), "{}", failed.out);
        let everywhere = engine.done(&["executions", "list", "--all-tenants", "--status", "failed", "--since", "1h"]).await;
        assert!(everywhere.contains("acme") && everywhere.contains("the printer is on fire"), "{everywhere}");
        let list = engine.json(&["executions", "list", "--failed", "--since", "1h"]).await;
        let id = list[0]["id"].as_str().unwrap();
        let dry = engine.done(&["executions", "rerun", "--failed", "--since", "1h", "--dry-run"]).await;
        assert!(dry.contains("1 executions"), "{dry}");
        // Without somebody to ask, nothing is done.
        assert_eq!(engine.run(&["executions", "rerun", "--failed"]).await.code, 2);
        let done = engine.done(&["executions", "rerun", "--failed", "--pace", "50", "--yes"]).await;
        assert!(done.contains("done with 1 of 1"), "{done}");
        let old = engine.json(&["executions", "show", id]).await;
        // This process has no code, and knows what a task does all the same.
        assert_eq!(old["tasks"][0]["kind"], "task", "{old}");
        assert!(old["superseded_by"].is_string() && old["attempts"][0]["outcome"] == "failed", "{old}");
        drop(acme);
        engine.tenants.shutdown_all().await.unwrap();
    }

    async fn what_waits_is_listed_and_answered(engine: Engine) {
        engine.done(&["tenants", "create", "acme"]).await;
        let acme = engine.tenants.runner("acme").await.unwrap();
        let execution = acme.execute_async("asks", Context::new()).await.unwrap();
        while execution.waits().await.unwrap().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let id = execution.execution_id.to_string();
        let waits = engine.done(&["waits", "list"]).await;
        assert!(waits.contains("signal go") && waits.contains(&id), "{waits}");
        let shown = engine.done(&["executions", "show", &id]).await;
        assert!(shown.contains("waits for the signal `go`; since"), "{shown}");
        assert_eq!(engine.done(&["signals", "send", &id, "go", "--payload", "7"]).await, "delivered\n");
        engine.done(&["executions", "watch", &id]).await;
        let late = engine.done(&["signals", "send", &id, "go"]).await;
        assert!(late.contains("is over"), "{late}");
        engine.tenants.shutdown_all().await.unwrap();
    }

    async fn schedules_are_put_shown_and_deleted(engine: Engine) {
        engine.done(&["tenants", "create", "acme"]).await;
        let put = ["schedules", "put", "nightly", "--workflow", "hello", "--cron", "0 2 * * *", "--zone", "Europe/Zurich"];
        let preview = engine.done(&[&put[..], &["--dry-run"]].concat()).await;
        assert_eq!(preview.lines().count(), 10, "{preview}");
        assert!(engine.done(&["schedules", "list"]).await.contains("there is no schedule"));
        engine.done(&put).await;
        let shown = engine.done(&["schedules", "show", "nightly"]).await;
        assert!(shown.contains("0 2 * * * (Europe/Zurich)") && shown.contains("next  "), "{shown}");
        let wrong = engine.run(&["schedules", "put", "x", "--workflow", "hello", "--cron", "99 * * * *"]).await;
        assert_eq!(wrong.code, 1);
        assert!(wrong.err.contains("99 * * * *"), "{}", wrong.err);
        engine.done(&["schedules", "delete", "nightly", "--yes"]).await;
        assert_eq!(engine.run(&["schedules", "show", "nightly"]).await.code, 3);
        engine.tenants.shutdown_all().await.unwrap();
    }

    async fn exit_codes_say_what_kind_of_error_it_is(engine: Engine) {
        engine.done(&["tenants", "create", "acme"]).await;
        let nothing = "0192f0c1-2a3b-7c4d-8e5f-001122334455";
        for (arguments, code) in [
            (vec!["executions", "show", nothing], 3),
            (vec!["executions", "list", "--tenant", "globex"], 3),
            (vec!["tenants", "create", "acme"], 5),
            (vec!["executions", "list", "--status", "broken"], 1),
            (vec!["executions", "cancel"], 1),
            (vec!["executions", "frobnicate"], 2),
            (vec!["tenants", "remove", "acme"], 2),
        ] {
            let ran = engine.run(&arguments).await;
            assert_eq!(ran.code, code, "{arguments:?}: {}", ran.err);
            assert!(!ran.err.is_empty(), "{arguments:?}");
            // A connection string has a password.
            assert!(!ran.err.contains("postgres://") && !ran.err.contains("postgresql://"), "{}", ran.err);
        }
        engine.done(&["tenants", "remove", "acme", "--yes"]).await;
        engine.tenants.shutdown_all().await.unwrap();
    }

    async fn a_service_is_used_with_a_key_and_ends_when_it_is_told_to(engine: Engine) {
        engine.done(&["tenants", "create", "acme"]).await;
        let mut service = Service::start(&engine.place).await;
        let list = service.run(&["executions", "list", "--tenant", "acme"]).await;
        assert_eq!(list.code, 0, "{}", list.err);
        let submitted = service.run(&["executions", "submit", "elsewhere", "--tenant", "acme"]).await;
        assert_eq!(submitted.code, 0, "{}", submitted.err);
        let viewer = service.run(&["keys", "create", "eye", "--tenant", "acme", "--role", "viewer"]).await;
        service.key = viewer.out.trim().to_owned();
        let refused = service.run(&["executions", "cancel", submitted.out.trim(), "--tenant", "acme", "--yes"]).await;
        assert_eq!(refused.code, 4, "{}", refused.err);
        service.key = "clc_wrong".to_owned();
        assert_eq!(service.run(&["tenants", "list"]).await.code, 4);
        assert!(service.ends());
        let gone = service.run(&["tenants", "list"]).await;
        assert_eq!(gone.code, 6, "{}", gone.err);
        engine.tenants.shutdown_all().await.unwrap();
    }
}

/// `cloacina serve`, as a process.
struct Service {
    process: Child,
    address: String,
    key: String,
}

impl Service {
    async fn start(place: &[String]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloacina"));
        command
            .args(place)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let out = process.stdout.take().unwrap();
        let (key, address) = tokio::task::spawn_blocking(move || {
            let mut lines = BufReader::new(out).lines().map_while(Result::ok);
            let after = |line: String, what: &str| line.split(what).nth(1).unwrap_or_default().to_owned();
            let key = after(lines.next().unwrap(), "told here only: ");
            let address = after(lines.next().unwrap(), "The pages are at ");
            (key, address.split("/,").next().unwrap_or_default().to_owned())
        })
        .await
        .unwrap();
        Self { process, address, key }
    }

    async fn run(&self, arguments: &[&str]) -> Ran {
        run(&[&["--server", self.address.as_str(), "--key", self.key.as_str()], arguments].concat()).await
    }

    /// Whether it ends by itself when it is asked to.
    fn ends(&mut self) -> bool {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.process.wait().unwrap().success()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

#[tokio::test]
async fn it_says_where_an_engine_could_be_when_none_is_named() {
    let ran = run(&["tenants", "list"]).await;
    assert_eq!(ran.code, 1);
    for way in ["--database", "--directory", "--server", "CLOACINA_KEY"] {
        assert!(ran.err.contains(way), "{}", ran.err);
    }
    let nothing = run(&["--directory", "/nowhere/at/all", "tenants", "list"]).await;
    assert!(nothing.err.contains("there is no directory /nowhere/at/all"), "{}", nothing.err);
    let nothing = run(&["--database", "sqlite:///nowhere/acme.db", "tenants", "list"]).await;
    assert!(nothing.err.contains("there is no SQLite file"), "{}", nothing.err);
    assert!(!Path::new("/nowhere").exists());
}

#[tokio::test]
async fn a_doctor_finds_what_is_wrong_with_files_and_says_so_by_the_exit_code() {
    let engine = Engine::files().await;
    for tenant in ["acme", "globex"] {
        engine.done(&["tenants", "create", tenant]).await;
    }
    assert!(engine.done(&["doctor"]).await.contains("nothing is wrong"));
    let path = |name: &str| Path::new(&engine.place[1]).join(name);

    // Everybody may write to the one; of the other a page is no page any more.
    let mut mode = std::fs::metadata(path("acme.db")).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o606);
    std::fs::set_permissions(path("acme.db"), mode).unwrap();
    let mut pages = std::fs::read(path("globex.db")).unwrap();
    pages[4096..8192].fill(0x5a);
    std::fs::write(path("globex.db"), pages).unwrap();

    let found = engine.run(&["doctor", "--json"]).await;
    assert_eq!(found.code, 8, "{}{}", found.out, found.err);
    let all: Value = serde_json::from_str(&found.out).unwrap();
    let findings = all["findings"].as_array().unwrap();
    let of = |tenant: &str| {
        let of = findings.iter().find(|finding| finding["place"] == tenant);
        of.unwrap_or_else(|| panic!("{tenant}: {all}")).clone()
    };
    assert!(of("acme")["what"].as_str().unwrap().contains("can be written by everybody"), "{all}");
    assert!(of("acme")["remedy"].as_str().unwrap().starts_with("chmod o-w"), "{all}");
    assert!(of("globex")["what"].as_str().unwrap().contains("damaged"), "{all}");
    let one = engine.run(&["doctor", "--tenant", "acme"]).await;
    assert!(one.code == 8 && !one.out.contains("globex"), "{}", one.out);
    assert_eq!(engine.run(&["doctor", "--tenant", "initech"]).await.code, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_doctor_with_an_administrator_finds_who_may_get_at_a_tenant() {
    let engine = Engine::postgres().await;
    let url = engine.place[1].clone();
    Cluster::shared().unwrap().make_administrator(&url).await.unwrap();
    let admin = ["--admin", url.as_str()];
    let made = engine
        .json(&[&admin[..], &["tenants", "create", "globex", "--placement", "own_role"]].concat())
        .await;
    let schema = made["place"].as_str().unwrap().to_owned();
    // Without an administrator that is not seen, and is said.
    assert!(engine.done(&["doctor", "--tenant", "globex"]).await.contains("not looked at: who may do what"));
    // What every login of a server may do, only a superuser takes away.
    let superuser = Cluster::shared().unwrap().superuser_url_of(&url);
    let name = url.rsplit('/').next().unwrap();
    let preflight = DatabaseAdmin::new(Database::new(&url, name, 2)).preflight().await.unwrap();
    for statement in preflight.hardening.iter().filter(|statement| statement.contains("FUNCTION")) {
        sql(&superuser, statement).await;
    }
    let clean = engine.run(&[&admin[..], &["doctor", "--tenant", "globex"]].concat()).await;
    assert!(clean.code == 0 && clean.out.contains("nothing is wrong"), "{}{}", clean.out, clean.err);
    sql(&superuser, &format!("GRANT USAGE ON SCHEMA {schema} TO PUBLIC")).await;
    let found = engine.run(&[&admin[..], &["doctor", "--tenant", "globex"]].concat()).await;
    assert!(found.code == 8 && found.out.contains("must not be"), "{}{}", found.out, found.err);

    // A service says the same.
    let mut service = Service::start(&engine.place).await;
    let found = service.run(&["doctor", "--json"]).await;
    let all: Value = serde_json::from_str(&found.out).unwrap();
    assert!(!all["skipped"].as_array().unwrap().is_empty(), "{all}");
    assert!(service.run(&["migrate"]).await.err.contains("name its database"));
    assert!(service.ends());
}

#[tokio::test]
async fn a_shell_is_told_how_to_complete_it() {
    let ran = run(&["completions", "bash"]).await;
    assert!(ran.code == 0 && ran.out.contains("cloacina"), "{}", ran.err);
}
