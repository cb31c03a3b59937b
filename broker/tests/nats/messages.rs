//! What is too large, damaged, of another version, or not ours at all: each has one clear end, and
//! takes nothing else along.

use std::time::Duration;

use bytes::Bytes;
use sortie_broker::{Operate as _, Submit as _, Work as _};
use sortie_harness::{NatsServer, TcpProxy};
use sortie_protocol::gathering::Readers;
use sortie_protocol::{
    Argument, DeadLetter, Digest, Ending, Failure, FunctionOptions, FunctionRef, Job, JobId,
    JobKey, JobRecord, JobState, Limit, Timestamp, envelope,
};

use crate::support::{
    Follower, LONG, SHORT, again, assert_error, bundle, complete, completed, completed_with,
    connect, failed, indices, nothing_to_pull, publish, pull, put_job, raw, report, soon, store,
    until, work,
};

/// The server's limit in these tests.
const PAYLOAD_MAX: usize = 64 << 10;

async fn narrow_server() -> NatsServer {
    NatsServer::builder()
        .max_payload(u32::try_from(PAYLOAD_MAX).unwrap())
        .start()
        .await
}

#[tokio::test]
async fn a_bundle_over_the_servers_limit_is_refused_and_one_at_the_limit_is_not() {
    let server = narrow_server().await;
    let broker = connect(&server.url(), LONG).await;
    let job = put_job(&broker).await;
    let with = |bytes: usize| {
        let mut bundle = bundle(job, [0]);
        bundle.tasks[0].arguments = vec![Argument::Value(Bytes::from(vec![7; bytes]))];
        bundle
    };
    assert_error!(broker.publish(with(PAYLOAD_MAX)).await, TooLarge, says "exceeds");
    broker.publish(with(PAYLOAD_MAX - 2200)).await.unwrap();
    // It can also be put back, with the headers of that.
    let lease = pull(&broker).await;
    complete(&broker, &lease, again(0, Duration::from_millis(1))).await;
    assert_eq!(work(&broker).await.attempt, 2);
}

#[tokio::test]
async fn a_result_over_the_servers_limit_ends_its_task_and_no_other() {
    let server = narrow_server().await;
    let broker = connect(&server.url(), LONG).await;
    let job = put_job(&broker).await;
    publish(&broker, job, 0..3).await;
    let lease = pull(&broker).await;
    complete(
        &broker,
        &lease,
        report(vec![
            completed(0),
            completed_with(1, vec![7; PAYLOAD_MAX]),
            completed(2),
        ]),
    )
    .await;
    let mut outcomes = Follower::of(&broker, job).await.outcomes(3).await;
    outcomes.sort_by_key(|outcome| outcome.index);
    assert!(
        matches!(
            outcomes[1].ending,
            Ending::Failed(Failure::Stopped {
                limit: Limit::Result(_),
                ..
            })
        ),
        "{:?}",
        outcomes[1]
    );
    assert!(
        [0, 2]
            .into_iter()
            .all(|at: usize| matches!(outcomes[at].ending, Ending::Completed(_)))
    );
}

#[tokio::test]
async fn outcomes_that_are_too_large_together_are_stored_apart() {
    let server = narrow_server().await;
    let broker = connect(&server.url(), LONG).await;
    let job = put_job(&broker).await;
    publish(&broker, job, 0..10).await;
    let lease = pull(&broker).await;
    let mut follower = Follower::of(&broker, job).await;
    complete(
        &broker,
        &lease,
        report(
            (0..10)
                .map(|index| completed_with(index, vec![7; PAYLOAD_MAX / 3]))
                .collect(),
        ),
    )
    .await;
    assert!(
        follower
            .outcomes(10)
            .await
            .iter()
            .all(|outcome| matches!(outcome.ending, Ending::Completed(_)))
    );
}

/// A dead letter holds arguments and outcome together, which each fitted alone. The outcome counts
/// all the same.
#[tokio::test]
async fn a_dead_letter_over_the_servers_limit_does_not_hold_its_outcome_back() {
    let server = narrow_server().await;
    let broker = connect(&server.url(), LONG).await;
    let job = put_job(&broker).await;
    let mut large = bundle(job, [0]);
    large.tasks[0].arguments = vec![Argument::Value(Bytes::from(vec![7; PAYLOAD_MAX / 2]))];
    broker.publish(large).await.unwrap();
    let lease = pull(&broker).await;
    let mut outcome = failed(0);
    outcome.ending = Ending::Failed(Failure::trapped("x".repeat(PAYLOAD_MAX / 2)));
    complete(&broker, &lease, report(vec![outcome])).await;
    Follower::of(&broker, job).await.sees_all(1).await;
}

#[tokio::test]
async fn what_is_no_bundle_goes_to_the_dead_letters_and_the_worker_gets_the_next() {
    let server = narrow_server().await;
    let broker = connect(&server.url(), LONG).await;
    let client = raw(&server.url()).await;
    let (job, other) = (put_job(&broker).await, put_job(&broker).await);
    let version_3 = [&[0x83, 0x03][..], &envelope::bundle(&bundle(job, [0]))[2..]].concat();
    let wrong: [(&str, Bytes); 7] = [
        ("not a message", Bytes::from_static(b"\xff\x00random")),
        ("version 3", version_3.into()),
        ("another kind", envelope::outcomes(&[completed(0)])),
        ("another job", envelope::bundle(&bundle(other, [0]))),
        ("without tasks", envelope::bundle(&bundle(job, []))),
        // More than any client puts into one: each costs the worker memory.
        ("at most 1024", envelope::bundle(&bundle(job, 0..1025))),
        // As large as a message can be: the letter about it would be larger.
        ("not a message", Bytes::from(vec![0xff; PAYLOAD_MAX])),
    ];
    for (_, payload) in &wrong {
        store(
            &client,
            format!("sortie.tasks.default.0.any.normal.{}", job.job),
            payload.clone(),
        )
        .await;
    }
    store(
        &client,
        "sortie.tasks.default.0.any.normal.nobodys".into(),
        envelope::bundle(&bundle(job, [0])),
    )
    .await;
    publish(&broker, job, [7]).await;
    assert_eq!(indices(&work(&broker).await), [7]);
    let reasons = async || {
        let letters = broker.dead_letters(None, 100).await.unwrap();
        let reason = |letter: DeadLetter| match letter {
            DeadLetter::Unreadable {
                place,
                reason,
                bytes,
                ..
            } => (place, reason, bytes),
            DeadLetter::Task { .. } => panic!("a task was buried"),
        };
        letters
            .into_iter()
            .map(|(_, letter)| reason(letter))
            .collect::<Vec<_>>()
    };
    until("the number of letters", &(wrong.len() + 1), async || {
        reasons().await.len()
    })
    .await;
    let found = reasons().await;
    let nobodys = |(place, reason, _): &(String, String, Bytes)| {
        place.ends_with(".nobodys") && reason.contains("names no job")
    };
    assert!(found.iter().any(nobodys), "{found:?}");
    for (word, payload) in &wrong {
        let mut same = found
            .iter()
            .filter(|(_, reason, bytes)| reason.contains(word) && payload.starts_with(bytes));
        let (place, _, bytes) = same
            .next()
            .unwrap_or_else(|| panic!("no letter says `{word}`: {found:?}"));
        assert!(place.contains(&job.job.to_string()) && !bytes.is_empty());
    }
    until("unfinished", &0, async || {
        broker.unfinished(job).await.unwrap().bundles
    })
    .await;
}

/// A worker that was not updated gets a bundle of a client that was. What names its tasks stands
/// beside it, for as long as there are versions.
#[tokio::test]
async fn tasks_whose_bundle_cannot_be_read_end_with_the_reason() {
    let server = NatsServer::start().await;
    let broker = connect(&server.url(), LONG).await;
    let client = raw(&server.url()).await;
    let job = put_job(&broker).await;
    let mut follower = Follower::of(&broker, job).await;
    publish(&broker, job, [3, 4, 5, 8]).await;
    let context = async_nats::jetstream::new(client.clone());
    let written = context
        .get_stream("sortie-tasks-default-0")
        .await
        .unwrap()
        .get_raw_message(1)
        .await
        .unwrap();
    work(&broker).await;
    follower.outcomes(4).await;
    let later = [&[0x83, 0x03][..], &written.payload[2..]].concat();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert(
        "Sortie-Tasks",
        written
            .headers
            .get("Sortie-Tasks")
            .unwrap()
            .as_str()
            .replace("8", "9")
            .as_str(),
    );
    let subject = format!("sortie.tasks.default.0.any.normal.{}", job.job);
    context
        .publish_with_headers(subject, headers, later.into())
        .await
        .unwrap()
        .await
        .unwrap();
    let waiting = tokio::spawn({
        let broker = broker.clone();
        async move { pull(&broker).await }
    });
    // The others have their outcomes already, and those count.
    let outcomes = follower.outcomes(1).await;
    let Ending::Failed(failure) = &outcomes[0].ending else {
        panic!("{outcomes:?}")
    };
    assert_eq!((outcomes[0].index, failure.code()), (9, "host-error"));
    assert!(
        failure.to_string().contains("version 3")
            && failure.to_string().contains("among the dead letters"),
        "{failure}"
    );
    until("the number of letters", &1, async || {
        broker.dead_letters(None, 100).await.unwrap().len()
    })
    .await;
    until("unfinished", &0, async || {
        broker.unfinished(job).await.unwrap().bundles
    })
    .await;
    waiting.abort();
}

/// Tenants write their own records, and may write anything into them.
#[tokio::test]
async fn a_record_that_names_another_job_is_not_listed_and_can_be_removed() {
    let server = NatsServer::start().await;
    let broker = connect(&server.url(), LONG).await;
    let job = put_job(&broker).await;
    let forged = JobRecord {
        job: Job::of(
            JobKey {
                tenant: "globex".parse().unwrap(),
                ..job
            },
            FunctionRef {
                component: Digest::of(b"none"),
                name: "f".into(),
            },
            FunctionOptions::default(),
        ),
        state: JobState::Open,
        created: Timestamp::default(),
        readers: Readers::default(),
        gathered: None,
    };
    let other = JobKey {
        job: JobId::from_bytes([7; 16]),
        ..job
    };
    let subject = format!("sortie.jobs.default.{}", other.job);
    store(&raw(&server.url()).await, subject, envelope::job(&forged)).await;
    let listed = async || {
        let jobs = soon("the list", broker.jobs(100)).await.unwrap();
        jobs.into_iter()
            .map(|record| record.job.key)
            .collect::<Vec<_>>()
    };
    assert_eq!(listed().await, [job]);
    broker.forget(other).await.unwrap();
    assert_eq!(listed().await, [job]);
}

/// A tenant may store outcomes of its own jobs that no worker reported, of tasks as far apart as it
/// likes: a worker keeps a bounded number of them, and the tasks of a bundle that comes again run.
#[tokio::test]
async fn outcomes_that_lie_far_apart_are_not_all_kept() {
    let server = NatsServer::start().await;
    let broker = connect(&server.url(), LONG).await;
    let client = raw(&server.url()).await;
    let job = put_job(&broker).await;
    let subject = format!("sortie.outcomes.default.{}", job.job);
    for message in 0..40 {
        let first = 1000 + message * 2048;
        let outcomes: Vec<_> = (0..1024).map(|nth| completed(first + 2 * nth)).collect();
        store(&client, subject.clone(), envelope::outcomes(&outcomes)).await;
    }
    publish(&broker, job, [1, 2]).await;
    let lease = pull(&broker).await;
    broker.release(lease.id).await.unwrap();
    assert_eq!(indices(&work(&broker).await), [1, 2]);
    until("unfinished", &0, async || {
        broker.unfinished(job).await.unwrap().bundles
    })
    .await;
}

/// The acknowledgement of a buried message is lost, and it is buried again: once is enough.
#[tokio::test]
async fn an_unreadable_message_that_comes_again_is_buried_once() {
    let server = NatsServer::start().await;
    let proxy = TcpProxy::for_nats(server.address());
    let broker = connect(&proxy.url(), SHORT).await;
    let job = put_job(&broker).await;
    proxy.swallow_next("$JS.ACK");
    store(
        &raw(&server.url()).await,
        format!("sortie.tasks.default.0.any.normal.{}", job.job),
        "garbage",
    )
    .await;
    let waiting = tokio::spawn({
        let broker = broker.clone();
        async move { pull(&broker).await }
    });
    proxy.wait_until_swallowed(1).await;
    until("unfinished", &0, async || {
        broker.unfinished(job).await.unwrap().bundles
    })
    .await;
    assert_eq!(broker.dead_letters(None, 100).await.unwrap().len(), 1);
    waiting.abort();
}

#[tokio::test]
async fn what_is_no_outcome_is_skipped_by_followers() {
    let server = NatsServer::start().await;
    let broker = connect(&server.url(), LONG).await;
    let client = raw(&server.url()).await;
    let job = put_job(&broker).await;
    let mut live = Follower::of(&broker, job).await;
    let subject = format!("sortie.outcomes.default.{}", job.job);
    for (index, garbage) in [
        Bytes::from_static(b"\xff\x00random"),
        envelope::bundle(&bundle(job, [0])),
        Bytes::new(),
    ]
    .into_iter()
    .enumerate()
    {
        store(&client, subject.clone(), garbage).await;
        publish(&broker, job, [index as u64]).await;
        work(&broker).await;
        live.sees_all(index as u64 + 1).await;
    }
    store(&client, subject, "last").await;
    Follower::of(&broker, job).await.sees_all(3).await;
    // What is on the live subject and was never stored is not looked at.
    client
        .publish(
            format!("sortie.live.default.{}", job.job),
            envelope::outcomes(&[completed(9)]),
        )
        .await
        .unwrap();
    client
        .publish(
            format!("sortie.live.default.{}", job.job),
            envelope::cancelled(),
        )
        .await
        .unwrap();
    client.flush().await.unwrap();
    publish(&broker, job, [3]).await;
    work(&broker).await;
    live.sees_all(4).await;
}

#[tokio::test]
async fn a_component_that_is_gone_or_damaged_is_told() {
    let server = narrow_server().await;
    let broker = connect(&server.url(), LONG).await;
    let client = raw(&server.url()).await;
    let bytes = Bytes::from(
        (0..200_000_u32)
            .flat_map(u32::to_le_bytes)
            .collect::<Vec<u8>>(),
    );
    let digest = Digest::of(&bytes);
    assert_eq!(broker.component(digest).await.unwrap(), None);
    broker.put_component(digest, bytes.clone()).await.unwrap();
    assert_eq!(broker.component(digest).await.unwrap(), Some(bytes.clone()));
    let part = |part: &str| format!("sortie.components.{}.{part}", digest.to_hex());
    let purge = async |part: String| {
        store(
            &client,
            "$JS.API.STREAM.PURGE.sortie-components".into(),
            format!("{{\"filter\":\"{part}\"}}"),
        )
        .await;
    };
    // An existing chunk or manifest cannot be overwritten.
    for part in [part("1"), part("manifest")] {
        let answer = client.request(part, "something else".into()).await.unwrap();
        assert!(
            String::from_utf8_lossy(&answer.payload)
                .contains("maximum messages per subject exceeded"),
            "{answer:?}"
        );
    }
    soon(
        "putting it again",
        broker.put_component(digest, bytes.clone()),
    )
    .await
    .unwrap();
    assert_eq!(broker.component(digest).await.unwrap(), Some(bytes));
    purge(part("1")).await;
    assert_error!(
        broker.component(digest).await,
        Unsuitable,
        says & digest.to_string(),
        "lacks a chunk"
    );
    let manifest = |size, chunk| envelope::manifest(&envelope::Manifest { size, chunk });
    for (stored, told) in [
        (manifest(u64::MAX, 1), "manifest"),
        // As many requests as bytes: it is refused for what it says, not for what is there.
        (
            manifest(2500, 1),
            "has a manifest of 2500 bytes in chunks of 1",
        ),
        ("garbage".into(), "cannot be read"),
    ] {
        purge(part("manifest")).await;
        store(&client, part("manifest"), stored).await;
        assert_error!(
            broker.component(digest).await,
            Unsuitable,
            says & digest.to_string(),
            told
        );
    }
    purge(part("manifest")).await;
    assert_eq!(broker.component(digest).await.unwrap(), None);
}

/// A client that knows a component's digest can store a wrong chunk first. Putting the right one
/// afterwards neither waits nor helps.
#[tokio::test]
async fn a_wrong_chunk_that_was_there_first_is_told_to_whoever_fetches() {
    let server = narrow_server().await;
    let broker = connect(&server.url(), LONG).await;
    let client = raw(&server.url()).await;
    let size = "has a chunk of 20 bytes where its manifest says";
    let content = "does not have its digest";
    for (len, chunk, wrong, told) in [(3 * PAYLOAD_MAX, 1, 20, size), (1500, 0, 1500, content)] {
        let bytes = Bytes::from(vec![7; len]);
        let digest = Digest::of(&bytes);
        let subject = format!("sortie.components.{}.{chunk}", digest.to_hex());
        store(&client, subject, vec![0; wrong]).await;
        soon("putting it", broker.put_component(digest, bytes))
            .await
            .unwrap();
        assert_error!(
            broker.component(digest).await,
            Unsuitable,
            says & digest.to_string(),
            told,
            "operator"
        );
    }
}

/// Nobody's clock is compared with another's: a bundle from an hour ahead or behind goes like any
/// other.
#[tokio::test]
async fn clocks_that_are_wrong_change_nothing() {
    let server = NatsServer::start().await;
    let broker = connect(&server.url(), SHORT).await;
    let job = put_job(&broker).await;
    let hour = Duration::from_secs(3600);
    #[expect(clippy::disallowed_methods, reason = "an hour from now")]
    let now = Timestamp::default()
        + std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
    let past = Timestamp::from_nanos(
        now.since(Timestamp::default() + hour)
            .as_nanos()
            .try_into()
            .unwrap(),
    );
    let mut follower = Follower::of(&broker, job).await;
    for (index, published) in [(0, now + hour), (1, past)] {
        broker
            .publish(sortie_protocol::Bundle {
                published,
                ..bundle(job, [index])
            })
            .await
            .unwrap();
        let lease = soon("a pull", pull(&broker)).await;
        let told = lease.bundle.published;
        let (early, late) = (past + (hour - hour / 60), now + hour / 60);
        assert!(
            early < told && told < late,
            "a bill would show hours: {told}"
        );
        let delay = Duration::from_millis(700);
        let watch = crate::support::Stopwatch::start();
        complete(&broker, &lease, again(index, delay)).await;
        assert_eq!(work(&broker).await.attempt, 2);
        assert!(
            watch.elapsed() >= delay,
            "a retrial came after {:?}",
            watch.elapsed()
        );
        follower.sees_all(index + 1).await;
    }
    nothing_to_pull(&broker, SHORT / 3).await;
}
