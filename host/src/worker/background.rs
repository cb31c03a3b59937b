//! The background parts of a worker, on the I/O runtime: extend leases, listen for cancelled jobs,
//! announce the worker.
//!
//! None of them holds up another: each lease is extended on its own, and a broker that does not
//! answer delays only the request that was made. A part that panics is restarted.
//!
//! Bounds: one request for each lease at a time, of at most [`EXTEND_TIME_MAX`]; one announcement
//! at a time.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use sortie_broker::{Broker, Cancellation, Error, Extended, Puller, Serves};
use sortie_objects::failure_episode::FailureEpisode;
use sortie_protocol::{Labels, LeaseId, Presence, Timestamp};
use tokio::runtime::Handle;
use tokio::time::error::Elapsed;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::jobs::Jobs;
use super::leases::Leases;
use super::lifecycle::{BROKER_PAUSE, Lifecycle, Phase};
use super::restarts::Restarts;
use crate::clock;
use crate::metrics::Metrics;
use crate::observer::{Event, Observed};

/// How often a worker announces itself: a quarter of the time for which an announcement holds.
const PRESENCE_INTERVAL: Duration = Duration::from_secs(3);
/// How long an answer about one lease is waited for before the question is asked again: well within
/// the lease that a broker grants by default.
const EXTEND_TIME_MAX: Duration = Duration::from_secs(5);

/// A tokio task that ends with its handle.
#[derive(Debug)]
pub(super) struct Guard(pub(super) tokio::task::JoinHandle<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The information that a worker announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduction {
    /// The host name.
    pub machine: String,
    /// The process id.
    pub process: u32,
    /// The version of the program.
    pub version: String,
}

/// What the background parts share.
#[derive(Debug, Clone)]
pub(super) struct Background {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) puller: Puller,
    pub(super) started: Timestamp,
    pub(super) slots: NonZeroUsize,
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) leases: Arc<Leases>,
    pub(super) jobs: Arc<Jobs>,
    pub(super) restarts: Arc<Restarts>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) observed: Observed,
    /// Whether what tasks make can be kept.
    pub(super) has_store: bool,
}

/// Start all parts. Each ends with its guard.
pub(super) fn start(
    shared: &Background,
    heartbeat: Duration,
    introduction: Option<Introduction>,
    io: &Handle,
) -> Vec<Guard> {
    let extending = shared.clone();
    let extending = async move {
        let begin = || extend_leases(&extending, heartbeat);
        let part = "extending leases";
        extending.restarts.keep_running(part, begin).await;
    };
    let listening = shared.clone();
    let listening = async move {
        let begin = || listen_for_cancellations(&listening);
        let part = "listening for cancellations";
        listening.restarts.keep_running(part, begin).await;
    };
    let mut guards = vec![Guard(io.spawn(extending)), Guard(io.spawn(listening))];
    if let Some(introduction) = introduction {
        let announcing = shared.clone();
        let announcing = async move {
            let begin = || announce(&announcing, &introduction);
            let part = "announcing this worker";
            announcing.restarts.keep_running(part, begin).await;
        };
        guards.push(Guard(io.spawn(announcing)));
    }
    guards
}

/// Extend the leases in work, each as soon as it is due and its last answer is there; end the tasks
/// of those that are lost.
async fn extend_leases(shared: &Background, every: Duration) {
    let episode = FailureEpisode::new("extending leases");
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked = HashSet::new();
    let mut answers = FuturesUnordered::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                for lease in shared.leases.running() {
                    if asked.insert(lease) {
                        answers.push(async move {
                            let extended = timeout(EXTEND_TIME_MAX, shared.broker.extend(lease));
                            (lease, extended.await)
                        });
                    }
                }
            }
            Some((lease, answer)) = answers.next(), if !answers.is_empty() => {
                asked.remove(&lease);
                on_answer(shared, lease, answer, &episode);
            }
        }
    }
}

fn on_answer(
    shared: &Background,
    lease: LeaseId,
    answer: Result<Result<Extended, Error>, Elapsed>,
    episode: &FailureEpisode,
) {
    match answer {
        Ok(Ok(Extended::Until(_))) => episode.works(),
        Ok(Ok(Extended::Lost)) => {
            // One that is being reported is no longer a lease, and not lost.
            if let Some(job) = shared.leases.stop_lost(lease) {
                tracing::info!(%job, lease = lease.0, "a lease was lost; stopping its tasks here");
                shared.metrics.lease_lost();
                shared.observed.tell(|| Event::LeaseLost { job, lease });
            }
        }
        Ok(Err(error)) => episode.fails(&error),
        Err(_) => episode.fails(&format!("no answer within {EXTEND_TIME_MAX:?}")),
    }
}

/// Stop what is cancelled: tasks of jobs, or whole ones. The cancellation of a job that is missed
/// while the connection is away shows when the lease is extended.
async fn listen_for_cancellations(shared: &Background) {
    let episode = FailureEpisode::new("listening for cancellations");
    loop {
        match shared.broker.cancellations().await {
            Ok(mut cancelled) => {
                episode.works();
                while let Some(cancellation) = cancelled.next().await {
                    if let Cancellation::Job(job) = cancellation {
                        shared.jobs.remove(job);
                    }
                    shared.leases.stop(&cancellation);
                }
            }
            Err(error) => episode.fails(&error),
        }
        sleep(BROKER_PAUSE).await;
    }
}

/// Announce the worker: now, every few seconds, and when it begins to drain.
async fn announce(shared: &Background, introduction: &Introduction) {
    let episode = FailureEpisode::new("announcing this worker");
    let mut phase = shared.lifecycle.subscribe();
    loop {
        let draining = *phase.borrow_and_update() > Phase::Working;
        match timeout(
            EXTEND_TIME_MAX,
            shared
                .broker
                .announce(presence(shared, introduction, draining)),
        )
        .await
        {
            Ok(Ok(())) => episode.works(),
            Ok(Err(error)) => episode.fails(&error),
            Err(_) => episode.fails(&format!("no answer within {EXTEND_TIME_MAX:?}")),
        }
        // The sender lives as long as this.
        let _ = timeout(PRESENCE_INTERVAL, phase.changed()).await;
    }
}

fn presence(shared: &Background, introduction: &Introduction, draining: bool) -> Presence {
    let Introduction {
        machine,
        process,
        version,
    } = introduction.clone();
    let labels = match &shared.puller.serves {
        Serves::Everything => Labels::default(),
        Serves::Labels(labels) => labels.clone(),
    };
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Presence {
        worker: shared.puller.worker,
        machine,
        process,
        version,
        labels,
        slots: count(shared.slots.get()),
        // Bundles that are leased ahead wait for their inputs and occupy nothing.
        busy: count(shared.leases.len().min(shared.slots.get())),
        draining,
        started: shared.started,
        said: clock::now(),
        store: Some(shared.has_store),
    }
}
