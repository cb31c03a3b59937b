//! The client: submits tasks to a broker and follows their outcomes.

use std::sync::Arc;

use futures::{Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use sortie_broker::Broker;
use sortie_objects::{self as objects, Objects};
use sortie_protocol::metric::Sample;
use sortie_protocol::outcome::InputFault;
use sortie_protocol::submission::NoTask;
use sortie_protocol::{
    Ending, Failure, InputName, Job as JobDefinition, JobFunction, JobId, JobKey, Outcome, Task,
};
use tokio::runtime::Handle;

use crate::api::arguments::{Arguments, IntoArguments};
use crate::api::function::{CallError, Function};
use crate::api::future::TaskFuture;
use crate::api::job::Job;
use crate::api::shared::{Shared, new_holder};
use crate::drive::call::Call;
use crate::drive::mapped;
use crate::drive::open_job::OpenJobs;
use crate::drive::parts::send_ready;
use crate::drive::resolve::resolved;
use crate::drive::tracker::TaskTracker;
use crate::drive::values::Values;
use crate::drive::window::Window;
use crate::error::SubmitError;
use crate::observer::{Event, Observed, Observer};

/// Submits tasks. Cheap to clone; clones are the same client.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

impl Client {
    /// A client of `broker`, whose workers run elsewhere. Call it within a tokio runtime, on which
    /// the client's background work runs. It has no host for loading components; use functions by
    /// reference.
    #[must_use]
    pub fn over(broker: Arc<dyn Broker>) -> Self {
        Self::over_with(broker, Observed::default())
    }

    /// Like [`Client::over`], with the events of the client's jobs passed to `observer`.
    #[must_use]
    pub fn observed(broker: Arc<dyn Broker>, observer: Arc<dyn Observer<Event>>) -> Self {
        Self::over_with(broker, Observed::by(Some(observer)))
    }

    fn over_with(broker: Arc<dyn Broker>, observed: Observed) -> Self {
        let objects = Objects::new(objects::Config::default(), Handle::current());
        Self {
            shared: Arc::new(Shared {
                runtime: Handle::current(),
                window: Window::fleet(),
                tracker: TaskTracker::default(),
                observed,
                values: Values::new(objects, None, broker.clone()),
                broker,
                open: OpenJobs::default(),
                holder: new_holder(),
                published: Mutex::default(),
                #[cfg(feature = "embedded")]
                embedded: None,
            }),
        }
    }

    /// Wait until the broker has confirmed the cancellations of dropped jobs and futures. Call it
    /// before the process exits; otherwise they may keep running. Also waits for jobs and futures
    /// that are still held. Cancel safe.
    pub async fn flush_jobs(&self) {
        self.shared.open.close().await;
        self.shared.tracker.flush().await;
    }

    /// Submit one task. The returned future resolves to the function's result; dropping it cancels
    /// the task, unless it is needed for something else.
    ///
    /// The task goes to the one job that the client keeps open for all tasks submitted like this.
    /// A call that equals one in the job whose future is held, or whose result another task takes,
    /// is no further task: the future is one of the same task. Calls are equal that have the same
    /// function with the same options, the same values and futures in the same places, and the same
    /// [name](Arguments::named). Each call is a task of its own if it names an object or a prefix,
    /// if the function has grants that make it not deterministic, if it is without
    /// [memo](Function::memo), and if the task failed or was cancelled.
    ///
    /// The broker's answer is not waited for, but for the first task and the first of a function:
    /// if the broker does not accept the task, the future says so. This waits while 64 MiB of
    /// arguments, or 65,536 tasks, wait in this process.
    ///
    /// # Errors
    /// When the arguments do not match the function, cannot be stored, or the broker does not
    /// accept the job or the function. Nothing is queued then.
    pub async fn submit<T>(
        &self,
        function: &Function<T>,
        arguments: impl IntoArguments,
    ) -> Result<TaskFuture<T>, SubmitError> {
        let arguments = arguments.into_arguments();
        let input = arguments.name().cloned();
        let parts = function.check(arguments)?;
        function.check_grants()?;
        let shared = &self.shared;
        let called = JobFunction {
            function: function.reference.clone(),
            options: function.options.clone(),
        };
        let new = || Ok((shared.new_key()?, shared.opening()));
        let (job, index) = shared.open.of(called, new).await?;
        let key = function.call_key(index, &parts, input.as_ref());
        if let Some(submitted) = key.and_then(|key| job.equal(key)) {
            return Ok(TaskFuture::new(shared.clone(), submitted.into()));
        }
        let parts = send_ready(&shared.values, job.key.into(), parts).await;
        let parts = parts.map_err(SubmitError::Store)?;
        let (parts, inputs) = job.bind(&function.signature, parts).await?;
        let call = Call {
            function: index,
            signature: function.signature.clone(),
            parts,
            input,
            repeatable: function.options.grants.deterministic(),
        };
        let submitted = job.submit(call, key).await?;
        // From here on the task itself wants them.
        drop(inputs);
        Ok(TaskFuture::new(shared.clone(), submitted.into()))
    }

    /// Submit one task for each item of `inputs`, which is consumed as fast as tasks complete and
    /// outcomes are read: never are all inputs or all outcomes held in memory. Dropping the job
    /// cancels its remaining tasks and removes it from the broker.
    ///
    /// An input that does not match the function fails that one task, with blame `input`.
    pub fn map<T, I>(&self, function: &Function<T>, inputs: I) -> Job<T>
    where
        I: IntoIterator,
        I::IntoIter: Send + 'static,
        I::Item: IntoArguments,
    {
        self.map_stream(function, stream::iter(inputs))
    }

    /// Like [`Client::map`], over a stream: tasks start while inputs still arrive.
    pub fn map_stream<T, S>(&self, function: &Function<T>, inputs: S) -> Job<T>
    where
        S: Stream + Send + 'static,
        S::Item: IntoArguments,
    {
        let definition = self.new_job(function);
        let id = definition.as_ref().ok().map(|job| job.key.job);
        let (job, sink) = Job::new(id, self.shared.clone());
        let function = Arc::new(function.untyped());
        let values = self.shared.values.clone();
        // Without a job there are no tasks.
        let key = self.shared.key(id.unwrap_or(JobId::from_bytes([0; 16])));
        let tasks = inputs.then(move |input| {
            let (function, values) = (function.clone(), values.clone());
            let arguments = input.into_arguments();
            async move { as_sent(&function, &values, key, arguments).await }
        });
        let (shared, tracked) = (self.shared.clone(), self.shared.tracker.begin());
        // Ends when the job is dropped. Holds the client, so that an embedded worker outlives its
        // jobs.
        self.shared.runtime.spawn(async move {
            mapped::map(
                shared.broker.clone(),
                shared.runtime.clone(),
                (shared.window.clone(), shared.observed.clone()),
                definition,
                tasks.boxed(),
                sink,
            )
            .await;
            drop((tracked, shared));
        });
        job
    }

    /// Why the broker has no room for what this client asked it to store last, if it has none.
    #[must_use]
    pub fn full(&self) -> Option<String> {
        self.shared.broker.full()
    }

    /// A reading of this client's metrics since its start, as declared in [`crate::metrics`].
    #[must_use]
    pub fn metrics(&self) -> Vec<Sample> {
        self.shared.observed.metrics().read()
    }

    /// The outcome with its value, fetched from the store if necessary. If it cannot be fetched,
    /// the outcome is a failure that says so. Cancel safe.
    pub async fn fetched(&self, outcome: Outcome) -> Outcome {
        let tenant = self.shared.broker.tenant();
        self.shared.values.fetched(tenant, outcome).await
    }

    pub(crate) fn new_job<T>(&self, function: &Function<T>) -> Result<JobDefinition, SubmitError> {
        function.check_grants()?;
        Ok(JobDefinition::of(
            self.shared.new_key()?,
            function.reference.clone(),
            function.options.clone(),
        ))
    }
}

/// Convert an input into a task, or say why it cannot be one.
pub(crate) async fn as_sent<T>(
    function: &Function<T>,
    values: &Values,
    job: JobKey,
    arguments: Arguments,
) -> Result<Task, NoTask> {
    let input = arguments.name().cloned();
    let failure = match function.check(arguments) {
        Ok(parts) => match resolved(&function.signature, parts, values, job.into()).await {
            Ok(arguments) => return Ok(task(arguments, input)),
            Err(failure) => failure,
        },
        Err(CallError::Unread(error)) => Failure::Input {
            fault: error.fault,
            message: error.message,
        },
        Err(error) => Failure::Input {
            fault: InputFault::Malformed,
            message: error.to_string(),
        },
    };
    Err(NoTask {
        index: 0,
        ending: Ending::Failed(failure),
        input,
    })
}

/// A task of a job's first function, and the first of its job until it is given another index.
fn task(arguments: Vec<sortie_protocol::Argument>, input: Option<InputName>) -> Task {
    Task {
        index: 0,
        arguments,
        function: 0,
        input,
        then: Vec::new(),
    }
}
