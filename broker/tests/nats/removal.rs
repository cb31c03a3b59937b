//! What was removed stays removed when the server is killed and comes back with its store: it
//! learns what was removed from what it wrote down, and it does not write down everything.

use async_nats::jetstream;
use sortie_broker::nats::NatsBroker;
use sortie_broker::{Operate as _, Submit as _};
use sortie_harness::NatsServer;
use sortie_protocol::{JobKey, JobState, Reader, Reading, Timestamp};

use crate::support::{
    Follower, LONG, again, complete, connect, failed, publish, pull, put_job, raw, report, work,
};

/// A change of a job's record that is no end of it.
async fn is_read(broker: &NatsBroker, job: JobKey, reader: u8) {
    let reading = Reading::Reads(Reader {
        id: [reader; 16],
        until: Timestamp::from_nanos(u64::MAX),
    });
    broker.note(job, reading).await.unwrap();
}

/// How many messages a stream has.
async fn kept(server: &NatsServer, stream: &str) -> u64 {
    let context = jetstream::new(raw(&server.url()).await);
    let stream = context.get_stream(stream).await.unwrap();
    stream.cached_info().state.messages
}

/// A server that is killed and comes back, and a client that knows nothing yet.
async fn after_a_crash(server: &NatsServer) -> NatsBroker {
    server.kill();
    server.restart().await;
    connect(&server.url(), LONG).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_jobs_stay_forgotten_when_the_server_is_killed() {
    let server = NatsServer::start().await;
    let broker = connect(&server.url(), LONG).await;
    // With a note of a worker, an outcome and a bundle that waits.
    let done = put_job(&broker).await;
    publish(&broker, done, [0]).await;
    complete(&broker, &pull(&broker).await, again(0, LONG)).await;
    broker.report(done, vec![failed(0)]).await.unwrap();
    publish(&broker, done, [1]).await;
    broker.seal(done, 2).await.unwrap();
    let stays = put_job(&broker).await;
    let cancelled = put_job(&broker).await;
    publish(&broker, cancelled, [0]).await;
    for round in 0..20 {
        is_read(&broker, done, round).await;
        is_read(&broker, stays, round).await;
    }
    broker.cancel(cancelled).await.unwrap();
    broker.seal(stays, 7).await.unwrap();
    for job in [done, cancelled] {
        broker.forget(job).await.unwrap();
    }

    let broker = after_a_crash(&server).await;
    let jobs = broker.jobs(100).await.unwrap();
    let states: Vec<_> = jobs
        .iter()
        .map(|record| (record.job.key, record.state))
        .collect();
    assert_eq!(states, [(stays, JobState::Sealed { tasks: 7 })]);
    for job in [done, cancelled] {
        assert_eq!(broker.job(job).await.unwrap(), None);
        assert_eq!(broker.unfinished(job).await.unwrap().bundles, 0);
    }
    for (stream, count) in [
        ("sortie-jobs-default", 1),
        ("sortie-tasks-default-0", 0),
        // The seal of the job that stays.
        ("sortie-outcomes-default", 1),
    ] {
        assert_eq!(kept(&server, stream).await, count, "{stream}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ended_or_was_gathered_or_removed_stays_so_when_the_server_is_killed() {
    let server = NatsServer::start().await;
    let broker = connect(&server.url(), LONG).await;
    let job = put_job(&broker).await;
    publish(&broker, job, [0]).await;
    let lease = pull(&broker).await;
    complete(&broker, &lease, report(vec![failed(0)])).await;
    let (letter, _) = broker.dead_letters(None, 10).await.unwrap().remove(0);
    assert!(broker.remove_dead_letter(letter).await.unwrap());
    publish(&broker, job, [1]).await;
    work(&broker).await;
    Follower::of(&broker, job).await.sees_all(2).await;
    broker.cancel(job).await.unwrap();
    let gathered = sortie_protocol::Gathered {
        at: Timestamp::from_nanos(5),
        completed: 1,
        failed: 1,
    };
    let id = [1; 16];
    let noted = broker.note(job, Reading::Gathers { id, gathered }).await;
    assert!(noted.unwrap().is_some_and(|record| record.is_gathered()));

    let broker = after_a_crash(&server).await;
    let record = broker.job(job).await.unwrap().unwrap();
    assert_eq!(
        (record.state, record.gathered),
        (JobState::Cancelled, Some(gathered))
    );
    assert_eq!(broker.dead_letters(None, 10).await.unwrap(), []);
    assert_eq!(kept(&server, "sortie-outcomes-default").await, 0);
}
