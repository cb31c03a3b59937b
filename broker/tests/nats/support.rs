//! Shared by the tests of faults: brokers with short timeouts, a follower, and raw connections that
//! bypass the broker.
//!
//! Every wait has [`PATIENCE`] as its limit and ends on a condition.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use sortie_broker::nats::{Config, Layout, NatsBroker, Provision, Role};
use sortie_broker::{Error, Event, Lease, Puller, Report, Retrial, Serves, Submit as _, Work as _};
use sortie_protocol::{
    Argument, Bill, Bundle, Digest, Ending, Failure, FunctionOptions, FunctionRef, Job, JobId,
    JobKey, Labels, Outcome, Output, Presence, Task, TaskIndex, TenantId, Timestamp, WorkerId,
};
use tokio::time::timeout;

/// The longest that anything may take that has to happen, on a machine that does a lot else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);
/// A lease that runs out soon, for tests that wait for that.
pub(crate) const SHORT: Duration = Duration::from_millis(1500);
/// A lease that does not run out within a test.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// A broker's configuration that makes what is missing, with leases of this length.
pub(crate) fn config(url: &str, lease: Duration) -> Config {
    let tasks_bytes_max = NonZeroU32::new(64 << 20).unwrap();
    let layout = Layout {
        lease,
        tasks_bytes_max,
        ..Layout::default()
    };
    Config {
        provision: Provision::Missing(layout),
        answer_time_max: Duration::from_secs(2),
        outage_time_max: PATIENCE,
        ..Config::new(url, Role::Client)
    }
}

pub(crate) async fn connect(url: &str, lease: Duration) -> NatsBroker {
    NatsBroker::connect(config(url, lease)).await.unwrap()
}

/// A connection past the broker.
pub(crate) async fn raw(url: &str) -> async_nats::Client {
    async_nats::connect(url).await.unwrap()
}

/// Publish into a stream past the broker, and see that it is stored.
pub(crate) async fn store(client: &async_nats::Client, subject: String, payload: impl Into<Bytes>) {
    let stored = client.request(subject, payload.into()).await.unwrap();
    assert!(
        !String::from_utf8_lossy(&stored.payload).contains("error"),
        "{stored:?}"
    );
}

/// Wait for what has to happen.
pub(crate) async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    timeout(PATIENCE, happens)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen within {PATIENCE:?}"))
}

/// Ask until the answer is the right one.
pub(crate) async fn until<T: PartialEq + Debug>(
    what: &str,
    should: &T,
    mut ask: impl AsyncFnMut() -> T,
) {
    let asking = async {
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        loop {
            let is = ask().await;
            if is == *should {
                return;
            }
            pause.tick().await;
        }
    };
    soon(&format!("that {what} is {should:?}"), asking).await;
}

/// A worker's announcement.
pub(crate) fn presence() -> Presence {
    Presence {
        worker: WorkerId::from_bytes([1; 16]),
        machine: "machine".into(),
        process: 1,
        version: "1".into(),
        labels: Labels::default(),
        slots: 1,
        busy: 0,
        draining: false,
        started: Timestamp::default(),
        said: Timestamp::default(),
        store: None,
    }
}

/// A job of this tenant that no other test has.
pub(crate) fn job(tenant: TenantId, options: FunctionOptions) -> Job {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let name =
        (u128::from(std::process::id()) << 64) | u128::from(NEXT.fetch_add(1, Ordering::Relaxed));
    let function = FunctionRef {
        component: Digest::of(b"component"),
        name: "extract".into(),
    };
    let job = JobId::from_bytes(name.to_be_bytes());
    Job::of(JobKey { tenant, job }, function, options)
}

pub(crate) async fn put_job(broker: &NatsBroker) -> JobKey {
    let job = job(broker.tenant(), FunctionOptions::default());
    let key = job.key;
    broker.put_job(job, Timestamp::default()).await.unwrap();
    key
}

pub(crate) fn bundle(job: JobKey, indices: impl IntoIterator<Item = TaskIndex>) -> Bundle {
    let task = |index| Task {
        index,
        arguments: vec![Argument::Value(Bytes::from(format!("value {index}")))],
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

pub(crate) async fn publish(
    broker: &NatsBroker,
    job: JobKey,
    indices: impl IntoIterator<Item = TaskIndex>,
) {
    soon("a publish", broker.publish(bundle(job, indices)))
        .await
        .unwrap();
}

pub(crate) fn puller() -> Puller {
    Puller {
        worker: WorkerId::from_bytes([1; 16]),
        serves: Serves::Labels(Labels::default()),
    }
}

pub(crate) async fn try_pull(broker: &NatsBroker) -> Result<Lease, Error> {
    Ok(soon("a pull", broker.pull(&puller(), NonZeroUsize::MIN))
        .await?
        .remove(0))
}

pub(crate) async fn pull(broker: &NatsBroker) -> Lease {
    try_pull(broker).await.unwrap()
}

/// See that nothing is granted for that long.
pub(crate) async fn nothing_to_pull(broker: &NatsBroker, during: Duration) {
    if let Ok(leases) = timeout(during, broker.pull(&puller(), NonZeroUsize::MIN)).await {
        panic!("nothing should have been ready, but a pull gave {leases:?}");
    }
}

pub(crate) fn indices(lease: &Lease) -> Vec<TaskIndex> {
    lease.bundle.tasks.iter().map(|task| task.index).collect()
}

pub(crate) fn completed(index: TaskIndex) -> Outcome {
    completed_with(index, "result")
}

pub(crate) fn completed_with(index: TaskIndex, result: impl Into<Output>) -> Outcome {
    Outcome {
        index,
        attempts: 1,
        ending: Ending::Completed(result.into()),
        bill: Bill::default(),
        log: None,
        input: None,
        function: None,
    }
}

pub(crate) fn failed(index: TaskIndex) -> Outcome {
    Outcome {
        ending: Ending::Failed(Failure::trapped("it trapped")),
        ..completed(index)
    }
}

pub(crate) fn report(outcomes: Vec<Outcome>) -> Report {
    Report {
        outcomes,
        retrials: Vec::new(),
    }
}

pub(crate) fn again(index: TaskIndex, after: Duration) -> Report {
    Report {
        outcomes: Vec::new(),
        retrials: vec![Retrial { index, after }],
    }
}

/// A report that completes all of a lease's tasks.
pub(crate) fn all_done(lease: &Lease) -> Report {
    report(indices(lease).into_iter().map(completed).collect())
}

pub(crate) async fn complete(broker: &NatsBroker, lease: &Lease, report: Report) {
    soon("a report", broker.complete(lease.id, lease.job.key, report))
        .await
        .unwrap();
}

/// Pull one bundle and complete it.
pub(crate) async fn work(broker: &NatsBroker) -> Lease {
    let lease = pull(broker).await;
    complete(broker, &lease, all_done(&lease)).await;
    lease
}

/// A follower of a job from its start, which checks that positions are dense and no task comes
/// twice.
pub(crate) struct Follower {
    events: BoxStream<'static, Event>,
    next: u64,
    seen: BTreeSet<TaskIndex>,
}

impl Follower {
    pub(crate) async fn of(broker: &NatsBroker, job: JobKey) -> Self {
        let events = soon("following", broker.follow(job, 0)).await.unwrap();
        Self {
            events,
            next: 0,
            seen: BTreeSet::new(),
        }
    }

    /// Wait until it follows: what happens to the job's record after that is no matter of its own.
    pub(crate) async fn begins(&mut self) {
        let first = soon("the first mark", self.events.next()).await;
        assert!(
            matches!(first, Some(Event::CaughtUp(_) | Event::Submitting)),
            "{first:?}"
        );
    }

    /// The next that is neither a mark, nor about the submission, nor unreadable: a follower is
    /// told of those at any time. What cannot be read takes its positions.
    async fn event(&mut self, waited_for: &dyn Debug) -> Option<Event> {
        let Self { events, next, .. } = self;
        let told = async {
            loop {
                match events.next().await {
                    Some(Event::CaughtUp(_) | Event::Sealed(_) | Event::Submitting) => {}
                    Some(Event::Unreadable { tasks, .. }) => *next += tasks.len() as u64,
                    event => return event,
                }
            }
        };
        let waited = timeout(PATIENCE, told).await;
        match waited {
            Ok(event) => event,
            Err(_) => panic!(
                "a follower waited for {waited_for:?} in vain; it saw {} outcomes",
                self.seen.len()
            ),
        }
    }

    /// Take what comes until so many outcomes are there.
    pub(crate) async fn outcomes(&mut self, count: usize) -> Vec<Outcome> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.event(&"outcomes").await {
                Some(Event::Outcomes(first, outcomes)) => {
                    assert_eq!(first, self.next, "positions are dense");
                    self.next += outcomes.len() as u64;
                    for outcome in outcomes.iter() {
                        assert!(
                            self.seen.insert(outcome.index),
                            "task {} came twice",
                            outcome.index
                        );
                    }
                    all.extend(outcomes.iter().cloned());
                }
                other => panic!("a follower waited for outcomes, and got {other:?}"),
            }
        }
        all
    }

    /// See that the outcomes of tasks 0 to `count` and of no others have come.
    pub(crate) async fn sees_all(&mut self, count: u64) {
        let missing = usize::try_from(count).unwrap() - self.seen.len();
        self.outcomes(missing).await;
        assert!(self.seen.iter().copied().eq(0..count), "{:?}", self.seen);
    }

    pub(crate) async fn ends(&mut self) {
        let event = self.event(&"the end").await;
        assert!(
            event.is_none(),
            "a follower waited for the end, and got {event:?}"
        );
    }

    pub(crate) async fn is_refused(&mut self, subject: &str) {
        let event = self.event(&"the refusal").await;
        let Some(Event::Refused(error)) = event else {
            panic!("a follower waited for the refusal, and got {event:?}")
        };
        assert!(error.to_string().contains(subject), "{error}");
        self.ends().await;
    }

    pub(crate) async fn is_cancelled(&mut self) {
        let event = self.event(&"the cancellation").await;
        assert!(matches!(event, Some(Event::Cancelled)), "{event:?}");
        self.ends().await;
    }
}

/// See that an error is of this kind, and that its text says all of this and none of that.
macro_rules! assert_error {
    ($result:expr, $kind:ident, says $($word:expr),+) => {{
        let error = $result.expect_err("an error");
        assert!(matches!(error, sortie_broker::Error::$kind { .. }), "{error:?}");
        let text = error.to_string();
        $(assert!(text.contains($word), "`{}` is not in: {text}", $word);)+
        assert!(!text.contains("secret"), "{text}");
    }};
}
pub(crate) use assert_error;

/// How long something took.
pub(crate) struct Stopwatch(std::time::Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "a test measures real time")]
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
