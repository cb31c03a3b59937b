//! Admits delivered messages: checks a bundle before a worker gets a lease of it.
//!
//! Most bundles pass at once. Of a bundle that some worker had before, the tasks that ended are
//! taken out, and which of the others are run now, wait or are given up is decided by
//! [`Attempts`](super::attempts::Attempts). A message of a job that is over is taken out of the
//! queue. One that is no bundle, or whose job's record cannot be read, goes to the dead letters,
//! and the tasks that its header names end.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::Message;
use async_nats::jetstream::message::Info;
use async_nats::jetstream::{AckKind, Message as Delivered};
use bytes::Bytes;
use sortie_protocol::envelope;
use sortie_protocol::outcome::PlatformFault;
use sortie_protocol::{Bill, Bundle, Ending, Failure, Job, JobKey, Outcome, TaskIndex, Timestamp};
use tokio::time::timeout;

use super::attempts::{Attempted, Attempts, Next, Note};
use super::bundles::Bundles;
use super::cancelled_tasks::CancelledTasks;
use super::clock;
use super::dead_letters::DeadLetters;
use super::ended_tasks::EndedTasks;
use super::held_lease::HeldLease;
use super::jetstream::JetStream;
use super::jobs::{Found, Jobs};
use super::leases::Leases;
use super::names::{Names, Source};
use super::notes::BundleId;
use super::outcomes::Outcomes;
use super::server_clock::ServerClock;
use super::task_ranges;
use super::warnings::Warnings;
use crate::traits::Error;

/// How often a bundle is looked at whose job has no record, before it is dropped.
const STRAY_DELIVERIES: u64 = 4;
/// The time between two looks.
const STRAY_PAUSE: Duration = Duration::from_secs(1);

/// How long a bundle is handed back for that could not be looked into, and how long noting that may
/// take.
const NOT_TAKEN_PAUSE: Duration = Duration::from_secs(1);

/// Where a message is from, by what the server says of it.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) source: Source,
    pub(super) key: JobKey,
    /// How many more messages wait at the source.
    pub(super) pending: u64,
    delivered: u64,
    /// Which message it is.
    message: BundleId,
    /// When the server stored it, in nanoseconds of its time of day.
    stored: i128,
    /// Since when the lease may run.
    leased: Instant,
}

impl Origin {
    /// Whether it was delivered before.
    pub(super) fn is_again(&self) -> bool {
        self.delivered > 1
    }

    /// Its place in its stream.
    pub(super) fn sequence(&self) -> u64 {
        self.message.sequence
    }

    /// The name of the letter for a message that cannot be read: burying it twice counts once.
    fn letter(&self) -> String {
        let BundleId {
            shard, sequence, ..
        } = self.message;
        format!("{shard}-{sequence}")
    }
}

/// A message among the bundles whose subject names no job.
#[derive(Debug, Clone)]
pub(super) struct Stray {
    pub(super) source: Source,
    /// How many more messages wait at the source.
    pub(super) pending: u64,
    pub(super) sequence: u64,
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
    pub(super) cancelled_tasks: Arc<CancelledTasks>,
    pub(super) dead_letters: DeadLetters,
    pub(super) leases: Arc<Leases>,
    pub(super) warnings: Warnings,
    pub(super) server_clock: ServerClock,
    /// Leases in a row that may be lost before a task is given up.
    pub(super) losses_max: u32,
}

impl Admission {
    /// The metadata of a delivery whose lease may run since `leased`; `None` if the message is not
    /// a delivery.
    pub(super) fn origin(&self, message: &Message, leased: Instant) -> Option<Origin> {
        let (source, key) = self.names.parse_task(&message.subject)?;
        self.told(message, |info| Origin {
            pending: info.pending,
            delivered: u64::try_from(info.delivered).unwrap_or(1).max(1),
            message: BundleId {
                key,
                shard: source.shard,
                sequence: info.stream_sequence,
            },
            source,
            key,
            stored: info.published.unix_timestamp_nanos(),
            leased,
        })
    }

    /// The metadata of a delivery whose subject says which queue it is from and names no job.
    pub(super) fn stray(&self, message: &Message) -> Option<Stray> {
        let source = self.names.parse_source(&message.subject)?;
        self.told(message, |info| Stray {
            source,
            pending: info.pending,
            sequence: info.stream_sequence,
        })
    }

    /// What the server says of a delivery.
    fn told<T>(&self, message: &Message, then: impl FnOnce(Info<'_>) -> T) -> Option<T> {
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
        wrapped.info().ok().map(then)
    }

    /// A message that is of no job ends here. If that fails, it is delivered again.
    pub(super) async fn discard(&self, message: Message, stray: Stray) {
        const REASON: &str = "its subject names no job";
        let Some(ack) = message.reply.as_ref().map(ToString::to_string) else {
            return;
        };
        let warned = "messages that are no bundles go to the dead letters";
        self.warnings.warn(warned, REASON);
        let Source { tenant, shard, .. } = &stray.source;
        let letter = format!("{shard}-{}", stray.sequence);
        let (subject, payload) = (&message.subject, &message.payload);
        let buried = self
            .dead_letters
            .bury_unreadable(tenant, subject, payload, REASON.into(), &letter)
            .await;
        let ended = match buried {
            Ok(()) => self.leases.acknowledge(&ack).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, %subject, "failed to discard a message of no job");
        }
    }

    /// Make a lease of a delivered message, or deal with it otherwise. On an error it is handed
    /// back for a while, if the broker lets that be noted, and delivered again.
    pub(super) async fn admit(&self, message: Message, origin: Origin) -> Option<HeldLease> {
        let (id, delivery) = (origin.message, origin.delivered);
        match self.try_admit(&message, origin).await {
            Ok(Some(held)) if !held.holds() => {
                tracing::debug!(subject = %message.subject, "a lease expired on its way here");
                None
            }
            Ok(held) => held,
            Err(error) => {
                self.warnings
                    .warn("bundles cannot be taken", &error.to_string());
                tracing::debug!(%error, subject = %message.subject, "failed to take a bundle");
                self.not_taken(&message, &id, delivery).await;
                None
            }
        }
    }

    /// A delivery that could not be looked into is no lost lease. Where that cannot be noted, it
    /// counts as one.
    async fn not_taken(&self, message: &Message, id: &BundleId, delivery: u64) {
        let Some(ack) = message.reply.as_ref().map(ToString::to_string) else {
            return;
        };
        let noting = async {
            let attempts = match self.leases.notes.of(id).await? {
                Some(note) => note.attempts,
                None if delivery > 1 => return Ok(()),
                None => match read(&id.key, &message.payload) {
                    Ok(bundle) => Attempts::of(&bundle),
                    Err(_) => return Ok(()),
                },
            };
            let note = Note { delivery, attempts };
            self.leases.notes.put(id, &note).await?;
            self.tell(ack, AckKind::Nak(Some(NOT_TAKEN_PAUSE))).await
        };
        let noted: Result<Result<(), Error>, _> = timeout(NOT_TAKEN_PAUSE, noting).await;
        if let Ok(Err(error)) = noted {
            tracing::debug!(%error, "failed to hand a bundle back; its lease will run out");
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
        let mut bundle = match read(&origin.key, &message.payload) {
            Ok(bundle) => bundle,
            Err(reason) => {
                self.bury(message, &origin, ack, reason).await?;
                return Ok(None);
            }
        };
        let last = bundle.last_function();
        let known = match self.jobs.find_with(&origin.key, last).await? {
            Found::Known(known) => known,
            Found::Unreadable(reason) => {
                let reason = format!("the record of its job cannot be read: {reason}");
                self.bury(message, &origin, ack, reason).await?;
                return Ok(None);
            }
            Found::Nothing => return self.without_job(&origin, ack).await.map(|()| None),
        };
        if known.is_cancelled() {
            self.leases.acknowledge(&ack).await?;
            return self.clear(&origin).await.map(|()| None);
        }
        if origin.delivered == 1 {
            self.cancelled_tasks.take_out(&mut bundle);
            if bundle.tasks.is_empty() {
                return self.leases.acknowledge(&ack).await.map(|()| None);
            }
            bundle.published = self.published(&origin, bundle.published);
            let attempt = bundle.attempts_before.saturating_add(1);
            let losses = bundle.lost_before;
            let held = self.held(origin, known.job, bundle, ack);
            Ok(Some(HeldLease {
                attempt,
                losses,
                ..held
            }))
        } else {
            self.judge(origin, known.job, bundle, ack).await
        }
    }

    /// When a bundle was stored, by the clock of this machine. The submitter's word counts only
    /// where the server's clock is not known, and never as later than now.
    fn published(&self, origin: &Origin, told: Timestamp) -> Timestamp {
        let now = clock::now();
        match self.server_clock.since(origin.stored) {
            Some(since) => {
                let since = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
                Timestamp::from_nanos(now.as_nanos().saturating_sub(since))
            }
            None => told.min(now),
        }
    }

    /// A message that no worker can make a bundle of ends here, with the tasks that its header
    /// names.
    async fn bury(
        &self,
        message: &Message,
        origin: &Origin,
        ack: String,
        reason: String,
    ) -> Result<(), Error> {
        self.warnings.warn(
            "messages that are no bundles go to the dead letters",
            &reason,
        );
        tracing::debug!(subject = %message.subject, reason, "a message that is no bundle");
        self.end_unread(origin, task_ranges::read(message.headers.as_ref()), &reason)
            .await?;
        self.dead_letters
            .bury_unreadable(
                &origin.key.tenant,
                &message.subject,
                &message.payload,
                reason,
                &origin.letter(),
            )
            .await?;
        self.leases.acknowledge(&ack).await
    }

    /// End tasks whose bundle cannot be read, because no worker will run them. Only if their job is
    /// there. If this is done twice, the first outcome counts.
    async fn end_unread(
        &self,
        origin: &Origin,
        tasks: Vec<TaskIndex>,
        reason: &str,
    ) -> Result<(), Error> {
        let counts = match self.jobs.find(&origin.key).await? {
            Found::Known(known) => !known.is_cancelled(),
            Found::Unreadable(_) => true,
            Found::Nothing => false,
        };
        if tasks.is_empty() || !counts {
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
            function: None,
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
        bundles.remove_from(origin.source.shard, &origin.key).await
    }

    async fn tell(&self, ack: String, kind: AckKind) -> Result<(), Error> {
        let connection = &self.jetstream.connection;
        connection.tell(ack, HeaderMap::new(), kind.into()).await
    }

    fn held(&self, origin: Origin, job: Arc<Job>, bundle: Bundle, ack: String) -> HeldLease {
        HeldLease {
            id: self.leases.held.next_id(),
            key: origin.key,
            job,
            attempt: 1,
            losses: 0,
            is_again: origin.delivered > 1,
            bundle: Arc::new(bundle),
            message: origin.message,
            ack,
            delivery: origin.delivered,
            rest: Attempts::default(),
            since: origin.leased,
            until: self.leases.until(origin.leased),
        }
    }

    /// A bundle that some worker had before, or that was lost on its way to one.
    async fn judge(
        &self,
        origin: Origin,
        job: Arc<Job>,
        bundle: Bundle,
        ack: String,
    ) -> Result<Option<HeldLease>, Error> {
        let mut attempts = self.attempts(&origin, &bundle).await?;
        let log = self.ended.of(&origin.key).await?;
        if log.is_over() {
            return self.leases.acknowledge(&ack).await.map(|()| None);
        }
        attempts.remove(|index| log.seen().contains(index));
        drop(log);
        let mut held = self.held(origin, job, bundle, ack);
        loop {
            match attempts.next(self.losses_max) {
                Next::Nothing => {
                    return self.leases.acknowledge(&held.ack).await.map(|()| None);
                }
                Next::Wait(_) => {
                    return self
                        .leases
                        .hand_back(&held.message, held.delivery, &held.ack, attempts)
                        .await
                        .map(|()| None);
                }
                Next::GiveUp(tasks) => {
                    let given_up = indices(&tasks);
                    attempts.remove(|index| given_up.contains(&index));
                    self.give_up(&held, &tasks).await?;
                }
                Next::Run(tasks) => {
                    let run = indices(&tasks);
                    attempts.remove(|index| run.contains(&index));
                    held.rest = attempts;
                    return Ok(Some(lease_of(held, &tasks)));
                }
            }
        }
    }

    /// The attempts at a bundle's tasks so far: what was noted, and what was lost since.
    async fn attempts(&self, origin: &Origin, bundle: &Bundle) -> Result<Attempts, Error> {
        let note = self.leases.notes.of(&origin.message).await?;
        let mut note = note.unwrap_or_else(|| Note {
            delivery: 0,
            attempts: Attempts::of(bundle),
        });
        let there: HashSet<TaskIndex> = bundle.tasks.iter().map(|task| task.index).collect();
        note.attempts.remove(|index| !there.contains(&index));
        let lost = origin.delivered.saturating_sub(note.delivery + 1);
        // More losses than this give everything up.
        let losses_max = u64::from(self.losses_max).saturating_mul(bundle.tasks.len() as u64);
        for _ in 0..lost.min(losses_max) {
            note.attempts.lose(self.losses_max);
        }
        Ok(note.attempts)
    }

    /// The tasks were delivered as often as allowed and no worker reported: most likely they kill
    /// their workers.
    async fn give_up(&self, held: &HeldLease, tasks: &[Attempted]) -> Result<(), Error> {
        let outcome = |attempted: &Attempted| {
            let mut tasks = held.bundle.tasks.iter();
            let task = tasks.find(|task| task.index == attempted.index);
            Outcome {
                index: attempted.index,
                attempts: attempted.attempts,
                ending: Ending::Failed(Failure::Platform {
                    fault: PlatformFault::WorkerLost,
                    message: format!(
                        "no worker finished this task: {} leases were lost in a row",
                        attempted.losses
                    ),
                }),
                bill: Bill::default(),
                log: None,
                input: task.and_then(|task| task.input.clone()),
                function: task.map(|task| task.function),
            }
        };
        let outcomes: Vec<Outcome> = tasks.iter().map(outcome).collect();
        self.dead_letters
            .bury(&held.job, &held.bundle, outcomes.iter())
            .await?;
        self.outcomes.store(&held.key, outcomes).await
    }
}

/// The lease of some of a bundle's tasks. They were published when the bundle was, but waited from
/// now on at the earliest: what they waited before is in the bills of the attempts before.
fn lease_of(mut held: HeldLease, tasks: &[Attempted]) -> HeldLease {
    let bundle = Arc::make_mut(&mut held.bundle);
    let run = indices(tasks);
    bundle.tasks.retain(|task| run.contains(&task.index));
    bundle.published = clock::now();
    if let Some(first) = tasks.first() {
        held.attempt = first.attempts.saturating_add(1);
        held.losses = first.losses;
    }
    held
}

fn indices(tasks: &[Attempted]) -> HashSet<TaskIndex> {
    tasks.iter().map(|task| task.index).collect()
}

/// The bundle in a message, which has to be of the job that the subject names: that is what the
/// server checked permissions for.
pub(super) fn read(key: &JobKey, payload: &[u8]) -> Result<Bundle, String> {
    match envelope::decode(payload) {
        Ok(envelope::Message::Bundle(bundle)) if bundle.job == *key => Ok(bundle),
        Ok(envelope::Message::Bundle(bundle)) => Err(format!(
            "a bundle of `{}` under another job's subject",
            bundle.job
        )),
        Ok(_) => Err("a message of another kind than a bundle".into()),
        Err(error) => Err(error.to_string()),
    }
}
