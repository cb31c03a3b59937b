//! `sortie broker`: what an operator does with a fleet's broker.

use std::num::{NonZeroU16, NonZeroUsize};
use std::time::Duration;

use clap::{Args, Subcommand};
use sortie::nats::{Config, LEASE_MIN, Layout, NatsBroker, Provision, Role, SHARDS_MAX};
use sortie::{BrokerError, Client, Labels};

use crate::connection::BrokerOptions;
use crate::ending::{Ending, Error};
use crate::environment::Environment;
use crate::interrupt::Interrupt;
use crate::job::refused;
use crate::session::refused_connection;
use crate::settings;
use crate::table;

/// `sortie broker`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the streams that a fleet needs, and say what there is; what is there already stays
    Init(Init),
    /// Connect, and say what there is
    Check(Check),
}

#[derive(Debug, Args)]
struct Init {
    /// Servers that keep a copy of everything; 3 outlives the loss of one [default: 1]
    #[arg(long, value_name = "COUNT")]
    replicas: Option<NonZeroUsize>,
    /// Streams that share the tasks; more spread the load of very many over the servers of a
    /// cluster [default: 1]
    #[arg(long, value_name = "COUNT", value_parser = shards)]
    shards: Option<NonZeroU16>,
    /// How long a worker that went silent keeps its tasks [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = lease)]
    lease: Option<Duration>,
    /// A pool for jobs that ask for these labels, such as gpu,region=eu. Repeatable
    #[arg(long = "pool", value_name = "LABELS")]
    pools: Vec<Labels>,
    #[command(flatten)]
    broker: BrokerOptions,
}

#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    broker: BrokerOptions,
}

fn shards(text: &str) -> Result<NonZeroU16, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number: &NonZeroU16| number.get() <= SHARDS_MAX);
    number.ok_or_else(|| format!("write a number from 1 to {SHARDS_MAX}"))
}

fn lease(text: &str) -> Result<Duration, String> {
    let lease = settings::duration(text)?;
    if lease < LEASE_MIN {
        Err(format!(
            "a lease holds at least {}",
            humantime::format_duration(LEASE_MIN)
        ))
    } else {
        Ok(lease)
    }
}

/// Run the command.
pub(crate) async fn run(
    arguments: &Arguments,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    match &arguments.command {
        Command::Init(arguments) => init(arguments, environment, interrupt).await,
        Command::Check(arguments) => {
            let config = arguments.broker.required(environment, Role::Client)?;
            show(
                Config {
                    provision: Provision::Never,
                    ..config
                },
                &[],
                interrupt,
            )
            .await
        }
    }
}

async fn init(
    arguments: &Init,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let config = arguments.broker.required(environment, Role::Client)?;
    let is_open =
        arguments.replicas.is_none() && arguments.shards.is_none() && arguments.lease.is_none();
    let as_is = Config {
        provision: Provision::Never,
        ..config.clone()
    };
    // Whoever names no layout takes the one there is.
    if is_open
        && interrupt
            .or(NatsBroker::init(as_is.clone(), &[]))
            .await?
            .is_ok()
    {
        return show(as_is, &arguments.pools, interrupt).await;
    }
    if is_open {
        // What is missing is a tenant's, or everything. Neither says that the layout there is has
        // to be the default one.
        let missing = Config {
            provision: Provision::Missing(Layout::default()),
            ..config
        };
        interrupt
            .or(NatsBroker::connect(missing))
            .await?
            .map_err(unusable)?;
        return show(as_is, &arguments.pools, interrupt).await;
    }
    let defaults = Layout::default();
    let layout = Layout {
        replicas: arguments.replicas.unwrap_or(defaults.replicas),
        shards: arguments.shards.unwrap_or(defaults.shards),
        lease: arguments.lease.unwrap_or(defaults.lease),
        ..defaults
    };
    show(
        Config {
            provision: Provision::Missing(layout),
            ..config
        },
        &arguments.pools,
        interrupt,
    )
    .await
}

/// Make what `config` permits to be made, and say what there is.
async fn show(config: Config, pools: &[Labels], interrupt: &Interrupt) -> Result<Ending, Error> {
    let installed = interrupt
        .or(NatsBroker::init(config.clone(), pools))
        .await?
        .map_err(unusable)?;
    let config = Config {
        provision: Provision::Never,
        ..config
    };
    let (tenant, space) = (config.tenant.to_string(), config.space.to_string());
    let client = interrupt
        .or(Client::fleet(config))
        .await?
        .map_err(refused_connection)?;
    let workers = interrupt.or(client.workers()).await?.map_err(refused)?;
    let slots: u64 = workers.iter().map(|worker| u64::from(worker.slots)).sum();
    let pools = match &installed.pools {
        Some(pools) if pools.is_empty() => "none beside the one for all".into(),
        Some(pools) => pools
            .iter()
            .map(Labels::to_string)
            .collect::<Vec<_>>()
            .join("; "),
        None => "not told to this user".into(),
    };
    let rows = [
        ["server".into(), format!("nats-server {}", installed.server)],
        ["space".into(), space],
        ["tenant".into(), tenant],
        ["shards".into(), installed.shards.to_string()],
        ["replicas".into(), installed.replicas.to_string()],
        [
            "lease".into(),
            humantime::format_duration(installed.lease).to_string(),
        ],
        ["pools".into(), pools],
        [
            "workers".into(),
            format!("{} with {slots} slots", workers.len()),
        ],
    ];
    table::print(["broker", "usable"], rows)?;
    Ok(Ending::Completed)
}

fn unusable(error: BrokerError) -> Error {
    Error::Platform(error.to_string())
}
