//! Open jobs and graphs when things go wrong, or are meant to.

use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use sortie_broker::memory::MemoryBroker;
use sortie_broker::{Operate as _, Puller, Report, Serves, Submit as _, Work as _};
use sortie_objects::Objects;
use sortie_protocol::{
    Argument, Ending, Failure, JobId, Outcome, Output, Part, Priority, TaskIndex, TenantId,
    WorkerId, envelope,
};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::troubled::Troubled;
use super::{Working, client, completed, function, key, soon, takes_one};
use crate::drive::call::Call;
use crate::drive::made::Made;
use crate::drive::program::{Driven, Program, Writes};
use crate::drive::tracker::TaskTracker;
use crate::drive::values::Values;
use crate::{TaskError, TaskFuture};

fn puller() -> Puller {
    Puller {
        worker: WorkerId::from_bytes([2; 16]),
        serves: Serves::Everything,
    }
}

#[tokio::test(start_paused = true)]
async fn tasks_that_are_cancelled_before_they_were_published_leave_room_for_others() {
    let broker = Troubled::new();
    let client = client(&broker);
    let mut futures = Vec::new();
    for _ in 0..3000 {
        futures.push(client.submit(&function(), ()).await.unwrap());
    }
    broker.published(705).await;
    drop(futures);
    let _working = Working::at(&broker);
    let next = client.submit(&function(), ()).await.unwrap();
    assert_eq!(soon(next).await, Ok(7));
    soon(client.flush_jobs()).await;
}

#[tokio::test(start_paused = true)]
async fn a_function_whose_adding_was_interrupted_keeps_its_place() {
    let broker = Troubled::new();
    let client = client(&broker);
    let first = client.submit(&function(), ()).await.unwrap();
    broker.work(completed).await;
    assert_eq!(soon(first).await, Ok(7));
    *broker.adding_takes.lock().unwrap() = Duration::from_secs(1);
    let high = function().priority(Priority::High);
    let interrupted = timeout(Duration::from_millis(10), client.submit(&high, ())).await;
    assert!(interrupted.is_err());
    *broker.adding_takes.lock().unwrap() = Duration::ZERO;
    let _future = client
        .submit(&function().priority(Priority::Low), ())
        .await
        .unwrap();
    broker.published(2).await;
    let leases = broker.inner.pull(&puller(), NonZeroUsize::MIN).await;
    let lease = &leases.unwrap()[0];
    let called = lease.job.function(lease.bundle.tasks[0].function).unwrap();
    assert_eq!(called.options.priority, Priority::Low);
}

#[tokio::test(start_paused = true)]
async fn a_function_that_the_broker_refuses_holds_up_no_other() {
    let broker = Troubled::new();
    let client = client(&broker);
    let _working = Working::at(&broker);
    let first = client.submit(&function(), ()).await.unwrap();
    broker.refuses_urgent.store(true, Ordering::Relaxed);
    let high = function().priority(Priority::High);
    assert!(client.submit(&high, ()).await.is_err());
    let low = client.submit(&function().priority(Priority::Low), ()).await;
    assert_eq!(soon(low.unwrap()).await, Ok(7));
    assert_eq!(soon(first).await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn lost_tasks_are_found_beyond_one_that_waits_here() {
    let broker = Troubled::new();
    let client = client(&broker);
    let first = client.submit(&takes_one(), (1,)).await.unwrap();
    broker.published(1).await;
    let lease = broker.inner.pull(&puller(), NonZeroUsize::MIN).await;
    let lease = lease.unwrap().remove(0);
    let second = client.submit(&takes_one(), (&first,)).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..1000 {
        others.push(client.submit(&function(), ()).await.unwrap());
    }
    broker.published(705).await;
    let report = Report {
        outcomes: vec![completed(0)],
        retrials: Vec::new(),
    };
    broker
        .inner
        .complete(lease.id, lease.job.key, report)
        .await
        .unwrap();
    assert_eq!(soon(first).await, Ok(7));
    // In place of the first; the second waits in this process.
    broker.published(706).await;
    // The operator empties the queue.
    assert!(broker.inner.empty(TenantId::default()).await.unwrap() > 700);
    let _working = Working::at(&broker);
    assert_eq!(soon(second).await, Ok(7));
    for other in others {
        let _ = soon(other).await;
    }
}

#[test]
fn futures_end_with_the_runtime_of_their_client() {
    let broker = Troubled::new();
    let other = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let submitted = other.block_on(async {
        let future = client(&broker).submit(&function(), ()).await;
        Some(future.unwrap())
    });
    let future = submitted.unwrap();
    drop(other);
    let here = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let result = here.block_on(async { timeout(Duration::from_secs(3), future).await });
    assert!(
        matches!(result, Ok(Err(TaskError::BrokerGone { .. }))),
        "{result:?}"
    );
}

/// A waker that drops a future, as an executor may that drops a task when it is woken.
struct Drops(Mutex<Option<TaskFuture<u64>>>);

impl Wake for Drops {
    fn wake(self: Arc<Self>) {
        let future = self.0.lock().unwrap().take();
        drop(future);
    }
}

#[test]
fn a_waker_may_drop_a_future() {
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let broker = Troubled::new();
            let client = client(&broker);
            let mut first = client.submit(&function(), ()).await.unwrap();
            broker.published(1).await;
            let second = client.submit(&function(), ()).await.unwrap();
            let waker = Waker::from(Arc::new(Drops(Mutex::new(Some(second)))));
            let polled = std::pin::Pin::new(&mut first).poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
            broker.published(2).await;
            broker.work(completed).await;
            assert_eq!(first.await, Ok(7));
        });
        done.send(()).unwrap();
    });
    assert!(
        is_done.recv_timeout(Duration::from_secs(10)).is_ok(),
        "deadlock"
    );
}

fn program() -> Driven {
    Program::start(
        key(JobId::from_bytes([1; 16])),
        TaskTracker::default(),
        Writes::Nothing,
    )
}

fn values() -> Values {
    Values::new(
        Objects::new(sortie_objects::Config::default(), Handle::current()),
        None,
        Arc::new(MemoryBroker::default()),
    )
}

async fn call(program: &Arc<Program>, room: &Arc<Semaphore>, part: Part<TaskIndex>) -> TaskIndex {
    let call = Call {
        function: 0,
        signature: takes_one().signature.clone(),
        parts: vec![part],
        input: None,
        repeatable: false,
    };
    let permit = room.clone().acquire_owned().await.unwrap();
    program.submit(call, None, permit).0
}

fn ready() -> Part<TaskIndex> {
    Part::Ready(Argument::Value(vec![0].into()))
}

/// `[RESULT(0), 5]`
fn template() -> Part<TaskIndex> {
    let value: &[u8] = &[0x82, 0xda, 0x73, 0x6f, 0x72, 0x74, 0x00, 0x05];
    Part::Template(Bytes::from_static(value), vec![0])
}

fn ended(index: TaskIndex, value: Bytes) -> Outcome {
    Outcome {
        ending: Ending::Completed(value.into()),
        ..completed(index)
    }
}

fn large() -> Bytes {
    let mut value = vec![0x5a, 0, 3, 0, 0];
    value.resize(5 + (3 << 16), 1);
    value.into()
}

#[tokio::test]
async fn what_waits_to_be_packed_shares_the_results_that_it_takes() {
    let mut driven = program();
    let room = Arc::new(Semaphore::new(65_536));
    call(&driven.program, &room, ready()).await;
    for _ in 0..1000 {
        call(&driven.program, &room, template()).await;
    }
    let value = large();
    driven.program.ended(&[ended(0, value.clone())]);
    let (mut tasks, mut shared) = (0, 0);
    while let Ok((made, _room)) = driven.released.try_recv() {
        tasks += 1;
        if let Made::Task { parts, .. } = *made
            && let [Part::Template(_, results)] = &parts[..]
            && let [Output::Value(bytes)] = &results[..]
        {
            shared += usize::from(bytes.as_ptr() == value.as_ptr());
        }
    }
    assert_eq!((tasks, shared), (1001, 1000));
}

#[tokio::test]
async fn a_result_that_nothing_takes_is_dropped() {
    let driven = program();
    let room = Arc::new(Semaphore::new(65_536));
    let first = call(&driven.program, &room, ready()).await;
    let second = call(&driven.program, &room, Part::Result(first)).await;
    let value = large();
    driven.program.ended(&[ended(first, value.clone())]);
    // Its future is gone, and the second, whose future is held, has ended.
    driven.program.dropped(first, false);
    driven.program.ended(&[ended(second, vec![7].into())]);
    let mut driven = driven;
    while driven.released.try_recv().is_ok() {}
    assert!(value.is_unique(), "somebody holds it");
}

#[tokio::test]
async fn a_result_that_is_not_one_item_changes_no_value_around_it() {
    for result in [&[0x01, 0x02][..], &[], &[0x82, 0x01]] {
        let mut driven = program();
        let room = Arc::new(Semaphore::new(65_536));
        call(&driven.program, &room, ready()).await;
        call(&driven.program, &room, template()).await;
        driven
            .program
            .ended(&[ended(0, Bytes::copy_from_slice(result))]);
        let first = driven.released.try_recv().unwrap().0;
        first.fill(&values(), driven.program.job).await.unwrap();
        let second = driven.released.try_recv().unwrap().0;
        match second.fill(&values(), driven.program.job).await {
            Err(_) => {}
            Ok(task) => panic!("{result:02x?} made {:02x?}", task.arguments),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stray_outcome_does_not_end_a_job_that_is_flushed() {
    let broker = Troubled::new();
    let client = client(&broker);
    let first = client.submit(&function(), ()).await.unwrap();
    broker.published(1).await;
    let second = client.submit(&function(), ()).await.unwrap();
    broker.published(2).await;
    let job = key(first.job());
    let outcomes = vec![completed(1_000_000)];
    broker.inner.report(job, outcomes).await.unwrap();
    broker.work(completed).await;
    assert_eq!(soon(first).await, Ok(7));
    let _ = timeout(Duration::from_secs(30), client.flush_jobs()).await;
    let worked = timeout(Duration::from_secs(30), broker.work(completed)).await;
    assert_eq!(soon(second).await, Ok(7), "{worked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_waits_here_does_not_stay_at_a_broker_that_is_away() {
    let broker = Troubled::new();
    let client = client(&broker);
    let first = client.submit(&takes_one(), (1,)).await.unwrap();
    let second = client.submit(&takes_one(), (&first,)).await.unwrap();
    broker.published(1).await;
    broker.leave();
    assert!(matches!(
        soon(first).await,
        Err(TaskError::BrokerGone { stays: true, .. })
    ));
    let second = soon(second).await;
    assert!(
        matches!(second, Err(TaskError::BrokerGone { stays: false, .. })),
        "{second:?}"
    );
}

fn upstream(failure: Failure) -> Failure {
    Failure::Upstream {
        failure: Box::new(failure),
        path: Vec::new(),
        omitted: 0,
    }
}

fn message(failure: Failure) -> Vec<u8> {
    envelope::outcomes(&[Outcome {
        ending: Ending::Failed(failure),
        ..completed(0)
    }])
    .to_vec()
}

/// A message of an outcome that failed so many levels deep.
fn deep(levels: usize) -> Vec<u8> {
    let last = || Failure::trapped("MARKER");
    let (none, one, two) = (
        message(last()),
        message(upstream(last())),
        message(upstream(upstream(last()))),
    );
    let common = |a: &[u8], b: &[u8]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
    // The head of an enumeration is the same; its index differs.
    let (outer, inner) = (common(&none, &one) - 1, common(&one, &two) - 1);
    let before = &one[outer..inner];
    let end = none.windows(6).position(|six| six == b"MARKER").unwrap() + 6;
    let end_one = one.windows(6).position(|six| six == b"MARKER").unwrap() + 6;
    let after = &one[end_one..end_one + (one.len() - none.len() - before.len())];
    let mut bytes = none[..outer].to_vec();
    bytes.extend(before.repeat(levels));
    bytes.extend(&none[outer..end]);
    bytes.extend(after.repeat(levels));
    bytes.extend(&none[end..]);
    bytes
}

#[test]
fn failures_of_failures_are_not_read_to_any_depth() {
    assert_eq!(deep(1), message(upstream(Failure::trapped("MARKER"))));
    let reading = std::thread::Builder::new().stack_size(1 << 30).spawn(|| {
        let bytes = deep(50_000);
        let read = envelope::decode(&bytes);
        (bytes.len(), read.is_err())
    });
    let (bytes, is_refused) = reading.unwrap().join().unwrap();
    assert!(is_refused, "50000 levels in {bytes} bytes are read");
}
