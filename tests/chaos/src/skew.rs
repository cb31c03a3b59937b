//! A process's time of day, as the driver steps it: the file that the preloaded library maps.
//!
//! The library is the package `sortie-skewed-clock`.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The library's file, beside the programs of a build.
pub const LIBRARY: &str = "libsortie_skewed_clock.so";
/// The variable that names the file to the library.
const VARIABLE: &str = "SORTIE_SKEWED_CLOCK";
const NANOS: i64 = 1_000_000_000;

/// The offset of one process's time of day.
#[derive(Debug)]
pub(crate) struct SkewedClock {
    file: File,
    path: PathBuf,
    library: PathBuf,
}

impl SkewedClock {
    /// One that is not moved yet, kept in this folder.
    pub(crate) fn create(library: &Path, folder: &Path) -> Result<Self> {
        ensure!(
            library.is_file(),
            "there is no library `{}`; run: cargo build --package sortie-skewed-clock",
            library.display()
        );
        let path = folder.join("clock");
        let file = File::create_new(&path)
            .with_context(|| format!("failed to make `{}`", path.display()))?;
        let clock = Self {
            file,
            path,
            library: library.to_owned(),
        };
        clock.step(0)?;
        Ok(clock)
    }

    /// What the process needs in its environment.
    pub(crate) fn variables(&self) -> Vec<(OsString, OsString)> {
        vec![
            ("LD_PRELOAD".into(), self.library.clone().into()),
            (VARIABLE.into(), self.path.clone().into()),
        ]
    }

    /// Move the time of day to so many seconds from the real one, from now on.
    pub(crate) fn step(&self, seconds: i32) -> Result<()> {
        let nanos = i64::from(seconds) * NANOS;
        self.file
            .write_all_at(&nanos.to_ne_bytes(), 0)
            .with_context(|| format!("failed to write `{}`", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sortie_broker::Operate as _;
    use sortie_broker::nats::{Config, NatsBroker, Role};
    use sortie_harness::{NatsServer, binary, within};
    use sortie_protocol::Timestamp;
    use tokio::time::sleep;

    use super::*;
    use crate::child::Program;
    use crate::common::{PAUSE, now};

    /// Much less than a step, and more than a busy machine takes between an announcement and a look
    /// at it.
    const CLOSE: Duration = Duration::from_secs(30);

    /// What the worker says of the time of day is what its own clock said: so its standard library
    /// asks the preloaded one.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_workers_time_of_day_is_stepped_by_another_process() {
        let server = NatsServer::start().await;
        let config = Config::new(server.url(), Role::Client);
        let broker = NatsBroker::connect(config).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_owned();
        let clock = SkewedClock::create(&binary().with_file_name(LIBRARY), &home).unwrap();
        let program = Program {
            path: binary(),
            arguments: ["worker", "--broker", &server.url()].map(Into::into).into(),
            variables: clock.variables(),
            log: home.join("log"),
            home,
        };
        let _worker = program.start().unwrap();
        for seconds in [0, -3600, 90] {
            clock.step(seconds).unwrap();
            within(&format!("a step by {seconds} s"), async {
                while !says(&broker, seconds).await {
                    sleep(PAUSE).await;
                }
            })
            .await;
        }
    }

    /// Whether the worker's last announcement is of a time of day that is so many seconds from
    /// ours.
    async fn says(broker: &NatsBroker, seconds: i32) -> bool {
        let workers = broker.workers().await.unwrap();
        let [worker] = workers.as_slice() else {
            return false;
        };
        let step = Duration::from_secs(seconds.unsigned_abs().into());
        let (said, now) = match seconds {
            ..0 => (worker.said + step, now()),
            _ => (worker.said, now() + step),
        };
        apart(said, now) < CLOSE
    }

    fn apart(one: Timestamp, other: Timestamp) -> Duration {
        one.since(other).max(other.since(one))
    }
}
