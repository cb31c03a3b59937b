//! Results that vanish and are computed again. The worker here keeps large sums where they are not
//! found later.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sortie_protocol::outcome::{InputFault, PlatformFault};
use sortie_protocol::{
    Argument, BrokerRef, Ending, Failure, Grant, Grants, JobId, Kind, Outcome, Output, Task,
};
use tokio::task::JoinHandle;

use super::graph::{added, function, submit, sum, total};
use super::troubled::Troubled;
use super::{client, soon};
use crate::{Client, TaskError, TaskFuture};

/// Sums from here on are kept elsewhere.
const LARGE: u64 = 1_000_000;

/// What a worker makes that adds up arguments, and forgets each large result so many times.
struct Forgets {
    times: u32,
    /// How often each sum was made; under 0, how often an object was looked for.
    made: Mutex<BTreeMap<u64, u32>>,
}

impl Forgets {
    fn new(times: u32) -> Self {
        let made = Mutex::default();
        Self { times, made }
    }

    fn made(&self, sum: u64) -> u32 {
        self.made.lock().get(&sum).copied().unwrap_or(0)
    }

    /// Whether that is forgotten once more.
    fn forgets(&self, sum: u64) -> bool {
        let mut made = self.made.lock();
        let count = made.entry(sum).or_default();
        *count += 1;
        *count <= self.times
    }

    fn work(&self, task: &Task) -> Outcome {
        let ending = match &task.arguments[..] {
            [Argument::AtBroker(_)] => Ending::Failed(Failure::Platform {
                fault: PlatformFault::ResultLost,
                message: "it is not kept any more".into(),
            }),
            [Argument::Value(bytes)] => {
                let sum = total(&ciborium::from_reader(&bytes[..]).unwrap());
                if !self.forgets(sum) || sum < LARGE {
                    return added(task);
                }
                let job = JobId::from_bytes([1; 16]);
                let kept = BrokerRef::new(job, Some(task.index), &bytes[..]);
                Ending::Completed(Output::AtBroker(kept))
            }
            [Argument::Object(_) | Argument::Objects(_)] if self.forgets(0) => {
                Ending::Failed(Failure::Input {
                    fault: InputFault::Missing,
                    message: "there is nothing".into(),
                })
            }
            _ => return added(task),
        };
        Outcome {
            ending,
            ..super::completed(task.index)
        }
    }
}

/// A worker that forgets.
struct Forgetful {
    forgets: Arc<Forgets>,
    working: JoinHandle<()>,
}

impl Forgetful {
    fn at(broker: &Troubled, times: u32) -> Self {
        let forgets = Arc::new(Forgets::new(times));
        let (broker, work) = (broker.clone(), forgets.clone());
        let working = tokio::spawn(async move {
            loop {
                broker.work_on(|task| work.work(task)).await;
            }
        });
        Self { forgets, working }
    }

    fn made(&self, sum: u64) -> u32 {
        self.forgets.made(sum)
    }
}

impl Drop for Forgetful {
    fn drop(&mut self) {
        self.working.abort();
    }
}

/// A large sum, whose input is let go; and two tasks that take it as it is.
async fn family(client: &Client) -> (TaskFuture<u64>, [TaskFuture<u64>; 2]) {
    let input = submit(client, 7).await;
    let large = submit(client, (&input, LARGE)).await;
    let takers = [
        client.submit(&sum(), &large).await.unwrap(),
        client.submit(&sum(), &large).await.unwrap(),
    ];
    (large, takers)
}

async fn failure(future: TaskFuture<u64>) -> Failure {
    match soon(future).await {
        Err(TaskError::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_that_vanished_is_computed_again_with_inputs_that_were_let_go() {
    let broker = Troubled::new();
    let client = client(&broker);
    let worker = Forgetful::at(&broker, 1);
    let (large, takers) = family(&client).await;
    drop(large);
    for taker in takers {
        assert_eq!(soon(taker).await, Ok(LARGE + 7));
    }
    assert_eq!((worker.made(7), worker.made(LARGE + 7)), (2, 2 + 2));
    soon(client.flush_jobs()).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_result_that_vanished_gets_it_all_the_same() {
    let broker = Troubled::new();
    let client = client(&broker);
    let worker = Forgetful::at(&broker, 1);
    let large = submit(&client, LARGE).await;
    assert_eq!(soon(large.clone()).await, Ok(LARGE));
    assert_eq!(worker.made(LARGE), 2);
    // It has one now that does not vanish.
    assert_eq!(soon(large).await, Ok(LARGE));
    assert_eq!(worker.made(LARGE), 2);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_vanishes_again_and_again_is_given_up_with_the_way_to_whoever_takes_it() {
    let broker = Troubled::new();
    let client = client(&broker);
    let worker = Forgetful::at(&broker, u32::MAX);
    let (large, takers) = family(&client).await;
    let below = submit(&client, (&takers[1], 1)).await;
    let told = failure(below).await;
    assert_eq!(told.code(), "result-lost");
    assert!(told.to_string().contains("1 -> 3 -> 4"), "{told}");
    for future in [large].into_iter().chain(takers) {
        assert_eq!(failure(future).await.code(), "result-lost");
    }
    assert_eq!(worker.made(LARGE + 7), 4);
    soon(client.flush_jobs()).await;
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_the_same_twice_is_not_computed_again() {
    let broker = Troubled::new();
    let client = client(&broker);
    let worker = Forgetful::at(&broker, 1);
    let reads_time = sum().grants(Grants::from_iter([Grant::Clock]));
    let large = client.submit(&reads_time, (LARGE,)).await.unwrap();
    let taker = client.submit(&sum(), &large).await.unwrap();
    assert_eq!(failure(taker).await.code(), "result-lost");
    assert_eq!(worker.made(LARGE), 1);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_a_task_made_is_made_again_and_one_of_the_submitter_is_missing() {
    let broker = Troubled::new();
    let client = client(&broker);
    let worker = Forgetful::at(&broker, 1);
    let open = function("open", Kind::Object);
    let made = submit(&client, 1000).await;
    let taker = client.submit(&open, &made).await.unwrap();
    assert_eq!(soon(taker).await, Ok(5));
    assert_eq!(worker.made(1000), 2);
    drop(worker);
    let worker = Forgetful::at(&broker, u32::MAX);
    let own = client.submit(&open, crate::object("/own")).await.unwrap();
    assert_eq!(failure(own).await.code(), "input-missing");
    drop(worker);
}

#[tokio::test(start_paused = true)]
async fn objects_of_a_list_are_made_again_unless_one_of_the_submitters_may_be_missing() {
    let broker = Troubled::new();
    let client = client(&broker);
    let worker = Forgetful::at(&broker, 1);
    let open = function("open", Kind::Objects);
    let made = submit(&client, 1000).await;
    let taker = client.submit(&open, ([&made, &made],)).await.unwrap();
    assert_eq!(soon(taker).await, Ok(5));
    assert_eq!(worker.made(1000), 2);
    drop(worker);
    let worker = Forgetful::at(&broker, u32::MAX);
    let other = submit(&client, 1000).await;
    let mixed = crate::object_list([crate::object("/own"), crate::value(&other)]);
    let taker = client.submit(&open, mixed).await.unwrap();
    assert_eq!(failure(taker).await.code(), "input-missing");
    assert_eq!(worker.made(1000), 1);
    drop(worker);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_too_long_is_refused_before_anything_runs() {
    let broker = Troubled::new();
    let client = client(&broker);
    let open = function("open", Kind::Objects);
    let made = submit(&client, 1000).await;
    let many = vec![&made; 1001];
    let refused = client.submit(&open, (&many,)).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("a list of 1001 objects; at most 1000"),
        "{refused}"
    );
    let none: Vec<&TaskFuture<u64>> = Vec::new();
    assert!(client.submit(&open, (&none,)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_loss_that_is_told_late_does_not_take_what_was_made_anew() {
    let broker = Troubled::new();
    let client = client(&broker);
    let forgets = Forgets::new(1);
    let work = |task: &Task| forgets.work(task);
    let large = submit(&client, LARGE).await;
    let first = client.submit(&sum(), &large).await.unwrap();
    broker.work_on(work).await;
    broker.published(2).await;
    let second = client.submit(&sum(), &large).await.unwrap();
    broker.published(3).await;
    // Both have the first result. One tells its loss when the result was made anew, and the other
    // has taken it.
    let early = broker.lease().await;
    let late = broker.lease().await;
    broker.report_on(early, work).await;
    broker.work_on(work).await;
    broker.work_on(work).await;
    assert_eq!(soon(first).await, Ok(LARGE));
    broker.report_on(late, work).await;
    broker.work_on(work).await;
    assert_eq!(soon(second).await, Ok(LARGE));
    assert_eq!(soon(large).await, Ok(LARGE));
    assert_eq!(forgets.made(LARGE), 2 + 2);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_already_is_woken_when_the_task_ran_again() {
    let broker = Troubled::new();
    let client = client(&broker);
    let _worker = Forgetful::at(&broker, 1);
    let large = submit(&client, LARGE).await;
    let taker = client.submit(&sum(), &large).await.unwrap();
    let began = tokio::time::Instant::now();
    let waiting = tokio::spawn(taker);
    assert_eq!(soon(waiting).await.unwrap(), Ok(LARGE));
    // The clock is paused: it goes on when nobody is woken.
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}
