//! The command line of `sortie call`.

use std::path::PathBuf;

use clap::Args;

use super::broker::BrokerOptions;
use super::host::HostOptions;
use super::task::{Fixed, TaskOptions};

/// `sortie call`.
#[derive(Debug, Args)]
pub(crate) struct Call {
    /// The component: a .wasm file
    pub(crate) component: PathBuf,
    /// The function's name, as `sortie inspect` shows it
    pub(crate) function: String,
    /// Arguments for the parameters that --arg does not set, in order: a JSON value, or any other
    /// text as a string; for an object, a path or URL
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    pub(crate) arguments: Vec<String>,
    #[command(flatten)]
    pub(crate) fixed: Fixed,
    /// Print a string or bytes without JSON encoding; of an object print its URL only
    #[arg(long)]
    pub(crate) raw: bool,
    #[command(flatten)]
    pub(crate) task: TaskOptions,
    #[command(flatten)]
    pub(crate) host: HostOptions,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
}
