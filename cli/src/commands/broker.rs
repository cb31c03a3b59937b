//! `sortie broker`: sets up a fleet's broker, checks it, and looks into its queues.

use sortie::nats::{Config, Layout, NatsBroker, Provision, Quota, Role};
use sortie::{Client, Labels};
use sortie_broker::Operate as _;
use sortie_frontend::settings::Environment;

use crate::arguments::provision::{Arguments, Check, Command, Init};
use crate::ending::{Ending, Error, refused};
use crate::terminal::interrupt::Interrupt;
use crate::terminal::table;

/// Run the command.
pub(crate) async fn run(
    arguments: &Arguments,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    match &arguments.command {
        Command::Init(arguments) => init(arguments, environment, interrupt).await,
        Command::Check(arguments) => show(existing(arguments, environment)?, &[], interrupt).await,
        Command::Queues(arguments) => queues(existing(arguments, environment)?, interrupt).await,
        Command::Empty(arguments) => empty(existing(arguments, environment)?, interrupt).await,
    }
}

/// The broker as it is: nothing is made there.
fn existing(arguments: &Check, environment: &Environment) -> Result<Config, Error> {
    let settings = arguments.broker.settings();
    Ok(settings.existing(environment, Role::Client)?)
}

async fn queues(config: Config, interrupt: &Interrupt) -> Result<Ending, Error> {
    let broker = interrupt
        .or(NatsBroker::connect(config))
        .await?
        .map_err(refused)?;
    let queues = interrupt.or(broker.queues()).await?.map_err(refused)?;
    let rows = queues.iter().map(|waiting| {
        [
            waiting.tenant.to_string(),
            waiting.bundles.to_string(),
            waiting
                .leased
                .map_or_else(|| "not told".into(), |leased| leased.to_string()),
            waiting.bytes.to_string(),
            waiting.bytes_max.to_string(),
        ]
    });
    table::print(["tenant", "bundles", "leased", "bytes", "of at most"], rows)?;
    Ok(Ending::Completed)
}

async fn empty(config: Config, interrupt: &Interrupt) -> Result<Ending, Error> {
    let tenant = config.tenant;
    let broker = interrupt
        .or(NatsBroker::connect(config))
        .await?
        .map_err(refused)?;
    let removed = interrupt.or(broker.empty(tenant)).await?.map_err(refused)?;
    table::print(
        ["tenant", "removed bundles"],
        [[tenant.to_string(), removed.to_string()]],
    )?;
    Ok(Ending::Completed)
}

async fn init(
    arguments: &Init,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let config = arguments
        .broker
        .settings()
        .required(environment, Role::Client)?;
    let quota = Quota {
        queue_bytes: arguments.queue_size,
        weight: arguments.weight,
    };
    let is_open =
        arguments.replicas.is_none() && arguments.shards.is_none() && arguments.lease.is_none();
    let as_is = Config {
        provision: Provision::Never,
        ..config.clone()
    };
    if is_open && quota != Quota::default() {
        let missing = Config {
            provision: Provision::Missing(Layout::default()),
            ..config
        };
        interrupt
            .or(NatsBroker::resize(missing, quota))
            .await?
            .map_err(refused)?;
        return show(as_is, &arguments.pools, interrupt).await;
    }
    // Without a layout on the command line the one there is is taken.
    if is_open
        && interrupt
            .or(NatsBroker::init(as_is.clone(), &[]))
            .await?
            .is_ok()
    {
        return show(as_is, &arguments.pools, interrupt).await;
    }
    if is_open {
        // Either a tenant's streams are missing, or all streams. In neither case does the existing
        // layout have to be the default one.
        let missing = Config {
            provision: Provision::Missing(Layout::default()),
            ..config
        };
        interrupt
            .or(NatsBroker::connect(missing))
            .await?
            .map_err(refused)?;
        return show(as_is, &arguments.pools, interrupt).await;
    }
    let defaults = Layout::default();
    let layout = Layout {
        replicas: arguments.replicas.unwrap_or(defaults.replicas),
        shards: arguments.shards.unwrap_or(defaults.shards),
        lease: arguments.lease.unwrap_or(defaults.lease),
        tasks_bytes_max: arguments.queue_size.unwrap_or(defaults.tasks_bytes_max),
        weight: arguments.weight.unwrap_or(defaults.weight),
    };
    let config = Config {
        provision: Provision::Missing(layout),
        ..config
    };
    let ended = show(config.clone(), &arguments.pools, interrupt).await?;
    if quota != Quota::default() {
        // The tenant may have been there with others.
        interrupt
            .or(NatsBroker::resize(config, quota))
            .await?
            .map_err(refused)?;
    }
    Ok(ended)
}

/// Create the streams that `config` permits to create, and show the configuration.
async fn show(config: Config, pools: &[Labels], interrupt: &Interrupt) -> Result<Ending, Error> {
    let installed = interrupt
        .or(NatsBroker::init(config.clone(), pools))
        .await?
        .map_err(refused)?;
    let config = Config {
        provision: Provision::Never,
        ..config
    };
    let (tenant, space) = (config.tenant.to_string(), config.space.to_string());
    let client = interrupt
        .or(Client::fleet(config))
        .await?
        .map_err(refused)?;
    let workers = interrupt.or(client.workers()).await?.map_err(refused)?;
    let slots: u64 = workers.iter().map(|worker| u64::from(worker.slots)).sum();
    let pools = match &installed.pools {
        Some(pools) if pools.is_empty() => "only the default pool".into(),
        Some(pools) => pools
            .iter()
            .map(Labels::to_string)
            .collect::<Vec<_>>()
            .join("; "),
        None => "not visible to this user".into(),
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
