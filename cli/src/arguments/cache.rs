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

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the cached results and compiled components, and their sizes
    Info(Place),
    /// Remove everything in the cache, or all results in a store
    Clear(Clear),
    /// Remove entries that were not used for long, and temporary files of killed processes
    Gc(Gc),
}

/// Which cache to use.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The cache folder [default: the user's cache folder]
    #[arg(long, value_name = "DIR", value_parser = parse::cache)]
    pub(crate) cache: Option<Cache>,
    /// The shared results in this store: `info` shows them as well, `clear` and `gc` remove them
    /// and leave the cache of this machine as it is (the variable SORTIE_STORE is ignored here)
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
    /// Required with --store: confirms that the shared results of all users of the store are
    /// removed
    #[arg(long, requires = "store")]
    pub(crate) everyone: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Gc {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Remove entries not used for this long, such as 30d; in a store, entries written that long
    /// ago
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub(crate) older_than: Option<Duration>,
    /// Remove the least recently used entries until the cache of this machine is no larger than
    /// this, such as 1GiB
    #[arg(long, value_name = "SIZE", conflicts_with = "store")]
    pub(crate) max: Option<ByteSize>,
    /// Remove from the store also the objects written that long ago, 8 days at least, that none of
    /// its results refers to. What files of results name that you keep elsewhere is not known: it
    /// is removed, too
    #[arg(long, requires = "store")]
    pub(crate) objects: bool,
}
