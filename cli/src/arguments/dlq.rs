//! The command line of `sortie dlq`.

use std::num::NonZeroUsize;

use clap::{ArgGroup, Args, Subcommand};
use sortie::LetterId;

use super::broker::BrokerOptions;

/// Default of `--count`.
const LISTED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(19);

/// `sortie dlq`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the newest dead letters, newest first
    List(List),
    /// Show one dead letter with its task's arguments, as JSON
    Show(Show),
    /// Submit the tasks of dead letters again, in new jobs with the same options, and print the new
    /// jobs
    Replay(Replay),
    /// Remove dead letters without running their tasks again
    Remove(Remove),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Show only dead letters of this job, which may have been forgotten. A unique prefix of the
    /// job's name is enough while the broker still has the job
    #[arg(long)]
    pub(crate) job: Option<String>,
    /// Show at most this many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = LISTED)]
    pub(crate) count: NonZeroUsize,
    /// Print one JSON object per dead letter, one per line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The dead letter's number, as `sortie dlq list` shows it
    pub(crate) id: LetterId,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["ids", "job", "all"]))]
pub(crate) struct Replay {
    /// Their numbers, as `sortie dlq list` shows them
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<LetterId>,
    /// All dead letters of this job
    #[arg(long)]
    pub(crate) job: Option<String>,
    /// All dead letters
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Their numbers, as `sortie dlq list` shows them
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<LetterId>,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
}
