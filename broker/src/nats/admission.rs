//! Admits delivered messages: checks a bundle before a worker gets a lease of it.
//!
//! Most bundles are admitted at once. From a bundle that a worker had before, the tasks that ended
//! are removed. A message of a job that is over, or one that is not a bundle, is removed from the
//! queue. A delayed bundle is handed back with its delay. A bundle whose leases were lost too often
//! is split or given up, by the rule of [`sortie_protocol::delivery`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::Message;
use async_nats::jetstream::{AckKind, Message as Delivered};
use bytes::Bytes;
use sortie_protocol::delivery::{self, Delivery};
use sortie_protocol::envelope;
use sortie_protocol::outcome::PlatformFault;
use sortie_protocol::{Bill, Bundle, Ending, Failure, Job, JobKey, Outcome, Task, TaskIndex};

use super::bundles::Bundles;
use super::dead_letters::DeadLetters;
use super::ended_tasks::EndedTasks;
use super::headers::{AGAIN, DELAY, number};
use super::held_lease::{HeldLease, letters};
use super::jetstream::JetStream;
use super::jobs::Jobs;
use super::leases::Leases;
use super::names::{Names, Source};
use super::outcomes::Outcomes;
use super::task_ranges;
use crate::traits::Error;

/// Maximum delay in milliseconds: a day. The header is not trusted.
const DELAY_MAX: u64 = 24 * 3600 * 1000;

/// How many deliveries of a bundle whose job has no record there are before it is dropped.
const STRAY_DELIVERIES: u32 = 4;
/// The delay between two such deliveries.
const STRAY_PAUSE: Duration = Duration::from_secs(1);

/// A delivery's metadata, from the server.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) source: Source,
    pub(super) key: JobKey,
    /// How many more messages wait at the source.
    pub(super) pending: u64,
    delivered: u32,
    /// A unique id of the message.
    message: String,
    /// A unique id of this delivery.
    name: String,
    /// The earliest time at which the lease may have started.
    leased: Instant,
}

/// Turns delivered messages into leases.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) jetstream: JetStream,
    pub(super) names: Names,
    pub(super) jobs: Arc<Jobs>,
    pub(super) bundles: Arc<Bundles>,
    pub(super) outcomes: Outcomes,
    pub(super) ended: Arc<EndedTasks>,
    pub(super) dead_letters: DeadLetters,
    pub(super) leases: Arc<Leases>,
    /// How many leases in a row may be lost before a task is given up.
    pub(super) losses_max: u32,
}

impl Admission {
    /// The metadata of a delivery whose lease may run since `leased`; `None` if the message is not
    /// a delivery.
    pub(super) fn origin(&self, message: &Message, leased: Instant) -> Option<Origin> {
        let (source, key) = self.names.parse_task(&message.subject)?;
        // Only the reply subject is parsed.
        let (subject, reply) = (message.subject.clone(), message.reply.clone());
        let bare = Message {
            subject,
            reply,
            payload: Bytes::new(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        };
        let wrapped = Delivered {
            message: bare,
            context: self.jetstream.context.clone(),
        };
        let info = wrapped.info().ok()?;
        Some(Origin {
            source,
            key,
            pending: info.pending,
            delivered: u32::try_from(info.delivered).unwrap_or(u32::MAX).max(1),
            message: format!("{}-{}", info.stream, info.stream_sequence),
            name: format!(
                "{}-{}-{}",
                info.stream, info.stream_sequence, info.delivered
            ),
            leased,
        })
    }

    /// Turn a delivered message into a lease, or remove, delay or split it. On an error nothing is
    /// acknowledged, and it is redelivered.
    pub(super) async fn admit(&self, message: Message, origin: Origin) -> Option<HeldLease> {
        match self.try_admit(&message, origin).await {
            Ok(Some(held)) if !held.holds() => {
                tracing::debug!(subject = %message.subject, "a lease expired on its way here");
                None
            }
            Ok(held) => held,
            Err(error) => {
                tracing::warn!(
                    %error,
                    subject = %message.subject,
                    "failed to accept a bundle; it will be redelivered"
                );
                None
            }
        }
    }

    async fn try_admit(
        &self,
        message: &Message,
        origin: Origin,
    ) -> Result<Option<HeldLease>, Error> {
        let Some(ack) = message.reply.as_ref().map(ToString::to_string) else {
            return Ok(None);
        };
        let headers = message.headers.as_ref();
        let delay = headers
            .and_then(|headers| number(headers, DELAY))
            .filter(|delay| *delay > 0)
            .map(|delay| delay.min(DELAY_MAX));
        // The delay starts at the first delivery, so that no two clocks have to be compared.
        if let (Some(delay), 1) = (delay, origin.delivered) {
            let later = AckKind::Nak(Some(Duration::from_millis(delay)));
            self.tell(ack, later).await?;
            return Ok(None);
        }
        let bundle = match read(&origin.key, &message.payload) {
            Ok(bundle) => bundle,
            Err(reason) => {
                tracing::warn!(
                    subject = %message.subject,
                    reason,
                    "a message is not a bundle; moving it to the dead letters"
                );
                self.end_unread(&origin, task_ranges::read(headers), &reason)
                    .await?;
                self.dead_letters
                    .bury_unreadable(
                        &origin.key.tenant,
                        &message.subject,
                        &message.payload,
                        reason,
                        &origin.message,
                    )
                    .await?;
                self.leases.acknowledge(&ack).await?;
                return Ok(None);
            }
        };
        let Some(known) = self.jobs.known(&origin.key).await? else {
            return self.without_job(&origin, ack).await.map(|()| None);
        };
        if known.is_cancelled() {
            self.leases.acknowledge(&ack).await?;
            return self.clear(&origin).await.map(|()| None);
        }
        let lost = origin
            .delivered
            .saturating_sub(if delay.is_some() { 2 } else { 1 });
        let again = lost > 0 || headers.is_some_and(|headers| headers.get(AGAIN).is_some());
        let held = HeldLease {
            is_again: again,
            ..self.held(origin, known.job, bundle, ack, lost)
        };
        if again {
            self.judge(held).await
        } else {
            Ok(Some(held))
        }
    }

    /// End tasks whose bundle cannot be read, because no worker will run them. Only if their job is
    /// there. If this is done twice, the first outcome counts.
    async fn end_unread(
        &self,
        origin: &Origin,
        tasks: Vec<TaskIndex>,
        reason: &str,
    ) -> Result<(), Error> {
        if tasks.is_empty()
            || self
                .jobs
                .known(&origin.key)
                .await?
                .is_none_or(|known| known.is_cancelled())
        {
            return Ok(());
        }
        let message = format!(
            "a worker cannot read the bundle that this task is in, which is among the dead \
             letters: {reason}"
        );
        let outcome = |index| Outcome {
            index,
            attempts: 0,
            ending: Ending::Failed(Failure::Platform {
                fault: PlatformFault::Host,
                message: message.clone(),
            }),
            bill: Bill::default(),
            log: None,
            input: None,
        };
        self.outcomes
            .store(&origin.key, tasks.into_iter().map(outcome).collect())
            .await
    }

    /// There is no record of the bundle's job. A leader that was elected a moment ago may not know
    /// of it yet, so the bundle is dropped only after several deliveries: then the job was
    /// forgotten.
    async fn without_job(&self, origin: &Origin, ack: String) -> Result<(), Error> {
        if origin.delivered < STRAY_DELIVERIES {
            return self.tell(ack, AckKind::Nak(Some(STRAY_PAUSE))).await;
        }
        self.leases.acknowledge(&ack).await?;
        self.clear(origin).await
    }

    async fn clear(&self, origin: &Origin) -> Result<(), Error> {
        let bundles = &self.bundles;
        bundles.clear(origin.source.shard, &origin.key).await
    }

    async fn tell(&self, ack: String, kind: AckKind) -> Result<(), Error> {
        let connection = &self.jetstream.connection;
        connection.tell(ack, HeaderMap::new(), kind.into()).await
    }

    fn held(
        &self,
        origin: Origin,
        job: Arc<Job>,
        bundle: Bundle,
        ack: String,
        lost: u32,
    ) -> HeldLease {
        HeldLease {
            id: self.leases.held.next_id(),
            key: origin.key,
            job,
            attempt: bundle
                .attempts_before
                .saturating_add(lost)
                .saturating_add(1),
            losses: bundle.lost_before.saturating_add(lost),
            is_again: false,
            bundle: Arc::new(bundle),
            source: origin.source,
            ack,
            delivery: origin.name,
            until: self.leases.until(origin.leased),
        }
    }

    /// Decide about a bundle that a worker had before.
    async fn judge(&self, mut held: HeldLease) -> Result<Option<HeldLease>, Error> {
        let log = self.ended.of(&held.key).await?;
        let ended = |task: &Task| log.seen().contains(task.index);
        if log.is_over() || held.bundle.tasks.iter().all(ended) {
            self.leases.acknowledge(&held.ack).await?;
            return Ok(None);
        }
        if held.bundle.tasks.iter().any(ended) {
            Arc::make_mut(&mut held.bundle)
                .tasks
                .retain(|task| !ended(task));
        }
        drop(log);
        match delivery::decide(held.bundle.tasks.len(), held.losses, self.losses_max) {
            Delivery::Run => Ok(Some(held)),
            Delivery::Split => self.leases.split(&held).await.map(|()| None),
            Delivery::GiveUp => self.give_up(&held).await.map(|()| None),
        }
    }

    /// End tasks that were delivered the maximum number of times without a report: most likely they
    /// kill their workers.
    async fn give_up(&self, held: &HeldLease) -> Result<(), Error> {
        let message = format!(
            "no worker finished this task: {} leases were lost in a row",
            held.losses
        );
        let outcome = |task: &Task| Outcome {
            index: task.index,
            attempts: held.attempt.saturating_sub(1),
            ending: Ending::Failed(Failure::Platform {
                fault: PlatformFault::WorkerLost,
                message: message.clone(),
            }),
            bill: Bill::default(),
            log: None,
            input: task.input.clone(),
        };
        let outcomes: Vec<Outcome> = held.bundle.tasks.iter().map(outcome).collect();
        self.dead_letters
            .bury(&held.key.tenant, letters(held, &outcomes))
            .await?;
        self.outcomes.store(&held.key, outcomes).await?;
        self.leases.acknowledge(&held.ack).await
    }
}

/// The bundle in a message, which has to be of the job that the subject names: that is what the
/// server checked permissions for.
fn read(key: &JobKey, payload: &[u8]) -> Result<Bundle, String> {
    match envelope::decode(payload) {
        Ok(envelope::Message::Bundle(bundle)) if bundle.tasks.is_empty() => {
            Err("a bundle without tasks".into())
        }
        Ok(envelope::Message::Bundle(bundle)) if bundle.job == *key => Ok(bundle),
        Ok(envelope::Message::Bundle(bundle)) => Err(format!(
            "a bundle of `{}` under another job's subject",
            bundle.job
        )),
        Ok(_) => Err("a message of another kind than a bundle".into()),
        Err(error) => Err(error.to_string()),
    }
}
