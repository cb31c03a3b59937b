//! `sortie worker`: runs a fleet's tasks until a signal stops it; and `sortie worker list`.
//!
//! It prints one line when it is ready, and then only what an operator should know. After the first
//! signal it drains: running tasks may finish, and the rest goes back to the broker. A second
//! signal ends it at once; the tasks that were running are run again elsewhere when their leases
//! expire.

mod connect;
mod health;
mod list;
mod metrics;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sortie::Coordinator;
use sortie::objects::{Config, Files};
use sortie::protocol::{Advice, Labels, WorkerId};
use sortie_broker::Serves;
use sortie_broker::nats::{NatsBroker, Role};
use sortie_frontend::settings::{Clouds, Environment, cache, networks, store};
use sortie_frontend::{Error as FrontendError, chain};
use sortie_host::engine::apart::Compiler;
use sortie_host::setup::{self, Identity, Prepared, StoreAt};
use sortie_host::worker::{Drained, Introduction, REPORT_TIME_MAX};
use sortie_host::{Setup, Worker};
use tokio::runtime::Handle;
use tokio::time::timeout;

use self::connect::connect;
use crate::arguments::worker::{Arguments, Command, Serve};
use crate::ending::{Ending, Error};
use crate::session::warn_if_nothing_is_kept;
use crate::terminal;
use crate::terminal::interrupt::Interrupt;

/// How long running tasks may take to finish after the first signal. Orchestrators grant 30 s in
/// all by default and then kill the process: the steps after the grace period take 14 s at most.
const GRACE: Duration = Duration::from_secs(15);
/// Minimum time, after everything is reported, for pending writes of results to the store and the
/// disk. Results not written by then are computed again when they are needed.
const STORE_TIME_MAX: Duration = Duration::from_secs(2);
/// How long leaving open jobs to other workers may take, before the rest.
const STOP_TIME_MAX: Duration = Duration::from_millis(500);
/// How long disconnecting from the broker may take after that.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(2);

/// Run the command.
pub(crate) async fn run(
    arguments: &Arguments,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    match &arguments.command {
        Some(Command::List(list)) => list::run(list, environment, interrupt).await,
        None => serve(&arguments.serve, environment, interrupt).await,
    }
}

async fn serve(
    options: &Serve,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let mut config = options
        .broker
        .settings()
        .required(environment, Role::Worker)?;
    if let Some(losses) = options.give_up_after {
        config.losses_max = losses;
    }
    check_folders(&options.files)?;
    let listener = match options.health {
        Some(address) => Some(health::listen(address).await?),
        None => None,
    };
    let broker = match connect(config, interrupt).await {
        Ok(broker) => broker,
        // Stopped before anything could run.
        Err(Error::Interrupted) => {
            terminal::say("stopped before the broker was reached; no tasks were running");
            return Ok(Ending::Completed);
        }
        Err(error) => return Err(error),
    };
    let prepared = prepare(options, environment)?;
    let id = random_id()?;
    let worker = start(&prepared, id, &options.labels, &broker)?;
    let coordinator = (!options.no_coordinate).then(|| {
        let host = &prepared.host;
        Coordinator::start(broker.clone(), host.objects.clone(), host.store.clone())
    });
    let health = match listener {
        Some(listener) => {
            let address = listener.address();
            let _serving = listener.serve(health::Probe {
                broker: broker.clone(),
                worker: worker.clone(),
            });
            Some((address, _serving))
        }
        None => None,
    };
    let shown = health
        .as_ref()
        .map(|(address, _)| format!("health at http://{address}; "))
        .unwrap_or_default();
    let labels = if options.labels.is_empty() {
        "none".into()
    } else {
        options.labels.to_string()
    };
    terminal::say(&format!(
        "sortie worker {id}: {} slots at {}, labels {labels}; {shown}ready",
        prepared.slots,
        broker.place()
    ));
    interrupt.raised().await;
    if let Some(coordinator) = coordinator
        && timeout(STOP_TIME_MAX, coordinator.stop()).await.is_err()
    {
        tracing::warn!("open jobs could not be left to others at once; they wait for a while");
    }
    leave(&worker, &broker, id, options.grace.unwrap_or(GRACE)).await
}

/// Finish what is in work, tell the broker, and go.
async fn leave(
    worker: &Worker,
    broker: &NatsBroker,
    id: WorkerId,
    grace: Duration,
) -> Result<Ending, Error> {
    let shown = humantime::format_duration(grace);
    terminal::say(&format!(
        "sortie worker {id}: draining; {} running bundles have {shown} to finish",
        worker.busy()
    ));
    let drained = match timeout(
        grace.saturating_add(REPORT_TIME_MAX + STORE_TIME_MAX),
        worker.drain(grace),
    )
    .await
    {
        Ok(drained) => drained,
        // Reporting has ended before that, successfully or not.
        Err(_) => {
            tracing::warn!(
                "the store or the disk did not store all results in time; these are computed again \
                 when they are needed"
            );
            Drained::Reported
        }
    };
    if !matches!(timeout(LEAVE_TIME_MAX, broker.close()).await, Ok(Ok(()))) {
        tracing::warn!(
            "the broker did not confirm the disconnect; what it still counts as leased to this \
             worker comes back when its lease expires"
        );
    }
    match drained {
        Drained::Reported => {
            terminal::say(&format!("sortie worker {id}: drained"));
            Ok(Ending::Completed)
        }
        Drained::Unreported(count) => Err(Error::Platform(format!(
            "{count} bundles could not be reported to the broker; they are run again elsewhere \
             when their leases expire"
        ))),
    }
}

fn prepare(options: &Serve, environment: &Environment) -> Result<Prepared, Error> {
    let Clouds { config, troubles } = environment.clouds();
    for (service, trouble) in troubles.all() {
        tracing::warn!(
            "tasks that read from {}:// may fail: {trouble}",
            service.scheme()
        );
    }
    let mut objects = Config {
        files: Files::under(options.files.clone()),
        web_networks: networks(&options.allow_network, environment)?,
        ..config
    };
    warn_if_nothing_is_kept(options.cache.as_ref(), environment);
    let cache = cache(options.cache.as_ref(), environment);
    let inputs = options.inputs.settings();
    inputs.apply(&mut objects, cache.as_deref())?;
    let walls = options.walls.settings();
    let setup = Setup {
        concurrency: options.concurrency,
        memory: walls.memory(environment)?,
        limits: walls.limits(environment)?,
        compiler: Compiler::this_program(),
        cache,
        store: store(options.store.as_deref(), environment)?
            .map_or(StoreAt::Nowhere, StoreAt::Shared),
        store_quota: walls.store_quota(environment)?,
        objects,
    };
    if setup.store_quota.is_some() && setup.store == StoreAt::Nowhere {
        return Err(Error::Usage(
            "a quota for the store is set, and no store; name one with --store".into(),
        ));
    }
    setup.prepare(Handle::current()).map_err(|error| {
        let text = chain(&error);
        let told = match error {
            setup::Error::Cache(_) => FrontendError::usage(text).advised(Advice::ConfigureCache),
            setup::Error::Engine(_) => {
                FrontendError::platform(text).advised(Advice::LowerConcurrency)
            }
            setup::Error::InputMemory { .. } => FrontendError::usage(text),
        };
        told.into()
    })
}

fn start(
    prepared: &Prepared,
    id: WorkerId,
    labels: &Labels,
    broker: &Arc<NatsBroker>,
) -> Result<Arc<Worker>, Error> {
    let introduction = Introduction {
        machine: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        process: std::process::id(),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let identity = Identity {
        id,
        serves: Serves::Labels(labels.clone()),
        introduction: Some(introduction),
    };
    let started = prepared.start(identity, broker.clone(), Some(broker.lease()));
    started
        .map(Arc::new)
        .map_err(|error| Error::Platform(format!("failed to start the worker: {error}")))
}

/// A missing folder is most likely misspelt; reported now rather than by every task.
fn check_folders(folders: &[PathBuf]) -> Result<(), Error> {
    match folders.iter().find(|folder| !folder.is_dir()) {
        Some(folder) => Err(Error::Usage(format!(
            "there is no folder `{}` to read files from; name one with --files",
            folder.display()
        ))),
        None => Ok(()),
    }
}

fn random_id() -> Result<WorkerId, Error> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Error::Platform(format!("failed to get random bytes: {error}")))?;
    Ok(WorkerId::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_is_asked_to_end_is_gone_before_it_is_killed() {
        assert!(
            STOP_TIME_MAX + GRACE + REPORT_TIME_MAX + STORE_TIME_MAX + LEAVE_TIME_MAX
                < Duration::from_secs(30)
        );
    }
}
