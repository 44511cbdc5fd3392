//! What somebody meets who has only read the README: a program outside the repository, made of the README's
//! own lines, built and run on both databases.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cargo::{Failure, cargo, root};
use crate::postgres::Postgres;

/// Where the README says that the repository is.
const BESIDE: &str = "../cloacina/";

/// What the program of the README prints, up to the token, which is another one each time.
const PRINTED: &str = "completed: Received with thanks: 500 cents, token ";

/// Builds the README's program and runs it, on SQLite and on PostgreSQL.
pub(crate) fn check() -> Result<(), Failure> {
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path).map_err(failed(&path))?;
    let program = Program::new(&readme)?;

    let server = Postgres::start()?;
    program.run("SQLite", None)?;
    if !program.directory.join("acme.db").exists() {
        return Err(Failure::Other("the program of the README left no acme.db".to_owned()));
    }
    program.run("PostgreSQL", Some(&server.url()?))
}

/// A package in a directory of its own, which goes with this.
struct Program {
    directory: PathBuf,
}

impl Program {
    fn new(readme: &str) -> Result<Self, Failure> {
        let (dependencies, source) = parts(readme)?;
        let directory = std::env::temp_dir().join(format!("cloacina-newcomer-{}", std::process::id()));
        let program = Self { directory };
        let beside = format!("{}/", root().display());
        let manifest = format!(
            "[package]\nname = \"newcomer\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n{}",
            dependencies.replace(BESIDE, &beside)
        );
        program.write("Cargo.toml", &manifest)?;
        program.write("src/main.rs", source)?;
        // The versions that we test with, so that nothing has to be asked of a registry.
        let lock = root().join("Cargo.lock");
        program.write("Cargo.lock", &fs::read_to_string(&lock).map_err(failed(&lock))?)?;
        Ok(program)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.directory.join(name);
        let parent = path.parent().unwrap_or(&self.directory);
        fs::create_dir_all(parent).and_then(|()| fs::write(&path, text)).map_err(failed(&path))
    }

    fn run(&self, database: &str, url: Option<&str>) -> Result<(), Failure> {
        eprintln!("\n==> the program of the README on {database}");
        let mut command = cargo(["run", "--quiet"]);
        command.within(&self.directory).env("CARGO_TARGET_DIR", root().join("target/newcomer"));
        match url {
            Some(url) => command.env("DATABASE_URL", url),
            None => command.without("DATABASE_URL"),
        };
        let printed = command.output()?;
        eprint!("{printed}");
        if printed.trim_end().strip_prefix(PRINTED).is_some_and(|token| token.len() == 36) {
            return Ok(());
        }
        Err(Failure::Other(format!("the program of the README does not print `{PRINTED}…`")))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("failed to remove {}: {error}", self.directory.display());
        }
    }
}

/// The dependencies and the program of the first workflow.
fn parts(readme: &str) -> Result<(&str, &str), Failure> {
    let dependencies = block(readme, "toml").filter(|block| block.contains(BESIDE));
    let source = block(readme, "rust");
    dependencies.zip(source).ok_or_else(|| {
        Failure::Other(format!("the README has no dependency at {BESIDE}, or no program in a block of Rust"))
    })
}

/// The first block of code of a language, whatever else stands behind its name.
fn block<'a>(text: &'a str, language: &str) -> Option<&'a str> {
    let mut rest = text;
    loop {
        let (_, after) = rest.split_once("\n```")?;
        let (info, code) = after.split_once('\n')?;
        let (code, behind) = code.split_once("\n```")?;
        if info.split(',').next() == Some(language) {
            return Some(code);
        }
        rest = behind;
    }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> Failure + '_ {
    move |error| Failure::Other(format!("failed to read or write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::block;

    #[test]
    fn a_block_is_found_by_its_language() {
        let text = "x\n```sh\nls\n```\ny\n```rust,no_run\nfn main() {}\n// b\n```\nz\n";
        assert_eq!(block(text, "rust"), Some("fn main() {}\n// b"));
        assert_eq!(block(text, "sh"), Some("ls"));
        assert_eq!(block(text, "toml"), None);
    }
}
