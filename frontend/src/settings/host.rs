//! Settings of the host in this process: concurrency, cache, store and reading of inputs.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use sortie::ByteSize;
use sortie::objects::{Config, Disk, Location, Network, Networks, Prefetch};

use super::environment::Environment;
use crate::error::{Error, Setting};

/// The folder for blocks of inputs, in the cache folder. A worker and a client on one machine use
/// the same.
const INPUTS: &str = "inputs";

/// Where compiled components and results are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cache {
    /// Nowhere.
    Off,
    /// In this folder.
    Folder(PathBuf),
}

/// Settings of the host in this process. Unset fields mean the defaults.
#[derive(Debug, Clone, Default)]
pub struct HostSettings {
    /// How many tasks run concurrently.
    pub concurrency: Option<NonZeroUsize>,
    /// Where compiled components and results are kept; without it the folder that the environment
    /// names.
    pub cache: Option<Cache>,
    /// How inputs are read.
    pub inputs: InputSettings,
    /// The output store: a folder or a URL; without it the one that the environment names.
    pub store: Option<String>,
}

/// Settings of reading inputs. Unset fields mean the defaults.
#[derive(Debug, Clone, Copy, Default)]
pub struct InputSettings {
    /// Memory for blocks of inputs.
    pub memory: Option<ByteSize>,
    /// Disk space for blocks of remote inputs. Default none.
    pub disk: Option<ByteSize>,
    /// Whether blocks are prefetched.
    pub prefetch: Option<Prefetch>,
}

impl InputSettings {
    /// Apply the settings to a configuration. `cache` is the cache folder, if there is one.
    ///
    /// # Errors
    /// When inputs are to be kept on disk and there is no cache folder to keep them in.
    pub fn apply(&self, config: &mut Config, cache: Option<&Path>) -> Result<(), Error> {
        if let Some(bytes_max) = self.disk {
            let folder = cache.ok_or_else(|| {
                Error::usage("inputs are cached in the cache folder, and there is none")
                    .about(Setting::InputDisk)
            })?;
            config.disk = Some(Disk {
                folder: folder.join(INPUTS),
                bytes_max,
            });
        }
        config.memory = self.memory.unwrap_or(config.memory);
        config.prefetch = self.prefetch.unwrap_or(config.prefetch);
        Ok(())
    }
}

/// Where compiled components and results are kept: as set, else as the environment says.
#[must_use]
pub fn cache(set: Option<&Cache>, environment: &Environment) -> Option<PathBuf> {
    match set {
        Some(Cache::Off) => None,
        Some(Cache::Folder(folder)) => Some(folder.clone()),
        None => environment.cache.clone(),
    }
}

/// Where a worker's tasks may read web servers: at public addresses, and in the networks that are
/// set, else in those that the environment names.
///
/// # Errors
/// When the environment names what is no network.
pub fn networks(set: &[Network], environment: &Environment) -> Result<Networks, Error> {
    let named = match &environment.networks {
        Some(text) if set.is_empty() => text
            .split(',')
            .map(|network| network.trim().parse())
            .collect::<Result<Vec<Network>, _>>()
            .map_err(|error| Error::usage(error.to_string()).within("SORTIE_ALLOW_NETWORKS"))?,
        Some(_) | None => set.to_vec(),
    };
    Ok(Networks::PublicAnd(named))
}

/// Where the output store is: as set, else as the environment says.
///
/// # Errors
/// When the text is not a location for a store.
pub fn store(set: Option<&str>, environment: &Environment) -> Result<Option<Location>, Error> {
    let refused = |error: &dyn std::error::Error| format!("it is not a store location: {error}");
    match (set, &environment.store) {
        (Some(text), _) => sortie::objects::output_store::parse(text, &environment.folder)
            .map(Some)
            .map_err(|error| Error::usage(refused(&error)).about(Setting::Store)),
        (None, Some(text)) => sortie::objects::output_store::parse(text, &environment.folder)
            .map(Some)
            .map_err(|error| Error::usage(refused(&error)).within("SORTIE_STORE")),
        (None, None) => Ok(None),
    }
}
