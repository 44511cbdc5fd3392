//! A pooler in transaction mode (pgbouncer) before a PostgreSQL server: each transaction may be another
//! server process's.

use std::fs;
use std::io::{self, Error};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_postgres::NoTls;

use crate::cluster::free_port;
use crate::program;

const PATIENCE: Duration = Duration::from_secs(60);

/// pgbouncer, until it is dropped or this process ends.
#[derive(Debug)]
pub struct Pooler {
    process: Child,
    address: String,
    _directory: TempDir,
}

impl Pooler {
    /// Stands before the server that the first of these URLs names, for the logins of all of them. Each login
    /// has so many server connections, on which its clients take turns.
    ///
    /// # Errors
    ///
    /// When pgbouncer is not installed and we may not install it, or does not start, or a URL is not one with
    /// a user, a password, a host and a port.
    pub async fn start(urls: &[&str], server_connections: u32) -> io::Result<Self> {
        let program = find_or_install()?;
        let directory = tempfile::Builder::new().prefix("cloacina-pooler-").tempdir_in("/tmp")?;
        let first = urls.first().ok_or_else(|| Error::other("a pooler is for one login at least"))?;
        let (host, port) = address_of(first).rsplit_once(':').ok_or_else(unreadable)?;
        let free = free_port().map_err(Error::other)?;
        let users = directory.path().join("users");
        let settings = directory.path().join("settings");
        let text = format!(
            "[databases]\n* = host={host} port={port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {free}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = {server_connections}\n",
            users.display()
        );
        fs::write(&settings, text)?;
        fs::write(&users, urls.iter().map(|url| login_of(url)).collect::<io::Result<String>>()?)?;
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
                std::os::unix::fs::chown(path, Some(user), Some(group))?;
            }
            command.uid(user).gid(group);
        }
        let process = command.spawn()?;
        let pooler = Self { process, address: format!("127.0.0.1:{free}"), _directory: directory };
        pooler.until_it_answers(&pooler.plain_url(first)).await?;
        Ok(pooler)
    }

    /// The URL of the same database through the pooler.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        format!("{}?pooler=transaction", self.plain_url(url))
    }

    /// As [`url`](Self::url), with the server's own address for what needs a session.
    #[must_use]
    pub fn url_with_direct(&self, url: &str) -> String {
        format!("{}&direct={}", self.url(url), address_of(url))
    }

    /// As [`url`](Self::url), for whoever does not know that there is a pooler.
    #[must_use]
    pub fn plain_url(&self, url: &str) -> String {
        url.replacen(address_of(url), &self.address, 1)
    }

    async fn until_it_answers(&self, url: &str) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            match tokio_postgres::connect(url, NoTls).await {
                Ok(_) => return Ok(()),
                Err(error) if begun.elapsed() > PATIENCE => return Err(Error::other(error)),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
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
    let after_login = url.rsplit_once('@').map_or("", |(_, rest)| rest);
    after_login.split(['/', '?']).next().unwrap_or_default()
}

/// The line of the file of logins.
fn login_of(url: &str) -> io::Result<String> {
    let login = url.split_once("://").and_then(|(_, rest)| rest.split_once('@'));
    let (user, password) = login.and_then(|(login, _)| login.split_once(':')).ok_or_else(unreadable)?;
    Ok(format!("\"{user}\" \"{password}\"\n"))
}

fn unreadable() -> Error {
    // Without the URL: it holds a password.
    Error::other("the URL names no user, password, host or port")
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

fn find_or_install() -> io::Result<PathBuf> {
    let hint = "install it (Debian and Ubuntu: `apt-get install pgbouncer`)";
    program::find_or_install("pgbouncer", || program::find(&["pgbouncer"], &["/usr/sbin"]), hint)
}
