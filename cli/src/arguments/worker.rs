//! The command line of `sortie worker`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use sortie::Labels;
use sortie::objects::Network;
use sortie_frontend::settings::{Cache, parse};

use super::broker::BrokerOptions;
use super::host::InputOptions;

/// `sortie worker`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

/// What else can be done about workers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show which workers are there
    List(List),
}

/// How the worker works.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
    /// Tasks in work at once [default: twice the cores]
    #[arg(long, value_name = "COUNT", value_parser = parse::concurrency)]
    pub(crate) concurrency: Option<NonZeroUsize>,
    /// What this worker has, such as gpu,region=eu: jobs that ask for no more than these labels
    /// come here
    #[arg(
        long,
        value_name = "LABELS",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) labels: Labels,
    /// Keep compiled code and results here, or `off` to keep nothing [default: the user's cache
    /// folder]
    #[arg(long, value_name = "DIR|off", value_parser = parse::cache)]
    pub(crate) cache: Option<Cache>,
    #[command(flatten)]
    pub(crate) inputs: InputOptions,
    /// Keep large outputs here, and share results with all workers that name the same place:
    /// s3://BUCKET/PREFIX, or a folder that all of them have [default: none; or the variable
    /// SORTIE_STORE]
    #[arg(long, value_name = "URL", value_parser = parse::store)]
    pub(crate) store: Option<String>,
    /// Answer GET /healthz, /readyz and /metrics over HTTP at this address, such as
    /// 127.0.0.1:8080; port 0 takes a free one [default: off]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) health: Option<SocketAddr>,
    /// What tasks in work get to finish when the worker is asked to end [default: 15s]
    ///
    /// Up to 14 seconds more are for reporting to the broker what was stopped, for storing
    /// results, and for giving back the rest: 29 in all, of the 30 that Kubernetes grants by
    /// default.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub(crate) grace: Option<Duration>,
    /// Lost leases of a task, in a row, after which it ends as worker-lost [default: 5]
    ///
    /// The second loss of a bundle parts its tasks. A lease is lost when a worker dies, is cut
    /// off, or stands still for as long as a lease holds: where that happens often, healthy
    /// tasks need more than the default. From 3 to 100.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(3..=100))]
    pub(crate) give_up_after: Option<u32>,
    /// Let tasks read local files in this folder and below; without it they read none. Repeatable
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Vec<PathBuf>,
    /// Let tasks read web servers in this network, such as 10.1.0.0/16, although it is not public;
    /// 0.0.0.0/0 and ::/0 are everything. Repeatable [default: none; or the variable
    /// SORTIE_ALLOW_NETWORKS, with commas between them]
    #[arg(long, value_name = "NETWORK")]
    pub(crate) allow_network: Vec<Network>,
}

/// `sortie worker list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
    /// Print one JSON object for each worker, a line each
    #[arg(long)]
    pub(crate) json: bool,
}
