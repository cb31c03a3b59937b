//! Subtasks: tasks that a task of this worker makes, and how that task waits for them.
//!
//! The subtasks of a task are a job of their own (`Family`), at the broker like any other, so
//! that they run wherever a worker is free. The job's id follows from the task and its inputs
//! ([`sortie_protocol::Parent`]): another attempt of the task finds the subtasks of the first.
//!
//! A task that waits gives up its core at once (`Yields`). It stays in memory while nobody needs
//! that; then it is ended, and run again from its beginning when what it waits for is there. It
//! makes the same subtasks again, which are known by then. So tasks that wait hold nothing that
//! their subtasks need, whatever there is of it, and a task that can run by itself always runs.
//!
//! Bounds: [`WAITING_MAX`] tasks of a worker wait at the same time;
//! [`OF_JOB_MAX`](subtask::OF_JOB_MAX) subtasks of one submitted job are made by one worker. What
//! is held of their results has a share of the worker's memory; what has no room there is read
//! again.

mod family;
mod publishing;
mod told;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use sortie_broker::Broker;
use sortie_protocol::{JobKey, JobState, TaskIndex, TenantId, subtask};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use self::family::{Answer, Family, Origin, SpawnError, SubtaskCall};
pub(crate) use self::told::Wanted;

/// The most tasks of one worker that have subtasks at the same time, most of which wait out of
/// memory. One more is tried again later.
pub const WAITING_MAX: usize = 4096;
/// The part of the memory for tasks, as a fraction of it, that results of subtasks have.
const HELD_SHARE: usize = 32;

/// What a task gives up while it waits for its subtasks.
#[async_trait]
pub(crate) trait Yields: std::fmt::Debug + Send + Sync {
    /// Whether it may stay in memory while it does not compute.
    fn stays(&self) -> bool;

    /// It does not compute from now on. Calling it again changes nothing. In memory it is only if
    /// it stays.
    fn leave(&self);

    /// Wait until it may compute again. Cancel safe.
    async fn enter(&self);

    /// Wait until the task has to go out of memory, because others need the room. Cancel safe.
    async fn must_go(&self);
}

/// Makes the subtasks of one run of a function, when it asks for the first one.
pub(crate) trait MakesSubtasks: std::fmt::Debug + Send + Sync {
    /// The subtasks of the task.
    fn family(&self) -> Result<Arc<Family>, NoFamily>;
}

/// Why a task can have no subtasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoFamily {
    /// They would be too deep.
    TooDeep,
    /// Too many tasks of the worker have some.
    Crowded,
}

/// What the subtasks of all tasks of a worker share.
#[derive(Debug)]
pub(crate) struct Subtasks {
    broker: Arc<dyn Broker>,
    io: Handle,
    waiting: Arc<Semaphore>,
    /// How many were made below each submitted job.
    made: Mutex<HashMap<JobKey, u64>>,
    shelf: Arc<Shelf>,
}

/// Room for results of subtasks.
#[derive(Debug)]
struct Shelf {
    bytes_max: usize,
    bytes: AtomicUsize,
}

impl Shelf {
    /// Take so many bytes, if they are there.
    fn take(&self, bytes: usize) -> bool {
        let update = |taken: usize| {
            taken
                .checked_add(bytes)
                .filter(|taken| *taken <= self.bytes_max)
        };
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.bytes.fetch_update(set, fetch, update).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Subtasks {
    /// For a worker that has so many bytes for tasks.
    pub(crate) fn new(broker: Arc<dyn Broker>, io: Handle, tasks_bytes: usize) -> Self {
        Self {
            broker,
            io,
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            made: Mutex::default(),
            shelf: Arc::new(Shelf {
                bytes_max: tasks_bytes / HELD_SHARE,
                bytes: AtomicUsize::new(0),
            }),
        }
    }

    /// Room for one more task that waits, if there is any.
    pub(crate) fn try_wait(&self) -> Option<OwnedSemaphorePermit> {
        self.waiting.clone().try_acquire_owned().ok()
    }

    /// Count subtasks below a submitted job; not if there would be too many.
    fn count(&self, root: JobKey, more: u64) -> bool {
        let mut made = self.made.lock();
        // Jobs of the past are forgotten, all at once, rather than never.
        if made.len() > ROOTS_MAX && !made.contains_key(&root) {
            made.clear();
        }
        let of_root = made.entry(root).or_default();
        let fits = of_root.saturating_add(more) <= subtask::OF_JOB_MAX;
        if fits {
            *of_root += more;
        }
        fits
    }

    /// End the subtasks of a task that has ended itself, in the background: what waits is dropped,
    /// and what runs is stopped.
    pub(crate) fn end(&self, over: Over) {
        self.io.spawn(end(self.broker.clone(), over));
    }

    /// The same, if the job of the task itself is over.
    pub(crate) fn end_with(&self, parent: JobKey, over: Over) {
        let broker = self.broker.clone();
        self.io.spawn(async move {
            let is_over = match broker.job(parent).await {
                Ok(Some(record)) => record.state == JobState::Cancelled,
                Ok(None) => true,
                Err(_) => false,
            };
            if is_over {
                end(broker, over).await;
            }
        });
    }
}

/// Subtasks that are over.
#[derive(Debug)]
pub(crate) struct Over {
    /// Their job.
    pub(crate) job: JobKey,
    /// Those whose results the broker keeps beside it, because they are large.
    pub(crate) kept: Vec<TaskIndex>,
}

/// End a job of subtasks, also if the broker is away for a while.
async fn end(broker: Arc<dyn Broker>, over: Over) {
    let job = over.job;
    for _ in 0..END_TRIES {
        match tell_end(&broker, &over).await {
            Ok(()) => return,
            Err(error) if error.is_transient() => tokio::time::sleep(ASK_AGAIN).await,
            Err(error) => {
                tracing::warn!(%job, %error, "subtasks of a task that ended run on");
                return;
            }
        }
    }
    tracing::warn!(%job, "the broker is away: subtasks of a task that ended run on");
}

/// Workers of a fleet may stop jobs, and not remove what is stored of them. That goes with its age,
/// or when a client looks which jobs there are.
async fn tell_end(broker: &Arc<dyn Broker>, over: &Over) -> Result<(), sortie_broker::Error> {
    if !broker.outlives_process() {
        return broker.forget(over.job).await;
    }
    if !over.kept.is_empty() {
        broker.drop_values(over.job, over.kept.clone()).await?;
    }
    broker.cancel(over.job).await
}

/// Submitted jobs whose subtasks are counted.
const ROOTS_MAX: usize = 10_000;
/// How long to leave the broker alone when it does not answer.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How often the broker is asked to end subtasks. Each time it is asked for ten minutes.
const END_TRIES: u32 = 3;

/// The tenant and the root of a job, by which its subtasks are counted.
fn root_of(tenant: TenantId, parent: &sortie_protocol::Parent) -> JobKey {
    JobKey {
        tenant,
        job: parent.root,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_not_held() {
        let shelf = Shelf {
            bytes_max: 10,
            bytes: AtomicUsize::new(0),
        };
        assert!(shelf.take(6) && !shelf.take(5) && shelf.take(4));
        assert!(!shelf.take(usize::MAX));
        shelf.give_back(6);
        assert!(shelf.take(6));
    }
}
