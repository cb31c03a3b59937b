//! The command line of `cargo xtask`. The doc comments are the help texts.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::bench;
use crate::chaos;
use crate::fuzz;
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
    /// Install the toolchain that builds guests and the servers that tests need, unless they are
    /// already installed
    Setup {
        /// Install the toolchain by this route only, and use it from now on
        #[arg(long, value_enum)]
        route: Option<Route>,
    },
    /// Build guests as components, into target/components
    Guests {
        /// Folder of one function crate [default: all of the project's guests]
        path: Option<PathBuf>,
    },
    /// Extract the text of the sample PDFs, each in a sandbox of its own
    Demo,
    /// Run every check: format, lints, documentation, all tests
    Test(Selection),
    /// Run the checks of `test` with the settings of continuous integration
    Ci(Selection),
    /// Run a benchmark; without a name, list the benchmarks
    Bench(bench::Arguments),
    /// Run tasks over a fleet while its processes are killed, paused, cut off and short of
    /// descriptors, clocks are stepped, queue and storage are full and a second tenant attacks, and
    /// check that nothing is lost
    Chaos(chaos::Arguments),
    /// Give arbitrary bytes to the decoders of bytes from outside, guided by coverage
    Fuzz(fuzz::Arguments),
    /// Check the rules about dependencies, sources and links
    Tidy(tidy::Selection),
}
