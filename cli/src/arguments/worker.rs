//! The command line of `sortie worker`.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use sortie::objects::Network;
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

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the workers that are connected to the broker
    List(List),
}

/// Options of a worker.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
    /// How many bundles are processed concurrently [default: twice the number of cores]
    #[arg(long, value_name = "COUNT", value_parser = parse::concurrency)]
    pub(crate) concurrency: Option<NonZeroUsize>,
    /// Labels of this worker, such as gpu,region=eu: it runs jobs that require a subset of them
    #[arg(
        long,
        value_name = "LABELS",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) labels: Labels,
    /// The folder where compiled components and results are cached; `off` disables the cache
    /// [default: the user's cache folder]
    #[arg(long, value_name = "DIR|off", value_parser = parse::cache)]
    pub(crate) cache: Option<Cache>,
    #[command(flatten)]
    pub(crate) inputs: InputOptions,
    /// Where large outputs are stored, and results are shared with all workers that use the same
    /// location: s3://BUCKET/PREFIX (also gs://, az://), or a folder that all of them mount [env:
    /// SORTIE_STORE] [default: none]
    #[arg(long, value_name = "URL", value_parser = parse::store)]
    pub(crate) store: Option<String>,
    /// Serve /healthz, /readyz and /metrics over HTTP at this address, such as 127.0.0.1:8080; with
    /// port 0 the system picks a free port [default: off]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) health: Option<SocketAddr>,
    /// How long running tasks may take to finish after the first signal [default: 15s]
    ///
    /// After that the worker takes up to 14 seconds to report stopped tasks to the broker, to store
    /// results, and to return the remaining bundles: 29 seconds in all, of the 30 that Kubernetes
    /// grants by default.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub(crate) grace: Option<Duration>,
    /// After how many lost leases in a row a task ends as worker-lost [default: 5]
    ///
    /// After a bundle's second loss its tasks are queued one by one. A lease is lost when a worker
    /// dies, is disconnected, or is paused for as long as a lease lasts; where that happens often,
    /// healthy tasks need more than the default. From 3 to 100.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(3..=100))]
    pub(crate) give_up_after: Option<u32>,
    /// Do not go on with open jobs whose clients ended: leave the tasks that wait in them to other
    /// workers
    #[arg(long)]
    pub(crate) no_coordinate: bool,
    #[command(flatten)]
    pub(crate) walls: Walls,
    /// Let tasks read local files in this folder and its subfolders. Repeatable [default: no local
    /// files]
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Vec<PathBuf>,
    /// Let tasks read web servers in this network, such as 10.1.0.0/16, although it is not public;
    /// 0.0.0.0/0 and ::/0 are everything. Repeatable [default: none; or the variable
    /// SORTIE_ALLOW_NETWORKS, with commas between them]
    #[arg(long, value_name = "NETWORK")]
    pub(crate) allow_network: Vec<Network>,
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
    /// How much each tenant may have in --store; tasks whose output does not fit are refused
    /// [default: no quota; or SORTIE_STORE_QUOTA]
    ///
    /// Counted by listing what the tenant has, at most once a minute. Workers of one store need the
    /// same quota; together they may exceed it by what they write between two counts.
    #[arg(long, value_name = "SIZE")]
    store_quota: Option<ByteSize>,
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
            store_quota: self.store_quota,
        }
    }
}

/// `sortie worker list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
    /// Print one JSON object per worker, one per line
    #[arg(long)]
    pub(crate) json: bool,
}
