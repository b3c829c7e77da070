//! The binary `functions`: every service, the local stack, the catalog, the doctor and the keys.

mod catalog;
mod console;
mod dead_letters;
mod deployment;
mod doctor;
mod environment;
mod keys;
mod local_stack;
mod serve;
mod systems;
mod terminal;
mod timers;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// An event takes less CPU time with it than with the allocator of the C library: see docs/benchmarks.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Event-driven services on Google Cloud Pub/Sub and Cloud Run.
#[derive(Parser)]
#[command(name = "functions", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs all services in one process, with a broker and the console (the default)
    Local,
    /// Runs one service, as Cloud Run does
    Serve {
        /// The name of the service, such as crm-service
        service: String,
    },
    /// Prints the catalog as JSON: services, events, topics and subscriptions
    Catalog(catalog::Options),
    /// Repairs the timers of a service
    Timers {
        #[command(subcommand)]
        command: timers::Command,
    },
    /// Shows the console of a project, or of emulators: map, backlogs, causal trees, dead letters
    Console(deployment::Options),
    /// Shows, replays and drops dead letters
    DeadLetters(Box<dead_letters::Options>),
    /// Runs the stand-in for Cloud Tasks, for tests
    CloudTasks(timers::StandIn),
    /// Checks the catalog, and a Terraform plan or state, for faults that break event systems silently
    Doctor(doctor::Options),
    /// Makes keys for sign-in
    #[command(subcommand)]
    Keys(keys::Command),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command.unwrap_or(Command::Local) {
        Command::Local => block_on(local_stack::run()),
        Command::Serve { service } => block_on(serve::run(&service)),
        Command::Timers { command } => block_on(timers::run(command)),
        Command::CloudTasks(stand_in) => block_on(timers::stand_in(stand_in)),
        Command::Console(options) => block_on(deployment::run(&options)),
        Command::DeadLetters(options) => return dead_letters::run(&options),
        Command::Catalog(options) => catalog::run(&options),
        Command::Keys(command) => keys::run(&command),
        Command::Doctor(options) => return doctor::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            terminal::tell(&format!("functions: {message}\n"));
            ExitCode::FAILURE
        }
    }
}

fn block_on(run: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| format!("cannot start the async runtime: {error}"))?.block_on(run)
}
