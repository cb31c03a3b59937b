//! Sets up a client from settings and the environment, embedded or over a broker, with access to
//! objects.

#[cfg(feature = "embedded")]
use std::collections::HashMap;
#[cfg(feature = "embedded")]
use std::path::Path;
use std::time::Duration;

use sortie::nats::Config;
use sortie::objects::Objects;
use sortie::protocol::Advice;
use sortie::{
    BrokerError, BrokerPart, Builder, Client, ConnectError, Presence, Signature, SubmitError,
};
#[cfg(feature = "embedded")]
use sortie::{Component, Function, FunctionOptions, LoadError, StartError};
use tokio::runtime::Handle;

use crate::binding::{Files, Names, Notice, OutputFile, Places};
use crate::error::{Error, Setting, chain};
use crate::results::{Lines, Target, Writer};
use crate::settings::{Clouds, Environment, HostSettings, Terminal, Troubles, cache, store};
use crate::stop::Stop;

/// Timeout for the cancellations of dropped jobs before the program exits.
pub const SETTLE_TIME_MAX: Duration = Duration::from_secs(5);

/// A client and its access to objects.
#[derive(Debug)]
pub struct Session {
    /// The client.
    pub client: Client,
    /// Finds the objects that a user names.
    pub places: Places,
    /// What is kept of results when the process ends.
    pub keeps: Keeps,
    /// What the terminal takes, if there is one.
    pub terminal: Terminal,
}

/// What is kept of results when the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// Results are kept on this machine or in a store.
    Results,
    /// Nothing is kept.
    Nothing,
    /// The broker keeps the job until it is forgotten.
    Job,
}

impl Session {
    /// Start a client of the broker, or an embedded client if none is named. `tell` is called with
    /// notices for the user.
    ///
    /// # Errors
    /// As [`Self::start`], and when the broker cannot be reached, refuses, or cannot be used.
    pub async fn open(
        host: &HostSettings,
        broker: Option<Config>,
        environment: &Environment,
        tell: impl Fn(Notice) + Send + Sync + 'static,
        stop: &Stop,
    ) -> Result<Self, Error> {
        let Some(config) = broker else {
            #[cfg(feature = "embedded")]
            return Self::start(host, environment);
            #[cfg(not(feature = "embedded"))]
            return Err(Error::usage(
                "this program has no host of its own: it needs a broker",
            ));
        };
        let (builder, troubles) = builder(host, environment)?;
        let files = if is_here(&config.servers) {
            Files::Here
        } else {
            Files::elsewhere(tell)
        };
        let client = stop.or(builder.connect(config)).await??;
        Ok(Self::over(client, files, troubles, Keeps::Job, environment))
    }

    /// Start an embedded client.
    #[cfg(feature = "embedded")]
    ///
    /// # Errors
    /// When the cache folder cannot be used, or the system denies what the host needs.
    pub fn start(host: &HostSettings, environment: &Environment) -> Result<Self, Error> {
        let is_kept = cache(host.cache.as_ref(), environment).is_some()
            || store(host.store.as_deref(), environment)?.is_some();
        let keeps = if is_kept {
            Keeps::Results
        } else {
            Keeps::Nothing
        };
        let (builder, troubles) = builder(host, environment)?;
        let client = builder.start()?;
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
                names: Names::default(),
            },
            keeps,
            terminal: environment.terminal,
        }
    }

    /// The places of this session, for a job whose results go to `output`, and whose inputs are
    /// read so.
    #[must_use]
    pub fn places_beside(&self, output: Option<OutputFile>, names: Names) -> Places {
        Places {
            output,
            names,
            ..self.places.clone()
        }
    }

    /// Tell a broker what becomes of jobs that were dropped, within `time_max`; for an embedded
    /// client, wait until results are in the store that they are shared in.
    ///
    /// # Errors
    /// When the broker was not told in time.
    pub async fn settle(&self, time_max: Duration) -> Result<(), NotSettled> {
        match self.keeps {
            Keeps::Results | Keeps::Nothing => {
                #[cfg(feature = "embedded")]
                self.client.flush_results().await;
                Ok(())
            }
            Keeps::Job => settle(&self.client, time_max).await,
        }
    }

    /// Load a component.
    #[cfg(feature = "embedded")]
    ///
    /// # Errors
    /// When it cannot run here.
    pub async fn component(&self, path: &Path, stop: &Stop) -> Result<Component, Error> {
        Ok(stop.or(self.client.load(path)).await??)
    }

    /// Load a component and take a function of it.
    #[cfg(feature = "embedded")]
    ///
    /// # Errors
    /// When the component cannot run here, or has no such function.
    pub async fn function(
        &self,
        path: &Path,
        name: &str,
        options: FunctionOptions,
        stop: &Stop,
    ) -> Result<Function<()>, Error> {
        let component = self.component(path, stop).await?;
        Ok(function(&component, path, name)?.with_options(options))
    }

    /// Load components, each once, and take functions of them that are called with these options.
    #[cfg(feature = "embedded")]
    ///
    /// # Errors
    /// For each function why it cannot be had, in one line. When the loading was stopped.
    pub async fn functions(
        &self,
        named: &[(&Path, &str)],
        options: &FunctionOptions,
        stop: &Stop,
    ) -> Result<Vec<Function<()>>, Vec<Error>> {
        let mut components = HashMap::new();
        let (mut functions, mut errors) = (Vec::with_capacity(named.len()), Vec::new());
        for (path, name) in named {
            if !components.contains_key(path) {
                let loaded = self.component(path, stop).await;
                components.insert(*path, loaded.map_err(|error| errors.push(error)).ok());
            }
            // What is wrong with a component is said once.
            let Some(Some(component)) = components.get(path) else {
                continue;
            };
            match function(component, path, name) {
                Ok(function) => functions.push(function.with_options(options.clone())),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            Ok(functions)
        } else {
            Err(errors)
        }
    }
}

/// A function of a component that was loaded from `path`.
#[cfg(feature = "embedded")]
fn function(component: &Component, path: &Path, name: &str) -> Result<Function<()>, Error> {
    component
        .function(name)
        .map_err(|error| Error::usage(format!("{error} (`{}`)", path.display())))
}

/// Refuse a function that returns an object where it is known that there is no store for it: in
/// this process, or at all of the `workers` that may run it, as far as they say so.
///
/// # Errors
/// What is missing.
pub fn check_store(
    signature: &Signature,
    keeps: Keeps,
    workers: Option<&[Presence]>,
) -> Result<(), Error> {
    let lacking = match (keeps, workers) {
        (Keeps::Nothing, _) => "there is no store here".into(),
        (Keeps::Job, Some(workers)) if !workers.is_empty() => {
            if workers.iter().any(|worker| worker.store != Some(false)) {
                return Ok(());
            }
            match workers.len() {
                1 => "the one worker that may run it has no store".into(),
                count => format!("none of the {count} workers that may run it has a store"),
            }
        }
        (Keeps::Job | Keeps::Results, _) => return Ok(()),
    };
    Err(
        Error::usage(format!("`{signature}` makes an object, and {lacking}"))
            .advised(Advice::ConfigureStore),
    )
}

/// The broker was not told in time what becomes of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the broker did not confirm in time that a dropped job is cancelled or forgotten")]
pub struct NotSettled;

/// Wait, for `time_max` at most, until the broker has confirmed the cancellations of dropped jobs.
///
/// # Errors
/// When it did not confirm in time.
pub async fn settle(client: &Client, time_max: Duration) -> Result<(), NotSettled> {
    tokio::time::timeout(time_max, client.flush_jobs())
        .await
        .map_err(|_| NotSettled)
}

/// A client of a broker that only manages jobs: it loads no components.
///
/// # Errors
/// When the broker cannot be reached, refuses, or cannot be used.
pub async fn connect(
    config: Config,
    environment: &Environment,
    stop: &Stop,
) -> Result<Client, Error> {
    // Large results are in a store, which is reached as inputs are.
    let Clouds {
        config: objects, ..
    } = environment.clouds();
    Ok(stop
        .or(Client::builder().objects(objects).connect(config))
        .await??)
}

/// Open a place for results where there is no session to reach it with.
///
/// # Errors
/// When results cannot be written there, as far as that can be found out now.
pub async fn open_output(
    target: &Target,
    stream: impl FnOnce() -> Lines,
    environment: &Environment,
    stop: &Stop,
) -> Result<Writer, Error> {
    let Clouds { config, troubles } = environment.clouds();
    target.check(&troubles)?;
    let objects = Objects::new(config, Handle::current());
    Writer::open(target, stream, &objects, &environment.folder, stop).await
}

fn builder(host: &HostSettings, environment: &Environment) -> Result<(Builder, Troubles), Error> {
    let Clouds {
        config: mut objects,
        troubles,
    } = environment.clouds();
    let cache = cache(host.cache.as_ref(), environment);
    host.inputs.apply(&mut objects, cache.as_deref())?;
    let mut builder = Client::builder().objects(objects);
    #[cfg(feature = "embedded")]
    if let Some(tasks) = host.concurrency {
        builder = builder.concurrency(tasks);
    }
    #[cfg(feature = "embedded")]
    if let Some(folder) = cache {
        builder = builder.cache(folder);
    }
    if let Some(place) = store(host.store.as_deref(), environment)? {
        builder = builder.store(place);
    }
    Ok((builder, troubles))
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

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::NoRuntime => Self::platform(error.to_string()),
            ConnectError::Broker(error) => error.into(),
        }
    }
}

/// A broker that cannot be used is a failure of the platform, whatever the reason. What was never
/// one, and files that are not what they should be, are the caller's mistake.
impl From<BrokerError> for Error {
    fn from(error: BrokerError) -> Self {
        let (text, advice) = (error.to_string(), error.advice());
        let told = match error {
            BrokerError::NoSuchJob(_) => Self::usage(text),
            BrokerError::Misconfigured { part, .. } => Self::usage(text).about(match part {
                BrokerPart::Servers => Setting::Broker,
                BrokerPart::Credentials => Setting::BrokerCredentials,
                BrokerPart::TlsAuthorities => Setting::TlsAuthorities,
                BrokerPart::TlsIdentity => Setting::TlsCertificate,
            }),
            BrokerError::JobCancelled(_)
            | BrokerError::TooLarge { .. }
            | BrokerError::Empty
            | BrokerError::Unreachable { .. }
            | BrokerError::Full { .. }
            | BrokerError::Denied { .. }
            | BrokerError::Unsuitable { .. } => Self::platform(text),
        };
        told.advised(advice)
    }
}

impl From<SubmitError> for Error {
    fn from(error: SubmitError) -> Self {
        let (text, advice) = (chain(&error), error.advice());
        let told = match error {
            SubmitError::Call(_) | SubmitError::Ungranted(_) | SubmitError::Foreign => {
                Self::usage(text)
            }
            SubmitError::Broker(_)
            | SubmitError::Forgotten(_)
            | SubmitError::Store(_)
            | SubmitError::Upstream(_)
            | SubmitError::Lost { .. }
            | SubmitError::ShuttingDown
            | SubmitError::Random(_) => Self::platform(text),
        };
        told.advised(advice)
    }
}

#[cfg(feature = "embedded")]
impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        let text = chain(&error);
        match error {
            StartError::Cache(_) => Self::usage(text).advised(Advice::ConfigureCache),
            StartError::InputMemory(_) => Self::usage(text),
            StartError::Engine(_) => Self::platform(text).advised(Advice::LowerConcurrency),
            StartError::NoRuntime | StartError::Worker(_) => Self::platform(text),
        }
    }
}

#[cfg(feature = "embedded")]
impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        let text = chain(&error);
        match error {
            LoadError::Read { .. } | LoadError::Refused { .. } => Self::usage(text),
            LoadError::Start(error) => error.into(),
            LoadError::Broker(_) | LoadError::NoHost | LoadError::ShuttingDown => {
                Self::platform(text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_that_makes_an_object_is_refused_only_where_no_store_is_known_to_be() {
        let signature = Signature {
            name: "thumbnail".into(),
            doc: String::new(),
            parameters: Vec::new(),
            returns: "OutputObject".into(),
        };
        let worker = |store| Presence {
            worker: sortie::protocol::WorkerId::from_bytes([1; 16]),
            machine: "m".into(),
            process: 1,
            version: "0".into(),
            labels: sortie::Labels::default(),
            slots: 1,
            busy: 0,
            draining: false,
            started: sortie::protocol::Timestamp::default(),
            said: sortie::protocol::Timestamp::default(),
            store,
        };
        let check = |keeps, workers: Option<&[Presence]>| check_store(&signature, keeps, workers);
        assert!(check(Keeps::Nothing, None).is_err() && check(Keeps::Results, None).is_ok());
        let (with, without, old) = (worker(Some(true)), worker(Some(false)), worker(None));
        for workers in [
            None,
            Some(&[][..]),
            Some(&[with.clone(), without.clone()]),
            Some(&[old, without.clone()]),
        ] {
            assert_eq!(check(Keeps::Job, workers), Ok(()));
        }
        let refused = check(Keeps::Job, Some(&[without.clone(), without])).unwrap_err();
        assert!(
            refused.message.contains("none of the 2 workers"),
            "{refused}"
        );
        assert_eq!(refused.advice, Some(Advice::ConfigureStore));
    }

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
