//! Options of the host in this process, and of how inputs are read.

use std::num::NonZeroUsize;

use clap::{Args, ValueEnum};
use sortie::ByteSize;
use sortie::objects::Prefetch;
use sortie_frontend::settings::{Cache, HostSettings, InputSettings, parse};

/// How the host in this process works. With a broker it only looks into components.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct HostOptions {
    /// Tasks in work at once [default: twice the cores]
    #[arg(long, value_name = "COUNT", value_parser = parse::concurrency)]
    pub(crate) concurrency: Option<NonZeroUsize>,
    /// Keep compiled code and results here, or `off` to keep nothing [default: the user's cache
    /// folder]
    #[arg(long, value_name = "DIR|off", value_parser = parse::cache)]
    pub(crate) cache: Option<Cache>,
    #[command(flatten)]
    pub(crate) inputs: InputOptions,
    /// Keep large outputs here, and share results with all who name the same place: a folder, or
    /// s3://BUCKET/PREFIX (also gs://, az://) [default: a folder in the cache folder, not
    /// shared; or the variable SORTIE_STORE]
    #[arg(long, value_name = "URL", value_parser = parse::store)]
    pub(crate) store: Option<String>,
}

/// How inputs are read.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct InputOptions {
    /// Memory for inputs that are fetched ahead, and for those that are kept in case another task
    /// reads them [default: 512MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse::input_memory)]
    input_memory: Option<ByteSize>,
    /// Room in the cache folder for blocks of remote inputs, such as 100GiB: a task or a later
    /// process that reads them again need not fetch them again [default: none]
    #[arg(long, value_name = "SIZE", value_parser = parse::input_disk)]
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

impl HostOptions {
    /// The settings that these options are.
    pub(crate) fn settings(&self) -> HostSettings {
        HostSettings {
            concurrency: self.concurrency,
            cache: self.cache.clone(),
            inputs: self.inputs.settings(),
            store: self.store.clone(),
        }
    }
}

impl InputOptions {
    /// The settings that these options are.
    pub(crate) fn settings(&self) -> InputSettings {
        InputSettings {
            memory: self.input_memory,
            disk: self.input_disk,
            prefetch: self.prefetch.map(|prefetch| match prefetch {
                OnOff::On => Prefetch::On,
                OnOff::Off => Prefetch::Off,
            }),
        }
    }
}
