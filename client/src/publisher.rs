//! What a client says to a broker without waiting for each answer.
//!
//! Over a network an answer takes a round trip, so up to [`PUBLISHES_AT_ONCE`] may be under way; in
//! which order they arrive does not matter. A broker in the same process answers at once: then
//! nothing is kept here.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use sortie_broker::{Broker, Error, Report};
use sortie_protocol::{Bundle, JobId, LeaseId, Outcome, Task, TaskIndex};

use crate::client::now;

/// Publishes that may be under way: at 1 ms for a round trip 64,000 bundles a second, which is more
/// than one client makes. At the limit no further inputs are taken.
pub(crate) const PUBLISHES_AT_ONCE: usize = 64;
/// A lease that nobody holds: outcomes that no worker made are reported on it.
const NO_LEASE: LeaseId = LeaseId(u64::MAX);

/// What was said.
#[derive(Debug)]
pub(crate) enum Said {
    /// A bundle: its first task, and how many.
    Bundle(TaskIndex, usize),
    /// The outcomes of tasks that no worker will run.
    Outcomes(Arc<[Outcome]>),
    /// That these are all tasks.
    Seal,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) said: Said,
    pub(crate) result: Result<(), Error>,
}

struct UnderWay<'b> {
    said: Option<Said>,
    call: BoxFuture<'b, Result<(), Error>>,
}

impl Future for UnderWay<'_> {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let result = ready!(self.call.poll_unpin(cx));
        // It is polled no more once it was ready.
        Poll::Ready(Answer {
            said: self.said.take().unwrap_or(Said::Seal),
            result,
        })
    }
}

/// Speaks to a broker about one job.
pub(crate) struct Publisher<'b> {
    broker: &'b dyn Broker,
    job: JobId,
    under_way: FuturesUnordered<UnderWay<'b>>,
}

impl<'b> Publisher<'b> {
    pub(crate) fn new(broker: &'b dyn Broker, job: JobId) -> Self {
        Self {
            broker,
            job,
            under_way: FuturesUnordered::new(),
        }
    }

    /// Publish tasks. The answer, if it is there at once.
    pub(crate) async fn publish(&mut self, tasks: Vec<Task>) -> Option<Answer> {
        let (first, count) = (tasks.first()?.index, tasks.len());
        let bundle = Bundle {
            job: self.job,
            attempts_before: 0,
            lost_before: 0,
            published: now(),
            tasks,
        };
        self.say(Said::Bundle(first, count), self.broker.publish(bundle))
            .await
    }

    /// Store the outcomes of tasks that no worker will run, so that everybody who follows the job
    /// learns of them.
    pub(crate) async fn store(&mut self, outcomes: Arc<[Outcome]>) -> Option<Answer> {
        let report = Report {
            outcomes: outcomes.to_vec(),
            retrials: Vec::new(),
        };
        self.say(
            Said::Outcomes(outcomes),
            self.broker.complete(NO_LEASE, self.job, report),
        )
        .await
    }

    /// Say how many tasks there are.
    pub(crate) async fn seal(&mut self, tasks: TaskIndex) -> Option<Answer> {
        self.say(Said::Seal, self.broker.seal(self.job, tasks))
            .await
    }

    async fn say(
        &mut self,
        said: Said,
        mut call: BoxFuture<'b, Result<(), Error>>,
    ) -> Option<Answer> {
        match futures::poll!(call.as_mut()) {
            Poll::Ready(result) => Some(Answer { said, result }),
            Poll::Pending => {
                self.under_way.push(UnderWay {
                    said: Some(said),
                    call,
                });
                None
            }
        }
    }

    /// Whether more may be said.
    pub(crate) fn has_room(&self) -> bool {
        self.under_way.len() < PUBLISHES_AT_ONCE
    }

    /// Whether everything was answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// The next answer; waits for ever if none is to come. Cancel safe.
    pub(crate) async fn answer(&mut self) -> Answer {
        match self.under_way.next().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}
