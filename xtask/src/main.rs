//! `cargo xtask`: the project's only task runner.
//!
//! Everything a person or a machine does to this repository goes through here: get the guest
//! toolchain, build the guests, show the demo, run every check. There are no other scripts, and the
//! continuous integration runs the same steps as a person does.
//!
//! It is the first thing a newcomer compiles, so it has few dependencies and takes none of the
//! project's own crates. It must not leave anything outside the build folder, except what `setup`
//! says it installs.

#![expect(
    clippy::print_stdout,
    reason = "a task runner talks to the person who started it"
)]

mod arguments;
mod bench;
mod chaos;
mod command;
mod demo;
mod disk;
mod fuzz;
mod guests;
mod project;
mod setup;
mod slim;
mod steps;
mod stopwatch;
mod tally;
mod tidy;
mod toolchain;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Task};
use crate::project::Project;
use crate::steps::Mode;

fn main() -> ExitCode {
    if let Some(code) = fuzz::rustc::run_if_wrapped() {
        return code;
    }
    let arguments = Arguments::parse();
    let project = match Project::find(arguments.verbose) {
        Ok(project) => project,
        Err(error) => return failure(&error),
    };
    let done = match arguments.task {
        Task::Setup { route } => setup::run(&project, route).and_then(|_| setup::servers(&project)),
        Task::Guests { path } => guests::run(&project, path.as_deref()),
        Task::Demo => demo::run(&project),
        Task::Test(selection) => return steps::run(&project, Mode::Person, &selection),
        Task::Ci(selection) => return steps::run(&project, Mode::Machine, &selection),
        Task::Bench(arguments) => bench::run(&project, &arguments),
        Task::Chaos(arguments) => chaos::run(&project, &arguments),
        Task::Fuzz(arguments) => fuzz::run(&project, &arguments),
        Task::Tidy(selection) => tidy::run(&project, selection),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(&error),
    }
}

fn failure(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
