//! A real PostgreSQL cluster for tests: own data directory, own port, real passwords, `fsync` on.
//!
//! ```text
//! test process ──pipe──▶ sh supervise.sh ──fork──▶ postgres ──▶ its backends
//! ```
//!
//! [`Cluster::start`] makes a directory with `initdb` and starts `supervise.sh`, which starts the server when
//! we tell it to. The pipe is the owner's sign of life: only this process holds its writing end, so the
//! kernel closes it when the process ends, in whatever way, `kill -9` included. The supervisor then stops the
//! server and removes the directory; nothing is left to run by hand, and no signal handler or `atexit` is
//! needed. The supervisor is in a process group of its own, so that Ctrl-C at a terminal reaches the owner
//! and not the server underneath it.
//!
//! Commands go through the pipe as lines (`start PORT`, `stop`, `kill`), answers come back as files in the
//! directory: `pid` once the server runs, `exited` once it has ended. The server itself says in
//! `postmaster.pid` when it accepts connections, which is where `pg_ctl --wait` looks too.
//!
//! PostgreSQL refuses to run as root; where we are root, `initdb` and the supervisor run as `postgres` or
//! `nobody`.
//!
//! Unix only.

mod binaries;
mod error;
#[cfg(feature = "engine")]
mod over;
mod secret;
mod server;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::ops::Deref;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub use error::ClusterError;
pub use server::Server;

use binaries::Binaries;
use secret::secret;

/// The variable that names a running server to use instead of starting one, as its superuser's URL.
///
/// `cargo xtask test` starts one cluster and hands it to every test binary this way.
pub const URL_VARIABLE: &str = "CLOACINA_TEST_PG_URL";

const SUPERUSER: &str = "postgres";
const SUPERVISOR: &str = include_str!("cluster/supervise.sh");
/// Far more than any of these steps takes, even on a machine that compiles at the same time.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often we look for the server's answer; there is nothing to wait on.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How many ports we try before we give up.
const PORTS_TO_TRY: u32 = 20;
/// Below what Linux and macOS hand out to outgoing connections, so that nobody takes the port while the
/// server is stopped between two runs.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
max_connections = 200
shared_buffers = 128MB
logging_collector = off
";

/// A PostgreSQL server of this process's own, which ends when the process ends.
///
/// Where it is and who may log in is told by [`Server`], to which this dereferences.
#[derive(Debug)]
pub struct Cluster {
    server: Server,
    directory: PathBuf,
    supervisor: Mutex<Supervisor>,
}

#[derive(Debug)]
struct Supervisor {
    process: Child,
    commands: Option<ChildStdin>,
}

impl Cluster {
    /// Makes a new cluster and starts its server; returns when it accepts connections.
    ///
    /// Takes one to three seconds, most of it `initdb`. Tests that only need a database of their own share a
    /// server: [`Cluster::shared`].
    ///
    /// # Errors
    ///
    /// When PostgreSQL is not installed and we may not install it, or when it does not start; the message
    /// ends with the server's own words.
    pub fn start() -> Result<Self, ClusterError> {
        let binaries = Binaries::find_or_install()?;
        let (directory, account) = make_directory()?;
        // From here on a failure must not leave the directory behind; once the supervisor runs, removing is
        // its work.
        let prepared = initdb(&binaries, &directory, account)
            .and_then(|password| Ok((password, Supervisor::spawn(&binaries, &directory, account)?)));
        let (password, supervisor) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                let removed = fs::remove_dir_all(&directory);
                return Err(match removed {
                    Ok(()) => error,
                    Err(_) => error.hint(format!("{} could not be removed", directory.display())),
                });
            }
        };
        let mut cluster = Self {
            server: Server::new("127.0.0.1", 0, SUPERUSER, &password),
            directory,
            supervisor: Mutex::new(supervisor),
        };
        let mut tried = 0;
        loop {
            tried += 1;
            let port = free_port()?;
            cluster.server.set_port(port);
            match cluster.run() {
                Err(_) if tried < PORTS_TO_TRY && cluster.port_was_taken() => cluster.forget_log()?,
                result => return result.map(|()| cluster),
            }
        }
    }

    /// The server that the tests of this process share: the one named by [`URL_VARIABLE`], else one that is
    /// started by the first caller and ends with the process.
    ///
    /// # Errors
    ///
    /// As [`Cluster::start`], or when the variable holds no URL we understand.
    pub fn shared() -> Result<&'static Server, ClusterError> {
        static GIVEN: OnceLock<Server> = OnceLock::new();
        static OWN: OnceLock<Cluster> = OnceLock::new();
        static STARTING: Mutex<()> = Mutex::new(());

        let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = GIVEN.get().or(OWN.get().map(|cluster| &cluster.server)) {
            return Ok(server);
        }
        if let Ok(url) = std::env::var(URL_VARIABLE) {
            let server = Server::from_url(&url)?;
            return Ok(GIVEN.get_or_init(|| server));
        }
        let cluster = Self::start()?;
        Ok(&OWN.get_or_init(|| cluster).server)
    }

    /// The directory of the server's unix socket.
    #[must_use]
    pub fn socket_directory(&self) -> &Path {
        &self.directory
    }

    /// Stops the server in the orderly way: connections are ended, everything is written out.
    ///
    /// Does nothing when it does not run.
    ///
    /// # Errors
    ///
    /// When the server has not ended after two minutes.
    pub fn stop(&self) -> Result<(), ClusterError> {
        self.end("stop")
    }

    /// Ends the server at once, as a crash would: nothing is written out, the next start recovers from the
    /// log.
    ///
    /// Does nothing when it does not run.
    ///
    /// # Errors
    ///
    /// When the server has not ended after two minutes.
    pub fn kill(&self) -> Result<(), ClusterError> {
        self.end("kill")
    }

    /// Stops the server if it runs and starts it again, on the same data and the same port.
    ///
    /// # Errors
    ///
    /// When it does not stop or does not start.
    pub fn restart(&self) -> Result<(), ClusterError> {
        self.stop()?;
        self.run()
    }

    /// Whether the server runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.directory.join("pid").exists() && !self.directory.join("exited").exists()
    }

    fn run(&self) -> Result<(), ClusterError> {
        let doing = "failed to start PostgreSQL";
        let mut supervisor = self.supervisor();
        for answer in ["pid", "exited"] {
            remove_if_there(&self.directory.join(answer)).map_err(|e| ClusterError::new(doing, e))?;
        }
        supervisor.tell(&format!("start {}", self.server.port()))?;
        let waiting_since = Instant::now();
        while waiting_since.elapsed() < PATIENCE {
            if self.directory.join("exited").exists() {
                return Err(ClusterError::new(doing, format!("it ended at once: {}", self.last_words())));
            }
            if self.accepts_connections() {
                return Ok(());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Err(ClusterError::new(doing, format!("it is not ready after {PATIENCE:?}: {}", self.last_words())))
    }

    fn end(&self, command: &str) -> Result<(), ClusterError> {
        let mut supervisor = self.supervisor();
        if !self.is_running() {
            return Ok(());
        }
        supervisor.tell(command)?;
        let waiting_since = Instant::now();
        while waiting_since.elapsed() < PATIENCE {
            if !self.is_running() {
                return Ok(());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Err(ClusterError::new("failed to stop PostgreSQL", format!("it still runs after {PATIENCE:?}")))
    }

    fn supervisor(&self) -> MutexGuard<'_, Supervisor> {
        // A panic while it was held leaves at worst a server that still starts or stops, which `run` and
        // `end` see.
        self.supervisor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `postmaster.pid` has the process id in its first line and `ready` in its eighth. A crash leaves the
    /// file of the server before, hence the look at the id.
    fn accepts_connections(&self) -> bool {
        let Ok(pid) = fs::read_to_string(self.directory.join("pid")) else { return false };
        let Ok(status) = fs::read_to_string(self.directory.join("data/postmaster.pid")) else { return false };
        status.lines().next() == Some(pid.trim()) && status.lines().nth(7).map(str::trim) == Some("ready")
    }

    /// What the server has written to its log.
    #[must_use]
    pub fn log(&self) -> String {
        let log = fs::read(self.directory.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn port_was_taken(&self) -> bool {
        self.log().contains("Address already in use")
    }

    fn forget_log(&self) -> Result<(), ClusterError> {
        remove_if_there(&self.directory.join("log"))
            .map_err(|e| ClusterError::new("failed to start PostgreSQL on another port", e))
    }

    fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Deref for Cluster {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Drop for Supervisor {
    /// Closes the pipe and waits until the server has ended and its directory is gone.
    fn drop(&mut self) {
        drop(self.commands.take());
        if let Err(error) = self.process.wait() {
            eprintln!("failed to wait for the end of PostgreSQL: {error}");
        }
    }
}

impl Supervisor {
    fn spawn(binaries: &Binaries, directory: &Path, account: Option<Account>) -> Result<Self, ClusterError> {
        let mut process = command("sh", directory, account)
            .args(["-c", SUPERVISOR, "supervise.sh"])
            .arg(&binaries.postgres)
            .arg(directory)
            .stdin(Stdio::piped())
            // Whoever reads our output to its end must not wait for the server.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|e| ClusterError::new("failed to start PostgreSQL's supervisor", e))?;
        let commands = process.stdin.take();
        Ok(Self { process, commands })
    }

    fn tell(&mut self, command: &str) -> Result<(), ClusterError> {
        let commands = self.commands.as_mut().expect("the pipe is open until the supervisor is dropped");
        writeln!(commands, "{command}")
            .map_err(|e| ClusterError::new("failed to reach PostgreSQL's supervisor", e))
    }
}

/// Whom the server runs as, where we are root.
#[derive(Debug, Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    fn find() -> Result<Self, ClusterError> {
        let id = |flag: &str, name: &str| -> Option<u32> {
            let output = Command::new("id").args([flag, name]).output().ok()?;
            String::from_utf8(output.stdout).ok()?.trim().parse().ok()
        };
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| Some(Self { uid: id("-u", name)?, gid: id("-g", name)? }))
            .ok_or_else(|| {
                ClusterError::new(
                    "failed to find an account for PostgreSQL",
                    "it refuses to run as root, and there is neither a user `postgres` nor `nobody`",
                )
            })
    }
}

/// A command in `directory`, as `account`. Changing the user also drops root's supplementary groups.
fn command(program: impl AsRef<std::ffi::OsStr>, directory: &Path, account: Option<Account>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory).env("LC_ALL", "C");
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    command
}

/// Makes an empty directory that only we, or the account we use because we are root, may enter.
fn make_directory() -> Result<(PathBuf, Option<Account>), ClusterError> {
    let doing = "failed to make a directory for PostgreSQL";
    let name = format!("cloacina-pg-{}-{}", std::process::id(), &secret()?[..8]);
    let mut parent = std::env::temp_dir();
    // Another user must be able to reach it, and a socket's whole path has to fit into 107 bytes.
    let may_pass = |path: &Path| fs::metadata(path).is_ok_and(|it| it.mode() & 0o001 != 0);
    if !parent.ancestors().all(may_pass) || parent.as_os_str().len() > 60 {
        parent = PathBuf::from("/tmp");
    }
    let directory = parent.join(name);
    fs::DirBuilder::new().mode(0o700).create(&directory).map_err(|e| ClusterError::new(doing, e))?;
    // What a process makes belongs to it: the cheapest way to learn who we are.
    let we_are_root = fs::metadata(&directory).map_err(|e| ClusterError::new(doing, e))?.uid() == 0;
    if !we_are_root {
        return Ok((directory, None));
    }
    let account = Account::find()?;
    give(&directory, Some(account)).map_err(|e| ClusterError::new(doing, e))?;
    Ok((directory, Some(account)))
}

/// Runs `initdb` in the directory and returns the superuser's password.
fn initdb(binaries: &Binaries, directory: &Path, account: Option<Account>) -> Result<String, ClusterError> {
    let doing = "failed to make a PostgreSQL cluster";
    let password = secret()?;
    let password_file = directory.join("password");
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&password_file)
        .and_then(|mut file| writeln!(file, "{password}"))
        .and_then(|()| give(&password_file, account))
        .map_err(|e| ClusterError::new(doing, e))?;
    let data = directory.join("data");
    let run = |locale: &str| {
        command(&binaries.initdb, directory, account)
            .arg("--pgdata")
            .arg(&data)
            .args(["--username", SUPERUSER, "--auth-host=scram-sha-256", "--auth-local=scram-sha-256"])
            .arg("--pwfile")
            .arg(&password_file)
            // Only these first files are not synced; what the server writes is, `fsync` stays on.
            .args(["--no-sync", "--encoding=UTF8", "--lc-messages=C", locale])
            .stdin(Stdio::null())
            .output()
            .map_err(|e| ClusterError::new(doing, e))
    };
    let mut output = run("--locale=C.UTF-8")?;
    if !output.status.success() {
        // Not every system has C.UTF-8. initdb removes what it made when it fails.
        output = run("--no-locale")?;
    }
    if !output.status.success() {
        return Err(ClusterError::new(doing, String::from_utf8_lossy(&output.stderr).trim()));
    }
    fs::remove_file(&password_file).map_err(|e| ClusterError::new(doing, e))?;
    fs::OpenOptions::new()
        .append(true)
        .open(data.join("postgresql.conf"))
        .and_then(|mut file| writeln!(file, "{SETTINGS}unix_socket_directories = '{}'", directory.display()))
        .map_err(|e| ClusterError::new(doing, e))?;
    Ok(password)
}

fn give(path: &Path, account: Option<Account>) -> std::io::Result<()> {
    match account {
        Some(account) => std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid)),
        None => Ok(()),
    }
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A port that nobody listens on at this moment; somebody else may be quicker, then the server says so and
/// the caller comes back.
pub(crate) fn free_port() -> Result<u16, ClusterError> {
    let width = u32::from(PORTS.end - PORTS.start);
    for _ in 0..PORTS_TO_TRY {
        let number = u32::from_str_radix(&secret()?[..8], 16).expect("a secret is hexadecimal") % width;
        let port = PORTS.start + u16::try_from(number).expect("smaller than the width of a range of u16");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    // A machine that is this full: take what the system gives.
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|e| ClusterError::new("failed to find a free port for PostgreSQL", e))
}
