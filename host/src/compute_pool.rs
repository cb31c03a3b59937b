//! The thread pool on which functions compute.
//!
//! A guest occupies its thread for up to a tick at a time, which would starve timers and sockets on
//! an ordinary async runtime. So functions have threads of their own, one per core, that do nothing
//! else, and all I/O runs on the caller's runtime. Tasks that wait for I/O give up their thread; a
//! task that becomes ready goes to any free thread, because the queue is shared and nothing is
//! pinned to a thread.
//!
//! A task that panics ends, and its awaiter panics; the thread goes on.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_executor::{Executor, Task};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// A pool of compute threads. Dropping it ends them, after the polls in progress.
#[derive(Debug)]
pub struct ComputePool {
    executor: Arc<Executor<'static>>,
    stop: watch::Sender<()>,
    threads: Vec<JoinHandle<()>>,
}

impl ComputePool {
    /// Start `count` threads. Timers and sockets that tasks wait for are driven by `io`.
    ///
    /// # Errors
    /// When the system denies a thread.
    pub fn start(count: NonZeroUsize, io: &Handle) -> io::Result<Self> {
        let executor = Arc::new(Executor::new());
        let (stop, stopped) = watch::channel(());
        let mut pool = Self {
            executor: executor.clone(),
            stop,
            threads: Vec::with_capacity(count.get()),
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

    /// Run `future` on the pool. Dropping the task aborts it.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        self.executor.spawn(future)
    }
}

impl Drop for ComputePool {
    fn drop(&mut self) {
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
