//! Watches whether workers are there for a job, so that a front door can say why nothing happens.

use std::time::Duration;

use sortie::{Client, JobId};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How often the broker is asked. A worker that died counts as there for twelve seconds more, so
/// that it is missed within half a minute.
const ASK_INTERVAL: Duration = Duration::from_secs(10);

/// Counts the workers that are there for a job, until it is dropped.
#[derive(Debug)]
pub struct WorkerWatch {
    counted: watch::Receiver<Option<usize>>,
    _asking: JoinSet<()>,
}

impl WorkerWatch {
    /// Watch a job. Call it within a runtime.
    #[must_use]
    pub fn start(client: Client, job: JobId) -> Self {
        let (sender, counted) = watch::channel(None);
        let mut asking = JoinSet::new();
        asking.spawn(async move {
            loop {
                tokio::time::sleep(ASK_INTERVAL).await;
                // A broker that does not answer, or tells this user nothing, proves nothing.
                let workers = client.workers_of(job).await.ok();
                let count = workers.map(|workers| {
                    let at_work = workers.iter().filter(|worker| !worker.draining);
                    at_work.count()
                });
                sender.send_replace(count);
            }
        });
        Self {
            counted,
            _asking: asking,
        }
    }

    /// How many were there when the broker was asked last; `None` if it was not asked yet, or did
    /// not tell.
    #[must_use]
    pub fn count(&self) -> Option<usize> {
        *self.counted.borrow()
    }
}
