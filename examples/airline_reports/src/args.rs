//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Computes a delay report for each airline; each airline is a tenant with a place of its own.

Usage: airline_reports [DATA_DIR] [--database URL] [--out DIR] [--fresh]
       airline_reports --serve [--out DIR]

Arguments:
  [DATA_DIR]        a directory of <carrier>.csv or <carrier>.csv.gz files;
                    without it, a small extract that comes with this example

Options:
  --database URL    postgresql://…: a schema for each airline in that database.
                    Defaults to $DATABASE_URL, and without that to SQLite files, one for
                    each airline, in DIR/state
  --out DIR         where the reports go [default: report]
  --fresh           compute everything again, also what is finished
  --serve           show it at work: pages on this machine, with an execution that fails
                    and waits for you to run it again; until Ctrl-C
  -h, --help        print this

Exit code: 0 if every airline has its report, 1 if one has not, 2 for wrong arguments.
Killed half-way and started again with the same arguments, it goes on where it was.
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Print [`HELP`].
    Help,
    /// Write the reports.
    Reports(Options),
    /// Show pages, with what they need in this directory.
    Serve(PathBuf),
}

/// How the reports are to be written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The directory with the flights; `None` is the extract that comes with the example.
    pub(crate) data: Option<PathBuf>,
    /// Where the state of the executions lives.
    pub(crate) database: Database,
    /// Where the reports go.
    pub(crate) out: PathBuf,
    /// Whether finished reports are computed again.
    pub(crate) fresh: bool,
}

/// Where the state of the executions lives.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Database {
    /// A SQLite file for each airline, in the output directory.
    Files,
    /// A schema for each airline in this PostgreSQL database.
    Postgres(String),
}

/// The URL holds a password, so it is never printed.
impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Files => "Files",
            Self::Postgres(_) => "Postgres(…)",
        })
    }
}

/// Reads the arguments after the program's name; `database_url` is the environment's `DATABASE_URL`.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    database_url: Option<String>,
) -> Result<Command, lexopt::Error> {
    let mut data = None;
    let mut database = None;
    let mut out = None;
    let (mut fresh, mut serve) = (false, false);
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("fresh") => fresh = true,
            Long("serve") => serve = true,
            Long("database") => once(&mut database, "--database", parser.value()?.string()?)?,
            Long("out") => once(&mut out, "--out", PathBuf::from(parser.value()?))?,
            Value(directory) if data.is_none() => data = Some(PathBuf::from(directory)),
            other => return Err(other.unexpected()),
        }
    }
    if [&data, &out].into_iter().flatten().any(|path| path.as_os_str().is_empty()) {
        return Err("a directory's name is empty".into());
    }
    let out = out.unwrap_or_else(|| PathBuf::from("report"));
    if serve {
        if data.is_some() || database.is_some() || fresh {
            return Err("--serve goes with --out only".into());
        }
        return Ok(Command::Serve(out));
    }
    let database = match (database, database_url.filter(|url| !url.is_empty())) {
        (Some(url), _) => postgres(url, "--database")?,
        (None, Some(url)) => postgres(url, "DATABASE_URL")?,
        (None, None) => Database::Files,
    };
    Ok(Command::Reports(Options { data, database, out, fresh }))
}

fn once<T>(place: &mut Option<T>, name: &str, value: T) -> Result<(), lexopt::Error> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{name} is given twice").into()),
    }
}

fn postgres(url: String, origin: &str) -> Result<Database, lexopt::Error> {
    if url.starts_with("postgresql://") || url.starts_with("postgres://") {
        Ok(Database::Postgres(url))
    } else {
        Err(format!("{origin} has to begin with postgresql://; SQLite files are what is used without it")
            .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str], database_url: Option<&str>) -> Result<Command, String> {
        parse(arguments.iter().map(OsString::from), database_url.map(str::to_owned))
            .map_err(|e| e.to_string())
    }

    fn options(arguments: &[&str], database_url: Option<&str>) -> Options {
        match parsed(arguments, database_url) {
            Ok(Command::Reports(options)) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn everything_has_a_default() {
        let expected =
            Options { data: None, database: Database::Files, out: PathBuf::from("report"), fresh: false };
        assert_eq!(options(&[], None), expected);
        assert_eq!(options(&[], Some("")), expected);
    }

    #[test]
    fn options_may_stand_anywhere() {
        let expected = Options {
            data: Some(PathBuf::from("flights")),
            database: Database::Postgres("postgres://h/db".to_owned()),
            out: PathBuf::from("o"),
            fresh: true,
        };
        assert_eq!(
            options(
                &["--out=o", "flights", "--fresh", "--database", "postgres://h/db"],
                Some("postgresql://other/")
            ),
            expected
        );
        assert_eq!(options(&["--out=o", "flights", "--fresh"], Some("postgres://h/db")), expected);
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for (arguments, reason) in [
            (&["a", "b"][..], "unexpected argument \"b\""),
            (&["--fast"], "invalid option '--fast'"),
            (&["--out"], "missing argument for option '--out'"),
            (&["--out", "a", "--out", "b"], "--out is given twice"),
            (&["--fresh=yes"], "unexpected argument for option '--fresh': \"yes\""),
            (&[""], "a directory's name is empty"),
            (&["--serve", "--fresh"], "--serve goes with --out only"),
            (
                &["--database", "mysql://x"],
                "--database has to begin with postgresql://; SQLite files are what is used without it",
            ),
        ] {
            assert_eq!(parsed(arguments, None), Err(reason.to_owned()));
        }
        assert!(parsed(&[], Some("sqlite://a.db")).unwrap_err().starts_with("DATABASE_URL has to begin"));
    }

    #[test]
    fn the_pages_are_shown_over_a_directory() {
        assert_eq!(
            parsed(&["--serve"], Some("postgres://h/db")),
            Ok(Command::Serve(PathBuf::from("report")))
        );
        assert_eq!(parsed(&["--out=o", "--serve"], None), Ok(Command::Serve(PathBuf::from("o"))));
    }

    #[test]
    fn help_wins() {
        assert_eq!(parsed(&["x", "-h"], None), Ok(Command::Help));
    }

    #[test]
    fn a_password_is_not_printed() {
        assert!(
            !format!("{:?}", options(&["--database", "postgres://a:secret@h/db"], None)).contains("secret")
        );
    }
}
