//! The command line of `sortie job`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::broker::BrokerOptions;
use super::progress::ProgressKind;

/// Default of `--count`.
const LISTED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(19);

const AFTER_GATHER: &str = "\
Exit codes: 0 all completed, 1 some failed or the job was cancelled, 2 wrong usage, 3 platform
failure (also of a task: its blame is platform), 4 the job's submitter is gone and more may be
missing, 130 interrupted.";

/// `sortie job`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the most recently submitted jobs, newest first
    List(List),
    /// Show a job's progress
    Status(Status),
    /// Write a job's results as `sortie map` does, and have the broker drop them
    ///
    /// Waits until all results are there. The job stays listed as gathered. While somebody else
    /// reads its results they stay, too, and so they do if the reader of a pipe leaves before it
    /// has taken them. A job whose submitter is gone, and had not submitted all inputs, ends with
    /// the tasks there are, is kept, and the exit code is 4.
    #[command(after_long_help = AFTER_GATHER)]
    Gather(Box<Gather>),
    /// Cancel a job: stop its tasks; results that are already stored stay
    Cancel(One),
    /// Show the output and log lines of a job's tasks
    Logs(Logs),
    /// Remove everything the broker has of a job, results included; running tasks are stopped
    Forget(One),
}

/// `sortie job list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Show at most this many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = LISTED)]
    pub(crate) count: NonZeroUsize,
    /// Print one JSON object for each job, a line each
    #[arg(long, conflicts_with = "watch")]
    pub(crate) json: bool,
    /// Show them again and again, until interrupted
    #[arg(short, long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
}

/// `sortie job status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The job's name, or a unique prefix of it, such as job-ab12
    pub(crate) job: String,
    /// Print one JSON object; with --watch one each time
    #[arg(long)]
    pub(crate) json: bool,
    /// Show it again and again, until the job has ended or nothing can change any more
    #[arg(short, long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
}

/// Arguments of a command that takes one job.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// The job's name, or a unique prefix of it, such as job-ab12
    pub(crate) job: String,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
}

/// `sortie job gather`.
#[derive(Debug, Args)]
pub(crate) struct Gather {
    /// The job's name, or a unique prefix of it, such as job-ab12
    pub(crate) job: String,
    /// Write results here instead of to standard output, as `sortie map` does: to a file or an
    /// object in a store, by its extension; with braces, as in 's3://BUCKET/{index}.png', it names
    /// the objects that tasks made
    #[arg(short, long, value_name = "FILE|URL")]
    pub(crate) output: Vec<PathBuf>,
    /// Write results in the order of the inputs instead of as they came; results that wait for an
    /// earlier one are held in memory
    #[arg(long)]
    pub(crate) ordered: bool,
    /// Keep the job at the broker, so that it can be gathered again
    #[arg(long)]
    pub(crate) keep: bool,
    /// How progress is shown on standard error
    #[arg(long, value_enum, default_value_t = ProgressKind::Auto, value_name = "HOW")]
    pub(crate) progress: ProgressKind,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
}

/// `sortie job logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The job's name, or a unique prefix of it, such as job-ab12
    pub(crate) job: String,
    /// Only the task with this index; without it the logs of all
    pub(crate) index: Option<u64>,
    /// Wait for the logs of tasks that have not ended, until the job ends
    #[arg(short, long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
}
