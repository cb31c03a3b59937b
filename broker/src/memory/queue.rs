//! The decisions of the memory broker: a state machine over bundles, without clock, lock or I/O.
//!
//! A bundle is in exactly one place: ready, delayed, or leased. [`Queue::on`] moves it and says
//! what is to be done. Time comes in with each input; deadlines are acted on when any input
//! arrives, so a late tick delays a redelivery but never loses it.
//!
//! Callers that wait for this queue tick it. [`Queue::look_again`] says when a caller has to tick
//! at the latest, which is never later than one lease from now. A lease that is granted meanwhile
//! ends no sooner than that, so granting one wakes no caller. A delayed bundle may be due sooner,
//! so it wakes one worker, which then sleeps until that time. Wake-ups are first in, first out, so
//! workers that sleep until a later deadline wake before the one that holds the timer. A sleeping
//! worker that is dropped wakes another in its place.
//!
//! Each bundle that becomes ready wakes one worker. That is enough as long as a worker registers
//! for wake-ups before it looks. A bundle whose job asks for labels wakes all workers, because the
//! one might not serve these labels.
//!
//! An input takes time in proportion to its tasks, whatever the length of the queue. Exceptions:
//! cancelling or forgetting a job that has bundles left, and a failure that is reported too late,
//! scan all bundles; listing jobs scans all jobs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use sortie_protocol::delivery::Delivery;
use sortie_protocol::outcome::PlatformFault;
use sortie_protocol::seen::{First, Seen};
use sortie_protocol::submission::unrun;
use sortie_protocol::{
    Bill, Bundle, DeadLetter, Ending, Failure, FunctionIndex, Job, JobFunction, JobKey, JobRecord,
    JobState, LeaseId, Outcome, Readers, Reading, Task, TaskIndex, TenantId, Timestamp,
};

use super::config::Config;
use super::dead_letters::DeadLetters;
use super::entry::Entry;
use super::faults::{Fault, FaultInjector};
use super::queued_bundle::{Left, QueuedBundle};
use super::ready::Ready;
use super::weights::Weights;
use crate::traits::{Cancellation, Error, Extended, Lease, Report, Retrial, Serves, Waiting};

/// The shortest lease, whatever the configuration says: timers are no finer, and a lease that is
/// over when it is granted would never end.
const LEASE_MIN: Duration = Duration::from_millis(1);

/// An input of the state machine.
#[derive(Debug, Clone)]
pub(super) enum Input {
    Publish(Bundle),
    Pull {
        serves: Serves,
        credits: NonZeroUsize,
    },
    Complete {
        lease: LeaseId,
        job: JobKey,
        report: Report,
    },
    /// Outcomes without a lease.
    Report(JobKey, Vec<Outcome>),
    Release(LeaseId),
    Cancel(JobKey),
    CancelTasks(JobKey, Vec<TaskIndex>),
    Forget(JobKey),
    Tick,
}

/// An output of the state machine.
#[derive(Debug, Clone)]
pub(super) enum Command {
    Grant(Lease),
    Store(JobKey, Vec<Outcome>),
    /// Any one: each worker may take what is ready.
    WakeWorker,
    /// All, because not everyone may take what is ready.
    WakeWorkers,
    WakePublishers,
    Cancelled(JobKey),
    Forgotten(JobKey),
    TasksCancelled(JobKey, Vec<TaskIndex>),
}

/// Whether a bundle may be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admitted {
    Now,
    Later,
}

/// Whether a job was sealed just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seal {
    New,
    /// It was sealed or cancelled before, or is not there.
    Nothing,
}

#[derive(Debug)]
struct Leased {
    queued: QueuedBundle,
    deadline: Timestamp,
}

/// All bundles of all jobs.
#[derive(Debug)]
pub(super) struct Queue {
    config: Config,
    fault_injector: Option<FaultInjector>,
    jobs: HashMap<JobKey, Entry>,
    ready: Ready,
    delayed: BTreeMap<(Timestamp, u64), QueuedBundle>,
    leases: HashMap<LeaseId, Leased>,
    deadlines: BTreeMap<(Timestamp, LeaseId), ()>,
    dead: DeadLetters,
    /// What ready and delayed bundles weigh.
    weights: Weights,
    next: u64,
}

impl Queue {
    pub(super) fn new(mut config: Config) -> Self {
        config.lease = config.lease.max(LEASE_MIN);
        let fault_injector = config.faults.map(FaultInjector::new);
        let dead = DeadLetters::new(config.dead_letters_max);
        Self {
            config,
            fault_injector,
            jobs: HashMap::new(),
            ready: Ready::default(),
            delayed: BTreeMap::new(),
            leases: HashMap::new(),
            deadlines: BTreeMap::new(),
            dead,
            weights: Weights::default(),
            next: 0,
        }
    }

    pub(super) fn put_job(&mut self, job: Job, created: Timestamp) {
        self.next += 1;
        let number = self.next;
        let key = job.key;
        let entry = || Entry {
            job: Arc::new(job),
            created,
            state: JobState::Open,
            readers: Readers::default(),
            gathered: None,
            number,
            seen: Seen::default(),
            has_cancelled_tasks: false,
            bundles: 0,
        };
        self.jobs.entry(key).or_insert_with(entry);
    }

    /// Append functions to the table of an open job.
    pub(super) fn add_functions(
        &mut self,
        job: JobKey,
        first: FunctionIndex,
        functions: Vec<JobFunction>,
    ) -> Result<(), Error> {
        let entry = self.jobs.get_mut(&job).ok_or(Error::NoSuchJob(job.job))?;
        if entry.state == JobState::Open {
            Arc::make_mut(&mut entry.job).add(first, functions);
        }
        Ok(())
    }

    pub(super) fn seal(&mut self, job: JobKey, tasks: TaskIndex) -> Seal {
        match self.jobs.get_mut(&job) {
            Some(entry) if entry.state == JobState::Open => {
                entry.state = JobState::Sealed { tasks };
                Seal::New
            }
            Some(_) | None => Seal::Nothing,
        }
    }

    /// Note what a reader says; the record as it is then.
    pub(super) fn note(&mut self, job: JobKey, reading: Reading) -> Option<JobRecord> {
        let entry = self.jobs.get_mut(&job)?;
        let mut record = entry.record();
        record.note(reading);
        entry.readers.clone_from(&record.readers);
        entry.gathered = record.gathered;
        Some(record)
    }

    pub(super) fn job(&self, job: JobKey) -> Option<JobRecord> {
        self.jobs.get(&job).map(Entry::record)
    }

    /// The newest jobs of a tenant by their submitters' clocks, and those of one moment by the
    /// order in which they were put; newest first.
    pub(super) fn jobs(&self, tenant: &TenantId, count_max: usize) -> Vec<JobRecord> {
        let jobs = self.jobs.iter().filter(|(key, _)| key.tenant == *tenant);
        let mut entries: Vec<_> = jobs.map(|(_, entry)| entry).collect();
        entries.sort_unstable_by_key(|entry| Reverse((entry.created, entry.number)));
        entries
            .into_iter()
            .take(count_max)
            .map(Entry::record)
            .collect()
    }

    /// How many bundles of a job there are, wherever they are.
    pub(super) fn unfinished(&self, job: JobKey) -> u64 {
        self.jobs.get(&job).map_or(0, |entry| entry.bundles as u64)
    }

    /// The tasks in a job's bundles, wherever they are.
    pub(super) fn unfinished_tasks(&self, job: JobKey) -> Vec<TaskIndex> {
        let leased = self.leases.values().map(|leased| &leased.queued);
        let waiting = self.ready.iter().chain(self.delayed.values());
        waiting
            .chain(leased)
            .filter(|queued| queued.bundle.job == job)
            .flat_map(|queued| queued.bundle.tasks.iter().map(|task| task.index))
            .collect()
    }

    /// Whether `bundle` may be published now. A queue that is empty takes any bundle that fits at
    /// all.
    pub(super) fn admits(&self, bundle: &Bundle) -> Result<Admitted, Error> {
        let job = self
            .jobs
            .get(&bundle.job)
            .ok_or(Error::NoSuchJob(bundle.job.job))?;
        if job.is_cancelled() {
            return Err(Error::JobCancelled(bundle.job.job));
        }
        if bundle.tasks.is_empty() {
            return Err(Error::Empty);
        }
        let (weight, limit) = (bundle.weight(), self.config.weight_max);
        if weight > limit {
            return Err(Error::TooLarge { weight, limit });
        }
        Ok(if self.weights.of(&bundle.job.tenant) + weight <= limit {
            Admitted::Now
        } else {
            Admitted::Later
        })
    }

    /// What waits of each tenant: bundles, what they weigh, and bundles that are leased.
    pub(super) fn waiting(&self) -> Vec<Waiting> {
        let mut all: BTreeMap<TenantId, Waiting> = BTreeMap::new();
        let mut of = |tenant: TenantId, count: fn(&mut Waiting)| {
            count(all.entry(tenant).or_insert(Waiting {
                tenant,
                bundles: 0,
                leased: Some(0),
                bytes: self.weights.of(&tenant) as u64,
                bytes_max: self.config.weight_max as u64,
            }));
        };
        for key in self.jobs.keys() {
            of(key.tenant, |_| {});
        }
        for queued in self.ready.iter().chain(self.delayed.values()) {
            of(queued.bundle.job.tenant, |waiting| waiting.bundles += 1);
        }
        for leased in self.leases.values() {
            of(leased.queued.bundle.job.tenant, |waiting| {
                waiting.bundles += 1;
                waiting.leased = waiting.leased.map(|leased| leased + 1);
            });
        }
        all.into_values().collect()
    }

    /// Drop the bundles of a tenant that wait. Their jobs stay.
    pub(super) fn empty(&mut self, tenant: &TenantId) -> u64 {
        let (jobs, weights) = (&mut self.jobs, &mut self.weights);
        let mut dropped = 0;
        let mut keep = |queued: &QueuedBundle| {
            let keep = queued.bundle.job.tenant != *tenant;
            if !keep {
                weights.take(queued);
                dropped += 1;
                if let Some(entry) = jobs.get_mut(&queued.bundle.job) {
                    entry.bundles = entry.bundles.saturating_sub(1);
                }
            }
            keep
        };
        self.ready.retain(&mut keep);
        self.delayed.retain(|_, queued| keep(queued));
        dropped
    }

    /// The next moment at which something happens by itself.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let delayed = self.delayed.first_key_value().map(|((at, _), _)| *at);
        let expiring = self.deadlines.first_key_value().map(|((at, _), ())| *at);
        delayed.into_iter().chain(expiring).min()
    }

    /// When a caller that waits from `now` on has to look again, if it is not woken before.
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

    pub(super) fn dead(&self) -> &DeadLetters {
        &self.dead
    }

    pub(super) fn dead_mut(&mut self) -> &mut DeadLetters {
        &mut self.dead
    }

    /// Process an input; returns commands.
    pub(super) fn on(&mut self, input: Input, now: Timestamp) -> Vec<Command> {
        let mut commands = Vec::new();
        self.weights.is_less = false;
        self.on_time(now, &mut commands);
        match input {
            Input::Publish(bundle) => self.on_publish(bundle, &mut commands),
            Input::Pull { serves, credits } => self.on_pull(&serves, credits, now, &mut commands),
            Input::Complete { lease, job, report } => {
                self.on_complete(lease, job, report, now, &mut commands)
            }
            Input::Report(job, outcomes) => self.store(job, outcomes, None, now, &mut commands),
            Input::Release(lease) => self.on_release(lease, &mut commands),
            Input::Cancel(job) => self.on_cancel(job, &mut commands),
            Input::CancelTasks(job, tasks) => self.on_cancel_tasks(job, tasks, now, &mut commands),
            Input::Forget(job) => self.on_forget(job, &mut commands),
            Input::Tick => {}
        }
        if self.weights.is_less {
            commands.push(Command::WakePublishers);
        }
        commands
    }

    fn on_time(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let queued = entry.remove();
            self.weights.take(&queued);
            self.enqueue(queued, commands);
        }
        while let Some(entry) = self.deadlines.first_entry() {
            let (at, lease) = *entry.key();
            if at > now {
                break;
            }
            entry.remove();
            if let Some(Leased { queued, .. }) = self.leases.remove(&lease) {
                self.requeue(queued, now, commands);
            }
        }
    }

    /// A lease was lost. Tasks of it without an outcome are ready again, together or each alone, or
    /// are given up.
    fn requeue(&mut self, mut queued: QueuedBundle, now: Timestamp, commands: &mut Vec<Command>) {
        let Some(entry) = self.jobs.get_mut(&queued.bundle.job) else {
            return;
        };
        if queued.strip(&entry.seen) == Left::Nothing {
            entry.bundles = entry.bundles.saturating_sub(1);
            return;
        }
        match queued.decide(self.config.deliveries_max) {
            Delivery::Run => self.enqueue(queued, commands),
            Delivery::Split => {
                entry.bundles += queued.bundle.tasks.len().saturating_sub(1);
                queued
                    .split()
                    .for_each(|alone| self.enqueue(alone, commands));
            }
            Delivery::GiveUp => {
                entry.bundles = entry.bundles.saturating_sub(1);
                self.give_up(&queued, now, commands);
            }
        }
    }

    /// The bundle was delivered as often as allowed and no worker reported: most likely it kills
    /// its workers.
    fn give_up(&mut self, queued: &QueuedBundle, now: Timestamp, commands: &mut Vec<Command>) {
        let (bundle, attempts) = (&queued.bundle, queued.attempts());
        let message = format!(
            "no worker finished this task in {} deliveries",
            queued.losses()
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
            input: task.input.clone(),
            function: Some(task.function),
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
        entry.bundles += 1;
        let queued = QueuedBundle::new(entry.job.clone(), bundle);
        self.enqueue(queued, commands);
    }

    fn enqueue(&mut self, queued: QueuedBundle, commands: &mut Vec<Command>) {
        self.weights.put(&queued);
        commands.push(if queued.lane.labels.is_empty() {
            Command::WakeWorker
        } else {
            Command::WakeWorkers
        });
        self.ready.push(queued);
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
            let Some(mut queued) = self.pop_ready(serves) else {
                break;
            };
            match self
                .fault_injector
                .as_mut()
                .map_or(Fault::None, FaultInjector::roll)
            {
                Fault::None => {}
                Fault::Drop => {
                    let _nobody_is_told = self.grant(queued, now);
                    continue;
                }
                Fault::Duplicate => self.duplicate(&queued, commands),
                Fault::Reorder => {
                    // Behind the others of its priority that this worker may take; if there are
                    // none, it is the next again.
                    self.enqueue(queued, commands);
                    let Some(next) = self.pop_ready(serves) else {
                        break;
                    };
                    queued = next;
                }
                Fault::Delay => {
                    self.delay(queued, now + self.config.lease / 10);
                    continue;
                }
            }
            commands.push(Command::Grant(self.grant(queued, now)));
            granted += 1;
        }
    }

    fn duplicate(&mut self, queued: &QueuedBundle, commands: &mut Vec<Command>) {
        let Some(entry) = self.jobs.get_mut(&queued.bundle.job) else {
            return;
        };
        entry.bundles += 1;
        self.enqueue(
            QueuedBundle {
                deliveries: queued.deliveries + 1,
                known: true,
                ..queued.clone()
            },
            commands,
        );
    }

    /// The next bundle to grant to a worker that serves these, with the tasks that did not end.
    fn pop_ready(&mut self, serves: &Serves) -> Option<QueuedBundle> {
        loop {
            let mut queued = self.ready.pop(serves)?;
            self.weights.take(&queued);
            let Some(entry) = self.jobs.get_mut(&queued.bundle.job) else {
                continue;
            };
            if !queued.known && !entry.has_cancelled_tasks {
                return Some(queued);
            }
            match queued.strip(&entry.seen) {
                Left::Tasks => return Some(queued),
                Left::Nothing => entry.bundles = entry.bundles.saturating_sub(1),
            }
        }
    }

    /// What of a lease ended while it was on its way to a worker.
    pub(super) fn cancelled(&self, lease: &Lease) -> Option<Cancellation> {
        let job = lease.job.key;
        let Some(entry) = self.jobs.get(&job).filter(|entry| !entry.is_cancelled()) else {
            return Some(Cancellation::Job(job));
        };
        if !entry.has_cancelled_tasks {
            return None;
        }
        Cancellation::tasks_of(lease, |task| entry.seen.contains(*task))
    }

    fn delay(&mut self, queued: QueuedBundle, until: Timestamp) {
        self.weights.put(&queued);
        self.next += 1;
        self.delayed.insert((until, self.next), queued);
    }

    fn grant(&mut self, mut queued: QueuedBundle, now: Timestamp) -> Lease {
        queued.deliveries += 1;
        queued.known = true;
        self.next += 1;
        let (id, deadline) = (LeaseId(self.next), now + self.config.lease);
        let lease = Lease {
            id,
            job: queued.job.clone(),
            bundle: queued.bundle.clone(),
            attempt: queued.attempts(),
            deadline,
        };
        self.deadlines.insert((deadline, id), ());
        self.leases.insert(id, Leased { queued, deadline });
        lease
    }

    fn end_lease(&mut self, lease: LeaseId) -> Option<QueuedBundle> {
        let leased = self.leases.remove(&lease)?;
        self.deadlines.remove(&(leased.deadline, lease));
        Some(leased.queued)
    }

    fn on_complete(
        &mut self,
        lease: LeaseId,
        job: JobKey,
        report: Report,
        now: Timestamp,
        commands: &mut Vec<Command>,
    ) {
        // A report on one job never ends a lease of another.
        let of_this_job = self
            .leases
            .get(&lease)
            .is_some_and(|leased| leased.queued.bundle.job == job);
        let queued = if of_this_job {
            self.end_lease(lease)
        } else {
            None
        };
        let ended = queued
            .as_ref()
            .is_some_and(|queued| queued.ends_with(&report.outcomes));
        self.store(
            job,
            report.outcomes,
            queued.as_ref().map(|queued| queued.bundle.tasks.as_slice()),
            now,
            commands,
        );
        let (Some(mut queued), Some(entry)) = (queued, self.jobs.get_mut(&job)) else {
            return;
        };
        if ended || queued.strip(&entry.seen) == Left::Nothing {
            entry.bundles = entry.bundles.saturating_sub(1);
            return;
        }
        if !report.retrials.is_empty() {
            self.retry(&mut queued, report.retrials, now, commands);
        }
        self.requeue(queued, now, commands);
    }

    /// Move each task that is to be tried again into a bundle of its own.
    fn retry(
        &mut self,
        queued: &mut QueuedBundle,
        retrials: Vec<Retrial>,
        now: Timestamp,
        commands: &mut Vec<Command>,
    ) {
        let Some(entry) = self.jobs.get_mut(&queued.bundle.job) else {
            return;
        };
        let bundle = Arc::make_mut(&mut queued.bundle);
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
        queued.weight = queued.bundle.weight();
        entry.bundles += alone.len();
        for (at, task) in alone {
            let again = queued.retrial(task, at);
            if at > now {
                self.delay(again, at);
            } else {
                self.enqueue(again, commands);
            }
        }
        // A worker that sleeps until a later deadline has to look again.
        commands.push(Command::WakeWorker);
    }

    /// Store the outcomes that are the first of their tasks, and bury those that failed. `tasks`
    /// are those of the lease, if it holds.
    fn store(
        &mut self,
        job: JobKey,
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
        if outcomes.iter().any(Outcome::has_failed) {
            self.bury(job, &outcomes, tasks, now);
        }
        if !outcomes.is_empty() {
            commands.push(Command::Store(job, outcomes));
        }
    }

    /// Keep the tasks that failed. A late report comes without tasks: then they are wherever the
    /// bundle is by now.
    fn bury(&mut self, job: JobKey, outcomes: &[Outcome], tasks: Option<&[Task]>, now: Timestamp) {
        let mut failed: HashMap<TaskIndex, Option<Task>> = outcomes
            .iter()
            .filter(|outcome| outcome.has_failed())
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
                .bundles()
                .filter(|queued| queued.bundle.job == job)
                .for_each(|queued| find(&queued.bundle.tasks)),
        }
        let Some(entry) = self.jobs.get(&job) else {
            return;
        };
        for outcome in outcomes.iter().filter(|outcome| outcome.has_failed()) {
            if let Some(task) = failed.remove(&outcome.index).flatten() {
                let letter = DeadLetter::of_task(&entry.job, &task, outcome, now);
                self.dead.bury(letter);
            }
        }
    }

    /// All bundles, wherever they are.
    fn bundles(&self) -> impl Iterator<Item = &QueuedBundle> {
        let waiting = self.ready.iter().chain(self.delayed.values());
        waiting.chain(self.leases.values().map(|leased| &leased.queued))
    }

    fn on_release(&mut self, lease: LeaseId, commands: &mut Vec<Command>) {
        if let Some(mut queued) = self.end_lease(lease) {
            queued.deliveries = queued.deliveries.saturating_sub(1);
            self.enqueue(queued, commands);
        }
    }

    fn on_cancel(&mut self, job: JobKey, commands: &mut Vec<Command>) {
        let Some(entry) = self.jobs.get_mut(&job) else {
            return;
        };
        if std::mem::replace(&mut entry.state, JobState::Cancelled) != JobState::Cancelled {
            self.drop_bundles(job);
            commands.push(Command::Cancelled(job));
            // Publishers that wait for room for this job need not wait any longer.
            commands.push(Command::WakePublishers);
        }
    }

    /// Waiting bundles lose these tasks when they are granted.
    fn on_cancel_tasks(
        &mut self,
        job: JobKey,
        tasks: Vec<TaskIndex>,
        now: Timestamp,
        commands: &mut Vec<Command>,
    ) {
        let Some(entry) = self.jobs.get_mut(&job) else {
            return;
        };
        entry.has_cancelled_tasks = true;
        let outcomes = tasks
            .iter()
            .map(|index| unrun(*index, Ending::Cancelled))
            .collect();
        self.store(job, outcomes, None, now, commands);
        commands.push(Command::TasksCancelled(job, tasks));
    }

    fn on_forget(&mut self, job: JobKey, commands: &mut Vec<Command>) {
        self.drop_bundles(job);
        if self.jobs.remove(&job).is_some() {
            commands.push(Command::Forgotten(job));
        }
        commands.push(Command::WakePublishers);
    }

    fn drop_bundles(&mut self, job: JobKey) {
        let bundles = self
            .jobs
            .get_mut(&job)
            .map_or(0, |entry| std::mem::take(&mut entry.bundles));
        if bundles == 0 {
            return;
        }
        let weights = &mut self.weights;
        let mut keep = |queued: &QueuedBundle| {
            let keep = queued.bundle.job != job;
            if !keep {
                weights.take(queued);
            }
            keep
        };
        self.ready.retain(&mut keep);
        self.delayed.retain(|_, queued| keep(queued));
        self.leases
            .retain(|_, leased| leased.queued.bundle.job != job);
        let leases = &self.leases;
        self.deadlines
            .retain(|(_, lease), ()| leases.contains_key(lease));
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "sleep_tests.rs"]
mod sleep_tests;
