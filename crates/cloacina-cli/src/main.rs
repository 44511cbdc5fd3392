//! The command `cloacina`: see and steer executions from a terminal.
//!
//! It speaks the HTTP interface of `cloacina-web`: to a service, or, given a database, to the same routes in
//! its own process. So whatever it does can be done over HTTP too, and is done in the same way.

mod commands;
mod failure;
mod output;
mod remote;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use output::Output;
use remote::Where;

/// Sees and steers the executions of a Cloacina engine
#[derive(Parser, Debug)]
#[command(name = "cloacina", version, after_help = failure::EXIT_CODES, max_term_width = 110)]
struct Arguments {
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Executions: list, show, watch, submit, cancel, pause, resume, rerun
    #[command(subcommand)]
    Executions(commands::executions::Executions),
    /// What executions wait for, and what is asked of people
    #[command(subcommand)]
    Waits(commands::waits::Waits),
    /// Signals: what executions are told from outside
    #[command(subcommand)]
    Signals(commands::waits::Signals),
    /// Schedules: what runs by itself
    #[command(subcommand)]
    Schedules(commands::schedules::Schedules),
    /// Tenants: list, make, limit, suspend, remove
    #[command(subcommand)]
    Tenants(commands::tenants::Tenants),
    /// The processes that work on a database
    #[command(subcommand)]
    Runners(commands::tenants::Runners),
    /// Keys: who may send requests to a service
    #[command(subcommand)]
    Keys(commands::keys::KeysCommand),
    /// What was done by name, and whether that is as it was written
    #[command(subcommand)]
    Audit(commands::audit::Audit),
    /// Looks whether the places of tenants are as they have to be; the exit code is 8 if one is not
    Doctor(commands::doctor::Doctor),
    /// Brings the engine's tables of all tenants to the version of this program
    Migrate(commands::migrate::Migrate),
    /// Serves the pages and the HTTP interface of a database
    Serve(commands::serve::Serve),
    /// Prints what makes a shell complete this command
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cloacina: {error:#}");
            ExitCode::from(failure::exit_code(&error))
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { at, output, command } = arguments;
    match command {
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "cloacina", &mut std::io::stdout());
            return Ok(());
        }
        Command::Serve(serve) => return serve.run(&at).await,
        Command::Migrate(migrate) => return migrate.run(&at, output).await,
        _ => {}
    }
    let remote = at.remote().await?;
    let result = match command {
        Command::Executions(command) => command.run(&remote, output).await,
        Command::Waits(command) => command.run(&remote, output).await,
        Command::Signals(command) => command.run(&remote, output).await,
        Command::Schedules(command) => command.run(&remote, output).await,
        Command::Tenants(command) => command.run(&remote, output).await,
        Command::Runners(command) => command.run(&remote, output).await,
        Command::Keys(command) => command.run(&remote, output).await,
        Command::Audit(command) => command.run(&remote, output).await,
        Command::Doctor(command) => command.run(&remote, output).await,
        Command::Migrate(_) | Command::Serve(_) | Command::Completions { .. } => Ok(()),
    };
    let ended = remote.shutdown().await;
    result.and(ended)
}
