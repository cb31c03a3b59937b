//! What an installation consists of at the server, made once and idempotently.
//!
//! The record `meta.layout` is written last, so whoever finds it finds the streams. Making what is
//! there already changes nothing; who asks for another layout than there is, is told. Clients of a
//! tenant need three streams of their own, workers need the consumers of the pools they serve; both
//! are made on first use by whoever has the permission.
//!
//! Why the settings are as they are:
//! - Bundles wait in work-queue streams that refuse what does not fit, instead of dropping the
//!   oldest.
//! - A consumer's bounds hold for the whole fleet: [`ACKS_PENDING_MAX`] leases and
//!   [`PULLS_WAITING_MAX`] idle workers for each shard and pool.
//! - Nothing is delivered for ever: the broker's client counts deliveries and gives up; the server
//!   has no limit of its own, because what it gives up on stays in the stream without anybody
//!   hearing of it.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind};
use async_nats::jetstream::stream::{self, DiscardPolicy, Republish, RetentionPolicy, StorageType};
use async_nats::{HeaderMap, Request, RequestErrorKind};
use bytes::Bytes;
use serde::Deserialize;
use sortie_protocol::Labels;

use super::config::{Layout, Name, Provision};
use super::connection::{Link, code};
use super::names::{Names, PRIORITIES, Source};
use crate::broker::{Error, PRESENCE};

/// The version of the layout. Another one is refused.
const LAYOUT_VERSION: u64 = 1;
/// How long a job's record is kept after its last change.
const JOB_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long an outcome is kept for whoever comes to fetch it.
pub const OUTCOME_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a dead letter is kept.
const DEAD_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Dead letters that are kept of a tenant; the oldest go first.
const DEAD_MESSAGES_MAX: i64 = 10_000;
/// Within this time a bundle that is published twice is stored once: what a client asks again after
/// a lost answer. Longer costs memory, about 170 bytes for each bundle; beyond it a bundle runs
/// twice, and only its first outcomes count.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(30);
/// Leases of one pool, priority and shard. A server's own default is 1000 for the whole fleet.
const ACKS_PENDING_MAX: i64 = 100_000;
/// Pulls that may wait at one consumer, one for each idle worker.
const PULLS_WAITING_MAX: i64 = 8192;
/// Expected sequence of a subject that has no message.
pub(super) const EXPECT_NONE: &str = "0";
/// The header for what a subject's last sequence must be.
pub(super) const EXPECTED_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";

/// The layout that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Laid {
    pub(super) shards: u16,
    pub(super) replicas: usize,
    pub(super) lease: Duration,
}

/// `meta.layout`, as JSON: operators read it with any NATS tool.
#[derive(Debug, Deserialize)]
struct Record {
    version: u64,
    shards: u16,
    replicas: usize,
    lease_ms: u64,
}

/// Makes and finds what an installation consists of.
#[derive(Debug, Clone)]
pub(super) struct Provisioner<'l> {
    pub(super) link: &'l Link,
    pub(super) names: &'l Names,
}

impl Provisioner<'_> {
    /// The layout there is, or the one that is made now.
    pub(super) async fn ensure(&self, provision: &Provision) -> Result<Laid, Error> {
        let unanswered = match self
            .link
            .last_anywhere(&self.names.meta_stream(), &self.names.layout())
            .await
        {
            Ok(Some(payload)) => return self.parse(&payload),
            Ok(None) => None,
            // There is no such stream, or no JetStream, or no answer at the moment; making it will
            // tell.
            Err(error @ Error::Unreachable { .. }) => Some(error),
            Err(error) => return Err(error),
        };
        match provision {
            Provision::Missing(layout) => match (self.make(layout).await, unanswered) {
                // What cannot be made because it is there had no leader a moment ago: that is no
                // reason to refuse it for good.
                (Err(refusal @ Error::Unsuitable { .. }), Some(unanswered)) => {
                    let reason = self.missing(Some(unanswered)).await;
                    Err(if reason.passes() { reason } else { refusal })
                }
                (made, _) => made,
            },
            Provision::Never => Err(self.missing(unanswered).await),
        }
    }

    /// Why there is no layout: a server that does not answer must not be taken for one that is
    /// empty.
    async fn missing(&self, unanswered: Option<Error>) -> Error {
        #[derive(Deserialize)]
        struct Info {}
        let empty = || {
            self.link.unsuitable("it is not laid out for Sortie yet; an operator does that with `sortie broker init`")
        };
        let subject = format!("$JS.API.STREAM.INFO.{}", self.names.meta_stream());
        let request = Request::new().timeout(Some(self.link.answer_time_max()));
        match self
            .link
            .guarded(
                &subject,
                self.link.client.send_request(subject.clone(), request),
            )
            .await
        {
            Ok(Ok(answer)) => match self.link.parse::<Info>(&answer) {
                Ok(Ok(Info {})) => unanswered.unwrap_or_else(empty),
                Ok(Err(refusal)) if refusal.code == code::STREAM_NOT_FOUND => empty(),
                Ok(Err(refusal)) => self.link.refused(&refusal),
                Err(error) => error,
            },
            // A server with JetStream listens there, whether it has a leader or not.
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                self.link.no_jetstream()
            }
            Ok(Err(error)) => self.link.unanswered(&subject, &error),
            Err(Error::Denied { .. }) => unanswered.unwrap_or_else(empty),
            Err(error) => error,
        }
    }

    fn parse(&self, payload: &[u8]) -> Result<Laid, Error> {
        let strange = |reason: String| {
            self.link
                .unsuitable(format!("its record `{}` {reason}", self.names.layout()))
        };
        let record: Record = serde_json::from_slice(payload)
            .map_err(|error| strange(format!("cannot be read: {error}")))?;
        if record.version != LAYOUT_VERSION {
            return Err(strange(format!(
                "is of version {}; this program knows version {LAYOUT_VERSION}",
                record.version
            )));
        }
        Ok(Laid {
            shards: record.shards.max(1),
            replicas: record.replicas,
            lease: Duration::from_millis(record.lease_ms),
        })
    }

    /// Make all streams, then say so.
    pub(super) async fn make(&self, layout: &Layout) -> Result<Laid, Error> {
        let laid = Laid {
            shards: layout.shards.get(),
            replicas: layout.replicas.get(),
            lease: layout.lease,
        };
        self.stream(self.meta(&laid)).await?;
        self.stream(self.components(&laid)).await?;
        self.stream(self.workers()).await?;
        for shard in 0..laid.shards {
            self.stream(self.tasks(shard, &laid, layout)).await?;
        }
        self.consumers("any", &Labels::default(), &laid).await?;
        let lease_ms = u64::try_from(laid.lease.as_millis()).unwrap_or(u64::MAX);
        let record = serde_json::json!({ "version": LAYOUT_VERSION, "shards": laid.shards, "replicas": laid.replicas, "lease_ms": lease_ms });
        self.put_once(&self.names.layout(), record.to_string().into())
            .await?;
        // Somebody else may have been faster, with another one.
        let kept = self
            .link
            .last(&self.names.meta_stream(), &self.names.layout())
            .await?;
        kept.map_or(Ok(laid), |kept| self.parse(&kept.payload))
    }

    /// The streams of one tenant.
    pub(super) async fn ensure_tenant(
        &self,
        tenant: &Name,
        laid: &Laid,
        provision: &Provision,
    ) -> Result<(), Error> {
        for config in [
            self.jobs(tenant, laid),
            self.outcomes(tenant, laid),
            self.dead(tenant, laid),
        ] {
            if self.is_there(tenant, &config.name).await? {
                continue;
            }
            match provision {
                Provision::Missing(_) => self.stream(config).await?,
                Provision::Never => {
                    let reason = format!(
                        "it has no tenant `{tenant}`; an operator adds one with `sortie broker init --tenant {tenant}`"
                    );
                    return Err(self.link.unsuitable(reason));
                }
            }
        }
        Ok(())
    }

    /// The pool of workers with these labels.
    pub(super) async fn ensure_pool(&self, labels: &Labels, laid: &Laid) -> Result<(), Error> {
        let pool = labels.pool();
        if labels.is_empty()
            || self
                .link
                .last_anywhere(&self.names.meta_stream(), &self.names.pool(&pool))
                .await?
                .is_some()
        {
            return Ok(());
        }
        self.consumers(&pool, labels, laid).await?;
        self.put_once(&self.names.pool(&pool), labels.to_string().into())
            .await
    }

    /// The labels of every pool there is, beside the one for all.
    pub(super) async fn pools(&self) -> Result<Vec<Labels>, Error> {
        let read = self
            .link
            .read_all(&self.names.meta_stream(), &self.names.all_pools())
            .await?;
        let labels = read
            .iter()
            .filter_map(|read| std::str::from_utf8(&read.payload).ok()?.parse().ok());
        Ok(labels
            .filter(|labels: &Labels| !labels.is_empty())
            .collect())
    }

    async fn put_once(&self, subject: &str, payload: Bytes) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.insert(EXPECTED_SEQUENCE, EXPECT_NONE);
        match self.link.store(subject, &headers, &payload).await? {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.is_conflict() => Ok(()),
            Err(refusal) => Err(self.link.refused(&refusal)),
        }
    }

    /// Whether a tenant's stream is there.
    async fn is_there(&self, tenant: &Name, stream: &str) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Info {}
        let subject = format!("$JS.API.STREAM.INFO.{stream}");
        let ask = || async {
            let request = Request::new().timeout(Some(self.link.answer_time_max()));
            match self
                .link
                .guarded(
                    &subject,
                    self.link.client.send_request(subject.clone(), request),
                )
                .await?
            {
                Ok(answer) => self.link.parse::<Info>(&answer),
                // The layout could be read, so JetStream is there; this question has no way to it
                // out of this account.
                Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                    let reason = format!(
                        "this user cannot ask for the streams of the tenant `{tenant}`; name its own tenant"
                    );
                    Err(self.link.unsuitable(reason))
                }
                Err(error) => Err(self.link.unanswered(&subject, &error)),
            }
        };
        match self.link.patiently(ask).await? {
            Ok(Info {}) => Ok(true),
            Err(refusal) if refusal.code == code::STREAM_NOT_FOUND => Ok(false),
            Err(refusal) => Err(self.link.refused(&refusal)),
        }
    }

    async fn stream(&self, config: stream::Config) -> Result<(), Error> {
        let name = config.name.clone();
        let made = self
            .link
            .guarded(
                &format!("$JS.API.STREAM.CREATE.{name}"),
                self.link.context.create_stream(config),
            )
            .await?;
        made.map(drop).map_err(|error| self.not_made(&name, &error))
    }

    fn not_made(&self, name: &str, error: &CreateStreamError) -> Error {
        match error.kind() {
            CreateStreamErrorKind::JetStream(refusal) => self
                .link
                .unsuitable(format!("the stream `{name}` cannot be made: {refusal}")),
            CreateStreamErrorKind::JetStreamUnavailable => self.link.no_jetstream(),
            _ => self
                .link
                .unreachable(format!("the stream `{name}` could not be made: {error}")),
        }
    }

    async fn consumers(&self, pool: &str, labels: &Labels, laid: &Laid) -> Result<(), Error> {
        for shard in 0..laid.shards {
            for priority in PRIORITIES {
                let source = Source {
                    shard,
                    pool: pool.to_owned(),
                    priority,
                };
                self.consumer(&source, labels, laid).await?;
            }
        }
        Ok(())
    }

    async fn consumer(&self, source: &Source, labels: &Labels, laid: &Laid) -> Result<(), Error> {
        let (name, stream) = (
            self.names.consumer(source),
            self.names.tasks_stream(source.shard),
        );
        let filter = self.names.source_subjects(source);
        let config = pull::Config {
            durable_name: Some(name.clone()),
            name: Some(name.clone()),
            description: Some(if labels.is_empty() {
                "any worker".into()
            } else {
                format!("workers with {labels}")
            }),
            ack_policy: AckPolicy::Explicit,
            ack_wait: laid.lease,
            max_deliver: -1,
            filter_subject: filter.clone(),
            max_ack_pending: ACKS_PENDING_MAX,
            max_waiting: PULLS_WAITING_MAX,
            num_replicas: laid.replicas,
            ..pull::Config::default()
        };
        let subject = format!("$JS.API.CONSUMER.CREATE.{stream}.{name}.{filter}");
        let made = self
            .link
            .guarded(
                &subject,
                self.link
                    .context
                    .create_consumer_on_stream(config, stream.as_str()),
            )
            .await?;
        made.map(drop).map_err(|error| {
            self.link.unsuitable(format!(
                "the consumer `{name}` of `{stream}` cannot be made: {error}"
            ))
        })
    }

    fn tasks(&self, shard: u16, laid: &Laid, layout: &Layout) -> stream::Config {
        stream::Config {
            name: self.names.tasks_stream(shard),
            subjects: vec![self.names.tasks_subjects(shard)],
            retention: RetentionPolicy::WorkQueue,
            discard: DiscardPolicy::New,
            max_bytes: i64::from(layout.tasks_bytes_max.get()),
            duplicate_window: DUPLICATE_WINDOW,
            ..kept(laid)
        }
    }

    fn jobs(&self, tenant: &Name, laid: &Laid) -> stream::Config {
        stream::Config {
            name: self.names.jobs_stream(tenant),
            subjects: vec![self.names.all_jobs(tenant)],
            max_messages_per_subject: 1,
            max_age: JOB_AGE_MAX,
            ..kept(laid)
        }
    }

    fn outcomes(&self, tenant: &Name, laid: &Laid) -> stream::Config {
        let (source, destination) = self.names.republished(tenant);
        stream::Config {
            name: self.names.outcomes_stream(tenant),
            subjects: vec![self.names.all_outcomes(tenant)],
            max_age: OUTCOME_AGE_MAX,
            republish: Some(Republish {
                source,
                destination,
                headers_only: false,
            }),
            ..kept(laid)
        }
    }

    fn dead(&self, tenant: &Name, laid: &Laid) -> stream::Config {
        stream::Config {
            name: self.names.dead_stream(tenant),
            subjects: vec![self.names.all_dead(tenant)],
            max_age: DEAD_AGE_MAX,
            max_messages: DEAD_MESSAGES_MAX,
            ..kept(laid)
        }
    }

    fn components(&self, laid: &Laid) -> stream::Config {
        stream::Config {
            name: self.names.components_stream(),
            subjects: vec![self.names.all_components()],
            // Whoever is first with a chunk stays: all tenants write here, and none can take
            // another's component away.
            max_messages_per_subject: 1,
            discard: DiscardPolicy::New,
            discard_new_per_subject: true,
            ..kept(laid)
        }
    }

    fn meta(&self, laid: &Laid) -> stream::Config {
        stream::Config {
            name: self.names.meta_stream(),
            subjects: vec![self.names.all_meta()],
            max_messages_per_subject: 1,
            ..kept(laid)
        }
    }

    /// Who is there is forgotten by itself, and known again within seconds: not worth a copy. In a
    /// file, since a stream in memory is gone with its server.
    fn workers(&self) -> stream::Config {
        stream::Config {
            name: self.names.workers_stream(),
            subjects: vec![self.names.all_workers()],
            max_messages_per_subject: 1,
            max_age: PRESENCE,
            duplicate_window: PRESENCE,
            storage: StorageType::File,
            allow_direct: true,
            ..stream::Config::default()
        }
    }
}

/// What streams that must not lose anything have in common.
fn kept(laid: &Laid) -> stream::Config {
    stream::Config {
        storage: StorageType::File,
        num_replicas: laid.replicas,
        allow_direct: true,
        ..stream::Config::default()
    }
}

/// The header that makes a publish conditional on a record's state.
pub(super) fn expecting(sequence: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(EXPECTED_SEQUENCE, sequence.to_string().as_str());
    headers
}
