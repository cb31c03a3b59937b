//! One step while it runs: what its function is given and answers.

use std::env;
use std::io::IsTerminal;

use anyhow::Result;

use crate::command::{Cmd, Stream};
use crate::project::Project;
use crate::tally::Tally;

/// Whom a run is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A person at a terminal.
    Person,
    /// Continuous integration.
    Machine,
}

impl Mode {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Person => "test",
            Self::Machine => "ci",
        }
    }
}

/// What a step's function answers when nothing failed.
pub(super) enum Check {
    Done,
    /// There was nothing to check with.
    Skipped(&'static str),
}

/// One step while it runs.
pub(super) struct Run<'a> {
    pub(super) project: &'a Project,
    pub(super) mode: Mode,
    pub(super) tally: Option<Tally>,
}

impl Run<'_> {
    /// Our cargo, with the settings of the mode.
    pub(super) fn cargo(&self) -> Cmd {
        let cargo = self.project.cargo();
        match self.mode {
            Mode::Person => cargo,
            Mode::Machine => cargo
                .look("CARGO_TERM_PROGRESS_WHEN", "never")
                .look("CARGO_TERM_COLOR", "never"),
        }
    }

    /// Shows a command, then runs it.
    pub(super) fn command(&self, cmd: Cmd) -> Result<()> {
        println!("$ {}", cmd.shown());
        cmd.run()
    }

    /// Shows a command, then runs it and counts the tests it reports on this stream.
    pub(super) fn count(&mut self, cmd: Cmd, stream: Stream) -> Result<()> {
        println!("$ {}", cmd.shown());
        let tally = self.tally.get_or_insert_default();
        let colours = self.mode == Mode::Person
            && std::io::stderr().is_terminal()
            && env::var_os("NO_COLOR").is_none();
        let cmd = if colours {
            cmd.look("CARGO_TERM_COLOR", "always")
        } else {
            cmd
        };
        cmd.watch(stream, |line| tally.read(line))
    }
}
