//! Ends and extends the leases that this process holds.
//!
//! A server knows a lease as a delivered message without its acknowledgement, and takes an
//! acknowledgement from every process that ever had the message. So this side enforces the lease:
//! by a monotonic clock, it counts as lost a margin before the server can redeliver the bundle, and
//! a report under a lost lease only stores outcomes.
//!
//! The order of requests makes crashes safe: first outcomes are stored, then retries are published,
//! and last the bundle is acknowledged. So a crash may repeat work but loses none.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::AckKind;
use sortie_protocol::{Bundle, DeadLetter, JobKey, LeaseId, Outcome, Task, TaskIndex};

use super::bundles::{Again, Bundles};
use super::clock;
use super::connection::Connection;
use super::dead_letters::DeadLetters;
use super::ended_tasks::EndedTasks;
use super::held_lease::{HeldLease, HeldLeases, letters};
use super::jobs::Jobs;
use super::outcomes::Outcomes;
use crate::traits::{Error, Extended, Report, Retrial};

/// The leases of this process, and the services that ending one needs.
#[derive(Debug)]
pub(super) struct Leases {
    pub(super) connection: Connection,
    /// How long the server grants a lease for.
    pub(super) lease: Duration,
    pub(super) held: HeldLeases,
    pub(super) jobs: Arc<Jobs>,
    pub(super) bundles: Arc<Bundles>,
    pub(super) outcomes: Outcomes,
    pub(super) ended: Arc<EndedTasks>,
    pub(super) dead_letters: DeadLetters,
}

impl Leases {
    /// When a lease counts as lost that the server granted or extended after `asked`.
    pub(super) fn until(&self, asked: Instant) -> Instant {
        asked + self.lease.saturating_sub(self.lease / 10)
    }

    pub(super) async fn extend(&self, lease: LeaseId) -> Result<Extended, Error> {
        let Some(held) = self.held.get(lease).filter(HeldLease::holds) else {
            return Ok(Extended::Lost);
        };
        if self
            .jobs
            .known_by_now(&held.key)
            .await?
            .is_none_or(|known| known.is_cancelled())
        {
            return Ok(Extended::Lost);
        }
        let asked = clock::instant();
        // Wait for the answer, so that no work continues under a lease that was not extended.
        self.connection
            .ask(&held.ack, HeaderMap::new(), AckKind::Progress.into())
            .await?;
        if !held.holds() {
            return Ok(Extended::Lost);
        }
        let until = self.until(asked);
        self.held.prolong(lease, until);
        Ok(Extended::Until(
            clock::now() + until.saturating_duration_since(clock::instant()),
        ))
    }

    /// Return a bundle to the queue. A negative acknowledgement would count as a delivery, so it is
    /// published again.
    pub(super) async fn release(&self, held: &HeldLease) -> Result<(), Error> {
        if !held.holds()
            || self
                .jobs
                .get(&held.key)
                .is_some_and(|known| known.is_cancelled())
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

    /// The leases that still hold and whose jobs are not cancelled; the others are ended here, or
    /// redelivered later.
    pub(super) async fn without_ended(
        &self,
        leases: Vec<HeldLease>,
    ) -> Result<Vec<HeldLease>, Error> {
        let mut left = Vec::with_capacity(leases.len());
        for held in leases {
            if self
                .jobs
                .get(&held.key)
                .is_some_and(|known| known.is_cancelled())
            {
                self.acknowledge(&held.ack).await?;
            } else if held.holds() {
                left.push(held);
            }
        }
        Ok(left)
    }

    /// Store outcomes that are reported without a lease.
    pub(super) async fn report(&self, key: &JobKey, outcomes: Vec<Outcome>) -> Result<(), Error> {
        match self.jobs.known(key).await? {
            Some(known) if !known.is_cancelled() => self.outcomes.store(key, outcomes).await,
            // Cancelled or forgotten: nothing counts any more.
            Some(_) | None => Ok(()),
        }
    }

    /// Store a report on a lease that was held here, and end the lease.
    pub(super) async fn complete(&self, held: &HeldLease, report: Report) -> Result<(), Error> {
        let key = &held.key;
        match self.jobs.known(key).await? {
            // The job seems forgotten; if it is, the bundle is removed when it is redelivered.
            None => return Ok(()),
            Some(known) if known.is_cancelled() => return self.acknowledge(&held.ack).await,
            Some(_) => {}
        }
        let ended: HashSet<TaskIndex> = report
            .outcomes
            .iter()
            .map(|outcome| outcome.index)
            .collect();
        let mut letters = letters(held, &report.outcomes);
        if !letters.is_empty() && (held.is_again || !held.holds()) {
            // Another worker may have reported first; then a failure here does not count.
            let log = self.ended.of(key).await?;
            letters.retain(|(letter, _)| match letter {
                DeadLetter::Task { task, .. } => !log.seen().contains(task.index),
                DeadLetter::Unreadable { .. } => true,
            });
        }
        self.dead_letters.bury(&key.tenant, letters).await?;
        self.outcomes.store(key, report.outcomes).await?;
        let left: Vec<&Task> = held
            .bundle
            .tasks
            .iter()
            .filter(|task| !ended.contains(&task.index))
            .collect();
        if left.is_empty() {
            return self.acknowledge(&held.ack).await;
        }
        // Checked after storing the outcomes, which may have taken long.
        if held.holds() {
            self.put_back(held, &left, &report.retrials).await?;
            self.acknowledge(&held.ack).await?;
        }
        Ok(())
    }

    /// Publish the tasks that did not end: each task to retry in its own bundle, the rest as if the
    /// lease had been lost.
    async fn put_back(
        &self,
        held: &HeldLease,
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
                        job: held.key,
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

    /// Publish each task of a bundle in its own bundle, after too many lost leases.
    pub(super) async fn split(&self, held: &HeldLease) -> Result<(), Error> {
        for task in &held.bundle.tasks {
            // This delivery is not an attempt: no worker runs it.
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

    /// Publish a bundle because of a delivery; deduplicated by the reason.
    async fn publish_again(
        &self,
        held: &HeldLease,
        bundle: &Bundle,
        after: Duration,
        why: &str,
    ) -> Result<(), Error> {
        let again = Again {
            source: &held.source,
            key: &held.key,
            id: &format!("{}-{why}", held.delivery),
            after,
        };
        self.bundles.publish_again(again, bundle).await
    }

    /// Acknowledge a delivery. If the acknowledgement is lost, the message is redelivered, and its
    /// tasks are found to have ended.
    pub(super) async fn acknowledge(&self, ack: &str) -> Result<(), Error> {
        self.connection
            .tell(ack.to_owned(), HeaderMap::new(), AckKind::Ack.into())
            .await
    }
}

fn bundle_of(held: &HeldLease) -> Bundle {
    Bundle {
        job: held.key,
        attempts_before: 0,
        lost_before: 0,
        published: held.bundle.published,
        tasks: Vec::new(),
    }
}
