//! The worker: pulls leases and runs their tasks.
//!
//! A worker has a number of slots, each a loop of its own on the computing threads: pull one
//! bundle, run its tasks in order, report, again. There are more slots than threads, so that while
//! some tasks wait for what they read others compute. A slot pulls only when it is free: nothing is
//! leased that nobody works on.
//!
//! A bundle's tasks are prepared before they run: their inputs are opened and fetched, several at a
//! time, without a place to compute. Only a task that is prepared takes one of [`Config::slots`]
//! places, and its bundle keeps that until it has to wait again, for inputs or for the
//! store (`bundle`). Where that takes long, further slots lease bundles ahead so that the places
//! stay taken (`pace`).
//!
//! Beside the slots run, on the I/O runtime, what extends leases, what listens for cancelled jobs,
//! and what says that the worker is there (`beside`). When a lease is lost (its job was cancelled,
//! or the process was paused and others have the work now), its tasks are stopped here. Whatever is
//! reported after that is looked at by the broker, which knows what still counts.
//!
//! A broker that is away makes no task fail: whoever needs it asks again, for as long as the lease
//! holds, and says so once.
//!
//! A panic of the host ends the task, or where it is in nobody's task the bundle, that it happens
//! in, and the slot goes on. One in a slot itself, or in what runs beside the slots, makes that
//! begin anew, and [`Worker::trouble`] says from then on that the worker should be replaced.
//!
//! Bounds: [`JOBS_MAX`] job contexts and [`COMPONENTS_MAX`] components are held, the most recently
//! needed.

mod beside;
mod bundle;
mod components;
mod pace;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sortie_broker::{Broker, Extended, Lease, Puller, Report, Serves};
use sortie_protocol::{Failure, JobId, LeaseId, Timestamp, WorkerId};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

pub use self::components::COMPONENTS_MAX;
use self::components::Components;
use self::pace::{AHEAD_MAX, Pace};
use crate::artifacts::Artifacts;
use crate::attempt::{Host, JobContext};
use crate::clock;
use crate::component::Component;
use crate::cores::Cores;
use crate::panics::{Panicked, caught};
use crate::sandbox::Cancel;
use sortie_objects::failure_episode::FailureEpisode;
use sortie_objects::{self as objects, Prefetch};

/// Job contexts that are held.
pub const JOBS_MAX: usize = 256;
/// How often leases are extended, at most: several times within the lease that a broker grants by
/// default (30 s).
pub const HEARTBEAT_MAX: Duration = Duration::from_secs(3);
/// How long reporting may take at the end of [`Worker::drain`], after the grace period: what is not
/// reported then comes back when its lease is over.
pub const REPORT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a slot waits for the broker to say whether a lease still holds, before it starts; the
/// heartbeat asks again.
const LOOK_TIME_MAX: Duration = Duration::from_secs(1);
/// Wait before asking a broker again that answered with an error.
const BROKER_PAUSE: Duration = Duration::from_millis(500);
/// Wait before a part of the worker that panicked begins anew: what panics every time then costs
/// two attempts a second.
const PANIC_PAUSE: Duration = Duration::from_millis(500);

/// What a worker is made of.
#[derive(Debug)]
pub struct Config {
    /// Its name at the broker.
    pub id: WorkerId,
    /// Which jobs it takes.
    pub serves: Serves,
    /// What it says of itself to others, if anything.
    pub introduction: Option<Introduction>,
    /// Where leases come from.
    pub broker: Arc<dyn Broker>,
    /// What attempts run on.
    pub host: Host,
    /// Where compiled components are kept, if anywhere.
    pub artifacts: Option<Artifacts>,
    /// Bundles that compute at once, or wait for what they read while they do.
    pub slots: NonZeroUsize,
    /// Computing threads.
    pub threads: NonZeroUsize,
    /// How often leases are extended; several times within a lease. At most [`HEARTBEAT_MAX`].
    pub heartbeat: Duration,
    /// Where I/O runs.
    pub io: Handle,
}

/// What a worker says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduction {
    /// The machine, as that calls itself.
    pub machine: String,
    /// The process there.
    pub process: u32,
    /// The version of the program.
    pub version: String,
}

/// A running worker. Dropping it stops it at once; leases in work are then left to expire.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    _beside: Vec<beside::Guard>,
    slots: Mutex<Vec<async_executor::Task<()>>>,
    cores: Cores,
}

/// How a worker ended that was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// All that was in work is reported, or given back.
    Reported,
    /// The broker did not take this many reports in time; their bundles come back when their leases
    /// are over.
    Unreported(usize),
}

/// What a worker does at the moment. Only ever goes on to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Pulls and runs.
    Working,
    /// Pulls no more.
    Draining,
    /// Runs no more, either.
    Stopped,
}

#[derive(Debug)]
struct Shared {
    puller: Puller,
    started: Timestamp,
    slots: NonZeroUsize,
    broker: Arc<dyn Broker>,
    host: Host,
    jobs: Mutex<HashMap<JobId, Arc<JobContext>>>,
    components: Components,
    /// In work, from being pulled to being reported.
    leases: Mutex<HashMap<LeaseId, InWork>>,
    phase: watch::Sender<Phase>,
    /// Places to compute.
    places: Semaphore,
    pace: Mutex<Pace>,
    /// Room for results that are being stored while their bundles do something else, in units of
    /// [`bundle::ROOM_UNIT_BYTES`].
    storing: Semaphore,
    /// How many slots may pull; what the pace says.
    pulls: watch::Sender<usize>,
    pulling: FailureEpisode,
    fetching: FailureEpisode,
    reporting: FailureEpisode,
    /// The parts that panicked.
    panicked: Mutex<BTreeSet<&'static str>>,
}

/// A lease in work.
#[derive(Debug)]
struct InWork {
    job: JobId,
    /// Ends its tasks.
    cancel: Arc<Cancel>,
    /// Its tasks have ended: the broker is being told, and knows it no longer as a lease.
    reporting: bool,
}

/// Keeps a lease among those in work.
struct Held<'s> {
    shared: &'s Shared,
    lease: LeaseId,
    cancel: Arc<Cancel>,
}

impl Held<'_> {
    fn reports(&self) {
        if let Some(in_work) = self.shared.leases.lock().get_mut(&self.lease) {
            in_work.reporting = true;
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.shared.leases.lock().remove(&self.lease);
    }
}

/// Why a bundle's tasks are not run.
enum Unready {
    /// They fail like this.
    Failed(Failure),
    /// They are somebody else's by now, or nobody's.
    Stopped,
}

impl Worker {
    /// Start the slots.
    ///
    /// # Errors
    /// When the system denies a thread.
    pub fn start(config: Config) -> std::io::Result<Self> {
        let Config {
            id,
            serves,
            introduction,
            broker,
            host,
            artifacts,
            slots,
            threads,
            heartbeat,
            io,
        } = config;
        let cores = Cores::start(threads, &io)?;
        let shared = Arc::new(Shared {
            puller: Puller { worker: id, serves },
            started: clock::now(),
            slots,
            components: Components::new(host.engine.clone(), artifacts),
            broker,
            host,
            jobs: Mutex::default(),
            leases: Mutex::default(),
            phase: watch::Sender::new(Phase::Working),
            places: Semaphore::new(slots.get()),
            storing: Semaphore::new(bundle::room_max()),
            pace: Mutex::new(Pace::new(slots.get(), threads.get())),
            pulls: watch::Sender::new(slots.get()),
            pulling: FailureEpisode::new("pulling work"),
            fetching: FailureEpisode::new("fetching a component"),
            reporting: FailureEpisode::new("reporting"),
            panicked: Mutex::default(),
        });
        let beside = beside::start(&shared, heartbeat.min(HEARTBEAT_MAX), introduction, &io);
        let count = match shared.host.objects.prefetch() {
            Prefetch::On => slots.get().saturating_mul(1 + AHEAD_MAX),
            Prefetch::Off => slots.get(),
        };
        let slot = |number| {
            let shared = shared.clone();
            async move {
                shared
                    .keeps_going("a slot", || Box::pin(shared.slot(number)))
                    .await
            }
        };
        let slots = (0..count).map(|number| cores.spawn(slot(number))).collect();
        Ok(Self {
            shared,
            _beside: beside,
            slots: Mutex::new(slots),
            cores,
        })
    }

    /// Make a loaded component known, so that its tasks need not fetch it from the broker.
    pub fn add_component(&self, component: Component) {
        self.shared.components.add(component);
    }

    /// Bundles in work.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.shared.leases.lock().len()
    }

    /// What reading objects has cost so far.
    #[must_use]
    pub fn objects(&self) -> objects::Metrics {
        self.shared.host.objects.metrics()
    }

    /// Why the worker should be replaced, if it should: a part of it panicked and was begun anew,
    /// or is gone. What it still does is right, but it may be less than it was.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let panicked = self
            .shared
            .panicked
            .lock()
            .iter()
            .copied()
            .collect::<Vec<_>>()
            .join(", ");
        if !panicked.is_empty() {
            Some(format!(
                "this worker panicked in: {panicked}; its log says more; replace it"
            ))
        } else if !self.cores.are_whole() {
            Some("a computing thread of this worker is gone; replace it".into())
        } else if !self.shared.host.engine.ticks() {
            Some("the clock of this worker's engine has stopped, and guests are not interrupted; replace it".into())
        } else {
            None
        }
    }

    /// Whether it takes no more work because it is about to end.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.phase() > Phase::Working
    }

    /// Wait until the shared memo, if there is one, has what it was given, and the disk what was
    /// fetched, but no longer than [`memo::shared::SETTLE_TIME_MAX`]. Cancel safe.
    ///
    /// [`memo::shared::SETTLE_TIME_MAX`]: crate::memo::shared::SETTLE_TIME_MAX
    pub async fn settled(&self) {
        let Host { memo, objects, .. } = &self.shared.host;
        let remembered = async {
            if let Some(memo) = memo {
                memo.settled().await;
            }
        };
        futures::join!(remembered, objects.flush_disk());
    }

    /// End in peace: take no more work, give what is in work `grace` to finish, then stop it,
    /// report what came of it and give back the rest for others to take at once. Ends when all
    /// is reported, [`REPORT_TIME_MAX`] after the grace period at the latest, and the shared memo
    /// has what it was given ([`Self::settled`]).
    ///
    /// Not cancel safe: a call that was dropped stops the worker at once.
    pub async fn drain(&self, grace: Duration) -> Drained {
        self.shared.enter(Phase::Draining);
        let slots = std::mem::take(&mut *self.slots.lock());
        let mut ending =
            futures::future::join_all(slots.into_iter().map(async_executor::Task::fallible));
        if timeout(grace, &mut ending).await.is_err() {
            tracing::info!(
                bundles = self.busy(),
                "the grace period is over; stopping what is in work"
            );
            self.shared.stop();
            if timeout(REPORT_TIME_MAX, &mut ending).await.is_err() {
                return Drained::Unreported(self.busy());
            }
        }
        self.settled().await;
        Drained::Reported
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Guests in the middle of a call notice within a tick.
        self.shared.stop();
    }
}

impl Shared {
    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let later = phase > *current;
            *current = phase.max(*current);
            later
        });
    }

    /// End all that is in work.
    fn stop(&self) {
        self.enter(Phase::Stopped);
        for in_work in self.leases.lock().values() {
            in_work.cancel.cancel();
        }
    }

    /// Wait until no more work is taken. Cancel safe.
    async fn drains(&self) {
        let mut phase = self.phase.subscribe();
        // The sender lives as long as this.
        let _ = phase
            .wait_for(|phase| *phase > Phase::Working)
            .await
            .map(drop);
    }

    /// Wait until so many slots may pull that the one with this number is among them. Cancel safe.
    async fn turn(&self, number: usize) {
        let mut pulls = self.pulls.subscribe();
        // The sender lives as long as this.
        let _ = pulls.wait_for(|pulls| number < *pulls).await.map(drop);
    }

    /// Do what `begin` begins, to its end. Where it panics, that is said and it begins anew,
    /// because much depends on it.
    async fn keeps_going<F: Future<Output = ()>>(&self, part: &'static str, begin: impl Fn() -> F) {
        while let Err(panicked) = caught(begin()).await {
            if self.panicked.lock().insert(part) {
                tracing::error!(part, %panicked, "a part of this worker panicked, which is a bug; it begins anew, but replace the worker");
            } else {
                tracing::debug!(part, %panicked, "a part of this worker panicked again");
            }
            sleep(PANIC_PAUSE).await;
        }
    }

    /// One slot: pull, run, report.
    async fn slot(&self, number: usize) {
        while self.phase() == Phase::Working {
            if number >= *self.pulls.borrow() {
                tokio::select! {
                    biased;
                    () = self.drains() => return,
                    () = self.turn(number) => {}
                }
            }
            let pulled = tokio::select! {
                biased;
                () = self.drains() => return,
                pulled = self.broker.pull(&self.puller, NonZeroUsize::MIN) => pulled,
            };
            match pulled {
                Ok(leases) => {
                    self.pulling.works();
                    for lease in leases {
                        self.work(lease).await;
                    }
                }
                Err(error) => {
                    self.pulling.fails(&error);
                    let _ = timeout(BROKER_PAUSE, self.drains()).await;
                }
            }
        }
    }

    /// Run a leased bundle and report on it.
    async fn work(&self, lease: Lease) {
        let held = self.hold(&lease);
        let working = async {
            match self.context(&lease, &held.cancel).await {
                Ok(context) => Box::pin(self.run(&lease, &context, &held.cancel)).await,
                Err(Unready::Failed(failure)) => bundle::refuse(&lease, &failure),
                Err(Unready::Stopped) => Report::default(),
            }
        };
        let report = caught(working).await.unwrap_or_else(|panicked| {
            let job = lease.job.id;
            tracing::error!(%job, %panicked, "this host panicked in the middle of a bundle, which is a bug; its tasks are tried again");
            bundle::refuse(&lease, &Panicked::failure())
        });
        held.reports();
        let is_empty = report.is_empty();
        // Work that others are to take at once. A lease that is over, or whose job is, ends with
        // its empty report.
        let told = if is_empty && self.phase() == Phase::Stopped {
            self.broker.release(lease.id).await
        } else {
            self.broker.complete(lease.id, lease.job.id, report).await
        };
        drop(held);
        match told {
            Ok(()) => self.reporting.works(),
            Err(error) => self.reporting.fails(&error),
        }
    }

    fn hold(&self, lease: &Lease) -> Held<'_> {
        let cancel = Arc::<Cancel>::default();
        self.leases.lock().insert(
            lease.id,
            InWork {
                job: lease.job.id,
                cancel: cancel.clone(),
                reporting: false,
            },
        );
        // Either this sees that the worker has stopped, or whoever stops it sees the lease.
        if self.phase() == Phase::Stopped {
            cancel.cancel();
        }
        Held {
            shared: self,
            lease: lease.id,
            cancel,
        }
    }

    /// What the tasks of a job share here, made when its first lease arrives.
    async fn context(&self, lease: &Lease, cancel: &Cancel) -> Result<Arc<JobContext>, Unready> {
        let id = lease.job.id;
        if let Some(context) = self.jobs.lock().get(&id) {
            return Ok(context.clone());
        }
        let component = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Unready::Stopped),
            component = self.component(lease.job.function.component) => component.map_err(Unready::Failed)?,
        };
        let context = self.keep_context(Arc::new(JobContext::new(
            lease.job.clone(),
            component,
            lease.tenant.clone(),
        )));
        // A cancellation that came before the lease was among those in work found nothing to
        // cancel.
        if let Ok(Ok(Extended::Lost)) = timeout(LOOK_TIME_MAX, self.broker.extend(lease.id)).await {
            return Err(Unready::Stopped);
        }
        Ok(context)
    }

    /// End the tasks of a job here.
    fn stop_job(&self, job: JobId) {
        self.jobs.lock().remove(&job);
        for in_work in self
            .leases
            .lock()
            .values()
            .filter(|in_work| in_work.job == job)
        {
            in_work.cancel.cancel();
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
}
