//! The thread pool on which functions compute.
//!
//! A guest occupies its thread for up to a tick at a time, which would starve timers and sockets on
//! an ordinary async runtime. So functions have threads of their own, one per core, that do nothing
//! else, and all I/O runs on the caller's runtime. Tasks that wait for I/O give up their thread; a
//! task that becomes ready goes to any free thread, because the queue is shared and nothing is
//! pinned to a thread.
//!
//! A task that panics ends, and its awaiter panics; the thread goes on.
//!
//! Every [`PULSE_PERIOD`] the pool is given something to do that takes no time, and when that was
//! done last tells whether its threads make progress ([`ComputePool::stalled`]).

use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_executor::{Executor, Task};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::clock;

/// How often a pool is asked for a sign of life.
pub const PULSE_PERIOD: Duration = Duration::from_secs(1);
/// How long a pool may go without one: guests give up their thread every few milliseconds, so that
/// nothing but a fault of this program takes that long, or a machine that stands still.
pub const STALL_TIME: Duration = Duration::from_secs(60);

/// A pool of compute threads. Dropping it ends them, after the polls in progress.
#[derive(Debug)]
pub struct ComputePool {
    executor: Arc<Executor<'static>>,
    stop: watch::Sender<()>,
    threads: Vec<JoinHandle<()>>,
    /// When the last sign of life was given.
    pulse: Arc<Mutex<Instant>>,
    beating: AbortHandle,
}

impl ComputePool {
    /// Start `count` threads. Timers and sockets that tasks wait for are driven by `io`.
    ///
    /// # Errors
    /// When the system denies a thread.
    pub fn start(count: NonZeroUsize, io: &Handle) -> io::Result<Self> {
        let executor = Arc::new(Executor::new());
        let (stop, stopped) = watch::channel(());
        let pulse = Arc::new(Mutex::new(clock::instant()));
        let beating = io.spawn(beat(executor.clone(), pulse.clone(), PULSE_PERIOD));
        let mut pool = Self {
            executor: executor.clone(),
            stop,
            threads: Vec::with_capacity(count.get()),
            pulse,
            beating: beating.abort_handle(),
        };
        for number in 0..count.get() {
            let (executor, io, mut stopped) = (executor.clone(), io.clone(), stopped.clone());
            let body = move || {
                let _io = io.enter();
                // Ends when the sender is dropped.
                futures_lite::future::block_on(
                    executor.run(async { while stopped.changed().await.is_ok() {} }),
                );
            };
            pool.threads.push(
                std::thread::Builder::new()
                    .name(format!("sortie-compute-{number}"))
                    .spawn(body)?,
            );
        }
        Ok(pool)
    }

    /// Whether all threads are alive.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.threads.iter().any(JoinHandle::is_finished)
    }

    /// For how long no thread of the pool took up anything new, if that is longer than
    /// [`STALL_TIME`].
    #[must_use]
    pub fn stalled(&self) -> Option<Duration> {
        self.stalled_for(STALL_TIME)
    }

    fn stalled_for(&self, time: Duration) -> Option<Duration> {
        let ago = clock::instant().saturating_duration_since(*self.pulse.lock());
        (ago > time).then_some(ago)
    }

    /// What runs further futures on the pool, without keeping it.
    #[must_use]
    pub fn spawner(&self) -> Spawner {
        Spawner(Arc::downgrade(&self.executor))
    }

    /// Run `future` on the pool. Dropping the task aborts it.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        self.executor.spawn(future)
    }
}

/// Runs further futures on a pool, from those that run on it.
#[derive(Debug, Clone)]
pub struct Spawner(Weak<Executor<'static>>);

impl Spawner {
    /// As [`ComputePool::spawn`]; nothing, once the pool is gone.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Option<Task<T>> {
        Some(self.0.upgrade()?.spawn(future))
    }
}

/// Ask a pool for signs of life, for ever.
async fn beat(executor: Arc<Executor<'static>>, pulse: Arc<Mutex<Instant>>, period: Duration) {
    loop {
        executor.spawn(async {}).await;
        *pulse.lock() = clock::instant();
        tokio::time::sleep(period).await;
    }
}

impl Drop for ComputePool {
    fn drop(&mut self) {
        self.beating.abort();
        let (closed, _) = watch::channel(());
        drop(std::mem::replace(&mut self.stop, closed));
        for thread in self.threads.drain(..) {
            // A thread that panicked has reported itself; there is nothing to undo.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;

    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_does_not_take_its_thread_along() {
        let pool = ComputePool::start(NonZeroUsize::MIN, &Handle::current()).unwrap();
        let panics = pool.spawn(async { panic!("in a task") });
        assert!(AssertUnwindSafe(panics).catch_unwind().await.is_err());
        assert_eq!(pool.spawn(async { 1 }).await, 1);
        assert!(pool.is_whole());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn threads_that_are_held_up_are_noticed_until_they_go_on() {
        let pool = ComputePool::start(NonZeroUsize::MIN, &Handle::current()).unwrap();
        let (go_on, held_up) = std::sync::mpsc::channel::<()>();
        let holds_up = pool.spawn(async move { held_up.recv() });
        let short = PULSE_PERIOD + PULSE_PERIOD / 5;
        while pool.stalled_for(short).is_none() {
            tokio::task::yield_now().await;
        }
        assert!(pool.stalled().is_none());
        go_on.send(()).unwrap();
        holds_up.await.unwrap();
        while pool.stalled_for(short).is_some() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_thread_that_is_gone_is_noticed() {
        let mut pool = ComputePool::start(NonZeroUsize::MIN, &Handle::current()).unwrap();
        let gone = std::thread::spawn(|| {});
        while !gone.is_finished() {
            std::thread::yield_now();
        }
        pool.threads.push(gone);
        assert!(!pool.is_whole());
    }
}
