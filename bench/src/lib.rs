//! What the measuring programs share: percentiles, what processes took, worker processes, a Python,
//! drawn graphs, the bare wasmtime loop that dispatch is compared with, and the bare server that a
//! fleet is.

pub mod bare;
pub mod drawn;
pub mod raw;
pub mod usage;
pub mod words;
pub mod worker;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// The `percent`-th percentile of `samples`, which it sorts; zero where there are none.
pub fn percentile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort_unstable();
    let last = samples.len().saturating_sub(1);
    samples
        .get((samples.len() * percent / 100).min(last))
        .copied()
        .unwrap_or_default()
}

/// The most memory this process has held, in bytes.
pub fn peak_memory() -> u64 {
    peak_memory_of("self")
}

/// Count the peak of this process's memory from what it holds now, and return that. Where the
/// kernel does not do so the peak stays: what is measured from it is then the least that it can be.
pub fn restart_peak_memory() -> u64 {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    peak_memory()
}

/// The most memory a process has held, in bytes, as Linux counts it (`VmHWM`). `process` is its id,
/// or `self`.
pub fn peak_memory_of(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let kib = status.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?
            .trim()
            .strip_suffix(" kB")?
            .trim()
            .parse::<u64>()
            .ok()
    });
    kib.unwrap_or(0) * 1024
}

/// A Python with these packages, in a folder of our own.
pub fn python(scratch: &Path, packages: &[&str]) -> Result<PathBuf> {
    let folder = scratch.join("python");
    let python = folder.join("bin/python");
    if !python.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    }
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet"])
        .args(packages))?;
    Ok(python)
}

/// Run a command that has to succeed.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("failed to start {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
