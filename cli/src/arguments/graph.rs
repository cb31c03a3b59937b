//! The command line of `sortie graph`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::broker::BrokerOptions;

/// `sortie graph`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show how many tasks of each function wait, run and ended, and the critical path
    ///
    /// The critical path is the sequence of tasks, each of which takes the result of the one
    /// before, that took longest together: with any number of workers the job takes so long.
    Show(Show),
}

/// `sortie graph show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The job's name, or a unique prefix of it, such as job-ab12
    pub(crate) job: String,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw the graph, coloured by how its tasks stand, into this file; of more than 400 tasks
    /// those of one function and level share a box
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
}
