//! A client with everything in this process, set up from options and the environment, and what a command loads through it.

use std::path::Path;

use sortie::objects::Config;
use sortie::{Client, Component, Function, JobOptions, LoadError, StartError};

use crate::arguments::HostOptions;
use crate::aws;
use crate::ending::{Error, chain};
use crate::environment::Environment;
use crate::expand::Places;
use crate::interrupt::Interrupt;
use crate::settings::Cache;

/// An embedded client and how it finds objects.
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
    Results,
    Nothing,
}

impl Session {
    /// Start the client.
    ///
    /// # Errors
    /// When the cache folder cannot be used, or the system denies what the host needs.
    pub(crate) fn start(options: &HostOptions, environment: &Environment) -> Result<Self, Error> {
        let aws = aws::Settings::read(&environment.aws);
        let mut builder = Client::builder().objects(Config { s3: aws.s3 });
        if let Some(tasks) = options.concurrency {
            builder = builder.concurrency(tasks);
        }
        let cache = cache(options.cache.as_ref(), environment);
        let keeps = if cache.is_some() { Keeps::Results } else { Keeps::Nothing };
        if let Some(folder) = cache {
            builder = builder.cache(folder);
        }
        let client = builder.start().map_err(refused_start)?;
        let objects = client.objects().cloned().ok_or_else(|| Error::Platform("this client cannot reach objects".into()))?;
        Ok(Self { client, places: Places { objects, folder: environment.folder.clone(), s3_trouble: aws.trouble }, keeps })
    }

    /// Load a component.
    ///
    /// # Errors
    /// When it is not one that can run here.
    pub(crate) async fn component(&self, path: &Path, interrupt: &Interrupt) -> Result<Component, Error> {
        interrupt.or(self.client.load(path)).await?.map_err(refused_component)
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
        let function = component.function(name).map_err(|error| Error::Usage(format!("{error} (`{}`)", path.display())))?;
        Ok(function.with_options(options))
    }
}

fn cache(option: Option<&Cache>, environment: &Environment) -> Option<std::path::PathBuf> {
    match option {
        Some(Cache::Off) => None,
        Some(Cache::Folder(folder)) => Some(folder.clone()),
        None => {
            if environment.cache.is_none() {
                tracing::warn!("neither HOME nor XDG_CACHE_HOME is set, so nothing is kept between runs; name a folder with --cache");
            }
            environment.cache.clone()
        }
    }
}

fn refused_start(error: StartError) -> Error {
    let text = chain(&error);
    match error {
        StartError::Cache(_) => Error::Usage(format!("{text}; name another folder with --cache, or write --cache off")),
        StartError::Engine(_) => Error::Platform(format!("{text}; a lower --concurrency needs less address space")),
        StartError::NoRuntime | StartError::Worker(_) => Error::Platform(text),
    }
}

fn refused_component(error: LoadError) -> Error {
    let text = chain(&error);
    match error {
        LoadError::Read { .. } | LoadError::Refused { .. } => Error::Usage(text),
        LoadError::Broker(_) | LoadError::NoHost | LoadError::ShuttingDown => Error::Platform(text),
    }
}
