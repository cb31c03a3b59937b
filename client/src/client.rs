//! The client: submits tasks to a broker and follows their outcomes.

use std::sync::Arc;

use futures::{Stream, StreamExt as _, stream};
use sortie_broker::Broker;
use sortie_broker::nats::OUTCOME_AGE_MAX;
use sortie_objects::{self as objects, Objects};
use sortie_protocol::outcome::InputFault;
use sortie_protocol::{
    Advice, Argument, Bundle, Failure, Job as JobRecord, JobId, Outcome, Task, Timestamp,
};
use tokio::runtime::Handle;

use crate::arguments::{Arguments, IntoArguments};
use crate::courtesies::{Courtesies, Courtesy};
use crate::driver;
use crate::following::Following;
use crate::function::{CallError, Function};
use crate::future::TaskFuture;
use crate::job::Job;
use crate::values::Values;
use crate::window::Window;

/// Submits tasks. Cheap to clone; clones are the same client.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) runtime: Handle,
    pub(crate) window: Window,
    pub(crate) courtesies: Courtesies,
    pub(crate) values: Values,
    #[cfg(feature = "embedded")]
    pub(crate) embedded: Option<crate::loading::Embedded>,
}

/// A task could not be submitted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The call is wrong.
    #[error(transparent)]
    Call(#[from] CallError),
    /// An argument is too large for a message, and the store did not take it.
    #[error("{0}")]
    Store(Failure),
    /// The broker did not take it, or does not tell what became of it.
    #[error("the broker did not do its part")]
    Broker(#[from] sortie_broker::Error),
    /// The broker does not have all outcomes of a job, and will not get them.
    #[error(
        "{missing} outcomes are not there, and none of the tasks is unfinished: a broker keeps outcomes that nobody fetched for {} days, and \
         those that a newer program wrote cannot be read here",
        OUTCOME_AGE_MAX.as_secs() / (24 * 3600)
    )]
    Lost {
        /// How many tasks have none.
        missing: u64,
    },
    /// The process is ending.
    #[error("the runtime is shutting down")]
    ShuttingDown,
    /// The system has no randomness for the job's name.
    #[error("the system gives no random bytes")]
    Random(#[source] std::io::Error),
}

impl SubmitError {
    /// What could be done, if that is known.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::Broker(error) => error.advice(),
            Self::Call(_)
            | Self::Store(_)
            | Self::Lost { .. }
            | Self::ShuttingDown
            | Self::Random(_) => None,
        }
    }

    /// Whether the broker was away, so that what was asked may have happened, and asking again
    /// later can help.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Broker(error) => error.passes(),
            Self::Call(_)
            | Self::Store(_)
            | Self::Lost { .. }
            | Self::ShuttingDown
            | Self::Random(_) => false,
        }
    }
}

impl Client {
    /// A client of `broker`, whose workers run elsewhere. Call it within a tokio runtime: the
    /// client's own work runs there. It has no host to load components with; use functions by
    /// reference.
    #[must_use]
    pub fn over(broker: Arc<dyn Broker>) -> Self {
        let objects = Objects::new(objects::Config::default(), Handle::current());
        Self {
            shared: Arc::new(Shared {
                broker,
                runtime: Handle::current(),
                window: Window::fleet(),
                courtesies: Courtesies::default(),
                values: Values::new(objects, None),
                #[cfg(feature = "embedded")]
                embedded: None,
            }),
        }
    }

    /// Wait until the broker was told what becomes of jobs and futures that were dropped. A process
    /// that is about to end does, else they may go on without it. Waits for jobs and futures
    /// that are still held, too. Cancel safe.
    pub async fn settled(&self) {
        self.shared.courtesies.settled().await;
    }

    /// Submit one task. The future that comes back resolves to the function's result; dropping it
    /// cancels the task.
    ///
    /// # Errors
    /// When the arguments do not fit the function, or the broker does not take the task. Nothing is
    /// queued then.
    pub async fn submit<T>(
        &self,
        function: &Function<T>,
        arguments: impl IntoArguments,
    ) -> Result<TaskFuture<T>, SubmitError> {
        let arguments = function.check(arguments.into_arguments())?;
        let arguments = self
            .shared
            .values
            .send(arguments)
            .await
            .map_err(SubmitError::Store)?;
        let job = self.new_job(function)?;
        let (id, broker) = (job.id, &self.shared.broker);
        broker.put_job(job, now()).await?;
        let outcomes = Following::open(broker, &self.shared.runtime, id).await?;
        // From here on dropping the future cancels the job, also when publishing fails.
        let future = TaskFuture::new(self.clone(), id, outcomes);
        let tasks = vec![Task {
            index: 0,
            arguments,
        }];
        let publish = broker.publish(Bundle {
            job: id,
            attempts_before: 0,
            lost_before: 0,
            published: now(),
            tasks,
        });
        let (published, sealed) = futures::future::join(publish, broker.seal(id, 1)).await;
        published?;
        if let Err(error) = sealed {
            // Only onlookers miss it.
            tracing::debug!(%error, job = %id, "failed to seal a job");
        }
        Ok(future)
    }

    /// Submit one task for each of `inputs`, which is taken as fast as tasks complete and outcomes
    /// are read: neither all inputs nor all outcomes are ever held. Dropping the job cancels
    /// what is left of it, and has the broker forget it.
    ///
    /// An input that does not fit the function fails that one task, with blame `input`.
    pub fn map<T, I>(&self, function: &Function<T>, inputs: I) -> Job<T>
    where
        I: IntoIterator,
        I::IntoIter: Send + 'static,
        I::Item: IntoArguments,
    {
        self.map_stream(function, stream::iter(inputs))
    }

    /// As [`Client::map`], over a stream: tasks start while inputs still arrive.
    pub fn map_stream<T, S>(&self, function: &Function<T>, inputs: S) -> Job<T>
    where
        S: Stream + Send + 'static,
        S::Item: IntoArguments,
    {
        let record = self.new_job(function);
        let (job, line) = Job::new(
            record.as_ref().ok().map(|record| record.id),
            self.shared.values.clone(),
        );
        let (function, values) = (Arc::new(function.untyped()), self.shared.values.clone());
        let tasks = inputs.then(move |input| {
            let (function, values, arguments) =
                (function.clone(), values.clone(), input.into_arguments());
            async move { as_sent(&function, &values, arguments).await }
        });
        let (shared, courtesy) = (self.shared.clone(), self.shared.courtesies.begin());
        // Ends when the job is dropped. Holds the client, so that an embedded worker outlives its
        // jobs.
        self.shared.runtime.spawn(async move {
            driver::run(
                shared.broker.clone(),
                shared.window.clone(),
                record,
                tasks.boxed(),
                line,
            )
            .await;
            drop((courtesy, shared));
        });
        job
    }

    /// An outcome with its value at hand, wherever that was. If it cannot be fetched, the outcome
    /// says so instead. Cancel safe.
    pub async fn fetched(&self, outcome: Outcome) -> Outcome {
        self.shared.values.fetched(outcome).await
    }

    /// Cancel a job and have the broker forget it, in the background. `courtesy` was begun when
    /// there was something to be owed.
    pub(crate) fn abandon(&self, job: JobId, how: Abandoned, courtesy: Courtesy) {
        let broker = self.shared.broker.clone();
        self.shared.runtime.spawn(async move {
            // A broker that cannot be reached forgets the job by itself in time.
            if how == Abandoned::UnderWay {
                let _ = broker.cancel(job).await;
            }
            let _ = broker.forget(job).await;
            drop(courtesy);
        });
    }

    pub(crate) fn new_job<T>(&self, function: &Function<T>) -> Result<JobRecord, SubmitError> {
        let id = random_job_id()?;
        Ok(JobRecord {
            id,
            function: function.reference.clone(),
            options: function.options.clone(),
        })
    }
}

/// The arguments of one task as they travel, or why there is no such task.
pub(crate) async fn as_sent<T>(
    function: &Function<T>,
    values: &Values,
    arguments: Arguments,
) -> Result<Vec<Argument>, Failure> {
    match function.check(arguments) {
        Ok(arguments) => values.send(arguments).await,
        Err(error) => Err(Failure::Input {
            fault: InputFault::Malformed,
            message: error.to_string(),
        }),
    }
}

/// How far a job was when nobody wanted it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abandoned {
    UnderWay,
    Ended,
}

pub(crate) fn random_job_id() -> Result<JobId, SubmitError> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| SubmitError::Random(error.into()))?;
    Ok(JobId::from_bytes(bytes))
}

/// The client's clock: only ever written into jobs and bundles, to say when they were made and to
/// measure how long they waited.
#[expect(clippy::disallowed_methods, reason = "this is the client's clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::default()
        + std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
}
