//! Tasks that make tasks: their results, their limits, and what becomes of them when their task
//! ends, is run again, or is lost.

use futures::StreamExt as _;
use rustix::process::Signal;
use sortie::nats::{Config, NatsBroker, Role};
use sortie::{ByteSize, Client, Function, JobKey, JobState, TaskError, object, object_list};
use sortie_broker::{Event, Operate as _, Submit as _};
use sortie_e2e::{Fleet, Place};
use sortie_harness::{NatsServer, Sortie, until_asked};
use tokio::runtime::Runtime;

use crate::{function, in_time};

over_both! {
    results_of_subtasks_come_back_in_the_order_of_their_calls,
    a_tree_of_subtasks_ends_whatever_the_number_of_slots,
    tasks_that_wait_give_way_to_what_they_wait_for,
    a_recursion_without_end_is_stopped_at_its_depth,
    a_task_makes_so_many_subtasks_and_no_more,
    a_call_that_cannot_be_made_is_an_answer,
    a_subtask_that_fails_says_why,
    subtasks_are_told_as_they_end,
    what_is_not_waited_for_ends_with_its_task,
    a_subtask_can_be_stopped,
    large_results_of_subtasks_come_back_too,
    objects_are_handed_on_and_handed_back,
    a_cancelled_task_takes_its_subtasks_along,
}

async fn call<T: sortie::Decode + Send + 'static>(
    client: &Client,
    name: &str,
    arguments: impl sortie::IntoArguments,
) -> Result<T, TaskError> {
    let function: Function<T> = function(client, name).await;
    let future = client.submit(&function, arguments).await.unwrap();
    in_time(future).await
}

async fn results_of_subtasks_come_back_in_the_order_of_their_calls(place: Place) {
    let client = place.client(None).await;
    assert_eq!(call(&client, "spreads", (0,)).await, Ok(0_i64));
    assert_eq!(call(&client, "spreads", (1,)).await, Ok(0_i64));
    assert_eq!(call(&client, "spreads", (2500,)).await, Ok(2499 * 1250_i64));
}

async fn a_tree_of_subtasks_ends_whatever_the_number_of_slots(place: Place) {
    let client = place.client(Some(1)).await;
    assert_eq!(call(&client, "branches", (7,)).await, Ok(128_u64));
    // Many parents at once.
    let branches: Function<u64> = function(&client, "branches").await;
    let job = client.map(&branches, (0..40).map(|_| (3,)));
    let outcomes = in_time(job.gather()).await.unwrap();
    assert_eq!(outcomes.len(), 40);
    for outcome in outcomes {
        assert_eq!(outcome.result, Ok(8));
    }
}

/// The tree needs 63 times what it may have at once, and its waiting tasks alone 31 times.
async fn tasks_that_wait_give_way_to_what_they_wait_for(place: Place) {
    let bytes = 24_u64 << 20;
    let small = ByteSize::mib(128);
    let limit = ByteSize::mib(48);
    let (_fleet, client);
    match place {
        Place::Embedded => {
            client = Client::builder().memory(small).start().unwrap();
            _fleet = None;
        }
        Place::Fleet => {
            let fleet = Fleet::start().await;
            let worker = fleet.worker_with_memory(4, small).await;
            client = fleet.client().await;
            _fleet = Some((worker, fleet));
        }
    }
    let large: Function<u64> = function(&client, "branches_large").await;
    let large = large.memory(limit);
    let future = client.submit(&large, (5, bytes)).await.unwrap();
    assert_eq!(in_time(future).await, Ok(32));
}

/// The failure of a task, as `code: message`.
fn failure<T: std::fmt::Debug>(result: Result<T, TaskError>) -> String {
    match result {
        Err(TaskError::Failed(failure)) => format!("{}: {failure}", failure.code()),
        other => panic!("{other:?}"),
    }
}

async fn a_recursion_without_end_is_stopped_at_its_depth(place: Place) {
    let client = place.client(Some(2)).await;
    let failed = failure(call::<u32>(&client, "recurses", (0,)).await);
    assert!(
        failed.starts_with("too-many-tasks") && failed.contains("16 levels"),
        "{failed}"
    );
}

async fn a_task_makes_so_many_subtasks_and_no_more(place: Place) {
    let client = place.client(None).await;
    let made = call::<usize>(&client, "spawns_without_end", ()).await;
    // Those of the last call are not made.
    assert_eq!(made, Ok(10_000));
}

async fn a_call_that_cannot_be_made_is_an_answer(place: Place) {
    let client = place.client(None).await;
    assert_eq!(call(&client, "calls", ("spreads", 4)).await, Ok(6_i64));
    let failed = failure(call::<i64>(&client, "calls", ("nowhere", 1)).await);
    assert!(
        failed.contains("bad-call") && failed.contains("no function `nowhere`"),
        "{failed}"
    );
    let failed = failure(call::<i64>(&client, "calls", ("add", 1)).await);
    assert!(failed.contains("takes 2 arguments, but got 1"), "{failed}");
    let failed = failure(call::<i64>(&client, "calls", ("names_of", 1)).await);
    assert!(failed.contains("bad-call"), "{failed}");
}

async fn a_subtask_that_fails_says_why(place: Place) {
    let client = place.client(None).await;
    let failed = failure(call::<i64>(&client, "calls", ("panics", 1)).await);
    assert!(failed.starts_with("bad-argument: "), "{failed}");
    let code: String = call(&client, "code_of", ("traps",)).await.unwrap();
    assert!(code.starts_with("trapped: "), "{code}");
    let code: String = call(&client, "code_of", ("overflows_stack",))
        .await
        .unwrap();
    assert!(code.starts_with("stack-overflow: "), "{code}");
}

async fn subtasks_are_told_as_they_end(place: Place) {
    let client = place.client(None).await;
    let mut order: Vec<usize> = call(&client, "in_order", (50,)).await.unwrap();
    order.sort_unstable();
    assert!(order.into_iter().eq(0..50));
}

async fn what_is_not_waited_for_ends_with_its_task(place: Place) {
    let client = place.client(Some(2)).await;
    let first = call(&client, "leaves_one_running", ()).await;
    assert_eq!(first, Ok(Some(1_usize)));
    // Its slot is free again, and both are needed here.
    assert_eq!(call(&client, "spreads", (20,)).await, Ok(190_i64));
}

async fn a_subtask_can_be_stopped(place: Place) {
    let client = place.client(None).await;
    let code = call(&client, "stops_one", ()).await;
    assert_eq!(code, Ok("cancelled".to_owned()));
}

async fn large_results_of_subtasks_come_back_too(place: Place) {
    let client = place.client(None).await;
    let large = 3_usize << 20;
    let length = call(&client, "length_of_a_large_result", (large,)).await;
    assert_eq!(length, Ok(large));
}

async fn objects_are_handed_on_and_handed_back(place: Place) {
    let folder = tempfile::tempdir().unwrap();
    let store = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    for name in ["a", "b", "c"] {
        std::fs::write(folder.path().join("in").join(name), name).unwrap();
    }
    let client = place.client_with_store(store.path()).await;
    let in_folder = |name: &str| {
        let path = folder.path().join("in").join(name);
        path.to_str().unwrap().to_owned()
    };
    let objects = ["a", "b", "c"].map(|name| object(in_folder(name)));
    let names = call(&client, "names_by_subtasks", [object_list(objects)]).await;
    assert_eq!(names, Ok("a;b;c;".to_owned()));
    // The two functions by themselves.
    let one: Function<sortie::Output> = function(&client, "named_in_an_object").await;
    let one = client.submit(&one, [object(in_folder("a"))]).await.unwrap();
    let joined: Function<sortie::Output> = function(&client, "joins_objects").await;
    let joined = client.submit(&joined, ([&one, &one],)).await.unwrap();
    assert!(in_time(joined).await.is_ok());
}

/// Whether the broker has jobs of subtasks.
async fn has_subtasks(client: &Client) -> bool {
    let jobs = client.jobs(100).await.unwrap();
    jobs.iter().any(|record| record.job.parent.is_some())
}

async fn a_cancelled_task_takes_its_subtasks_along(place: Place) {
    let client = place.client(Some(2)).await;
    let calls: Function<String> = function(&client, "code_of").await;
    let future = client.submit(&calls, ("spins_forever",)).await.unwrap();
    until_asked("the subtask", async || has_subtasks(&client).await).await;
    drop(future);
    until_asked("its end", async || !has_subtasks(&client).await).await;
    assert_eq!(call(&client, "spreads", (20,)).await, Ok(190_i64));
}

/// The job of subtasks at the broker, if there is one and no other.
async fn family(broker: &NatsBroker) -> Option<JobKey> {
    let jobs = broker.jobs(100).await.unwrap();
    let mut keys = jobs
        .iter()
        .filter(|record| record.job.parent.is_some() && record.state != JobState::Cancelled)
        .map(|record| record.job.key);
    let key = keys.next();
    assert!(keys.next().is_none(), "an attempt made subtasks anew");
    key
}

/// Which subtasks ended, as often as the broker was told.
async fn told(broker: &NatsBroker, job: JobKey) -> Vec<u64> {
    let mut told = Vec::new();
    let mut events = broker.follow(job, 0).await.unwrap();
    while let Some(event) = events.next().await {
        match event {
            Event::Outcomes(_, outcomes) => told.extend(outcomes.iter().map(|of| of.index)),
            Event::CaughtUp(_) => break,
            _ => {}
        }
    }
    told
}

#[test]
fn a_task_that_is_lost_finds_its_subtasks_again() {
    // A worker's handle must not be dropped inside a runtime, so only the waits are in one.
    let runtime = Runtime::new().unwrap();
    let nats = runtime.block_on(NatsServer::start());
    let worker = || {
        let worker = Sortie::new(["worker", "--broker", &nats.url(), "--concurrency", "2"]);
        worker.start()
    };
    let first = worker();
    let (broker, future, key) = runtime.block_on(async {
        let config = Config::new(nats.url(), Role::Client);
        let broker = NatsBroker::connect(config).await.unwrap();
        let client = Client::connect(nats.url()).await.unwrap();
        let slowly: Function<u64> = function(&client, "spreads_slowly").await;
        let future = client.submit(&slowly, (SLOW, ROUNDS)).await.unwrap();
        until_asked("a quarter of the subtasks", async || {
            match family(&broker).await {
                Some(family) => told(&broker, family).await.len() as u64 >= SLOW / 4,
                None => false,
            }
        })
        .await;
        let key = family(&broker).await.unwrap();
        (broker, future, key)
    });
    first.signal(Signal::KILL);
    let before = runtime.block_on(told(&broker, key));
    assert!((before.len() as u64) < SLOW, "all had ended: {before:?}");
    let _second = worker();
    runtime.block_on(async {
        assert_eq!(in_time(future).await, Ok(SLOW));
        // They go with their task.
        until_asked("their end", async || family(&broker).await.is_none()).await;
    });
}

/// Subtasks that take some milliseconds each, and their rounds.
const SLOW: u64 = 200;
const ROUNDS: u64 = 20_000_000;
