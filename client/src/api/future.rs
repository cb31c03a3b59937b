//! Futures of single tasks: each task is its own job, and the job's first outcome resolves the
//! future.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, Stream, StreamExt as _};
use sortie_protocol::submission::{self, Event, lost, unrun};
use sortie_protocol::{Ending, JobId, JobKey, Outcome};

use crate::api::outcome::decode;
use crate::api::output::Decode;
use crate::api::shared::{Abandoned, Shared};
use crate::api::task_error::TaskError;
use crate::api::values::is_stored;
use crate::drive::feed::Feed;
use crate::drive::tracker::Tracked;
use crate::drive::watch::CompletionWatch;

/// A submitted task. Resolves to the function's result. Dropping it before that cancels the task.
pub struct TaskFuture<T> {
    shared: Arc<Shared>,
    job: JobKey,
    feed: Feed,
    watch: CompletionWatch,
    /// The outcome, whose value is being fetched.
    fetching: Option<BoxFuture<'static, Outcome>>,
    ended: bool,
    tracked: Option<Tracked>,
    result: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for TaskFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskFuture")
            .field("job", &self.job)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl<T> TaskFuture<T> {
    pub(crate) fn new(
        shared: Arc<Shared>,
        job: JobKey,
        feed: Feed,
        watch: CompletionWatch,
    ) -> Self {
        let tracked = Some(shared.tracker.begin());
        Self {
            shared,
            job,
            feed,
            watch,
            fetching: None,
            ended: false,
            tracked,
            result: PhantomData,
        }
    }

    /// The broker has the task.
    pub(crate) fn published(&mut self) {
        self.watch.published();
    }

    /// The job of this one task, as the broker knows it.
    #[must_use]
    pub fn job(&self) -> JobId {
        self.job.job
    }

    /// Cancel the task. The future then resolves to [`TaskError::Cancelled`], unless the task ended
    /// first.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn cancel(&self) -> Result<(), sortie_broker::Error> {
        self.shared.broker.cancel(self.job).await
    }

    /// Wait for the undecoded outcome, with its bill. A large value may be in a store;
    /// [`Client::fetched`](crate::Client::fetched) fetches it.
    ///
    /// # Errors
    /// When the broker was unreachable for longer than its outage time, or refuses.
    /// [`TaskError::BrokerGone`] says whether the task stays at the broker, so that its
    /// [job](Self::job) can be attached to.
    pub async fn outcome(mut self) -> Result<Outcome, TaskError> {
        std::future::poll_fn(|cx| self.poll_outcome(cx)).await
    }

    /// The broker says no more. If it was away, the task may go on, and a client that attaches to
    /// its job when the broker is back finds the outcome.
    fn gone(&mut self, error: Option<sortie_broker::Error>) -> TaskError {
        let stays = error
            .as_ref()
            .is_some_and(sortie_broker::Error::is_transient);
        if stays {
            self.tracked = None;
        }
        TaskError::BrokerGone {
            reason: error.map_or_else(
                || "its connection was closed".into(),
                |error| error.to_string(),
            ),
            stays,
        }
    }

    fn poll_outcome(&mut self, cx: &mut Context<'_>) -> Poll<Result<Outcome, TaskError>> {
        let shared = self.shared.clone();
        let at = (&shared.broker, self.job, &shared.runtime);
        let outcome = loop {
            let Poll::Ready(event) = self.feed.poll_next_unpin(cx) else {
                ready!(self.watch.poll_lost(at, cx));
                break Ok(unrun(0, lost()));
            };
            match event.unwrap_or(Event::Closed(None)) {
                Event::Outcomes(_, outcomes) => {
                    if let Some(outcome) = outcomes.first() {
                        break Ok(outcome.clone());
                    }
                }
                Event::Unreadable(tasks, reason) if tasks.contains(&0) => {
                    break Ok(unrun(0, submission::unreadable(&reason)));
                }
                Event::CaughtUp(mark) if self.watch.caught_up(mark, at).is_ready() => {
                    break Ok(unrun(0, lost()));
                }
                Event::Cancelled => break Ok(unrun(0, Ending::Cancelled)),
                Event::Closed(error) => break Err(self.gone(error)),
                // Its job was sealed here, and ends with the first outcome.
                _ => {}
            }
        };
        self.ended = true;
        Poll::Ready(outcome)
    }
}

impl<T: Decode> Future for TaskFuture<T> {
    type Output = Result<T, TaskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            if let Some(fetching) = &mut this.fetching {
                let outcome = ready!(fetching.poll_unpin(cx));
                return Poll::Ready(decode(outcome.ending));
            }
            match ready!(this.poll_outcome(cx)) {
                Ok(outcome) if is_stored(&outcome) => {
                    let values = this.shared.values.clone();
                    this.fetching = Some(async move { values.fetched(outcome).await }.boxed());
                }
                outcome => return Poll::Ready(outcome.and_then(|outcome| decode(outcome.ending))),
            }
        }
    }
}

impl<T> Drop for TaskFuture<T> {
    fn drop(&mut self) {
        let how = if self.ended {
            Abandoned::Ended
        } else {
            Abandoned::UnderWay
        };
        if let Some(tracked) = self.tracked.take() {
            self.shared.abandon(self.job, how, tracked);
        }
    }
}

/// Wait for all of `futures`; returns the results in the same order.
pub async fn gather<T: Decode>(
    futures: impl IntoIterator<Item = TaskFuture<T>>,
) -> Vec<Result<T, TaskError>> {
    futures::future::join_all(futures).await
}

/// The results of `futures` as they complete, each with its position among them.
pub fn as_completed<T: Decode>(
    futures: impl IntoIterator<Item = TaskFuture<T>>,
) -> impl Stream<Item = (usize, Result<T, TaskError>)> {
    futures
        .into_iter()
        .enumerate()
        .map(|(i, future)| async move { (i, future.await) })
        .collect::<FuturesUnordered<_>>()
}
