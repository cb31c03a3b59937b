//! The broker of a fleet: NATS JetStream, server 2.12 or later.
//!
//! Bundles wait in work-queue streams, sharded, with the job in the subject; a worker asks for as
//! many as it has free slots. Reports are kept in a stream of each tenant and said again when they
//! are stored, which is what followers live on; whoever comes later reads the stream.
//! Records, components, dead letters and who is there are kept in streams of their own. See `names`
//! for all of them, and the book for what is promised when a server or a disk fails.
//!
//! Who decides what: the server stores, orders and redelivers, and knows nothing of tasks. That the
//! first outcome of a task counts and nothing after a cancellation is decided by everybody who
//! reads a job's stream from its start, in the same way (`ledger`). That a lost lease is lost is
//! decided by the worker, a margin before the server thinks so. So there is no process whose death
//! loses a decision.
//!
//! Bounds: a server's own for bundles that wait ([`Layout::tasks_bytes_max`]), [`OUTCOME_AGE_MAX`]
//! for outcomes nobody fetched; here, what is known of jobs, leases as many as slots, and for each
//! follower a few thousand messages.
//!
//! The trade accepted: a task may be run more than once, by design. A report that is stored twice
//! costs its bytes until the job is forgotten.

mod clock;
mod components;
mod config;
mod dead_letters;
mod pull_queue;
mod batch_read;
mod feed;
mod admission;
mod jobs;
mod leases;
mod outcome_log;
mod connection;
mod task_ranges;
mod names;
mod provision;
mod sources;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use async_nats::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use sortie_protocol::envelope::{self, Message};
use sortie_protocol::{
    Bundle, DeadLetter, Digest, Job, JobId, JobRecord, JobState, Labels, LeaseId, Presence,
    Priority, TaskIndex, Timestamp,
};

pub use self::config::{
    Config, InvalidName, LEASE_MIN, Layout, Name, Provision, Role, SHARDS_MAX, Tls,
};
use self::dead_letters::MESSAGE_ID;
use self::pull_queue::Desk;
use self::feed::{CatchUps, FORGOTTEN};
use self::admission::Ledgers;
use self::jobs::{Changed, Jobs};
use self::leases::Leases;
use self::connection::Link;
use self::names::{JobKey, Names, PRIORITIES, Source};
pub use self::provision::OUTCOME_AGE_MAX;
use self::provision::{Laid, Provisioner};
use crate::broker::{
    Broker, Error, Event, Extended, Lease, LetterId, Position, Puller, Report, Serves,
};

/// A broker over NATS JetStream. Cheap to clone; clones are the same connection.
#[derive(Debug, Clone)]
pub struct NatsBroker {
    core: Arc<Core>,
    desks: Arc<Mutex<Vec<(Serves, Desk)>>>,
}

/// What all parts of a broker share.
#[derive(Debug)]
struct Core {
    link: Link,
    names: Names,
    laid: Laid,
    tenant: Name,
    losses_max: u32,
    provision: Provision,
    jobs: Jobs,
    leases: Leases,
    ledgers: Ledgers,
    catch_ups: CatchUps,
    next_shard: AtomicU16,
}

/// What an installation at a server consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The version that the server says it is.
    pub server: String,
    /// Streams that share the bundles.
    pub shards: u16,
    /// Copies of each stream.
    pub replicas: usize,
    /// How long a lease holds.
    pub lease: std::time::Duration,
    /// The label sets that have a pool, beside the pool for all, where the broker tells.
    pub pools: Option<Vec<Labels>>,
}

impl NatsBroker {
    /// Connect, and make what is missing if that is wanted and permitted.
    ///
    /// # Errors
    /// When there is no server, it refuses, it is too old or has no JetStream, or what is needed is
    /// missing and may not be made.
    pub async fn connect(config: Config) -> Result<Self, Error> {
        // Boxed: what the library needs to connect would make every caller's future a large one.
        Box::pin(Self::open(config)).await
    }

    async fn open(config: Config) -> Result<Self, Error> {
        let link = Link::connect(&config).await?;
        let names = Names::new(config.space);
        let provisioner = Provisioner {
            link: &link,
            names: &names,
        };
        let laid = provisioner.ensure(&config.provision).await?;
        if config.role == Role::Client {
            provisioner
                .ensure_tenant(&config.tenant, &laid, &config.provision)
                .await?;
        }
        // Where a process starts among the shards: spread, and different for each.
        let start =
            u16::try_from(link.client.server_info().client_id % u64::from(laid.shards.max(1)))
                .unwrap_or(0);
        let core = Core {
            link,
            names,
            laid,
            tenant: config.tenant,
            losses_max: config.losses_max,
            provision: config.provision,
            jobs: Jobs::default(),
            leases: Leases::default(),
            ledgers: Ledgers::default(),
            catch_ups: CatchUps::default(),
            next_shard: AtomicU16::new(start),
        };
        Ok(Self {
            core: Arc::new(core),
            desks: Arc::default(),
        })
    }

    /// Make all that an installation needs: its streams, a tenant's, and pools for these sets of
    /// labels. What is there is kept.
    ///
    /// # Errors
    /// As [`Self::connect`], and when there is an installation with another layout.
    pub async fn init(config: Config, pools: &[Labels]) -> Result<Installed, Error> {
        Box::pin(Self::install(config, pools)).await
    }

    async fn install(config: Config, pools: &[Labels]) -> Result<Installed, Error> {
        let asked = match &config.provision {
            Provision::Missing(layout) => Some(layout.clone()),
            Provision::Never => None,
        };
        let broker = Self::connect(Config {
            role: Role::Client,
            ..config
        })
        .await?;
        let core = &broker.core;
        if let Some(layout) = asked {
            core.check_layout(&layout)?;
            // Streams that were lost are made again.
            core.provisioner().make(&layout).await?;
        }
        for labels in pools {
            core.provisioner().ensure_pool(labels, &core.laid).await?;
        }
        let Laid {
            shards,
            replicas,
            lease,
        } = core.laid;
        let server = core
            .link
            .client
            .server_info()
            .version
            .escape_debug()
            .to_string();
        let pools = match core.provisioner().pools().await {
            Ok(pools) => Some(pools),
            Err(Error::Denied { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Installed {
            server,
            shards,
            replicas,
            lease,
            pools,
        })
    }

    /// Where the broker is, without secrets.
    #[must_use]
    pub fn place(&self) -> &str {
        self.core.link.place()
    }

    /// How long a lease holds.
    #[must_use]
    pub fn lease(&self) -> std::time::Duration {
        self.core.laid.lease
    }

    /// Whether the connection stands at the moment.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.core.link.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Give back what was fetched and not granted, and see that all that was said arrived: the last
    /// thing a worker does.
    ///
    /// # Errors
    /// When the broker cannot be reached; what was not given back comes again when its lease is
    /// over.
    pub async fn close(&self) -> Result<(), Error> {
        let desks = std::mem::take(&mut *self.desks.lock());
        for (_, desk) in desks {
            desk.clear().await?;
        }
        self.core.link.flush().await
    }

    fn desk(&self, serves: &Serves) -> Desk {
        let mut desks = self.desks.lock();
        if let Some((_, desk)) = desks.iter().find(|(served, _)| served == serves) {
            return desk.clone();
        }
        let desk = Desk::open(self.core.clone(), serves.clone());
        desks.push((serves.clone(), desk.clone()));
        desk
    }

    fn key(&self, job: JobId) -> JobKey {
        // A worker's jobs are of any tenant, and known since their bundle came.
        self.core.jobs.get(job).map_or_else(
            || JobKey {
                tenant: self.core.tenant.clone(),
                job,
            },
            |known| known.key,
        )
    }
}

impl Core {
    fn provisioner(&self) -> Provisioner<'_> {
        Provisioner {
            link: &self.link,
            names: &self.names,
        }
    }

    fn check_layout(&self, asked: &Layout) -> Result<(), Error> {
        let is = (self.laid.shards, self.laid.replicas, self.laid.lease);
        if is == (asked.shards.get(), asked.replicas.get(), asked.lease) {
            return Ok(());
        }
        let (shards, replicas, lease) = is;
        Err(self.link.unsuitable(format!(
            "it is laid out already, with {shards} shards, {replicas} replicas and leases of {lease:?}; name these, or another space"
        )))
    }

    async fn provision_pool(&self, labels: &Labels) -> Result<(), Error> {
        match (self.provisioner().ensure_pool(labels, &self.laid).await, &self.provision) {
            (Err(Error::Denied { .. }), _) => Err(self.link.unsuitable(format!(
                "there is no pool of workers for the labels `{labels}`; an operator adds one with `sortie broker init --pool {labels}`"
            ))),
            (ended, _) => ended,
        }
    }

    /// The shard whose ordinary bundles this process waits for.
    fn home(&self) -> u16 {
        self.next_shard.load(Ordering::Relaxed) % self.laid.shards.max(1)
    }

    fn sources(&self, pools: &[String]) -> Vec<Source> {
        let all = (0..self.laid.shards).flat_map(|shard| {
            pools.iter().flat_map(move |pool| {
                PRIORITIES.map(|priority| Source {
                    shard,
                    pool: pool.clone(),
                    priority,
                })
            })
        });
        all.collect()
    }

    /// Put a bundle into the queue, and ring if nobody may be waiting at its source.
    async fn put_bundle(
        &self,
        source: &Source,
        key: &JobKey,
        headers: &HeaderMap,
        payload: &Bytes,
    ) -> Result<(), Error> {
        match self
            .link
            .store(&self.names.task(source, key), headers, payload)
            .await?
        {
            Ok(_) => {}
            Err(refusal) => return Err(self.link.refused(&refusal)),
        }
        if self.laid.shards > 1 || source.pool != "any" || source.priority != Priority::Normal {
            // A bell that is not heard costs a second.
            let _ = self
                .link
                .tell(self.names.bell(source), HeaderMap::new(), Bytes::new())
                .await;
        }
        Ok(())
    }

    async fn publish(&self, key: &JobKey, bundle: &Bundle) -> Result<(), Error> {
        let Some(first) = bundle.tasks.first().map(|task| task.index) else {
            return Err(Error::Empty);
        };
        // Whoever cancelled it may not have been heard here.
        let known = self
            .known_by_now(key)
            .await?
            .ok_or(Error::NoSuchJob(key.job))?;
        if known.cancelled {
            return Err(Error::JobCancelled(key.job));
        }
        let payload = envelope::bundle(bundle);
        let limit = self.link.payload_max();
        if payload.len() > limit {
            return Err(Error::TooLarge {
                weight: bundle.weight().max(payload.len()),
                limit,
            });
        }
        let shard = self.next_shard.fetch_add(1, Ordering::Relaxed) % self.laid.shards.max(1);
        let options = &known.job.options;
        let source = Source {
            shard,
            pool: options.labels.pool(),
            priority: options.priority,
        };
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID, format!("{}-{first}", key.job).as_str());
        task_ranges::insert(&mut headers, &bundle.tasks);
        self.put_bundle(&source, key, &headers, &payload).await
    }

    /// Write the marker after which no outcome counts.
    async fn mark_cancelled(&self, key: &JobKey) -> Result<(), Error> {
        match self
            .link
            .store(
                &self.names.outcomes(key),
                &HeaderMap::new(),
                &envelope::cancelled(),
            )
            .await?
        {
            Ok(_) => Ok(()),
            Err(refusal) => Err(self.link.refused(&refusal)),
        }
    }

    async fn cancel(&self, key: &JobKey) -> Result<(), Error> {
        let change = |state| match state {
            JobState::Open | JobState::Sealed { .. } => Some(JobState::Cancelled),
            JobState::Cancelled => None,
        };
        let changed = self.change(key, change).await?;
        self.jobs.cancelled(key.job);
        if changed == Changed::NotThere {
            return Ok(());
        }
        if changed == Changed::Yes {
            // Workers hear of it first: that ends what costs.
            self.link
                .tell(self.names.cancel(key), HeaderMap::new(), Bytes::new())
                .await?;
        }
        // Also when it was cancelled before: whoever did may have died before he came to this.
        self.mark_cancelled(key).await
    }

    async fn forget(&self, key: &JobKey) -> Result<(), Error> {
        self.link
            .patiently(|| async {
                self.link
                    .purge(&self.names.jobs_stream(&key.tenant), &self.names.job(key))
                    .await
            })
            .await?;
        self.jobs.forget(key.job);
        self.ledgers.forget(key.job);
        let (stream, subject) = (
            self.names.outcomes_stream(&key.tenant),
            self.names.outcomes(key),
        );
        self.link
            .patiently(|| self.link.purge(&stream, &subject))
            .await?;
        let mut headers = HeaderMap::new();
        headers.insert(FORGOTTEN, "1");
        self.link
            .tell(self.names.live(key), headers, Bytes::new())
            .await
    }

    /// Bundles of a job that wait or are leased.
    async fn unfinished(&self, key: &JobKey) -> Result<u64, Error> {
        #[derive(serde::Deserialize)]
        struct Info {
            state: State,
        }
        #[derive(serde::Deserialize)]
        struct State {
            #[serde(default)]
            subjects: Option<std::collections::HashMap<String, u64>>,
        }
        let mut count = 0;
        for shard in 0..self.laid.shards {
            let subject = format!("STREAM.INFO.{}", self.names.tasks_stream(shard));
            let question =
                serde_json::json!({ "subjects_filter": self.names.tasks_of(shard, key) });
            match self
                .link
                .patiently(|| self.link.api::<Info>(&subject, &question))
                .await?
            {
                Ok(Info { state }) => {
                    count += state.subjects.map_or(0, |subjects| subjects.values().sum())
                }
                Err(refusal) => return Err(self.link.refused(&refusal)),
            }
        }
        Ok(count)
    }
}

#[async_trait]
impl Broker for NatsBroker {
    async fn put_component(&self, digest: Digest, bytes: Bytes) -> Result<(), Error> {
        self.core.store_component(digest, bytes).await
    }

    async fn component(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        self.core.fetch_component(digest).await
    }

    async fn put_job(&self, job: Job, created: Timestamp) -> Result<(), Error> {
        let key = JobKey {
            tenant: self.core.tenant.clone(),
            job: job.id,
        };
        self.core
            .put_record(
                &key,
                JobRecord {
                    job,
                    created,
                    state: JobState::Open,
                },
            )
            .await
    }

    async fn seal(&self, job: JobId, tasks: TaskIndex) -> Result<(), Error> {
        let change = |state| match state {
            JobState::Open => Some(JobState::Sealed { tasks }),
            JobState::Sealed { .. } | JobState::Cancelled => None,
        };
        self.core.change(&self.key(job), change).await.map(drop)
    }

    async fn job(&self, job: JobId) -> Result<Option<JobRecord>, Error> {
        Ok(self
            .core
            .record(&self.key(job))
            .await?
            .map(|(_, record)| record))
    }

    async fn jobs(&self, count_max: usize) -> Result<Vec<JobRecord>, Error> {
        self.core.records(count_max).await
    }

    async fn unfinished(&self, job: JobId) -> Result<u64, Error> {
        let key = self.key(job);
        match self.core.record(&key).await? {
            None => Ok(0),
            Some((_, record)) if record.state == JobState::Cancelled => Ok(0),
            Some(_) => self.core.unfinished(&key).await,
        }
    }

    async fn publish(&self, bundle: Bundle) -> Result<(), Error> {
        self.core.publish(&self.key(bundle.job), &bundle).await
    }

    async fn pull(&self, puller: &Puller, credits: NonZeroUsize) -> Result<Vec<Lease>, Error> {
        self.desk(&puller.serves).pull(credits).await
    }

    async fn extend(&self, lease: LeaseId) -> Result<Extended, Error> {
        self.core.extend_lease(lease).await
    }

    async fn complete(&self, lease: LeaseId, job: JobId, report: Report) -> Result<(), Error> {
        let held = self.core.leases.remove(lease);
        // A report on one job never ends a lease of another.
        let held = match held {
            Some(held) if held.key.job != job => {
                self.core.leases.insert(held);
                None
            }
            other => other,
        };
        let key = held
            .as_ref()
            .map_or_else(|| self.key(job), |held| held.key.clone());
        self.core.report(&key, held.as_ref(), report).await
    }

    async fn release(&self, lease: LeaseId) -> Result<(), Error> {
        match self.core.leases.remove(lease) {
            Some(held) => self.core.release_lease(&held).await,
            None => Ok(()),
        }
    }

    async fn outcomes(
        &self,
        job: JobId,
        from: Position,
    ) -> Result<BoxStream<'static, Event>, Error> {
        let key = self.key(job);
        self.core
            .known_by_now(&key)
            .await?
            .ok_or(Error::NoSuchJob(job))?;
        feed::follow(self.core.clone(), key, from).await
    }

    fn caught_up(&self, job: JobId) -> Option<u64> {
        Some(self.core.catch_ups.count(job))
    }

    /// Keeps everything: positions stay what they are for whoever attaches later. What a job left
    /// is dropped when it is forgotten.
    async fn trim(&self, _job: JobId, _before: Position) -> Result<(), Error> {
        Ok(())
    }

    async fn cancel(&self, job: JobId) -> Result<(), Error> {
        self.core.cancel(&self.key(job)).await
    }

    async fn cancellations(&self) -> Result<BoxStream<'static, JobId>, Error> {
        let told = self.core.link.listen(self.core.names.all_cancels()).await?;
        let core = self.core.clone();
        let jobs = told.filter_map(move |message| {
            let key = core.names.parse_cancel(&message.subject);
            if let Some(key) = &key {
                core.jobs.cancelled(key.job);
            }
            std::future::ready(key.map(|key| key.job))
        });
        Ok(jobs.boxed())
    }

    async fn forget(&self, job: JobId) -> Result<(), Error> {
        self.core.forget(&self.key(job)).await
    }

    async fn dead_letters(
        &self,
        job: Option<JobId>,
        count_max: usize,
    ) -> Result<Vec<(LetterId, DeadLetter)>, Error> {
        self.core.letters(job, count_max).await
    }

    async fn remove_dead_letter(&self, letter: LetterId) -> Result<(), Error> {
        self.core.remove_letter(letter).await
    }

    async fn announce(&self, presence: Presence) -> Result<(), Error> {
        let subject = self.core.names.worker(presence.worker);
        match self
            .core
            .link
            .store_once(&subject, HeaderMap::new(), envelope::presence(&presence))
            .await?
        {
            Ok(_) => Ok(()),
            Err(refusal) => Err(self.core.link.refused(&refusal)),
        }
    }

    async fn workers(&self) -> Result<Vec<Presence>, Error> {
        let (stream, filter) = (
            self.core.names.workers_stream(),
            self.core.names.all_workers(),
        );
        let read = self
            .core
            .link
            .patiently(|| self.core.link.read_all(&stream, &filter))
            .await?;
        let presence = |payload: &Bytes| match envelope::decode(payload) {
            Ok(Message::Presence(presence)) => Some(presence),
            Ok(_) | Err(_) => None,
        };
        let mut workers: Vec<_> = read
            .iter()
            .filter_map(|read| presence(&read.payload))
            .collect();
        workers.sort_by_key(|presence| presence.worker);
        Ok(workers)
    }
}
