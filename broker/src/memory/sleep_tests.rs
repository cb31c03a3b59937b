//! Tests how workers wait on the queue. The race is between wake-ups, for one worker or for all,
//! and workers that come, look and go. No worker may sleep past the time at which it could get a
//! bundle.
//!
//! The worker here is `MemoryBroker::pull` step by step, and what wakes it is tokio's `Notify`: it
//! wakes the longest registered first, keeps one wake-up if nobody is registered, and passes on
//! what a dropped waiter was given. A wake-up for all reaches those who are registered; it
//! is neither kept nor passed on.

use std::collections::VecDeque;

use proptest::prelude::*;
use sortie_protocol::{Digest, FunctionOptions, FunctionRef, JobId, Labels, TenantId};

use super::*;

const LEASE: Duration = Duration::from_millis(100);
/// For any worker.
const JOB: u8 = 1;
/// For workers with the label.
const ASKING: u8 = 2;

fn key(number: u8) -> JobKey {
    JobKey {
        tenant: TenantId::default(),
        job: JobId::from_bytes([number; 16]),
    }
}

/// What may happen. Numbers choose among those there are.
#[derive(Debug, Clone)]
enum Step {
    Publish(JobKey),
    /// A worker comes and registers.
    Arrive(Kind),
    /// A worker that is awake takes its next step: looks into the queue, or registers again.
    Run(usize),
    /// A pull that waits is dropped.
    Leave(usize),
    Complete(usize),
    /// The task is to be tried again, after this many milliseconds.
    Retry(usize, u64),
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop_oneof![Just(key(JOB)), Just(key(ASKING))].prop_map(Step::Publish),
        4 => prop_oneof![Just(Kind::Plain), Just(Kind::Labelled)].prop_map(Step::Arrive),
        12 => any::<usize>().prop_map(Step::Run),
        1 => any::<usize>().prop_map(Step::Leave),
        3 => any::<usize>().prop_map(Step::Complete),
        3 => (any::<usize>(), 0_u64..150).prop_map(|(lease, after)| Step::Retry(lease, after)),
        3 => (0_u64..60).prop_map(Step::Advance),
    ]
}

/// What a worker has.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Plain,
    Labelled,
}

/// A call to `pull`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worker {
    /// Registered, and about to look.
    Looking { notified: Notified },
    /// Found nothing.
    Asleep { until: Timestamp },
    /// About to register again.
    Woken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notified {
    No,
    /// With a wake-up that another may have as well.
    Yes,
    /// There was a wake-up left when it registered, or all were woken.
    ForItself,
}

/// The queue, and workers around a `Notify`.
struct World {
    queue: Queue,
    now: Timestamp,
    next: u64,
    leases: Vec<Lease>,
    workers: BTreeMap<u64, Worker>,
    kinds: BTreeMap<u64, Kind>,
    /// The workers that are registered and not notified, the longest registered first.
    waiters: VecDeque<u64>,
    /// A wake-up that found nobody registered.
    permit: Option<()>,
}

impl World {
    fn new() -> Self {
        let mut queue = Queue::new(Config {
            lease: LEASE,
            deliveries_max: 1000,
            ..Config::default()
        });
        let function = FunctionRef {
            component: Digest::of(b""),
            name: "f".into(),
        };
        for (number, labels) in [(JOB, Labels::default()), (ASKING, label())] {
            let options = FunctionOptions {
                labels,
                ..FunctionOptions::default()
            };
            queue.put_job(
                Job::of(key(number), function.clone(), options),
                Timestamp::default(),
            );
        }
        let (leases, workers, kinds, waiters) = (
            Vec::new(),
            BTreeMap::new(),
            BTreeMap::new(),
            VecDeque::new(),
        );
        Self {
            queue,
            now: Timestamp::from_nanos(1),
            next: 0,
            leases,
            workers,
            kinds,
            waiters,
            permit: None,
        }
    }

    fn notify_one(&mut self) {
        let Some(id) = self.waiters.pop_front() else {
            self.permit = Some(());
            return;
        };
        let worker = self.workers.get_mut(&id).unwrap();
        *worker = match *worker {
            Worker::Looking { .. } => Worker::Looking {
                notified: Notified::Yes,
            },
            Worker::Asleep { .. } | Worker::Woken => Worker::Woken,
        };
    }

    fn notify_waiters(&mut self) {
        for id in std::mem::take(&mut self.waiters) {
            let worker = self.workers.get_mut(&id).unwrap();
            *worker = match *worker {
                Worker::Looking { .. } => Worker::Looking {
                    notified: Notified::ForItself,
                },
                Worker::Asleep { .. } | Worker::Woken => Worker::Woken,
            };
        }
    }

    fn on(&mut self, input: Input) -> Vec<Lease> {
        let mut leases = Vec::new();
        for command in self.queue.on(input, self.now) {
            match command {
                Command::Grant(lease) => leases.push(lease),
                Command::WakeWorker => self.notify_one(),
                Command::WakeWorkers => self.notify_waiters(),
                Command::Store(..)
                | Command::WakePublishers
                | Command::Cancelled(_)
                | Command::Forgotten(_)
                | Command::TasksCancelled(..) => {}
            }
        }
        leases
    }

    fn register(&mut self, id: u64) {
        let notified = if self.permit.take().is_some() {
            Notified::ForItself
        } else {
            Notified::No
        };
        if notified == Notified::No {
            self.waiters.push_back(id);
        }
        self.workers.insert(id, Worker::Looking { notified });
    }

    fn serves(&self, id: u64) -> Serves {
        Serves::Labels(match self.kinds[&id] {
            Kind::Plain => Labels::default(),
            Kind::Labelled => label(),
        })
    }

    fn look(&mut self, id: u64) {
        let leases = self.on(Input::Pull {
            serves: self.serves(id),
            credits: NonZeroUsize::MIN,
        });
        // Its own look may have notified it.
        let Some(Worker::Looking { notified }) = self.workers.get(&id).copied() else {
            unreachable!()
        };
        if !leases.is_empty() {
            self.leases.extend(leases);
            self.workers.remove(&id);
            self.waiters.retain(|waiter| *waiter != id);
            if notified == Notified::Yes {
                self.notify_one();
            }
            return;
        }
        let until = self.queue.look_again(self.now);
        self.workers.insert(
            id,
            if notified == Notified::No {
                Worker::Asleep { until }
            } else {
                Worker::Woken
            },
        );
    }

    fn run_worker(&mut self, id: u64) {
        match self.workers.get(&id) {
            Some(Worker::Looking { .. }) => self.look(id),
            Some(Worker::Woken) => self.register(id),
            Some(Worker::Asleep { .. }) | None => {}
        }
    }

    /// A pull is dropped, awake or asleep, but never while it looks. What woke it goes to another,
    /// and so does what it slept for.
    fn leave(&mut self, number: usize) {
        let Some(id) = choose(number, self.workers.keys().copied()) else {
            return;
        };
        match self.workers.get(&id) {
            Some(Worker::Looking { .. }) | None => return,
            Some(Worker::Woken) => self.notify_one(),
            Some(Worker::Asleep { .. }) => self.waiters.retain(|waiter| *waiter != id),
        }
        self.workers.remove(&id);
        self.notify_one();
    }

    fn complete(&mut self, number: usize, report: impl FnOnce(TaskIndex) -> Report) {
        if !self.leases.is_empty() {
            let lease = self.leases.remove(number % self.leases.len());
            let report = report(lease.bundle.tasks[0].index);
            self.on(Input::Complete {
                lease: lease.id,
                job: lease.job.key,
                report,
            });
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Publish(job) => {
                self.next += 1;
                let tasks = vec![Task {
                    index: self.next,
                    arguments: Vec::new(),
                    function: 0,
                    input: None,
                    then: Vec::new(),
                }];
                self.on(Input::Publish(Bundle {
                    job,
                    attempts_before: 0,
                    lost_before: 0,
                    published: self.now,
                    tasks,
                }));
            }
            Step::Arrive(kind) => {
                self.next += 1;
                self.kinds.insert(self.next, kind);
                self.register(self.next);
            }
            Step::Run(number) => {
                let awake = self
                    .workers
                    .iter()
                    .filter(|(_, worker)| !matches!(worker, Worker::Asleep { .. }));
                if let Some(id) = choose(number, awake.map(|(id, _)| *id)) {
                    self.run_worker(id);
                }
            }
            Step::Leave(number) => self.leave(number),
            Step::Complete(number) => self.complete(number, |index| {
                let outcome = Outcome {
                    index,
                    attempts: 1,
                    ending: Ending::Cancelled,
                    bill: Bill::default(),
                    log: None,
                    input: None,
                    function: None,
                };
                Report {
                    outcomes: vec![outcome],
                    retrials: Vec::new(),
                }
            }),
            Step::Retry(number, after) => self.complete(number, |index| {
                let after = Duration::from_millis(after);
                Report {
                    outcomes: Vec::new(),
                    retrials: vec![Retrial { index, after }],
                }
            }),
            Step::Advance(millis) => self.advance(Duration::from_millis(millis)),
        }
    }

    /// Time passes, and stops at each moment at which somebody looks again.
    fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        self.settle();
        while let Some((until, id)) = self.sleepers().min().filter(|(until, _)| *until <= end) {
            self.now = until;
            self.waiters.retain(|waiter| *waiter != id);
            self.workers.insert(id, Worker::Woken);
            self.on(Input::Tick);
            self.settle();
        }
        self.now = end;
    }

    fn sleepers(&self) -> impl Iterator<Item = (Timestamp, u64)> {
        self.workers.iter().filter_map(|(id, worker)| match worker {
            Worker::Asleep { until } => Some((*until, *id)),
            Worker::Looking { .. } | Worker::Woken => None,
        })
    }

    /// Run every worker that is awake until it sleeps; then none sleeps that should not.
    fn settle(&mut self) {
        while let Some(id) = self
            .workers
            .iter()
            .find(|(_, worker)| !matches!(worker, Worker::Asleep { .. }))
            .map(|(id, _)| *id)
        {
            self.run_worker(id);
        }
        if let Some((first, _)) = self.sleepers().min() {
            for (_, sleeper) in self.sleepers() {
                let serves = self.serves(sleeper);
                let mine = self
                    .queue
                    .ready
                    .iter()
                    .any(|queued| serves.takes(&queued.job.functions[0].options.labels));
                assert!(
                    !mine,
                    "a bundle is ready, and a worker that may take it sleeps"
                );
            }
            assert!(
                self.queue
                    .deadline()
                    .is_none_or(|deadline| first <= deadline),
                "all sleep past the next deadline"
            );
        }
    }
}

fn label() -> Labels {
    "label".parse().unwrap()
}

fn choose(number: usize, ids: impl Iterator<Item = u64>) -> Option<u64> {
    let ids: Vec<_> = ids.collect();
    number
        .checked_rem(ids.len())
        .and_then(|number| ids.get(number).copied())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    #[test]
    fn nobody_oversleeps(steps in prop::collection::vec(step(), 1..100)) {
        let mut world = World::new();
        for step in steps {
            world.run(step);
        }
        world.settle();
    }
}
