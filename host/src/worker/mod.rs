//! The worker: pulls leases and runs their tasks.
//!
//! A worker has a number of slots (`slots`), each a loop of its own on the computing threads:
//! pull one bundle, run its tasks in order, report, again. There are more slots than threads, so
//! that while some tasks wait for what they read others compute. A slot pulls only when it is free:
//! each leased bundle is being worked on.
//!
//! A bundle's tasks are prepared before they run: their inputs are opened and fetched, several at a
//! time, without a permit to compute (`permits`). Only a task that is prepared takes one of
//! [`Config::slots`] permits, and its bundle keeps that until it has to wait again, for inputs or
//! for the store (`bundle`). Where that takes long, further slots lease bundles ahead so that the
//! permits stay in use (`plan`).
//!
//! The `background` parts run on the I/O runtime: they extend leases, listen for cancelled jobs
//! and announce the worker. When a lease is lost (its job was cancelled, or the process was paused
//! and another worker has the bundle now), its tasks are stopped here. The broker decides what of a
//! later report still counts.
//!
//! A broker that is away makes no task fail: each part asks again, for as long as the lease holds,
//! and logs that once.
//!
//! A panic of the host ends the task that it happens in, or the bundle if it is outside of a task,
//! and the slot goes on. After a panic in a slot or in a background part, that part is restarted
//! (`restarts`), and [`Worker::trouble`] says from then on that the worker should be replaced.
//!
//! Bounds: [`JOBS_MAX`] job contexts and [`COMPONENTS_MAX`] components are held, the most recently
//! needed.

mod background;
mod bundle;
mod claims;
mod components;
mod crew;
mod following;
mod jobs;
mod leases;
mod lifecycle;
mod loads;
mod made;
mod parents;
mod permits;
mod plan;
mod report;
mod restarts;
mod seat;
mod slots;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use sortie_broker::{Broker, Puller, Serves};
use sortie_objects::Prefetch;
use sortie_objects::failure_episode::FailureEpisode;
use sortie_protocol::WorkerId;
use sortie_protocol::metric::Sample;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::background::Background;
pub use self::background::Introduction;
use self::bundle::Runner;
pub use self::components::COMPONENTS_MAX;
use self::components::{Components, Source};
use self::crew::Crew;
pub use self::jobs::JOBS_MAX;
use self::leases::Leases;
use self::lifecycle::{Lifecycle, Phase};
use self::permits::Permits;
use self::plan::{AHEAD_MAX, Plan};
use self::restarts::Restarts;
use self::seat::Seats;
use self::slots::Slots;
use crate::artifacts::Artifacts;
use crate::attempt::Host;
use crate::clock;
use crate::component::Component;
use crate::compute_pool::ComputePool;
use crate::metrics;
use crate::observer::{Event, Observed, Observer};
use crate::subtasks::{Subtasks, WAITING_MAX};

/// How often leases are extended, at most: several times within the lease that a broker grants by
/// default (30 s).
pub const HEARTBEAT_MAX: Duration = Duration::from_secs(3);
/// Timeout for reporting at the end of [`Worker::drain`], after the grace period: bundles not
/// reported by then are redelivered when their leases expire.
pub const REPORT_TIME_MAX: Duration = Duration::from_secs(10);

/// The configuration of a worker.
#[derive(Debug)]
pub struct Config {
    /// Its id at the broker.
    pub id: WorkerId,
    /// Which jobs it takes.
    pub serves: Serves,
    /// What it announces about itself, if anything.
    pub introduction: Option<Introduction>,
    /// The broker to pull from.
    pub broker: Arc<dyn Broker>,
    /// The host that attempts run on.
    pub host: Host,
    /// The cache of compiled components, if any.
    pub artifacts: Option<Artifacts>,
    /// How many bundles compute, or wait for reads while computing, concurrently.
    pub slots: NonZeroUsize,
    /// Number of compute threads.
    pub threads: NonZeroUsize,
    /// How often leases are extended; several times within a lease. At most [`HEARTBEAT_MAX`].
    pub heartbeat: Duration,
    /// The runtime for I/O.
    pub io: Handle,
    /// Receives the worker's events, if set.
    pub observer: Option<Arc<dyn Observer<Event>>>,
}

/// A running worker. Dropping it stops it at once; its leases are then left to expire.
#[derive(Debug)]
pub struct Worker {
    host: Host,
    components: Arc<Components>,
    leases: Arc<Leases>,
    lifecycle: Arc<Lifecycle>,
    permits: Arc<Permits>,
    restarts: Arc<Restarts>,
    observed: Observed,
    slots_max: NonZeroUsize,
    _background: Vec<background::Guard>,
    crew: Arc<Crew>,
    pool: ComputePool,
}

/// The result of [`Worker::drain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// All bundles were reported or returned.
    Reported,
    /// This many reports were not confirmed in time; their bundles are redelivered when their
    /// leases expire.
    Unreported(usize),
}

impl Worker {
    /// Start the slots.
    ///
    /// # Errors
    /// When the system denies a thread.
    pub fn start(config: Config) -> std::io::Result<Self> {
        let pool = ComputePool::start(config.threads, &config.io)?;
        let count = match config.host.objects.prefetch() {
            Prefetch::On => config.slots.get().saturating_mul(1 + AHEAD_MAX),
            Prefetch::Off => config.slots.get(),
        };
        let crew = Arc::new(Crew::new(pool.spawner(), count + WAITING_MAX));
        let seats = Arc::new(seats(&config, &crew));
        let subtasks = Arc::new(subtasks(&config));
        let components = Arc::new(components(&config));
        let puller = Puller {
            worker: config.id,
            serves: config.serves,
        };
        let lifecycle = Arc::<Lifecycle>::default();
        let leases = Arc::<Leases>::default();
        let jobs = Arc::<jobs::Jobs>::default();
        let restarts = Arc::<Restarts>::default();
        let observed = Observed::by(config.observer);
        let background = Background {
            broker: config.broker.clone(),
            puller: puller.clone(),
            started: clock::now(),
            slots: config.slots,
            lifecycle: lifecycle.clone(),
            leases: leases.clone(),
            jobs: jobs.clone(),
            restarts: restarts.clone(),
            metrics: config.host.metrics.clone(),
            observed: observed.clone(),
            has_store: config.host.store.is_some(),
        };
        let heartbeat = config.heartbeat.min(HEARTBEAT_MAX);
        let guards = background::start(&background, heartbeat, config.introduction, &config.io);
        let runner = Runner {
            host: config.host.clone(),
            permits: seats.permits.clone(),
            plan: seats.plan.clone(),
            observed: observed.clone(),
            subtasks,
            seats,
        };
        let permits = runner.permits.clone();
        let slots = Arc::new(Slots {
            broker: config.broker,
            puller,
            lifecycle: lifecycle.clone(),
            leases: leases.clone(),
            jobs,
            components: components.clone(),
            runner,
            pulling: FailureEpisode::new("pulling work"),
            reporting: FailureEpisode::new("reporting"),
        });
        start_slots(&crew, count, &slots, &restarts);
        Ok(Self {
            host: config.host,
            components,
            leases,
            lifecycle,
            permits,
            restarts,
            observed,
            slots_max: config.slots,
            _background: guards,
            crew,
            pool,
        })
    }

    /// Add a loaded component, so that its tasks need not fetch it from the broker.
    pub fn add_component(&self, component: Component) {
        self.components.add(component);
    }

    /// Bundles in work.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.leases.len()
    }

    /// A reading of the metrics of the host, its objects and this worker.
    #[must_use]
    pub fn metrics(&self) -> Vec<Sample> {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let leased = self.leases.len();
        let mut samples = self.host.metrics.read();
        samples.extend(self.host.objects.metrics().samples());
        samples.extend([
            Sample::count(&metrics::LEASES, count(leased)),
            Sample::count(
                &metrics::SLOTS_BUSY,
                count(leased.min(self.slots_max.get())),
            ),
            Sample::count(&metrics::COMPUTE_PERMITS, count(self.permits.computing())),
            Sample::count(
                &metrics::MEMORY_CLAIMED,
                self.host.budget.claimed().as_u64(),
            ),
            Sample::count(
                &metrics::MEMORY_TASKS,
                self.host.budget.tasks_max().as_u64(),
            ),
        ]);
        samples
    }

    /// Why the worker should be replaced, if it should: a part of it panicked and was restarted, or
    /// ended. It still works correctly, but perhaps with less capacity.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        if let Some(panicked) = self.restarts.panicked() {
            Some(format!(
                "this worker panicked in: {panicked}; its log says more; replace it"
            ))
        } else if !self.pool.is_whole() {
            Some("a computing thread of this worker is gone; replace it".into())
        } else if let Some(stalled) = self.pool.stalled() {
            Some(format!(
                "no computing thread of this worker made progress for {} s; replace it",
                stalled.as_secs()
            ))
        } else if !self.host.engine.ticks() {
            Some(
                "the clock of this worker's engine has stopped, and guests are not interrupted; \
                 replace it"
                    .into(),
            )
        } else {
            None
        }
    }

    /// What this machine had too little of lately, if anything: the worker should get no work then.
    #[must_use]
    pub fn shortage(&self) -> Option<String> {
        self.host.shortages.lately()
    }

    /// Whether it is draining: it takes no more bundles because it is about to end.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.lifecycle.phase() > Phase::Working
    }

    /// Wait until pending results are written to the shared memo and pending blocks to the disk,
    /// but no longer than [`memo::shared::FLUSH_TIME_MAX`]. Cancel safe.
    ///
    /// [`memo::shared::FLUSH_TIME_MAX`]: crate::memo::shared::FLUSH_TIME_MAX
    pub async fn flush_results(&self) {
        let Host { memo, objects, .. } = &self.host;
        let remembered = async {
            if let Some(memo) = memo {
                memo.flush().await;
            }
        };
        futures::join!(remembered, objects.flush_disk());
    }

    /// Shut down gracefully: take no more bundles, give running tasks `grace` to finish, then stop
    /// them, report all outcomes and return the remaining bundles, so that other workers can take
    /// them at once. Returns when all is reported, [`REPORT_TIME_MAX`] after the grace period at
    /// the latest, and pending results are written ([`Self::flush_results`]).
    ///
    /// Not cancel safe: a call that was dropped stops the worker at once.
    pub async fn drain(&self, grace: Duration) -> Drained {
        self.lifecycle.enter(Phase::Draining);
        self.observed.tell(|| Event::WorkerDraining { grace });
        let slots = self.crew.dismiss();
        let mut ending =
            futures::future::join_all(slots.into_iter().map(async_executor::Task::fallible));
        if timeout(grace, &mut ending).await.is_err() {
            tracing::info!(
                bundles = self.busy(),
                "the grace period is over; stopping running tasks"
            );
            self.stop();
            if timeout(REPORT_TIME_MAX, &mut ending).await.is_err() {
                return Drained::Unreported(self.busy());
            }
        }
        self.flush_results().await;
        Drained::Reported
    }

    /// End all that is in work.
    fn stop(&self) {
        self.lifecycle.enter(Phase::Stopped);
        self.leases.stop_all();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Guests in the middle of a call notice within a tick.
        self.stop();
        drop(self.crew.dismiss());
    }
}

/// What tasks of a worker give up while they wait for subtasks.
fn seats(config: &Config, crew: &Arc<Crew>) -> Seats {
    let budget = &config.host.budget;
    let permits = Permits::new(config.slots.get(), budget.tasks_max());
    Seats {
        permits: Arc::new(permits),
        plan: Arc::new(Plan::new(config.slots.get(), config.threads.get())),
        budget: budget.clone(),
        crew: crew.clone(),
        residents: Arc::new(Semaphore::new(config.slots.get())),
    }
}

fn subtasks(config: &Config) -> Subtasks {
    let tasks_max = config.host.budget.tasks_max();
    Subtasks::new(
        config.broker.clone(),
        config.io.clone(),
        tasks_max.as_usize(),
    )
}

/// The components of a worker, none yet.
fn components(config: &Config) -> Components {
    let source = Source {
        broker: config.broker.clone(),
        engine: config.host.engine.clone(),
        artifacts: config.artifacts.clone(),
        metrics: config.host.metrics.clone(),
        compiler: config.host.compiler.clone(),
        shortages: config.host.shortages.clone(),
    };
    Components::new(source, config.slots.get())
}

fn start_slots(crew: &Crew, count: usize, slots: &Arc<Slots>, restarts: &Arc<Restarts>) {
    let (slots, restarts) = (slots.clone(), restarts.clone());
    let slot = move |number| {
        let slots = slots.clone();
        let restarts = restarts.clone();
        let running = async move {
            let begin = || Box::pin(slots.run(number));
            restarts.keep_running("a slot", begin).await;
        };
        running.boxed()
    };
    crew.start(count, Box::new(slot));
}
