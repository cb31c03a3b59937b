//! Sends a client's requests about one job, many of them concurrently.
//!
//! Over a network an answer takes a round trip, so up to
//! [`REQUESTS_AT_ONCE`](sortie_protocol::submission::REQUESTS_AT_ONCE) may be under way; in which
//! order they arrive does not matter. A broker in the same process answers at once: then nothing is
//! kept here.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use sortie_broker::{Broker, Error, LetterId, Position};
use sortie_protocol::completion::{Answer, Question, Unfinished};
use sortie_protocol::submission::{Event, Refusal, Request, Sent};
use sortie_protocol::{Bundle, JobKey, Outcome, Presence, Task, TaskIndex};

use super::clock::time_of_day;
use crate::observer::Observed;

/// Hints that may be under way: each later one says as much, so one that finds no room is dropped.
const HINTS_MAX: usize = 4;

type Result = std::result::Result<(), Error>;

struct UnderWay<'b> {
    request: Option<Request>,
    answer: BoxFuture<'b, Result>,
}

impl Future for UnderWay<'_> {
    type Output = Event<Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Event<Error>> {
        let result = ready!(self.answer.poll_unpin(cx));
        // It is polled no more once it was ready.
        let request = self.request.take().unwrap_or(Request::Seal);
        Poll::Ready(answered(request, result))
    }
}

fn answered(request: Request, result: Result) -> Event<Error> {
    let result = result.map_err(|error| (refusal(&error), error));
    Event::Answered(request, result)
}

fn refusal(error: &Error) -> Refusal {
    match error {
        Error::JobCancelled(_) | Error::NoSuchJob(_) => Refusal::Over,
        Error::Unreachable { .. } | Error::Full { .. } => Refusal::Unknown,
        Error::TooLarge { .. } => Refusal::TooLarge,
        Error::Empty
        | Error::Denied { .. }
        | Error::Misconfigured { .. }
        | Error::Unsuitable { .. } => Refusal::Denied,
    }
}

/// The requests about one job. Dropping it drops what is under way.
pub(crate) struct Requests<'b> {
    broker: &'b dyn Broker,
    job: JobKey,
    observed: Observed,
    under_way: FuturesUnordered<UnderWay<'b>>,
    hints: FuturesUnordered<BoxFuture<'b, Result>>,
    /// Tasks that are being cancelled: one request at a time.
    cancelling: Option<BoxFuture<'b, Result>>,
    question: Option<BoxFuture<'b, Event<Error>>>,
}

impl<'b> Requests<'b> {
    pub(crate) fn new(broker: &'b dyn Broker, job: JobKey, observed: Observed) -> Self {
        Self {
            broker,
            job,
            observed,
            under_way: FuturesUnordered::new(),
            hints: FuturesUnordered::new(),
            cancelling: None,
            question: None,
        }
    }

    /// Publish tasks. The answer, if it is there at once; so for the others.
    pub(crate) async fn publish(&mut self, tasks: Vec<Task>) -> Option<Event<Error>> {
        let request = Request::Publish(tasks.iter().map(Sent::from).collect());
        let bundle = Bundle {
            job: self.job,
            attempts_before: 0,
            lost_before: 0,
            published: time_of_day(),
            tasks,
        };
        self.send(request, self.broker.publish(bundle)).await
    }

    /// Store the outcomes of tasks that no worker will run, so that all who follow the job learn of
    /// them.
    pub(crate) async fn report(&mut self, outcomes: Arc<[Outcome]>) -> Option<Event<Error>> {
        let answer = self.broker.report(self.job, outcomes.to_vec());
        self.send(Request::Report(outcomes), answer).await
    }

    /// Say how many tasks there are.
    pub(crate) async fn seal(&mut self, tasks: TaskIndex) -> Option<Event<Error>> {
        let answer = self.broker.seal(self.job, tasks);
        self.send(Request::Seal, answer).await
    }

    /// Remove a dead letter whose task is published anew.
    pub(crate) async fn remove(&mut self, letter: LetterId) -> Option<Event<Error>> {
        let removing = self.broker.remove_dead_letter(letter);
        let answer = async move { removing.await.map(drop) }.boxed();
        self.send(Request::Confirm, answer).await
    }

    /// Cancel the job.
    pub(crate) async fn cancel(&mut self) -> Option<Event<Error>> {
        let answer = self.broker.cancel(self.job);
        self.send(Request::Cancel, answer).await
    }

    /// Cancel tasks. Should it fail, they run in vain.
    pub(crate) async fn cancel_tasks(&mut self, tasks: Vec<TaskIndex>) {
        let mut answer = self.broker.cancel_tasks(self.job, tasks);
        if futures::poll!(answer.as_mut()).is_pending() {
            self.cancelling = Some(answer);
        }
    }

    /// Whether an answer to that is awaited.
    pub(crate) fn is_cancelling(&self) -> bool {
        self.cancelling.is_some()
    }

    async fn send(
        &mut self,
        request: Request,
        mut answer: BoxFuture<'b, Result>,
    ) -> Option<Event<Error>> {
        match futures::poll!(answer.as_mut()) {
            Poll::Ready(result) => Some(self.heard(answered(request, result))),
            Poll::Pending => {
                self.under_way.push(UnderWay {
                    request: Some(request),
                    answer,
                });
                None
            }
        }
    }

    /// Count what was published.
    fn heard(&self, answer: Event<Error>) -> Event<Error> {
        if let Event::Answered(Request::Publish(tasks), Ok(())) = &answer {
            let tasks = u64::try_from(tasks.len()).unwrap_or(u64::MAX);
            self.observed.submitted(self.job, tasks);
        }
        answer
    }

    /// Say that the submitter is there. Should that fail, it is said again soon.
    pub(crate) async fn beat(&mut self) {
        self.hint(self.broker.submitting(self.job)).await;
    }

    /// Say what need not be kept. Should that fail, it is kept until the job is forgotten.
    pub(crate) async fn trim(&mut self, before: Position) {
        self.hint(self.broker.trim(self.job, before)).await;
    }

    async fn hint(&mut self, mut answer: BoxFuture<'b, Result>) {
        if futures::poll!(answer.as_mut()).is_pending() && self.hints.len() < HINTS_MAX {
            self.hints.push(answer);
        }
    }

    /// Put a question. Its answer comes with the others.
    pub(crate) fn ask(&mut self, question: Question) {
        self.question = Some(ask(self.broker, self.job, question).boxed());
    }

    /// The next answer; waits for ever if none is to come. Cancel safe.
    pub(crate) async fn answer(&mut self) -> Event<Error> {
        std::future::poll_fn(|cx| self.poll_answer(cx)).await
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Event<Error>> {
        if let Some(question) = &mut self.question
            && let Poll::Ready(answer) = question.poll_unpin(cx)
        {
            self.question = None;
            return Poll::Ready(answer);
        }
        if let Some(cancelling) = &mut self.cancelling
            && cancelling.poll_unpin(cx).is_ready()
        {
            self.cancelling = None;
            // More may wait.
            return Poll::Ready(Event::Tick);
        }
        while let Poll::Ready(Some(_)) = self.hints.poll_next_unpin(cx) {}
        match self.under_way.poll_next_unpin(cx) {
            Poll::Ready(Some(answer)) => Poll::Ready(self.heard(answer)),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// The answer to a question about a job, as an event.
pub(crate) async fn ask(broker: &dyn Broker, job: JobKey, question: Question) -> Event<Error> {
    match question {
        Question::Unfinished => {
            let answer = told(broker.unfinished(job).await);
            let has_none = matches!(answer, Answer::Told(Unfinished { bundles: 0, .. }));
            // A job that was forgotten has none either, and no outcomes: that proves no loss. Its
            // stream is about to tell.
            Event::Unfinished(
                match has_none && matches!(broker.job(job).await, Ok(None)) {
                    true => Answer::Failed,
                    false => answer,
                },
            )
        }
        Question::Workers => {
            let count = match workers(broker, job).await {
                // Whoever is there cannot say so, nor report: as if nobody were, until there is
                // room.
                Err(Error::Full { .. }) => Ok(0),
                workers => workers.map(|workers| workers.len()),
            };
            Event::Workers(told(count))
        }
    }
}

/// The workers that are there for a job: those that have the labels which one of its functions asks
/// for. Of a job that the broker does not have, all.
pub(crate) async fn workers(
    broker: &dyn Broker,
    job: JobKey,
) -> std::result::Result<Vec<Presence>, Error> {
    let mut workers = broker.workers().await?;
    if !workers.is_empty()
        && let Some(record) = broker.job(job).await?
    {
        workers.retain(|worker| record.is_served_by(&worker.labels));
    }
    Ok(workers)
}

/// What a broker told, or did not.
pub(crate) fn told<T>(result: std::result::Result<T, Error>) -> Answer<T> {
    match result {
        Ok(answer) => Answer::Told(answer),
        Err(Error::Denied { .. }) => Answer::Denied,
        Err(
            Error::NoSuchJob(_)
            | Error::JobCancelled(_)
            | Error::TooLarge { .. }
            | Error::Empty
            | Error::Unreachable { .. }
            | Error::Full { .. }
            | Error::Misconfigured { .. }
            | Error::Unsuitable { .. },
        ) => Answer::Failed,
    }
}
