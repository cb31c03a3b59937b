//! Ends and extends the leases that this process holds.
//!
//! A server knows a lease as a delivered message without its acknowledgement, and takes an
//! acknowledgement from every process that ever had the message. So this side enforces the lease:
//! by a monotonic clock, it counts as lost a margin before the server can redeliver the bundle, and
//! a report under a lost lease only stores outcomes.
//!
//! The order of what is asked of the server decides what a crash in between does: first the
//! outcomes are stored, then it is noted what is left of the bundle, last the bundle is
//! acknowledged or handed back. So a crash repeats work and loses none.
//!
//! Nothing here is published into a queue, which may be full. What is stored instead may have to
//! wait for room, or for the broker; meanwhile the lease is extended, because a worker that cannot
//! report is not a worker that was lost.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::AckKind;
use sortie_protocol::{JobKey, LeaseId, Outcome, TaskIndex};

use super::attempts::{Attempted, Attempts, Note};
use super::clock;
use super::connection::Connection;
use super::dead_letters::DeadLetters;
use super::ended_tasks::EndedTasks;
use super::held_lease::{HeldLease, HeldLeases};
use super::jobs::Jobs;
use super::notes::{BundleId, Notes};
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
    pub(super) outcomes: Outcomes,
    pub(super) ended: Arc<EndedTasks>,
    pub(super) dead_letters: DeadLetters,
    pub(super) notes: Notes,
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

    /// Give a bundle back for any worker to take. The server counts that as a delivery, so it is
    /// noted first.
    pub(super) async fn release(&self, held: &HeldLease) -> Result<(), Error> {
        if !held.holds()
            || self
                .jobs
                .get(&held.key)
                .is_some_and(|known| known.is_cancelled())
        {
            return Ok(());
        }
        let mut left = held.rest.clone();
        left.0
            .extend(held.bundle.tasks.iter().map(|task| Attempted {
                index: task.index,
                attempts: held.attempt.saturating_sub(1),
                losses: held.losses,
                wait: Duration::ZERO,
            }));
        self.hand_back(&held.message, held.delivery, &held.ack, left)
            .await
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
    pub(super) async fn complete(&self, mut held: HeldLease, report: Report) -> Result<(), Error> {
        let held = &mut held;
        let key = &held.key.clone();
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
        let failed = report
            .outcomes
            .iter()
            .filter(|outcome| outcome.has_failed());
        let mut failed: HashSet<TaskIndex> = failed.map(|outcome| outcome.index).collect();
        if !failed.is_empty() && (held.is_again || !held.holds()) {
            // Another worker may have reported first; then a failure here does not count.
            let log = self.ended.of(key).await?;
            failed.retain(|index| !log.seen().contains(*index));
        }
        let job = held.job.clone();
        let bundle = held.bundle.clone();
        self.extending(held, async {
            let outcomes = report.outcomes.iter();
            let failed = outcomes.filter(|outcome| failed.contains(&outcome.index));
            self.dead_letters.bury(&job, &bundle, failed).await?;
            self.outcomes.store(key, report.outcomes).await
        })
        .await?;
        let mut left = held.rest.clone();
        left.pass(held.since.elapsed());
        left.0.extend(left_of(held, &ended, &report.retrials));
        if left.0.is_empty() {
            return self.acknowledge(&held.ack).await;
        }
        // Checked after storing the outcomes, which may have taken long.
        if held.holds() {
            let (message, ack) = (held.message, held.ack.clone());
            let handing = self.hand_back(&message, held.delivery, &ack, left);
            self.extending(held, handing).await?;
        }
        Ok(())
    }

    /// Hand a bundle back, with these of its tasks left, for as long as they have to wait.
    pub(super) async fn hand_back(
        &self,
        message: &BundleId,
        delivery: u64,
        ack: &str,
        mut left: Attempts,
    ) -> Result<(), Error> {
        let delay = left.hand_back();
        let note = Note {
            delivery,
            attempts: left,
        };
        self.notes.put(message, &note).await?;
        let kind = AckKind::Nak((!delay.is_zero()).then_some(delay));
        self.connection
            .tell(ack.to_owned(), HeaderMap::new(), kind.into())
            .await?;
        self.connection.metrics().returned.add(1);
        Ok(())
    }

    /// Do something that may have to wait for the broker or for room there, and keep the lease
    /// meanwhile.
    async fn extending<T>(
        &self,
        held: &mut HeldLease,
        doing: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::pin!(doing);
        loop {
            let pause = tokio::time::sleep(self.lease / 3);
            tokio::select! {
                done = &mut doing => return done,
                () = pause => {}
            }
            let asked = clock::instant();
            if !held.holds() {
                continue;
            }
            let progress =
                self.connection
                    .ask(&held.ack, HeaderMap::new(), AckKind::Progress.into());
            let extended = tokio::select! {
                done = &mut doing => return done,
                extended = progress => extended.is_ok() && held.holds(),
            };
            if extended {
                held.until = self.until(asked);
            }
        }
    }

    /// Acknowledge a delivery. If the acknowledgement is lost, the message is redelivered, and its
    /// tasks are found to have ended.
    pub(super) async fn acknowledge(&self, ack: &str) -> Result<(), Error> {
        self.connection
            .tell(ack.to_owned(), HeaderMap::new(), AckKind::Ack.into())
            .await
    }
}

/// What a report leaves of a lease's tasks: those to try again, and those it says nothing of, which
/// count as if the lease had been lost.
fn left_of(held: &HeldLease, ended: &HashSet<TaskIndex>, retrials: &[Retrial]) -> Vec<Attempted> {
    let again: HashMap<TaskIndex, Duration> = retrials
        .iter()
        .map(|retrial| (retrial.index, retrial.after))
        .collect();
    let tasks = held.bundle.tasks.iter();
    let left = tasks.filter(|task| !ended.contains(&task.index));
    left.map(|task| {
        let again = again.get(&task.index);
        Attempted {
            index: task.index,
            attempts: held.attempt,
            losses: match again {
                Some(_) => 0,
                None => held.losses.saturating_add(1),
            },
            wait: again.copied().unwrap_or_default(),
        }
    })
    .collect()
}
