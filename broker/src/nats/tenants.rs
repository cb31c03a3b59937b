//! Makes and finds tenants and pools: of each tenant its streams, and in its queues the consumers
//! of each pool.
//!
//! A tenant's bundles wait in streams of its own, so that its size, its deliveries and its faults
//! are its own. Its record is written when its streams are there. Whoever adds a tenant makes the
//! consumers of all pools, and whoever adds a pool those of all tenants; each looks once more after
//! its own record is written, so that of two at the same time one sees the other.
//!
//! A queue takes the bundles of the pools there are and no others: its subjects name them. So no
//! client can fill a queue with what no worker could ever be asked for.
//!
//! A consumer's bounds hold for the whole fleet: [`ACKS_PENDING_MAX`] leases and
//! [`PULLS_WAITING_MAX`] idle workers for each tenant, shard, pool and priority. The server has no
//! limit on deliveries, because a message that it gives up on would stay in the stream unnoticed.
//! The workers count deliveries and give up (`admission`).

use std::collections::HashSet;
use std::num::{NonZeroU16, NonZeroU32};

use async_nats::RequestErrorKind;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream::{self, ConsumerError, ConsumerErrorKind};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use sortie_protocol::{Advice, JobFunction, Labels, TenantId};

use super::batch_read;
use super::config::{Layout, Provision, QUEUE_BYTES, QUEUE_BYTES_MIN, Quota};
use super::jetstream::{code, info_of};
use super::layout::{ExistingLayout, TenantRecord};
use super::names::{PRIORITIES, Source};
use super::provision::{Provisioner, is_of_election};
use super::streams::Streams;
use crate::traits::Error;

/// Bundles of one tenant, shard, pool and priority that may be leased, or wait for their delay, at
/// a time: more than the slots of a large fleet. At the limit the tenant's further bundles wait,
/// and nobody else's.
const ACKS_PENDING_MAX: i64 = 20_000;
/// Pulls that may wait at one consumer, one for each idle worker.
const PULLS_WAITING_MAX: i64 = 8192;
/// Label sets that may have a pool: each costs the server three consumers for each tenant and
/// shard.
const POOLS_MAX: usize = 64;
/// How often a queue is told of a pool: another process may change its subjects at the same time.
const CHANGES_MAX: usize = 8;

/// A tenant as workers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tenant {
    pub(super) name: TenantId,
    pub(super) weight: NonZeroU16,
}

/// Tenants and pools there are.
#[derive(Debug, Clone, Default)]
pub(super) struct Served {
    pub(super) tenants: Vec<Tenant>,
    /// Beside the pool for all.
    pub(super) pools: Vec<Labels>,
}

impl Provisioner {
    /// Tenants and pools, as any copy of their records tells.
    pub(super) async fn served(&self) -> Result<Served, Error> {
        let stream = self.names.meta_stream();
        let (tenants, pools) = (self.names.all_tenants(), self.names.all_pools());
        let (tenants, pools) = futures::future::try_join(
            batch_read::read_all(&self.connection, &stream, &tenants),
            batch_read::read_all(&self.connection, &stream, &pools),
        )
        .await?;
        let tenant = |read: &batch_read::Read| {
            Some(Tenant {
                name: read.subject()?.rsplit('.').next()?.parse().ok()?,
                weight: TenantRecord::parse(&read.payload).weight,
            })
        };
        let labels =
            |read: &batch_read::Read| std::str::from_utf8(&read.payload).ok()?.parse().ok();
        Ok(Served {
            tenants: tenants.iter().filter_map(tenant).collect(),
            pools: pools
                .iter()
                .filter_map(labels)
                .filter(|labels: &Labels| !labels.is_empty())
                .collect(),
        })
    }

    /// The streams of one tenant, its consumers and its record.
    pub(super) async fn ensure_tenant(
        &self,
        tenant: &TenantId,
        laid: &ExistingLayout,
        provision: &Provision,
    ) -> Result<(), Error> {
        let mut is_whole = true;
        let shards = (0..laid.shards).map(|shard| self.names.tasks_stream(tenant, shard));
        let streams = [
            self.names.jobs_stream(tenant),
            self.names.outcomes_stream(tenant),
            self.names.dead_stream(tenant),
            self.names.attempts_stream(tenant),
            self.names.graphs_stream(tenant),
            self.names.values_stream(tenant),
        ];
        for name in streams.into_iter().chain(shards) {
            is_whole &= self.is_there(tenant, &name).await?;
        }
        let record = self.names.tenant(tenant);
        is_whole &= self.record(&record).await?.is_some();
        if is_whole {
            return Ok(());
        }
        if let Provision::Missing(layout) = provision {
            return self.make_tenant(tenant, laid, layout).await;
        }
        let advice = Advice::InitTenant {
            tenant: tenant.to_string(),
        };
        let reason = format!("it has no tenant `{tenant}`");
        Err(self.connection.unprepared(reason, advice))
    }

    /// Make what a tenant needs. What is there stays.
    pub(super) async fn make_tenant(
        &self,
        tenant: &TenantId,
        laid: &ExistingLayout,
        layout: &Layout,
    ) -> Result<(), Error> {
        let streams = Streams {
            names: &self.names,
            laid: *laid,
        };
        self.stream(streams.jobs(tenant)).await?;
        self.stream(streams.outcomes(tenant)).await?;
        self.stream(streams.dead(tenant)).await?;
        self.stream(streams.attempts(tenant)).await?;
        self.stream(streams.graphs(tenant)).await?;
        self.stream(streams.values(tenant)).await?;
        for shard in 0..laid.shards {
            if !self
                .is_there(tenant, &self.names.tasks_stream(tenant, shard))
                .await?
            {
                let any = [Labels::default().pool()];
                let config = streams.tasks(tenant, shard, &any);
                let name = config.name.clone();
                match self.queue(config, layout.tasks_bytes_max).await {
                    // Another process made it meanwhile, with another size or with more pools.
                    Err(Error::Unsuitable { .. }) if self.is_there(tenant, &name).await? => {}
                    made => made?,
                }
            }
        }
        self.pools_of(tenant, laid).await?;
        let record = TenantRecord {
            weight: layout.weight,
        };
        let record = record.record().to_string();
        self.put_once(&self.names.tenant(tenant), record.into())
            .await?;
        // Pools that were added meanwhile.
        self.pools_of(tenant, laid).await
    }

    /// Make a queue of this size. Where the server has no room for the default size, a smaller one
    /// is made.
    async fn queue(&self, config: stream::Config, bytes_max: NonZeroU32) -> Result<(), Error> {
        let mut bytes = bytes_max.get();
        loop {
            let sized = stream::Config {
                max_bytes: i64::from(bytes),
                ..config.clone()
            };
            match self.stream(sized).await {
                Err(Error::Full { .. })
                    if bytes_max == QUEUE_BYTES && bytes / 2 >= QUEUE_BYTES_MIN.get() =>
                {
                    bytes /= 2;
                }
                made => {
                    if made.is_ok() && bytes < bytes_max.get() {
                        tracing::warn!(
                            stream = config.name,
                            bytes,
                            "the server has little room: the queue is smaller than by default"
                        );
                    }
                    return made;
                }
            }
        }
    }

    /// The consumers of all pools there are, in one tenant's queues.
    async fn pools_of(&self, tenant: &TenantId, laid: &ExistingLayout) -> Result<(), Error> {
        let pools = self.connection.patiently(|| self.served()).await?.pools;
        self.consumers(tenant, &Labels::default(), laid).await?;
        for labels in &pools {
            self.consumers(tenant, labels, laid).await?;
        }
        Ok(())
    }

    /// Change what a tenant has: the size of its queues and its share of the workers.
    pub(super) async fn resize(
        &self,
        tenant: &TenantId,
        laid: &ExistingLayout,
        quota: Quota,
    ) -> Result<(), Error> {
        for shard in 0..laid.shards {
            let Some(bytes) = quota.queue_bytes.map(|bytes| i64::from(bytes.get())) else {
                break;
            };
            let name = self.names.tasks_stream(tenant, shard);
            self.change_stream(&name, |config| {
                let is_other = config.max_bytes != bytes;
                config.max_bytes = bytes;
                is_other
            })
            .await?;
        }
        let Some(weight) = quota.weight else {
            return Ok(());
        };
        let record = TenantRecord { weight }.record().to_string().into();
        let subject = self.names.tenant(tenant);
        let headers = async_nats::HeaderMap::new();
        match self.jetstream.store(&subject, &headers, &record).await? {
            Ok(_) => Ok(()),
            Err(refusal) => Err(self.jetstream.refused(&refusal)),
        }
    }

    /// The pool of workers with these labels.
    pub(super) async fn ensure_pool(
        &self,
        labels: &Labels,
        laid: &ExistingLayout,
    ) -> Result<(), Error> {
        let record = self.names.pool(&labels.pool());
        if labels.is_empty() || self.record(&record).await?.is_some() {
            return Ok(());
        }
        self.make_pool(labels, laid).await
    }

    /// Make a pool in the queues of all tenants. What is there stays.
    pub(super) async fn make_pool(
        &self,
        labels: &Labels,
        laid: &ExistingLayout,
    ) -> Result<(), Error> {
        let Served { tenants, pools } = self.connection.patiently(|| self.served()).await?;
        if pools.len() >= POOLS_MAX && !pools.contains(labels) {
            return Err(self.connection.unsuitable(format!(
                "it has {POOLS_MAX} pools of workers, which is the most there may be: none can be \
                 added for the labels `{labels}`"
            )));
        }
        for tenant in &tenants {
            self.consumers(&tenant.name, labels, laid).await?;
        }
        self.put_once(&self.names.pool(&labels.pool()), labels.to_string().into())
            .await?;
        // Tenants that were added meanwhile.
        let later = self.connection.patiently(|| self.served()).await?.tenants;
        for tenant in later.iter().filter(|tenant| !tenants.contains(tenant)) {
            self.consumers(&tenant.name, labels, laid).await?;
        }
        Ok(())
    }

    /// See that the pools of a job's functions are there.
    pub(super) async fn pools_for(
        &self,
        functions: &[JobFunction],
        laid: &ExistingLayout,
    ) -> Result<(), Error> {
        let mut pools = HashSet::new();
        for JobFunction { options, .. } in functions {
            if pools.insert(&options.labels) {
                self.pool_for_job(&options.labels, laid).await?;
            }
        }
        Ok(())
    }

    /// See that a job's pool is there; a client that may not make one is told who can.
    async fn pool_for_job(&self, labels: &Labels, laid: &ExistingLayout) -> Result<(), Error> {
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

    async fn record(&self, subject: &str) -> Result<Option<bytes::Bytes>, Error> {
        let stream = self.names.meta_stream();
        self.connection
            .patiently(|| self.jetstream.last_anywhere(&stream, subject))
            .await
    }

    /// Whether a tenant's stream is there.
    async fn is_there(&self, tenant: &TenantId, stream: &str) -> Result<bool, Error> {
        let ask = || async {
            match self.jetstream.about(stream).await? {
                Ok(answer) => self.jetstream.parse::<IgnoredAny>(&answer),
                // The layout could be read, so JetStream is available; this account just has no
                // access to the subject.
                Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                    let reason = format!(
                        "this user may not access the streams of the tenant `{tenant}`; name its \
                         own tenant"
                    );
                    Err(self.connection.unsuitable(reason))
                }
                Err(error) => Err(self.connection.unanswered(&info_of(stream), &error)),
            }
        };
        match self.connection.patiently(ask).await? {
            Ok(IgnoredAny) => Ok(true),
            Err(refusal) if refusal.code == code::STREAM_NOT_FOUND => Ok(false),
            Err(refusal) => Err(self.jetstream.refused(&refusal)),
        }
    }

    /// Change the settings of a stream, until they are as `change` wants them: it says whether it
    /// changed any.
    async fn change_stream(
        &self,
        name: &str,
        change: impl Fn(&mut stream::Config) -> bool,
    ) -> Result<(), Error> {
        #[derive(Deserialize, Serialize)]
        struct Info {
            config: stream::Config,
        }
        let (info, update) = (
            format!("STREAM.INFO.{name}"),
            format!("STREAM.UPDATE.{name}"),
        );
        for _ in 0..CHANGES_MAX {
            let found = self
                .connection
                .patiently(|| self.jetstream.api::<Info>(&info, &serde_json::Value::Null))
                .await?;
            let mut config = match found {
                Ok(found) => found.config,
                Err(refusal) => return Err(self.jetstream.refused(&refusal)),
            };
            if !change(&mut config) {
                return Ok(());
            }
            let question = serde_json::to_value(&config).map_err(|error| {
                self.connection
                    .unsuitable(format!("the settings of `{name}` are strange: {error}"))
            })?;
            let changed = self
                .connection
                .patiently(|| self.jetstream.api::<Info>(&update, &question))
                .await?;
            if let Err(refusal) = changed {
                return Err(if refusal.is_full() {
                    self.jetstream.refused(&refusal)
                } else {
                    self.connection.unsuitable(format!(
                        "the stream `{name}` cannot be changed: {}",
                        refusal.text
                    ))
                });
            }
        }
        Err(self.connection.unreachable(format!(
            "the stream `{name}` is changed by others all the time"
        )))
    }

    async fn consumers(
        &self,
        tenant: &TenantId,
        labels: &Labels,
        laid: &ExistingLayout,
    ) -> Result<(), Error> {
        let pool = labels.pool();
        for shard in 0..laid.shards {
            let subjects = self.names.pool_subjects(tenant, shard, &pool);
            let queue = self.names.tasks_stream(tenant, shard);
            if !labels.is_empty() {
                self.change_stream(&queue, |config| {
                    let is_new = !config.subjects.contains(&subjects);
                    if is_new {
                        config.subjects.push(subjects.clone());
                    }
                    is_new
                })
                .await?;
            }
            for priority in PRIORITIES {
                let source = Source {
                    tenant: *tenant,
                    shard,
                    pool: pool.clone(),
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
        let name = self.names.consumer(source);
        let stream = self.names.tasks_stream(&source.tenant, source.shard);
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
        let context = &self.jetstream.context;
        let making = || context.create_consumer_on_stream(config.clone(), stream.as_str());
        let made = self.make_patiently(&subject, making, is_electing).await?;
        made.map(drop).map_err(|error| {
            self.connection.unsuitable(format!(
                "the consumer `{name}` of `{stream}` cannot be made: {error}"
            ))
        })
    }
}

/// Whether a cluster is busy electing a leader for a consumer or its stream.
fn is_electing(error: &ConsumerError) -> bool {
    match error.kind() {
        ConsumerErrorKind::JetStream(refusal) => is_of_election(refusal.error_code().0),
        ConsumerErrorKind::TimedOut => true,
        _ => false,
    }
}
