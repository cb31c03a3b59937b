//! The command line of `sortie dlq`.

use std::num::NonZeroUsize;

use clap::{ArgGroup, Args, Subcommand};
use sortie::LetterId;

use super::broker::BrokerOptions;

/// Letters that are listed unless more are asked for.
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
    /// Show one with its task's arguments, as JSON
    Show(Show),
    /// Submit their tasks again, in new jobs with the same options, and print these jobs
    Replay(Replay),
    /// Remove some: they were dealt with
    Remove(Remove),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those of this job, which may be forgotten already; the beginning of a job's name will
    /// do while the job is there
    #[arg(long)]
    pub(crate) job: Option<String>,
    /// Show this many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = LISTED)]
    pub(crate) count: NonZeroUsize,
    /// Print one JSON object for each, a line each
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Its number, as `sortie dlq list` shows it
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
    /// Those of this job
    #[arg(long)]
    pub(crate) job: Option<String>,
    /// All there are
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
