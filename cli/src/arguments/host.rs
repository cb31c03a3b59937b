//! Options of the host in this process, and of reading inputs.

use std::num::NonZeroUsize;

use clap::{Args, ValueEnum};
use sortie::ByteSize;
use sortie::objects::Prefetch;
use sortie_frontend::settings::{Cache, HostSettings, InputSettings, parse};

/// Options of the host in this process. With a broker, the host only reads components' signatures.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct HostOptions {
    /// How many tasks run concurrently [default: twice the number of cores]
    #[arg(long, value_name = "COUNT", value_parser = parse::concurrency)]
    pub(crate) concurrency: Option<NonZeroUsize>,
    /// The folder where compiled components and results are cached; `off` disables the cache
    /// [default: the user's cache folder]
    #[arg(long, value_name = "DIR|off", value_parser = parse::cache)]
    pub(crate) cache: Option<Cache>,
    #[command(flatten)]
    pub(crate) inputs: InputOptions,
    /// Where large outputs are stored, and results are shared with all clients and workers that use
    /// the same location: a folder, or s3://BUCKET/PREFIX (also gs://, az://) [env: SORTIE_STORE]
    /// [default: a folder in the cache folder, not shared]
    #[arg(long, value_name = "URL", value_parser = parse::store)]
    pub(crate) store: Option<String>,
}

/// Options of reading inputs.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct InputOptions {
    /// Memory for prefetched inputs, and for inputs cached in case another task reads them
    /// [default: 512MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse::input_memory)]
    input_memory: Option<ByteSize>,
    /// Disk space in the cache folder for blocks of remote inputs, such as 100GiB; later tasks and
    /// processes read them from there instead of fetching them again [default: none]
    #[arg(long, value_name = "SIZE", value_parser = parse::input_disk)]
    input_disk: Option<ByteSize>,
    /// Whether inputs are fetched before functions ask for them: the inputs of waiting tasks, and
    /// the next blocks of an input that is read sequentially [default: on]
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
