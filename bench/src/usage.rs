//! What processes took of the machine.

use std::process::{Child, ExitStatus};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// What a process took.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// On cores, in user and system mode.
    pub cpu: Duration,
    /// The most memory it held, in bytes.
    pub memory_peak: u64,
}

/// How often a child's memory is looked at: it is gone with the child.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Wait for a child, and read what it took: the kernel keeps the times of one that has ended until
/// it is waited for.
pub fn wait(mut child: Child) -> Result<(ExitStatus, Usage)> {
    let pid = Pid::from_raw(i32::try_from(child.id())?).context("a child has an id")?;
    let (ends, ended) = mpsc::channel();
    let watching = thread::spawn(move || {
        ends.send(
            waitid(
                WaitId::Pid(pid),
                WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
            )
            .map(drop),
        )
    });
    let mut memory_peak = 0;
    let watched = loop {
        memory_peak = memory_peak.max(crate::peak_memory_of(&child.id().to_string()));
        match ended.recv_timeout(LOOK_INTERVAL) {
            Err(RecvTimeoutError::Timeout) => {}
            other => break other,
        }
    };
    watched??;
    let cpu = cpu_of(&child.id().to_string())?;
    // It has said its one word.
    let _ = watching.join();
    Ok((child.wait()?, Usage { cpu, memory_peak }))
}

/// What this process has taken on cores so far.
pub fn own() -> Duration {
    cpu_of("self").unwrap_or_default()
}

/// The times in `/proc/PROCESS/stat`, in hundredths of a second, as Linux tells them on every
/// machine that it runs on here.
fn cpu_of(process: &str) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may hold anything; fields 14 and 15 of all are user and system time.
    let (_, fields) = stat.rsplit_once(')').context("a process has a name")?;
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Ok(Duration::from_millis(10 * ticks))
}
