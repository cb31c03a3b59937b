//! The decisions of the memory broker: a state machine over bundles, without clock, lock or I/O.
//!
//! A bundle is in exactly one place: ready, delayed, or leased. [`Queue::on`] moves it and says what is to be done. Time comes in with each
//! input; deadlines are acted on when any input arrives, so a late tick delays a redelivery but never loses it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;

use sortie_protocol::outcome::PlatformFault;
use sortie_protocol::seen::{First, Seen};
use sortie_protocol::{Bill, Bundle, Ending, Failure, Job, JobId, LeaseId, Outcome, Priority, Task, Timestamp};

use super::Config;
use super::faults::{Dice, Fault};
use crate::broker::{DeadLetter, Error, Extended, Lease, Report};

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
}

/// A bundle on its way, and how often it was delivered.
#[derive(Debug, Clone)]
struct Parcel {
    bundle: Arc<Bundle>,
    weight: usize,
    deliveries: u32,
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
    pub(super) fn new(config: Config) -> Self {
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
        let state = JobState { job: Arc::new(job), seen: Seen::default(), cancelled: false };
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
        self.on_time(now, &mut commands);
        match input {
            Input::Publish(bundle) => self.on_publish(bundle, &mut commands),
            Input::Pull { credits } => self.on_pull(credits, now, &mut commands),
            Input::Complete { lease, job, report } => self.on_complete(lease, job, report, now, &mut commands),
            Input::Release(lease) => self.on_release(lease, &mut commands),
            Input::Cancel(job) => self.on_cancel(job, &mut commands),
            Input::Forget(job) => {
                self.drop_bundles(job, &mut commands);
                self.jobs.remove(&job);
            }
            Input::Tick => {}
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
                self.on_expired(parcel, now, commands);
            }
        }
    }

    fn on_expired(&mut self, mut parcel: Parcel, now: Timestamp, commands: &mut Vec<Command>) {
        let Some(state) = self.jobs.get(&parcel.bundle.job) else { return };
        // Tasks whose outcome arrived in another way are not run again.
        if parcel.bundle.tasks.iter().any(|task| state.seen.contains(task.index)) {
            Arc::make_mut(&mut parcel.bundle).tasks.retain(|task| !state.seen.contains(task.index));
        }
        if parcel.bundle.tasks.is_empty() || state.cancelled {
            return;
        }
        if parcel.deliveries < self.config.deliveries_max {
            self.enqueue(parcel, commands);
        } else {
            self.give_up(parcel, now, commands);
        }
    }

    /// The bundle was delivered as often as allowed and nobody ever reported: most likely it kills its workers.
    fn give_up(&mut self, parcel: Parcel, now: Timestamp, commands: &mut Vec<Command>) {
        let Parcel { bundle, deliveries, .. } = parcel;
        let message = format!("no worker finished this task: {deliveries} leases ran out");
        let outcome = |task: &Task| Outcome {
            index: task.index,
            attempts: bundle.attempts_before.saturating_add(deliveries),
            ending: Ending::Failed(Failure::Platform { fault: PlatformFault::WorkerLost, message: message.clone() }),
            bill: Bill::default(),
            log: None,
        };
        let outcomes = bundle.tasks.iter().map(outcome).collect();
        self.store(bundle.job, outcomes, &bundle.tasks, now, commands);
    }

    fn on_publish(&mut self, bundle: Bundle, commands: &mut Vec<Command>) {
        let weight = bundle.weight();
        self.enqueue(Parcel { bundle: Arc::new(bundle), weight, deliveries: 0 }, commands);
    }

    fn enqueue(&mut self, parcel: Parcel, commands: &mut Vec<Command>) {
        let Some(state) = self.jobs.get(&parcel.bundle.job) else { return };
        if state.cancelled {
            return;
        }
        self.weight += parcel.weight;
        self.ready.entry(std::cmp::Reverse(state.job.options.priority)).or_default().push_back(parcel);
        commands.push(Command::WakeWorker);
    }

    fn on_pull(&mut self, credits: NonZeroUsize, now: Timestamp, commands: &mut Vec<Command>) {
        let mut granted = 0;
        while granted < credits.get() {
            let Some(parcel) = self.pop_ready() else { break };
            match self.dice.as_mut().map_or(Fault::None, Dice::roll) {
                Fault::None => commands.extend(self.grant(parcel, now)),
                Fault::Drop => {
                    let _nobody_is_told = self.grant(parcel, now);
                    continue;
                }
                Fault::Duplicate => {
                    self.enqueue(parcel.clone(), commands);
                    commands.extend(self.grant(parcel, now));
                }
                Fault::Reorder => {
                    let other = self.pop_ready();
                    self.enqueue(parcel, commands);
                    commands.extend(other.and_then(|other| self.grant(other, now)));
                }
                Fault::Delay => {
                    self.delay(parcel, now + self.config.lease / 10);
                    continue;
                }
            }
            granted += 1;
        }
        // A worker that took one of several passes the wake-up on: each wake-up reaches one worker only.
        if granted > 0 && self.ready.values().any(|parcels| !parcels.is_empty()) {
            commands.push(Command::WakeWorker);
        }
        if granted > 0 {
            commands.push(Command::WakePublishers);
        }
    }

    fn pop_ready(&mut self) -> Option<Parcel> {
        let parcel = self.ready.values_mut().find_map(VecDeque::pop_front)?;
        self.weight = self.weight.saturating_sub(parcel.weight);
        Some(parcel)
    }

    fn delay(&mut self, parcel: Parcel, until: Timestamp) {
        self.weight += parcel.weight;
        self.next += 1;
        self.delayed.insert((until, self.next), parcel);
    }

    fn grant(&mut self, mut parcel: Parcel, now: Timestamp) -> Option<Command> {
        let state = self.jobs.get(&parcel.bundle.job)?;
        parcel.deliveries += 1;
        self.next += 1;
        let (id, deadline) = (LeaseId(self.next), now + self.config.lease);
        let attempt = parcel.bundle.attempts_before.saturating_add(parcel.deliveries);
        let lease = Lease { id, job: state.job.clone(), bundle: parcel.bundle.clone(), attempt, deadline };
        self.deadlines.insert((deadline, id), ());
        self.leases.insert(id, Leased { parcel, deadline });
        Some(Command::Grant(lease))
    }

    fn end_lease(&mut self, lease: LeaseId) -> Option<Parcel> {
        let leased = self.leases.remove(&lease)?;
        self.deadlines.remove(&(leased.deadline, lease));
        Some(leased.parcel)
    }

    fn on_complete(&mut self, lease: LeaseId, job: JobId, report: Report, now: Timestamp, commands: &mut Vec<Command>) {
        let parcel = self.end_lease(lease);
        let tasks = parcel.as_ref().map_or(&[][..], |parcel| &parcel.bundle.tasks);
        self.store(job, report.outcomes, tasks, now, commands);
        let (Some(parcel), Some(state)) = (parcel, self.jobs.get(&job)) else { return };
        if state.cancelled {
            return;
        }
        let attempts_before = parcel.bundle.attempts_before.saturating_add(parcel.deliveries);
        for retrial in report.retrials {
            let Some(task) = parcel.bundle.tasks.iter().find(|task| task.index == retrial.index) else { continue };
            let bundle = Bundle { job, attempts_before, published: now + retrial.after, tasks: vec![task.clone()] };
            let weight = bundle.weight();
            self.delay(Parcel { bundle: Arc::new(bundle), weight, deliveries: 0 }, now + retrial.after);
            // Whoever sleeps until a later deadline has to look again.
            commands.push(Command::WakeWorker);
        }
    }

    /// Store the outcomes that are the first of their tasks, and bury those that failed.
    fn store(&mut self, job: JobId, mut outcomes: Vec<Outcome>, tasks: &[Task], now: Timestamp, commands: &mut Vec<Command>) {
        let Some(state) = self.jobs.get_mut(&job) else { return };
        if state.cancelled {
            return;
        }
        outcomes.retain(|outcome| state.seen.insert(outcome.index) == First::Yes);
        for outcome in outcomes.iter().filter(|outcome| matches!(outcome.ending, Ending::Failed(_))) {
            let Some(task) = tasks.iter().find(|task| task.index == outcome.index) else { continue };
            if self.dead.len() >= self.config.dead_letters_max {
                self.dead.pop_front();
            }
            self.dead.push_back(DeadLetter { job, task: task.clone(), outcome: outcome.clone(), buried: now });
        }
        commands.push(Command::Store(job, outcomes));
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
            self.drop_bundles(job, commands);
            commands.push(Command::Cancelled(job));
        }
    }

    fn drop_bundles(&mut self, job: JobId, commands: &mut Vec<Command>) {
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
        let leases = &mut self.leases;
        self.deadlines.retain(|(_, lease), ()| {
            let keep = leases.get(lease).is_some_and(|leased| leased.parcel.bundle.job != job);
            if !keep {
                leases.remove(lease);
            }
            keep
        });
        commands.push(Command::WakePublishers);
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
