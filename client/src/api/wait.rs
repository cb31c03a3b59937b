//! Waits for some or all of many futures.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt as _};

use crate::api::future::TaskFuture;
use crate::api::output::Decode;
use crate::api::task_error::TaskError;

/// What [`wait`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitFor {
    /// All tasks ended.
    All,
    /// One ended, or all if there is none.
    FirstEnded,
    /// One failed or was cancelled, or all ended.
    FirstFailed,
}

/// How far a [`wait`] came.
#[derive(Debug)]
pub struct Waited<T> {
    /// The futures of tasks that ended, in the order in which they were given. They resolve at
    /// once, but for large values, which are fetched.
    pub ended: Vec<TaskFuture<T>>,
    /// The others, in that order.
    pub pending: Vec<TaskFuture<T>>,
}

/// Wait for tasks to end, but no longer than `timeout` if there is one. Results are not fetched.
/// Cancel safe, as far as futures are cloned for it: those given are dropped with it.
pub async fn wait<T>(
    futures: impl IntoIterator<Item = TaskFuture<T>>,
    until: WaitFor,
    timeout: Option<Duration>,
) -> Waited<T> {
    let futures: Vec<_> = futures.into_iter().collect();
    let waiting = async {
        let mut endings: FuturesUnordered<_> = futures.iter().map(TaskFuture::ending).collect();
        while let Some(has_completed) = endings.next().await {
            match until {
                WaitFor::FirstEnded => break,
                WaitFor::FirstFailed if !has_completed => break,
                WaitFor::FirstFailed | WaitFor::All => {}
            }
        }
    };
    match timeout {
        Some(timeout) => {
            // Either way, what ended is what ended.
            let _ = tokio::time::timeout(timeout, waiting).await;
        }
        None => waiting.await,
    }
    let (ended, pending) = futures.into_iter().partition(TaskFuture::has_ended);
    Waited { ended, pending }
}

/// Results as their tasks complete, each with the place of its future in the order in which they
/// were given: see [`as_completed`].
#[must_use = "it does nothing unless it is polled"]
pub struct AsCompleted<T> {
    pending: FuturesUnordered<Placed<T>>,
    next: usize,
}

/// A future with its place.
struct Placed<T>(usize, TaskFuture<T>);

impl<T: Decode> Future for Placed<T> {
    type Output = (usize, Result<T, TaskError>);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self(place, future) = self.get_mut();
        Pin::new(future).poll(cx).map(|result| (*place, result))
    }
}

impl<T> std::fmt::Debug for AsCompleted<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AsCompleted")
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

impl<T: Decode> AsCompleted<T> {
    /// Add a future, for example of a task that follows from a result that came. Its place is the
    /// next one.
    pub fn push(&mut self, future: TaskFuture<T>) -> usize {
        let place = self.next;
        self.next += 1;
        self.pending.push(Placed(place, future));
        place
    }

    /// How many are pending.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether none is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

impl<T: Decode> Stream for AsCompleted<T> {
    type Item = (usize, Result<T, TaskError>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pending.poll_next_unpin(cx)
    }
}

/// The results of `futures` as they complete, each with its place among them. Further futures can
/// be added meanwhile.
pub fn as_completed<T: Decode>(futures: impl IntoIterator<Item = TaskFuture<T>>) -> AsCompleted<T> {
    let mut all = AsCompleted {
        pending: FuturesUnordered::new(),
        next: 0,
    };
    for future in futures {
        all.push(future);
    }
    all
}
