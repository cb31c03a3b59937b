//! Tests one job over a broker that drops, duplicates, delays and reorders bundles, with workers
//! that die, report late, release their leases and stop.
//!
//! The race in every run: several leases of one task at once, and reports on them in any order.
//! Each task must get exactly one visible outcome, and no worker or client may wait for ever. On
//! paused time, so a seed repeats; a failure prints it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use sortie_protocol::{JobKey, TaskIndex, Timestamp, WorkerId};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::faults::{Fault, FaultInjector};
use super::tests::{WORKER, bundle, completed, job, key, told};
use super::{Config, Faults, MemoryBroker};
use crate::traits::{Event, Extended, Lease, Puller, Report, Retrial, Submit as _, Work as _};

const LEASE: Duration = Duration::from_secs(30);
const TASKS: TaskIndex = 60;
const SEEDS: u64 = 50;

/// What a worker does with a lease.
#[derive(Debug, Clone, Copy)]
enum Manners {
    Good,
    /// Dies, comes late, gives back, asks for another attempt, leaves tasks out: each now and then.
    Bad,
}

/// One job from its first publish to its last outcome; says how long it took.
async fn run(faults: Faults, manners: Manners) -> Duration {
    let weight_max = 10 * bundle(key(1), 0..3).weight();
    let config = Config {
        lease: LEASE,
        deliveries_max: 1000,
        weight_max,
        faults: Some(faults),
        ..Config::default()
    };
    let broker = MemoryBroker::new(config);
    let job = job(1);
    broker
        .put_job(job.clone(), Timestamp::default())
        .await
        .unwrap();
    let start = Instant::now();
    let mut all = JoinSet::new();
    for number in 0..4_u8 {
        let fault_injector = FaultInjector::new(Faults {
            drop: 8,
            duplicate: 8,
            reorder: 8,
            delay: 8,
            seed: faults.seed.wrapping_mul(31) + u64::from(number),
        });
        let puller = Puller {
            worker: WorkerId::from_bytes([number; 16]),
            ..WORKER
        };
        all.spawn(work(broker.clone(), puller, fault_injector, manners));
    }
    for part in 0..2 {
        let (broker, job) = (broker.clone(), job.key);
        all.spawn(async move {
            for first in (part..TASKS).step_by(6) {
                let indices = (first..TASKS.min(first + 6)).step_by(2);
                broker.publish(bundle(job, indices)).await.unwrap();
            }
        });
    }
    let outcomes = timeout(LEASE * 10_000, follow(&broker, job.key)).await;
    let outcomes = outcomes.unwrap_or_else(|_| panic!("the job did not end; {faults:?}"));
    let took = start.elapsed();
    assert_eq!(
        outcomes,
        (0..TASKS).map(|index| (index, 1)).collect(),
        "outcomes of each task; {faults:?}"
    );
    // Whatever is still on its way makes no second outcome.
    tokio::time::sleep(LEASE * 20).await;
    let mut events = broker.follow(job.key, TASKS).await.unwrap();
    assert!(
        timeout(LEASE, told(&mut events)).await.is_err(),
        "an outcome too many; {faults:?}"
    );
    took
}

/// How many outcomes of each task there are, once there is one of each.
async fn follow(broker: &MemoryBroker, job: JobKey) -> BTreeMap<TaskIndex, usize> {
    let mut events = broker.follow(job, 0).await.unwrap();
    let mut seen: BTreeMap<TaskIndex, usize> = BTreeMap::new();
    while seen.len() < usize::try_from(TASKS).unwrap() {
        let Some(Event::Outcomes(_, outcomes)) = told(&mut events).await else {
            panic!("the stream ended")
        };
        for outcome in outcomes.iter() {
            *seen.entry(outcome.index).or_default() += 1;
        }
    }
    seen
}

async fn work(
    broker: MemoryBroker,
    puller: Puller,
    mut fault_injector: FaultInjector,
    manners: Manners,
) {
    loop {
        // A worker that is impatient drops its pull and comes again.
        let Ok(leases) = timeout(
            LEASE / 7,
            broker.pull(&puller, NonZeroUsize::MIN.saturating_add(1)),
        )
        .await
        else {
            continue;
        };
        for lease in leases.unwrap() {
            let strikes = match manners {
                Manners::Good => Fault::None,
                Manners::Bad => fault_injector.roll(),
            };
            treat(&broker, &lease, strikes).await;
        }
    }
}

async fn treat(broker: &MemoryBroker, lease: &Lease, strikes: Fault) {
    let mut report = completed(lease);
    match strikes {
        // Half of the work takes longer than a lease, and is kept by extending it.
        Fault::None if lease.id.0.is_multiple_of(2) => {
            for _ in 0..3 {
                tokio::time::sleep(LEASE / 2).await;
                if broker.extend(lease.id).await.unwrap() == Extended::Lost {
                    break;
                }
            }
        }
        Fault::None => {}
        // It dies.
        Fault::Drop => return,
        // It is late.
        Fault::Delay => tokio::time::sleep(LEASE * 3 / 2).await,
        // It gives the bundle back, and reports nevertheless, if half of it.
        Fault::Reorder => {
            broker.release(lease.id).await.unwrap();
            report.outcomes.truncate(1);
        }
        // It asks for another attempt of some, says nothing of another, and says it twice.
        Fault::Duplicate => {
            let retrial = |index| Retrial {
                index,
                after: Duration::from_secs(index % 40),
            };
            let retrials = report
                .outcomes
                .split_off(1)
                .iter()
                .map(|outcome| retrial(outcome.index))
                .take(1)
                .collect();
            report.retrials = retrials;
            complete(broker, lease, report.clone()).await;
        }
    }
    complete(broker, lease, report).await;
}

async fn complete(broker: &MemoryBroker, lease: &Lease, report: Report) {
    broker
        .complete(lease.id, lease.job.key, report)
        .await
        .unwrap();
}

/// Many seeds, with good and with bad workers.
async fn every_task_ends_once_under(faults: impl Fn(u64) -> Faults) {
    for seed in 0..SEEDS {
        run(faults(seed), Manners::Good).await;
        run(faults(seed), Manners::Bad).await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_task_ends_once_when_only_workers_fail() {
    every_task_ends_once_under(Faults::seeded).await;
}

#[tokio::test(start_paused = true)]
async fn every_task_ends_once_when_grants_are_lost() {
    every_task_ends_once_under(|seed| Faults {
        drop: 30,
        ..Faults::seeded(seed)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_task_ends_once_when_grants_are_doubled() {
    every_task_ends_once_under(|seed| Faults {
        duplicate: 30,
        ..Faults::seeded(seed)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_task_ends_once_when_bundles_are_reordered() {
    every_task_ends_once_under(|seed| Faults {
        reorder: 60,
        ..Faults::seeded(seed)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_task_ends_once_when_bundles_are_delayed() {
    every_task_ends_once_under(|seed| Faults {
        delay: 30,
        ..Faults::seeded(seed)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_task_ends_once_under_all_faults_together() {
    every_task_ends_once_under(|seed| Faults {
        drop: 15,
        duplicate: 15,
        reorder: 15,
        delay: 15,
        seed,
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_lease_to_end_when_nothing_fails() {
    // Twenty bundles, four workers, half of the bundles take a lease and a half.
    let took = run(Faults::seeded(1), Manners::Good).await;
    assert!(took < LEASE * 6, "{took:?}");
}
