//! The `sortie` command: wiring only.
//!
//! Reads the command line and the environment, runs one command, and turns its end into an exit
//! code (see [`ending`]). Imports run downwards: `commands`, then `follow`, `session` and
//! `workers`, then `terminal`, then `arguments` and `ending`. Data goes to stdout, everything else
//! to stderr.

mod arguments;
mod commands;
mod ending;
mod follow;
mod session;
mod terminal;
mod workers;

use std::process::ExitCode;

use sortie_frontend::settings::Environment;
use sortie_host::engine::apart::{self, CHILD_ARGUMENT};

use crate::arguments::Invocation;
use crate::ending::{Ending, Error};
use crate::terminal::diagnostics;
use crate::terminal::interrupt::Interrupt;

fn main() -> ExitCode {
    // A worker compiles in a child, which is this program.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == CHILD_ARGUMENT)
    {
        return apart::child();
    }
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
        let interrupt = Interrupt::watch(commands::manner(&cli.command))
            .map_err(|error| Error::Platform(format!("failed to watch for signals: {error}")))?;
        commands::run(cli.command, &environment, &interrupt).await
    });
    // Results of tasks still running on the runtime are no longer needed.
    runtime.shutdown_background();
    ended
}
