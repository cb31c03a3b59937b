//! From a delivered message to a lease: what has to be true before a worker sees a bundle.
//!
//! Most bundles pass at once. One that some worker had before is freed of the tasks that ended; one
//! of a job that is over, or that is no bundle, is taken out of the queue; one that is to wait is
//! handed back with its delay; and one whose leases were lost too often is taken apart or given up,
//! by the rule of [`sortie_protocol::delivery`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::Message;
use async_nats::jetstream::{AckKind, Message as Delivered};
use bytes::Bytes;
use sortie_protocol::delivery::{self, Delivery};
use sortie_protocol::envelope;
use sortie_protocol::outcome::PlatformFault;
use sortie_protocol::seen::Seen;
use sortie_protocol::{Bill, Bundle, Ending, Failure, Job, JobId, Outcome, Task, TaskIndex};
use tokio::sync::Mutex;

use super::Core;
use super::batch_read::number;
use super::leases::{AGAIN, DELAY, Held, letters};
use super::outcome_log::Ledger;
use super::task_ranges;
use super::names::{JobKey, Source};
use crate::broker::Error;

/// Jobs whose ended tasks are remembered here, for bundles that come again.
const LEDGERS_MAX: usize = 64;

/// The longest delay that is granted, in milliseconds: a day. A header may say anything.
const DELAY_MAX: u64 = 24 * 3600 * 1000;

/// How often a bundle is looked at whose job has no record, before it is dropped.
const STRAY_DELIVERIES: u32 = 4;
/// The time between two looks.
const STRAY_PAUSE: Duration = Duration::from_secs(1);

/// Which tasks of jobs ended, as far as it was looked up.
#[derive(Debug, Default)]
pub(super) struct Ledgers(parking_lot::Mutex<HashMap<JobId, Arc<Mutex<Ledger>>>>);

impl Ledgers {
    fn of(&self, job: JobId) -> Arc<Mutex<Ledger>> {
        let mut ledgers = self.0.lock();
        if ledgers.len() >= LEDGERS_MAX && !ledgers.contains_key(&job) {
            // Whoever reads one holds it; the others are read again when they are needed.
            ledgers.retain(|_, ledger| Arc::strong_count(ledger) > 1);
        }
        ledgers.entry(job).or_default().clone()
    }

    pub(super) fn forget(&self, job: JobId) {
        self.0.lock().remove(&job);
    }
}

/// Where a message is from, by what the server says of it.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) source: Source,
    pub(super) key: JobKey,
    /// How many more wait there.
    pub(super) pending: u64,
    delivered: u32,
    /// Names the message among all.
    message: String,
    /// Names this delivery among all.
    name: String,
    /// Since when the lease may run.
    leased: Instant,
}

impl Core {
    /// Where a message is from, whose lease may run since `leased`; none if it is not a delivery.
    pub(super) fn origin(&self, message: &Message, leased: Instant) -> Option<Origin> {
        let (source, key) = self.names.parse_task(&message.subject)?;
        // Only the reply subject is looked at.
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
            context: self.link.context.clone(),
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

    /// Make a lease of a delivered message, or deal with it otherwise. On an error nothing is
    /// acknowledged, and it is delivered again.
    pub(super) async fn take_in(&self, message: Message, origin: Origin) -> Option<Held> {
        match self.try_take_in(&message, origin).await {
            Ok(Some(held)) if !held.holds() => {
                tracing::debug!(subject = %message.subject, "a lease was over before it was seen");
                None
            }
            Ok(held) => held,
            Err(error) => {
                tracing::warn!(%error, subject = %message.subject, "failed to take a bundle; it will be delivered again");
                None
            }
        }
    }

    async fn try_take_in(&self, message: &Message, origin: Origin) -> Result<Option<Held>, Error> {
        let Some(ack) = message.reply.as_ref().map(ToString::to_string) else {
            return Ok(None);
        };
        let headers = message.headers.as_ref();
        let delay = headers
            .and_then(|headers| number(headers, DELAY))
            .filter(|delay| *delay > 0)
            .map(|delay| delay.min(DELAY_MAX));
        // The first delivery is spent on the delay, so that nobody has to compare clocks.
        if let (Some(delay), 1) = (delay, origin.delivered) {
            let later = AckKind::Nak(Some(Duration::from_millis(delay)));
            self.link.tell(ack, HeaderMap::new(), later.into()).await?;
            return Ok(None);
        }
        let bundle = match read(&origin.key, &message.payload) {
            Ok(bundle) => bundle,
            Err(reason) => {
                tracing::warn!(subject = %message.subject, reason, "a message that is no bundle; it goes to the dead letters");
                self.end_unread(&origin, task_ranges::read(headers), &reason)
                    .await?;
                self.bury_unreadable(
                    &origin.key.tenant,
                    &message.subject,
                    &message.payload,
                    reason,
                    &origin.message,
                )
                .await?;
                self.acknowledge(&ack).await?;
                return Ok(None);
            }
        };
        let Some(known) = self.known(&origin.key).await? else {
            return self.without_job(&origin, ack).await.map(|()| None);
        };
        if known.cancelled {
            self.acknowledge(&ack).await?;
            return self.clear(&origin).await.map(|()| None);
        }
        let lost = origin
            .delivered
            .saturating_sub(if delay.is_some() { 2 } else { 1 });
        let again = lost > 0 || headers.is_some_and(|headers| headers.get(AGAIN).is_some());
        let held = Held {
            is_again: again,
            ..self.held(origin, known.job, bundle, ack, lost)
        };
        if again {
            self.judge(held).await
        } else {
            Ok(Some(held))
        }
    }

    /// Nobody will run these tasks, because their bundle cannot be read. Those who wait for them
    /// hear it, if their job is there. Should this come twice, the first outcome counts.
    async fn end_unread(
        &self,
        origin: &Origin,
        tasks: Vec<TaskIndex>,
        reason: &str,
    ) -> Result<(), Error> {
        if tasks.is_empty()
            || self
                .known(&origin.key)
                .await?
                .is_none_or(|known| known.cancelled)
        {
            return Ok(());
        }
        let message = format!(
            "a worker cannot read the bundle that this task is in: {reason}; `sortie dlq list` shows it"
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
        };
        self.store_outcomes(&origin.key, tasks.into_iter().map(outcome).collect())
            .await
    }

    /// There is no record of the bundle's job. A leader that was elected a moment ago may not know
    /// of it yet, so this is believed only after a while: then the job was forgotten, and
    /// nobody waits for it.
    async fn without_job(&self, origin: &Origin, ack: String) -> Result<(), Error> {
        if origin.delivered < STRAY_DELIVERIES {
            return self
                .link
                .tell(
                    ack,
                    HeaderMap::new(),
                    AckKind::Nak(Some(STRAY_PAUSE)).into(),
                )
                .await;
        }
        self.acknowledge(&ack).await?;
        self.clear(origin).await
    }

    fn held(&self, origin: Origin, job: Arc<Job>, bundle: Bundle, ack: String, lost: u32) -> Held {
        Held {
            id: self.leases.next_id(),
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
            until: self.lease_until(origin.leased),
        }
    }

    /// The tasks of a job that ended by now.
    pub(super) async fn ended(&self, key: &JobKey) -> Result<Seen, Error> {
        let ledger = self.ledgers.of(key.job);
        let mut ledger = ledger.lock().await;
        self.catch_up(key, &mut ledger).await?;
        Ok(ledger.seen().clone())
    }

    /// A bundle that some worker had before.
    async fn judge(&self, mut held: Held) -> Result<Option<Held>, Error> {
        let ledger = self.ledgers.of(held.key.job);
        let mut ledger = ledger.lock().await;
        self.catch_up(&held.key, &mut ledger).await?;
        let ended = |task: &Task| ledger.seen().contains(task.index);
        if ledger.is_over() || held.bundle.tasks.iter().all(ended) {
            self.acknowledge(&held.ack).await?;
            return Ok(None);
        }
        if held.bundle.tasks.iter().any(ended) {
            Arc::make_mut(&mut held.bundle)
                .tasks
                .retain(|task| !ended(task));
        }
        drop(ledger);
        match delivery::decide(held.bundle.tasks.len(), held.losses, self.losses_max) {
            Delivery::Run => Ok(Some(held)),
            Delivery::Split => self.split(&held).await.map(|()| None),
            Delivery::GiveUp => self.give_up(&held).await.map(|()| None),
        }
    }

    /// The tasks were delivered as often as allowed and nobody ever reported: most likely they kill
    /// their workers.
    async fn give_up(&self, held: &Held) -> Result<(), Error> {
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
        };
        let outcomes: Vec<Outcome> = held.bundle.tasks.iter().map(outcome).collect();
        self.bury(&held.key, letters(held, &outcomes)).await?;
        self.store_outcomes(&held.key, outcomes).await?;
        self.acknowledge(&held.ack).await
    }

    /// The job is over: nothing of it need come any more.
    async fn clear(&self, origin: &Origin) -> Result<(), Error> {
        let (stream, subject) = (
            self.names.tasks_stream(origin.source.shard),
            self.names.tasks_of(origin.source.shard, &origin.key),
        );
        match self.link.purge(&stream, &subject).await {
            // Without this permission they are taken out one by one.
            Ok(()) | Err(Error::Denied { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The bundle in a message, which has to be of the job that the subject names: that is what the
/// server checked permissions for.
fn read(key: &JobKey, payload: &[u8]) -> Result<Bundle, String> {
    match envelope::decode(payload) {
        Ok(envelope::Message::Bundle(bundle)) if bundle.tasks.is_empty() => {
            Err("a bundle without tasks".into())
        }
        Ok(envelope::Message::Bundle(bundle)) if bundle.job == key.job => Ok(bundle),
        Ok(envelope::Message::Bundle(bundle)) => Err(format!(
            "a bundle of `{}` under another job's subject",
            bundle.job
        )),
        Ok(_) => Err("a message of another kind than a bundle".into()),
        Err(error) => Err(error.to_string()),
    }
}
