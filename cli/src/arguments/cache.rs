//! The command line of `sortie cache`.

use std::time::Duration;

use clap::{Args, Subcommand};
use sortie::ByteSize;
use sortie_frontend::settings::{Cache, parse};

/// `sortie cache`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what is kept, and how much of it
    Info(Place),
    /// Remove everything that is kept
    Clear(Clear),
    /// Remove what was not used for long, and what killed processes left behind
    Gc(Gc),
}

/// Where to look.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The cache folder [default: the user's]
    #[arg(long, value_name = "DIR", value_parser = parse::cache)]
    pub(crate) cache: Option<Cache>,
    /// Look into the memo of this store, too (the variable SORTIE_STORE is not looked at here)
    #[arg(long, value_name = "URL", value_parser = parse::store)]
    pub(crate) store: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Clear {
    #[command(flatten)]
    pub(crate) place: Place,
    /// With --store: yes, remove the kept results of all who use the store
    #[arg(long, requires = "store")]
    pub(crate) everyone: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Gc {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Remove what was not used for this long, such as 30d; in a store what was written that long
    /// ago
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub(crate) older_than: Option<Duration>,
    /// Remove what was not used for longest, until the rest takes no more than this, such as 1GiB;
    /// on this machine only
    #[arg(long, value_name = "SIZE")]
    pub(crate) max: Option<ByteSize>,
}
