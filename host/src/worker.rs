//! The worker: pulls leases and runs their tasks.
//!
//! A worker has a number of slots, each a loop of its own on the computing threads: pull one bundle, run its tasks in order, report, again.
//! There are more slots than threads, so that while some tasks wait for their inputs others compute. A slot pulls only when it is free:
//! nothing is leased that nobody works on.
//!
//! Beside the slots run, on the I/O runtime, the heartbeat that extends leases and the listener for cancelled jobs. When a lease is lost (the
//! job was cancelled, or the process was paused and others have the work now), the job's tasks are stopped here and not reported: the broker
//! gives what is left of them to whoever pulls next.
//!
//! Bounds: [`JOBS_MAX`] job contexts and [`COMPONENTS_MAX`] components are held, the most recently needed.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use parking_lot::Mutex;
use sortie_broker::{Broker, Extended, Lease, Report, Retrial};
use sortie_protocol::outcome::PlatformFault;
use sortie_protocol::retry::{self, Decision};
use sortie_protocol::{Bill, Digest, Ending, Failure, JobId, LeaseId, Outcome, Task, WorkerId};
use tokio::runtime::Handle;

use crate::artifacts::Artifacts;
use crate::attempt::{Attempted, Host, JobContext};
use crate::clock;
use crate::component::Component;
use crate::cores::Cores;

/// Job contexts that are held.
pub const JOBS_MAX: usize = 256;
/// Components that are held; each takes a few megabytes of code.
pub const COMPONENTS_MAX: usize = 32;
/// How often leases are extended: several times within the shortest lease a broker should grant (10 s).
const HEARTBEAT: Duration = Duration::from_secs(3);
/// Wait before asking a broker again that answered with an error.
const BROKER_PAUSE: Duration = Duration::from_millis(500);

/// What a worker is made of.
#[derive(Debug)]
pub struct Config {
    /// Its name at the broker.
    pub id: WorkerId,
    /// Where leases come from.
    pub broker: Arc<dyn Broker>,
    /// What attempts run on.
    pub host: Host,
    /// Where compiled components are kept, if anywhere.
    pub artifacts: Option<Artifacts>,
    /// Bundles in work at once.
    pub slots: NonZeroUsize,
    /// Computing threads.
    pub threads: NonZeroUsize,
    /// Where I/O runs.
    pub io: Handle,
}

/// A running worker. Dropping it stops it at once; leases in work are then left to expire.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    _beside: Vec<tokio_task::Guard>,
    _slots: Vec<async_executor::Task<()>>,
    _cores: Cores,
}

#[derive(Debug)]
struct Shared {
    id: WorkerId,
    broker: Arc<dyn Broker>,
    host: Host,
    artifacts: Option<Artifacts>,
    jobs: Mutex<HashMap<JobId, Arc<JobContext>>>,
    components: tokio::sync::Mutex<Vec<Component>>,
    /// In work, from being pulled to being reported.
    leases: Mutex<HashMap<LeaseId, JobId>>,
    stopping: AtomicBool,
}

/// A tokio task that ends with its handle.
mod tokio_task {
    #[derive(Debug)]
    pub(super) struct Guard(pub(super) tokio::task::JoinHandle<()>);

    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
}

impl Worker {
    /// Start the slots.
    ///
    /// # Errors
    /// When the system denies a thread.
    pub fn start(config: Config) -> std::io::Result<Self> {
        let Config { id, broker, host, artifacts, slots, threads, io } = config;
        let cores = Cores::start(threads, &io)?;
        let shared = Arc::new(Shared {
            id,
            broker,
            host,
            artifacts,
            jobs: Mutex::default(),
            components: tokio::sync::Mutex::default(),
            leases: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let beside = vec![
            tokio_task::Guard(io.spawn(shared.clone().heartbeat())),
            tokio_task::Guard(io.spawn(shared.clone().listen_for_cancellations())),
        ];
        let slots = (0..slots.get()).map(|_| cores.spawn(shared.clone().slot())).collect();
        Ok(Self { shared, _beside: beside, _slots: slots, _cores: cores })
    }

    /// Make a loaded component known, so that its tasks need not fetch it from the broker.
    pub async fn add_component(&self, component: Component) {
        self.shared.keep(&mut *self.shared.components.lock().await, component);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // Guests in the middle of a call notice within a tick.
        for context in self.shared.jobs.lock().values() {
            context.cancel().cancel();
        }
    }
}

impl Shared {
    /// One slot: pull, run, report.
    async fn slot(self: Arc<Self>) {
        while !self.stopping.load(Ordering::Acquire) {
            match self.broker.pull(self.id, NonZeroUsize::MIN).await {
                Ok(leases) => {
                    for lease in leases {
                        self.work(lease).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "failed to pull work; trying again");
                    tokio::time::sleep(BROKER_PAUSE).await;
                }
            }
        }
    }

    /// Run a leased bundle and report on it.
    async fn work(&self, lease: Lease) {
        self.leases.lock().insert(lease.id, lease.job.id);
        let report = match self.context(&lease).await {
            Ok(context) => self.run(&lease, &context).await,
            Err(failure) => self.refuse(&lease, &failure),
        };
        self.leases.lock().remove(&lease.id);
        if self.stopping.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = self.broker.complete(lease.id, lease.job.id, report).await {
            tracing::warn!(%error, job = %lease.job.id, "failed to report; the bundle will be run again");
        }
    }

    async fn run(&self, lease: &Lease, context: &JobContext) -> Report {
        let mut report = Report { outcomes: Vec::with_capacity(lease.bundle.tasks.len()), retrials: Vec::new() };
        for task in &lease.bundle.tasks {
            if context.cancel().is_cancelled() {
                break;
            }
            let queue = clock::now().since(lease.bundle.published);
            let mut attempted = self.host.attempt(context, task).await;
            attempted.bill.queue = queue;
            settle(lease, task, attempted, &mut report);
        }
        report
    }

    /// No task of the bundle can run here.
    fn refuse(&self, lease: &Lease, failure: &Failure) -> Report {
        let mut report = Report::default();
        for task in &lease.bundle.tasks {
            let attempted = Attempted { ending: Ending::Failed(failure.clone()), bill: Bill::default(), log: None };
            settle(lease, task, attempted, &mut report);
        }
        report
    }

    /// What the tasks of a job share here, made when its first lease arrives.
    async fn context(&self, lease: &Lease) -> Result<Arc<JobContext>, Failure> {
        let id = lease.job.id;
        if let Some(context) = self.jobs.lock().get(&id) {
            return Ok(context.clone());
        }
        let component = self.component(lease.job.function.component).await?;
        let context = self.keep_context(Arc::new(JobContext::new(lease.job.clone(), component)));
        // A cancellation that came before the context was there found nothing to cancel.
        if matches!(self.broker.extend(lease.id).await, Ok(Extended::Lost)) {
            self.stop(id);
        }
        Ok(context)
    }

    /// End all attempts of a job here. Should the job not be cancelled after all, its next lease makes a new context.
    fn stop(&self, job: JobId) {
        let context = self.jobs.lock().remove(&job);
        if let Some(context) = context {
            context.cancel().cancel();
        }
    }

    fn keep_context(&self, context: Arc<JobContext>) -> Arc<JobContext> {
        let mut jobs = self.jobs.lock();
        if jobs.len() >= JOBS_MAX {
            // Those in work are held by whoever runs them; the others are made again when needed.
            jobs.retain(|_, context| Arc::strong_count(context) > 1);
        }
        jobs.entry(context.job().id).or_insert(context).clone()
    }

    /// A component by digest, loaded once: the lock is held while it loads, so that others wait instead of loading it again.
    async fn component(&self, digest: Digest) -> Result<Component, Failure> {
        let mut components = self.components.lock().await;
        if let Some(component) = components.iter().find(|component| component.digest() == digest) {
            return Ok(component.clone());
        }
        let unusable = |message: String| Failure::Platform { fault: PlatformFault::Component, message };
        let bytes = self
            .broker
            .component(digest)
            .await
            .map_err(|error| Failure::Platform { fault: PlatformFault::Host, message: error.to_string() })?
            .ok_or_else(|| unusable(format!("component {digest} is not known to the broker")))?;
        let component = Component::load(&self.host.engine, &bytes, self.artifacts.as_ref())
            .await
            .map_err(|error| unusable(format!("component {digest} {error}")))?;
        self.keep(&mut components, component.clone());
        Ok(component)
    }

    fn keep(&self, components: &mut Vec<Component>, component: Component) {
        components.retain(|kept| kept.digest() != component.digest());
        if components.len() >= COMPONENTS_MAX {
            components.remove(0);
        }
        components.push(component);
    }

    /// Extend the leases in work; stop the jobs of those that are lost.
    async fn heartbeat(self: Arc<Self>) {
        loop {
            tokio::time::sleep(HEARTBEAT).await;
            let leases: Vec<_> = self.leases.lock().iter().map(|(lease, job)| (*lease, *job)).collect();
            for (lease, job) in leases {
                match self.broker.extend(lease).await {
                    Ok(Extended::Until(_)) => {}
                    // One that was reported meanwhile is no longer in work, and not lost.
                    Ok(Extended::Lost) if !self.leases.lock().contains_key(&lease) => {}
                    Ok(Extended::Lost) => {
                        tracing::info!(%job, lease = lease.0, "a lease was lost; stopping the job's tasks here");
                        self.stop(job);
                    }
                    Err(error) => tracing::warn!(%error, "failed to extend a lease"),
                }
            }
        }
    }

    async fn listen_for_cancellations(self: Arc<Self>) {
        let Ok(mut cancelled) = self.broker.cancellations().await else { return };
        while let Some(job) = cancelled.next().await {
            self.stop(job);
        }
    }
}

/// Put what became of a task into the report: its outcome, or the wish for another attempt.
fn settle(lease: &Lease, task: &Task, attempted: Attempted, report: &mut Report) {
    let Attempted { ending, bill, log } = attempted;
    let options = &lease.job.options;
    match &ending {
        // The broker has told the job's followers; a single task is not reported as cancelled.
        Ending::Cancelled => return,
        Ending::Failed(failure) => {
            if let Decision::Again(after) = retry::decide(&options.retry, options.grants, lease.attempt, failure) {
                report.retrials.push(Retrial { index: task.index, after });
                return;
            }
        }
        Ending::Completed(_) => {}
    }
    report.outcomes.push(Outcome { index: task.index, attempts: lease.attempt, ending, bill, log });
}
