//! The command line of `sortie new`.

use std::path::PathBuf;

use clap::Args;

/// `sortie new`.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// The crate's name; the crate is created in a folder of this name in the current folder
    pub(crate) name: String,
    /// Path of the sortie-guest crate [default: the guest-sdk folder that this program was built
    /// from]
    #[arg(long, value_name = "PATH")]
    pub(crate) sdk: Option<PathBuf>,
}
