//! The in-process broker: keeps everything in memory.
//!
//! All decisions are in `queue`, a state machine without a clock; this file is its shell. It has no
//! task or thread of its own: each call that waits (a worker for leases, a publisher for room, a
//! follower for outcomes) also wakes at the next deadline and lets the queue act on it. While no
//! call waits, an expired lease is acted on at the next input.
//!
//! Bounds: bundles of a tenant that wait weigh at most [`Config::weight_max`] together, then its
//! `publish` waits.
//! Outcomes are kept until the follower trims them, so a client bounds them by the number of tasks
//! it has in flight. Dead letters are a ring of [`Config::dead_letters_max`]; workers that
//! announced themselves are kept up to a number.
//!
//! Accepted trade-off: everything is lost with the process. In the embedded case client and workers
//! are lost with it, too.

mod clock;
mod config;
mod dead_letters;
mod entry;
pub mod faults;
mod graphs;
mod outcome_log;
mod queue;
mod queued_bundle;
mod ready;
mod roster;
mod values;
mod weights;

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use parking_lot::Mutex;
use sortie_protocol::{
    BrokerRef, Bundle, DeadLetter, Digest, FunctionIndex, GraphEntry, Job, JobFunction, JobKey,
    JobRecord, LeaseId, Outcome, Presence, Published, Reading, TaskIndex, TaskName, TenantId, Term,
    Timestamp,
};
use tokio::sync::{Notify, broadcast};

use self::clock::Clock;
pub use self::config::Config;
pub use self::faults::Faults;
use self::graphs::Graphs;
use self::outcome_log::{Cursor, OutcomeLog};
use self::queue::{Admitted, Command, Input, Queue, Seal};
use self::roster::Roster;
use self::values::KeptValues;
use crate::traits::{
    Cancellation, Claimed, Coordinate, Directory, Error, Event, Extended, KeepValues, Lease,
    LetterId, Mark, Operate, Position, Puller, Report, Submit, Unfinished, Waiting, Work,
};

/// How many cancellations a worker may be behind before it misses some; it then learns of them from
/// its next failed extension.
const CANCELLATIONS_KEPT: usize = 1024;

/// An in-process broker. Cheap to clone; clones are the same broker.
#[derive(Debug, Clone)]
pub struct MemoryBroker {
    shared: Arc<Shared>,
    tenant: TenantId,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Wakes workers: something may be ready, or a bundle is delayed for less than they may sleep.
    ready: Notify,
    /// Wakes publishers: the queue has room again.
    room: Notify,
    /// Publishers of each tenant that wait for room.
    full: Mutex<HashMap<TenantId, usize>>,
    cancellations: broadcast::Sender<Cancellation>,
    clock: Clock,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    components: HashMap<Digest, Bytes>,
    logs: HashMap<JobKey, OutcomeLog>,
    graphs: Graphs,
    values: KeptValues,
    published: BTreeMap<(TenantId, TaskName), Published>,
    roster: Roster,
}

impl MemoryBroker {
    /// A new, empty broker.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let (cancellations, _) = broadcast::channel(CANCELLATIONS_KEPT);
        let state = State {
            queue: Queue::new(config),
            components: HashMap::new(),
            logs: HashMap::new(),
            graphs: Graphs::default(),
            values: KeptValues::default(),
            published: BTreeMap::new(),
            roster: Roster::default(),
        };
        let (ready, room, clock) = (Notify::new(), Notify::new(), Clock::new());
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                ready,
                room,
                full: Mutex::default(),
                cancellations,
                clock,
            }),
            tenant: TenantId::default(),
        }
    }

    /// The same broker, for another tenant: whoever pulls, here or there, serves both.
    #[must_use]
    pub fn for_tenant(&self, tenant: TenantId) -> Self {
        Self {
            shared: self.shared.clone(),
            tenant,
        }
    }

    /// The time as this broker sees it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl Shared {
    /// Put `input` to the queue and do what it commands. Grants come back to the caller.
    fn step(&self, input: Input) -> Vec<Lease> {
        self.step_in(&mut self.state.lock(), input)
    }

    /// [`Self::step`], for a caller that holds the lock.
    fn step_in(&self, state: &mut State, input: Input) -> Vec<Lease> {
        let mut leases = Vec::new();
        // Read under the lock, so that the queue's time never runs back.
        for command in state.queue.on(input, self.clock.now()) {
            match command {
                Command::Grant(lease) => leases.push(lease),
                Command::Store(job, outcomes) => {
                    if let Some(log) = state.logs.get_mut(&job) {
                        log.append(outcomes);
                    }
                }
                Command::WakeWorker => self.ready.notify_one(),
                // Reaches every worker that sleeps: one that is not registered yet has yet to look.
                Command::WakeWorkers => self.ready.notify_waiters(),
                Command::WakePublishers => self.room.notify_waiters(),
                Command::Cancelled(job) => {
                    if let Some(log) = state.logs.get_mut(&job) {
                        log.cancel();
                    }
                    // An error means that no worker listens, so none runs a task of it.
                    let _ = self.cancellations.send(Cancellation::Job(job));
                }
                Command::Forgotten(job) => {
                    let _ = self.cancellations.send(Cancellation::Job(job));
                }
                Command::TasksCancelled(job, tasks) => {
                    let _ = self
                        .cancellations
                        .send(Cancellation::Tasks(job, tasks.into()));
                }
            }
        }
        leases
    }

    /// Publish `bundle` if there is room now. Asking and publishing are one step: two publishers
    /// never share the last room.
    fn try_publish(&self, bundle: Bundle) -> Result<Placed, Error> {
        let mut state = self.state.lock();
        Ok(match state.queue.admits(&bundle)? {
            Admitted::Now => {
                self.step_in(&mut state, Input::Publish(bundle));
                Placed::Now
            }
            Admitted::Later => Placed::Full(bundle),
        })
    }

    /// Wait for `woken`, but no longer than to the queue's next deadline, and let the queue act on
    /// it. Cancel safe.
    async fn wait(&self, woken: impl Future<Output = ()>) {
        let until = self
            .clock
            .instant(self.state.lock().queue.look_again(self.clock.now()));
        if tokio::time::timeout_at(until, woken).await.is_err() {
            self.step(Input::Tick);
        }
    }
}

/// What became of a bundle that was to be published.
enum Placed {
    Now,
    /// There is no room; it comes back.
    Full(Bundle),
}

/// A publisher of a tenant that waits for room.
struct WaitsForRoom<'b> {
    shared: &'b Shared,
    tenant: TenantId,
}

impl<'b> WaitsForRoom<'b> {
    fn new(shared: &'b Shared, tenant: TenantId) -> Self {
        *shared.full.lock().entry(tenant).or_default() += 1;
        Self { shared, tenant }
    }
}

impl Drop for WaitsForRoom<'_> {
    fn drop(&mut self) {
        let mut full = self.shared.full.lock();
        if let Some(waiting) = full.get_mut(&self.tenant) {
            *waiting -= 1;
            if *waiting == 0 {
                full.remove(&self.tenant);
            }
        }
    }
}

/// A pull that sleeps. If it is dropped it wakes another, which then sleeps until the deadline that
/// this one slept for.
struct Sleeper<'b>(&'b Notify);

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Sleeper<'_> {
    fn awake(self) {
        std::mem::forget(self);
    }
}

#[async_trait]
impl Submit for MemoryBroker {
    fn tenant(&self) -> TenantId {
        self.tenant
    }

    fn full(&self) -> Option<String> {
        let full = self.shared.full.lock();
        full.get(&self.tenant).map(|_| {
            format!(
                "the queue of the tenant `{}` has no room for a bundle",
                self.tenant
            )
        })
    }

    fn retention(&self) -> Option<Duration> {
        None
    }

    async fn put_component(&self, digest: Digest, bytes: Bytes) -> Result<(), Error> {
        self.shared
            .state
            .lock()
            .components
            .entry(digest)
            .or_insert(bytes);
        Ok(())
    }

    async fn put_job(&self, job: Job, created: Timestamp) -> Result<(), Error> {
        let mut state = self.shared.state.lock();
        state.logs.entry(job.key).or_default();
        state.queue.put_job(job, created);
        Ok(())
    }

    async fn add_functions(
        &self,
        job: JobKey,
        first: FunctionIndex,
        functions: Vec<JobFunction>,
    ) -> Result<(), Error> {
        let mut state = self.shared.state.lock();
        state.queue.add_functions(job, first, functions)
    }

    async fn job(&self, job: JobKey) -> Result<Option<JobRecord>, Error> {
        Ok(self.shared.state.lock().queue.job(job))
    }

    async fn publish(&self, mut bundle: Bundle) -> Result<(), Error> {
        let mut waits = None;
        loop {
            let room = self.shared.room.notified();
            tokio::pin!(room);
            // Registered before the check, so that room made in between is not missed.
            room.as_mut().enable();
            match self.shared.try_publish(bundle)? {
                Placed::Now => return Ok(()),
                Placed::Full(refused) => {
                    let tenant = refused.job.tenant;
                    waits.get_or_insert_with(|| WaitsForRoom::new(&self.shared, tenant));
                    bundle = refused;
                }
            }
            self.shared.wait(room).await;
        }
    }

    async fn report(&self, job: JobKey, outcomes: Vec<Outcome>) -> Result<(), Error> {
        self.shared.step(Input::Report(job, outcomes));
        Ok(())
    }

    async fn submitting(&self, job: JobKey) -> Result<(), Error> {
        if let Some(log) = self.shared.state.lock().logs.get_mut(&job) {
            log.beat();
        }
        Ok(())
    }

    async fn seal(&self, job: JobKey, tasks: TaskIndex) -> Result<(), Error> {
        let mut state = self.shared.state.lock();
        let seal = state.queue.seal(job, tasks);
        if let (Seal::New, Some(log)) = (seal, state.logs.get_mut(&job)) {
            log.seal(tasks);
        }
        Ok(())
    }

    async fn follow(
        &self,
        job: JobKey,
        from: Position,
    ) -> Result<BoxStream<'static, Event>, Error> {
        let state = self.shared.state.lock();
        let log = state.logs.get(&job).ok_or(Error::NoSuchJob(job.job))?;
        let follower = Follower {
            shared: self.shared.clone(),
            changed: log.changed(),
            job,
            cursor: log.cursor(from),
        };
        drop(state);
        Ok(stream::unfold(follower, |mut follower| async {
            follower.next().await.map(|event| (event, follower))
        })
        .boxed())
    }

    async fn unfinished(&self, job: JobKey) -> Result<Unfinished, Error> {
        // Both under one lock: what has ended by then is stored.
        let state = self.shared.state.lock();
        Ok(Unfinished {
            bundles: state.queue.unfinished(job),
            through: state.logs.get(&job).map_or(Mark(0), OutcomeLog::mark),
        })
    }

    async fn note(&self, job: JobKey, reading: Reading) -> Result<Option<JobRecord>, Error> {
        let mut state = self.shared.state.lock();
        let record = state.queue.note(job, reading);
        if record.as_ref().is_some_and(JobRecord::is_gathered)
            && let Some(log) = state.logs.get_mut(&job)
        {
            log.trim(Position::MAX);
        }
        Ok(record)
    }

    async fn trim(&self, job: JobKey, before: Position) -> Result<(), Error> {
        if let Some(log) = self.shared.state.lock().logs.get_mut(&job) {
            log.trim(before);
        }
        Ok(())
    }

    async fn cancel(&self, job: JobKey) -> Result<(), Error> {
        self.shared.step(Input::Cancel(job));
        Ok(())
    }

    async fn cancel_tasks(&self, job: JobKey, tasks: Vec<TaskIndex>) -> Result<(), Error> {
        self.shared.step(Input::CancelTasks(job, tasks));
        Ok(())
    }

    async fn forget(&self, job: JobKey) -> Result<(), Error> {
        let mut state = self.shared.state.lock();
        self.shared.step_in(&mut state, Input::Forget(job));
        state.graphs.drop(job);
        state.values.forget(job);
        if let Some(log) = state.logs.remove(&job) {
            // Its followers look, and find it gone.
            log.changed().notify_waiters();
        }
        Ok(())
    }
}

#[async_trait]
impl Work for MemoryBroker {
    async fn component(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        Ok(self.shared.state.lock().components.get(&digest).cloned())
    }

    async fn pull(&self, puller: &Puller, credits: NonZeroUsize) -> Result<Vec<Lease>, Error> {
        loop {
            let ready = self.shared.ready.notified();
            tokio::pin!(ready);
            // Registered before looking: otherwise two workers that look at once could share one
            // wake-up, and one of them would sleep past its deadline.
            ready.as_mut().enable();
            let leases = self.shared.step(Input::Pull {
                serves: puller.serves.clone(),
                credits,
            });
            if !leases.is_empty() {
                return Ok(leases);
            }
            let sleeper = Sleeper(&self.shared.ready);
            self.shared.wait(ready).await;
            sleeper.awake();
        }
    }

    async fn extend(&self, lease: LeaseId) -> Result<Extended, Error> {
        let mut state = self.shared.state.lock();
        Ok(state.queue.extend(lease, self.shared.clock.now()))
    }

    async fn complete(&self, lease: LeaseId, job: JobKey, report: Report) -> Result<(), Error> {
        self.shared.step(Input::Complete { lease, job, report });
        Ok(())
    }

    async fn release(&self, lease: LeaseId) -> Result<(), Error> {
        self.shared.step(Input::Release(lease));
        Ok(())
    }

    fn cancelled(&self, lease: &Lease) -> Option<Cancellation> {
        self.shared.state.lock().queue.cancelled(lease)
    }

    async fn cancellations(&self) -> Result<BoxStream<'static, Cancellation>, Error> {
        let receiver = self.shared.cancellations.subscribe();
        Ok(stream::unfold(receiver, |mut receiver| async {
            loop {
                match receiver.recv().await {
                    Ok(cancelled) => return Some((cancelled, receiver)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        })
        .boxed())
    }

    async fn announce(&self, presence: Presence) -> Result<(), Error> {
        let now = self.shared.clock.now();
        self.shared.state.lock().roster.hear(presence, now);
        Ok(())
    }
}

#[async_trait]
impl Operate for MemoryBroker {
    async fn jobs(&self, count_max: usize) -> Result<Vec<JobRecord>, Error> {
        Ok(self.shared.state.lock().queue.jobs(&self.tenant, count_max))
    }

    async fn dead_letters(
        &self,
        job: Option<JobKey>,
        count_max: usize,
    ) -> Result<Vec<(LetterId, DeadLetter)>, Error> {
        let state = self.shared.state.lock();
        Ok(state.queue.dead().newest(&self.tenant, job, count_max))
    }

    async fn remove_dead_letter(&self, letter: LetterId) -> Result<bool, Error> {
        Ok(self.shared.state.lock().queue.dead_mut().remove(letter))
    }

    async fn queues(&self) -> Result<Vec<Waiting>, Error> {
        Ok(self.shared.state.lock().queue.waiting())
    }

    async fn empty(&self, tenant: TenantId) -> Result<u64, Error> {
        let dropped = self.shared.state.lock().queue.empty(&tenant);
        self.shared.room.notify_waiters();
        Ok(dropped)
    }

    async fn workers(&self) -> Result<Vec<Presence>, Error> {
        let now = self.shared.clock.now();
        Ok(self.shared.state.lock().roster.present(now))
    }
}

#[async_trait]
impl Coordinate for MemoryBroker {
    fn outlives_process(&self) -> bool {
        false
    }

    async fn append_graph(&self, job: JobKey, entries: Vec<GraphEntry>) -> Result<(), Error> {
        self.shared.state.lock().graphs.append(job, entries);
        Ok(())
    }

    async fn graph(&self, job: JobKey) -> Result<Vec<GraphEntry>, Error> {
        self.shared.state.lock().graphs.entries(job)
    }

    async fn unfinished_tasks(&self, job: JobKey) -> Result<Vec<TaskIndex>, Error> {
        Ok(self.shared.state.lock().queue.unfinished_tasks(job))
    }

    async fn claim(
        &self,
        job: JobKey,
        term: Term,
        after: Option<u64>,
    ) -> Result<Option<u64>, Error> {
        Ok(self.shared.state.lock().graphs.claim(job, term, after))
    }

    async fn claimed(&self, job: JobKey) -> Result<Option<Claimed>, Error> {
        Ok(self.shared.state.lock().graphs.claimed(job))
    }

    async fn all_claimed(&self) -> Result<Vec<(JobKey, Claimed)>, Error> {
        Ok(self.shared.state.lock().graphs.all_claimed())
    }

    async fn drop_graph(&self, job: JobKey) -> Result<(), Error> {
        self.shared.state.lock().graphs.drop(job);
        Ok(())
    }
}

#[async_trait]
impl Directory for MemoryBroker {
    async fn publish_name(&self, published: Published) -> Result<(), Error> {
        let key = (self.tenant, published.name.clone());
        self.shared.state.lock().published.insert(key, published);
        Ok(())
    }

    async fn published(&self, name: &TaskName) -> Result<Option<Published>, Error> {
        let key = (self.tenant, name.clone());
        Ok(self.shared.state.lock().published.get(&key).cloned())
    }

    async fn all_published(&self) -> Result<Vec<Published>, Error> {
        let state = self.shared.state.lock();
        let own = state.published.iter();
        let own = own.filter(|((tenant, _), _)| *tenant == self.tenant);
        Ok(own.map(|(_, published)| published.clone()).collect())
    }

    async fn unpublish(&self, name: &TaskName) -> Result<(), Error> {
        let key = (self.tenant, name.clone());
        self.shared.state.lock().published.remove(&key);
        Ok(())
    }
}

#[async_trait]
impl KeepValues for MemoryBroker {
    async fn put_value(
        &self,
        job: JobKey,
        task: Option<TaskIndex>,
        value: Bytes,
    ) -> Result<BrokerRef, Error> {
        let kept = BrokerRef::new(job.job, task, &value);
        self.shared.state.lock().values.put(job, kept, value);
        Ok(kept)
    }

    async fn value(&self, tenant: TenantId, kept: BrokerRef) -> Result<Option<Bytes>, Error> {
        let job = JobKey {
            tenant,
            job: kept.job,
        };
        Ok(self.shared.state.lock().values.get(job, &kept))
    }

    async fn drop_values(&self, job: JobKey, tasks: Vec<TaskIndex>) -> Result<(), Error> {
        self.shared.state.lock().values.drop_of(job, &tasks);
        Ok(())
    }
}

/// One reader of a job's log.
struct Follower {
    shared: Arc<Shared>,
    changed: Arc<Notify>,
    job: JobKey,
    cursor: Cursor,
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        if self.cursor.is_over() {
            return None;
        }
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            // Not there: the job was forgotten.
            if let Some(event) = self
                .shared
                .state
                .lock()
                .logs
                .get(&self.job)?
                .read(&mut self.cursor)
            {
                return Some(event);
            }
            self.shared.wait(changed).await;
        }
    }
}

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod tests;
