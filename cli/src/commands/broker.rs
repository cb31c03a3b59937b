//! `sortie broker`: sets up a fleet's broker, or checks it.

use sortie::nats::{Config, Layout, NatsBroker, Provision, Role};
use sortie::{Client, Labels};
use sortie_frontend::settings::Environment;

use crate::arguments::provision::{Arguments, Command, Init};
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
        Command::Check(arguments) => {
            let config = arguments
                .broker
                .settings()
                .required(environment, Role::Client)?;
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
    let config = arguments
        .broker
        .settings()
        .required(environment, Role::Client)?;
    let is_open =
        arguments.replicas.is_none() && arguments.shards.is_none() && arguments.lease.is_none();
    let as_is = Config {
        provision: Provision::Never,
        ..config.clone()
    };
    // Without a layout on the command line, the existing one is kept.
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
