//! The first route: rustup's own build of the standard library for the guests' target.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::project::Project;
use crate::toolchain::TARGET;

/// About 25 MB on a slow line. Where nothing answers at all, this is what a person waits before the
/// next route is tried.
const DOWNLOAD_TIME_MAX: Duration = Duration::from_secs(120);

/// Adds the target to the toolchain that runs us.
pub(super) fn get(project: &Project) -> Result<()> {
    if !project.cmd("rustup").arg("--version").succeeds() {
        bail!("rustup is not installed");
    }
    println!("adding rustup's target {TARGET}");
    project
        .cmd("rustup")
        .args(["target", "add", TARGET])
        .run_within(DOWNLOAD_TIME_MAX)
}
