//! The command line of `sortie broker`.

use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::time::Duration;

use clap::{Args, Subcommand};
use sortie::Labels;
use sortie::nats::{LEASE_MIN, QUEUE_BYTES_MIN, SHARDS_MAX};
use sortie::protocol::ByteSize;
use sortie_frontend::settings::parse;

use super::broker::BrokerOptions;

/// `sortie broker`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create the streams that a fleet needs, and show the configuration; existing streams are kept
    Init(Init),
    /// Connect to the broker and show its configuration
    Check(Check),
    /// Show what waits of each tenant, and how much its queue may take
    Queues(Check),
    /// Remove all tasks of the tenant that wait; those who follow its jobs are told that they are
    /// lost
    Empty(Check),
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// JetStream replicas of each stream; with 3, the fleet survives the loss of one server
    /// [default: 1]
    #[arg(long, value_name = "COUNT")]
    pub(crate) replicas: Option<NonZeroUsize>,
    /// Streams that tasks are distributed over; more than one spreads a very high load over the
    /// servers of a cluster [default: 1]
    #[arg(long, value_name = "COUNT", value_parser = shards)]
    pub(crate) shards: Option<NonZeroU16>,
    /// How long a lease lasts unless the worker extends it: after this time, the tasks of a worker
    /// that stopped responding go to another [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = lease)]
    pub(crate) lease: Option<Duration>,
    /// What the tasks of the tenant that wait may take in each shard; submitting waits when it is
    /// full. May be changed at any time [default: 256MiB, or less on a small server]
    #[arg(long, value_name = "SIZE", value_parser = queue_size)]
    pub(crate) queue_size: Option<NonZeroU32>,
    /// The tenant's share of the workers, beside those of other tenants that have work. May be
    /// changed at any time [default: 1]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) weight: Option<NonZeroU16>,
    /// A pool for jobs that ask for these labels, such as gpu,region=eu. Repeatable
    #[arg(long = "pool", value_name = "LABELS")]
    pub(crate) pools: Vec<Labels>,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
}

fn shards(text: &str) -> Result<NonZeroU16, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number: &NonZeroU16| number.get() <= SHARDS_MAX);
    number.ok_or_else(|| format!("write a number from 1 to {SHARDS_MAX}"))
}

fn lease(text: &str) -> Result<Duration, String> {
    let lease = parse::duration(text)?;
    if lease < LEASE_MIN {
        Err(format!(
            "a lease lasts at least {}",
            humantime::format_duration(LEASE_MIN)
        ))
    } else {
        Ok(lease)
    }
}

fn queue_size(text: &str) -> Result<NonZeroU32, String> {
    let least = u64::from(QUEUE_BYTES_MIN.get());
    let size: ByteSize = text.parse().map_err(|error| format!("{error}"))?;
    let bytes = u32::try_from(size.as_u64()).ok().and_then(NonZeroU32::new);
    bytes.filter(|_| size.as_u64() >= least).ok_or_else(|| {
        format!(
            "write a size from {} to 4095MiB",
            ByteSize::mib(least >> 20)
        )
    })
}
