//! Jobs by the client library.

use sortie::{AttachError, Client, Ending, Function, TaskError, value};
use sortie_e2e::Fleet;

use crate::in_time;

async fn function<T>(client: &Client, name: &str) -> Function<T> {
    let component = client
        .load(sortie_harness::component("behaviours"))
        .await
        .unwrap();
    component.function(name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submitted_job_waits_for_workers_and_is_followed_by_another_client() {
    let fleet = Fleet::start().await;
    let submitter = fleet.client().await;
    let echo: Function<u64> = function(&submitter, "echo").await;
    let texts: Function<String> = function(&submitter, "echo").await;
    let detached = in_time(submitter.submit_all(&texts, (0..3000).map(|n| value(n.to_string()))))
        .await
        .unwrap();
    assert_eq!(detached.tasks, 3000);
    drop((submitter, echo));

    let client = fleet.client().await;
    let status = in_time(client.job_status(detached.job)).await.unwrap();
    assert_eq!(
        (status.tasks(), status.completed, status.failed),
        (Some(3000), 0, 0)
    );
    assert!(status.unfinished.is_some_and(|bundles| bundles > 0));
    let _worker = fleet.worker(4).await;
    let outcomes = in_time(
        client
            .attach::<String>(detached.job)
            .await
            .unwrap()
            .gather(),
    )
    .await
    .unwrap();
    let results: Vec<String> = outcomes
        .into_iter()
        .map(|outcome| outcome.result.unwrap())
        .collect();
    assert_eq!(
        results,
        (0..3000).map(|n| n.to_string()).collect::<Vec<_>>()
    );

    // Who attached and let go has changed nothing.
    assert_eq!(
        in_time(
            client
                .attach::<String>(detached.job)
                .await
                .unwrap()
                .gather()
        )
        .await
        .unwrap()
        .len(),
        3000
    );
    in_time(client.forget(detached.job)).await.unwrap();
    let error = client.attach::<String>(detached.job).await.unwrap_err();
    assert!(
        matches!(&error, AttachError::NoSuchJob(job) if *job == detached.job),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_fits_no_task_has_an_outcome_for_whoever_attaches() {
    let fleet = Fleet::start().await;
    let client = fleet.client().await;
    let _worker = fleet.worker(2).await;
    let add: Function<i64> = function(&client, "add").await;
    let inputs = || {
        [
            vec![value(1), value(2)],
            vec![value(1)],
            vec![value(3), value(4)],
        ]
    };
    let detached = in_time(client.submit_all(&add, inputs())).await.unwrap();
    for job in [
        client.attach::<i64>(detached.job).await.unwrap(),
        client.map(&add, inputs()),
    ] {
        let outcomes = in_time(job.gather()).await.unwrap();
        assert_eq!(outcomes.len(), 3);
        assert_eq!((&outcomes[0].result, &outcomes[2].result), (&Ok(3), &Ok(7)));
        let Err(TaskError::Failed(failure)) = &outcomes[1].result else {
            panic!("{outcomes:?}")
        };
        assert!(
            failure.to_string().contains("takes 2 arguments"),
            "{failure}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_submitter_went_away_ends_with_what_was_submitted() {
    let fleet = Fleet::start().await;
    let _worker = fleet.worker(2).await;
    let client = fleet.client().await;
    let echo: Function<u64> = function(&client, "echo").await;
    let echo_text: Function<String> = function(&client, "echo").await;
    drop(echo);
    let inputs = futures::StreamExt::chain(
        futures::stream::iter((0..10).map(|n| value(n.to_string()))),
        futures::stream::pending(),
    );
    let mut job = client.map_stream(&echo_text, inputs);
    let id = job.id().unwrap();
    for _ in 0..10 {
        in_time(job.next()).await.unwrap().result.unwrap();
    }
    job.leave();

    let attached = fleet.client().await;
    let mut job = attached.attach::<String>(id).await.unwrap();
    let mut count = 0;
    while in_time(job.next()).await.is_some() {
        count += 1;
    }
    let progress = job.progress();
    assert_eq!(
        (
            count,
            progress.submitted,
            progress.complete,
            progress.cancelled
        ),
        (10, 10, false, false)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_stay_until_their_reader_is_done_with_them() {
    let fleet = Fleet::start().await;
    let _worker = fleet.worker(2).await;
    let client = fleet.client().await;
    let echo: Function<String> = function(&client, "echo").await;
    let mut job = client.map(&echo, (0..5).map(|n| value(n.to_string())));
    let id = job.id().unwrap();
    while in_time(job.next()).await.is_some() {}
    // Read to its end and not dropped: a client that dies now loses nothing.
    let other = fleet.client().await;
    assert_eq!(
        in_time(other.attach::<String>(id).await.unwrap().gather())
            .await
            .unwrap()
            .len(),
        5
    );
    drop(job);
    in_time(client.flush_jobs()).await;
    let error = fleet.client().await.attach::<String>(id).await.unwrap_err();
    assert!(matches!(error, AttachError::NoSuchJob(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_attached_sees_that_a_job_was_cancelled() {
    let fleet = Fleet::start().await;
    let _worker = fleet.worker(1).await;
    let client = fleet.client().await;
    let spins: Function<()> = function(&client, "spins_forever").await;
    let detached = in_time(client.submit_all(&spins, (0..5).map(|_| ())))
        .await
        .unwrap();
    let job = client.attach::<()>(detached.job).await.unwrap();
    in_time(client.cancel(detached.job)).await.unwrap();
    let outcomes = in_time(job.gather()).await.unwrap();
    assert_eq!(outcomes.len(), 5);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.result == Err(TaskError::Cancelled)),
        "{outcomes:?}"
    );
    // The worker is free again.
    let echo: Function<String> = function(&client, "echo").await;
    assert_eq!(
        in_time(client.submit(&echo, value("x")).await.unwrap()).await,
        Ok("x".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_replayed_as_new_jobs_with_the_same_options() {
    let fleet = Fleet::start().await;
    let _worker = fleet.worker(2).await;
    let client = fleet.client().await;
    let fails: Function<()> = function(&client, "fails").await;
    let inputs = ["a", "b", "c"].map(|code| [value(code), value("no")]);
    let outcomes = in_time(client.map(&fails.retries(0), inputs).gather())
        .await
        .unwrap();
    assert_eq!(outcomes.len(), 3);
    let letters = in_time(client.dead_letters(None, 10)).await.unwrap();
    assert_eq!(letters.len(), 3);
    let (ids, job) = (
        letters.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        letters[0].1.job().unwrap().job,
    );

    let replayed = in_time(client.replay(letters.into_iter().take(2)))
        .await
        .unwrap();
    assert_eq!(
        (
            replayed.jobs.len(),
            replayed.jobs[0].tasks,
            replayed.unreadable.len()
        ),
        (1, 2, 0)
    );
    assert_ne!(replayed.jobs[0].job, job);
    let mut again = client.attach::<()>(replayed.jobs[0].job).await.unwrap();
    let mut indices = Vec::new();
    while let Some(outcome) = in_time(again.next_outcome()).await {
        assert!(matches!(outcome.ending, Ending::Failed(_)), "{outcome:?}");
        indices.push(outcome.index);
    }
    indices.sort_unstable();
    assert_eq!(indices, [0, 1]);
    let left = in_time(client.dead_letters(None, 10)).await.unwrap();
    let left: Vec<_> = left
        .iter()
        .map(|(id, letter)| (*id, letter.job().map(|key| key.job) == Some(job)))
        .collect();
    assert_eq!(
        left.iter()
            .filter(|(_, old)| *old)
            .map(|(id, _)| *id)
            .collect::<Vec<_>>(),
        ids[2..]
    );
    assert_eq!(left.len(), 3, "the two that failed again are back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_goes_on_where_it_was_when_the_server_comes_back() {
    let fleet = Fleet::start().await;
    let _worker = fleet.worker(2).await;
    let client = fleet.client().await;
    let echo: Function<String> = function(&client, "echo").await;
    let mut job = client.map(&echo, (0..2000).map(|n| value(n.to_string())));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        seen.insert(in_time(job.next()).await.unwrap().index);
    }
    fleet.server().kill();
    fleet.server().restart().await;
    while let Some(outcome) = in_time(job.next()).await {
        assert_eq!(outcome.result.unwrap(), outcome.index.to_string());
        assert!(seen.insert(outcome.index), "{} came twice", outcome.index);
    }
    assert_eq!(seen.len(), 2000);
}
