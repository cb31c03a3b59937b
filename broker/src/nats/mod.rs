//! The broker of a fleet, over NATS JetStream (server 2.12 or later).
//!
//! Bundles wait in sharded work-queue streams, with the job in the subject; a worker pulls as many
//! as it has free slots. Reports are stored in one stream per tenant, which the server republishes
//! to followers; a follower reads missed reports from the stream. Job records, components, dead
//! letters and the presence of workers are kept in streams of their own. See `names` for all of
//! them, and the book for what is promised when a server or a disk fails.
//!
//! The server stores, orders and redelivers messages, and knows nothing of tasks. Which outcomes
//! count is decided by each reader of a job's messages, in the same way (`outcome_log`): the first
//! of each task, and none after a cancellation. When a lease is lost is decided by its worker, a
//! margin before the server redelivers the bundle. So no decision is lost with a process.
//!
//! Bounds at the server: [`Layout::tasks_bytes_max`] for bundles that wait, [`OUTCOME_AGE_MAX`] for
//! outcomes. Bounds in this process: the cache of jobs' records, as many leases as slots and a few
//! spare ones, and a few thousand messages for each follower.
//!
//! Accepted trade-off: a task may run more than once. A report that is stored twice takes its bytes
//! twice, until the job is forgotten.

mod clock;
mod config;
mod headers;
mod names;
mod task_ranges;
mod warnings;

#[doc(hidden)]
pub mod fuzzing;

mod batch_read;
mod check;
mod connect;
mod connection;
mod jetstream;
mod retry;
mod server_clock;

mod chunks;
mod components;
mod dead_letters;
mod directory;
mod jobs;
mod layout;
mod outcome_log;
mod outcomes;
mod presence;
mod provision;
mod queues;
mod quiet;
mod streams;
mod tenants;

mod admission;
mod attempts;
mod bundles;
mod cancelled_tasks;
mod ended_tasks;
mod feed;
mod graphs;
mod held_lease;
mod leases;
mod leftovers;
mod looks;
mod notes;
mod pull_queue;
mod services;
mod sources;
mod trims;
mod values;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use sortie_protocol::metric::Sample;
use sortie_protocol::{
    BrokerRef, Bundle, DeadLetter, Digest, FunctionIndex, GraphEntry, Job, JobFunction, JobKey,
    JobRecord, JobState, Labels, LeaseId, Outcome, Presence, Published, Readers, Reading,
    TaskIndex, TaskName, TenantId, Term, Timestamp,
};

pub use self::config::{
    Config, InvalidName, LEASE_MIN, Layout, Name, Provision, QUEUE_BYTES, QUEUE_BYTES_MIN, Quota,
    Role, SHARDS_MAX, Tls,
};
use self::connection::Connection;
use self::jetstream::JetStream;
use self::names::Names;
use self::provision::Provisioner;
use self::pull_queue::PullQueue;
use self::services::Services;
pub use self::streams::OUTCOME_AGE_MAX;
use crate::traits::{
    Cancellation, Claimed, Coordinate, Directory, Error, Event, Extended, KeepValues, Lease,
    LetterId, Mark, Operate, Position, Puller, Report, Serves, Submit, Unfinished, Waiting, Work,
};

/// A broker over NATS JetStream. Cheap to clone; clones are the same connection.
#[derive(Debug, Clone)]
pub struct NatsBroker {
    services: Arc<Services>,
    /// One for each set of labels that workers of this process pull for.
    pull_queues: Arc<Mutex<Vec<(Serves, PullQueue)>>>,
}

/// Description of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The server's version.
    pub server: String,
    /// Number of streams that bundles are distributed over.
    pub shards: u16,
    /// Replicas of each stream.
    pub replicas: usize,
    /// Duration of a lease.
    pub lease: Duration,
    /// The label sets that have a pool, without the default pool; `None` if this user may not read
    /// them.
    pub pools: Option<Vec<Labels>>,
}

impl NatsBroker {
    /// Connect, and create missing streams if that is configured and permitted.
    ///
    /// # Errors
    /// When no server answers, it refuses the connection, is too old or has no JetStream, or
    /// streams are missing and may not be created.
    pub async fn connect(config: Config) -> Result<Self, Error> {
        // Boxed: what the library needs to connect would make every caller's future a large one.
        Box::pin(Self::open(config)).await
    }

    async fn open(config: Config) -> Result<Self, Error> {
        let connection = Connection::connect(&config).await?;
        let jetstream = JetStream::new(connection.clone());
        let provisioner = Provisioner {
            connection,
            jetstream,
            names: Names::new(config.space.clone()),
        };
        let laid = provisioner.ensure(&config.provision).await?;
        if config.role == Role::Client {
            provisioner
                .ensure_tenant(&config.tenant, &laid, &config.provision)
                .await?;
        }
        Ok(Self {
            services: Arc::new(Services::new(config, provisioner, laid)),
            pull_queues: Arc::default(),
        })
    }

    /// Create everything that an installation needs: its streams, a tenant's streams, and pools for
    /// these sets of labels. Existing ones are kept.
    ///
    /// # Errors
    /// As [`Self::connect`], and when an installation with another layout exists.
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
        let Services {
            connection,
            provisioner,
            laid,
            ..
        } = &*broker.services;
        if let Some(layout) = asked {
            provisioner.check_layout(*laid, &layout)?;
            // What was lost is made again.
            provisioner.make(&layout).await?;
            let tenant = &broker.services.tenant;
            provisioner.make_tenant(tenant, laid, &layout).await?;
        }
        for labels in pools.iter().filter(|labels| !labels.is_empty()) {
            provisioner.make_pool(labels, laid).await?;
        }
        let server = connection.client.server_info().version;
        let pools = match provisioner.served().await {
            Ok(served) => Some(served.pools),
            Err(Error::Denied { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Installed {
            server: server.escape_debug().to_string(),
            shards: laid.shards,
            replicas: laid.replicas,
            lease: laid.lease,
            pools,
        })
    }

    /// Change what a tenant has, and make it first if it is not there. The installation's layout
    /// stays what it is.
    ///
    /// # Errors
    /// As [`Self::init`], and when there is no room for queues of that size.
    pub async fn resize(config: Config, quota: Quota) -> Result<(), Error> {
        Box::pin(Self::change(config, quota)).await
    }

    async fn change(config: Config, quota: Quota) -> Result<(), Error> {
        let mut layout = match &config.provision {
            Provision::Missing(layout) => layout.clone(),
            Provision::Never => Layout::default(),
        };
        layout.tasks_bytes_max = quota.queue_bytes.unwrap_or(layout.tasks_bytes_max);
        layout.weight = quota.weight.unwrap_or(layout.weight);
        let broker = Self::connect(Config {
            role: Role::Client,
            provision: Provision::Missing(layout),
            ..config
        })
        .await?;
        let Services {
            provisioner,
            laid,
            tenant,
            ..
        } = &*broker.services;
        provisioner.resize(tenant, laid, quota).await
    }

    /// Where the broker is, without secrets.
    #[must_use]
    pub fn place(&self) -> &str {
        self.services.connection.place()
    }

    /// A reading of this connection's metrics.
    #[must_use]
    pub fn metrics(&self) -> Vec<Sample> {
        self.services.connection.metrics().read()
    }

    /// Duration of a lease.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.services.laid.lease
    }

    /// Whether it is connected now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.services.connection.client.connection_state()
            == async_nats::connection::State::Connected
    }

    /// Return bundles that were fetched but not granted, and wait until the server has received
    /// everything that was sent. The last step of a worker's shutdown.
    ///
    /// # Errors
    /// When the broker cannot be reached; bundles not returned are redelivered when their leases
    /// expire.
    pub async fn close(&self) -> Result<(), Error> {
        let queues = std::mem::take(&mut *self.pull_queues.lock());
        for (_, queue) in queues {
            queue.close().await?;
        }
        self.services.connection.flush().await
    }

    fn pull_queue(&self, serves: &Serves) -> PullQueue {
        let mut queues = self.pull_queues.lock();
        if let Some((_, queue)) = queues.iter().find(|(served, _)| served == serves) {
            return queue.clone();
        }
        let queue = PullQueue::open(self.services.pulling.clone(), serves.clone());
        queues.push((serves.clone(), queue.clone()));
        queue
    }
}

#[async_trait]
impl Submit for NatsBroker {
    fn tenant(&self) -> TenantId {
        self.services.tenant
    }

    fn full(&self) -> Option<String> {
        self.services.connection.fullness()
    }

    fn lease(&self) -> Option<Duration> {
        Some(self.services.laid.lease)
    }

    fn retention(&self) -> Option<Duration> {
        Some(OUTCOME_AGE_MAX)
    }

    async fn put_component(&self, digest: Digest, bytes: Bytes) -> Result<(), Error> {
        self.services.components.put(digest, bytes).await
    }

    async fn put_job(&self, job: Job, created: Timestamp) -> Result<(), Error> {
        let services = &self.services;
        let laid = &services.laid;
        services.provisioner.pools_for(&job.functions, laid).await?;
        services
            .jobs
            .put(JobRecord {
                job,
                created,
                state: JobState::Open,
                readers: Readers::default(),
                gathered: None,
            })
            .await
    }

    async fn add_functions(
        &self,
        job: JobKey,
        first: FunctionIndex,
        functions: Vec<JobFunction>,
    ) -> Result<(), Error> {
        let services = &self.services;
        let laid = &services.laid;
        services.provisioner.pools_for(&functions, laid).await?;
        services.jobs.add_functions(&job, first, functions).await
    }

    async fn job(&self, job: JobKey) -> Result<Option<JobRecord>, Error> {
        let record = self.services.jobs.record(&job).await?;
        Ok(record.map(|(_, record)| record))
    }

    async fn publish(&self, bundle: Bundle) -> Result<(), Error> {
        self.services.bundles.publish(&bundle).await
    }

    async fn report(&self, job: JobKey, outcomes: Vec<Outcome>) -> Result<(), Error> {
        self.services.leases.report(&job, outcomes).await
    }

    async fn submitting(&self, job: JobKey) -> Result<(), Error> {
        self.services.outcomes.tell_submitting(&job).await
    }

    async fn seal(&self, job: JobKey, tasks: TaskIndex) -> Result<(), Error> {
        self.services.seal(&job, tasks).await
    }

    async fn follow(
        &self,
        job: JobKey,
        from: Position,
    ) -> Result<BoxStream<'static, Event>, Error> {
        feed::follow(self.services.feeds.clone(), job, from).await
    }

    async fn unfinished(&self, job: JobKey) -> Result<Unfinished, Error> {
        let services = &self.services;
        let mut bundles = services.bundles.unfinished(&job).await?;
        // After the count: whoever cancels changes the record before bundles are removed. A
        // follower that was told of no bundle and no marker would take the tasks for lost.
        match services.jobs.record(&job).await? {
            Some((_, record)) if record.state == JobState::Cancelled => {
                bundles = 0;
                let outcomes = services.outcomes.with_room_within(Duration::ZERO);
                match outcomes.mark_cancelled(&job).await {
                    // The end of what is to be read is still to come.
                    Err(Error::Full { .. }) => {
                        let through = Mark(u64::MAX);
                        return Ok(Unfinished { bundles, through });
                    }
                    marked => marked?,
                }
            }
            Some(_) => {}
            None => bundles = 0,
        }
        // After the count: a bundle leaves the queue only when its outcomes are stored.
        let through = Mark(services.outcomes.newest(&job).await?);
        Ok(Unfinished { bundles, through })
    }

    /// Waits for no room: it is said of what is read, and reading needs none.
    async fn note(&self, job: JobKey, reading: Reading) -> Result<Option<JobRecord>, Error> {
        let services = &self.services;
        let records = services.records_with_room_within(Duration::ZERO);
        let noted = records.revise(&job, |record| record.note(reading));
        let record = noted.await?.map(|(record, _)| record);
        if record.as_ref().is_some_and(JobRecord::is_gathered) {
            services.outcomes.drop_all(&job).await?;
            services.values.forget(&job).await?;
        }
        Ok(record)
    }

    /// Keeps a job whole while its outcomes are not many, see `trims`.
    async fn trim(&self, job: JobKey, before: Position) -> Result<(), Error> {
        self.services.feeds.trim(&job, before).await
    }

    async fn cancel(&self, job: JobKey) -> Result<(), Error> {
        self.services.cancel(&job).await
    }

    async fn cancel_tasks(&self, job: JobKey, tasks: Vec<TaskIndex>) -> Result<(), Error> {
        self.services.cancel_tasks(&job, &tasks).await
    }

    async fn forget(&self, job: JobKey) -> Result<(), Error> {
        self.services.forget(&job).await
    }
}

#[async_trait]
impl Work for NatsBroker {
    async fn component(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        self.services.components.fetch(digest).await
    }

    async fn pull(&self, puller: &Puller, credits: NonZeroUsize) -> Result<Vec<Lease>, Error> {
        self.pull_queue(&puller.serves).pull(credits).await
    }

    async fn extend(&self, lease: LeaseId) -> Result<Extended, Error> {
        self.services.leases.extend(lease).await
    }

    async fn complete(&self, lease: LeaseId, job: JobKey, report: Report) -> Result<(), Error> {
        let leases = &self.services.leases;
        match leases.held.remove(lease) {
            Some(held) if held.key == job => leases.complete(held, report).await,
            other => {
                // A report on one job never ends a lease of another.
                other.into_iter().for_each(|held| leases.held.insert(held));
                leases.report(&job, report.outcomes).await
            }
        }
    }

    async fn release(&self, lease: LeaseId) -> Result<(), Error> {
        match self.services.leases.held.remove(lease) {
            Some(held) => self.services.leases.release(&held).await,
            None => Ok(()),
        }
    }

    fn cancelled(&self, lease: &Lease) -> Option<Cancellation> {
        let job = lease.job.key;
        match self.services.jobs.get(&job) {
            Some(known) if known.is_cancelled() => Some(Cancellation::Job(job)),
            Some(_) | None => self.services.cancelled_tasks.of(lease),
        }
    }

    async fn cancellations(&self) -> Result<BoxStream<'static, Cancellation>, Error> {
        let subject = self.services.names.all_cancels();
        let told = self.services.connection.listen(subject).await?;
        let services = self.services.clone();
        let cancelled = told.filter_map(move |message| {
            let key = services.names.parse_cancel(&message.subject);
            let cancelled = key.and_then(|key| cancelled_tasks::parse(key, &message.payload));
            cancelled.iter().for_each(|told| services.hear(told));
            std::future::ready(cancelled)
        });
        Ok(cancelled.boxed())
    }

    async fn announce(&self, presence: Presence) -> Result<(), Error> {
        self.services.presences.announce(&presence).await
    }
}

#[async_trait]
impl Operate for NatsBroker {
    async fn jobs(&self, count_max: usize) -> Result<Vec<JobRecord>, Error> {
        let services = &self.services;
        services.jobs.list(&services.tenant, count_max).await
    }

    async fn dead_letters(
        &self,
        job: Option<JobKey>,
        count_max: usize,
    ) -> Result<Vec<(LetterId, DeadLetter)>, Error> {
        let services = &self.services;
        services
            .dead_letters
            .list(&services.tenant, job, count_max)
            .await
    }

    async fn remove_dead_letter(&self, letter: LetterId) -> Result<bool, Error> {
        let services = &self.services;
        services.dead_letters.remove(&services.tenant, letter).await
    }

    async fn queues(&self) -> Result<Vec<Waiting>, Error> {
        self.services.queues().list(&self.services.tenant).await
    }

    async fn empty(&self, tenant: TenantId) -> Result<u64, Error> {
        self.services.queues().empty(&tenant).await
    }

    /// Where the broker has room for nothing, as far as this process was told, and no worker is
    /// listed, that is the error: workers cannot say then that they are there.
    async fn workers(&self) -> Result<Vec<Presence>, Error> {
        let workers = self.services.presences.list().await?;
        match self.services.connection.lacking() {
            Some(full) if workers.is_empty() => Err(full),
            Some(_) | None => Ok(workers),
        }
    }
}

#[async_trait]
impl Coordinate for NatsBroker {
    fn outlives_process(&self) -> bool {
        true
    }

    async fn append_graph(&self, job: JobKey, entries: Vec<GraphEntry>) -> Result<(), Error> {
        self.services.graphs.append(&job, &entries).await
    }

    async fn graph(&self, job: JobKey) -> Result<Vec<GraphEntry>, Error> {
        self.services.graphs.entries(&job).await
    }

    async fn unfinished_tasks(&self, job: JobKey) -> Result<Vec<TaskIndex>, Error> {
        self.services.graphs.unfinished_tasks(&job).await
    }

    async fn claim(
        &self,
        job: JobKey,
        term: Term,
        after: Option<u64>,
    ) -> Result<Option<u64>, Error> {
        self.services.graphs.claim(&job, term, after).await
    }

    async fn claimed(&self, job: JobKey) -> Result<Option<Claimed>, Error> {
        self.services.graphs.claimed(&job).await
    }

    async fn all_claimed(&self) -> Result<Vec<(JobKey, Claimed)>, Error> {
        self.services.graphs.all_claimed().await
    }

    async fn drop_graph(&self, job: JobKey) -> Result<(), Error> {
        self.services.graphs.drop(&job).await
    }
}

#[async_trait]
impl Directory for NatsBroker {
    async fn publish_name(&self, published: Published) -> Result<(), Error> {
        self.services.task_names.publish(&published).await
    }

    async fn published(&self, name: &TaskName) -> Result<Option<Published>, Error> {
        self.services.task_names.find(name).await
    }

    async fn all_published(&self) -> Result<Vec<Published>, Error> {
        self.services.task_names.all().await
    }

    async fn unpublish(&self, name: &TaskName) -> Result<(), Error> {
        self.services.task_names.remove(name).await
    }
}

#[async_trait]
impl KeepValues for NatsBroker {
    async fn put_value(
        &self,
        job: JobKey,
        task: Option<TaskIndex>,
        value: Bytes,
    ) -> Result<BrokerRef, Error> {
        self.services.values.put(&job, task, value).await
    }

    async fn value(&self, tenant: TenantId, kept: BrokerRef) -> Result<Option<Bytes>, Error> {
        self.services.values.fetch(&tenant, &kept).await
    }

    async fn drop_values(&self, job: JobKey, tasks: Vec<TaskIndex>) -> Result<(), Error> {
        self.services.values.drop_of(&job, &tasks).await
    }
}
