//! The decisions of the memory broker: a state machine over bundles, without clock, lock or I/O.
//!
//! A bundle is in exactly one place: ready, delayed, or leased. [`Queue::on`] moves it and says what is to be done. Time comes in with each
//! input; deadlines are acted on when any input arrives, so a late tick delays a redelivery but never loses it.
//!
//! Whoever waits for this queue ticks it, so somebody has to look in time. [`Queue::look_again`] says when, and never puts it off for longer
//! than a lease: a lease granted to somebody else meanwhile ends no sooner, so nobody need be woken for it. A delay may be shorter, so it wakes
//! one worker, who then sleeps for less. Workers are woken in the order in which they fell asleep, so those who do not know of the delay go
//! first; only one that goes away in its sleep has to wake another. Every bundle that becomes ready wakes one worker, and that is enough as
//! long as a worker registers for wake-ups before it looks.
//!
//! Work per input grows with the tasks in it, not with what is queued; but cancelling or forgetting a job that has bundles left, and a failure
//! reported too late, look through all there is.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use sortie_protocol::outcome::PlatformFault;
use sortie_protocol::seen::{First, Seen};
use sortie_protocol::{Bill, Bundle, Ending, Failure, Job, JobId, LeaseId, Outcome, Priority, Task, TaskIndex, Timestamp};

use super::Config;
use super::faults::{Dice, Fault};
use crate::broker::{DeadLetter, Error, Extended, Lease, Report, Retrial};

/// The shortest lease, whatever the configuration says: timers are no finer, and a lease that is over when it is granted would never end.
const LEASE_MIN: Duration = Duration::from_millis(1);

/// What can happen.
#[derive(Debug, Clone)]
pub(super) enum Input {
    Publish(Bundle),
    Pull { credits: NonZeroUsize },
    Complete { lease: LeaseId, job: JobId, report: Report },
    Release(LeaseId),
    Cancel(JobId),
    Forget(JobId),
    Tick,
}

/// What is to be done about it.
#[derive(Debug, Clone)]
pub(super) enum Command {
    Grant(Lease),
    Store(JobId, Vec<Outcome>),
    WakeWorker,
    WakePublishers,
    Cancelled(JobId),
}

/// Whether a bundle may be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admitted {
    Now,
    Later,
}

#[derive(Debug)]
struct JobState {
    job: Arc<Job>,
    seen: Seen,
    cancelled: bool,
    /// How many parcels of this job there are, wherever they are: without any, nothing need be searched for them.
    parcels: usize,
}

/// A bundle on its way, and how often it was delivered.
#[derive(Debug, Clone)]
struct Parcel {
    job: Arc<Job>,
    bundle: Arc<Bundle>,
    weight: usize,
    deliveries: u32,
    /// Some worker had these tasks before. Until then none of them can have ended.
    known: bool,
}

impl Parcel {
    fn new(job: Arc<Job>, bundle: Bundle) -> Self {
        Self { job, weight: bundle.weight(), known: bundle.attempts_before > 0, bundle: Arc::new(bundle), deliveries: 0 }
    }

    /// Whether these are the outcomes of all tasks, in order; which is how a worker reports when nothing goes wrong.
    fn ends_with(&self, outcomes: &[Outcome]) -> bool {
        let tasks = self.bundle.tasks.iter().map(|task| task.index);
        tasks.eq(outcomes.iter().map(|outcome| outcome.index))
    }

    /// Take out what ended already, so that it is not run again.
    fn strip(&mut self, ended: &Seen) -> Left {
        if self.bundle.tasks.iter().any(|task| ended.contains(task.index)) {
            // Its worker may hold the bundle still; then this copies it, the tasks that ended included.
            Arc::make_mut(&mut self.bundle).tasks.retain(|task| !ended.contains(task.index));
            self.weight = self.bundle.weight();
        }
        if self.bundle.tasks.is_empty() { Left::Nothing } else { Left::Tasks }
    }
}

/// What is left of a parcel once its ended tasks are taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    Tasks,
}

#[derive(Debug)]
struct Leased {
    parcel: Parcel,
    deadline: Timestamp,
}

/// All bundles of all jobs.
#[derive(Debug)]
pub(super) struct Queue {
    config: Config,
    dice: Option<Dice>,
    jobs: HashMap<JobId, JobState>,
    ready: BTreeMap<std::cmp::Reverse<Priority>, VecDeque<Parcel>>,
    delayed: BTreeMap<(Timestamp, u64), Parcel>,
    leases: HashMap<LeaseId, Leased>,
    deadlines: BTreeMap<(Timestamp, LeaseId), ()>,
    dead: VecDeque<DeadLetter>,
    /// What ready and delayed bundles weigh.
    weight: usize,
    next: u64,
}

impl Queue {
    pub(super) fn new(mut config: Config) -> Self {
        config.lease = config.lease.max(LEASE_MIN);
        let dice = config.faults.map(Dice::new);
        Self {
            config,
            dice,
            jobs: HashMap::new(),
            ready: BTreeMap::new(),
            delayed: BTreeMap::new(),
            leases: HashMap::new(),
            deadlines: BTreeMap::new(),
            dead: VecDeque::new(),
            weight: 0,
            next: 0,
        }
    }

    pub(super) fn put_job(&mut self, job: Job) {
        let state = JobState { job: Arc::new(job), seen: Seen::default(), cancelled: false, parcels: 0 };
        self.jobs.entry(state.job.id).or_insert(state);
    }

    /// Whether `bundle` may be published now. A queue that is empty takes any bundle that fits at all.
    pub(super) fn admits(&self, bundle: &Bundle) -> Result<Admitted, Error> {
        let job = self.jobs.get(&bundle.job).ok_or(Error::NoSuchJob(bundle.job))?;
        if job.cancelled {
            return Err(Error::JobCancelled(bundle.job));
        }
        if bundle.tasks.is_empty() {
            return Err(Error::Empty);
        }
        let (weight, limit) = (bundle.weight(), self.config.weight_max);
        if weight > limit {
            return Err(Error::TooLarge { weight, limit });
        }
        Ok(if self.weight + weight <= limit { Admitted::Now } else { Admitted::Later })
    }

    /// The next moment at which something happens by itself.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let delayed = self.delayed.first_key_value().map(|((at, _), _)| *at);
        let expiring = self.deadlines.first_key_value().map(|((at, _), ())| *at);
        delayed.into_iter().chain(expiring).min()
    }

    /// When whoever waits from `now` on has to look again, if nobody wakes him.
    pub(super) fn look_again(&self, now: Timestamp) -> Timestamp {
        let lease = now + self.config.lease;
        self.deadline().map_or(lease, |deadline| deadline.min(lease))
    }

    pub(super) fn extend(&mut self, lease: LeaseId, now: Timestamp) -> Extended {
        match self.leases.get_mut(&lease) {
            Some(leased) if leased.deadline > now => {
                self.deadlines.remove(&(leased.deadline, lease));
                leased.deadline = now + self.config.lease;
                self.deadlines.insert((leased.deadline, lease), ());
                Extended::Until(leased.deadline)
            }
            _ => Extended::Lost,
        }
    }

    pub(super) fn dead_letters(&self, job: Option<JobId>, count_max: usize) -> Vec<DeadLetter> {
        self.dead.iter().rev().filter(|letter| job.is_none_or(|job| letter.job == job)).take(count_max).cloned().collect()
    }

    /// Take in what happened; say what is to be done.
    pub(super) fn on(&mut self, input: Input, now: Timestamp) -> Vec<Command> {
        let mut commands = Vec::new();
        let weight = self.weight;
        self.on_time(now, &mut commands);
        match input {
            Input::Publish(bundle) => self.on_publish(bundle, &mut commands),
            Input::Pull { credits } => self.on_pull(credits, now, &mut commands),
            Input::Complete { lease, job, report } => self.on_complete(lease, job, report, now, &mut commands),
            Input::Release(lease) => self.on_release(lease, &mut commands),
            Input::Cancel(job) => self.on_cancel(job, &mut commands),
            Input::Forget(job) => self.on_forget(job, &mut commands),
            Input::Tick => {}
        }
        if self.weight < weight {
            commands.push(Command::WakePublishers);
        }
        commands
    }

    fn on_time(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let parcel = entry.remove();
            self.weight = self.weight.saturating_sub(parcel.weight);
            self.enqueue(parcel, commands);
        }
        while let Some(entry) = self.deadlines.first_entry() {
            let (at, lease) = *entry.key();
            if at > now {
                break;
            }
            entry.remove();
            if let Some(Leased { parcel, .. }) = self.leases.remove(&lease) {
                self.requeue(parcel, now, commands);
            }
        }
    }

    /// A delivery came to nothing: ready again, as far as its tasks did not end in another way, or given up.
    fn requeue(&mut self, mut parcel: Parcel, now: Timestamp, commands: &mut Vec<Command>) {
        let Some(state) = self.jobs.get_mut(&parcel.bundle.job) else { return };
        if parcel.strip(&state.seen) == Left::Nothing {
            state.parcels = state.parcels.saturating_sub(1);
        } else if parcel.deliveries < self.config.deliveries_max {
            self.enqueue(parcel, commands);
        } else {
            state.parcels = state.parcels.saturating_sub(1);
            self.give_up(parcel, now, commands);
        }
    }

    /// The bundle was delivered as often as allowed and nobody ever reported: most likely it kills its workers.
    fn give_up(&mut self, parcel: Parcel, now: Timestamp, commands: &mut Vec<Command>) {
        let Parcel { bundle, deliveries, .. } = parcel;
        let message = format!("no worker finished this task in {deliveries} deliveries");
        let outcome = |task: &Task| Outcome {
            index: task.index,
            attempts: bundle.attempts_before.saturating_add(deliveries),
            ending: Ending::Failed(Failure::Platform { fault: PlatformFault::WorkerLost, message: message.clone() }),
            bill: Bill::default(),
            log: None,
        };
        let outcomes = bundle.tasks.iter().map(outcome).collect();
        self.store(bundle.job, outcomes, Some(&bundle.tasks), now, commands);
    }

    fn on_publish(&mut self, bundle: Bundle, commands: &mut Vec<Command>) {
        // Whether it may be published was asked already; see `admits`.
        let Some(state) = self.jobs.get_mut(&bundle.job).filter(|state| !state.cancelled) else { return };
        state.parcels += 1;
        let parcel = Parcel::new(state.job.clone(), bundle);
        self.enqueue(parcel, commands);
    }

    fn enqueue(&mut self, parcel: Parcel, commands: &mut Vec<Command>) {
        self.weight += parcel.weight;
        self.ready.entry(std::cmp::Reverse(parcel.job.options.priority)).or_default().push_back(parcel);
        commands.push(Command::WakeWorker);
    }

    fn on_pull(&mut self, credits: NonZeroUsize, now: Timestamp, commands: &mut Vec<Command>) {
        let mut granted = 0;
        while granted < credits.get() {
            let Some(mut parcel) = self.pop_ready() else { break };
            match self.dice.as_mut().map_or(Fault::None, Dice::roll) {
                Fault::None => {}
                Fault::Drop => {
                    let _nobody_is_told = self.grant(parcel, now);
                    continue;
                }
                Fault::Duplicate => self.duplicate(&parcel, commands),
                Fault::Reorder => {
                    // Behind the others of its priority; if there are none, it is the next again.
                    self.enqueue(parcel, commands);
                    let Some(next) = self.pop_ready() else { break };
                    parcel = next;
                }
                Fault::Delay => {
                    self.delay(parcel, now + self.config.lease / 10);
                    continue;
                }
            }
            commands.push(Command::Grant(self.grant(parcel, now)));
            granted += 1;
        }
    }

    fn duplicate(&mut self, parcel: &Parcel, commands: &mut Vec<Command>) {
        let Some(state) = self.jobs.get_mut(&parcel.bundle.job) else { return };
        state.parcels += 1;
        self.enqueue(Parcel { deliveries: parcel.deliveries + 1, known: true, ..parcel.clone() }, commands);
    }

    /// The next bundle to grant, with the tasks that did not end.
    fn pop_ready(&mut self) -> Option<Parcel> {
        loop {
            let mut parcel = self.ready.values_mut().find_map(VecDeque::pop_front)?;
            self.weight = self.weight.saturating_sub(parcel.weight);
            if !parcel.known {
                return Some(parcel);
            }
            let Some(state) = self.jobs.get_mut(&parcel.bundle.job) else { continue };
            match parcel.strip(&state.seen) {
                Left::Tasks => return Some(parcel),
                Left::Nothing => state.parcels = state.parcels.saturating_sub(1),
            }
        }
    }

    fn delay(&mut self, parcel: Parcel, until: Timestamp) {
        self.weight += parcel.weight;
        self.next += 1;
        self.delayed.insert((until, self.next), parcel);
    }

    fn grant(&mut self, mut parcel: Parcel, now: Timestamp) -> Lease {
        parcel.deliveries += 1;
        parcel.known = true;
        self.next += 1;
        let (id, deadline) = (LeaseId(self.next), now + self.config.lease);
        let attempt = parcel.bundle.attempts_before.saturating_add(parcel.deliveries);
        let lease = Lease { id, job: parcel.job.clone(), bundle: parcel.bundle.clone(), attempt, deadline };
        self.deadlines.insert((deadline, id), ());
        self.leases.insert(id, Leased { parcel, deadline });
        lease
    }

    fn end_lease(&mut self, lease: LeaseId) -> Option<Parcel> {
        let leased = self.leases.remove(&lease)?;
        self.deadlines.remove(&(leased.deadline, lease));
        Some(leased.parcel)
    }

    fn on_complete(&mut self, lease: LeaseId, job: JobId, report: Report, now: Timestamp, commands: &mut Vec<Command>) {
        // A report on one job never ends a lease of another.
        let of_this_job = self.leases.get(&lease).is_some_and(|leased| leased.parcel.bundle.job == job);
        let parcel = if of_this_job { self.end_lease(lease) } else { None };
        let ended = parcel.as_ref().is_some_and(|parcel| parcel.ends_with(&report.outcomes));
        self.store(job, report.outcomes, parcel.as_ref().map(|parcel| parcel.bundle.tasks.as_slice()), now, commands);
        let (Some(mut parcel), Some(state)) = (parcel, self.jobs.get_mut(&job)) else { return };
        if ended || parcel.strip(&state.seen) == Left::Nothing {
            state.parcels = state.parcels.saturating_sub(1);
            return;
        }
        if !report.retrials.is_empty() {
            self.split(&mut parcel, report.retrials, now, commands);
        }
        self.requeue(parcel, now, commands);
    }

    /// Take the tasks that are to be tried again out of a parcel, each into one of its own.
    fn split(&mut self, parcel: &mut Parcel, retrials: Vec<Retrial>, now: Timestamp, commands: &mut Vec<Command>) {
        let Some(state) = self.jobs.get_mut(&parcel.bundle.job) else { return };
        let bundle = Arc::make_mut(&mut parcel.bundle);
        let attempts_before = bundle.attempts_before.saturating_add(parcel.deliveries);
        let mut after: HashMap<TaskIndex, Duration> = retrials.into_iter().map(|retrial| (retrial.index, retrial.after)).collect();
        let mut alone = Vec::new();
        for task in std::mem::take(&mut bundle.tasks) {
            match after.remove(&task.index) {
                Some(after) => alone.push((now + after, task)),
                None => bundle.tasks.push(task),
            }
        }
        parcel.weight = parcel.bundle.weight();
        state.parcels += alone.len();
        for (at, task) in alone {
            let again = Bundle { job: parcel.bundle.job, attempts_before, published: at, tasks: vec![task] };
            if at > now {
                self.delay(Parcel::new(parcel.job.clone(), again), at);
            } else {
                self.enqueue(Parcel::new(parcel.job.clone(), again), commands);
            }
        }
        // Whoever sleeps until a later deadline has to look again.
        commands.push(Command::WakeWorker);
    }

    /// Store the outcomes that are the first of their tasks, and bury those that failed. `tasks` are those of the lease, if it holds.
    fn store(&mut self, job: JobId, mut outcomes: Vec<Outcome>, tasks: Option<&[Task]>, now: Timestamp, commands: &mut Vec<Command>) {
        let Some(state) = self.jobs.get_mut(&job).filter(|state| !state.cancelled) else { return };
        outcomes.retain(|outcome| state.seen.insert(outcome.index) == First::Yes);
        if outcomes.iter().any(|outcome| has_failed(&outcome)) {
            self.bury(job, &outcomes, tasks, now);
        }
        if !outcomes.is_empty() {
            commands.push(Command::Store(job, outcomes));
        }
    }

    /// Keep the tasks that failed. A late report comes without tasks: then they are wherever the bundle is by now.
    fn bury(&mut self, job: JobId, outcomes: &[Outcome], tasks: Option<&[Task]>, now: Timestamp) {
        let mut failed: HashMap<TaskIndex, Option<Task>> =
            outcomes.iter().filter(has_failed).map(|outcome| (outcome.index, None)).collect();
        let mut find = |tasks: &[Task]| {
            for task in tasks {
                failed.entry(task.index).and_modify(|found| *found = Some(task.clone()));
            }
        };
        match tasks {
            Some(tasks) => find(tasks),
            None => self.parcels().filter(|parcel| parcel.bundle.job == job).for_each(|parcel| find(&parcel.bundle.tasks)),
        }
        for outcome in outcomes.iter().filter(has_failed) {
            if let Some(task) = failed.remove(&outcome.index).flatten() {
                self.dead.push_back(DeadLetter { job, task, outcome: outcome.clone(), buried: now });
            }
        }
        let excess = self.dead.len().saturating_sub(self.config.dead_letters_max);
        self.dead.drain(..excess);
    }

    /// All parcels, wherever they are.
    fn parcels(&self) -> impl Iterator<Item = &Parcel> {
        let waiting = self.ready.values().flatten().chain(self.delayed.values());
        waiting.chain(self.leases.values().map(|leased| &leased.parcel))
    }

    fn on_release(&mut self, lease: LeaseId, commands: &mut Vec<Command>) {
        if let Some(mut parcel) = self.end_lease(lease) {
            parcel.deliveries = parcel.deliveries.saturating_sub(1);
            self.enqueue(parcel, commands);
        }
    }

    fn on_cancel(&mut self, job: JobId, commands: &mut Vec<Command>) {
        let Some(state) = self.jobs.get_mut(&job) else { return };
        if !std::mem::replace(&mut state.cancelled, true) {
            self.drop_parcels(job);
            commands.push(Command::Cancelled(job));
            // Those who wait for room for this job need not wait any longer.
            commands.push(Command::WakePublishers);
        }
    }

    fn on_forget(&mut self, job: JobId, commands: &mut Vec<Command>) {
        self.drop_parcels(job);
        self.jobs.remove(&job);
        commands.push(Command::WakePublishers);
    }

    fn drop_parcels(&mut self, job: JobId) {
        let parcels = self.jobs.get_mut(&job).map_or(0, |state| std::mem::take(&mut state.parcels));
        if parcels == 0 {
            return;
        }
        let weight = &mut self.weight;
        let mut keep = |parcel: &Parcel| {
            let keep = parcel.bundle.job != job;
            if !keep {
                *weight = weight.saturating_sub(parcel.weight);
            }
            keep
        };
        self.ready.values_mut().for_each(|parcels| parcels.retain(&mut keep));
        self.delayed.retain(|_, parcel| keep(parcel));
        self.leases.retain(|_, leased| leased.parcel.bundle.job != job);
        let leases = &self.leases;
        self.deadlines.retain(|(_, lease), ()| leases.contains_key(lease));
    }
}

/// By reference to a reference, as `filter` asks.
fn has_failed(outcome: &&Outcome) -> bool {
    matches!(outcome.ending, Ending::Failed(_))
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "sleep_tests.rs"]
mod sleep_tests;
