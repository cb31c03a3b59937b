//! What can be typed after `cargo xtask`. The comments here are the help texts.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::bench;
use crate::chaos;
use crate::steps::Selection;
use crate::tidy;
use crate::toolchain::Route;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Set up, build, show and check Sortie",
    disable_help_subcommand = true
)]
pub(crate) struct Arguments {
    /// Print every command before it runs
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    #[command(subcommand)]
    pub(crate) task: Task,
}

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Get the toolchain that builds guests and the servers that tests need, if they are not there
    Setup {
        /// Use this route, and remember it
        #[arg(long, value_enum)]
        route: Option<Route>,
    },
    /// Build guests as components, into target/components
    Guests {
        /// Folder of one function crate; without it, all of the project's guests
        path: Option<PathBuf>,
    },
    /// Extract the text of the sample PDFs, each in a sandbox of its own
    Demo,
    /// Run every check: format, lints, documentation, all tests
    Test(Selection),
    /// What `test` runs, with the settings of continuous integration
    Ci(Selection),
    /// Measure one thing; without a name, list what can be measured
    Bench(bench::Arguments),
    /// Run tasks over a fleet while its processes are killed, paused and cut off, and check that
    /// nothing is lost
    Chaos(chaos::Arguments),
    /// Check the rules about dependencies, sources and links
    Tidy(tidy::Selection),
}
