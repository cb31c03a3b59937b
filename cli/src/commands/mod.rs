//! The commands: one module each, which says what it does in its first line.

mod broker;
mod cache;
mod call;
mod dlq;
mod graph;
mod inspect;
mod job;
mod map;
mod new;
mod worker;

use sortie_frontend::settings::Environment;

use crate::arguments::Command;
use crate::ending::{Ending, Error};
use crate::terminal::interrupt::{Interrupt, Manner};

/// How a command reacts to signals.
pub(crate) fn manner(command: &Command) -> Manner {
    match command {
        Command::Worker(_) => Manner::Service,
        Command::Map(_)
        | Command::Call(_)
        | Command::Inspect(_)
        | Command::New(_)
        | Command::Job(_)
        | Command::Graph(_)
        | Command::Dlq(_)
        | Command::Cache(_)
        | Command::Broker(_) => Manner::Command,
    }
}

/// Run a command.
pub(crate) async fn run(
    command: Command,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    match command {
        Command::Map(arguments) => Box::pin(map::run(*arguments, environment, interrupt)).await,
        Command::Call(arguments) => call::run(*arguments, environment, interrupt).await,
        Command::Inspect(arguments) => inspect::run(&arguments, environment, interrupt).await,
        Command::New(arguments) => new::run(&arguments, environment),
        Command::Worker(arguments) => worker::run(&arguments, environment, interrupt).await,
        Command::Job(arguments) => job::run(&arguments, environment, interrupt).await,
        Command::Graph(arguments) => graph::run(&arguments, environment, interrupt).await,
        Command::Dlq(arguments) => dlq::run(&arguments, environment, interrupt).await,
        Command::Cache(arguments) => cache::run(&arguments, environment, interrupt).await,
        Command::Broker(arguments) => broker::run(&arguments, environment, interrupt).await,
    }
}
