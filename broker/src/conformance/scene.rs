//! What the checks share: a broker under test, and calls to publish, pull, report and follow, each
//! with a limit on its wait.

use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::{Either, select};
use futures::stream::BoxStream;
use sortie_protocol::{
    Address, Argument, Bill, Bundle, DeadLetter, Digest, Ending, Failure, FunctionOptions,
    FunctionRef, InputName, Job, JobId, JobKey, JobRecord, Labels, Location, Outcome, Priority,
    Task, TaskIndex, TenantId, Timestamp, WorkerId,
};
use tokio::time::{Instant, timeout};

use super::{Broken, Harness, Verdict};
use crate::traits::{
    Broker, Error, Event, Lease, LetterId, Mark, Position, Puller, Report, Retrial, Serves,
};

/// When jobs are submitted, unless a check says something else.
pub(super) const CREATED: Timestamp = Timestamp::from_nanos(1_700_000_000_000_000_000);

/// A check's broker, with its lease and its limits.
pub(super) struct Scene {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) lease: Duration,
    patience: Duration,
}

impl Scene {
    pub(super) async fn new(harness: &dyn Harness) -> Self {
        Self::of(harness, harness.broker().await)
    }

    /// Of a broker that is not the usual one.
    pub(super) fn of(harness: &dyn Harness, broker: Arc<dyn Broker>) -> Self {
        Self {
            broker,
            lease: harness.lease(),
            patience: harness.patience(),
        }
    }

    /// Wait for what has to happen.
    pub(super) async fn soon<T>(
        &self,
        what: &str,
        happens: impl Future<Output = T>,
    ) -> Result<T, Broken> {
        timeout(self.patience, happens)
            .await
            .map_err(|_| Broken::new(format!("{what} did not happen within {:?}", self.patience)))
    }

    /// Put a job with default options.
    pub(super) async fn job(&self) -> Result<JobKey, Broken> {
        self.job_with(Priority::Normal).await
    }

    pub(super) async fn job_with(&self, priority: Priority) -> Result<JobKey, Broken> {
        self.job_of(FunctionOptions {
            priority,
            ..FunctionOptions::default()
        })
        .await
    }

    /// Put a job that asks for labels.
    pub(super) async fn job_asking(&self, labels: &Labels) -> Result<JobKey, Broken> {
        self.job_of(FunctionOptions {
            labels: labels.clone(),
            ..FunctionOptions::default()
        })
        .await
    }

    async fn job_of(&self, options: FunctionOptions) -> Result<JobKey, Broken> {
        let job = job_of(options);
        let id = job.key;
        self.broker.put_job(job, CREATED).await?;
        Ok(id)
    }

    /// Publish one bundle.
    pub(super) async fn publish(
        &self,
        job: JobKey,
        indices: impl IntoIterator<Item = TaskIndex>,
    ) -> Verdict {
        Ok(self
            .soon("a publish", self.broker.publish(bundle(job, indices)))
            .await??)
    }

    /// Pull one lease, as a worker without labels.
    pub(super) async fn pull(&self) -> Result<Lease, Broken> {
        self.pull_as(&puller(1)).await
    }

    /// Pull one lease as this worker.
    pub(super) async fn pull_as(&self, puller: &Puller) -> Result<Lease, Broken> {
        let leases = self
            .soon("a pull", self.broker.pull(puller, NonZeroUsize::MIN))
            .await??;
        let count = leases.len();
        match <[Lease; 1]>::try_from(leases) {
            Ok([lease]) => Ok(lease),
            Err(_) => Err(Broken::new(format!(
                "a pull with one credit gave {count} leases"
            ))),
        }
    }

    /// Check that nothing can be pulled for that long.
    pub(super) async fn nothing_to_pull(&self, during: Duration) -> Verdict {
        self.nothing_to_pull_as(&puller(2), during).await
    }

    /// Check that this worker can pull nothing for that long.
    pub(super) async fn nothing_to_pull_as(&self, puller: &Puller, during: Duration) -> Verdict {
        match timeout(during, self.broker.pull(puller, NonZeroUsize::MIN)).await {
            Err(_) => Ok(()),
            Ok(leases) => Err(unwanted(&leases?)),
        }
    }

    /// Wait for what has to happen without anything being granted. A pull waits meanwhile: a broker
    /// may act on expired leases only while a worker pulls.
    pub(super) async fn beside_a_pull<T>(
        &self,
        happens: impl Future<Output = Result<T, Broken>>,
    ) -> Result<T, Broken> {
        let puller = puller(2);
        match select(
            std::pin::pin!(happens),
            self.broker.pull(&puller, NonZeroUsize::MIN),
        )
        .await
        {
            Either::Left((happened, _)) => happened,
            Either::Right((leases, _)) => Err(unwanted(&leases?)),
        }
    }

    /// Ask until the answer is the right one: a broker may need a moment to see what it was told.
    pub(super) async fn until<T, A>(
        &self,
        what: &str,
        should: &T,
        mut ask: impl FnMut() -> A,
    ) -> Verdict
    where
        T: PartialEq + Debug,
        A: Future<Output = Result<T, Error>>,
    {
        let deadline = Instant::now() + self.patience;
        loop {
            let is = ask().await?;
            if is == *should || Instant::now() >= deadline {
                return same(what, &is, should);
            }
            tokio::time::sleep(self.lease / 20).await;
        }
    }

    /// See that a job has so many bundles that wait or are leased.
    pub(super) async fn unfinished(&self, when: &str, job: JobKey, count: u64) -> Verdict {
        self.until(
            &format!("the unfinished bundles {when}"),
            &count,
            || async {
                let unfinished = self.broker.unfinished(job).await?;
                Ok(unfinished.bundles)
            },
        )
        .await
    }

    /// A job's record, which has to be there.
    pub(super) async fn record(&self, job: JobKey) -> Result<JobRecord, Broken> {
        self.broker
            .job(job)
            .await?
            .ok_or_else(|| Broken::new(format!("`{job}` was put, but has no record")))
    }

    /// Let a lease run out: take the bundle over, as the next attempt.
    pub(super) async fn take_over(&self, expiring: &Lease) -> Result<Lease, Broken> {
        let next = self.pull().await?;
        same("the bundle taken over", &indices(&next), &indices(expiring))?;
        Ok(next)
    }

    /// End a lease with outcomes only.
    pub(super) async fn report(&self, lease: &Lease, outcomes: Vec<Outcome>) -> Verdict {
        self.report_on(
            lease,
            Report {
                outcomes,
                retrials: Vec::new(),
            },
        )
        .await
    }

    /// End a lease.
    pub(super) async fn report_on(&self, lease: &Lease, report: Report) -> Verdict {
        Ok(self
            .soon(
                "a report",
                self.broker.complete(lease.id, lease.job.key, report),
            )
            .await??)
    }

    /// Pull one bundle and complete all of its tasks.
    pub(super) async fn work(&self) -> Result<Lease, Broken> {
        let lease = self.pull().await?;
        self.report(&lease, indices(&lease).into_iter().map(completed).collect())
            .await?;
        Ok(lease)
    }

    /// Follow a job.
    pub(super) async fn follow(&self, job: JobKey, from: Position) -> Result<Follower, Broken> {
        Ok(Follower {
            events: self.broker.follow(job, from).await?,
            patience: self.patience,
        })
    }

    /// Dead letters, once there are at least `count`.
    pub(super) async fn dead_letters(
        &self,
        job: Option<JobKey>,
        count: usize,
    ) -> Result<Vec<(LetterId, DeadLetter)>, Broken> {
        let found = async {
            loop {
                let letters = self.broker.dead_letters(job, 100).await?;
                if letters.len() >= count {
                    return Ok::<_, Error>(letters);
                }
                tokio::time::sleep(self.lease / 20).await;
            }
        };
        Ok(self.soon("a dead letter", found).await??)
    }
}

/// A follower of a job's outcomes.
pub(super) struct Follower {
    events: BoxStream<'static, Event>,
    patience: Duration,
}

impl Follower {
    /// The next event that is not only about how far the stream is.
    async fn next(&mut self, wanted: &str) -> Result<Option<Event>, Broken> {
        let waiting = async {
            loop {
                match self.events.next().await {
                    Some(Event::CaughtUp(_) | Event::Submitting | Event::Sealed(_)) => {}
                    event => return event,
                }
            }
        };
        let waited = timeout(self.patience, waiting).await;
        waited.map_err(|_| {
            Broken::new(format!(
                "a follower waited for {wanted}, and nothing came within {:?}",
                self.patience
            ))
        })
    }

    async fn some(&mut self) -> Result<(Position, Arc<[Outcome]>), Broken> {
        match self.next("outcomes").await? {
            Some(Event::Outcomes(first, outcomes)) => Ok((first, outcomes)),
            other => Err(Broken::new(format!(
                "a follower waited for outcomes, and got {other:?}"
            ))),
        }
    }

    /// The next `count` outcomes, each with its position. They may come in any number of events,
    /// but not with others behind them.
    pub(super) async fn outcomes(
        &mut self,
        count: usize,
    ) -> Result<Vec<(Position, Outcome)>, Broken> {
        let mut all: Vec<(Position, Outcome)> = Vec::new();
        while all.len() < count {
            let (first, outcomes) = self.some().await?;
            all.extend((first..).zip(outcomes.iter().cloned()));
        }
        same("the number of outcomes a follower got", &all.len(), &count)?;
        ensure(all.is_sorted_by(|(a, _), (b, _)| a < b), || {
            format!("positions do not grow: {all:?}")
        })?;
        Ok(all)
    }

    /// The outcome of one task, past those of any others.
    pub(super) async fn outcome_of(
        &mut self,
        task: TaskIndex,
    ) -> Result<(Position, Outcome), Broken> {
        loop {
            let (first, outcomes) = self.some().await?;
            if let Some(found) = (first..)
                .zip(outcomes.iter())
                .find(|(_, outcome)| outcome.index == task)
            {
                return Ok((found.0, found.1.clone()));
            }
        }
    }

    /// What is told until everything up to a mark was told: the seal, and the tasks that ended.
    pub(super) async fn read_to(
        &mut self,
        through: Mark,
    ) -> Result<(Option<TaskIndex>, Vec<TaskIndex>), Broken> {
        let (mut sealed, mut tasks) = (None, Vec::new());
        let reading = async {
            loop {
                match self.events.next().await {
                    Some(Event::CaughtUp(mark)) if mark >= through => return Ok(()),
                    Some(Event::Sealed(count)) if sealed.is_none() => sealed = Some(count),
                    Some(Event::Outcomes(_, outcomes)) => {
                        tasks.extend(outcomes.iter().map(|outcome| outcome.index));
                    }
                    Some(Event::CaughtUp(_) | Event::Submitting) => {}
                    other => {
                        return Err(Broken::new(format!(
                            "a follower read to {through:?}, and got {other:?}"
                        )));
                    }
                }
            }
        };
        match timeout(self.patience, reading).await {
            Ok(read) => read?,
            Err(_) => {
                return Err(Broken::new(format!(
                    "a follower was not told that it has everything up to {through:?}"
                )));
            }
        }
        Ok((sealed, tasks))
    }

    /// See that the next outcomes are of these tasks, in this order.
    pub(super) async fn expect(&mut self, tasks: &[TaskIndex]) -> Verdict {
        let seen: Vec<_> = self
            .outcomes(tasks.len())
            .await?
            .into_iter()
            .map(|(_, outcome)| outcome.index)
            .collect();
        same(
            "the tasks whose outcomes a follower got",
            &seen.as_slice(),
            &tasks,
        )
    }

    /// See that the job was cancelled, and that the stream ends there.
    pub(super) async fn expect_cancelled(&mut self) -> Verdict {
        match self.next("`Cancelled`").await? {
            Some(Event::Cancelled) => self.expect_end().await,
            other => Err(Broken::new(format!(
                "a follower waited for `Cancelled`, and got {other:?}"
            ))),
        }
    }

    /// See that the stream ends.
    pub(super) async fn expect_end(&mut self) -> Verdict {
        match self.next("the end").await? {
            None => Ok(()),
            other => Err(Broken::new(format!(
                "a follower waited for the end, and got {other:?}"
            ))),
        }
    }
}

pub(super) fn ensure(kept: bool, broken: impl FnOnce() -> String) -> Verdict {
    if kept {
        Ok(())
    } else {
        Err(Broken::new(broken()))
    }
}

pub(super) fn same<T: PartialEq + Debug>(what: &str, is: &T, should: &T) -> Verdict {
    ensure(is == should, || {
        format!("{what}: {is:?}, but it should be {should:?}")
    })
}

fn unwanted(leases: &[Lease]) -> Broken {
    let granted: Vec<_> = leases
        .iter()
        .map(|lease| (lease.job.key, lease.attempt, indices(lease)))
        .collect();
    Broken::new(format!(
        "nothing should have been ready, but a pull gave (job, attempt, tasks) {granted:?}"
    ))
}

/// A job with a name that no other job has: several processes may run the suite against one server.
/// Names of one process follow each other.
pub(super) fn job() -> Job {
    job_of(FunctionOptions::default())
}

/// A job of a function that is called so.
pub(super) fn job_of(options: FunctionOptions) -> Job {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let name = (u128::from(*PROCESS) << 64) | u128::from(NEXT.fetch_add(1, Ordering::Relaxed));
    let function = FunctionRef {
        component: Digest::of(b"component"),
        name: "extract".into(),
    };
    let key = JobKey {
        tenant: TenantId::default(),
        job: JobId::from_bytes(name.to_be_bytes()),
    };
    Job::of(key, function, options)
}

/// Follows from this process's number and from when it first asked for a job.
static PROCESS: LazyLock<u64> = LazyLock::new(|| {
    #[expect(
        clippy::disallowed_methods,
        reason = "only to tell this process from an earlier one with its number"
    )]
    let start = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let digest = Digest::of(format!("{} {}", std::process::id(), start.as_nanos()).as_bytes());
    digest
        .as_bytes()
        .iter()
        .take(8)
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
});

pub(super) fn worker(number: u8) -> WorkerId {
    WorkerId::from_bytes([number; 16])
}

/// A worker without labels.
pub(super) fn puller(number: u8) -> Puller {
    puller_with(number, &Labels::default())
}

pub(super) fn puller_with(number: u8, labels: &Labels) -> Puller {
    Puller {
        worker: worker(number),
        serves: Serves::Labels(labels.clone()),
    }
}

/// The set of these labels, written with commas.
pub(super) fn labels(text: &str) -> Result<Labels, Broken> {
    text.parse()
        .map_err(|invalid| Broken::new(format!("the check itself is wrong: {invalid}")))
}

/// A task whose arguments are its own.
pub(super) fn task(index: TaskIndex) -> Task {
    let value = format!("value {index}");
    let address = Address::from(Location::File(format!("/{index}.pdf").into()));
    Task {
        index,
        function: 0,
        arguments: vec![
            Argument::Value(Bytes::from(value)),
            Argument::Object(address.into()),
        ],
        input: Some(input(index)),
        then: Vec::new(),
    }
}

/// What the submitter calls the input of a task.
pub(super) fn input(index: TaskIndex) -> InputName {
    format!("input {index}").into()
}

pub(super) fn bundle(job: JobKey, indices: impl IntoIterator<Item = TaskIndex>) -> Bundle {
    Bundle {
        job,
        attempts_before: 0,
        lost_before: 0,
        published: Timestamp::default(),
        tasks: indices.into_iter().map(task).collect(),
    }
}

pub(super) fn indices(lease: &Lease) -> Vec<TaskIndex> {
    lease.bundle.tasks.iter().map(|task| task.index).collect()
}

pub(super) fn completed(index: TaskIndex) -> Outcome {
    completed_with(index, "result")
}

pub(super) fn completed_with(index: TaskIndex, result: &'static str) -> Outcome {
    Outcome {
        index,
        attempts: 1,
        ending: Ending::Completed(Bytes::from_static(result.as_bytes()).into()),
        bill: Bill::default(),
        log: None,
        input: None,
        function: None,
    }
}

pub(super) fn failed(index: TaskIndex) -> Outcome {
    let failure = Failure::trapped(format!("task {index} trapped"));
    Outcome {
        index,
        attempts: 1,
        ending: Ending::Failed(failure),
        bill: Bill::default(),
        log: None,
        input: None,
        function: None,
    }
}

pub(super) fn retrial(index: TaskIndex, after: Duration) -> Retrial {
    Retrial { index, after }
}
