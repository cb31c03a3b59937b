//! What runs beside the slots, on the I/O runtime, for as long as the worker does.
//!
//! None of it may hold up another: leases are extended each for itself, a broker that does not
//! answer costs only what was asked of it. What panics begins anew.
//!
//! Bounds: one question for each lease, [`EXTEND_TIME_MAX`] each; one for presence at a time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use sortie_broker::{Error, Extended, Serves};
use sortie_protocol::{Labels, LeaseId, Presence};
use tokio::runtime::Handle;
use tokio::time::error::Elapsed;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::{BROKER_PAUSE, Introduction, Phase, Shared};
use crate::clock;
use sortie_objects::failure_episode::FailureEpisode;

/// How often a worker says that it is there: a quarter of the time for which that holds.
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

/// Start all of it. Each ends with its guard.
pub(super) fn start(
    shared: &Arc<Shared>,
    heartbeat: Duration,
    introduction: Option<Introduction>,
    io: &Handle,
) -> Vec<Guard> {
    let (extending, listening) = (shared.clone(), shared.clone());
    let mut parts = vec![
        Guard(io.spawn(async move {
            extending
                .keeps_going("extending leases", || extend_leases(&extending, heartbeat))
                .await
        })),
        Guard(io.spawn(async move {
            listening
                .keeps_going("listening for cancellations", || {
                    listen_for_cancellations(&listening)
                })
                .await
        })),
    ];
    if let Some(introduction) = introduction {
        let shared = shared.clone();
        let announcing = async move {
            shared
                .keeps_going("announcing this worker", || {
                    announce(&shared, &introduction)
                })
                .await
        };
        parts.push(Guard(io.spawn(announcing)));
    }
    parts
}

/// Extend the leases in work, each as soon as it is due and its last answer is there; end the tasks
/// of those that are lost.
async fn extend_leases(shared: &Shared, every: Duration) {
    let episode = FailureEpisode::new("extending leases");
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked = HashSet::new();
    let mut answers = FuturesUnordered::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                for lease in shared.leases_running() {
                    if asked.insert(lease) {
                        answers.push(async move { (lease, timeout(EXTEND_TIME_MAX, shared.broker.extend(lease)).await) });
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

impl Shared {
    fn leases_running(&self) -> Vec<LeaseId> {
        self.leases
            .lock()
            .iter()
            .filter(|(_, in_work)| !in_work.reporting)
            .map(|(lease, _)| *lease)
            .collect()
    }
}

fn on_answer(
    shared: &Shared,
    lease: LeaseId,
    answer: Result<Result<Extended, Error>, Elapsed>,
    episode: &FailureEpisode,
) {
    match answer {
        Ok(Ok(Extended::Until(_))) => episode.works(),
        Ok(Ok(Extended::Lost)) => {
            // One that is being reported is no longer a lease, and not lost.
            if let Some(in_work) = shared
                .leases
                .lock()
                .get(&lease)
                .filter(|in_work| !in_work.reporting)
            {
                tracing::info!(job = %in_work.job, lease = lease.0, "a lease was lost; stopping its tasks here");
                in_work.cancel.cancel();
            }
        }
        Ok(Err(error)) => episode.fails(&error),
        Err(_) => episode.fails(&format!("no answer within {EXTEND_TIME_MAX:?}")),
    }
}

/// Stop what runs here of jobs that are cancelled. What is missed while nobody listens shows when
/// the lease is extended.
async fn listen_for_cancellations(shared: &Shared) {
    let episode = FailureEpisode::new("listening for cancellations");
    loop {
        match shared.broker.cancellations().await {
            Ok(mut cancelled) => {
                episode.works();
                while let Some(job) = cancelled.next().await {
                    shared.stop_job(job);
                }
            }
            Err(error) => episode.fails(&error),
        }
        sleep(BROKER_PAUSE).await;
    }
}

/// Say that the worker is there: now, every few seconds, and when it begins to drain.
async fn announce(shared: &Shared, introduction: &Introduction) {
    let episode = FailureEpisode::new("announcing this worker");
    let mut phase = shared.phase.subscribe();
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

fn presence(shared: &Shared, introduction: &Introduction, draining: bool) -> Presence {
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
        busy: count(shared.leases.lock().len().min(shared.slots.get())),
        draining,
        started: shared.started,
        said: clock::now(),
    }
}
