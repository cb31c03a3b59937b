//! The command line of `sortie worker`.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use sortie::{ByteSize, Labels};
use sortie_frontend::settings::{Cache, WorkerSettings, parse};

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
    #[command(flatten)]
    pub(crate) walls: Walls,
    /// Let tasks read local files in this folder and below; without it they read none. Repeatable
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Vec<PathBuf>,
}

/// What the worker has, and the most that it lets a task use.
#[derive(Debug, Args)]
pub(crate) struct Walls {
    /// Memory for all tasks in work, what they are given and return, and --input-memory; a task
    /// waits until its memory limit fits [default: three quarters of the machine's, or of the
    /// control group's; or the variable SORTIE_MEMORY]
    #[arg(long, value_name = "SIZE", value_parser = parse::worker_memory)]
    memory: Option<ByteSize>,
    /// Refuse tasks with a higher memory limit [default: 4GiB; or SORTIE_MAX_MEMORY]
    #[arg(long, value_name = "SIZE", value_parser = parse::memory)]
    max_memory: Option<ByteSize>,
    /// Refuse tasks with a longer time limit [default: 24h; or SORTIE_MAX_TIMEOUT]
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    max_timeout: Option<Duration>,
    /// Refuse tasks with a longer limit of time on a core [default: 24h; or SORTIE_MAX_CPU_TIME]
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    max_cpu_time: Option<Duration>,
    /// Refuse tasks with a higher limit on their result [default: 256MiB; or SORTIE_MAX_RESULT]
    #[arg(long, value_name = "SIZE")]
    max_result: Option<ByteSize>,
    /// Refuse tasks with a higher limit on their log [default: 16MiB; or SORTIE_MAX_LOG]
    #[arg(long, value_name = "SIZE")]
    max_log: Option<ByteSize>,
    /// Refuse tasks with a higher limit on the objects that they make [default: 1024GiB; or
    /// SORTIE_MAX_WRITTEN]
    #[arg(long, value_name = "SIZE")]
    max_written: Option<ByteSize>,
    /// Refuse tasks that may have more attempts [default: 100; or SORTIE_MAX_ATTEMPTS]
    #[arg(long, value_name = "COUNT", value_parser = parse::attempts)]
    max_attempts: Option<NonZeroU32>,
}

impl Walls {
    /// The settings that these options are.
    pub(crate) fn settings(&self) -> WorkerSettings {
        WorkerSettings {
            memory: self.memory,
            max_memory: self.max_memory,
            max_timeout: self.max_timeout,
            max_cpu_time: self.max_cpu_time,
            max_result: self.max_result,
            max_log: self.max_log,
            max_written: self.max_written,
            max_attempts: self.max_attempts,
        }
    }
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
