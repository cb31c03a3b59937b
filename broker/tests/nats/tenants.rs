//! Tenants that are kept apart at the server, and queues and disks that are full: nobody loses
//! anything to another, and nothing stands still without saying so.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::StreamExt as _;
use sortie_broker::nats::{
    Config, Layout, NatsBroker, Provision, QUEUE_BYTES, QUEUE_BYTES_MIN, Quota, Role,
};
use sortie_broker::{Event, Operate as _, Submit as _};
use sortie_harness::{NatsCluster, NatsServer};
use sortie_protocol::{Ending, JobKey, envelope};

use crate::security::{deployed, lay_out, of};
use crate::support::{
    Follower, LONG, SHORT, again, all_done, bundle, complete, completed_with, config, connect,
    failed, indices, nothing_to_pull, publish, pull, put_job, raw, soon, store, until, work,
};

/// Who knows how a worker names what it publishes could publish that first, and the server would
/// call the worker's a duplicate. Whatever a tenant publishes, another's tasks are not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_guesses_ids_takes_nothing_of_another() {
    let server = deployed("server.conf").start().await;
    lay_out(&server.url(), 1, &[]).await;
    let connect = async |user, role| {
        NatsBroker::connect(of(&server.url(), user, role))
            .await
            .unwrap()
    };
    let (acme, globex) = (
        connect("acme", Role::Client).await,
        connect("globex", Role::Client).await,
    );
    let worker = connect("worker", Role::Worker).await;
    let theirs = put_job(&globex).await;
    publish(&globex, theirs, 0..4).await;
    let mine = put_job(&acme).await;
    let context = async_nats::jetstream::new(
        async_nats::ConnectOptions::with_user_and_password("acme".into(), "acme-pw".into())
            .custom_inbox_prefix("_INBOX.client.acme")
            .connect(server.url())
            .await
            .unwrap(),
    );
    for queue in ["sortie-tasks-0", "sortie-tasks-globex-0"] {
        for (sequence, delivery) in [(1, 1), (1, 2), (2, 1)] {
            let again = (0..4).map(|index| format!("again-{index}"));
            let whys = again.chain(["rest".to_owned(), "back".to_owned()]);
            for why in whys.map(|why| format!("{queue}-{sequence}-{delivery}-{why}")) {
                let mut headers = HeaderMap::new();
                headers.insert("Nats-Msg-Id", why.as_str());
                let subject = format!("sortie.tasks.acme.0.any.normal.{}", mine.job);
                let payload = envelope::bundle(&bundle(mine, [9]));
                let stored = context
                    .publish_with_headers(subject, headers, payload)
                    .await;
                stored.unwrap().await.unwrap();
            }
        }
    }
    acme.cancel(mine).await.unwrap();
    let lease = pull(&worker).await;
    assert_eq!(lease.job.key, theirs);
    let mut half = again(0, Duration::ZERO);
    half.retrials
        .extend(again(2, Duration::from_millis(50)).retrials);
    complete(&worker, &lease, half).await;
    let working = tokio::spawn(async move {
        loop {
            work(&worker).await;
        }
    });
    Follower::of(&globex, theirs).await.sees_all(4).await;
    working.abort();
}

/// Bundles for a pool that nobody serves would fill a queue for ever.
#[tokio::test]
async fn nothing_can_be_published_to_a_pool_that_is_not_there() {
    let server = NatsServer::start().await;
    let broker = connect(&server.url(), LONG).await;
    let job = put_job(&broker).await;
    let client = raw(&server.url()).await;
    let publish = async |pool: &str| {
        let subject = format!("sortie.tasks.default.0.{pool}.normal.{}", job.job);
        client.request(subject, "a bundle".into()).await.map(drop)
    };
    publish("any").await.unwrap();
    publish("nobody").await.unwrap_err();
    NatsBroker::init(config(&server.url(), LONG), &["gpu".parse().unwrap()])
        .await
        .unwrap();
    let labels: sortie_protocol::Labels = "gpu".parse().unwrap();
    publish(&labels.pool()).await.unwrap();
}

/// Set how much a stream may hold; -1 for as much as there is room for.
async fn limit(server: &NatsServer, stream: &str, max_bytes: i64) {
    let context = async_nats::jetstream::new(raw(&server.url()).await);
    let found = context.get_stream(stream).await.unwrap();
    let config = async_nats::jetstream::stream::Config {
        max_bytes,
        discard: async_nats::jetstream::stream::DiscardPolicy::New,
        ..found.cached_info().config.clone()
    };
    context.update_stream(config).await.unwrap();
}

/// A worker that cannot report is there all the same: its lease is kept, it says why it waits, and
/// the task ends as it did and not as lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_has_to_wait_for_room_is_no_lost_lease() {
    let server = NatsServer::start().await;
    let (broker, worker) = (
        connect(&server.url(), SHORT).await,
        connect(&server.url(), SHORT).await,
    );
    let job = put_job(&broker).await;
    publish(&broker, job, 0..3).await;
    let lease = pull(&worker).await;
    limit(&server, "sortie-outcomes-default", 1).await;
    limit(&server, "sortie-dead-default", 1).await;
    let mut outcomes = all_done(&lease);
    outcomes.outcomes[0] = failed(0);
    let reporting = tokio::spawn({
        let worker = worker.clone();
        async move { complete(&worker, &lease, outcomes).await }
    });
    until("that it waits for room", &true, async || {
        worker.full().is_some_and(|reason| reason.contains("full"))
    })
    .await;
    // Longer than all the leases after which a task is given up.
    nothing_to_pull(&broker, SHORT * 6).await;
    assert!(!reporting.is_finished());
    limit(&server, "sortie-dead-default", -1).await;
    limit(&server, "sortie-outcomes-default", -1).await;
    soon("the report", reporting).await.unwrap();
    assert_eq!(worker.full(), None);
    let mut outcomes = Follower::of(&broker, job).await.outcomes(3).await;
    outcomes.sort_by_key(|outcome| outcome.index);
    assert_eq!(outcomes[0].ending, failed(0).ending);
    assert!(matches!(outcomes[1].ending, Ending::Completed(_)));
    assert_eq!(broker.dead_letters(None, 10).await.unwrap().len(), 1);
    until("unfinished", &0, async || {
        broker.unfinished(job).await.unwrap().bundles
    })
    .await;
}

/// Nobody can run the bundles of such a job, so they must not come again for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bundles_whose_jobs_record_cannot_be_read_go_to_the_dead_letters() {
    const BUNDLES: u64 = 20;
    let server = NatsServer::start().await;
    let broker = connect(&server.url(), SHORT).await;
    let job = put_job(&broker).await;
    for index in 0..BUNDLES {
        publish(&broker, job, [index]).await;
    }
    let mut follower = Follower::of(&broker, job).await;
    follower.begins().await;
    let client = raw(&server.url()).await;
    store(
        &client,
        format!("sortie.jobs.default.{}", job.job),
        "garbage",
    )
    .await;
    let worker = connect(&server.url(), SHORT).await;
    let waiting = tokio::spawn(async move { pull(&worker).await });
    let outcomes = follower.outcomes(usize::try_from(BUNDLES).unwrap()).await;
    let Ending::Failed(failure) = &outcomes[0].ending else {
        panic!("{outcomes:?}")
    };
    assert!(
        failure.to_string().contains("record of its job"),
        "{failure}"
    );
    let queues = async || {
        let queues = broker.queues().await.unwrap();
        queues.iter().map(|waiting| waiting.bundles).sum::<u64>()
    };
    until("the bundles in the queue", &0, queues).await;
    let letters = broker.dead_letters(None, 100).await.unwrap();
    assert_eq!(letters.len() as u64, BUNDLES);
    assert!(!waiting.is_finished());
    waiting.abort();
}

/// The oldest outcomes of a large job are dropped when they were received, and its submitter's
/// positions stay what they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_followed_job_of_any_size_fits() {
    const REPORTS: u64 = 90;
    let server = NatsServer::start().await;
    let broker = connect(&server.url(), LONG).await;
    let job = put_job(&broker).await;
    let mut follower = Follower::of(&broker, job).await;
    for index in 0..REPORTS {
        let outcome = completed_with(index, vec![7; 1_000_000]);
        broker.report(job, vec![outcome]).await.unwrap();
        follower.sees_all(index + 1).await;
        broker.trim(job, index + 1).await.unwrap();
    }
    let context = async_nats::jetstream::new(raw(&server.url()).await);
    let stream = context.get_stream("sortie-outcomes-default").await.unwrap();
    let kept = stream.cached_info().state.bytes;
    assert!(kept < 20_000_000, "{kept} bytes are kept");
    drop(follower);
    let mut again = broker.follow(job, REPORTS).await.unwrap();
    broker
        .report(job, vec![completed_with(REPORTS, "last")])
        .await
        .unwrap();
    loop {
        match soon("the last outcome", again.next()).await {
            Some(Event::Outcomes(position, outcomes)) => {
                assert_eq!((position, outcomes[0].index), (REPORTS, REPORTS));
                break;
            }
            Some(Event::CaughtUp(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A small job is there in full for whoever comes later.
#[tokio::test]
async fn a_small_job_that_is_trimmed_is_kept() {
    let server = NatsServer::start().await;
    let broker = connect(&server.url(), LONG).await;
    let job = put_job(&broker).await;
    publish(&broker, job, 0..3).await;
    let mut follower = Follower::of(&broker, job).await;
    work(&broker).await;
    follower.sees_all(3).await;
    broker.trim(job, 3).await.unwrap();
    Follower::of(&broker, job).await.sees_all(3).await;
}

#[tokio::test]
async fn an_outcome_that_cannot_be_read_is_told_with_its_tasks() {
    let server = NatsServer::start().await;
    let broker = connect(&server.url(), LONG).await;
    let job = put_job(&broker).await;
    let mut events = broker.follow(job, 0).await.unwrap();
    let context = async_nats::jetstream::new(raw(&server.url()).await);
    let mut headers = HeaderMap::new();
    headers.insert("Sortie-Tasks", "3-5,9");
    let subject = format!("sortie.outcomes.default.{}", job.job);
    let stored = context.publish_with_headers(subject, headers, Bytes::from_static(b"\xff"));
    stored.await.unwrap().await.unwrap();
    loop {
        match soon("that it cannot be read", events.next()).await {
            Some(Event::Unreadable { tasks, .. }) => {
                assert_eq!(tasks[..], [3, 4, 5, 9]);
                break;
            }
            Some(Event::CaughtUp(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn queue_bytes(broker: &NatsBroker) -> u64 {
    broker.queues().await.unwrap().first().unwrap().bytes_max
}

/// A disk that has no room for queues of the default size gets smaller ones; a size that was named
/// is kept to, and the message says what there is no room for.
#[tokio::test]
async fn a_small_server_gets_a_small_queue_and_can_be_told_another_size() {
    let server = NatsServer::builder()
        .jetstream("max_file_store: 100MB")
        .start()
        .await;
    let asked = |layout| Config {
        provision: Provision::Missing(layout),
        ..config(&server.url(), LONG)
    };
    let lease = LONG;
    let default = Layout {
        lease,
        ..Layout::default()
    };
    for _ in 0..2 {
        NatsBroker::init(asked(default.clone()), &[]).await.unwrap();
    }
    let broker = connect(&server.url(), LONG).await;
    assert_eq!(queue_bytes(&broker).await, u64::from(QUEUE_BYTES.get()) / 4);
    let large = Quota {
        queue_bytes: NonZeroU32::new(1 << 30),
        weight: None,
    };
    let error = NatsBroker::resize(asked(default.clone()), large).await;
    crate::support::assert_error!(error, Full, says "insufficient");
    let small = Quota {
        queue_bytes: Some(QUEUE_BYTES_MIN),
        weight: NonZeroU16::new(3),
    };
    NatsBroker::resize(asked(default), small).await.unwrap();
    assert_eq!(queue_bytes(&broker).await, u64::from(QUEUE_BYTES_MIN.get()));
    let named = Layout {
        tasks_bytes_max: NonZeroU32::new(1 << 30).unwrap(),
        lease,
        ..Layout::default()
    };
    let other = Config {
        tenant: "other".parse().unwrap(),
        ..asked(named)
    };
    crate::support::assert_error!(
        NatsBroker::connect(other).await,
        Full,
        says "sortie-tasks-other-0", "1"
    );
}

/// Servers of a cluster that are started together have no leader at first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_was_started_a_moment_ago_can_be_laid_out() {
    let cluster = NatsCluster::start(3).await;
    for server in [0, 1, 2] {
        cluster.server(server).kill();
    }
    futures::future::join_all((0..3).map(|place| cluster.server(place).restart())).await;
    let layout = Layout {
        replicas: 3.try_into().unwrap(),
        lease: LONG,
        tasks_bytes_max: QUEUE_BYTES_MIN,
        ..Layout::default()
    };
    let config = Config {
        provision: Provision::Missing(layout),
        ..config(&cluster.urls().join(","), LONG)
    };
    NatsBroker::init(config, &[]).await.unwrap();
}

/// A worker that may not ask for the bundles of one tenant serves the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_a_worker_may_not_serve_holds_up_no_other() {
    const DENIED: &str = r#"publish { deny: ["$JS.API.CONSUMER.MSG.NEXT.sortie-tasks-acme-0.*"] }"#;
    let users = format!(
        "users: [{{ user: all, password: pw }}, {{ user: few, password: pw, permissions: {{ \
         {DENIED} }} }}]"
    );
    let server = NatsServer::builder()
        .config(&format!("authorization {{ {users} }}"))
        .start()
        .await;
    let url = |user: &str| format!("nats://{user}:pw@{}", server.address());
    let tenant = async |name: &str| {
        let config = Config {
            tenant: name.parse().unwrap(),
            ..config(&url("all"), LONG)
        };
        let broker = NatsBroker::connect(config).await.unwrap();
        let job = put_job(&broker).await;
        publish(&broker, job, [0]).await;
        (broker, job)
    };
    let (acme, denied): (_, JobKey) = tenant("acme").await;
    let (_globex, served) = tenant("globex").await;
    let worker = NatsBroker::connect(config(&url("few"), LONG))
        .await
        .unwrap();
    let lease = work(&worker).await;
    assert_eq!((lease.job.key, indices(&lease)), (served, vec![0]));
    assert_eq!(acme.unfinished(denied).await.unwrap().bundles, 1);
}
