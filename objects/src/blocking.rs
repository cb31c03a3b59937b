//! Runs work that blocks a thread, each kind within a bound of its own.
//!
//! The runtime's threads for such work are shared by the whole process. A file system or a name
//! server that hangs would take all of them, and with them the reads of tasks that have nothing to
//! do with it. A permit is held by the work itself: who stops waiting for it frees no place.

use std::sync::Arc;

use sortie_protocol::outcome::InputFault;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::Error;
use crate::background::ended;

/// Local files that are opened or read at once: more than a disk serves at once. More wait.
pub(crate) const FILES_MAX: usize = 32;
/// Steps of listings through local folders at once. More wait.
pub(crate) const LISTINGS_MAX: usize = 8;
/// Names of servers that are looked up at once. More wait.
pub(crate) const NAMES_MAX: usize = 16;

/// A bound on one kind of blocking work. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    permits: Arc<Semaphore>,
    io: Handle,
}

impl Pool {
    pub(crate) fn new(at_once_max: usize, io: Handle) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(at_once_max)),
            io,
        }
    }

    /// Do `work` when there is a place for it. Cancel safe as far as `work` is: it goes on.
    ///
    /// # Errors
    /// When the host is shutting down, or `work` panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let over = || Error::new(InputFault::Unavailable, "the host is shutting down");
        let permit = self.permits.clone().acquire_owned().await;
        let permit = permit.map_err(|_| over())?;
        let doing = self.io.spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        });
        doing
            .await
            .map_err(|error| Error::new(InputFault::Unavailable, ended(&error)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn work_that_nobody_waits_for_any_more_keeps_its_place() {
        let pool = Pool::new(1, Handle::current());
        let (release, held) = mpsc::channel::<()>();
        let (began, begins) = tokio::sync::oneshot::channel();
        let first = pool.clone();
        let waiting = tokio::spawn(async move {
            first
                .run(move || {
                    began.send(()).unwrap();
                    held.recv().unwrap_err()
                })
                .await
        });
        begins.await.unwrap();
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        assert_eq!(pool.permits.available_permits(), 0);
        drop(release);
        assert_eq!(pool.run(|| 7).await.unwrap(), 7);
    }
}
