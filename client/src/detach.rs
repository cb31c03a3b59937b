//! Jobs that are submitted and left to the broker: nobody follows them here.

use std::sync::Arc;

use futures::{Stream, StreamExt as _, stream};
use sortie_broker::Error;
use sortie_protocol::packing::Collector;
use sortie_protocol::{Argument, Failure, JobId, Outcome, Task, TaskIndex};

use crate::arguments::IntoArguments;
use crate::client::{Abandoned, Client, SubmitError, as_sent, now};
use crate::courtesies::Courtesy;
use crate::driver::{unsent, untaken};
use crate::function::Function;
use crate::publisher::{Answer, Publisher, Said};

/// A bundle holds at most this part of the tasks before it: how long they take is not known here,
/// and a bundle runs on one slot, so none may be large against the job.
const BUNDLE_SHARE: u64 = 1024;
/// The most tasks in a bundle, as nobody can tell how long they take.
const BUNDLE_TASKS_MAX: u64 = 64;

/// A job that was submitted as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detached {
    /// Its name at the broker, for [`Client::attach`].
    pub job: JobId,
    /// How many tasks it has.
    pub tasks: u64,
}

/// Cancels and forgets the job unless it was submitted to its end.
struct Guard<'c> {
    client: &'c Client,
    job: JobId,
    courtesy: Option<Courtesy>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some(courtesy) = self.courtesy.take() {
            self.client.abandon(self.job, Abandoned::UnderWay, courtesy);
        }
    }
}

impl Client {
    /// Submit one task for each of `inputs` and leave the job to the broker: it runs whether or not
    /// this program does, and [`Client::attach`] follows it. Inputs are taken as fast as the
    /// broker takes tasks, which waits while it is full.
    ///
    /// An input that does not fit the function fails that one task, with blame `input`. Dropping
    /// the future before it resolves cancels the job; so does an error. With an embedded client
    /// the job ends with the client.
    ///
    /// # Errors
    /// When the broker does not take the job, or goes away.
    pub async fn submit_all<T, I>(
        &self,
        function: &Function<T>,
        inputs: I,
    ) -> Result<Detached, SubmitError>
    where
        I: IntoIterator,
        I::Item: IntoArguments,
    {
        self.submit_all_stream(function, stream::iter(inputs)).await
    }

    /// As [`Client::submit_all`], over a stream: tasks start while inputs still arrive.
    ///
    /// # Errors
    /// As [`Client::submit_all`].
    pub async fn submit_all_stream<T, S>(
        &self,
        function: &Function<T>,
        inputs: S,
    ) -> Result<Detached, SubmitError>
    where
        S: Stream,
        S::Item: IntoArguments,
    {
        let record = self.new_job(function)?;
        let job = record.id;
        let mut guard = Guard {
            client: self,
            job,
            courtesy: Some(self.shared.courtesies.begin()),
        };
        self.shared.broker.put_job(record, now()).await?;
        let arguments =
            inputs.then(|input| as_sent(function, &self.shared.values, input.into_arguments()));
        let mut submission = Submission {
            publisher: Publisher::new(&*self.shared.broker, job),
            collector: Collector::default(),
            tasks: 0,
        };
        submission.run(std::pin::pin!(arguments)).await?;
        guard.courtesy = None;
        Ok(Detached {
            job,
            tasks: submission.tasks,
        })
    }
}

struct Submission<'b> {
    publisher: Publisher<'b>,
    collector: Collector,
    tasks: TaskIndex,
}

/// What is waited for.
enum Step {
    Answer(Answer),
    Input(Option<Result<Vec<Argument>, Failure>>),
    /// The inputs have nothing right now: what is collected goes out.
    Idle,
}

impl Submission<'_> {
    async fn run(
        &mut self,
        mut inputs: impl Stream<Item = Result<Vec<Argument>, Failure>> + Unpin,
    ) -> Result<(), Error> {
        loop {
            let step = tokio::select! {
                biased;
                answer = self.publisher.answer(), if !self.publisher.is_idle() => Step::Answer(answer),
                input = inputs.next(), if self.publisher.has_room() => Step::Input(input),
                () = std::future::ready(()), if !self.collector.is_empty() => Step::Idle,
            };
            match step {
                Step::Answer(answer) => self.on_answer(answer).await?,
                Step::Input(Some(input)) => self.on_input(input).await?,
                Step::Input(None) => break,
                Step::Idle => self.flush().await?,
            }
        }
        self.flush().await?;
        // Sealed when all is there.
        while !self.publisher.is_idle() {
            let answer = self.publisher.answer().await;
            self.on_answer(answer).await?;
        }
        match self.publisher.seal(self.tasks).await {
            Some(answer) => answer.result,
            None => self.publisher.answer().await.result,
        }
    }

    async fn on_input(&mut self, input: Result<Vec<Argument>, Failure>) -> Result<(), Error> {
        let index = self.tasks;
        self.tasks += 1;
        match input {
            Ok(arguments) => {
                if let Some(full) = self.collector.push(Task { index, arguments }) {
                    self.publish(full).await?;
                }
                if self.collector.len() as u64 >= (index / BUNDLE_SHARE).clamp(1, BUNDLE_TASKS_MAX)
                {
                    self.flush().await?;
                }
                Ok(())
            }
            Err(failure) => {
                // Bundles hold tasks one after the other.
                self.flush().await?;
                self.store([unsent(index, failure)].into()).await
            }
        }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        match self.collector.take() {
            Some(tasks) => self.publish(tasks).await,
            None => Ok(()),
        }
    }

    async fn publish(&mut self, tasks: Vec<Task>) -> Result<(), Error> {
        match self.publisher.publish(tasks).await {
            Some(answer) => self.on_answer(answer).await,
            None => Ok(()),
        }
    }

    async fn store(&mut self, outcomes: Arc<[Outcome]>) -> Result<(), Error> {
        match self.publisher.store(outcomes).await {
            Some(answer) => answer.result,
            None => Ok(()),
        }
    }

    async fn on_answer(&mut self, answer: Answer) -> Result<(), Error> {
        match answer {
            // One task that is too large does not fail the others.
            Answer {
                said: Said::Bundle(first, count),
                result: Err(error @ Error::TooLarge { .. }),
            } => self.store(untaken(first, count, &error)).await,
            Answer { result, .. } => result,
        }
    }
}
