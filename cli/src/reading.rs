//! How inputs are read: the options that commands with a host and workers share.

use std::path::Path;

use clap::{Args, ValueEnum};
use sortie::ByteSize;
use sortie::objects::{Config, Disk, Prefetch};
use sortie_host::setup::INPUTS;

use crate::ending::Error;

/// The least memory for inputs: a few blocks for each of a handful of tasks.
const INPUT_MEMORY_MIN: ByteSize = ByteSize(16 << 20);

/// The least room on disk for inputs: less would not have a block in each of the folders that they
/// are spread over.
const INPUT_DISK_MIN: ByteSize = ByteSize(512 << 20);

/// How inputs are read.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Reading {
    /// Memory for inputs that are fetched ahead, and for those that are kept in case another task
    /// reads them [default: 512MiB]
    #[arg(long, value_name = "SIZE", value_parser = input_memory)]
    input_memory: Option<ByteSize>,
    /// Room in the cache folder for what was fetched of remote inputs, such as 100GiB: whoever
    /// reads them again need not fetch them, a later process neither [default: none]
    #[arg(long, value_name = "SIZE", value_parser = input_disk)]
    input_disk: Option<ByteSize>,
    /// Fetch inputs before functions ask for them: those of tasks to come, and what follows where
    /// one is read in order [default: on]
    #[arg(long, value_enum, value_name = "WHEN")]
    prefetch: Option<OnOff>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnOff {
    On,
    Off,
}

impl Reading {
    /// Put into a configuration what was said. `cache` is the cache folder, if there is one.
    ///
    /// # Errors
    /// When inputs are to be kept and there is no folder to keep them in.
    pub(crate) fn apply(&self, config: &mut Config, cache: Option<&Path>) -> Result<(), Error> {
        if let Some(bytes_max) = self.input_disk {
            let none = || {
                Error::Usage("--input-disk keeps inputs in the cache folder, and there is none; name one with --cache".into())
            };
            config.disk = Some(Disk {
                folder: cache.ok_or_else(none)?.join(INPUTS),
                bytes_max,
            });
        }
        if let Some(memory) = self.input_memory {
            config.memory = memory;
        }
        if let Some(prefetch) = self.prefetch {
            config.prefetch = match prefetch {
                OnOff::On => Prefetch::On,
                OnOff::Off => Prefetch::Off,
            };
        }
        Ok(())
    }
}

fn input_memory(text: &str) -> Result<ByteSize, String> {
    at_least(INPUT_MEMORY_MIN, text)
}

fn input_disk(text: &str) -> Result<ByteSize, String> {
    at_least(INPUT_DISK_MIN, text)
}

fn at_least(min: ByteSize, text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text
        .parse()
        .map_err(|error: sortie::protocol::size::ParseError| error.to_string())?;
    if size < min {
        Err(format!("inputs need at least {min}"))
    } else {
        Ok(size)
    }
}
