//! The decisions of the memory broker: a state machine over bundles, without clock, lock or I/O.
//!
//! A bundle is in exactly one place: ready, delayed, or leased. [`Queue::on`] moves it and says
//! what is to be done. Time comes in with each input; deadlines are acted on when any input
//! arrives, so a late tick delays a redelivery but never loses it.
//!
//! Whoever waits for this queue ticks it, so somebody has to look in time. [`Queue::look_again`]
//! says when, and never puts it off for longer than a lease: a lease granted to somebody else
//! meanwhile ends no sooner, so nobody need be woken for it. A delay may be shorter, so it wakes
//! one worker, who then sleeps for less. Workers are woken in the order in which they fell asleep,
//! so those who do not know of the delay go first; only one that goes away in its sleep has to wake
//! another. Every bundle that becomes ready wakes one worker, and that is enough as
//! long as a worker registers for wake-ups before it looks. A bundle whose job asks for labels
//! wakes all: the one could be a worker that may not take it.
//!
//! Work per input grows with the tasks in it, not with what is queued; but cancelling or forgetting
//! a job that has bundles left, and a failure reported too late, look through all there is, and a
//! list of jobs through all jobs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use sortie_protocol::delivery::Delivery;
use sortie_protocol::outcome::PlatformFault;
use sortie_protocol::seen::{First, Seen};
use sortie_protocol::{
    Bill, Bundle, DeadLetter, Ending, Failure, Job, JobId, JobRecord, JobState, LeaseId, Outcome,
    Task, TaskIndex, Timestamp,
};

use super::Config;
use super::dead_letters::Letters;
use super::faults::{Dice, Fault};
use super::queued_bundle::{Left, Parcel};
use super::ready::Ready;
use crate::broker::{Error, Extended, Lease, Report, Retrial, Serves};

/// The shortest lease, whatever the configuration says: timers are no finer, and a lease that is
/// over when it is granted would never end.
const LEASE_MIN: Duration = Duration::from_millis(1);

/// What can happen.
#[derive(Debug, Clone)]
pub(super) enum Input {
    Publish(Bundle),
    Pull {
        serves: Serves,
        credits: NonZeroUsize,
    },
    Complete {
        lease: LeaseId,
        job: JobId,
        report: Report,
    },
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
    /// Any one: whoever it is may take what is ready.
    WakeWorker,
    /// All, because not everyone may take what is ready.
    WakeWorkers,
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
struct Entry {
    job: Arc<Job>,
    created: Timestamp,
    state: JobState,
    /// Its place in the order in which jobs were put.
    number: u64,
    seen: Seen,
    /// How many parcels of this job there are, wherever they are: without any, nothing need be
    /// searched for them.
    parcels: usize,
}

impl Entry {
    fn is_cancelled(&self) -> bool {
        self.state == JobState::Cancelled
    }

    fn record(&self) -> JobRecord {
        JobRecord {
            job: Job::clone(&self.job),
            created: self.created,
            state: self.state,
        }
    }
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
    jobs: HashMap<JobId, Entry>,
    ready: Ready,
    delayed: BTreeMap<(Timestamp, u64), Parcel>,
    leases: HashMap<LeaseId, Leased>,
    deadlines: BTreeMap<(Timestamp, LeaseId), ()>,
    dead: Letters,
    /// What ready and delayed bundles weigh.
    weight: usize,
    next: u64,
}

impl Queue {
    pub(super) fn new(mut config: Config) -> Self {
        config.lease = config.lease.max(LEASE_MIN);
        let dice = config.faults.map(Dice::new);
        let dead = Letters::new(config.dead_letters_max);
        Self {
            config,
            dice,
            jobs: HashMap::new(),
            ready: Ready::default(),
            delayed: BTreeMap::new(),
            leases: HashMap::new(),
            deadlines: BTreeMap::new(),
            dead,
            weight: 0,
            next: 0,
        }
    }

    pub(super) fn put_job(&mut self, job: Job, created: Timestamp) {
        self.next += 1;
        let (id, number) = (job.id, self.next);
        let entry = || Entry {
            job: Arc::new(job),
            created,
            state: JobState::Open,
            number,
            seen: Seen::default(),
            parcels: 0,
        };
        self.jobs.entry(id).or_insert_with(entry);
    }

    pub(super) fn seal(&mut self, job: JobId, tasks: TaskIndex) {
        if let Some(entry) = self.jobs.get_mut(&job)
            && entry.state == JobState::Open
        {
            entry.state = JobState::Sealed { tasks };
        }
    }

    pub(super) fn job(&self, job: JobId) -> Option<JobRecord> {
        self.jobs.get(&job).map(Entry::record)
    }

    /// The newest jobs by their submitters' clocks, and those of one moment by the order in which
    /// they were put; newest first.
    pub(super) fn jobs(&self, count_max: usize) -> Vec<JobRecord> {
        let mut entries: Vec<_> = self.jobs.values().collect();
        entries.sort_unstable_by_key(|entry| Reverse((entry.created, entry.number)));
        entries
            .into_iter()
            .take(count_max)
            .map(Entry::record)
            .collect()
    }

    /// How many bundles of a job there are, wherever they are.
    pub(super) fn unfinished(&self, job: JobId) -> u64 {
        self.jobs.get(&job).map_or(0, |entry| entry.parcels as u64)
    }

    /// Whether `bundle` may be published now. A queue that is empty takes any bundle that fits at
    /// all.
    pub(super) fn admits(&self, bundle: &Bundle) -> Result<Admitted, Error> {
        let job = self
            .jobs
            .get(&bundle.job)
            .ok_or(Error::NoSuchJob(bundle.job))?;
        if job.is_cancelled() {
            return Err(Error::JobCancelled(bundle.job));
        }
        if bundle.tasks.is_empty() {
            return Err(Error::Empty);
        }
        let (weight, limit) = (bundle.weight(), self.config.weight_max);
        if weight > limit {
            return Err(Error::TooLarge { weight, limit });
        }
        Ok(if self.weight + weight <= limit {
            Admitted::Now
        } else {
            Admitted::Later
        })
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
        self.deadline()
            .map_or(lease, |deadline| deadline.min(lease))
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

    pub(super) fn dead(&self) -> &Letters {
        &self.dead
    }

    pub(super) fn dead_mut(&mut self) -> &mut Letters {
        &mut self.dead
    }

    /// Take in what happened; say what is to be done.
    pub(super) fn on(&mut self, input: Input, now: Timestamp) -> Vec<Command> {
        let mut commands = Vec::new();
        let weight = self.weight;
        self.on_time(now, &mut commands);
        match input {
            Input::Publish(bundle) => self.on_publish(bundle, &mut commands),
            Input::Pull { serves, credits } => self.on_pull(&serves, credits, now, &mut commands),
            Input::Complete { lease, job, report } => {
                self.on_complete(lease, job, report, now, &mut commands)
            }
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

    /// A delivery came to nothing. As far as its tasks did not end in another way, they are ready
    /// again, together or each alone, or given up.
    fn requeue(&mut self, mut parcel: Parcel, now: Timestamp, commands: &mut Vec<Command>) {
        let Some(entry) = self.jobs.get_mut(&parcel.bundle.job) else {
            return;
        };
        if parcel.strip(&entry.seen) == Left::Nothing {
            entry.parcels = entry.parcels.saturating_sub(1);
            return;
        }
        match parcel.decide(self.config.deliveries_max) {
            Delivery::Run => self.enqueue(parcel, commands),
            Delivery::Split => {
                entry.parcels += parcel.bundle.tasks.len().saturating_sub(1);
                parcel
                    .split()
                    .for_each(|alone| self.enqueue(alone, commands));
            }
            Delivery::GiveUp => {
                entry.parcels = entry.parcels.saturating_sub(1);
                self.give_up(&parcel, now, commands);
            }
        }
    }

    /// The bundle was delivered as often as allowed and nobody ever reported: most likely it kills
    /// its workers.
    fn give_up(&mut self, parcel: &Parcel, now: Timestamp, commands: &mut Vec<Command>) {
        let (bundle, attempts) = (&parcel.bundle, parcel.attempts());
        let message = format!(
            "no worker finished this task in {} deliveries",
            parcel.losses()
        );
        let outcome = |task: &Task| Outcome {
            index: task.index,
            attempts,
            ending: Ending::Failed(Failure::Platform {
                fault: PlatformFault::WorkerLost,
                message: message.clone(),
            }),
            bill: Bill::default(),
            log: None,
        };
        let outcomes = bundle.tasks.iter().map(outcome).collect();
        self.store(bundle.job, outcomes, Some(&bundle.tasks), now, commands);
    }

    fn on_publish(&mut self, bundle: Bundle, commands: &mut Vec<Command>) {
        // Whether it may be published was asked already; see `admits`.
        let Some(entry) = self
            .jobs
            .get_mut(&bundle.job)
            .filter(|entry| !entry.is_cancelled())
        else {
            return;
        };
        entry.parcels += 1;
        let parcel = Parcel::new(entry.job.clone(), bundle);
        self.enqueue(parcel, commands);
    }

    fn enqueue(&mut self, parcel: Parcel, commands: &mut Vec<Command>) {
        self.weight += parcel.weight;
        commands.push(if parcel.job.options.labels.is_empty() {
            Command::WakeWorker
        } else {
            Command::WakeWorkers
        });
        self.ready.push(parcel);
    }

    fn on_pull(
        &mut self,
        serves: &Serves,
        credits: NonZeroUsize,
        now: Timestamp,
        commands: &mut Vec<Command>,
    ) {
        let mut granted = 0;
        while granted < credits.get() {
            let Some(mut parcel) = self.pop_ready(serves) else {
                break;
            };
            match self.dice.as_mut().map_or(Fault::None, Dice::roll) {
                Fault::None => {}
                Fault::Drop => {
                    let _nobody_is_told = self.grant(parcel, now);
                    continue;
                }
                Fault::Duplicate => self.duplicate(&parcel, commands),
                Fault::Reorder => {
                    // Behind the others of its priority that this worker may take; if there are
                    // none, it is the next again.
                    self.enqueue(parcel, commands);
                    let Some(next) = self.pop_ready(serves) else {
                        break;
                    };
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
        let Some(entry) = self.jobs.get_mut(&parcel.bundle.job) else {
            return;
        };
        entry.parcels += 1;
        self.enqueue(
            Parcel {
                deliveries: parcel.deliveries + 1,
                known: true,
                ..parcel.clone()
            },
            commands,
        );
    }

    /// The next bundle to grant to whoever serves these, with the tasks that did not end.
    fn pop_ready(&mut self, serves: &Serves) -> Option<Parcel> {
        loop {
            let mut parcel = self.ready.pop(serves)?;
            self.weight = self.weight.saturating_sub(parcel.weight);
            if !parcel.known {
                return Some(parcel);
            }
            let Some(entry) = self.jobs.get_mut(&parcel.bundle.job) else {
                continue;
            };
            match parcel.strip(&entry.seen) {
                Left::Tasks => return Some(parcel),
                Left::Nothing => entry.parcels = entry.parcels.saturating_sub(1),
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
        let lease = Lease {
            id,
            job: parcel.job.clone(),
            bundle: parcel.bundle.clone(),
            attempt: parcel.attempts(),
            deadline,
            tenant: None,
        };
        self.deadlines.insert((deadline, id), ());
        self.leases.insert(id, Leased { parcel, deadline });
        lease
    }

    fn end_lease(&mut self, lease: LeaseId) -> Option<Parcel> {
        let leased = self.leases.remove(&lease)?;
        self.deadlines.remove(&(leased.deadline, lease));
        Some(leased.parcel)
    }

    fn on_complete(
        &mut self,
        lease: LeaseId,
        job: JobId,
        report: Report,
        now: Timestamp,
        commands: &mut Vec<Command>,
    ) {
        // A report on one job never ends a lease of another.
        let of_this_job = self
            .leases
            .get(&lease)
            .is_some_and(|leased| leased.parcel.bundle.job == job);
        let parcel = if of_this_job {
            self.end_lease(lease)
        } else {
            None
        };
        let ended = parcel
            .as_ref()
            .is_some_and(|parcel| parcel.ends_with(&report.outcomes));
        self.store(
            job,
            report.outcomes,
            parcel.as_ref().map(|parcel| parcel.bundle.tasks.as_slice()),
            now,
            commands,
        );
        let (Some(mut parcel), Some(entry)) = (parcel, self.jobs.get_mut(&job)) else {
            return;
        };
        if ended || parcel.strip(&entry.seen) == Left::Nothing {
            entry.parcels = entry.parcels.saturating_sub(1);
            return;
        }
        if !report.retrials.is_empty() {
            self.retry(&mut parcel, report.retrials, now, commands);
        }
        self.requeue(parcel, now, commands);
    }

    /// Take the tasks that are to be tried again out of a parcel, each into one of its own.
    fn retry(
        &mut self,
        parcel: &mut Parcel,
        retrials: Vec<Retrial>,
        now: Timestamp,
        commands: &mut Vec<Command>,
    ) {
        let Some(entry) = self.jobs.get_mut(&parcel.bundle.job) else {
            return;
        };
        let bundle = Arc::make_mut(&mut parcel.bundle);
        let mut after: HashMap<TaskIndex, Duration> = retrials
            .into_iter()
            .map(|retrial| (retrial.index, retrial.after))
            .collect();
        let mut alone = Vec::new();
        for task in std::mem::take(&mut bundle.tasks) {
            match after.remove(&task.index) {
                Some(after) => alone.push((now + after, task)),
                None => bundle.tasks.push(task),
            }
        }
        parcel.weight = parcel.bundle.weight();
        entry.parcels += alone.len();
        for (at, task) in alone {
            let again = parcel.retrial(task, at);
            if at > now {
                self.delay(again, at);
            } else {
                self.enqueue(again, commands);
            }
        }
        // Whoever sleeps until a later deadline has to look again.
        commands.push(Command::WakeWorker);
    }

    /// Store the outcomes that are the first of their tasks, and bury those that failed. `tasks`
    /// are those of the lease, if it holds.
    fn store(
        &mut self,
        job: JobId,
        mut outcomes: Vec<Outcome>,
        tasks: Option<&[Task]>,
        now: Timestamp,
        commands: &mut Vec<Command>,
    ) {
        let Some(entry) = self
            .jobs
            .get_mut(&job)
            .filter(|entry| !entry.is_cancelled())
        else {
            return;
        };
        outcomes.retain(|outcome| entry.seen.insert(outcome.index) == First::Yes);
        if outcomes.iter().any(|outcome| has_failed(&outcome)) {
            self.bury(job, &outcomes, tasks, now);
        }
        if !outcomes.is_empty() {
            commands.push(Command::Store(job, outcomes));
        }
    }

    /// Keep the tasks that failed. A late report comes without tasks: then they are wherever the
    /// bundle is by now.
    fn bury(&mut self, job: JobId, outcomes: &[Outcome], tasks: Option<&[Task]>, now: Timestamp) {
        let mut failed: HashMap<TaskIndex, Option<Task>> = outcomes
            .iter()
            .filter(has_failed)
            .map(|outcome| (outcome.index, None))
            .collect();
        let mut find = |tasks: &[Task]| {
            for task in tasks {
                failed
                    .entry(task.index)
                    .and_modify(|found| *found = Some(task.clone()));
            }
        };
        match tasks {
            Some(tasks) => find(tasks),
            None => self
                .parcels()
                .filter(|parcel| parcel.bundle.job == job)
                .for_each(|parcel| find(&parcel.bundle.tasks)),
        }
        let Some(entry) = self.jobs.get(&job) else {
            return;
        };
        for outcome in outcomes.iter().filter(has_failed) {
            if let Some(task) = failed.remove(&outcome.index).flatten() {
                self.dead.bury(DeadLetter::Task {
                    job: Job::clone(&entry.job),
                    task,
                    outcome: outcome.clone(),
                    buried: now,
                });
            }
        }
    }

    /// All parcels, wherever they are.
    fn parcels(&self) -> impl Iterator<Item = &Parcel> {
        let waiting = self.ready.iter().chain(self.delayed.values());
        waiting.chain(self.leases.values().map(|leased| &leased.parcel))
    }

    fn on_release(&mut self, lease: LeaseId, commands: &mut Vec<Command>) {
        if let Some(mut parcel) = self.end_lease(lease) {
            parcel.deliveries = parcel.deliveries.saturating_sub(1);
            self.enqueue(parcel, commands);
        }
    }

    fn on_cancel(&mut self, job: JobId, commands: &mut Vec<Command>) {
        let Some(entry) = self.jobs.get_mut(&job) else {
            return;
        };
        if std::mem::replace(&mut entry.state, JobState::Cancelled) != JobState::Cancelled {
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
        let parcels = self
            .jobs
            .get_mut(&job)
            .map_or(0, |entry| std::mem::take(&mut entry.parcels));
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
        self.ready.retain(&mut keep);
        self.delayed.retain(|_, parcel| keep(parcel));
        self.leases
            .retain(|_, leased| leased.parcel.bundle.job != job);
        let leases = &self.leases;
        self.deadlines
            .retain(|(_, lease), ()| leases.contains_key(lease));
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
