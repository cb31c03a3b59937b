//! Worker processes of a measured fleet.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// A worker process, which ends with its handle.
#[derive(Debug)]
pub struct Worker(Child);

impl Worker {
    /// Start a worker at this broker, and wait until it is ready.
    ///
    /// # Errors
    /// When there is no such program, or it ends before it is ready.
    pub fn start<A: AsRef<OsStr>>(
        server: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name("sortie");
        let mut child = Command::new(&program)
            .args(["worker", "--broker", server, "--cache", "off"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start `{}`", program.display()))?;
        let said = child
            .stderr
            .take()
            .context("a worker without a standard error")?;
        let worker = Self(child);
        let mut lines = BufReader::new(said).lines();
        for line in lines.by_ref() {
            if line?.ends_with("ready") {
                // What it says from now on is shown.
                std::thread::spawn(move || {
                    lines
                        .map_while(Result::ok)
                        .for_each(|line| eprintln!("{line}"))
                });
                return Ok(worker);
            }
        }
        bail!("a worker did not get ready")
    }

    /// The most memory that it has held, in bytes.
    pub fn peak_memory(&self) -> u64 {
        crate::peak_memory_of(&self.0.id().to_string())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
