//! A process that tests kill and pause, and that ends with the one that started it.
//!
//! As with the harness's servers, a line of shell holds a pipe to us and kills the process when we
//! are gone, however that came. It is stopped before its process is waited for, so that it never
//! sees an id that means another process.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, ExitStatus, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

/// Waits for the end of its input, then kills.
const WATCHDOG: &str = r#"read -r _; kill -KILL "$0""#;

/// A program with its arguments, and the file that takes what it says.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// Its environment, beside what all have.
    pub(crate) variables: Vec<(OsString, OsString)>,
    pub(crate) home: PathBuf,
    pub(crate) log: PathBuf,
}

/// A process. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Child {
    process: Process,
    watchdog: Process,
}

impl Program {
    /// Start it. What it says is added to its log.
    pub(crate) fn start(&self) -> Result<Child> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("failed to open `{}`", self.log.display()))?;
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env_clear()
            .env("HOME", &self.home)
            .env("RUST_BACKTRACE", "1")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.home);
        // Its own process group: an interrupt from the terminal does not reach it.
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = command
            .spawn()
            .with_context(|| format!("failed to start `{}`", self.path.display()))?;
        let mut watchdog = Command::new("sh");
        watchdog
            .arg("-c")
            .arg(WATCHDOG)
            .arg(process.id().to_string())
            .process_group(0);
        watchdog
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Child {
            process,
            watchdog: watchdog.spawn().context("failed to start a shell")?,
        })
    }

    /// The end of what it said.
    pub(crate) fn tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }
}

/// The last lines of a file.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let skipped = text.lines().count().saturating_sub(lines);
    text.lines().skip(skipped).collect::<Vec<_>>().join("\n")
}

impl Child {
    /// Send it a signal. It was not waited for yet, or has ended and the signal does nothing.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw);
        if let Some(id) = id {
            let _ = kill_process(id, signal);
        }
    }

    /// Let it open nothing whose number is not in the first half of what it has open: what it has
    /// stays, and what it closes from the second half cannot be opened again. Answers what it might
    /// have had open before; none if it has ended.
    pub(crate) fn starve(&self) -> Option<u64> {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).ok()?;
        self.allow_open(open.count() as u64 / 2)
    }

    /// Let it have so many files and connections open. Answers what it might have had before.
    pub(crate) fn allow_open(&self, count: u64) -> Option<u64> {
        let id = i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw)?;
        let limit = Rlimit {
            current: Some(count),
            // As all processes have it from this one.
            maximum: getrlimit(Resource::Nofile).maximum,
        };
        prlimit(Some(id), Resource::Nofile, limit).ok()?.current
    }

    /// How it ended, if it has. It must not be signalled after that.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        // One that has ended already is only waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
