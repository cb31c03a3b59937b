//! A broker of one process in whose way things are put: it is away, what is in it cannot be read,
//! or it takes its time.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, stream};
use sortie_broker::memory::MemoryBroker;
use sortie_broker::nats::OUTCOME_AGE_MAX;
use sortie_broker::{
    Cancellation, Claimed, Coordinate, Directory, Error, Event, Extended, KeepValues, Lease,
    LetterId, Operate, Position, Puller, Report, Submit, Unfinished, Work,
};
use sortie_protocol::{
    BrokerRef, Bundle, DeadLetter, Digest, FunctionIndex, GraphEntry, Job, JobFunction, JobKey,
    JobRecord, LeaseId, Outcome, Presence, Priority, Published, Reading, Task, TaskIndex, TaskName,
    TenantId, Term, Timestamp, WorkerId,
};
use tokio::sync::watch;

/// Clones are the same broker.
#[derive(Debug, Clone)]
pub(super) struct Troubled {
    pub(super) inner: MemoryBroker,
    /// Outcomes of these tasks are stored, and nobody can read them.
    unreadable: Arc<Mutex<HashSet<TaskIndex>>>,
    away: watch::Sender<bool>,
    published: watch::Sender<usize>,
    /// How often a job was followed.
    pub(super) followed: Arc<AtomicUsize>,
    /// How often the unfinished bundles were queried.
    asked: watch::Sender<usize>,
    /// How long an answer to that is under way.
    answer_takes: Arc<Mutex<Duration>>,
    /// Whether outcomes can be read at the moment.
    is_read: watch::Sender<bool>,
    /// How much older jobs look than they are.
    aged: Arc<Mutex<Duration>>,
    /// How long the answer to added functions is under way.
    pub(super) adding_takes: Arc<Mutex<Duration>>,
    /// Whether functions of high priority are refused.
    pub(super) refuses_urgent: Arc<AtomicBool>,
}

impl Troubled {
    pub(super) fn new() -> Self {
        Self {
            inner: MemoryBroker::default(),
            unreadable: Arc::default(),
            away: watch::Sender::new(false),
            published: watch::Sender::new(0),
            followed: Arc::default(),
            asked: watch::Sender::new(0),
            answer_takes: Arc::default(),
            is_read: watch::Sender::new(true),
            aged: Arc::default(),
            adding_takes: Arc::default(),
            refuses_urgent: Arc::default(),
        }
    }

    /// The same broker, as another process reaches it.
    pub(super) fn beside(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            ..Self::new()
        }
    }

    pub(super) fn hide(&self, index: TaskIndex) {
        self.unreadable.lock().unwrap().insert(index);
    }

    /// From now on it does not answer, for longer than any client waits.
    pub(super) fn leave(&self) {
        self.away.send_replace(true);
    }

    /// From now on an answer to what is unfinished comes that much later than it was true.
    pub(super) fn answer_late(&self, by: Duration) {
        *self.answer_takes.lock().unwrap() = by;
    }

    /// Wait until it was asked so often what is unfinished.
    pub(super) async fn asked(&self, count: usize) {
        self.asked
            .subscribe()
            .wait_for(|asked| *asked >= count)
            .await
            .unwrap();
    }

    pub(super) fn asked_so_far(&self) -> usize {
        *self.asked.borrow()
    }

    /// Whether outcomes can be read from now on. While they cannot, followers of a job wait.
    pub(super) fn set_read(&self, is_read: bool) {
        self.is_read.send_replace(is_read);
    }

    /// From now on all jobs look as if they were submitted that much earlier.
    pub(super) fn age(&self, by: Duration) {
        *self.aged.lock().unwrap() = by;
    }

    pub(super) fn published_so_far(&self) -> usize {
        *self.published.borrow()
    }

    /// Wait until so many bundles were published.
    pub(super) async fn published(&self, count: usize) {
        self.published
            .subscribe()
            .wait_for(|published| *published >= count)
            .await
            .unwrap();
    }

    /// Take a bundle and report on each of its tasks alone.
    pub(super) async fn work(&self, outcome: impl Fn(TaskIndex) -> Outcome) {
        self.work_on(|task| outcome(task.index)).await;
    }

    /// The same, by what each task is called with.
    pub(super) async fn work_on(&self, outcome: impl Fn(&Task) -> Outcome) {
        let lease = self.lease().await;
        self.report_on(lease, outcome).await;
    }

    /// Take a bundle.
    pub(super) async fn lease(&self) -> Lease {
        let puller = Puller {
            worker: WorkerId::from_bytes([1; 16]),
            serves: sortie_broker::Serves::Everything,
        };
        let mut leases = self.inner.pull(&puller, NonZeroUsize::MIN).await.unwrap();
        leases.remove(0)
    }

    /// Report on each task of a bundle alone.
    pub(super) async fn report_on(&self, lease: Lease, outcome: impl Fn(&Task) -> Outcome) {
        for task in &lease.bundle.tasks {
            let report = Report {
                outcomes: vec![outcome(task)],
                retrials: Vec::new(),
            };
            // All but the last are reported late, so that the lease holds until then.
            let is_last = Some(task) == lease.bundle.tasks.last();
            let id = if is_last { lease.id } else { LeaseId(u64::MAX) };
            self.inner
                .complete(id, lease.job.key, report)
                .await
                .unwrap();
        }
    }

    fn there(&self) -> Result<(), Error> {
        if *self.away.borrow() {
            Err(unreachable())
        } else {
            Ok(())
        }
    }
}

fn unreachable() -> Error {
    Error::Unreachable {
        place: "the test".into(),
        reason: "it is away".into(),
    }
}

#[async_trait]
impl Submit for Troubled {
    fn tenant(&self) -> TenantId {
        self.inner.tenant()
    }

    /// What a fleet's broker says. Nothing is dropped here by itself.
    fn retention(&self) -> Option<Duration> {
        Some(OUTCOME_AGE_MAX)
    }

    async fn put_component(&self, digest: Digest, bytes: Bytes) -> Result<(), Error> {
        self.there()?;
        self.inner.put_component(digest, bytes).await
    }

    async fn put_job(&self, job: Job, created: Timestamp) -> Result<(), Error> {
        self.there()?;
        self.inner.put_job(job, created).await
    }

    async fn add_functions(
        &self,
        job: JobKey,
        first: FunctionIndex,
        functions: Vec<JobFunction>,
    ) -> Result<(), Error> {
        self.there()?;
        let is_urgent = |called: &JobFunction| called.options.priority == Priority::High;
        if self.refuses_urgent.load(Ordering::Relaxed) && functions.iter().any(is_urgent) {
            return Err(Error::Denied {
                place: "the test".into(),
                reason: "there is no pool for it".into(),
            });
        }
        self.inner.add_functions(job, first, functions).await?;
        let takes = *self.adding_takes.lock().unwrap();
        tokio::time::sleep(takes).await;
        Ok(())
    }

    async fn cancel_tasks(&self, job: JobKey, tasks: Vec<TaskIndex>) -> Result<(), Error> {
        self.there()?;
        self.inner.cancel_tasks(job, tasks).await
    }

    async fn job(&self, job: JobKey) -> Result<Option<JobRecord>, Error> {
        self.there()?;
        let record = self.inner.job(job).await?;
        let aged = u64::try_from(self.aged.lock().unwrap().as_nanos()).unwrap();
        Ok(record.map(|record| JobRecord {
            created: Timestamp::from_nanos(record.created.as_nanos().saturating_sub(aged)),
            ..record
        }))
    }

    async fn publish(&self, bundle: Bundle) -> Result<(), Error> {
        // As over a network: others come in between. The first poll only asks whether the answer is
        // there at once.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        self.there()?;
        self.inner.publish(bundle).await?;
        self.published.send_modify(|published| *published += 1);
        Ok(())
    }

    async fn report(&self, job: JobKey, outcomes: Vec<Outcome>) -> Result<(), Error> {
        self.there()?;
        self.inner.report(job, outcomes).await
    }

    async fn submitting(&self, job: JobKey) -> Result<(), Error> {
        self.there()?;
        self.inner.submitting(job).await
    }

    async fn seal(&self, job: JobKey, tasks: TaskIndex) -> Result<(), Error> {
        self.there()?;
        self.inner.seal(job, tasks).await
    }

    async fn follow(
        &self,
        job: JobKey,
        from: Position,
    ) -> Result<BoxStream<'static, Event>, Error> {
        self.there()?;
        self.followed.fetch_add(1, Ordering::Relaxed);
        let events = self.inner.follow(job, from).await?;
        let (away, unreadable, is_read) = (
            self.away.subscribe(),
            self.unreadable.clone(),
            self.is_read.clone(),
        );
        Ok(stream::unfold(Some((events, away)), move |state| {
            let (unreadable, mut is_read) = (unreadable.clone(), is_read.subscribe());
            async move {
                let (mut events, mut away) = state?;
                loop {
                    is_read.wait_for(|is_read| *is_read).await.unwrap();
                    let event = tokio::select! {
                        biased;
                        event = events.next() => event?,
                        _ = away.wait_for(|away| *away) => {
                            return Some((Event::Refused(unreachable()), None));
                        }
                    };
                    let Event::Outcomes(position, outcomes) = event else {
                        return Some((event, Some((events, away))));
                    };
                    if outcomes
                        .iter()
                        .any(|outcome| unreadable.lock().unwrap().contains(&outcome.index))
                    {
                        continue;
                    }
                    return Some((Event::Outcomes(position, outcomes), Some((events, away))));
                }
            }
        })
        .boxed())
    }

    async fn unfinished(&self, job: JobKey) -> Result<Unfinished, Error> {
        self.there()?;
        let unfinished = self.inner.unfinished(job).await;
        self.asked.send_modify(|asked| *asked += 1);
        let answer_takes = *self.answer_takes.lock().unwrap();
        tokio::time::sleep(answer_takes).await;
        unfinished
    }

    async fn note(&self, job: JobKey, reading: Reading) -> Result<Option<JobRecord>, Error> {
        self.there()?;
        self.inner.note(job, reading).await
    }

    async fn trim(&self, job: JobKey, before: Position) -> Result<(), Error> {
        self.there()?;
        self.inner.trim(job, before).await
    }

    async fn cancel(&self, job: JobKey) -> Result<(), Error> {
        self.there()?;
        self.inner.cancel(job).await
    }

    async fn forget(&self, job: JobKey) -> Result<(), Error> {
        self.there()?;
        self.inner.forget(job).await
    }
}

#[async_trait]
impl Work for Troubled {
    async fn component(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        self.there()?;
        self.inner.component(digest).await
    }

    async fn pull(&self, puller: &Puller, credits: NonZeroUsize) -> Result<Vec<Lease>, Error> {
        self.there()?;
        self.inner.pull(puller, credits).await
    }

    async fn extend(&self, lease: LeaseId) -> Result<Extended, Error> {
        self.there()?;
        self.inner.extend(lease).await
    }

    async fn complete(&self, lease: LeaseId, job: JobKey, report: Report) -> Result<(), Error> {
        self.there()?;
        self.inner.complete(lease, job, report).await
    }

    async fn release(&self, lease: LeaseId) -> Result<(), Error> {
        self.there()?;
        self.inner.release(lease).await
    }

    fn cancelled(&self, lease: &Lease) -> Option<Cancellation> {
        self.inner.cancelled(lease)
    }

    async fn cancellations(&self) -> Result<BoxStream<'static, Cancellation>, Error> {
        self.there()?;
        self.inner.cancellations().await
    }

    async fn announce(&self, presence: Presence) -> Result<(), Error> {
        self.there()?;
        self.inner.announce(presence).await
    }
}

#[async_trait]
impl Operate for Troubled {
    async fn jobs(&self, count_max: usize) -> Result<Vec<JobRecord>, Error> {
        self.there()?;
        self.inner.jobs(count_max).await
    }

    async fn dead_letters(
        &self,
        job: Option<JobKey>,
        count_max: usize,
    ) -> Result<Vec<(LetterId, DeadLetter)>, Error> {
        self.there()?;
        self.inner.dead_letters(job, count_max).await
    }

    async fn remove_dead_letter(&self, letter: LetterId) -> Result<bool, Error> {
        self.there()?;
        self.inner.remove_dead_letter(letter).await
    }

    async fn queues(&self) -> Result<Vec<sortie_broker::Waiting>, Error> {
        self.there()?;
        self.inner.queues().await
    }

    async fn empty(&self, tenant: TenantId) -> Result<u64, Error> {
        self.there()?;
        self.inner.empty(tenant).await
    }

    async fn workers(&self) -> Result<Vec<Presence>, Error> {
        self.there()?;
        self.inner.workers().await
    }
}

#[async_trait]
impl Coordinate for Troubled {
    fn outlives_process(&self) -> bool {
        true
    }

    async fn append_graph(&self, job: JobKey, entries: Vec<GraphEntry>) -> Result<(), Error> {
        self.there()?;
        self.inner.append_graph(job, entries).await
    }

    async fn graph(&self, job: JobKey) -> Result<Vec<GraphEntry>, Error> {
        self.there()?;
        self.inner.graph(job).await
    }

    async fn unfinished_tasks(&self, job: JobKey) -> Result<Vec<TaskIndex>, Error> {
        self.there()?;
        self.inner.unfinished_tasks(job).await
    }

    async fn claim(
        &self,
        job: JobKey,
        term: Term,
        after: Option<u64>,
    ) -> Result<Option<u64>, Error> {
        self.there()?;
        self.inner.claim(job, term, after).await
    }

    async fn claimed(&self, job: JobKey) -> Result<Option<Claimed>, Error> {
        self.there()?;
        self.inner.claimed(job).await
    }

    async fn all_claimed(&self) -> Result<Vec<(JobKey, Claimed)>, Error> {
        self.there()?;
        self.inner.all_claimed().await
    }

    async fn drop_graph(&self, job: JobKey) -> Result<(), Error> {
        self.there()?;
        self.inner.drop_graph(job).await
    }
}

#[async_trait]
impl Directory for Troubled {
    async fn publish_name(&self, published: Published) -> Result<(), Error> {
        self.there()?;
        self.inner.publish_name(published).await
    }

    async fn published(&self, name: &TaskName) -> Result<Option<Published>, Error> {
        self.there()?;
        self.inner.published(name).await
    }

    async fn all_published(&self) -> Result<Vec<Published>, Error> {
        self.there()?;
        self.inner.all_published().await
    }

    async fn unpublish(&self, name: &TaskName) -> Result<(), Error> {
        self.there()?;
        self.inner.unpublish(name).await
    }
}

#[async_trait]
impl KeepValues for Troubled {
    async fn put_value(
        &self,
        job: JobKey,
        task: Option<TaskIndex>,
        value: Bytes,
    ) -> Result<BrokerRef, Error> {
        self.there()?;
        self.inner.put_value(job, task, value).await
    }

    async fn value(&self, tenant: TenantId, kept: BrokerRef) -> Result<Option<Bytes>, Error> {
        self.there()?;
        self.inner.value(tenant, kept).await
    }

    async fn drop_values(&self, job: JobKey, tasks: Vec<TaskIndex>) -> Result<(), Error> {
        self.there()?;
        self.inner.drop_values(job, tasks).await
    }
}
