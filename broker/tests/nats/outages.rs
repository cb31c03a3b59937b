//! The broker goes away for a while: nothing that was accepted is lost, and what waits goes on by
//! itself.
//!
//! The races: a question, an answer or a live message on its way when the connection breaks; a
//! server that restarts with its store; one that hangs without closing anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use sortie_broker::{Cancellation, Event, Extended, Operate as _, Submit as _, Work as _};
use sortie_harness::{NatsServer, TcpProxy};
use tokio::task::JoinSet;

use crate::support::{
    Follower, LONG, SHORT, all_done, bundle, complete, completed, connect, nothing_to_pull,
    presence, publish, pull, put_job, raw, report, soon, store, until, work,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_server_loses_nothing_and_nobody_has_to_ask_again() {
    let server = NatsServer::start().await;
    let (client, worker) = (
        connect(&server.url(), LONG).await,
        connect(&server.url(), LONG).await,
    );
    let job = put_job(&client).await;
    let mut follower = Follower::of(&client, job).await;
    publish(&client, job, [0]).await;
    publish(&client, job, [1]).await;
    let (first, second) = (pull(&worker).await, pull(&worker).await);
    complete(&worker, &first, all_done(&first)).await;
    follower.outcomes(1).await;

    let waiting = tokio::spawn({
        let worker = worker.clone();
        async move { pull(&worker).await }
    });
    server.kill();
    until("the connection", &false, async || client.is_connected()).await;
    // What is asked during the outage waits for its end.
    let publishing = tokio::spawn({
        let client = client.clone();
        async move { publish(&client, job, [2]).await }
    });
    let extended = worker.extend(second.id).await;
    assert!(
        extended
            .as_ref()
            .is_err_and(sortie_broker::Error::is_transient),
        "{extended:?}"
    );
    let completing = tokio::spawn({
        let (worker, second) = (worker.clone(), second.clone());
        async move { complete(&worker, &second, all_done(&second)).await }
    });
    server.restart().await;

    soon("a publish that was begun during the outage", publishing)
        .await
        .unwrap();
    soon("a report that was begun during the outage", completing)
        .await
        .unwrap();
    let third = soon("a pull that was begun before the outage", waiting)
        .await
        .unwrap();
    assert!(matches!(
        soon("an extension", worker.extend(third.id)).await,
        Ok(Extended::Until(_))
    ));
    complete(&worker, &third, all_done(&third)).await;
    publish(&client, job, [3]).await;
    // A server that is killed forgets the last deliveries and acknowledgements, so bundles may come
    // once more.
    let working = tokio::spawn(async move {
        loop {
            work(&worker).await;
        }
    });
    follower.sees_all(4).await;
    until("unfinished", &0, async || {
        client.unfinished(job).await.unwrap().bundles
    })
    .await;
    working.abort();
}

/// How often a server is killed while bundles end.
const KILLS: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bundle_is_left_in_the_queue_when_servers_are_killed_while_bundles_end() {
    let server = NatsServer::start().await;
    for round in 0..KILLS {
        let client = connect(&server.url(), SHORT).await;
        let job = put_job(&client).await;
        let ended = Arc::new(AtomicU64::new(0));
        let mut working = JoinSet::new();
        for _ in 0..4 {
            let worker = connect(&server.url(), SHORT).await;
            let ended = ended.clone();
            working.spawn(async move {
                loop {
                    work(&worker).await;
                    ended.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for index in 0..200 {
            publish(&client, job, [index]).await;
        }
        until("some", &true, async || {
            ended.load(Ordering::Relaxed) > 20 * (round + 1)
        })
        .await;
        server.kill();
        server.restart().await;
        until("unfinished", &0, async || {
            client.unfinished(job).await.unwrap().bundles
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_count_as_read_when_they_could_be_read_and_not_before() {
    let server = NatsServer::start().await;
    let client = connect(&server.url(), LONG).await;
    let job = put_job(&client).await;
    let mut events = soon("following", client.follow(job, 0)).await.unwrap();
    let event = soon("that it has caught up", events.next()).await;
    assert!(matches!(event, Some(Event::CaughtUp(_))), "{event:?}");
    server.kill();
    until("the connection", &false, async || client.is_connected()).await;
    // What was told before.
    while let Some(event) = events.next().now_or_never() {
        assert!(matches!(event, Some(Event::CaughtUp(_))), "{event:?}");
    }
    // For longer than a look takes that nobody asked for.
    let early = tokio::time::timeout(Duration::from_secs(11), events.next()).await;
    assert!(early.is_err(), "nothing could be read: {early:?}");
    server.restart().await;
    let event = soon("that it has caught up anew", events.next()).await;
    assert!(matches!(event, Some(Event::CaughtUp(_))), "{event:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_and_goes_on_loses_nothing() {
    let server = NatsServer::start().await;
    let (client, worker) = (
        connect(&server.url(), LONG).await,
        connect(&server.url(), LONG).await,
    );
    let job = put_job(&client).await;
    let mut follower = Follower::of(&client, job).await;
    let waiting = tokio::spawn({
        let worker = worker.clone();
        async move { work(&worker).await }
    });
    server.pause();
    let publishing = tokio::spawn({
        let client = client.clone();
        async move { publish(&client, job, [0]).await }
    });
    // Longer than an answer may take, so that the question is asked again: the bundle must not be
    // there twice.
    let asked = client.unfinished(job);
    assert!(
        tokio::time::timeout(Duration::from_millis(2500), asked)
            .await
            .is_err()
    );
    server.resume();
    soon("a publish", publishing).await.unwrap();
    soon("a pull", waiting).await.unwrap();
    follower.sees_all(1).await;
    nothing_to_pull(&worker, Duration::from_millis(500)).await;
    publish(&client, job, [1]).await;
    work(&worker).await;
    follower.sees_all(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_connection_is_made_again_and_a_follower_misses_nothing() {
    let server = NatsServer::start().await;
    let proxy = TcpProxy::for_nats(server.address());
    let (near, far) = (
        connect(&server.url(), LONG).await,
        connect(&proxy.url(), LONG).await,
    );
    let job = put_job(&near).await;
    let mut follower = Follower::of(&far, job).await;
    for round in 0..3 {
        let waiting = tokio::spawn({
            let far = far.clone();
            async move { work(&far).await }
        });
        publish(&near, job, [4 * round]).await;
        soon("a pull", waiting).await.unwrap();
        proxy.cut();
        // While the follower is away.
        publish(&near, job, [4 * round + 1, 4 * round + 2]).await;
        work(&near).await;
        let publishing = tokio::spawn({
            let far = far.clone();
            async move { publish(&far, job, [4 * round + 3]).await }
        });
        until("the connection", &false, async || far.is_connected()).await;
        proxy.mend();
        soon("a publish", publishing).await.unwrap();
        work(&near).await;
        follower.sees_all(4 * round + 4).await;
    }
}

/// A question for work that is lost on its way is missed by its heartbeats, and asked again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_for_work_that_is_lost_is_asked_again() {
    let server = NatsServer::start().await;
    let proxy = TcpProxy::for_nats(server.address());
    let (client, worker) = (
        connect(&server.url(), LONG).await,
        connect(&proxy.url(), LONG).await,
    );
    let job = put_job(&client).await;
    // One of those that do not wait, while everything is empty: the other questions come after it.
    proxy.swallow_next("$JS.API.CONSUMER.MSG.NEXT");
    let waiting = tokio::spawn({
        let worker = worker.clone();
        async move { work(&worker).await }
    });
    proxy.wait_until_swallowed(1).await;
    publish(&client, job, [0]).await;
    soon("a pull", waiting).await.unwrap();
    // All of them for a while, the one that waits among them.
    proxy.swallow("$JS.API.CONSUMER.MSG.NEXT");
    let waiting = tokio::spawn({
        let worker = worker.clone();
        async move { work(&worker).await }
    });
    proxy.wait_until_swallowed(2).await;
    proxy.mend();
    publish(&client, job, [1]).await;
    soon("a pull", waiting).await.unwrap();
}

/// A recurring fault of servers: bundles wait, workers wait, and nothing is delivered. A paused
/// consumer looks just like that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bundles_that_nobody_got_are_found_without_a_further_publish() {
    let server = NatsServer::start().await;
    let broker = connect(&server.url(), LONG).await;
    let client = raw(&server.url()).await;
    let job = put_job(&broker).await;
    let pause = async |until: &str| {
        let question = format!("{{\"pause_until\":\"{until}\"}}");
        store(
            &client,
            "$JS.API.CONSUMER.PAUSE.sortie-tasks-default-0.any-normal".into(),
            question,
        )
        .await;
    };
    pause("2100-01-01T00:00:00Z").await;
    let waiting = tokio::spawn({
        let broker = broker.clone();
        async move { pull(&broker).await }
    });
    publish(&broker, job, [0]).await;
    let held = tokio::time::timeout(Duration::from_secs(2), async {
        while !waiting.is_finished() {
            tokio::task::yield_now().await
        }
    });
    assert!(held.await.is_err(), "a paused consumer gives nothing");
    pause("2000-01-01T00:00:00Z").await;
    let lease = soon("a pull", waiting).await.unwrap();
    complete(&broker, &lease, all_done(&lease)).await;
}

/// What does not fit into its memory is dropped by the client library and has to be read from the
/// stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_does_not_read_for_long_misses_nothing() {
    const REPORTS: u64 = 5_000;
    const EACH: u64 = 4;
    let server = NatsServer::start().await;
    let (client, worker) = (
        connect(&server.url(), LONG).await,
        connect(&server.url(), LONG).await,
    );
    let job = put_job(&client).await;
    let mut follower = Follower::of(&client, job).await;
    // A report on a lease that is not known still counts.
    let lease = sortie_protocol::LeaseId(0);
    let reporting = futures::stream::iter(0..REPORTS).map(|number| {
        let outcomes = (EACH * number..EACH * (number + 1))
            .map(completed)
            .collect();
        let worker = &worker;
        async move { worker.complete(lease, job, report(outcomes)).await.unwrap() }
    });
    soon(
        "all reports",
        reporting.buffer_unordered(64).collect::<Vec<()>>(),
    )
    .await;
    follower.sees_all(REPORTS * EACH).await;
    Follower::of(&client, job)
        .await
        .sees_all(REPORTS * EACH)
        .await;
}

/// A report that was stored and not said again is seen by the next one, which names the one before
/// it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_message_that_is_missed_is_read_when_the_next_one_comes() {
    let server = NatsServer::start().await;
    let broker = connect(&server.url(), LONG).await;
    let job = put_job(&broker).await;
    let mut follower = Follower::of(&broker, job).await;
    publish(&broker, job, [0]).await;
    work(&broker).await;
    follower.sees_all(1).await;
    let context = async_nats::jetstream::new(raw(&server.url()).await);
    let stream = context.get_stream("sortie-outcomes-default").await.unwrap();
    let config = stream.cached_info().config.clone();
    context
        .update_stream(async_nats::jetstream::stream::Config {
            republish: None,
            ..config.clone()
        })
        .await
        .unwrap();
    publish(&broker, job, [1]).await;
    work(&broker).await;
    context.update_stream(config).await.unwrap();
    publish(&broker, job, [2]).await;
    work(&broker).await;
    follower.sees_all(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_somebody_else_forgets_ends_for_its_followers() {
    let server = NatsServer::start().await;
    let (one, other) = (
        connect(&server.url(), SHORT).await,
        connect(&server.url(), SHORT).await,
    );
    let job = put_job(&one).await;
    publish(&one, job, [0]).await;
    let mut follower = Follower::of(&one, job).await;
    work(&other).await;
    follower.sees_all(1).await;
    other.forget(job).await.unwrap();
    follower.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_somebody_else_cancels_ends_for_everybody() {
    let server = NatsServer::start().await;
    let (one, other) = (
        connect(&server.url(), LONG).await,
        connect(&server.url(), LONG).await,
    );
    let job = put_job(&one).await;
    publish(&one, job, [0]).await;
    let mut follower = Follower::of(&one, job).await;
    let mut cancelled = other.cancellations().await.unwrap();
    let lease = pull(&other).await;
    connect(&server.url(), LONG)
        .await
        .cancel(job)
        .await
        .unwrap();
    assert_eq!(
        soon("word of the cancellation", cancelled.next()).await,
        Some(Cancellation::Job(job))
    );
    assert_eq!(other.extend(lease.id).await.unwrap(), Extended::Lost);
    follower.is_cancelled().await;
    // The publishers of this connection were not notified.
    let refused = async || {
        matches!(
            one.publish(bundle(job, [1])).await,
            Err(sortie_broker::Error::JobCancelled(_))
        )
    };
    until("that publishing is refused", &true, refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_to_a_job_that_was_cancelled_unheard_is_refused_soon() {
    let server = NatsServer::start().await;
    let proxy = TcpProxy::for_nats(server.address());
    let one = connect(&server.url(), LONG).await;
    let job = put_job(&one).await;
    publish(&one, job, [0]).await;
    let other = connect(&proxy.url(), LONG).await;
    proxy.swallow("sortie.cancel");
    other.cancel(job).await.unwrap();
    let refused = async || {
        matches!(
            one.publish(bundle(job, [1])).await,
            Err(sortie_broker::Error::JobCancelled(_))
        )
    };
    until("that publishing is refused", &true, refused).await;
}

/// The canceller dies between the record and the marker; then a follower writes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_that_was_left_half_done_is_completed_by_followers() {
    let server = NatsServer::start().await;
    let proxy = TcpProxy::for_nats(server.address());
    let one = connect(&server.url(), SHORT).await;
    let job = put_job(&one).await;
    let other = connect(&proxy.url(), SHORT).await;
    proxy.swallow("sortie.outcomes");
    let cancelling = tokio::spawn(async move { other.cancel(job).await });
    proxy.wait_until_swallowed(1).await;
    cancelling.abort();
    proxy.cut();
    let third = connect(&server.url(), SHORT).await;
    Follower::of(&third, job).await.is_cancelled().await;
}

/// Who is told that no bundle is left reads to the end of what is stored, and takes what has no
/// outcome by then for lost. So the marker has to be there first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_that_was_left_half_done_is_completed_before_no_bundle_is_told() {
    let server = NatsServer::start().await;
    let proxy = TcpProxy::for_nats(server.address());
    let one = connect(&server.url(), SHORT).await;
    let job = put_job(&one).await;
    publish(&one, job, [0]).await;
    let before = one.unfinished(job).await.unwrap();
    assert_eq!(before.bundles, 1);
    let other = connect(&proxy.url(), SHORT).await;
    proxy.swallow("sortie.outcomes");
    let cancelling = tokio::spawn(async move { other.cancel(job).await });
    proxy.wait_until_swallowed(1).await;
    let told = one.unfinished(job).await.unwrap();
    assert_eq!(told.bundles, 0);
    assert!(told.through > before.through, "{told:?} after {before:?}");
    cancelling.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_there_is_known_again_after_a_restart_of_the_server() {
    let server = NatsServer::start().await;
    let (client, worker) = (
        connect(&server.url(), LONG).await,
        connect(&server.url(), LONG).await,
    );
    worker.announce(presence()).await.unwrap();
    assert_eq!(client.workers().await.unwrap(), [presence()]);
    server.restart().await;
    let busy = sortie_protocol::Presence {
        busy: 1,
        ..presence()
    };
    // Announcements are not retried: the next one comes soon.
    until("that it is announced", &true, async || {
        worker.announce(busy.clone()).await.is_ok()
    })
    .await;
    until("the list of workers", &vec![busy], async || {
        client.workers().await.unwrap_or_default()
    })
    .await;
}
