//! The `sortie` command: wiring only.
//!
//! Reads the command line and the environment, runs one command, and turns its end into an exit code (see [`ending`]). Nothing below this crate
//! reads the environment. Data goes to stdout, everything else to stderr.

mod arguments;
mod aws;
mod call;
mod clock;
mod ending;
mod environment;
mod expand;
mod in_flight;
mod inputs;
mod inspect;
mod interrupt;
mod json;
mod lines;
mod map;
mod new;
mod output;
mod progress;
mod record;
mod reorder;
mod session;
mod settings;
mod shape;
mod summary;
mod terminal;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use crate::arguments::{Command, Invocation};
use crate::ending::{Ending, Error};
use crate::environment::Environment;
use crate::interrupt::Interrupt;

fn main() -> ExitCode {
    let ending = arguments::read().and_then(start).unwrap_or_else(|error| {
        terminal::error(&error.to_string());
        error.ending()
    });
    ExitCode::from(ending.code())
}

fn start(invocation: Invocation) -> Result<Ending, Error> {
    let Some(cli) = invocation.command() else { return Ok(Ending::Completed) };
    let environment = Environment::read();
    trace(&environment, cli.verbose)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::Platform(format!("failed to start: {error}")))?;
    let ended = runtime.block_on(async {
        let interrupt = Interrupt::watch().map_err(|error| Error::Platform(format!("failed to watch for signals: {error}")))?;
        match cli.command {
            Command::Map(arguments) => map::run(arguments, &environment, &interrupt).await,
            Command::Call(arguments) => call::run(arguments, &environment, &interrupt).await,
            Command::Inspect(arguments) => inspect::run(&arguments, &environment, &interrupt).await,
            Command::New(arguments) => new::run(&arguments, &environment),
        }
    });
    // Whatever is still under way serves nobody any more.
    runtime.shutdown_background();
    ended
}

/// Diagnostics go to stderr: warnings by default, more with `-v`, anything with `SORTIE_LOG`.
fn trace(environment: &Environment, verbose: u8) -> Result<(), Error> {
    let default = match verbose {
        0 => "warn",
        1 => "warn,sortie=info,sortie_broker=info,sortie_host=info",
        _ => "info,sortie=debug,sortie_broker=debug,sortie_host=debug",
    };
    let directives = environment.log.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(directives).map_err(|error| Error::Usage(format!("SORTIE_LOG is not a filter: {error}")))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
    Ok(())
}
