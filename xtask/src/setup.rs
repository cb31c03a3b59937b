//! `setup`: gets the guest toolchain by the first route that works, and says which. The servers for
//! tests are parts of their own, [`nats`] and [`moto`].
//!
//! Rustup's target is tried first, because it changes nothing but rustup's own folder. Debian's
//! packages are for machines that reach a Debian mirror and not rustup's server; they are installed
//! only as root, and only after saying so. What is there already is never fetched again, so a
//! second call only looks.
//!
//! It never builds a tool from source, and never touches apt's own sources.

mod debian;
mod moto;
pub(crate) mod nats;
mod pip;
mod rustup;

use anyhow::{Result, anyhow};

use crate::project::Project;
use crate::toolchain::{Route, Toolchain};

/// Returns a complete toolchain: the one that is there, else one it gets. A `wanted` route is the
/// only one tried.
pub(crate) fn run(project: &Project, wanted: Option<Route>) -> Result<Toolchain> {
    let toolchain = match (wanted, ready(project, wanted)) {
        (_, Some(toolchain)) => toolchain,
        (Some(route), None) => get(project, route)?,
        (None, None) => get_any(project)?,
    };
    if wanted.is_some() {
        toolchain.choose(project)?;
    }
    println!("guests: {}", toolchain.described());
    Ok(toolchain)
}

/// Gets the servers that tests talk to, and says what runs the tests.
pub(crate) fn servers(project: &Project) -> Result<()> {
    let runner = if project.has_cargo("nextest") {
        "cargo nextest"
    } else {
        "cargo test (cargo-nextest is not installed, and not needed)"
    };
    println!("tests:  {runner}");
    nats::run(project)?;
    moto::run(project)
}

fn ready(project: &Project, wanted: Option<Route>) -> Option<Toolchain> {
    match wanted {
        Some(route) => Toolchain::by(route, project),
        None => Toolchain::find(project),
    }
}

fn get_any(project: &Project) -> Result<Toolchain> {
    let failed = match get(project, Route::Rustup) {
        Ok(toolchain) => return Ok(toolchain),
        Err(failed) => failed,
    };
    println!("{failed:#}; trying Debian's packages");
    get(project, Route::Debian)
        .map_err(|error| anyhow!("no guest toolchain by either route: {failed:#}; {error:#}"))
}

fn get(project: &Project, route: Route) -> Result<Toolchain> {
    match route {
        Route::Rustup => rustup::get(project)?,
        Route::Debian => debian::get(project)?,
    }
    Toolchain::by(route, project).ok_or_else(|| {
        anyhow!(
            "the {route:?} route ended without an error, but its toolchain is still not \
                 complete: run `cargo xtask setup -v`"
        )
    })
}
