//! The `sortie` command: wiring only.
//!
//! Reads the command line and the environment, runs one command, and turns its end into an exit
//! code (see [`ending`]). Nothing below this crate reads the environment. Data goes to stdout,
//! everything else to stderr.

mod arguments;
mod aws;
mod broker;
mod cache;
mod call;
mod clock;
mod clouds;
mod connection;
mod diagnostics;
mod dlq;
mod ending;
mod environment;
mod expand;
mod in_flight;
mod inputs;
mod inspect;
mod interrupt;
mod job;
mod json;
mod lines;
mod map;
mod new;
mod output;
mod progress;
mod reading;
mod record;
mod reorder;
mod results;
mod run;
mod session;
mod settings;
mod shape;
mod summary;
mod table;
mod terminal;
mod worker;

use std::process::ExitCode;

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
    let Some(cli) = invocation.command() else {
        return Ok(Ending::Completed);
    };
    let environment = Environment::read();
    diagnostics::start(&environment, cli.verbose)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Error::Platform(format!("failed to start: {error}")))?;
    let ended = runtime.block_on(async {
        let interrupt = Interrupt::watch(cli.command.manner())
            .map_err(|error| Error::Platform(format!("failed to watch for signals: {error}")))?;
        match cli.command {
            Command::Map(arguments) => map::run(*arguments, &environment, &interrupt).await,
            Command::Call(arguments) => call::run(*arguments, &environment, &interrupt).await,
            Command::Inspect(arguments) => inspect::run(&arguments, &environment, &interrupt).await,
            Command::New(arguments) => new::run(&arguments, &environment),
            Command::Worker(arguments) => worker::run(&arguments, &environment, &interrupt).await,
            Command::Job(arguments) => job::run(&arguments, &environment, &interrupt).await,
            Command::Dlq(arguments) => dlq::run(&arguments, &environment, &interrupt).await,
            Command::Cache(arguments) => cache::run(&arguments, &environment, &interrupt).await,
            Command::Broker(arguments) => broker::run(&arguments, &environment, &interrupt).await,
        }
    });
    // Whatever is still under way serves nobody any more.
    runtime.shutdown_background();
    ended
}
