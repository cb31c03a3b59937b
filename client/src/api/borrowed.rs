//! Jobs over inputs that are borrowed from the caller.
//!
//! A job is driven in the background, where nothing borrowed may go. So the caller's iterator stays
//! with the caller: it is advanced while the caller waits for outcomes, and each input is made to
//! arguments of its own before it goes to the background.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::channel::mpsc;

use crate::api::arguments::{Arguments, IntoArguments};
use crate::api::client::Client;
use crate::api::function::Function;
use crate::api::job::{GatherError, Job};
use crate::api::outcome::TaskOutcome;
use crate::api::output::Decode;

/// Inputs that were made to arguments and wait for the job to take them: enough for the largest
/// bundle, so that it is filled at once.
const INPUTS_WAITING: usize = 1024;

/// A [`Job`] whose inputs are borrowed: they are taken only while its outcomes are waited for.
pub struct BorrowedJob<'i, T> {
    job: Job<T>,
    /// None when all were taken.
    inputs: Option<Inputs<'i>>,
}

struct Inputs<'i> {
    left: Box<dyn Iterator<Item = Arguments> + Send + 'i>,
    sender: mpsc::Sender<Arguments>,
}

impl<T> fmt::Debug for BorrowedJob<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BorrowedJob")
            .field("job", &self.job)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// As [`Client::map`], over inputs that are borrowed, such as `paths.iter().map(object)`: they
    /// need not outlive the job's holder. They are taken while its outcomes are waited for, and
    /// only then.
    pub fn map_borrowed<'i, T, I>(&self, function: &Function<T>, inputs: I) -> BorrowedJob<'i, T>
    where
        I: IntoIterator,
        I::IntoIter: Send + 'i,
        I::Item: IntoArguments + 'i,
    {
        let (sender, taken) = mpsc::channel(INPUTS_WAITING);
        let left = inputs.into_iter().map(IntoArguments::into_arguments);
        BorrowedJob {
            job: self.map_stream(function, taken),
            inputs: Some(Inputs {
                left: Box::new(left),
                sender,
            }),
        }
    }
}

impl<T> BorrowedJob<'_, T> {
    /// The job, to ask how far it is or to cancel it.
    #[must_use]
    pub fn job(&self) -> &Job<T> {
        &self.job
    }

    /// Hand inputs over, as many as there is room for.
    fn hand_over(&mut self, cx: &mut Context<'_>) {
        while let Some(inputs) = &mut self.inputs {
            match inputs.sender.poll_ready(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) => {
                    let sent = inputs
                        .left
                        .next()
                        .is_some_and(|arguments| inputs.sender.start_send(arguments).is_ok());
                    if !sent {
                        self.inputs = None;
                    }
                }
                // The job takes no more of them.
                Poll::Ready(Err(_)) => self.inputs = None,
            }
        }
    }
}

impl<T: Decode> BorrowedJob<'_, T> {
    /// The next outcome. Cancel safe.
    pub async fn next(&mut self) -> Option<TaskOutcome<T>> {
        std::future::poll_fn(|cx| self.poll_outcome(cx)).await
    }

    /// As [`Job::gather`].
    ///
    /// # Errors
    /// As [`Job::gather`].
    pub async fn gather(mut self) -> Result<Vec<TaskOutcome<T>>, GatherError<T>> {
        let mut outcomes = Vec::new();
        while let Some(outcome) = self.next().await {
            outcomes.push(outcome);
        }
        self.job.all_of(outcomes)
    }

    fn poll_outcome(&mut self, cx: &mut Context<'_>) -> Poll<Option<TaskOutcome<T>>> {
        self.hand_over(cx);
        self.job
            .poll_fetched(cx)
            .map(|outcome| outcome.map(TaskOutcome::new))
    }
}

impl<T: Decode> Stream for BorrowedJob<'_, T> {
    type Item = TaskOutcome<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_outcome(cx)
    }
}
