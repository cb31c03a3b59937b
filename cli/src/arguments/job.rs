//! The command line of `sortie job`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::broker::BrokerOptions;
use super::progress::ProgressKind;

/// Default of `--count`.
const LISTED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(19);

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
    /// Write a job's results as `sortie map` does, then remove the job from the broker
    ///
    /// Waits until every task has ended. If the submitter disappeared before it had submitted all
    /// inputs, the results of the tasks it did submit are written, and the job is kept. The inputs
    /// themselves are no longer known: `index` tells which task a result belongs to.
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
    /// Print one JSON object per job, one per line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
}

/// `sortie job status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The job's name, or a unique prefix of it, such as job-ab12
    pub(crate) job: String,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
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
    /// object in a bucket, as JSON lines, CSV or Parquet
    #[arg(short, long, value_name = "FILE|URL")]
    pub(crate) output: Option<PathBuf>,
    /// Write results in the order of the inputs instead of in the order of completion; results that
    /// wait for an earlier one are held in memory
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
    /// Show only the log of the task with this index [default: the logs of all tasks, as they end,
    /// until the job ends]
    pub(crate) index: Option<u64>,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
}
