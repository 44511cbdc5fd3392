//! Programs that tests run: where they are, and how they come to a machine that has none.

use std::io::{self, Error};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

/// The program of one of these names, in a directory of the `PATH` or in one of these.
pub(crate) fn find(names: &[&str], besides: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> =
        env::split_paths(&path).chain(besides.iter().map(PathBuf::from)).collect();
    let all = names.iter().flat_map(|name| directories.iter().map(move |directory| directory.join(name)));
    all.into_iter().find(|program| fs::metadata(program).is_ok_and(|metadata| metadata.is_file()))
}

/// A program that is found, or installed with this package of Debian where we are root: in a container or on
/// a CI machine; on a machine of their own, people are not root.
///
/// # Errors
///
/// It is not there and cannot be installed; the hint says what to do.
pub(crate) fn find_or_install(
    package: &str,
    find: impl Fn() -> Option<PathBuf>,
    hint: &str,
) -> io::Result<PathBuf> {
    // The tests of one binary start at once: the first installs, the others find.
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(program) = find() {
        return Ok(program);
    }
    let apt_get = Path::new("/usr/bin/apt-get");
    if is_root() && apt_get.exists() {
        eprintln!("{package} is not installed; installing it with apt-get");
        for arguments in [&["update"][..], &["install", "--yes", "--no-install-recommends", package]] {
            let mut command = Command::new(apt_get);
            // Test processes that start at the same moment wait for each other.
            command.args(["-o", "DPkg::Lock::Timeout=300"]).args(arguments);
            command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).output()?;
        }
    }
    find().ok_or_else(|| Error::other(format!("{package} is not there: {hint}")))
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == "0")
}
