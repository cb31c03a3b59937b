//! The broker of one process.
//!
//! All decisions are in `queue`, a state machine without a clock; this file is its shell. It has no
//! task or thread of its own: whoever waits here (a worker for leases, a client for outcomes) also
//! wakes for the next deadline and lets the queue act on it. While nobody waits, nobody
//! needs to know that a deadline has passed.
//!
//! Bounds: bundles that wait weigh at most [`Config::weight_max`] together, then `publish` waits.
//! Outcomes are kept until the follower trims them, so a client bounds them by the number of tasks
//! it has in flight. Dead letters are a ring of [`Config::dead_letters_max`]; workers that
//! announced themselves are kept up to a number.
//!
//! The trade accepted: everything is lost with the process. That is the embedded case, where client
//! and workers are lost with it.

mod dead_letters;
pub mod faults;
mod outcome_log;
mod queue;
mod queued_bundle;
mod ready;
mod roster;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use parking_lot::Mutex;
use sortie_protocol::delivery::LOSSES_MAX;
use sortie_protocol::{
    Bundle, DeadLetter, Digest, Job, JobId, JobRecord, LeaseId, Presence, TaskIndex, Timestamp,
};
use tokio::sync::{Notify, broadcast};

pub use self::faults::Faults;
use self::outcome_log::Log;
use self::queue::{Admitted, Command, Input, Queue};
use self::roster::Roster;
use crate::broker::{Broker, Error, Event, Extended, Lease, LetterId, Position, Puller, Report};

/// How many cancellations a worker may be behind before it misses some; it then treats its next
/// failed extension as the news.
const CANCELLATIONS_KEPT: usize = 1024;

/// The bounds of a [`MemoryBroker`].
#[derive(Debug, Clone)]
pub struct Config {
    /// How long a lease holds unless extended. Default 30 s; at least a millisecond.
    pub lease: Duration,
    /// Deliveries in a row that may come to nothing before a task is given up as `worker-lost`.
    /// Default [`LOSSES_MAX`].
    pub deliveries_max: u32,
    /// What waiting bundles may weigh together. Default 256 MiB; `publish` waits at the limit.
    pub weight_max: usize,
    /// How many dead letters are kept; the oldest go first. Default 10 000.
    pub dead_letters_max: usize,
    /// Faults to inject, for tests. Default none.
    pub faults: Option<Faults>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            deliveries_max: LOSSES_MAX,
            weight_max: 256 << 20,
            dead_letters_max: 10_000,
            faults: None,
        }
    }
}

/// The broker of one process. Cheap to clone; clones are the same broker.
#[derive(Debug, Clone)]
pub struct MemoryBroker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Wakes workers: something may be ready, or a bundle is delayed for less than they may sleep.
    ready: Notify,
    /// Wakes publishers: the queue has room again.
    room: Notify,
    cancellations: broadcast::Sender<JobId>,
    clock: Clock,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    components: HashMap<Digest, Bytes>,
    logs: HashMap<JobId, Log>,
    roster: Roster,
}

/// Real time at the start, plus what tokio says has passed: so it follows paused time in tests.
#[derive(Debug)]
struct Clock {
    start: Timestamp,
    origin: tokio::time::Instant,
}

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where this broker looks at the real time"
    )]
    fn new() -> Self {
        let start = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            start: Timestamp::default() + start,
            origin: tokio::time::Instant::now(),
        }
    }

    fn now(&self) -> Timestamp {
        self.start + self.origin.elapsed()
    }

    fn instant(&self, at: Timestamp) -> tokio::time::Instant {
        self.origin + at.since(self.start)
    }
}

impl MemoryBroker {
    /// A broker with nothing in it.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let (cancellations, _) = broadcast::channel(CANCELLATIONS_KEPT);
        let state = State {
            queue: Queue::new(config),
            components: HashMap::new(),
            logs: HashMap::new(),
            roster: Roster::default(),
        };
        let (ready, room, clock) = (Notify::new(), Notify::new(), Clock::new());
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                ready,
                room,
                cancellations,
                clock,
            }),
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

    /// [`Self::step`], for whoever has to decide under the same lock.
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
                // It reaches everybody who sleeps: whoever is not registered now has yet to look.
                Command::WakeWorkers => self.ready.notify_waiters(),
                Command::WakePublishers => self.room.notify_waiters(),
                Command::Cancelled(job) => {
                    if let Some(log) = state.logs.get_mut(&job) {
                        log.cancel();
                    }
                    // Nobody listening is fine: then no worker runs.
                    let _ = self.cancellations.send(job);
                }
            }
        }
        leases
    }

    /// Publish `bundle` if there is room now. Asking and publishing are one step: two publishers
    /// never share the last room.
    fn try_publish(&self, bundle: Bundle) -> Result<Published, Error> {
        let mut state = self.state.lock();
        Ok(match state.queue.admits(&bundle)? {
            Admitted::Now => {
                self.step_in(&mut state, Input::Publish(bundle));
                Published::Now
            }
            Admitted::Later => Published::Full(bundle),
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
enum Published {
    Now,
    /// There is no room; it comes back.
    Full(Bundle),
}

/// A worker that sleeps. One that goes away in its sleep wakes another, who then sleeps until
/// whatever it was that this one slept for.
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
impl Broker for MemoryBroker {
    async fn put_component(&self, digest: Digest, bytes: Bytes) -> Result<(), Error> {
        self.shared
            .state
            .lock()
            .components
            .entry(digest)
            .or_insert(bytes);
        Ok(())
    }

    async fn component(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        Ok(self.shared.state.lock().components.get(&digest).cloned())
    }

    async fn put_job(&self, job: Job, created: Timestamp) -> Result<(), Error> {
        let mut state = self.shared.state.lock();
        state.logs.entry(job.id).or_default();
        state.queue.put_job(job, created);
        Ok(())
    }

    async fn seal(&self, job: JobId, tasks: TaskIndex) -> Result<(), Error> {
        self.shared.state.lock().queue.seal(job, tasks);
        Ok(())
    }

    async fn job(&self, job: JobId) -> Result<Option<JobRecord>, Error> {
        Ok(self.shared.state.lock().queue.job(job))
    }

    async fn jobs(&self, count_max: usize) -> Result<Vec<JobRecord>, Error> {
        Ok(self.shared.state.lock().queue.jobs(count_max))
    }

    async fn unfinished(&self, job: JobId) -> Result<u64, Error> {
        Ok(self.shared.state.lock().queue.unfinished(job))
    }

    async fn publish(&self, mut bundle: Bundle) -> Result<(), Error> {
        loop {
            let room = self.shared.room.notified();
            tokio::pin!(room);
            // Registered before the check, so that room made in between is not missed.
            room.as_mut().enable();
            match self.shared.try_publish(bundle)? {
                Published::Now => return Ok(()),
                Published::Full(refused) => bundle = refused,
            }
            self.shared.wait(room).await;
        }
    }

    async fn pull(&self, puller: &Puller, credits: NonZeroUsize) -> Result<Vec<Lease>, Error> {
        loop {
            let ready = self.shared.ready.notified();
            tokio::pin!(ready);
            // Registered before looking: two that look at once could otherwise share one wake-up,
            // and one of them oversleep.
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

    async fn complete(&self, lease: LeaseId, job: JobId, report: Report) -> Result<(), Error> {
        self.shared.step(Input::Complete { lease, job, report });
        Ok(())
    }

    async fn release(&self, lease: LeaseId) -> Result<(), Error> {
        self.shared.step(Input::Release(lease));
        Ok(())
    }

    async fn outcomes(
        &self,
        job: JobId,
        from: Position,
    ) -> Result<BoxStream<'static, Event>, Error> {
        let state = self.shared.state.lock();
        let changed = state.logs.get(&job).ok_or(Error::NoSuchJob(job))?.changed();
        drop(state);
        let follower = Follower {
            shared: self.shared.clone(),
            changed,
            job,
            next: from,
            done: false,
        };
        Ok(stream::unfold(follower, |mut follower| async {
            follower.next().await.map(|event| (event, follower))
        })
        .boxed())
    }

    async fn trim(&self, job: JobId, before: Position) -> Result<(), Error> {
        if let Some(log) = self.shared.state.lock().logs.get_mut(&job) {
            log.trim(before);
        }
        Ok(())
    }

    async fn cancel(&self, job: JobId) -> Result<(), Error> {
        self.shared.step(Input::Cancel(job));
        Ok(())
    }

    async fn cancellations(&self) -> Result<BoxStream<'static, JobId>, Error> {
        let receiver = self.shared.cancellations.subscribe();
        Ok(stream::unfold(receiver, |mut receiver| async {
            loop {
                match receiver.recv().await {
                    Ok(job) => return Some((job, receiver)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        })
        .boxed())
    }

    async fn forget(&self, job: JobId) -> Result<(), Error> {
        let mut state = self.shared.state.lock();
        self.shared.step_in(&mut state, Input::Forget(job));
        if let Some(log) = state.logs.remove(&job) {
            // Its followers look, and find it gone.
            log.changed().notify_waiters();
        }
        Ok(())
    }

    async fn dead_letters(
        &self,
        job: Option<JobId>,
        count_max: usize,
    ) -> Result<Vec<(LetterId, DeadLetter)>, Error> {
        Ok(self.shared.state.lock().queue.dead().newest(job, count_max))
    }

    async fn remove_dead_letter(&self, letter: LetterId) -> Result<(), Error> {
        self.shared.state.lock().queue.dead_mut().remove(letter);
        Ok(())
    }

    async fn announce(&self, presence: Presence) -> Result<(), Error> {
        let now = self.shared.clock.now();
        self.shared.state.lock().roster.hear(presence, now);
        Ok(())
    }

    async fn workers(&self) -> Result<Vec<Presence>, Error> {
        let now = self.shared.clock.now();
        Ok(self.shared.state.lock().roster.present(now))
    }
}

/// One reader of a job's log.
struct Follower {
    shared: Arc<Shared>,
    changed: Arc<Notify>,
    job: JobId,
    next: Position,
    done: bool,
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        if self.done {
            return None;
        }
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self
                .shared
                .state
                .lock()
                .logs
                .get(&self.job)
                .map(|log| log.read(self.next))
            {
                None => return None,
                Some(outcome_log::Read::Outcomes(position, outcomes)) => {
                    self.next = position + outcomes.len() as Position;
                    return Some(Event::Outcomes(position, outcomes));
                }
                Some(outcome_log::Read::Cancelled) => {
                    self.done = true;
                    return Some(Event::Cancelled);
                }
                Some(outcome_log::Read::Nothing) => {}
            }
            self.shared.wait(changed).await;
        }
    }
}

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod tests;
