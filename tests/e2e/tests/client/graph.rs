//! Tasks that take results of others, over real components.

use std::num::NonZeroUsize;
use std::time::Duration;

use sortie::protocol::job::Memo;
use sortie::protocol::metric::Value;
use sortie::{Client, Function, Output, TaskError, TaskFuture, gather, value};
use sortie_e2e::{Fleet, Place};

use crate::{endless, function, in_time};

over_both! {
    results_are_arguments_at_any_depth,
    a_failure_ends_what_takes_its_result,
    dropping_one_of_many_futures_stops_its_task_alone,
    a_loop_of_submits_is_one_job,
    objects_that_tasks_make_are_a_list,
    a_chain_goes_on_around_what_is_no_part_of_it,
}

async fn add(client: &Client, function: &Function<i64>, a: i64, b: i64) -> TaskFuture<i64> {
    client.submit(function, (a, b)).await.unwrap()
}

async fn results_are_arguments_at_any_depth(place: Place) {
    let client = place.client(None).await;
    let adds: Function<i64> = function(&client, "add").await;
    let three = add(&client, &adds, 1, 2).await;
    let seven = client.submit(&adds, (&three, 4)).await.unwrap();
    let ten = client.submit(&adds, (three, &seven)).await.unwrap();
    let mirrors: Function<Vec<Option<i64>>> = function(&client, "mirrors").await;
    let nested = client.submit(&mirrors, (vec![Some(&seven), None],));
    assert_eq!(
        in_time(nested.await.unwrap()).await,
        Ok(vec![Some(7), None])
    );
    assert_eq!(in_time(ten).await, Ok(10));
    // A chain, each link from a sandbox of its own.
    let mut last = seven;
    for _ in 0..50 {
        last = client.submit(&adds, (last, 1)).await.unwrap();
    }
    assert_eq!(in_time(last).await, Ok(57));
}

async fn a_failure_ends_what_takes_its_result(place: Place) {
    let client = place.client(None).await;
    let adds: Function<i64> = function(&client, "add").await;
    let traps: Function<i64> = function(&client, "traps").await;
    let fails = client.submit(&traps, ()).await.unwrap();
    let below = client.submit(&adds, (&fails, 1)).await.unwrap();
    let further = client.submit(&adds, (1, &below)).await.unwrap();
    match in_time(further).await {
        Err(TaskError::Failed(failure)) => {
            assert_eq!(failure.code(), "upstream-failed");
            let said = failure.to_string();
            assert!(
                said.starts_with("its input failed: task 0 -> 1 -> 2: trapped:"),
                "{said}"
            );
        }
        other => panic!("{other:?}"),
    }
    let backtrace = fails.backtrace();
    let calls = backtrace.frames();
    assert!(calls.len() > 2 && calls[0] == "abort", "{backtrace}");
    // It is told with the cause.
    assert!(below.backtrace().is_empty());
    assert!(in_time(fails).await.is_err());
}

async fn dropping_one_of_many_futures_stops_its_task_alone(place: Place) {
    let client = place.client(Some(1)).await;
    let spins = endless(&client).await;
    let adds: Function<i64> = function(&client, "add").await;
    let before = add(&client, &adds, 1, 1).await;
    let endless = client.submit(&spins, ()).await.unwrap();
    let waits_for_it = client.submit(&spins, ()).await.unwrap();
    let after = add(&client, &adds, 2, 2).await;
    assert_eq!(in_time(before).await, Ok(2));
    // The only slot is the endless task's, or will be.
    drop(waits_for_it);
    drop(endless);
    assert_eq!(in_time(after).await, Ok(4));
}

async fn a_loop_of_submits_is_one_job(place: Place) {
    let client = place.client(None).await;
    let adds: Function<i64> = function(&client, "add").await;
    let mut futures = Vec::new();
    for number in 0..500 {
        futures.push(add(&client, &adds, number, 1).await);
    }
    let job = futures[0].job();
    assert!(futures.iter().all(|future| future.job() == job));
    let sums: Vec<i64> = in_time(gather(futures))
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert!(sums.into_iter().eq(1..=500));
}

async fn objects_that_tasks_make_are_a_list(place: Place) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "abc").unwrap();
    let client = place.client_with_store(folder.path()).await;
    let makes: Function<Output> = function(&client, "makes_object").await;
    let named: Function<Vec<(String, u64, Option<u8>)>> = function(&client, "names_of").await;
    let joins: Function<Output> = function(&client, "concatenates").await;
    let mut made = Vec::new();
    for size in [5, 6, 7] {
        made.push(client.submit(&makes, (size, value(()))).await.unwrap());
    }
    let file = folder.path().join("a");
    let file = sortie::object(file.to_str().unwrap());
    let list = [file, value(&made[0]), value(&made[1])];
    let mixed = client.submit(&named, (sortie::object_list(&list), 2)).await;
    let sizes: Vec<_> = in_time(mixed.unwrap()).await.unwrap();
    let sizes: Vec<_> = sizes.into_iter().map(|(_, size, at)| (size, at)).collect();
    assert_eq!(sizes, [(3, Some(b'c')), (5, Some(0x5a)), (6, Some(0x5a))]);
    // A list of futures is one of objects where the parameter says so, in a tree as well.
    let alone = client.submit(&named, (&made, 6)).await.unwrap();
    assert_eq!(in_time(alone).await.unwrap()[2].2, Some(0x5a));
    let joined = client.reduce(&joins, made.clone(), NonZeroUsize::new(2).unwrap());
    assert_eq!(in_time(joined.await.unwrap()).await.unwrap().size(), 18);
    // What is no object is not one in a list either.
    let adds: Function<i64> = function(&client, "add").await;
    let number = add(&client, &adds, 1, 1).await;
    let refused = client.submit(&named, ([&number], 0)).await.unwrap();
    let error = in_time(refused).await.unwrap_err().to_string();
    assert!(
        error.contains("takes a list of objects, but the result of one of the tasks"),
        "{error}"
    );
    let refused = client
        .submit(&named, (sortie::object_list([value(1)]), 0))
        .await;
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("neither an object nor a future"), "{error}");
    let refused = client.submit(&named, (value([1, 2]), 0)).await;
    let error = refused.unwrap_err().to_string();
    assert!(
        error.contains("takes a list of objects, but got an ordinary value"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_and_large_values_are_handed_on_by_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let client = Client::builder().cache(folder.path()).start().unwrap();
    let makes: Function<Output> = function(&client, "makes_object").await;
    let copies: Function<Output> = function(&client, "copies").await;
    let made = client.submit(&makes, (300_000, value(()))).await.unwrap();
    let copied = client.submit(&copies, &made).await.unwrap();
    let (made, copied) = (in_time(made).await.unwrap(), in_time(copied).await.unwrap());
    assert_eq!((copied.size(), copied.digest()), (300_000, made.digest()));
    // More than travels in a message, as a whole and inside another value.
    let echo: Function<String> = function(&client, "echo").await;
    let text = "x".repeat(600_000);
    let first = client.submit(&echo, (&text,)).await.unwrap();
    let again = client.submit(&echo, &first).await.unwrap();
    assert_eq!(in_time(again).await, Ok(text.clone()));
    let mirrors: Function<Vec<String>> = function(&client, "mirrors").await;
    let both = client
        .submit(&mirrors, (vec![&first, &first],))
        .await
        .unwrap();
    assert_eq!(in_time(both).await, Ok(vec![text.clone(), text]));
    // An object is no value.
    let refused = client.submit(&makes, (300_000, value(()))).await.unwrap();
    let refused = client.submit(&echo, refused).await.unwrap();
    let error = in_time(refused).await.unwrap_err();
    assert!(
        error.to_string().contains("takes an ordinary value"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scattered_value_is_stored_once_and_given_to_many() {
    let folder = tempfile::tempdir().unwrap();
    let client = Client::builder().cache(folder.path()).start().unwrap();
    let echo: Function<String> = function(&client, "echo").await;
    // Each call is a task.
    let echo = echo.memo(Memo::Off);
    let text = "x".repeat(20_000);
    let shared = client.scatter(&text).await.unwrap();
    let mut futures = Vec::new();
    for _ in 0..50 {
        futures.push(client.submit(&echo, &shared).await.unwrap());
    }
    for result in in_time(gather(futures)).await {
        assert_eq!(result.unwrap(), text);
    }
    let objects = std::fs::read_dir(folder.path().join("store/objects/default")).unwrap();
    assert_eq!(objects.count(), 1);
    // Not worth an object, and not a value yet.
    let small = client.scatter("small").await.unwrap();
    let future = client.submit(&echo, &small).await.unwrap();
    let refused = client.scatter((&future, 1)).await.unwrap_err();
    assert!(refused.to_string().contains("futures in it"), "{refused}");
    assert_eq!(in_time(future).await.unwrap(), "small");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_of_a_thousand_numbers_comes_to_their_sum() {
    let client = Client::embedded().unwrap();
    let adds: Function<i64> = function(&client, "add").await;
    let mut level = Vec::new();
    for number in 0..1000 {
        level.push(add(&client, &adds, number, 0).await);
    }
    while level.len() > 1 {
        let mut next = Vec::new();
        for pair in level.chunks(2) {
            next.push(match pair {
                [one, other] => client.submit(&adds, (one, other)).await.unwrap(),
                alone => alone[0].clone(),
            });
        }
        level = next;
    }
    assert_eq!(in_time(level.remove(0)).await, Ok(499_500));
    let fan_in = NonZeroUsize::new(8).unwrap();
    let nothing = client.reduce(&adds, Vec::new(), fan_in).await;
    assert!(
        nothing
            .unwrap_err()
            .to_string()
            .contains("nothing to reduce")
    );
    tokio::time::timeout(Duration::from_secs(60), client.flush_jobs())
        .await
        .unwrap();
}

/// Which links run where the one before them ran is for the machine to decide, but some do.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_over_a_fleet_runs_mostly_where_its_first_task_ran() {
    let fleet = Fleet::start().await;
    let worker = fleet.worker(2).await;
    let client = fleet.client().await;
    let adds: Function<i64> = function(&client, "add").await;
    let mut last = add(&client, &adds, 0, 0).await;
    for _ in 0..1000 {
        last = client.submit(&adds, (last, 1)).await.unwrap();
    }
    assert_eq!(in_time(last).await, Ok(1000));
    let samples = worker.metrics().into_iter();
    let followed = samples
        .filter(|sample| sample.metric == &sortie_host::metrics::FOLLOWED)
        .map(|sample| sample.value)
        .next();
    assert!(
        matches!(followed, Some(Value::Count(followed)) if followed > 0),
        "{followed:?}"
    );
    // Everything of the job has ended, so that it can be forgotten.
    in_time(client.flush_jobs()).await;
    assert!(client.jobs(10).await.unwrap().is_empty());
}

async fn a_chain_goes_on_around_what_is_no_part_of_it(place: Place) {
    let client = place.client(None).await;
    let adds: Function<i64> = function(&client, "add").await;
    let spins: Function<u64> = function(&client, "spins_for").await;
    let sums: Function<i64> = function(&client, "sum").await;
    for round in 0..20_i64 {
        let mut links = vec![add(&client, &adds, round, 0).await];
        for _ in 0..20 {
            let before = links.last().unwrap();
            links.push(client.submit(&adds, (before, 1)).await.unwrap());
        }
        // One that takes two results, one that takes long, and one in a list.
        let both = (&links[4], &links[9]);
        let both = client.submit(&adds, both).await.unwrap();
        links.push(both);
        let long = client.submit(&spins, (40_000_000_u64,)).await.unwrap();
        let list = (vec![&links[20]],);
        let listed = client.submit(&sums, list).await.unwrap();
        drop(links.remove(15));
        assert_eq!(in_time(listed).await, Ok(round + 20));
        assert_eq!(in_time(links.pop().unwrap()).await, Ok(2 * round + 13));
        for (link, future) in (0..15).zip(links) {
            assert_eq!(in_time(future).await, Ok(round + link));
        }
        assert!(in_time(long).await.is_ok());
    }
}
