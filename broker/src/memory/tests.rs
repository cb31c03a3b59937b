//! Runs the conformance suite on the memory broker, and tests what only this broker promises.
//!
//! All on paused time: a lease of a minute costs nothing, and a run is the same every time.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use sortie_protocol::{
    Argument, Bill, Bundle, Digest, Ending, FunctionOptions, FunctionRef, Job, JobId, JobKey,
    Labels, Outcome, Presence, Task, TaskIndex, TenantId, Timestamp, WorkerId,
};
use tokio::time::{Instant, timeout};

use super::{Config, MemoryBroker};
use crate::conformance::{self, Harness};
use crate::traits::{
    Broker, Error, Event, Lease, Operate as _, PRESENCE, Puller, Report, Retrial, Serves,
    Submit as _, Work as _,
};

const LEASE: Duration = Duration::from_secs(30);
pub(super) const WORKER: Puller = Puller {
    worker: WorkerId::from_bytes([0; 16]),
    serves: Serves::Everything,
};

struct Memory(Config);

#[async_trait]
impl Harness for Memory {
    async fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(MemoryBroker::new(self.0.clone()))
    }

    async fn tenants_with(&self, bytes: usize) -> [Arc<dyn Broker>; 2] {
        let broker = MemoryBroker::new(Config {
            weight_max: bytes,
            ..self.0.clone()
        });
        ["acme", "globex"].map(|tenant| -> Arc<dyn Broker> {
            Arc::new(broker.for_tenant(tenant.parse().unwrap()))
        })
    }

    async fn narrow_broker(&self, bytes: usize) -> Arc<dyn Broker> {
        Arc::new(MemoryBroker::new(Config {
            weight_max: bytes,
            ..self.0.clone()
        }))
    }

    fn lease(&self) -> Duration {
        self.0.lease
    }

    fn deliveries_max(&self) -> u32 {
        self.0.deliveries_max
    }

    fn weight_max(&self) -> usize {
        self.0.weight_max
    }
}

pub(super) fn key(number: u8) -> JobKey {
    JobKey {
        tenant: TenantId::default(),
        job: JobId::from_bytes([number; 16]),
    }
}

pub(super) fn job(number: u8) -> Job {
    let function = FunctionRef {
        component: Digest::of(b""),
        name: "f".into(),
    };
    Job::of(key(number), function, FunctionOptions::default())
}

pub(super) fn bundle(job: JobKey, indices: impl IntoIterator<Item = TaskIndex>) -> Bundle {
    let task = |index| Task {
        index,
        arguments: vec![Argument::Value(Bytes::from_static(b"argument"))],
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

pub(super) fn completed(lease: &Lease) -> Report {
    let outcome = |task: &Task| Outcome {
        index: task.index,
        attempts: lease.attempt,
        ending: Ending::Completed(Bytes::new().into()),
        bill: Bill::default(),
        log: None,
        input: None,
        function: None,
    };
    Report {
        outcomes: lease.bundle.tasks.iter().map(outcome).collect(),
        retrials: Vec::new(),
    }
}

/// A broker with one job, and room for `bundles` bundles of one task.
async fn broker(bundles: usize) -> (MemoryBroker, JobKey) {
    let job = job(1);
    let weight_max = bundles * bundle(job.key, [0]).weight();
    let broker = MemoryBroker::new(Config {
        lease: LEASE,
        weight_max,
        ..Config::default()
    });
    broker
        .put_job(job.clone(), Timestamp::default())
        .await
        .unwrap();
    (broker, job.key)
}

async fn pull(broker: &MemoryBroker) -> Lease {
    let leases = timeout(LEASE / 2, broker.pull(&WORKER, NonZeroUsize::MIN))
        .await
        .expect("nothing was granted within half a lease");
    leases.unwrap().remove(0)
}

/// The next thing that a follower is told, but for the marks.
pub(super) async fn told(follower: &mut BoxStream<'static, Event>) -> Option<Event> {
    loop {
        match follower.next().await {
            Some(Event::CaughtUp(_)) => {}
            event => return event,
        }
    }
}

/// Polls `future` until it waits for something else to happen.
async fn waits<T>(future: impl Future<Output = T>) -> bool {
    timeout(Duration::from_millis(1), future).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn memory_broker_keeps_every_promise() {
    let memory = Memory(Config {
        lease: LEASE,
        weight_max: 1 << 20,
        ..Config::default()
    });
    conformance::check(&memory, |name| println!("{name}"))
        .await
        .unwrap_or_else(|failed| panic!("{failed}"));
}

#[tokio::test]
async fn memory_broker_keeps_a_lease_in_real_time() {
    // One of the cases on the real clock, where timers fire late and by whole milliseconds.
    let memory = Memory(Config {
        lease: Duration::from_millis(50),
        ..Config::default()
    });
    let case = conformance::SUITE
        .iter()
        .find(|case| case.name == "a_sleeping_worker_takes_over_from_one_that_died");
    case.expect("the suite has this case")
        .check(&memory)
        .await
        .unwrap_or_else(|broken| panic!("{broken}"));
}

#[tokio::test(start_paused = true)]
async fn publish_waits_while_the_queue_is_full_and_goes_on_when_there_is_room() {
    let (broker, job) = broker(2).await;
    broker.publish(bundle(job, [0])).await.unwrap();
    broker.publish(bundle(job, [1])).await.unwrap();
    let mut third = broker.publish(bundle(job, [2]));
    assert!(waits(&mut third).await);
    assert_eq!(pull(&broker).await.bundle.tasks, bundle(job, [0]).tasks);
    assert!(!waits(&mut third).await);
    assert_eq!(pull(&broker).await.bundle.tasks, bundle(job, [1]).tasks);
    assert_eq!(pull(&broker).await.bundle.tasks, bundle(job, [2]).tasks);
}

#[tokio::test(start_paused = true)]
async fn of_many_publishers_as_many_go_on_as_there_is_room_for() {
    let (broker, job) = broker(2).await;
    let publishers: Vec<_> = (0..6)
        .map(|index| {
            let broker = broker.clone();
            tokio::spawn(async move { broker.publish(bundle(job, [index])).await })
        })
        .collect();
    for (taken, published) in [(0, 2), (1, 3), (2, 4)] {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(
            publishers
                .iter()
                .filter(|publisher| publisher.is_finished())
                .count(),
            published,
            "after {taken} were taken"
        );
        pull(&broker).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_publish_published_nothing() {
    let (broker, job) = broker(1).await;
    broker.publish(bundle(job, [0])).await.unwrap();
    assert!(waits(broker.publish(bundle(job, [1]))).await);
    let lease = pull(&broker).await;
    broker
        .complete(lease.id, job, completed(&lease))
        .await
        .unwrap();
    assert!(waits(broker.pull(&WORKER, NonZeroUsize::MIN)).await);
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_waits_learns_that_its_job_is_cancelled() {
    let (broker, job) = broker(1).await;
    let other = self::job(2);
    broker
        .put_job(other.clone(), Timestamp::default())
        .await
        .unwrap();
    broker.publish(bundle(job, [0])).await.unwrap();
    // This job has nothing in the queue, so its cancellation makes no room.
    let mut publish = broker.publish(bundle(other.key, [0]));
    assert!(waits(&mut publish).await);
    broker.cancel(other.key).await.unwrap();
    let refused = timeout(Duration::from_millis(1), publish).await;
    assert!(matches!(refused, Ok(Err(Error::JobCancelled(job))) if job == other.key.job));
}

#[tokio::test(start_paused = true)]
async fn followers_are_woken_at_once() {
    let (broker, job) = broker(10).await;
    let mut follower = broker.follow(job, 0).await.unwrap();
    broker.publish(bundle(job, [0])).await.unwrap();
    let lease = pull(&broker).await;
    // The follower is polled first, so it waits when the news comes.
    let (event, reported) = tokio::join!(
        timeout(LEASE / 2, told(&mut follower)),
        broker.complete(lease.id, job, completed(&lease))
    );
    reported.unwrap();
    assert!(
        matches!(event, Ok(Some(Event::Outcomes(0, _)))),
        "{event:?}"
    );
    let (event, cancelled) =
        tokio::join!(timeout(LEASE / 2, told(&mut follower)), broker.cancel(job));
    cancelled.unwrap();
    assert!(matches!(event, Ok(Some(Event::Cancelled))), "{event:?}");

    let other = key(2);
    broker
        .put_job(self::job(2), Timestamp::default())
        .await
        .unwrap();
    let mut follower = broker.follow(other, 0).await.unwrap();
    let (event, forgotten) = tokio::join!(
        timeout(LEASE / 2, told(&mut follower)),
        broker.forget(other)
    );
    forgotten.unwrap();
    assert!(matches!(event, Ok(None)), "{event:?}");
}

/// Two workers sleep, and a retrial is asked for, so one of them sleeps until it is due. Returns
/// the two pulls and when that is.
async fn two_sleep_and_one_watches(
    broker: &MemoryBroker,
    job: JobKey,
) -> (Pulling, Pulling, Instant) {
    broker.publish(bundle(job, [0])).await.unwrap();
    let lease = pull(broker).await;
    let spawn = || {
        let broker = broker.clone();
        tokio::spawn(async move { broker.pull(&WORKER, NonZeroUsize::MIN).await.unwrap() })
    };
    let (one, other) = (spawn(), spawn());
    tokio::time::sleep(Duration::from_millis(1)).await;
    let after = Duration::from_secs(1);
    let report = Report {
        outcomes: Vec::new(),
        retrials: vec![Retrial { index: 0, after }],
    };
    broker.complete(lease.id, job, report).await.unwrap();
    let due = Instant::now() + after;
    tokio::time::sleep(Duration::from_millis(1)).await;
    (one, other, due)
}

type Pulling = tokio::task::JoinHandle<Vec<Lease>>;

#[tokio::test(start_paused = true)]
async fn a_retrial_is_in_time_when_one_of_two_that_slept_got_something_else() {
    let (broker, job) = broker(10).await;
    let (mut one, mut other, due) = two_sleep_and_one_watches(&broker, job).await;
    broker.publish(bundle(job, [1])).await.unwrap();
    let stays = tokio::select! { _ = &mut one => other, _ = &mut other => one };
    stays.await.unwrap();
    let late = Instant::now() - due;
    assert!(late < Duration::from_millis(2), "{late:?} late");
}

#[tokio::test(start_paused = true)]
async fn a_retrial_is_in_time_when_the_worker_that_watched_over_it_is_gone() {
    for watcher in 0..2 {
        let (broker, job) = broker(10).await;
        let (one, other, due) = two_sleep_and_one_watches(&broker, job).await;
        let (gone, stays) = if watcher == 0 {
            (one, other)
        } else {
            (other, one)
        };
        gone.abort();
        stays.await.unwrap();
        let late = Instant::now() - due;
        assert!(late < Duration::from_millis(2), "{late:?} late");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bundle_with_labels_is_in_time_for_the_one_of_many_sleepers_that_may_take_it() {
    let (broker, _) = broker(10).await;
    let gpu: Labels = "gpu".parse().unwrap();
    let mut asking = job(2);
    asking.functions[0].options.labels = gpu.clone();
    broker
        .put_job(asking.clone(), Timestamp::default())
        .await
        .unwrap();
    for able in 0..3_u8 {
        let sleepers: Vec<_> = (0..3_u8)
            .map(|number| {
                let labels = if number == able {
                    gpu.clone()
                } else {
                    Labels::default()
                };
                let (broker, puller) = (
                    broker.clone(),
                    Puller {
                        serves: Serves::Labels(labels),
                        ..WORKER
                    },
                );
                tokio::spawn(async move { broker.pull(&puller, NonZeroUsize::MIN).await.unwrap() })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        broker
            .publish(bundle(asking.key, [u64::from(able)]))
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let served: Vec<_> = sleepers
            .iter()
            .map(tokio::task::JoinHandle::is_finished)
            .collect();
        assert_eq!(
            served,
            (0..3).map(|number| number == able).collect::<Vec<_>>()
        );
        for sleeper in sleepers {
            sleeper.abort();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_fell_silent_is_no_longer_listed() {
    let (broker, _) = broker(1).await;
    let presence = Presence {
        worker: WORKER.worker,
        machine: "machine".into(),
        process: 1,
        version: "0".into(),
        labels: Labels::default(),
        slots: 1,
        busy: 0,
        draining: false,
        started: Timestamp::default(),
        said: Timestamp::default(),
        store: None,
    };
    broker.announce(presence.clone()).await.unwrap();
    tokio::time::sleep(PRESENCE - Duration::from_millis(1)).await;
    assert_eq!(broker.workers().await.unwrap(), [presence]);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(broker.workers().await.unwrap(), []);
}
