//! Creates the streams and consumers of an installation at the server, idempotently.
//!
//! The record `meta.layout` is written last, so a client that finds it finds the streams. Creating
//! what exists changes nothing; a layout that differs from the existing one is an error. Clients of
//! a tenant need three streams of their own, workers need the consumers of the pools they serve;
//! both are created on first use by a process that has the permission.
//!
//! A consumer's bounds hold for the whole fleet: [`ACKS_PENDING_MAX`] leases and
//! [`PULLS_WAITING_MAX`] idle workers for each shard and pool. The server has no limit on
//! deliveries, because a message that it gives up on would stay in the stream unnoticed. The
//! workers count deliveries and give up (`admission`).

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind};
use async_nats::jetstream::stream;
use async_nats::{Request, RequestErrorKind};
use bytes::Bytes;
use serde::Deserialize;
use sortie_protocol::{Advice, Labels, TenantId};

use super::batch_read;
use super::config::{Layout, Provision};
use super::connection::Connection;
use super::headers::expecting;
use super::jetstream::{JetStream, code};
use super::layout::ExistingLayout;
use super::names::{Names, PRIORITIES, Source};
use super::streams::Streams;
use crate::traits::Error;

/// Maximum unacknowledged deliveries per pool, priority and shard. The server's default is 1000 for
/// the whole fleet.
const ACKS_PENDING_MAX: i64 = 100_000;
/// Maximum waiting pull requests per consumer: one for each idle worker.
const PULLS_WAITING_MAX: i64 = 8192;

/// Creates and checks the streams and consumers of an installation.
#[derive(Debug, Clone)]
pub(super) struct Provisioner {
    pub(super) connection: Connection,
    pub(super) jetstream: JetStream,
    pub(super) names: Names,
}

impl Provisioner {
    /// The existing layout, or the one created now.
    pub(super) async fn ensure(&self, provision: &Provision) -> Result<ExistingLayout, Error> {
        let unanswered = match self
            .jetstream
            .last_anywhere(&self.names.meta_stream(), &self.names.layout())
            .await
        {
            Ok(Some(payload)) => return self.parse(&payload),
            Ok(None) => None,
            // The stream or JetStream is missing, or there is no answer at the moment; creating it
            // will tell.
            Err(error @ Error::Unreachable { .. }) => Some(error),
            Err(error) => return Err(error),
        };
        match provision {
            Provision::Missing(layout) => match (self.make(layout).await, unanswered) {
                // The stream exists but had no leader a moment ago: a transient error, not a
                // refusal.
                (Err(refusal @ Error::Unsuitable { .. }), Some(unanswered)) => {
                    let reason = self.missing(Some(unanswered)).await;
                    Err(if reason.is_transient() {
                        reason
                    } else {
                        refusal
                    })
                }
                (made, _) => made,
            },
            Provision::Never => Err(self.missing(unanswered).await),
        }
    }

    /// The error for a missing layout: a server that does not answer must not be mistaken for an
    /// empty one.
    async fn missing(&self, unanswered: Option<Error>) -> Error {
        #[derive(Deserialize)]
        struct Info {}
        let empty = || {
            let reason = "it is not laid out for Sortie yet";
            self.connection.unprepared(reason, Advice::InitBroker)
        };
        let subject = format!("$JS.API.STREAM.INFO.{}", self.names.meta_stream());
        let request = Request::new().timeout(Some(self.connection.answer_time_max()));
        match self
            .connection
            .guarded(
                &subject,
                self.connection
                    .client
                    .send_request(subject.clone(), request),
            )
            .await
        {
            Ok(Ok(answer)) => match self.jetstream.parse::<Info>(&answer) {
                Ok(Ok(Info {})) => unanswered.unwrap_or_else(empty),
                Ok(Err(refusal)) if refusal.code == code::STREAM_NOT_FOUND => empty(),
                Ok(Err(refusal)) => self.jetstream.refused(&refusal),
                Err(error) => error,
            },
            // A server with JetStream answers there, whether or not it has a leader.
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                self.jetstream.no_jetstream()
            }
            Ok(Err(error)) => self.connection.unanswered(&subject, &error),
            Err(Error::Denied { .. }) => unanswered.unwrap_or_else(empty),
            Err(error) => error,
        }
    }

    fn parse(&self, payload: &[u8]) -> Result<ExistingLayout, Error> {
        ExistingLayout::parse(payload).map_err(|reason| {
            self.connection
                .unsuitable(format!("its record `{}` {reason}", self.names.layout()))
        })
    }

    /// Create all streams, then record the layout.
    pub(super) async fn make(&self, layout: &Layout) -> Result<ExistingLayout, Error> {
        let laid = ExistingLayout::of(layout);
        let streams = Streams {
            names: &self.names,
            laid,
        };
        self.stream(streams.meta()).await?;
        self.stream(streams.components()).await?;
        self.stream(streams.workers()).await?;
        for shard in 0..laid.shards {
            self.stream(streams.tasks(shard, layout)).await?;
        }
        self.consumers("any", &Labels::default(), &laid).await?;
        self.put_once(&self.names.layout(), laid.record().to_string().into())
            .await?;
        // Another process may have recorded another layout first.
        let kept = self
            .jetstream
            .last(&self.names.meta_stream(), &self.names.layout())
            .await?;
        kept.map_or(Ok(laid), |kept| self.parse(&kept.payload))
    }

    /// The streams of one tenant.
    pub(super) async fn ensure_tenant(
        &self,
        tenant: &TenantId,
        laid: &ExistingLayout,
        provision: &Provision,
    ) -> Result<(), Error> {
        let streams = Streams {
            names: &self.names,
            laid: *laid,
        };
        for config in [
            streams.jobs(tenant),
            streams.outcomes(tenant),
            streams.dead(tenant),
        ] {
            if self.is_there(tenant, &config.name).await? {
                continue;
            }
            match provision {
                Provision::Missing(_) => self.stream(config).await?,
                Provision::Never => {
                    let advice = Advice::InitTenant {
                        tenant: tenant.to_string(),
                    };
                    let reason = format!("it has no tenant `{tenant}`");
                    return Err(self.connection.unprepared(reason, advice));
                }
            }
        }
        Ok(())
    }

    /// The pool of workers with these labels.
    pub(super) async fn ensure_pool(
        &self,
        labels: &Labels,
        laid: &ExistingLayout,
    ) -> Result<(), Error> {
        let pool = labels.pool();
        if labels.is_empty()
            || self
                .jetstream
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

    /// Check that a job's pool exists; a client without the permission to create it gets advice.
    pub(super) async fn pool_for_job(
        &self,
        labels: &Labels,
        laid: &ExistingLayout,
    ) -> Result<(), Error> {
        match self.ensure_pool(labels, laid).await {
            Err(Error::Denied { .. }) => Err(self.connection.unprepared(
                format!("there is no pool of workers for the labels `{labels}`"),
                Advice::InitPool {
                    labels: labels.clone(),
                },
            )),
            ended => ended,
        }
    }

    /// Check that the existing layout is the requested one.
    pub(super) fn check_layout(&self, laid: ExistingLayout, asked: &Layout) -> Result<(), Error> {
        if laid == ExistingLayout::of(asked) {
            return Ok(());
        }
        let ExistingLayout {
            shards,
            replicas,
            lease,
        } = laid;
        Err(self.connection.unsuitable(format!(
            "it already has a layout, with {shards} shards, {replicas} replicas and leases of \
             {lease:?}; name these, or another space"
        )))
    }

    /// The labels of every existing pool, without the default pool.
    pub(super) async fn pools(&self) -> Result<Vec<Labels>, Error> {
        let read = batch_read::read_all(
            &self.connection,
            &self.names.meta_stream(),
            &self.names.all_pools(),
        )
        .await?;
        let labels = read
            .iter()
            .filter_map(|read| std::str::from_utf8(&read.payload).ok()?.parse().ok());
        Ok(labels
            .filter(|labels: &Labels| !labels.is_empty())
            .collect())
    }

    async fn put_once(&self, subject: &str, payload: Bytes) -> Result<(), Error> {
        match self
            .jetstream
            .store(subject, &expecting(0), &payload)
            .await?
        {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.is_conflict() => Ok(()),
            Err(refusal) => Err(self.jetstream.refused(&refusal)),
        }
    }

    /// Whether a tenant's stream exists.
    async fn is_there(&self, tenant: &TenantId, stream: &str) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Info {}
        let subject = format!("$JS.API.STREAM.INFO.{stream}");
        let ask = || async {
            let request = Request::new().timeout(Some(self.connection.answer_time_max()));
            match self
                .connection
                .guarded(
                    &subject,
                    self.connection
                        .client
                        .send_request(subject.clone(), request),
                )
                .await?
            {
                Ok(answer) => self.jetstream.parse::<Info>(&answer),
                // The layout could be read, so JetStream is available; this account just has no
                // access to the subject.
                Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                    let reason = format!(
                        "this user may not access the streams of the tenant `{tenant}`; name its \
                         own tenant"
                    );
                    Err(self.connection.unsuitable(reason))
                }
                Err(error) => Err(self.connection.unanswered(&subject, &error)),
            }
        };
        match self.connection.patiently(ask).await? {
            Ok(Info {}) => Ok(true),
            Err(refusal) if refusal.code == code::STREAM_NOT_FOUND => Ok(false),
            Err(refusal) => Err(self.jetstream.refused(&refusal)),
        }
    }

    async fn stream(&self, config: stream::Config) -> Result<(), Error> {
        let name = config.name.clone();
        let made = self
            .connection
            .guarded(
                &format!("$JS.API.STREAM.CREATE.{name}"),
                self.jetstream.context.create_stream(config),
            )
            .await?;
        made.map(drop).map_err(|error| self.not_made(&name, &error))
    }

    fn not_made(&self, name: &str, error: &CreateStreamError) -> Error {
        match error.kind() {
            CreateStreamErrorKind::JetStream(refusal) => self
                .connection
                .unsuitable(format!("the stream `{name}` cannot be created: {refusal}")),
            CreateStreamErrorKind::JetStreamUnavailable => self.jetstream.no_jetstream(),
            _ => self
                .connection
                .unreachable(format!("the stream `{name}` could not be created: {error}")),
        }
    }

    async fn consumers(
        &self,
        pool: &str,
        labels: &Labels,
        laid: &ExistingLayout,
    ) -> Result<(), Error> {
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

    async fn consumer(
        &self,
        source: &Source,
        labels: &Labels,
        laid: &ExistingLayout,
    ) -> Result<(), Error> {
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
            .connection
            .guarded(
                &subject,
                self.jetstream
                    .context
                    .create_consumer_on_stream(config, stream.as_str()),
            )
            .await?;
        made.map(drop).map_err(|error| {
            self.connection.unsuitable(format!(
                "the consumer `{name}` of `{stream}` cannot be created: {error}"
            ))
        })
    }
}
