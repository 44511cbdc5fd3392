//! Where PostgreSQL's programs are, and how they come to a machine that has none.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::ClusterError;

/// The variable that names the directory of the programs, when it is not one of the usual ones.
const DIRECTORY_VARIABLE: &str = "CLOACINA_PG_BIN";

const HINT: &str = "install the PostgreSQL server (Debian and Ubuntu: `apt-get install postgresql`, Fedora: \
`dnf install postgresql-server`, macOS: `brew install postgresql@17`), set CLOACINA_PG_BIN to the directory that holds \
`initdb` and `postgres`, or set CLOACINA_TEST_PG_URL to a superuser's URL of a running server";

/// The two programs we run; `pg_ctl` would only repeat what the supervisor does.
#[derive(Debug)]
pub(super) struct Binaries {
    pub(super) initdb: PathBuf,
    pub(super) postgres: PathBuf,
}

impl Binaries {
    pub(super) fn find_or_install() -> Result<Self, ClusterError> {
        if let Some(directory) = env::var_os(DIRECTORY_VARIABLE) {
            let directory = PathBuf::from(directory);
            // Somebody who names a directory does not want another version to be taken silently.
            return Self::inside(&directory).ok_or_else(|| {
                not_found(format!(
                    "{DIRECTORY_VARIABLE} is {}, which has no initdb and postgres",
                    directory.display()
                ))
            });
        }
        if let Some(found) = Self::find() {
            return Ok(found);
        }
        // The tests of one binary start at once: the first installs, the others find.
        static INSTALLING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = Self::find() {
            return Ok(found);
        }
        if !may_install() {
            return Err(not_found("neither in /usr/lib/postgresql, /usr/pgsql-* nor on the PATH".to_owned()));
        }
        install()?;
        Self::find().ok_or_else(|| not_found("not even after installing the package".to_owned()))
    }

    fn find() -> Option<Self> {
        let debian = versions_in(Path::new("/usr/lib/postgresql"), "");
        let red_hat = versions_in(Path::new("/usr"), "pgsql-");
        let path = env::var_os("PATH").unwrap_or_default();
        debian
            .iter()
            .chain(&red_hat)
            .map(|directory| directory.join("bin"))
            .chain(env::split_paths(&path))
            .find_map(|directory| Self::inside(&directory))
    }

    fn inside(directory: &Path) -> Option<Self> {
        // PostgreSQL finds its libraries relative to the program, and both have to be of one version: follow
        // links.
        let initdb = directory.join("initdb").canonicalize().ok()?;
        let postgres = initdb.with_file_name("postgres");
        postgres.is_file().then_some(Self { initdb, postgres })
    }
}

/// The directories named `prefix` and a version, the highest version first.
fn versions_in(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path()))
        })
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

fn not_found(reason: String) -> ClusterError {
    ClusterError::new("failed to find PostgreSQL's programs", reason).hint(HINT)
}

/// A container or a CI machine; on a machine of their own, people are not root.
fn may_install() -> bool {
    let we_are_root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == "0");
    we_are_root && Path::new("/usr/bin/apt-get").exists()
}

fn install() -> Result<(), ClusterError> {
    eprintln!("PostgreSQL is not installed; installing it with apt-get");
    apt_get(&["update"])?;
    // The package would make and start a cluster of its own, on port 5432, unless told not to.
    apt_get(&["install", "--yes", "--no-install-recommends", "postgresql-common"])?;
    let settings = Path::new("/etc/postgresql-common/createcluster.conf");
    let doing = "failed to install PostgreSQL";
    let before = fs::read(settings).map_err(|e| ClusterError::new(doing, e))?;
    let without_cluster = [before.as_slice(), b"\ncreate_main_cluster = false\n"].concat();
    fs::write(settings, without_cluster).map_err(|e| ClusterError::new(doing, e))?;
    let installed = apt_get(&["install", "--yes", "--no-install-recommends", "postgresql"]);
    fs::write(settings, before).map_err(|e| ClusterError::new(doing, e))?;
    installed
}

fn apt_get(arguments: &[&str]) -> Result<(), ClusterError> {
    let doing = "failed to install PostgreSQL";
    let output = Command::new("/usr/bin/apt-get")
        // Test processes that start at the same moment wait for each other.
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| ClusterError::new(doing, e))?;
    if output.status.success() {
        return Ok(());
    }
    let reason = format!(
        "`apt-get {}` ended with {}: {}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Err(ClusterError::new(doing, reason).hint(HINT))
}
