//! Behind a pooler in transaction mode: each transaction may be another server process's.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cloacina::runner::DefaultRunner;
use cloacina::{Context, DefaultRunnerConfig, RetryPolicy, Workflow};
use tempfile::TempDir;

use crate::admin::{Administered, connect};
use crate::support::{in_time, quick, setting, task, until, workflow};

/// pgbouncer before the server of a URL, until it is dropped or this process ends.
struct Pooler {
    process: Child,
    address: String,
    _directory: TempDir,
}

impl Pooler {
    /// For the logins of these URLs.
    async fn start(urls: &[&str]) -> Self {
        let program = find_or_install();
        let directory = tempfile::Builder::new().prefix("cloacina-pooler-").tempdir_in("/tmp").unwrap();
        let (host, port) = address_of(urls[0]).rsplit_once(':').unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let users = directory.path().join("users");
        let settings = directory.path().join("settings");
        // Two server connections for each login, so that tenants take turns on them.
        let text = format!(
            "[databases]\n* = host={host} port={port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {free}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\ndefault_pool_size = 2\n",
            users.display()
        );
        let login = |url: &&str| {
            let (login, _) = url.split_once("://").unwrap().1.split_once('@').unwrap();
            let (user, password) = login.split_once(':').unwrap();
            format!("\"{user}\" \"{password}\"\n")
        };
        fs::write(&settings, text).unwrap();
        fs::write(&users, urls.iter().map(login).collect::<String>()).unwrap();
        // Our end of its input closes with this process, however that ends.
        let mut command = Command::new("sh");
        command
            .args(["-c", "\"$0\" --quiet \"$1\" </dev/null & read -r _; kill $!; wait"])
            .args([&program, &settings])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // It refuses to run as root.
        if let Some((user, group)) = account() {
            for path in [directory.path(), &users, &settings] {
                std::os::unix::fs::chown(path, Some(user), Some(group)).unwrap();
            }
            command.uid(user).gid(group);
        }
        let process = command.spawn().unwrap();
        let pooler = Self { process, address: format!("127.0.0.1:{free}"), _directory: directory };
        let url = pooler.plain(urls[0]);
        until(async || connect(&url).await.is_ok()).await;
        pooler
    }

    fn plain(&self, url: &str) -> String {
        url.replacen(address_of(url), &self.address, 1)
    }

    /// The URL of the same database through the pooler.
    fn url(&self, url: &str) -> String {
        format!("{}?pooler=transaction", self.plain(url))
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        if let Err(error) = self.process.wait() {
            eprintln!("failed to wait for the end of the pooler: {error}");
        }
    }
}

fn address_of(url: &str) -> &str {
    url.rsplit_once('@').unwrap().1.split('/').next().unwrap()
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// Whom to run it as, where we are root.
fn account() -> Option<(u32, u32)> {
    if id(&["-u"]) != Some(0) {
        return None;
    }
    ["postgres", "nobody"].iter().find_map(|name| Some((id(&["-u", name])?, id(&["-g", name])?)))
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    directories.find_map(|directory| Some(directory.join("pgbouncer")).filter(|program| program.is_file()))
}

fn find_or_install() -> PathBuf {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = INSTALLING.lock().unwrap();
    if let Some(program) = find() {
        return program;
    }
    let apt_get = Path::new("/usr/bin/apt-get");
    if id(&["-u"]) == Some(0) && apt_get.exists() {
        eprintln!("pgbouncer is not installed; installing it with apt-get");
        for arguments in [&["update"][..], &["install", "--yes", "--no-install-recommends", "pgbouncer"]] {
            let mut command = Command::new(apt_get);
            command.args(["-o", "DPkg::Lock::Timeout=300"]).args(arguments);
            command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).output().unwrap();
        }
    }
    find().expect("pgbouncer is not there: install it (Debian and Ubuntu: `apt-get install pgbouncer`)")
}

/// A task that fails once and is tried again after a while, then one that says whose it is.
fn retrying(tenant: &'static str) -> Workflow {
    let tries = AtomicU32::new(0);
    let flaky = task("flaky", move |context: Context| {
        let fails = tries.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        async move { if fails { Err("once more".into()) } else { Ok(context) } }
    });
    let wait = Duration::from_millis(20);
    workflow(
        "w",
        [
            flaky.retry(RetryPolicy { attempts: 3, base: wait, cap: wait, ..RetryPolicy::DEFAULT }),
            setting("tell", "tenant", tenant).dependencies(["flaky"]),
        ],
    )
}

fn config(tenant: &'static str) -> DefaultRunnerConfig {
    quick().workflow(retrying(tenant)).build()
}

async fn executes(runner: &DefaultRunner, tenant: &str, number: u64) {
    let result = in_time(runner.execute("w", Context::new().with("number", number))).await.unwrap();
    assert!(result.status.is_success(), "{result:?}");
    assert_eq!(result.final_context.get("tenant"), Some(tenant.to_owned()));
    assert_eq!(result.final_context.get("number"), Some(number));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_take_turns_behind_a_pooler_in_transaction_mode() {
    let database = Administered::by_a_provisioner().await;
    let mut own = database.config("own");
    own.password = "open-sesame".to_owned();
    let own = database.admin.create_tenant(own).await.unwrap().connection_string;
    let pooler = Pooler::start(&[&database.url, &own]).await;

    let url = pooler.url(&database.url);
    let open = |schema: &'static str| {
        DefaultRunner::builder().database_url(&url).schema(schema).config(config(schema)).build()
    };
    let (acme, globex) = (open("acme").await.unwrap(), open("globex").await.unwrap());
    // The tenant's login hears others on a session of its own.
    let url = format!("{}&direct={}", pooler.url(&own), address_of(&own));
    let own = DefaultRunner::with_config(&url, config("own")).await.unwrap();
    for number in 0..15 {
        tokio::join!(
            executes(&acme, "acme", number),
            executes(&globex, "globex", number),
            executes(&own, "own", number)
        );
    }
    for runner in [acme, globex, own] {
        in_time(runner.shutdown()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn executions_survive_the_end_of_the_poolers_connections() {
    let database = Administered::by_a_provisioner().await;
    let pooler = Pooler::start(&[&database.url]).await;
    let superuser = database.superuser().await;
    let builder = DefaultRunner::builder().database_url(pooler.url(&database.url)).schema("acme");
    let runner = builder.config(config("acme")).build().await.unwrap();
    let cut = async {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            // The pooler tells its clients that their server connections are gone, whatever was under way.
            let text = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE datname = current_database() AND pid <> pg_backend_pid()";
            superuser.batch_execute(text).await.unwrap();
        }
    };
    let work = async {
        for number in 0..10 {
            executes(&runner, "acme", number).await;
        }
    };
    tokio::join!(cut, work);
    in_time(runner.shutdown()).await.unwrap();
}
