//! Watches whether workers are there for a job, so that a front door can say why nothing happens.

use std::time::Duration;

use sortie::{BrokerError, Client, JobId};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How often the broker is asked. A worker that died counts as there for twelve seconds more, so
/// that it is missed within half a minute.
const ASK_INTERVAL: Duration = Duration::from_secs(10);

/// Counts the workers that are there for a job, until it is dropped.
#[derive(Debug)]
pub struct WorkerWatch {
    seen: watch::Receiver<Seen>,
    _asking: JoinSet<()>,
}

/// What the broker said when it was asked last.
#[derive(Debug)]
enum Seen {
    /// Nothing yet, or nothing that can be relied on.
    Nothing,
    /// So many are there.
    Count(usize),
    /// It is full, for this reason, and workers cannot say that they are there.
    NoRoom(String),
}

impl WorkerWatch {
    /// Watch a job. Call it within a runtime.
    #[must_use]
    pub fn start(client: Client, job: JobId) -> Self {
        let (sender, seen) = watch::channel(Seen::Nothing);
        let mut asking = JoinSet::new();
        asking.spawn(async move {
            loop {
                tokio::time::sleep(ASK_INTERVAL).await;
                sender.send_replace(match client.workers_of(job).await {
                    Ok(workers) => {
                        let at_work = workers.iter().filter(|worker| !worker.draining);
                        Seen::Count(at_work.count())
                    }
                    Err(error @ BrokerError::Full { .. }) => Seen::NoRoom(error.to_string()),
                    // A broker that does not answer, or tells this user nothing, proves nothing.
                    Err(_) => Seen::Nothing,
                });
            }
        });
        Self {
            seen,
            _asking: asking,
        }
    }

    /// How many were there when the broker was asked last; `None` if it was not asked yet, or did
    /// not tell.
    #[must_use]
    pub fn count(&self) -> Option<usize> {
        match *self.seen.borrow() {
            Seen::Count(count) => Some(count),
            Seen::Nothing | Seen::NoRoom(_) => None,
        }
    }

    /// Why the broker has no room, where it is not known therefore whether any is there.
    #[must_use]
    pub fn no_room(&self) -> Option<String> {
        match &*self.seen.borrow() {
            Seen::NoRoom(why) => Some(why.clone()),
            Seen::Nothing | Seen::Count(_) => None,
        }
    }
}
