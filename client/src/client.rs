//! The client: submits tasks to a broker and follows their outcomes.

use std::sync::Arc;

use futures::{Stream, stream};
use sortie_broker::Broker;
use sortie_protocol::{Bundle, Job as JobRecord, JobId, Task, Timestamp};
use tokio::runtime::Handle;

use crate::arguments::IntoArguments;
use crate::function::{CallError, Function};
use crate::future::TaskFuture;
use crate::job::{Job, Window};

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
    #[cfg(feature = "embedded")]
    pub(crate) embedded: Option<crate::embedded::Embedded>,
}

/// A task could not be submitted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The call is wrong.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The broker did not take it.
    #[error("the broker did not take the task")]
    Broker(#[from] sortie_broker::Error),
    /// The system has no randomness for the job's name.
    #[error("the system gives no random bytes")]
    Random(#[source] std::io::Error),
}

impl Client {
    /// A client of `broker`, whose workers run elsewhere. Call it within a tokio runtime: the client's own work runs there.
    #[must_use]
    pub fn over(broker: Arc<dyn Broker>) -> Self {
        Self {
            shared: Arc::new(Shared {
                broker,
                runtime: Handle::current(),
                window: Window::default(),
                #[cfg(feature = "embedded")]
                embedded: None,
            }),
        }
    }

    /// Submit one task. The future that comes back resolves to the function's result; dropping it cancels the task.
    ///
    /// # Errors
    /// When the arguments do not fit the function, or the broker does not take the task. Nothing is queued then.
    pub async fn submit<T>(&self, function: &Function<T>, arguments: impl IntoArguments) -> Result<TaskFuture<T>, SubmitError> {
        let arguments = function.check(arguments.into_arguments())?;
        let job = self.new_job(function)?;
        let (id, broker) = (job.id, &self.shared.broker);
        broker.put_job(job).await?;
        let outcomes = broker.outcomes(id, 0).await?;
        // From here on dropping the future cancels the job, also when publishing fails.
        let future = TaskFuture::new(self.clone(), id, outcomes);
        let tasks = vec![Task { index: 0, arguments }];
        broker.publish(Bundle { job: id, attempts_before: 0, published: now(), tasks }).await?;
        Ok(future)
    }

    /// Submit one task for each of `inputs`, which is taken as fast as tasks complete and outcomes are read: neither all inputs nor all
    /// outcomes are ever held. Dropping the job cancels what is left of it.
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
        Job::start(self, function, inputs)
    }

    pub(crate) fn new_job<T>(&self, function: &Function<T>) -> Result<JobRecord, SubmitError> {
        let id = random_job_id().map_err(SubmitError::Random)?;
        Ok(JobRecord { id, function: function.reference.clone(), options: function.options })
    }
}

fn random_job_id() -> std::io::Result<JobId> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(JobId::from_bytes(bytes))
}

/// The client's clock: only ever written into bundles, to measure how long they waited.
#[expect(clippy::disallowed_methods, reason = "this is the client's clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::default() + std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
