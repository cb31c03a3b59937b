//! What the measuring programs share: percentiles, peak memory, the bare wasmtime loop that dispatch is compared with,
//! and the bare server that a fleet is.

pub mod bare;
pub mod raw;
pub mod words;

use std::time::Duration;

/// The `percent`-th percentile of `samples`, which it sorts; zero where there are none.
pub fn percentile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort_unstable();
    let last = samples.len().saturating_sub(1);
    samples.get((samples.len() * percent / 100).min(last)).copied().unwrap_or_default()
}

/// The most memory this process has held, in bytes.
pub fn peak_memory() -> u64 {
    peak_memory_of("self")
}

/// The most memory a process has held, in bytes, as Linux counts it (`VmHWM`). `process` is its id, or `self`.
pub fn peak_memory_of(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
