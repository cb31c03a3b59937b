//! Tests the queue with random inputs, checking its invariants after each, and with a few exact
//! examples.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bytes::Bytes;
use proptest::prelude::*;
use sortie_protocol::{
    Argument, Digest, FunctionOptions, FunctionRef, JobId, Labels, Priority, TenantId,
};

use super::super::Faults;
use super::*;

const LEASE: Duration = Duration::from_millis(100);
const WEIGHT_MAX: usize = 2000;
const DELIVERIES_MAX: u32 = 4;
/// The last asks for a label.
const JOBS: u8 = 4;

fn key(number: u8) -> JobKey {
    JobKey {
        tenant: TenantId::default(),
        job: JobId::from_bytes([number; 16]),
    }
}

fn job(number: u8) -> Job {
    let priority = [Priority::Normal, Priority::High, Priority::Low][usize::from(number) % 3];
    let labels = if number == JOBS - 1 {
        label()
    } else {
        Labels::default()
    };
    let function = FunctionRef {
        component: Digest::of(b""),
        name: "f".into(),
    };
    let options = FunctionOptions {
        priority,
        labels,
        ..FunctionOptions::default()
    };
    Job::of(key(number), function, options)
}

fn label() -> Labels {
    "label".parse().unwrap()
}

fn plain() -> Serves {
    Serves::Labels(Labels::default())
}

fn bundle(job: JobKey, indices: impl IntoIterator<Item = TaskIndex>) -> Bundle {
    let task = |index: TaskIndex| Task {
        index,
        arguments: vec![Argument::Value(Bytes::from(index.to_string()))],
        function: 0,
        input: None,
        then: Vec::new(),
    };
    Bundle {
        job,
        attempts_before: 0,
        lost_before: 0,
        published: Timestamp::default(),
        tasks: indices.into_iter().map(task).collect(),
    }
}

fn outcome(index: TaskIndex, failed: Failed) -> Outcome {
    let ending = match failed {
        Failed::No => Ending::Completed(Bytes::new().into()),
        Failed::Yes => Ending::Failed(Failure::trapped(String::new())),
    };
    Outcome {
        index,
        attempts: 1,
        ending,
        bill: Bill::default(),
        log: None,
        input: None,
        function: None,
    }
}

#[derive(Debug, Clone, Copy)]
enum Failed {
    No,
    Yes,
}

/// What a worker says of one task.
#[derive(Debug, Clone, Copy)]
enum Said {
    Ended(Failed),
    Retrial { after: u64 },
    Nothing,
}

/// One random input. Leases are chosen among all that were ever granted, so that many are over;
/// `said` is used in a circle.
#[derive(Debug, Clone)]
enum Step {
    Advance { millis: u64 },
    Put { job: u8 },
    Seal { job: u8, tasks: u64 },
    RemoveDeadLetter { letter: u64 },
    Publish { job: u8, tasks: u64 },
    Pull { serves: Serves, credits: usize },
    Complete { lease: usize, said: Vec<Said> },
    Release { lease: usize },
    Extend { lease: usize },
    Cancel { job: u8 },
    CancelTask { job: u8, task: TaskIndex },
    Forget { job: u8 },
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        5 => Just(Said::Ended(Failed::No)),
        1 => Just(Said::Ended(Failed::Yes)),
        2 => (0_u64..200).prop_map(|after| Said::Retrial { after }),
        1 => Just(Said::Nothing),
    ]
}

fn serves() -> impl Strategy<Value = Serves> {
    prop_oneof![
        Just(plain()),
        Just(Serves::Labels(label())),
        Just(Serves::Everything)
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u64..150).prop_map(|millis| Step::Advance { millis }),
        8 => (0..JOBS, 0_u64..6).prop_map(|(job, tasks)| Step::Publish { job, tasks }),
        8 => (serves(), 1_usize..4).prop_map(|(serves, credits)| Step::Pull { serves, credits }),
        8 => (0_usize..64, prop::collection::vec(said(), 1..6))
            .prop_map(|(lease, said)| Step::Complete { lease, said }),
        2 => (0_usize..64).prop_map(|lease| Step::Release { lease }),
        2 => (0_usize..64).prop_map(|lease| Step::Extend { lease }),
        1 => (0..JOBS).prop_map(|job| Step::Put { job }),
        1 => (0..JOBS, 0_u64..9).prop_map(|(job, tasks)| Step::Seal { job, tasks }),
        1 => (0_u64..20).prop_map(|letter| Step::RemoveDeadLetter { letter }),
        1 => (0..JOBS).prop_map(|job| Step::Cancel { job }),
        2 => (0..JOBS, 0..30_u64).prop_map(|(job, task)| Step::CancelTask { job, task }),
        1 => (0..JOBS).prop_map(|job| Step::Forget { job }),
    ]
}

fn faults() -> impl Strategy<Value = Option<Faults>> {
    let some = (any::<u64>(), 0_u8..25, 0_u8..25, 0_u8..25, 0_u8..25);
    prop::option::of(
        some.prop_map(|(seed, drop, duplicate, reorder, delay)| Faults {
            seed,
            drop,
            duplicate,
            reorder,
            delay,
        }),
    )
}

/// The queue, and what an onlooker knows of it.
struct World {
    queue: Queue,
    now: Timestamp,
    /// Every lease ever granted.
    granted: Vec<Lease>,
    next_index: BTreeMap<JobKey, TaskIndex>,
    /// Published, without an outcome, of a job that is neither cancelled nor forgotten.
    open: BTreeSet<(JobKey, TaskIndex)>,
    ended: HashSet<(JobKey, TaskIndex)>,
    /// The last attempt of each task, and how often it may be repeated because its bundle was
    /// given back.
    attempts: BTreeMap<(JobKey, TaskIndex), u32>,
}

impl World {
    fn new(faults: Option<Faults>) -> Self {
        let config = Config {
            lease: LEASE,
            deliveries_max: DELIVERIES_MAX,
            weight_max: WEIGHT_MAX,
            dead_letters_max: 5,
            faults,
        };
        let mut queue = Queue::new(config);
        (0..JOBS).for_each(|number| queue.put_job(job(number), Timestamp::default()));
        let (now, granted, next_index) = (Timestamp::from_nanos(1), Vec::new(), BTreeMap::new());
        let (open, ended, attempts) = (BTreeSet::new(), HashSet::new(), BTreeMap::new());
        Self {
            queue,
            now,
            granted,
            next_index,
            open,
            ended,
            attempts,
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Advance { millis } => {
                self.now = self.now + Duration::from_millis(millis);
                self.on(Input::Tick);
            }
            Step::Put { job: number } => self.queue.put_job(job(number), self.now),
            Step::Seal { job, tasks } => self.seal(key(job), tasks),
            Step::RemoveDeadLetter { letter } => {
                self.queue.dead_mut().remove(letter);
            }
            Step::Publish { job, tasks } => self.publish(key(job), tasks),
            Step::Pull { serves, credits } => {
                let before = self.granted.len();
                self.on(Input::Pull {
                    serves: serves.clone(),
                    credits: NonZeroUsize::new(credits).unwrap(),
                });
                assert!(self.granted.len() - before <= credits);
                assert!(
                    self.granted[before..]
                        .iter()
                        .all(|lease| serves.takes(&lease.job.functions[0].options.labels))
                );
            }
            Step::Complete { lease, said } => {
                if let Some(lease) = self.any_lease(lease) {
                    let report = report(&lease, &said);
                    self.on(Input::Complete {
                        lease: lease.id,
                        job: lease.job.key,
                        report,
                    });
                }
            }
            Step::Release { lease } => {
                if let Some(lease) = self.any_lease(lease) {
                    self.on(Input::Release(lease.id));
                }
            }
            Step::Extend { lease } => self.extend(lease),
            Step::Cancel { job } => {
                self.on(Input::Cancel(key(job)));
                self.open.retain(|(of, _)| *of != key(job));
            }
            Step::CancelTask { job, task } => self.cancel_task(key(job), task),
            Step::Forget { job } => self.forget(key(job)),
        }
        self.check();
    }

    fn seal(&mut self, job: JobKey, tasks: TaskIndex) {
        let before = self.queue.job(job).map(|record| record.state);
        self.queue.seal(job, tasks);
        let after = self.queue.job(job).map(|record| record.state);
        assert_eq!(
            after,
            if before == Some(JobState::Open) {
                Some(JobState::Sealed { tasks })
            } else {
                before
            }
        );
    }

    fn any_lease(&self, number: usize) -> Option<Lease> {
        // The newer ones more often: of the older ones nearly all are over.
        self.granted
            .iter()
            .rev()
            .nth(number % (self.granted.len() + 1))
            .cloned()
    }

    fn publish(&mut self, job: JobKey, tasks: u64) {
        let first = self.next_index.get(&job).copied().unwrap_or(0);
        let bundle = bundle(job, first..first + tasks);
        match self.queue.admits(&bundle) {
            Ok(Admitted::Now) => {
                assert!(
                    self.queue.weights.of(&TenantId::default()) + bundle.weight() <= WEIGHT_MAX
                );
                self.next_index.insert(job, first + tasks);
                self.open
                    .extend((first..first + tasks).map(|index| (job, index)));
                self.on(Input::Publish(bundle));
            }
            Ok(Admitted::Later) => {
                assert!(
                    self.queue.weights.of(&TenantId::default()) > 0,
                    "an empty queue refused a bundle"
                )
            }
            Err(Error::Empty) => assert_eq!(tasks, 0),
            Err(_) => {}
        }
    }

    /// A task that was published and did not end is over at once.
    fn cancel_task(&mut self, job: JobKey, task: TaskIndex) {
        let published = self.next_index.get(&job).copied().unwrap_or(0);
        if task < published {
            self.on(Input::CancelTasks(job, vec![task]));
            assert!(!self.open.contains(&(job, task)));
        }
    }

    fn extend(&mut self, number: usize) {
        let Some(lease) = self.any_lease(number) else {
            return;
        };
        let holds = self.queue.leases.contains_key(&lease.id);
        match self.queue.extend(lease.id, self.now) {
            Extended::Until(until) => assert!(holds && until == self.now + LEASE),
            Extended::Lost => assert!(!holds),
        }
    }

    fn forget(&mut self, job: JobKey) {
        self.on(Input::Forget(job));
        self.open.retain(|(of, _)| *of != job);
        self.ended.retain(|(of, _)| *of != job);
        self.attempts.retain(|(of, _), _| *of != job);
        self.next_index.remove(&job);
        self.granted.retain(|lease| lease.job.key != job);
    }

    fn on(&mut self, input: Input) {
        let faulty = self.queue.fault_injector.is_some();
        if let Input::Release(lease) = &input
            && let Some(leased) = self.queue.leases.get(lease)
        {
            // This delivery does not count.
            for task in &leased.queued.bundle.tasks {
                self.attempts
                    .entry((leased.queued.bundle.job, task.index))
                    .and_modify(|attempt| *attempt = attempt.saturating_sub(1));
            }
        }
        for command in self.queue.on(input, self.now) {
            match command {
                Command::Grant(lease) => {
                    assert!(lease.deadline > self.now);
                    for task in &lease.bundle.tasks {
                        let id = (lease.job.key, task.index);
                        assert!(
                            !self.ended.contains(&id),
                            "{id:?} ended and was granted again"
                        );
                        let before = self.attempts.insert(id, lease.attempt).unwrap_or(0);
                        assert!(
                            faulty || lease.attempt == before + 1,
                            "{id:?}: attempt {} after {before}",
                            lease.attempt
                        );
                    }
                    self.granted.push(lease);
                }
                Command::Store(job, outcomes) => {
                    assert!(!outcomes.is_empty());
                    for outcome in outcomes {
                        assert!(
                            self.ended.insert((job, outcome.index)),
                            "two outcomes of {job}/{}",
                            outcome.index
                        );
                        self.open.remove(&(job, outcome.index));
                    }
                }
                Command::WakeWorker
                | Command::WakeWorkers
                | Command::WakePublishers
                | Command::Cancelled(_)
                | Command::Forgotten(_)
                | Command::TasksCancelled(..) => {}
            }
        }
    }

    /// What holds after every input.
    fn check(&self) {
        let queue = &self.queue;
        let waiting = || queue.ready.iter().chain(queue.delayed.values());
        assert_eq!(
            queue.weights.of(&TenantId::default()),
            waiting().map(|queued| queued.weight).sum::<usize>()
        );
        assert_eq!(
            queue.weights.of(&TenantId::default()),
            waiting()
                .map(|queued| queued.bundle.weight())
                .sum::<usize>()
        );

        // What is doubled is not asked whether it should come alone.
        let together = |queued: &QueuedBundle| queued.decide(DELIVERIES_MAX) == Delivery::Run;
        assert!(
            queue.fault_injector.is_some() || waiting().all(together),
            "a bundle waits that should have been split or given up"
        );

        let leases: BTreeSet<_> = queue
            .leases
            .iter()
            .map(|(id, leased)| (leased.deadline, *id))
            .collect();
        assert_eq!(
            queue.deadlines.keys().copied().collect::<BTreeSet<_>>(),
            leases
        );
        assert!(queue.deadline().is_none_or(|deadline| deadline > self.now));
        assert!((self.now..=self.now + LEASE).contains(&queue.look_again(self.now)));
        assert!(queue.dead.len() <= queue.config.dead_letters_max);

        let mut places: BTreeMap<(JobKey, TaskIndex), usize> = BTreeMap::new();
        let mut bundles: HashMap<JobKey, usize> = HashMap::new();
        for queued in queue.bundles() {
            assert!(!queued.bundle.tasks.is_empty());
            *bundles.entry(queued.bundle.job).or_default() += 1;
            queued
                .bundle
                .tasks
                .iter()
                .for_each(|task| *places.entry((queued.bundle.job, task.index)).or_default() += 1);
        }
        for (id, state) in &queue.jobs {
            assert_eq!(state.bundles, bundles.remove(id).unwrap_or(0));
            assert!(!state.is_cancelled() || state.bundles == 0);
            assert_eq!(queue.unfinished(*id), state.bundles as u64);
        }
        assert!(
            bundles.is_empty(),
            "bundles of jobs that are not there: {bundles:?}"
        );
        for id in &self.open {
            let count = places.get(id).copied().unwrap_or(0);
            assert!(
                count == 1 || (count > 1 && queue.fault_injector.is_some()),
                "{id:?} is in {count} places"
            );
        }
    }

    /// From here on, one worker pulls and completes, and nobody else does anything.
    fn drain(&mut self) {
        for _ in 0..2000 {
            if self.open.is_empty() {
                return;
            }
            let before = self.granted.len();
            self.run(Step::Pull {
                serves: Serves::Everything,
                credits: 4,
            });
            for lease in self.granted.split_off(before) {
                let outcomes = lease
                    .bundle
                    .tasks
                    .iter()
                    .map(|task| outcome(task.index, Failed::No))
                    .collect();
                self.on(Input::Complete {
                    lease: lease.id,
                    job: lease.job.key,
                    report: Report {
                        outcomes,
                        retrials: Vec::new(),
                    },
                });
                self.check();
            }
            if let Some(deadline) = self.queue.deadline() {
                self.now = deadline;
                self.on(Input::Tick);
            }
        }
        panic!("these never ended: {:?}", self.open);
    }
}

fn report(lease: &Lease, said: &[Said]) -> Report {
    let mut report = Report::default();
    for (task, said) in lease.bundle.tasks.iter().zip(said.iter().cycle()) {
        match *said {
            Said::Ended(failed) => report.outcomes.push(outcome(task.index, failed)),
            Said::Retrial { after } => report.retrials.push(Retrial {
                index: task.index,
                after: Duration::from_millis(after),
            }),
            Said::Nothing => {}
        }
    }
    report
}

proptest! {
    #[test]
    fn every_task_is_in_one_place_until_it_ends(
        faults in faults(),
        steps in prop::collection::vec(step(), 1..150)
    ) {
        let mut world = World::new(faults);
        steps.into_iter().for_each(|step| world.run(step));
        world.drain();
        prop_assert!(world.open.is_empty());
    }
}

fn pull(queue: &mut Queue, now: Timestamp) -> Lease {
    pull_as(queue, &plain(), now).unwrap()
}

fn pull_as(queue: &mut Queue, serves: &Serves, now: Timestamp) -> Option<Lease> {
    let commands = queue.on(
        Input::Pull {
            serves: serves.clone(),
            credits: NonZeroUsize::MIN,
        },
        now,
    );
    commands.into_iter().find_map(|command| {
        if let Command::Grant(lease) = command {
            Some(lease)
        } else {
            None
        }
    })
}

fn wakes(commands: &[Command]) -> usize {
    commands
        .iter()
        .filter(|command| matches!(command, Command::WakeWorker))
        .count()
}

#[test]
fn a_lease_ends_at_its_deadline_and_not_before() {
    let World { mut queue, now, .. } = World::new(None);
    queue.on(Input::Publish(bundle(key(0), [0])), now);
    let lease = pull(&mut queue, now);
    assert_eq!(lease.deadline, now + LEASE);
    assert_eq!(
        wakes(&queue.on(Input::Tick, now + (LEASE - Duration::from_nanos(1)))),
        0
    );
    assert_eq!(wakes(&queue.on(Input::Tick, now + LEASE)), 1);
    assert_eq!(pull(&mut queue, now + LEASE).attempt, 2);
}

#[test]
fn a_lease_that_is_over_cannot_be_extended_before_anybody_acts_on_it() {
    let World { mut queue, now, .. } = World::new(None);
    queue.on(Input::Publish(bundle(key(0), [0])), now);
    let lease = pull(&mut queue, now);
    assert_eq!(queue.extend(lease.id, now + LEASE), Extended::Lost);
    assert_eq!(pull(&mut queue, now + LEASE).attempt, 2);
}

#[test]
fn a_bundle_that_shrinks_gives_its_weight_back() {
    let World { mut queue, now, .. } = World::new(None);
    queue.on(Input::Publish(bundle(key(0), 0..4)), now);
    let lease = pull(&mut queue, now);
    let later = now + LEASE;
    queue.on(Input::Tick, later);
    let report = Report {
        outcomes: (0..3).map(|index| outcome(index, Failed::No)).collect(),
        retrials: Vec::new(),
    };
    queue.on(
        Input::Complete {
            lease: lease.id,
            job: key(0),
            report,
        },
        later,
    );
    assert_eq!(
        pull(&mut queue, later).bundle.tasks,
        bundle(key(0), [3]).tasks
    );
    queue.on(Input::Tick, later + LEASE);
    assert_eq!(
        queue.weights.of(&TenantId::default()),
        bundle(key(0), [3]).weight()
    );
}

#[test]
fn a_report_never_ends_a_lease_of_another_job() {
    let World { mut queue, now, .. } = World::new(None);
    queue.on(Input::Publish(bundle(key(0), [0])), now);
    let lease = pull(&mut queue, now);
    queue.on(
        Input::Complete {
            lease: lease.id,
            job: key(1),
            report: Report::default(),
        },
        now,
    );
    assert_eq!(queue.extend(lease.id, now), Extended::Until(now + LEASE));
}

#[test]
fn a_queue_that_reorders_grants_its_only_bundle() {
    let World { mut queue, now, .. } = World::new(Some(Faults {
        reorder: 100,
        ..Faults::seeded(1)
    }));
    queue.on(Input::Publish(bundle(key(0), [0])), now);
    assert_eq!(
        pull(&mut queue, now).bundle.tasks,
        bundle(key(0), [0]).tasks
    );
}

#[test]
fn reordering_keeps_to_the_priority() {
    let World { mut queue, now, .. } = World::new(Some(Faults {
        reorder: 100,
        ..Faults::seeded(1)
    }));
    for (number, index) in [(0, 0), (1, 0), (1, 1), (2, 0)] {
        queue.on(Input::Publish(bundle(key(number), [index])), now);
    }
    let granted: Vec<_> = (0..4)
        .map(|_| pull(&mut queue, now))
        .map(|lease| (lease.job.key, lease.bundle.tasks[0].index))
        .collect();
    assert_eq!(
        granted,
        [(key(1), 1), (key(1), 0), (key(0), 0), (key(2), 0)]
    );
}

#[test]
fn a_queue_that_keeps_no_dead_letters_keeps_none() {
    let mut queue = Queue::new(Config {
        dead_letters_max: 0,
        ..Config::default()
    });
    let now = Timestamp::from_nanos(1);
    queue.put_job(job(0), now);
    queue.on(Input::Publish(bundle(key(0), [0])), now);
    let lease = pull(&mut queue, now);
    let report = Report {
        outcomes: vec![outcome(0, Failed::Yes)],
        retrials: Vec::new(),
    };
    queue.on(
        Input::Complete {
            lease: lease.id,
            job: key(0),
            report,
        },
        now,
    );
    assert_eq!(queue.dead().newest(&TenantId::default(), None, 10), []);
}

#[test]
fn the_oldest_bundle_that_a_worker_may_take_goes_first_within_a_priority() {
    let World { mut queue, now, .. } = World::new(None);
    // Jobs 0 and 3 are of one priority, and 3 asks for the label.
    for (number, index) in [(3, 0), (0, 0), (3, 1), (0, 1), (1, 0)] {
        queue.on(Input::Publish(bundle(key(number), [index])), now);
    }
    let mut next = |serves: &Serves| {
        pull_as(&mut queue, serves, now).map(|lease| (lease.job.key, lease.bundle.tasks[0].index))
    };
    let labelled = Serves::Labels(label());
    assert_eq!(next(&labelled), Some((key(1), 0)));
    assert_eq!(next(&labelled), Some((key(3), 0)));
    assert_eq!(next(&labelled), Some((key(0), 0)));
    assert_eq!(next(&plain()), Some((key(0), 1)));
    assert_eq!(next(&plain()), None);
    assert_eq!(next(&Serves::Everything), Some((key(3), 1)));
}

#[test]
fn a_retrial_forgets_the_losses_before_it() {
    let World {
        mut queue, mut now, ..
    } = World::new(None);
    queue.on(Input::Publish(bundle(key(0), [0])), now);
    for _ in 1..DELIVERIES_MAX {
        pull(&mut queue, now);
        now = now + LEASE;
    }
    let lease = pull(&mut queue, now);
    let retrials = vec![Retrial {
        index: 0,
        after: Duration::ZERO,
    }];
    queue.on(
        Input::Complete {
            lease: lease.id,
            job: key(0),
            report: Report {
                outcomes: Vec::new(),
                retrials,
            },
        },
        now,
    );
    for attempt in 1..=DELIVERIES_MAX {
        assert_eq!(pull(&mut queue, now).attempt, DELIVERIES_MAX + attempt);
        now = now + LEASE;
    }
    let commands = queue.on(Input::Tick, now);
    let stored = commands.into_iter().find_map(|command| {
        if let Command::Store(_, outcomes) = command {
            Some(outcomes)
        } else {
            None
        }
    });
    assert_eq!(stored.unwrap()[0].attempts, 2 * DELIVERIES_MAX);
}

#[test]
fn a_task_that_comes_alone_has_the_losses_of_its_bundle_behind_it() {
    let World { mut queue, now, .. } = World::new(None);
    queue.on(Input::Publish(bundle(key(0), 0..2)), now);
    pull(&mut queue, now);
    pull(&mut queue, now + LEASE);
    let alone = pull(&mut queue, now + LEASE + LEASE);
    let tasks = bundle(key(0), [0]).tasks;
    assert_eq!(
        *alone.bundle,
        Bundle {
            attempts_before: 2,
            lost_before: 2,
            tasks,
            ..bundle(key(0), [])
        }
    );
    assert_eq!(queue.unfinished(key(0)), 2);
}

#[test]
fn of_subtasks_the_deepest_go_first_within_their_priority() {
    let mut queue = Queue::new(Config::default());
    let now = Timestamp::from_nanos(1);
    for (number, depth) in [(1, 1), (4, 3), (7, 2), (0, 9)] {
        let parent = sortie_protocol::Parent {
            job: JobId::from_bytes([9; 16]),
            task: 0,
            depth,
            root: JobId::from_bytes([9; 16]),
        };
        let job = Job {
            parent: Some(parent),
            ..job(number)
        };
        queue.put_job(job, now);
        queue.on(Input::Publish(bundle(key(number), [0])), now);
    }
    let mut order = Vec::new();
    while let Some(lease) = pull_as(&mut queue, &plain(), now) {
        order.push(lease.job.key);
    }
    // The last has a lower priority.
    assert_eq!(order, [4, 7, 1, 0].map(key));
}
