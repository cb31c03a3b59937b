//! How inputs are read: the options that commands with a host and workers share.

use clap::{Args, ValueEnum};
use sortie::ByteSize;
use sortie::objects::{Config, Prefetch};

/// The least memory for inputs: a few blocks for each of a handful of tasks.
const INPUT_MEMORY_MIN: ByteSize = ByteSize(16 << 20);

/// How inputs are read.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Reading {
    /// Memory for inputs that are fetched ahead, and for those that are kept in case another task reads them [default: 512MiB]
    #[arg(long, value_name = "SIZE", value_parser = input_memory)]
    input_memory: Option<ByteSize>,
    /// Fetch inputs before functions ask for them: those of tasks to come, and what follows where one is read in order [default: on]
    #[arg(long, value_enum, value_name = "WHEN")]
    prefetch: Option<OnOff>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnOff {
    On,
    Off,
}

impl Reading {
    /// Put into a configuration what was said.
    pub(crate) fn apply(&self, config: &mut Config) {
        if let Some(memory) = self.input_memory {
            config.memory = memory;
        }
        if let Some(prefetch) = self.prefetch {
            config.prefetch = match prefetch {
                OnOff::On => Prefetch::On,
                OnOff::Off => Prefetch::Off,
            };
        }
    }
}

fn input_memory(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse().map_err(|error: sortie::protocol::size::ParseError| error.to_string())?;
    if size < INPUT_MEMORY_MIN { Err(format!("inputs need at least {INPUT_MEMORY_MIN}")) } else { Ok(size) }
}
