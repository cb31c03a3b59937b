//! Sets up tracing: which events of this program are written to stderr.

use std::io::IsTerminal as _;

use sortie_frontend::settings::{Environment, Terminal};
use tracing_subscriber::EnvFilter;

use crate::ending::Error;

/// Diagnostics go to stderr: warnings by default, more with `-v`, anything with `SORTIE_LOG`. The
/// NATS client's own events are off: its problems come back as errors, which are printed once, with
/// advice.
pub(crate) fn start(environment: &Environment, verbose: u8) -> Result<(), Error> {
    let default = match verbose {
        0 => "warn,async_nats=off",
        1 => {
            "warn,async_nats=off,sortie=info,sortie_broker=info,sortie_host=info,\
             sortie_frontend=info"
        }
        _ => "info,sortie=debug,sortie_broker=debug,sortie_host=debug,sortie_frontend=debug",
    };
    let directives = environment.log.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(directives)
        .map_err(|error| Error::Usage(format!("SORTIE_LOG is not a filter: {error}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && environment.terminal == Terminal::Full)
        .init();
    Ok(())
}
