//! Futures of single tasks.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, Stream, StreamExt as _};
use sortie_protocol::{Ending, JobId, Outcome};

use crate::client::{Abandoned, Client};
use crate::courtesies::Courtesy;
use crate::following::{Followed, Following};
use crate::job::{lost, unrun};
use crate::outcome::{TaskError, decode};
use crate::output::Decode;
use crate::values::is_stored;

/// A submitted task. Resolves to the function's result. Dropping it before that cancels the task.
pub struct TaskFuture<T> {
    client: Client,
    job: JobId,
    outcomes: Following,
    /// The outcome, whose value is under way.
    fetching: Option<BoxFuture<'static, Outcome>>,
    ended: bool,
    courtesy: Option<Courtesy>,
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
    pub(crate) fn new(client: Client, job: JobId, outcomes: Following) -> Self {
        let courtesy = Some(client.shared.courtesies.begin());
        Self {
            client,
            job,
            outcomes,
            fetching: None,
            ended: false,
            courtesy,
            result: PhantomData,
        }
    }

    /// The job of this one task, as the broker knows it.
    #[must_use]
    pub fn job(&self) -> JobId {
        self.job
    }

    /// Cancel the task. The future then resolves to [`TaskError::Cancelled`], unless the task ended
    /// first.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn cancel(&self) -> Result<(), sortie_broker::Error> {
        self.client.shared.broker.cancel(self.job).await
    }

    /// Wait for the outcome as it is, with its bill. A large value may be in a store;
    /// [`Client::fetched`] brings it.
    ///
    /// # Errors
    /// When the broker does not tell, because it went away for longer than its patience or refuses.
    /// [`TaskError::BrokerGone`] says whether the task stays at the broker, where its
    /// [job](Self::job) can be attached to.
    pub async fn outcome(mut self) -> Result<Outcome, TaskError> {
        std::future::poll_fn(|cx| self.poll_outcome(cx)).await
    }

    /// The broker says no more. Was it away, then the task may go on, and whoever attaches to its
    /// job when it is back finds the outcome.
    fn gone(&mut self) -> TaskError {
        let trouble = self.outcomes.trouble();
        let stays = trouble.as_ref().is_some_and(sortie_broker::Error::passes);
        if stays {
            self.courtesy = None;
        }
        TaskError::BrokerGone {
            reason: trouble.map_or_else(
                || "its connection was closed".into(),
                |error| error.to_string(),
            ),
            stays,
        }
    }

    fn poll_outcome(&mut self, cx: &mut Context<'_>) -> Poll<Result<Outcome, TaskError>> {
        loop {
            let event = ready!(self.outcomes.poll_next_unpin(cx));
            let outcome = match event {
                Some(Followed::Outcomes(_, outcomes)) => match outcomes.first() {
                    Some(outcome) => Ok(outcome.clone()),
                    None => continue,
                },
                Some(Followed::Cancelled) => Ok(unrun(0, Ending::Cancelled)),
                Some(Followed::Idle) => Ok(unrun(0, lost())),
                None => Err(self.gone()),
            };
            self.ended = true;
            return Poll::Ready(outcome);
        }
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
                    let values = this.client.shared.values.clone();
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
        if let Some(courtesy) = self.courtesy.take() {
            self.client.abandon(self.job, how, courtesy);
        }
    }
}

/// Wait for all of `futures`; results in their order.
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
