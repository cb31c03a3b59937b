//! When a job that is watched can change no more, and what its followers are told when another
//! client has it forgotten.

use std::time::Duration;

use futures::stream;
use sortie_broker::Operate as _;
use sortie_protocol::completion::{Answer, BEAT_INTERVAL, Question, SUBMITTER_QUIET_MAX};
use sortie_protocol::submission::Event;
use tokio::time::{Instant, sleep};

use super::troubled::Troubled;
use super::{Working, client, done, function, key, soon};
use crate::drive::requests;
use crate::{Client, Job, JobId, JobPhase, JobWatch, SubmitError, TaskError};

/// How often a person's watch looks.
const INTERVAL: Duration = Duration::from_secs(2);

async fn phase(watch: &mut JobWatch) -> JobPhase {
    let status = soon(watch.look(Duration::from_secs(1))).await.unwrap();
    status.phase(Some(1))
}

/// A job whose submitter has submitted nothing, and stays.
fn open(client: &Client) -> (Job<u64>, JobId) {
    let inputs = stream::pending::<()>();
    let job = client.map_stream(&function(), inputs);
    let id = job.id().unwrap();
    (job, id)
}

async fn watch(client: &Client, job: JobId) -> JobWatch {
    loop {
        if let Ok(watch) = client.watch_job(job).await {
            return watch;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_sealed_job_is_incomplete_when_what_waited_is_gone() {
    let broker = Troubled::new();
    let client = client(&broker);
    let detached = client
        .submit_all(&function(), (0..3).map(|_| ()))
        .await
        .unwrap();
    let mut watch = client.watch_job(detached.job).await.unwrap();
    assert_eq!(phase(&mut watch).await, JobPhase::Running);
    broker.inner.empty(key(detached.job).tenant).await.unwrap();
    assert_eq!(phase(&mut watch).await, JobPhase::Incomplete);
    assert_eq!(watch.status().left(), Some(3));
    // One look is enough for a job that was sealed before.
    let other = client.job_status(detached.job).await.unwrap();
    assert_eq!(other.phase(Some(1)), JobPhase::Incomplete);
}

#[tokio::test(start_paused = true)]
async fn an_open_job_is_abandoned_when_its_submitter_is_not_heard_any_more() {
    let broker = Troubled::new();
    let client = client(&broker);
    let (job, id) = open(&client);
    let mut watch = watch(&client, id).await;
    for _ in 0..60 {
        assert_eq!(phase(&mut watch).await, JobPhase::Submitting);
        sleep(INTERVAL).await;
    }
    // Of who looks seldom, nobody knows what was said meanwhile.
    for _ in 0..3 {
        sleep(SUBMITTER_QUIET_MAX * 4).await;
        assert_eq!(phase(&mut watch).await, JobPhase::Submitting);
    }
    job.leave();
    let left = Instant::now();
    while phase(&mut watch).await == JobPhase::Submitting {
        sleep(INTERVAL).await;
    }
    assert_eq!(watch.status().phase(Some(0)), JobPhase::Abandoned);
    let took = left.elapsed();
    assert!(
        (SUBMITTER_QUIET_MAX - BEAT_INTERVAL..2 * SUBMITTER_QUIET_MAX).contains(&took),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_follows_a_job_that_another_client_forgets_is_told_so() {
    let broker = Troubled::new();
    let (one, other) = (client(&broker), client(&broker));
    let forgotten = |job: &Job<u64>, id| {
        assert!(
            matches!(job.trouble(), Some(SubmitError::Forgotten(job)) if *job == id),
            "{:?}",
            job.trouble()
        );
        assert!(!job.progress().cancelled);
    };
    // Its submitter, and one that attached.
    let (mut submitted, id) = open(&one);
    drop(watch(&one, id).await);
    let mut attached = other.attach::<u64>(id).await.unwrap();
    other.forget(id).await.unwrap();
    for job in [&mut submitted, &mut attached] {
        assert_eq!(soon(job.next_outcome()).await, None);
        forgotten(job, id);
    }
    // Tasks that nobody works on any more.
    let task = one.submit(&function(), ()).await.unwrap();
    drop(watch(&one, task.job()).await);
    other.forget(task.job()).await.unwrap();
    let ended = soon(task).await;
    assert!(
        matches!(&ended, Err(TaskError::BrokerGone { reason, stays: false })
            if reason.contains("forgotten by another client")),
        "{ended:?}"
    );
    // The next one goes to another job.
    let _working = Working::at(&broker);
    assert_eq!(
        soon(one.submit(&function(), ()).await.unwrap()).await,
        Ok(7)
    );
    let job = done(&one, &broker, 2).await;
    assert_eq!(
        one.job_status(job).await.unwrap().phase(None),
        JobPhase::Ended
    );
}

/// A follower may ask before its stream told it.
#[tokio::test(start_paused = true)]
async fn that_nothing_of_a_forgotten_job_is_unfinished_proves_no_loss() {
    let broker = Troubled::new();
    let client = client(&broker);
    let job = done(&client, &broker, 1).await;
    let ask = || requests::ask(&broker, key(job), Question::Unfinished);
    let told = ask().await;
    assert!(
        matches!(&told, Event::Unfinished(Answer::Told(unfinished)) if unfinished.bundles == 0),
        "{told:?}"
    );
    client.forget(job).await.unwrap();
    let told = ask().await;
    assert!(
        matches!(&told, Event::Unfinished(Answer::Failed)),
        "{told:?}"
    );
}
