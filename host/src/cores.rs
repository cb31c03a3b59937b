//! The threads on which functions compute.
//!
//! A guest occupies its thread for up to a tick at a time, which would starve timers and sockets on an ordinary async runtime. So functions
//! have threads of their own, one per core, that do nothing else, and all I/O runs on the caller's runtime. Tasks that wait for I/O give up
//! their thread; one that became ready goes to whichever thread is free, because the queue is shared and nothing is pinned to a thread.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_executor::{Executor, Task};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// A pool of computing threads. Dropping it ends them, after the polls in progress.
#[derive(Debug)]
pub struct Cores {
    executor: Arc<Executor<'static>>,
    stop: watch::Sender<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Cores {
    /// Start `count` threads. Timers and sockets that tasks wait for are driven by `io`.
    ///
    /// # Errors
    /// When the system denies a thread.
    pub fn start(count: NonZeroUsize, io: &Handle) -> io::Result<Self> {
        let executor = Arc::new(Executor::new());
        let (stop, stopped) = watch::channel(());
        let mut cores = Self { executor: executor.clone(), stop, threads: Vec::with_capacity(count.get()) };
        for number in 0..count.get() {
            let (executor, io, mut stopped) = (executor.clone(), io.clone(), stopped.clone());
            let body = move || {
                let _io = io.enter();
                // Ends when the sender is dropped.
                futures_lite::future::block_on(executor.run(async { while stopped.changed().await.is_ok() {} }));
            };
            cores.threads.push(std::thread::Builder::new().name(format!("sortie-core-{number}")).spawn(body)?);
        }
        Ok(cores)
    }

    /// Run `future` on the pool. Dropping the task aborts it.
    pub fn spawn<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Task<T> {
        self.executor.spawn(future)
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        let (closed, _) = watch::channel(());
        drop(std::mem::replace(&mut self.stop, closed));
        for thread in self.threads.drain(..) {
            // A thread that panicked has reported itself; there is nothing to undo.
            let _ = thread.join();
        }
    }
}
