//! The broker of one process, which panics when it is asked to, and withholds components.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use parking_lot::Mutex;
use sortie_broker::memory::{Config, MemoryBroker};
use sortie_broker::{
    Cancellation, Claimed, Coordinate, Directory, Error, Event, Extended, KeepValues, Lease,
    LetterId, Operate, Position, Report, Submit, Unfinished, Work,
};
use sortie_protocol::{
    BrokerRef, Bundle, DeadLetter, Digest, FunctionIndex, GraphEntry, Job, JobFunction, JobKey,
    JobRecord, LeaseId, Outcome, Presence, Published, Reading, TaskIndex, TaskName, TenantId, Term,
    Timestamp,
};
use tokio::sync::watch;

use super::super::{Duration, NonZeroUsize, Puller};

/// What a worker asks of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Ask {
    Component,
    Pull,
    Extend,
    Complete,
    Cancellations,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Faulty {
    inner: MemoryBroker,
    /// How often it is still to panic.
    panics: Mutex<HashMap<Ask, u32>>,
    /// Components that it does not give yet, and how often it was asked for them.
    withheld: Mutex<HashMap<Digest, u32>>,
    /// Whether it gives them by now.
    gives: watch::Sender<bool>,
    /// Whether the first task of the next lease is cancelled while the lease is on its way.
    overtakes: AtomicBool,
    /// How often the worker asked for the next cancellation: then it has dealt with the one before.
    listened: watch::Sender<u32>,
}

impl Faulty {
    pub(super) fn new() -> Self {
        // Short, so that a lease that nobody ends is soon over.
        let config = Config {
            lease: Duration::from_millis(500),
            deliveries_max: 100,
            ..Config::default()
        };
        Self {
            inner: MemoryBroker::new(config),
            panics: Mutex::default(),
            withheld: Mutex::default(),
            gives: watch::Sender::new(false),
            overtakes: AtomicBool::new(false),
            listened: watch::Sender::new(0),
        }
    }

    /// Cancel the first task of the next lease, and give the lease when the worker has heard of it.
    pub(super) async fn overtake(&self) {
        self.listened(1).await;
        self.overtakes.store(true, Ordering::Release);
    }

    async fn listened(&self, times: u32) {
        let mut listened = self.listened.subscribe();
        // The sender lives as long as this.
        let _ = listened.wait_for(|asked| *asked >= times).await.map(drop);
    }

    /// Give what is withheld.
    pub(super) fn give(&self) {
        self.gives.send_replace(true);
    }

    /// Do not answer who asks for this component before [`Self::give`].
    pub(super) fn withhold(&self, digest: Digest) {
        self.withheld.lock().insert(digest, 0);
    }

    /// How often withheld components were asked for.
    pub(super) fn asked_in_vain(&self) -> u32 {
        self.withheld.lock().values().sum()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.inner.now()
    }

    /// Panic the next times that this is asked.
    pub(super) fn panic_at(&self, ask: Ask, times: u32) {
        self.panics.lock().insert(ask, times);
    }

    /// How many of these panics are still to come.
    pub(super) fn left(&self, ask: Ask) -> u32 {
        self.panics.lock().get(&ask).copied().unwrap_or_default()
    }

    fn asked(&self, ask: Ask) {
        let panics = match self.panics.lock().get_mut(&ask) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            Some(_) | None => false,
        };
        assert!(!panics, "as a test asked for: {ask:?}");
    }
}

#[async_trait]
impl Submit for Faulty {
    fn tenant(&self) -> TenantId {
        self.inner.tenant()
    }

    fn retention(&self) -> Option<Duration> {
        self.inner.retention()
    }

    async fn report(&self, job: JobKey, outcomes: Vec<Outcome>) -> Result<(), Error> {
        self.inner.report(job, outcomes).await
    }

    async fn submitting(&self, job: JobKey) -> Result<(), Error> {
        self.inner.submitting(job).await
    }

    async fn put_component(&self, digest: Digest, bytes: Bytes) -> Result<(), Error> {
        self.inner.put_component(digest, bytes).await
    }

    async fn put_job(&self, job: Job, created: Timestamp) -> Result<(), Error> {
        self.inner.put_job(job, created).await
    }

    async fn add_functions(
        &self,
        job: JobKey,
        first: FunctionIndex,
        functions: Vec<JobFunction>,
    ) -> Result<(), Error> {
        self.inner.add_functions(job, first, functions).await
    }

    async fn cancel_tasks(&self, job: JobKey, tasks: Vec<TaskIndex>) -> Result<(), Error> {
        self.inner.cancel_tasks(job, tasks).await
    }

    async fn job(&self, job: JobKey) -> Result<Option<JobRecord>, Error> {
        self.inner.job(job).await
    }

    async fn publish(&self, bundle: Bundle) -> Result<(), Error> {
        self.inner.publish(bundle).await
    }

    async fn seal(&self, job: JobKey, tasks: TaskIndex) -> Result<(), Error> {
        self.inner.seal(job, tasks).await
    }

    async fn note(&self, job: JobKey, reading: Reading) -> Result<Option<JobRecord>, Error> {
        self.inner.note(job, reading).await
    }

    async fn trim(&self, job: JobKey, before: Position) -> Result<(), Error> {
        self.inner.trim(job, before).await
    }

    async fn cancel(&self, job: JobKey) -> Result<(), Error> {
        self.inner.cancel(job).await
    }

    async fn forget(&self, job: JobKey) -> Result<(), Error> {
        self.inner.forget(job).await
    }

    async fn follow(
        &self,
        job: JobKey,
        from: Position,
    ) -> Result<BoxStream<'static, Event>, Error> {
        self.inner.follow(job, from).await
    }

    async fn unfinished(&self, job: JobKey) -> Result<Unfinished, Error> {
        self.inner.unfinished(job).await
    }
}

#[async_trait]
impl Work for Faulty {
    async fn component(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        self.asked(Ask::Component);
        let withheld = self
            .withheld
            .lock()
            .get_mut(&digest)
            .map(|asked| *asked += 1);
        if withheld.is_some() {
            let mut gives = self.gives.subscribe();
            // The sender lives as long as this.
            let _ = gives.wait_for(|gives| *gives).await.map(drop);
        }
        self.inner.component(digest).await
    }

    async fn pull(&self, puller: &Puller, credits: NonZeroUsize) -> Result<Vec<Lease>, Error> {
        let leases = self.inner.pull(puller, credits).await?;
        self.asked(Ask::Pull);
        if self.overtakes.swap(false, Ordering::AcqRel) {
            let lease = leases.first().unwrap();
            let first = vec![lease.bundle.tasks[0].index];
            self.inner.cancel_tasks(lease.job.key, first).await?;
            self.listened(2).await;
        }
        Ok(leases)
    }

    async fn extend(&self, lease: LeaseId) -> Result<Extended, Error> {
        self.asked(Ask::Extend);
        self.inner.extend(lease).await
    }

    async fn complete(&self, lease: LeaseId, job: JobKey, report: Report) -> Result<(), Error> {
        self.asked(Ask::Complete);
        self.inner.complete(lease, job, report).await
    }

    async fn release(&self, lease: LeaseId) -> Result<(), Error> {
        self.inner.release(lease).await
    }

    async fn cancellations(&self) -> Result<BoxStream<'static, Cancellation>, Error> {
        self.asked(Ask::Cancellations);
        let cancelled = self.inner.cancellations().await?;
        let asking = (cancelled, self.listened.clone());
        let next = async |(mut cancelled, asked): (BoxStream<'static, _>, watch::Sender<u32>)| {
            asked.send_modify(|asked| *asked += 1);
            Some((cancelled.next().await?, (cancelled, asked)))
        };
        Ok(stream::unfold(asking, next).boxed())
    }

    fn cancelled(&self, lease: &Lease) -> Option<Cancellation> {
        self.inner.cancelled(lease)
    }

    async fn announce(&self, presence: Presence) -> Result<(), Error> {
        self.inner.announce(presence).await
    }
}

#[async_trait]
impl Operate for Faulty {
    async fn jobs(&self, count_max: usize) -> Result<Vec<JobRecord>, Error> {
        self.inner.jobs(count_max).await
    }

    async fn dead_letters(
        &self,
        job: Option<JobKey>,
        count_max: usize,
    ) -> Result<Vec<(LetterId, DeadLetter)>, Error> {
        self.inner.dead_letters(job, count_max).await
    }

    async fn remove_dead_letter(&self, letter: LetterId) -> Result<bool, Error> {
        self.inner.remove_dead_letter(letter).await
    }

    async fn queues(&self) -> Result<Vec<sortie_broker::Waiting>, Error> {
        self.inner.queues().await
    }

    async fn empty(&self, tenant: TenantId) -> Result<u64, Error> {
        self.inner.empty(tenant).await
    }

    async fn workers(&self) -> Result<Vec<Presence>, Error> {
        self.inner.workers().await
    }
}

#[async_trait]
impl Coordinate for Faulty {
    fn outlives_process(&self) -> bool {
        self.inner.outlives_process()
    }

    async fn append_graph(&self, job: JobKey, entries: Vec<GraphEntry>) -> Result<(), Error> {
        self.inner.append_graph(job, entries).await
    }

    async fn graph(&self, job: JobKey) -> Result<Vec<GraphEntry>, Error> {
        self.inner.graph(job).await
    }

    async fn unfinished_tasks(&self, job: JobKey) -> Result<Vec<TaskIndex>, Error> {
        self.inner.unfinished_tasks(job).await
    }

    async fn claim(
        &self,
        job: JobKey,
        term: Term,
        after: Option<u64>,
    ) -> Result<Option<u64>, Error> {
        self.inner.claim(job, term, after).await
    }

    async fn claimed(&self, job: JobKey) -> Result<Option<Claimed>, Error> {
        self.inner.claimed(job).await
    }

    async fn all_claimed(&self) -> Result<Vec<(JobKey, Claimed)>, Error> {
        self.inner.all_claimed().await
    }

    async fn drop_graph(&self, job: JobKey) -> Result<(), Error> {
        self.inner.drop_graph(job).await
    }
}

#[async_trait]
impl Directory for Faulty {
    async fn publish_name(&self, published: Published) -> Result<(), Error> {
        self.inner.publish_name(published).await
    }

    async fn published(&self, name: &TaskName) -> Result<Option<Published>, Error> {
        self.inner.published(name).await
    }

    async fn all_published(&self) -> Result<Vec<Published>, Error> {
        self.inner.all_published().await
    }

    async fn unpublish(&self, name: &TaskName) -> Result<(), Error> {
        self.inner.unpublish(name).await
    }
}

#[async_trait]
impl KeepValues for Faulty {
    async fn put_value(
        &self,
        job: JobKey,
        task: Option<TaskIndex>,
        value: Bytes,
    ) -> Result<BrokerRef, Error> {
        self.inner.put_value(job, task, value).await
    }

    async fn value(&self, tenant: TenantId, kept: BrokerRef) -> Result<Option<Bytes>, Error> {
        self.inner.value(tenant, kept).await
    }

    async fn drop_values(&self, job: JobKey, tasks: Vec<TaskIndex>) -> Result<(), Error> {
        self.inner.drop_values(job, tasks).await
    }
}
