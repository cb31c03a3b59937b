//! The command line of `sortie new`.

use std::path::PathBuf;

use clap::Args;

/// `sortie new`.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// The crate's name; a folder of this name is made here
    pub(crate) name: String,
    /// Where the sortie-guest crate is, if not where this program was built
    #[arg(long, value_name = "PATH")]
    pub(crate) sdk: Option<PathBuf>,
}
