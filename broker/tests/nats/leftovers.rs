//! Bundles that are in the queue again although they were acknowledged: their server was killed in
//! between, or its disk lost its last writes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::jetstream::{self, consumer};
use futures::StreamExt as _;
use sortie_broker::Submit as _;
use sortie_harness::NatsServer;

use crate::support::{
    Follower, LONG, all_done, complete, completed, connect, indices, nothing_to_pull, publish,
    pull, put_job, raw, soon, until,
};

const QUEUE: &str = "sortie-tasks-default-0";
const CONSUMER: &str = "any-normal";

/// Take all that is in the queue, and acknowledge it, past the broker.
async fn acknowledge_all(url: &str, count: usize) {
    let context = jetstream::new(raw(url).await);
    let consumer: consumer::PullConsumer = context
        .get_consumer_from_stream(CONSUMER, QUEUE)
        .await
        .unwrap();
    let mut messages = consumer.messages().await.unwrap().take(count);
    while let Some(message) = soon("a delivery", messages.next()).await {
        message.unwrap().double_ack().await.unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Where a server keeps the messages of the queue.
fn messages_of(server: &NatsServer) -> PathBuf {
    let streams = server.folder().join("store/jetstream/$G/streams");
    streams.join(QUEUE).join("msgs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_leaves_the_queue_and_what_has_no_outcome_is_run() {
    let server = NatsServer::start().await;
    let client = connect(&server.url(), LONG).await;
    let job = put_job(&client).await;
    let mut follower = Follower::of(&client, job).await;
    publish(&client, job, [0, 1]).await;
    publish(&client, job, [2, 3]).await;
    let kept = server.folder().join("kept");
    copy(&messages_of(&server), &kept);
    let outcomes = vec![completed(0), completed(1), completed(2)];
    soon("a report", client.report(job, outcomes))
        .await
        .unwrap();
    acknowledge_all(&server.url(), 2).await;
    let unfinished = async || client.unfinished(job).await.unwrap().bundles;
    until("unfinished", &0, unfinished).await;

    // As after a kill: the acknowledgements are written down, and the messages are there.
    server.stop().await;
    std::fs::remove_dir_all(messages_of(&server)).unwrap();
    copy(&kept, &messages_of(&server));
    server.restart().await;
    assert_eq!(unfinished().await, 2);

    let worker = connect(&server.url(), LONG).await;
    let lease = pull(&worker).await;
    assert_eq!(indices(&lease), [3], "the others have outcomes");
    complete(&worker, &lease, all_done(&lease)).await;
    follower.sees_all(4).await;
    until("unfinished", &0, unfinished).await;
    nothing_to_pull(&worker, Duration::from_millis(500)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bundles_that_wait_are_left_alone_by_whoever_looks_for_those_that_ended() {
    let server = NatsServer::start().await;
    let client = connect(&server.url(), LONG).await;
    let worker = connect(&server.url(), LONG).await;
    let job = put_job(&client).await;
    for index in 0..3 {
        publish(&client, job, [index]).await;
    }
    // The floor is below this one for as long as it is held.
    let held = pull(&worker).await;
    let second = pull(&worker).await;
    complete(&worker, &second, all_done(&second)).await;
    let another = connect(&server.url(), LONG).await;
    let third = pull(&another).await;
    // For longer than the first looks take.
    nothing_to_pull(&another, Duration::from_secs(7)).await;
    assert_eq!(client.unfinished(job).await.unwrap().bundles, 2);
    for (by, lease) in [(&worker, &held), (&another, &third)] {
        complete(by, lease, all_done(lease)).await;
    }
    let unfinished = async || client.unfinished(job).await.unwrap().bundles;
    until("unfinished", &0, unfinished).await;
}
