//! The command line of `sortie inspect`.

use std::path::PathBuf;

use clap::Args;
use sortie_frontend::settings::{Cache, parse};

/// `sortie inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The component: a .wasm file
    pub(crate) component: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// The folder where compiled components are cached; `off` disables the cache [default: the
    /// user's cache folder]
    #[arg(long, value_name = "DIR|off", value_parser = parse::cache)]
    pub(crate) cache: Option<Cache>,
}
