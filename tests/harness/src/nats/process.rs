//! One run of a server's process, from its start until it is ready, to its end.
//!
//! Ready is when the server has written its file of ports: it does so after all its listeners are
//! open. The process is ended by its id, and waited for, when this is dropped. A watchdog does the
//! same if our own process is killed: it reads from a pipe whose other end only we have, and kills
//! when that end is gone. It is stopped before the server is, so that it never sees an id that
//! means another process.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::Value;
use tokio::time::{interval, timeout};

use crate::patience::patience;

/// How often a condition is looked at that cannot be waited for: short against any start.
const POLL: Duration = Duration::from_millis(5);

/// Its configuration, in the server's folder.
pub(super) const CONFIG: &str = "nats.conf";
/// What it writes, in the server's folder.
pub(super) const LOG: &str = "log";

/// Waits for the end of its input, then kills.
const WATCHDOG: &str = r#"read -r _; kill -KILL "$0""#;

/// A server's process. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    server: Child,
    watchdog: Child,
    paused: bool,
}

/// How a start went.
pub(super) enum Started {
    Ready(Process),
    PortTaken,
    /// What the server did instead.
    Failed(String),
}

impl Process {
    /// Start the program with the configuration in `folder`, and wait until it is ready.
    pub(super) async fn start(
        program: &Path,
        folder: &Path,
        variables: &[(String, String)],
    ) -> Started {
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join(LOG))
            .expect("a file of ours");
        let before = log.metadata().expect("a file of ours").len();
        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(folder.join(CONFIG))
            .arg("--ports_file_dir")
            .arg(folder)
            .current_dir(folder);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file of ours"))
            .stderr(log);
        let server = command
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start {}: {error}", program.display()));
        let mut process = Self {
            watchdog: watchdog(server.id()),
            server,
            paused: false,
        };
        let ports = folder.join(format!(
            "{}_{}.ports",
            program.file_name().unwrap_or_default().display(),
            process.id()
        ));
        let ready = poll(async || {
            if let Some(status) = process.server.try_wait().expect("a child of ours") {
                return Some(Err(status));
            }
            // Not yet there, or half written.
            let text = std::fs::read(&ports).ok()?;
            serde_json::from_slice::<Value>(&text)
                .is_ok()
                .then_some(Ok(()))
        });
        match ready.await {
            Some(Ok(())) => Started::Ready(process),
            Some(Err(_)) if said(folder, before).contains("address already in use") => {
                Started::PortTaken
            }
            Some(Err(status)) => {
                Started::Failed(format!("ended with {status} instead of starting"))
            }
            None => Started::Failed(format!("was not ready within {:?}", patience())),
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.server.id()
    }

    /// Send it a signal. It was not waited for yet, so its id is still its own.
    pub(super) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a process of ours");
    }

    /// Stop it, and return when it has stopped.
    pub(super) fn pause(&mut self) {
        self.signal(Signal::STOP);
        let stopped = waitid(
            WaitId::Pid(self.pid()),
            WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        );
        assert!(
            stopped
                .expect("a child of ours")
                .is_some_and(|status| status.stopped()),
            "the server ended while it was to be paused"
        );
        self.paused = true;
    }

    /// Let it run on.
    pub(super) fn resume(&mut self) {
        self.signal(Signal::CONT);
        self.paused = false;
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Wait for its end; none if it does not come in time.
    pub(super) async fn ended(&mut self) -> Option<ExitStatus> {
        poll(async || self.server.try_wait().expect("a child of ours")).await
    }

    fn pid(&self) -> Pid {
        i32::try_from(self.server.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("an id of a process")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        // A process that was stopped is killed all the same; one that has ended already is only
        // waited for.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Kills the process with this id when our own is gone. To be stopped before that process is waited
/// for.
pub(crate) fn watchdog(server: u32) -> Child {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(WATCHDOG)
        .arg(server.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().expect("a shell")
}

/// What was written to the log from there on.
fn said(folder: &Path, from: u64) -> String {
    let log = std::fs::read(folder.join(LOG)).unwrap_or_default();
    let from = usize::try_from(from).unwrap_or(usize::MAX).min(log.len());
    String::from_utf8_lossy(&log[from..]).into_owned()
}

/// Look again and again until there is an answer; none if it does not come in time.
pub(super) async fn poll<T>(mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let mut ticks = interval(POLL);
    let looking = async {
        loop {
            ticks.tick().await;
            if let Some(answer) = look().await {
                return answer;
            }
        }
    };
    timeout(patience(), looking).await.ok()
}
