//! Futures of tasks that were submitted one by one.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde::{Serialize, Serializer};
use sortie_protocol::{Backtrace, Ending, JobId, Outcome, TaskIndex};

use crate::api::arguments::{Arguments, IntoArguments, value};
use crate::api::outcome::decode;
use crate::api::output::Decode;
use crate::api::references;
use crate::api::shared::Shared;
use crate::api::task_error::TaskError;
use crate::drive::program::Cancelled;
use crate::drive::slot::Waiter;
use crate::drive::submitted::{Dependency, Submitted};
use crate::drive::values::{is_elsewhere, is_lost};

/// A submitted task. Resolves to the function's result. Clones, and the futures of
/// [equal calls](crate::Client::submit), are futures of the same task; dropping the last of them
/// before the task ended cancels it, unless another task takes its result.
///
/// A future can be an argument of another task, or be anywhere in a value that is one: the function
/// gets the result in its place, and is called when all results that it takes are there. If the
/// task of one fails, those that take its result fail with `upstream-failed`, and are not run.
pub struct TaskFuture<T> {
    shared: Arc<Shared>,
    submitted: Arc<Submitted>,
    /// Says that this future waits.
    waiter: Option<Waiter>,
    /// The outcome, whose value is being fetched. Never locked: this is what makes it possible to
    /// await something of a borrowed future on any thread.
    fetching: Option<Fetching>,
    result: PhantomData<fn() -> T>,
}

/// A value that is being fetched.
struct Fetching {
    /// The run that made it.
    run: TaskIndex,
    outcome: Mutex<BoxFuture<'static, Outcome>>,
}

/// What becomes of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskStatus {
    /// It waits for results of other tasks.
    Waiting,
    /// It is on its way to a worker, or one has it.
    Released,
    /// It has a result.
    Completed,
    /// It failed, or one whose result it takes did.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// The broker says no more about it to this client.
    Unknown,
}

impl<T> Clone for TaskFuture<T> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            submitted: self.submitted.clone(),
            waiter: None,
            fetching: None,
            result: PhantomData,
        }
    }
}

impl<T> fmt::Debug for TaskFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskFuture")
            .field("job", &self.submitted.program.job)
            .field("index", &self.submitted.index)
            .field("ended", &self.has_ended())
            .finish_non_exhaustive()
    }
}

impl<T> TaskFuture<T> {
    pub(crate) fn new(shared: Arc<Shared>, submitted: Arc<Submitted>) -> Self {
        Self {
            shared,
            submitted,
            waiter: None,
            fetching: None,
            result: PhantomData,
        }
    }

    /// The job that its client keeps open, as the broker knows it.
    #[must_use]
    pub fn job(&self) -> JobId {
        self.submitted.program.job.job
    }

    /// The task's position in that job, from 0.
    #[must_use]
    pub fn index(&self) -> TaskIndex {
        self.submitted.index
    }

    /// Whether the task ended, in whatever way.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.submitted.slot.has_ended()
    }

    /// What becomes of the task, as far as this client knows.
    #[must_use]
    pub fn status(&self) -> TaskStatus {
        let Submitted {
            index,
            slot,
            program,
            ..
        } = &*self.submitted;
        match slot.ended() {
            None if program.waits(*index) => TaskStatus::Waiting,
            None => TaskStatus::Released,
            Some(Err(_)) => TaskStatus::Unknown,
            Some(Ok(outcome)) => match outcome.ending {
                Ending::Completed(_) => TaskStatus::Completed,
                Ending::Failed(_) => TaskStatus::Failed,
                Ending::Cancelled => TaskStatus::Cancelled,
            },
        }
    }

    /// Where in the function's code the task failed. Empty if it has not failed, if nothing is
    /// known of that, and where it failed because of another task: ask the future of that one.
    #[must_use]
    pub fn backtrace(&self) -> Backtrace {
        match self.submitted.slot.ended() {
            Some(Ok(outcome)) => match &outcome.ending {
                Ending::Failed(failure) => failure.backtrace().clone(),
                Ending::Completed(_) | Ending::Cancelled => Backtrace::default(),
            },
            Some(Err(_)) | None => Backtrace::default(),
        }
    }

    /// Cancel the task, for all who hold a future of it. The future then resolves to
    /// [`TaskError::Cancelled`], unless the task ended first; so do the futures of tasks that take
    /// its result.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn cancel(&self) -> Result<(), sortie_broker::Error> {
        let Submitted { index, program, .. } = &*self.submitted;
        match program.cancel(*index) {
            Cancelled::Here => Ok(()),
            Cancelled::Released(run) => {
                let broker = &self.shared.broker;
                broker.cancel_tasks(program.job, vec![run]).await
            }
        }
    }

    /// Let the task run to its end although nobody waits for it: dropping its futures does not
    /// cancel it. It needs this client, which [`Client::flush_jobs`](crate::Client::flush_jobs)
    /// keeps until all of its tasks have ended.
    pub fn fire_and_forget(self) {
        self.submitted.leave();
    }

    /// Whether it is one of this client.
    pub(crate) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    /// The index of the task's latest run in its job.
    pub(crate) fn run(&self) -> TaskIndex {
        self.submitted.program.run_of(self.submitted.index)
    }

    pub(crate) fn submitted(&self) -> &Arc<Submitted> {
        &self.submitted
    }

    /// Let the task run to its end, and its outcome stay at the broker.
    pub(crate) fn keep(&self) {
        self.submitted.leave();
        self.submitted.program.publish();
    }

    /// Wait until the task ended. Whether it has a result.
    pub(crate) async fn ending(&self) -> bool {
        let ended = self.submitted.slot.wait().await;
        ended.is_ok_and(|outcome| matches!(outcome.ending, Ending::Completed(_)))
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

    fn poll_outcome(&mut self, cx: &mut Context<'_>) -> Poll<Result<Outcome, TaskError>> {
        let ended = ready!(self.submitted.slot.poll(cx, &mut self.waiter));
        let ended = ended.map(Arc::unwrap_or_clone);
        Poll::Ready(ended.map_err(|gone| TaskError::BrokerGone {
            reason: gone.reason.to_string(),
            stays: gone.stays,
        }))
    }
}

impl<T: Decode> Future for TaskFuture<T> {
    type Output = Result<T, TaskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            if let Some(Fetching { run, outcome }) = &mut this.fetching {
                let (run, outcome) = (*run, ready!(outcome.get_mut().poll_unpin(cx)));
                // It may be tried again, and then waited for again.
                this.fetching = None;
                let Submitted { index, program, .. } = &*this.submitted;
                if is_lost(&outcome) && program.lost(*index, run) {
                    continue;
                }
                return Poll::Ready(decode(outcome.ending));
            }
            match ready!(this.poll_outcome(cx)) {
                Ok(outcome) if is_elsewhere(&outcome) => {
                    let values = this.shared.values.clone();
                    let tenant = this.submitted.program.job.tenant;
                    let fetching = async move { values.fetched(tenant, outcome).await }.boxed();
                    this.fetching = Some(Fetching {
                        run: this.run(),
                        outcome: Mutex::new(fetching),
                    });
                }
                outcome => return Poll::Ready(outcome.and_then(|outcome| decode(outcome.ending))),
            }
        }
    }
}

impl<T> Serialize for TaskFuture<T> {
    /// A reference to the task. In a value that is an argument; nowhere else.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        references::serialize(&Dependency(self.submitted.clone()), serializer)
    }
}

impl<T> IntoArguments for TaskFuture<T> {
    fn into_arguments(self) -> Arguments {
        (&self).into_arguments()
    }
}

impl<T> IntoArguments for &TaskFuture<T> {
    fn into_arguments(self) -> Arguments {
        vec![value(self)].into()
    }
}

/// Wait for all of `futures`; returns the results in the same order.
pub async fn gather<T: Decode>(
    futures: impl IntoIterator<Item = TaskFuture<T>>,
) -> Vec<Result<T, TaskError>> {
    futures::future::join_all(futures).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_any_thread<T: Send>(_: impl FnOnce(TaskFuture<()>) -> T) {}

    /// What is awaited of a future can be in a task that moves between threads.
    #[test]
    fn futures_are_awaited_on_any_thread() {
        on_any_thread(|future| future);
        on_any_thread(TaskFuture::outcome);
        on_any_thread(|future| async move { future.cancel().await });
        on_any_thread(|future| async move { future.ending().await });
    }
}
