//! A client, with everything in this process or over a fleet's broker, set up from options and the
//! environment, and what a command loads through it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sortie::nats::Role;
use sortie::objects::Location;
use sortie::{
    Builder, Client, Component, ConnectError, Function, Grants, JobOptions, LoadError, StartError,
};

use crate::arguments::HostOptions;
use crate::clouds::{self, Troubles};
use crate::connection::BrokerOptions;
use crate::ending::{Error, chain};
use crate::environment::Environment;
use crate::expand::{Files, Places};
use crate::interrupt::Interrupt;
use crate::settings::Cache;

/// How long the broker may take to hear what becomes of a command's jobs, when the command is done.
pub(crate) const SETTLE_TIME_MAX: Duration = Duration::from_secs(5);

/// A client and how it finds objects.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) places: Places,
    /// Whether results are kept for a later run.
    pub(crate) keeps: Keeps,
}

/// What becomes of results when the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// Results are kept on this machine.
    Results,
    Nothing,
    /// The broker of a fleet has the job until it is told to forget it.
    Job,
}

impl Session {
    /// Start a client of the broker that is named, or an embedded one where none is.
    ///
    /// # Errors
    /// As [`Self::start`], and when the broker cannot be reached, refuses, or cannot be used.
    pub(crate) async fn open(
        host: &HostOptions,
        broker: &BrokerOptions,
        environment: &Environment,
        interrupt: &Interrupt,
    ) -> Result<Self, Error> {
        let Some(config) = broker.config(environment, Role::Client)? else {
            return Self::start(host, environment);
        };
        let (builder, troubles) = builder(host, environment)?;
        let files = if is_here(&config.servers) {
            Files::Here
        } else {
            Files::Elsewhere(Arc::default())
        };
        let client = interrupt
            .or(builder.connect(config))
            .await?
            .map_err(refused_connection)?;
        Ok(Self::over(client, files, troubles, Keeps::Job, environment))
    }

    /// Start an embedded client.
    ///
    /// # Errors
    /// When the cache folder cannot be used, or the system denies what the host needs.
    pub(crate) fn start(options: &HostOptions, environment: &Environment) -> Result<Self, Error> {
        let is_kept = cache(options.cache.as_ref(), environment).is_some()
            || store(options.store.as_deref(), environment)?.is_some();
        let keeps = if is_kept {
            Keeps::Results
        } else {
            Keeps::Nothing
        };
        let (builder, troubles) = builder(options, environment)?;
        let client = builder.start().map_err(refused_start)?;
        Ok(Self::over(
            client,
            Files::Here,
            troubles,
            keeps,
            environment,
        ))
    }

    fn over(
        client: Client,
        files: Files,
        troubles: Troubles,
        keeps: Keeps,
        environment: &Environment,
    ) -> Self {
        let objects = client.objects().clone();
        Self {
            client,
            places: Places {
                objects,
                folder: environment.folder.clone(),
                troubles,
                files,
                output: None,
            },
            keeps,
        }
    }

    /// Let a fleet's broker know what becomes of jobs that were dropped; an embedded one ends with
    /// this process, once results are shared that are to be.
    pub(crate) async fn settle(&self, interrupt: &Interrupt) {
        match self.keeps {
            Keeps::Results | Keeps::Nothing => self.client.shared().await,
            Keeps::Job => {
                settle(
                    &self.client,
                    interrupt.time_left().unwrap_or(SETTLE_TIME_MAX),
                )
                .await
            }
        }
    }

    /// Load a component.
    ///
    /// # Errors
    /// When it is not one that can run here.
    pub(crate) async fn component(
        &self,
        path: &Path,
        interrupt: &Interrupt,
    ) -> Result<Component, Error> {
        interrupt
            .or(self.client.load(path))
            .await?
            .map_err(refused_component)
    }

    /// Load a component and take a function of it.
    ///
    /// # Errors
    /// When the component cannot run here, or has no such function.
    pub(crate) async fn function(
        &self,
        path: &Path,
        name: &str,
        options: JobOptions,
        interrupt: &Interrupt,
    ) -> Result<Function<()>, Error> {
        let component = self.component(path, interrupt).await?;
        let function = component
            .function(name)
            .map_err(|error| Error::Usage(format!("{error} (`{}`)", path.display())))?;
        Ok(function.with_options(options))
    }
}

/// Why the results of a job with these options are not kept, where that is not what was asked for.
pub(crate) fn why_not_kept(options: &JobOptions) -> Option<String> {
    let Grants { clock, random } = options.grants;
    let granted = match (clock, random) {
        (false, false) => return None,
        (true, false) => "the clock",
        (false, true) => "randomness",
        (true, true) => "the clock and randomness",
    };
    Some(format!(
        "results were not kept: the function was granted {granted}, so another run may answer otherwise"
    ))
}

/// Let a broker know what becomes of jobs that were dropped.
pub(crate) async fn settle(client: &Client, time_max: Duration) {
    if tokio::time::timeout(time_max, client.settled())
        .await
        .is_err()
    {
        tracing::warn!(
            "the broker did not hear in time that a job is done with; `sortie job list` shows it"
        );
    }
}

fn builder(options: &HostOptions, environment: &Environment) -> Result<(Builder, Troubles), Error> {
    let clouds::Settings {
        config: mut objects,
        troubles,
    } = clouds::Settings::read(&environment.clouds);
    let cache = cache(options.cache.as_ref(), environment);
    options.reading.apply(&mut objects, cache.as_deref())?;
    let mut builder = Client::builder().objects(objects);
    if let Some(tasks) = options.concurrency {
        builder = builder.concurrency(tasks);
    }
    if let Some(folder) = cache {
        builder = builder.cache(folder);
    }
    if let Some(place) = store(options.store.as_deref(), environment)? {
        builder = builder.store(place);
    }
    Ok((builder, troubles))
}

/// Where the store is, from the option and the environment.
///
/// # Errors
/// When what is named is no place for a store.
pub(crate) fn store(
    option: Option<&str>,
    environment: &Environment,
) -> Result<Option<Location>, Error> {
    let (text, source) = match (option, &environment.store) {
        (Some(text), _) => (text, "--store"),
        (None, Some(text)) => (text.as_str(), "SORTIE_STORE"),
        (None, None) => return Ok(None),
    };
    let parsed = sortie::objects::output_store::parse(text, &environment.folder);
    parsed
        .map(Some)
        .map_err(|error| Error::Usage(format!("{source} names no place for a store: {error}")))
}

/// Whether all of these servers are on this machine, by their names.
fn is_here(servers: &str) -> bool {
    servers.split(',').all(|server| {
        let rest = server.trim();
        let rest = rest.split_once("://").map_or(rest, |(_, rest)| rest);
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        ["localhost", "127.", "[::1]"]
            .iter()
            .any(|here| host.starts_with(here))
    })
}

/// A broker that cannot be used is a failure of the platform, whatever the reason: the command is
/// not wrong.
pub(crate) fn refused_connection(error: ConnectError) -> Error {
    Error::Platform(chain(&error))
}

/// Where to keep things, from the option and the environment.
pub(crate) fn cache(
    option: Option<&Cache>,
    environment: &Environment,
) -> Option<std::path::PathBuf> {
    match option {
        Some(Cache::Off) => None,
        Some(Cache::Folder(folder)) => Some(folder.clone()),
        None => {
            if environment.cache.is_none() {
                tracing::warn!(
                    "neither HOME nor XDG_CACHE_HOME is set, so nothing is kept between runs; name a folder with --cache"
                );
            }
            environment.cache.clone()
        }
    }
}

fn refused_start(error: StartError) -> Error {
    let text = chain(&error);
    match error {
        StartError::Cache(_) => Error::Usage(format!(
            "{text}; name another folder with --cache, or write --cache off"
        )),
        StartError::Engine(_) => Error::Platform(format!(
            "{text}; a lower --concurrency needs less address space"
        )),
        StartError::NoRuntime | StartError::Worker(_) => Error::Platform(text),
    }
}

fn refused_component(error: LoadError) -> Error {
    let text = chain(&error);
    match error {
        LoadError::Read { .. } | LoadError::Refused { .. } => Error::Usage(text),
        LoadError::Start(error) => refused_start(error),
        LoadError::Broker(_) | LoadError::NoHost | LoadError::ShuttingDown => Error::Platform(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_on_this_machine_are_known_by_their_names() {
        assert!(
            is_here("nats://me:secret@127.0.0.1:4222, localhost") && is_here("tls://[::1]:4222")
        );
        assert!(
            !is_here("nats://localhost,nats://broker.example:4222")
                && !is_here("nats://localhost@elsewhere")
        );
    }
}
