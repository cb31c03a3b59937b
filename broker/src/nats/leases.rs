//! Leases that this process holds, and how they end.
//!
//! A server knows a lease as a delivered message without its acknowledgement, and takes
//! acknowledgements from whoever had the message at any time. So it is this side that keeps the
//! promise: a lease counts as lost a margin before the server can think so, by a clock that nobody
//! else's touches, and who has lost it asks for nothing but that his outcomes be looked at.
//!
//! What is asked of the server comes in an order in which a crash in between repeats work and loses
//! none: first the outcomes are stored, then what is to be tried again is published, last the
//! bundle is acknowledged.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::AckKind;
use bytes::Bytes;
use parking_lot::Mutex;
use sortie_protocol::envelope;
use sortie_protocol::{Bundle, DeadLetter, Job, LeaseId, Outcome, Task, TaskIndex};

use super::Core;
use super::clock;
use super::dead_letters::{MESSAGE_ID, has_failed};
use super::task_ranges;
use super::names::{JobKey, Source};
use crate::broker::{Error, Extended, Lease, Report, Retrial};

/// The header of a bundle whose tasks some worker had before: what ended is to be looked up.
pub(super) const AGAIN: &str = "Sortie-Again";
/// The header of a bundle that is to be run after a delay, in milliseconds.
pub(super) const DELAY: &str = "Sortie-Delay";

/// A lease that is held here.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) id: LeaseId,
    pub(super) key: JobKey,
    pub(super) job: Arc<Job>,
    pub(super) bundle: Arc<Bundle>,
    pub(super) source: Source,
    /// Where acknowledgements go.
    pub(super) ack: String,
    pub(super) attempt: u32,
    /// Leases of these tasks that were lost in a row before this one.
    pub(super) losses: u32,
    /// Whether some worker had these tasks before.
    pub(super) is_again: bool,
    /// Names this delivery among all: what is published because of it has ids that follow from it.
    pub(super) delivery: String,
    /// From here on it counts as lost.
    pub(super) until: Instant,
}

impl Held {
    /// Whether the lease is not over.
    pub(super) fn holds(&self) -> bool {
        clock::instant() < self.until
    }

    /// As a worker sees it.
    pub(super) fn lease(&self) -> Lease {
        let deadline = clock::now() + self.until.saturating_duration_since(clock::instant());
        let tenant = Some(self.key.tenant.as_str().into());
        Lease {
            id: self.id,
            job: self.job.clone(),
            bundle: self.bundle.clone(),
            attempt: self.attempt,
            deadline,
            tenant,
        }
    }
}

/// The leases that are held here. One ends with its report, so there are no more than the worker
/// has slots, and a few spare ones.
#[derive(Debug, Default)]
pub(super) struct Leases {
    held: Mutex<HashMap<LeaseId, Held>>,
    next: std::sync::atomic::AtomicU64,
}

impl Leases {
    pub(super) fn next_id(&self) -> LeaseId {
        LeaseId(self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1)
    }

    pub(super) fn insert(&self, held: Held) {
        self.held.lock().insert(held.id, held);
    }

    pub(super) fn remove(&self, lease: LeaseId) -> Option<Held> {
        self.held.lock().remove(&lease)
    }

    fn get(&self, lease: LeaseId) -> Option<Held> {
        self.held.lock().get(&lease).cloned()
    }

    fn prolong(&self, lease: LeaseId, until: Instant) {
        if let Some(held) = self.held.lock().get_mut(&lease) {
            held.until = until;
        }
    }
}

impl Core {
    /// From when on a lease counts as lost that the server granted, or extended, after `asked`.
    pub(super) fn lease_until(&self, asked: Instant) -> Instant {
        asked + self.laid.lease.saturating_sub(self.laid.lease / 10)
    }

    pub(super) async fn extend_lease(&self, lease: LeaseId) -> Result<Extended, Error> {
        let Some(held) = self.leases.get(lease).filter(Held::holds) else {
            return Ok(Extended::Lost);
        };
        if self
            .known_by_now(&held.key)
            .await?
            .is_none_or(|known| known.cancelled)
        {
            return Ok(Extended::Lost);
        }
        let asked = clock::instant();
        // With an answer, so that nobody works on under a lease that was not extended.
        self.link
            .ask(&held.ack, HeaderMap::new(), AckKind::Progress.into())
            .await?;
        if !held.holds() {
            return Ok(Extended::Lost);
        }
        let until = self.lease_until(asked);
        self.leases.prolong(lease, until);
        Ok(Extended::Until(
            clock::now() + until.saturating_duration_since(clock::instant()),
        ))
    }

    /// Put a bundle back for anyone to take. The server would count handing it back as a delivery,
    /// so it is published anew.
    pub(super) async fn release_lease(&self, held: &Held) -> Result<(), Error> {
        if !held.holds()
            || self
                .jobs
                .get(held.key.job)
                .is_some_and(|known| known.cancelled)
        {
            return Ok(());
        }
        let bundle = Bundle {
            attempts_before: held.attempt.saturating_sub(1),
            lost_before: held.losses,
            ..Bundle::clone(&held.bundle)
        };
        self.publish_again(held, &bundle, Duration::ZERO, "back")
            .await?;
        self.acknowledge(&held.ack).await
    }

    /// Those that hold, of jobs that are not cancelled; the others are dealt with, or will come
    /// again.
    pub(super) async fn without_ended(&self, leases: Vec<Held>) -> Result<Vec<Held>, Error> {
        let mut left = Vec::with_capacity(leases.len());
        for held in leases {
            if self
                .jobs
                .get(held.key.job)
                .is_some_and(|known| known.cancelled)
            {
                self.acknowledge(&held.ack).await?;
            } else if held.holds() {
                left.push(held);
            }
        }
        Ok(left)
    }

    /// Store a report on a job whose lease is `held`, if it is known here.
    pub(super) async fn report(
        &self,
        key: &JobKey,
        held: Option<&Held>,
        report: Report,
    ) -> Result<(), Error> {
        match (self.known(key).await?, held) {
            // Forgotten, or it seems so; if it is, the bundle is taken out when it is delivered
            // again.
            (None, _) => return Ok(()),
            (Some(known), Some(held)) if known.cancelled => {
                return self.acknowledge(&held.ack).await;
            }
            (Some(known), None) if known.cancelled => return Ok(()),
            (Some(_), _) => {}
        }
        let ended: HashSet<TaskIndex> = report
            .outcomes
            .iter()
            .map(|outcome| outcome.index)
            .collect();
        if let Some(held) = held {
            let mut letters = letters(held, &report.outcomes);
            if !letters.is_empty() && (held.is_again || !held.holds()) {
                // Another worker may have been first, and then what failed here does not count.
                let ended = self.ended(key).await?;
                letters.retain(|(letter, _)| !matches!(letter, DeadLetter::Task { task, .. } if ended.contains(task.index)));
            }
            self.bury(key, letters).await?;
        }
        self.store_outcomes(key, report.outcomes).await?;
        let retrials = report.retrials;
        let Some(held) = held else { return Ok(()) };
        let left: Vec<&Task> = held
            .bundle
            .tasks
            .iter()
            .filter(|task| !ended.contains(&task.index))
            .collect();
        if left.is_empty() {
            return self.acknowledge(&held.ack).await;
        }
        // Asked after the outcomes were stored: that may have taken long.
        if held.holds() {
            self.put_back(held, &left, &retrials).await?;
            self.acknowledge(&held.ack).await?;
        }
        Ok(())
    }

    /// Publish what did not end: each task that is to be tried again alone, the rest as if the
    /// lease had been lost.
    async fn put_back(
        &self,
        held: &Held,
        left: &[&Task],
        retrials: &[Retrial],
    ) -> Result<(), Error> {
        let again: HashMap<TaskIndex, Duration> = retrials
            .iter()
            .map(|retrial| (retrial.index, retrial.after))
            .collect();
        let mut rest = Vec::new();
        for &task in left {
            match again.get(&task.index) {
                Some(after) => {
                    let bundle = Bundle {
                        job: held.key.job,
                        attempts_before: held.attempt,
                        lost_before: 0,
                        published: clock::now() + *after,
                        tasks: vec![task.clone()],
                    };
                    self.publish_again(held, &bundle, *after, &format!("again-{}", task.index))
                        .await?;
                }
                None => rest.push(task.clone()),
            }
        }
        if rest.is_empty() {
            return Ok(());
        }
        let lost_before = held.losses.saturating_add(1);
        let bundle = Bundle {
            attempts_before: held.attempt,
            lost_before,
            tasks: rest,
            ..bundle_of(held)
        };
        self.publish_again(held, &bundle, Duration::ZERO, "rest")
            .await
    }

    /// Give each task of a bundle one of its own: together they were lost too often.
    pub(super) async fn split(&self, held: &Held) -> Result<(), Error> {
        for task in &held.bundle.tasks {
            // This delivery is not an attempt: nobody runs it.
            let attempts_before = held.attempt.saturating_sub(1);
            let bundle = Bundle {
                attempts_before,
                lost_before: held.losses,
                tasks: vec![task.clone()],
                ..bundle_of(held)
            };
            self.publish_again(
                held,
                &bundle,
                Duration::ZERO,
                &format!("alone-{}", task.index),
            )
            .await?;
        }
        self.acknowledge(&held.ack).await
    }

    /// Publish a bundle because of a delivery; twice for the same reason counts once.
    async fn publish_again(
        &self,
        held: &Held,
        bundle: &Bundle,
        after: Duration,
        why: &str,
    ) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.insert(AGAIN, "1");
        headers.insert(MESSAGE_ID, format!("{}-{why}", held.delivery).as_str());
        task_ranges::insert(&mut headers, &bundle.tasks);
        if !after.is_zero() {
            headers.insert(DELAY, after.as_millis().max(1).to_string().as_str());
        }
        self.put_bundle(&held.source, &held.key, &headers, &envelope::bundle(bundle))
            .await
    }

    /// Tell the server that a delivery is dealt with. Should that get lost, it is delivered again,
    /// and found to have ended.
    pub(super) async fn acknowledge(&self, ack: &str) -> Result<(), Error> {
        self.link
            .tell(ack.to_owned(), HeaderMap::new(), AckKind::Ack.into())
            .await
    }

    /// Store outcomes, in as many messages as they need.
    pub(super) async fn store_outcomes(
        &self,
        key: &JobKey,
        outcomes: Vec<Outcome>,
    ) -> Result<(), Error> {
        if outcomes.is_empty() {
            return Ok(());
        }
        let mut parts = vec![outcomes];
        while let Some(mut part) = parts.pop() {
            let payload = envelope::outcomes(&part);
            if payload.len() > self.link.payload_max() {
                if part.len() > 1 {
                    let second = part.split_off(part.len() / 2);
                    parts.push(second);
                    parts.push(part);
                } else {
                    parts.push(
                        part.into_iter()
                            .map(|outcome| self.too_large(outcome))
                            .collect(),
                    );
                }
                continue;
            }
            self.store_report(key, payload).await?;
        }
        Ok(())
    }

    async fn store_report(&self, key: &JobKey, payload: Bytes) -> Result<(), Error> {
        match self
            .link
            .store(&self.names.outcomes(key), &HeaderMap::new(), &payload)
            .await?
        {
            Ok(_) => Ok(()),
            Err(refusal) => Err(self.link.refused(&refusal)),
        }
    }

    /// The outcome of a task whose result no message can hold.
    fn too_large(&self, mut outcome: Outcome) -> Outcome {
        use sortie_protocol::outcome::LimitKind;
        use sortie_protocol::{ByteSize, Ending, Failure};
        outcome.log = None;
        if envelope::outcomes(std::slice::from_ref(&outcome)).len() > self.link.payload_max() {
            let allowed = format!(
                "{} that this broker carries",
                ByteSize::kib(self.link.payload_max() as u64 >> 10)
            );
            outcome.ending = Ending::Failed(Failure::Stopped {
                limit: LimitKind::Result,
                allowed,
            });
        }
        outcome
    }
}

fn bundle_of(held: &Held) -> Bundle {
    Bundle {
        job: held.key.job,
        attempts_before: 0,
        lost_before: 0,
        published: held.bundle.published,
        tasks: Vec::new(),
    }
}

/// The letters for the tasks that failed, each with an id that is the same whoever reports it.
pub(super) fn letters(held: &Held, outcomes: &[Outcome]) -> Vec<(DeadLetter, String)> {
    let failed = outcomes.iter().filter(has_failed);
    let letter = |outcome: &Outcome| {
        let task = held
            .bundle
            .tasks
            .iter()
            .find(|task| task.index == outcome.index)?
            .clone();
        let letter = DeadLetter::Task {
            job: Job::clone(&held.job),
            task,
            outcome: outcome.clone(),
            buried: clock::now(),
        };
        Some((letter, format!("{}-{}", held.key.job, outcome.index)))
    };
    failed.filter_map(letter).collect()
}
