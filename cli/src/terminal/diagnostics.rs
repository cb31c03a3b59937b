//! Sets up tracing: which events of this program are written to stderr.

use std::io::IsTerminal as _;

use sortie_frontend::settings::{Environment, Terminal};
use tracing_subscriber::EnvFilter;

use crate::ending::Error;

/// Parts whose events are off unless `SORTIE_LOG` names them. The NATS client's problems come back
/// as errors, which are printed once, with advice. The compiler traces every instruction: 170 MB
/// for a component of 700 kB.
const SILENT: &str = "async_nats=off,cranelift=off,regalloc2=off,wasmtime_internal_cranelift=off";

/// Diagnostics go to stderr: warnings by default, more with `-v`, anything with `SORTIE_LOG`.
pub(crate) fn start(environment: &Environment, verbose: u8) -> Result<(), Error> {
    let default = match verbose {
        0 => "warn",
        1 => "warn,sortie=info,sortie_broker=info,sortie_host=info,sortie_frontend=info",
        _ => "info,sortie=debug,sortie_broker=debug,sortie_host=debug,sortie_frontend=debug",
    };
    let directives = environment.log.as_deref().unwrap_or(default);
    // Of two directives for one part the later counts.
    let filter = EnvFilter::try_new(format!("{SILENT},{directives}"))
        .map_err(|error| Error::Usage(format!("SORTIE_LOG is not a filter: {error}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && environment.terminal == Terminal::Full)
        .init();
    Ok(())
}
