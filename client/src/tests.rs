//! What a caller sees when outcomes do not come, and of a replay that is stopped. Time is paused:
//! it passes when everybody waits.

mod troubled;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use sortie_broker::{Broker as _, LetterId};
use sortie_protocol::{
    Bill, DeadLetter, Digest, Ending, Failure, FunctionRef, JobId, JobState, LeaseId, Outcome,
    Signature, TaskIndex,
};
use tokio::time::timeout;

use self::troubled::Troubled;
use crate::{Client, Counted, Function, TaskError};

/// Far above what anything takes here, in time that does not pass for real.
const DEADLINE: Duration = Duration::from_secs(600);

fn client(broker: &Troubled) -> Client {
    Client::over(Arc::new(broker.clone()))
}

fn function() -> Function<u64> {
    let signature = Signature {
        name: "count".into(),
        doc: String::new(),
        parameters: Vec::new(),
        returns: "u64".into(),
    };
    Function::new(
        FunctionRef {
            component: Digest::of(b"component"),
            name: "count".into(),
        },
        signature,
    )
}

fn completed(index: TaskIndex) -> Outcome {
    // The number 7 in CBOR.
    Outcome {
        index,
        attempts: 1,
        ending: Ending::Completed(vec![7].into()),
        bill: Bill::default(),
        log: None,
    }
}

fn failed(index: TaskIndex) -> Outcome {
    Outcome {
        ending: Ending::Failed(Failure::Trapped {
            message: "it trapped".into(),
        }),
        ..completed(index)
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future)
        .await
        .expect("it did not end within the deadline")
}

/// Works for as long as it is held.
struct Working(tokio::task::JoinHandle<()>);

impl Working {
    fn at(broker: &Troubled) -> Self {
        let broker = broker.clone();
        Self(tokio::spawn(async move {
            loop {
                broker.work(completed).await;
            }
        }))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A job that was submitted as a whole, and of which every task completed.
async fn done(client: &Client, broker: &Troubled, tasks: usize) -> JobId {
    let detached = client
        .submit_all(&function(), (0..tasks).map(|_| ()))
        .await
        .unwrap();
    while broker.inner.unfinished(detached.job).await.unwrap() > 0 {
        broker.work(completed).await;
    }
    detached.job
}

#[tokio::test(start_paused = true)]
async fn tasks_whose_outcomes_nobody_can_read_end_when_nothing_is_unfinished() {
    let broker = Troubled::new();
    let client = client(&broker);
    let _working = Working::at(&broker);
    broker.hide(1);
    let outcomes = soon(client.map(&function(), (0..3).map(|_| ())).gather())
        .await
        .unwrap();
    let results: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.result.clone())
        .collect();
    assert_eq!((&results[0], &results[2]), (&Ok(7), &Ok(7)));
    assert!(
        matches!(&results[1], Err(TaskError::Failed(failure)) if failure.code() == "host-error"),
        "{results:?}"
    );

    broker.hide(0);
    let error = soon(soon(client.submit(&function(), ())).await.unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, TaskError::Failed(failure) if failure.to_string().contains("dead letters")),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_that_takes_long_is_waited_for() {
    let broker = Troubled::new();
    let client = client(&broker);
    let task = client.submit(&function(), ()).await.unwrap();
    let job = client.map(&function(), [()]);
    let working = tokio::spawn(async move {
        tokio::time::sleep(DEADLINE / 2).await;
        broker.work(completed).await;
        broker.work(completed).await;
    });
    assert_eq!(soon(task).await, Ok(7));
    assert_eq!(soon(job.gather()).await.unwrap()[0].result, Ok(7));
    working.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_published_while_the_broker_answers_that_nothing_is_unfinished_is_waited_for()
 {
    let broker = Troubled::new();
    let client = client(&broker);
    broker.answer_late(Duration::from_secs(3));
    let inputs = futures::stream::once({
        let broker = broker.clone();
        // One look fewer does not end anything yet.
        async move { broker.asked(6).await }
    });
    let job = client.map_stream(&function(), Box::pin(inputs));
    let working = tokio::spawn(async move {
        broker.published(1).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        broker.work(completed).await;
    });
    assert_eq!(soon(job.gather()).await.unwrap()[0].result, Ok(7));
    working.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_is_stored_is_waited_for_while_it_cannot_be_read() {
    let broker = Troubled::new();
    let client = client(&broker);
    broker.set_read(false);
    let mut task = client.submit(&function(), ()).await.unwrap();
    broker.work(completed).await;
    let early = timeout(DEADLINE, &mut task).await;
    assert!(early.is_err(), "{early:?}");
    broker.set_read(true);
    assert_eq!(soon(task).await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_long_task_asks_the_broker_once_a_minute() {
    let broker = Troubled::new();
    let client = client(&broker);
    let mut task = client.submit(&function(), ()).await.unwrap();
    let early = timeout(60 * Duration::from_secs(60), &mut task).await;
    assert!(early.is_err(), "{early:?}");
    let asked = broker.asked_so_far();
    assert!((55..70).contains(&asked), "asked {asked} times in an hour");
    // Nothing can be read of what it came to; that is noticed as soon as before.
    broker.hide(0);
    broker.work(completed).await;
    let error = timeout(Duration::from_secs(60 + 40), task)
        .await
        .expect("it was noticed in time")
        .unwrap_err();
    assert!(matches!(error, TaskError::Failed(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn whoever_attaches_is_told_how_many_outcomes_were_dropped() {
    let broker = Troubled::new();
    let client = client(&broker);
    let job = done(&client, &broker, 5).await;
    assert_eq!(
        soon(client.attach::<u64>(job).await.unwrap().gather())
            .await
            .unwrap()
            .len(),
        5
    );
    broker.trim(job, 3).await.unwrap();
    let error = soon(client.attach::<u64>(job).await.unwrap().gather())
        .await
        .unwrap_err();
    assert_eq!((error.outcomes.len(), error.missing), (2, Some(3)));
    let text = error.to_string();
    assert!(
        text.starts_with("2 outcomes came, and 3 are missing: ") && text.contains("7 days"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn tasks_of_an_old_job_that_take_long_are_waited_for() {
    let broker = Troubled::new();
    let client = client(&broker);
    broker.age(2 * sortie_broker::nats::OUTCOME_AGE_MAX);
    let job = client.submit_all(&function(), [(), ()]).await.unwrap().job;
    let attached = client.attach::<u64>(job).await.unwrap();
    let working = tokio::spawn(async move {
        tokio::time::sleep(DEADLINE / 2).await;
        while broker.inner.unfinished(job).await.unwrap() > 0 {
            broker.work(completed).await;
        }
    });
    let outcomes = soon(attached.gather()).await.unwrap();
    assert!(
        outcomes.len() == 2 && outcomes.iter().all(|outcome| outcome.result == Ok(7)),
        "{outcomes:?}"
    );
    working.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_number_of_tasks_nobody_knows_is_not_gathered_as_if_it_were_whole() {
    let broker = Troubled::new();
    let client = client(&broker);
    let _working = Working::at(&broker);
    let inputs =
        futures::StreamExt::chain(futures::stream::iter([(), ()]), futures::stream::pending());
    let mut job = client.map_stream(&function(), inputs);
    job.keep_outcomes();
    for _ in 0..2 {
        soon(job.next()).await.unwrap();
    }
    let id = job.id().unwrap();
    job.leave();
    let error = soon(client.attach::<u64>(id).await.unwrap().gather())
        .await
        .unwrap_err();
    assert_eq!((error.outcomes.len(), error.missing), (2, None));
    assert!(
        error
            .to_string()
            .contains("how many are missing is not known"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_broker_stays_away_is_neither_whole_nor_cancelled_nor_forgotten() {
    let broker = Troubled::new();
    let client = client(&broker);
    let job = client.map(&function(), (0..3).map(|_| ()));
    let id = job.id().unwrap();
    broker.published(3).await;
    let task = client.submit(&function(), ()).await.unwrap();
    let single = task.job();
    broker.leave();
    let error = soon(job.gather()).await.unwrap_err();
    assert_eq!((error.outcomes.len(), error.missing), (0, Some(3)));
    assert!(error.why.contains("it is away"), "{error}");
    let error = soon(task).await.unwrap_err();
    assert!(
        matches!(&error, TaskError::BrokerGone { reason, stays: true } if reason.contains("it is away")),
        "{error}"
    );
    soon(client.settled()).await;
    for job in [id, single] {
        let record = broker
            .inner
            .job(job)
            .await
            .unwrap()
            .expect("the record of a job that was not forgotten");
        assert!(
            matches!(record.state, JobState::Sealed { .. }),
            "{record:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_status_of_a_job_that_ends_tasks_without_a_pause_is_told_all_the_same() {
    let broker = Troubled::new();
    let client = client(&broker);
    // One bundle that nobody works on; the outcomes of others come without end.
    let job = client.map_stream(
        &function(),
        futures::StreamExt::chain(futures::stream::iter([()]), futures::stream::pending()),
    );
    broker.published(1).await;
    let id = job.id().unwrap();
    job.leave();
    let reporting = tokio::spawn({
        let broker = broker.clone();
        async move {
            for index in 1.. {
                let report = sortie_broker::Report {
                    outcomes: vec![completed(index)],
                    retrials: Vec::new(),
                };
                broker
                    .inner
                    .complete(LeaseId(u64::MAX), id, report)
                    .await
                    .unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    let status = soon(client.job_status(id)).await.unwrap();
    assert!(
        status.completed > 10 && status.counted == Counted::Some,
        "{status:?}"
    );
    reporting.abort();

    let done = done(&client, &broker, 20).await;
    let status = soon(client.job_status(done)).await.unwrap();
    assert_eq!((status.completed, status.counted), (20, Counted::All));
}

#[tokio::test(start_paused = true)]
async fn the_status_is_told_of_a_job_that_is_fed_as_fast_as_its_tasks_end() {
    let broker = Troubled::new();
    let client = client(&broker);
    // Whenever somebody asks nothing is unfinished.
    let mut job = client.map_stream(
        &function(),
        futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Some(((), ()))
        })
        .boxed(),
    );
    let _working = Working::at(&broker);
    job.keep_outcomes();
    soon(job.next()).await.unwrap();
    let id = job.id().unwrap();
    let reading = tokio::spawn(async move { while job.next().await.is_some() {} });
    let status = soon(client.job_status(id)).await.unwrap();
    assert_eq!(
        (status.unfinished, status.record.state),
        (Some(0), JobState::Open)
    );
    assert!(
        status.completed > 10 && status.counted == Counted::Some,
        "{status:?}"
    );
    reading.abort();
}

#[tokio::test(start_paused = true)]
async fn outcomes_that_are_read_late_are_counted_and_those_that_are_not_read_are_missing() {
    let broker = Troubled::new();
    let client = client(&broker);
    let done = done(&client, &broker, 20).await;
    broker.set_read(false);
    let (status, ()) = soon(async {
        tokio::join!(client.job_status(done), async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            broker.set_read(true);
        })
    })
    .await;
    let status = status.unwrap();
    assert_eq!((status.completed, status.counted), (20, Counted::All));
    broker.set_read(false);
    let status = timeout(Duration::from_secs(6), client.job_status(done))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((status.completed, status.counted), (0, Counted::Some));
}

/// As many dead letters of one job.
async fn bury(client: &Client, broker: &Troubled, count: usize) -> Vec<(LetterId, DeadLetter)> {
    let detached = client
        .submit_all(&function(), (0..count).map(|_| ()))
        .await
        .unwrap();
    while broker.inner.unfinished(detached.job).await.unwrap() > 0 {
        broker.work(failed).await;
    }
    let letters = broker.inner.dead_letters(None, 2 * count).await.unwrap();
    assert_eq!(letters.len(), count);
    letters
}

/// Whether each of so many letters is either still there, or published anew, in a job that knows
/// how many.
async fn check_none_lost_or_doubled(broker: &Troubled, old: JobId, count: usize) {
    let left = broker
        .inner
        .dead_letters(Some(old), 2 * count)
        .await
        .unwrap()
        .len();
    let jobs = broker.inner.jobs(10).await.unwrap();
    let new = jobs
        .iter()
        .find(|record| record.job.id != old)
        .expect("a new job");
    let published = broker.inner.unfinished(new.job.id).await.unwrap();
    assert_eq!(new.state, JobState::Sealed { tasks: published });
    assert_eq!(left + usize::try_from(published).unwrap(), count);
    assert!(left > 0 && published > 0, "{left} of {count} are left");
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_is_stopped_has_lost_and_doubled_nothing() {
    let broker = Troubled::new();
    let client = client(&broker);
    let letters = bury(&client, &broker, 500).await;
    let old = letters[0].1.job().unwrap();
    let before = broker.published_so_far();
    let replayed = soon(client.replay_until(letters, broker.published(before + 100)))
        .await
        .unwrap();
    assert!(
        replayed.jobs.len() == 1 && replayed.left > 0,
        "{replayed:?}"
    );
    check_none_lost_or_doubled(&broker, old, 500).await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_is_let_go_of_has_lost_and_doubled_nothing() {
    let broker = Troubled::new();
    let client = client(&broker);
    let letters = bury(&client, &broker, 500).await;
    let old = letters[0].1.job().unwrap();
    let before = broker.published_so_far();
    tokio::select! {
        biased;
        replayed = client.replay(letters) => panic!("nobody interrupted it: {replayed:?}"),
        () = broker.published(before + 100) => {}
    }
    soon(client.settled()).await;
    check_none_lost_or_doubled(&broker, old, 500).await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_fails_names_the_jobs_that_it_submitted() {
    let broker = Troubled::new();
    let client = client(&broker);
    let letters = bury(&client, &broker, 500).await;
    let before = broker.published_so_far();
    let (replayed, ()) = soon(async {
        tokio::join!(client.replay(letters), async {
            broker.published(before + 100).await;
            broker.leave();
        })
    })
    .await;
    let error = replayed.unwrap_err();
    assert!(
        matches!(&error.why, crate::SubmitError::Broker(why) if why.passes()),
        "{error:?}"
    );
    let [job] = &*error.replayed.jobs else {
        panic!("one job was submitted: {error:?}")
    };
    assert_eq!(job.tasks, broker.inner.unfinished(job.job).await.unwrap());
    assert!(job.tasks >= 100 && error.replayed.left > 0, "{error:?}");
}
