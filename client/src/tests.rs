//! What a caller sees when outcomes do not come, and of a replay that is stopped. Time is paused:
//! it passes when everybody waits.

mod adversity;
mod book;
mod coordination;
mod equal_calls;
mod following;
mod graph;
mod lineage;
mod open_job;
mod retry;
mod status;
mod troubled;

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use sortie_broker::nats::OUTCOME_AGE_MAX;
use sortie_broker::{LetterId, Operate as _, PRESENCE, Submit as _, Work as _};
use sortie_protocol::job::Memo;
use sortie_protocol::metric::{Metric, Value};
use sortie_protocol::{
    Bill, DeadLetter, Digest, Ending, Failure, FunctionRef, JobId, JobKey, JobState, Kind, Labels,
    LeaseId, Outcome, Presence, Signature, TaskIndex, TenantId, Timestamp, WorkerId,
};
use tokio::time::timeout;

use self::troubled::Troubled;
use crate::{Cancellation, Client, Counted, Function, JobPhase, TaskError, metrics};

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
    let function = Function::new(
        FunctionRef {
            component: Digest::of(b"component"),
            name: "count".into(),
        },
        signature,
    );
    // Each call is a task.
    function.memo(Memo::Off)
}

/// A function of one value. Each call is a task.
fn takes_one() -> Function<u64> {
    graph::function("one", Kind::Value).memo(Memo::Off)
}

fn completed(index: TaskIndex) -> Outcome {
    // The number 7 in CBOR.
    Outcome {
        index,
        attempts: 1,
        ending: Ending::Completed(vec![7].into()),
        bill: Bill::default(),
        log: None,
        input: None,
        function: None,
    }
}

fn failed(index: TaskIndex) -> Outcome {
    Outcome {
        ending: Ending::Failed(Failure::trapped("it trapped")),
        ..completed(index)
    }
}

/// What a job of the tenant is called at the broker.
fn key(job: JobId) -> JobKey {
    JobKey {
        tenant: TenantId::default(),
        job,
    }
}

/// How many bundles of a job are unfinished.
async fn unfinished(broker: &Troubled, job: JobId) -> u64 {
    broker.inner.unfinished(key(job)).await.unwrap().bundles
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
    while unfinished(broker, detached.job).await > 0 {
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
        matches!(
            &error,
            TaskError::Failed(failure)
                if failure.to_string().contains("nothing of its job is unfinished")
        ),
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
async fn a_task_published_while_the_broker_answers_that_nothing_is_unfinished_is_waited_for() {
    let broker = Troubled::new();
    let client = client(&broker);
    broker.answer_late(Duration::from_secs(3));
    // Nobody can read what comes of the first task, so the broker is asked. The second is
    // published when it has found that nothing is unfinished, and before it says so.
    broker.hide(0);
    let inputs = stream::once(std::future::ready(())).chain(stream::once({
        let broker = broker.clone();
        async move { broker.asked(1).await }
    }));
    let job = client.map_stream(&function(), Box::pin(inputs));
    let working = tokio::spawn(async move {
        broker.published(1).await;
        broker.work(completed).await;
        broker.published(2).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        broker.work(completed).await;
    });
    let outcomes = soon(job.gather()).await.unwrap();
    assert!(
        matches!(
            &outcomes[0].result,
            Err(TaskError::Failed(failure)) if failure.code() == "host-error"
        ),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[1].result, Ok(7));
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
    broker.trim(key(job), 3).await.unwrap();
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
    broker.age(2 * OUTCOME_AGE_MAX);
    let job = client.submit_all(&function(), [(), ()]).await.unwrap().job;
    let attached = client.attach::<u64>(job).await.unwrap();
    let working = tokio::spawn(async move {
        tokio::time::sleep(DEADLINE / 2).await;
        while unfinished(&broker, job).await > 0 {
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
    let inputs = stream::iter([(), ()]).chain(stream::pending());
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

/// A worker that says every few seconds that it is there, and takes no work.
fn idle_worker() -> Presence {
    Presence {
        worker: WorkerId::from_bytes([2; 16]),
        machine: "machine".into(),
        process: 1,
        version: "0".into(),
        labels: Labels::default(),
        slots: 1,
        busy: 0,
        draining: false,
        started: Timestamp::default(),
        said: Timestamp::default(),
        store: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_without_submitter_whose_bundle_no_worker_is_there_for_ends_as_incomplete() {
    let broker = Troubled::new();
    let client = client(&broker);
    let job = client.map_stream(&function(), stream::iter([()]).chain(stream::pending()));
    broker.published(1).await;
    let id = job.id().unwrap();
    job.leave();
    let announcing = tokio::spawn({
        let broker = broker.clone();
        async move {
            loop {
                broker.inner.announce(idle_worker()).await.unwrap();
                tokio::time::sleep(PRESENCE / 3).await;
            }
        }
    });
    let mut gathering = Box::pin(client.attach::<u64>(id).await.unwrap().gather());
    // While a worker is there it may still take the bundle.
    let early = timeout(DEADLINE, &mut gathering).await;
    assert!(early.is_err(), "{early:?}");
    announcing.abort();
    let error = soon(gathering).await.unwrap_err();
    assert_eq!((error.outcomes.len(), error.missing), (0, None));
    assert!(
        error.why.contains("its submitter is gone")
            && error
                .why
                .contains("1 bundle is unfinished, and no worker is there"),
        "{error}"
    );
    assert_eq!(unfinished(&broker, id).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_lacks_what_a_job_asks_for_is_not_there_for_it() {
    let broker = Troubled::new();
    let client = client(&broker);
    let picky = function().labels("gpu".parse().unwrap());
    let job = client.map_stream(&picky, stream::iter([()]).chain(stream::pending()));
    broker.published(1).await;
    let id = job.id().unwrap();
    job.leave();
    let other = broker.clone();
    tokio::spawn(async move {
        loop {
            other.inner.announce(idle_worker()).await.unwrap();
            tokio::time::sleep(PRESENCE / 3).await;
        }
    });
    let gathering = client.attach::<u64>(id).await.unwrap().gather();
    let error = soon(gathering).await.unwrap_err();
    assert!(error.why.contains("no worker is there"), "{error}");
    assert_eq!(client.workers().await.unwrap().len(), 1);
    assert_eq!(client.workers_of(id).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_is_silent_while_bundles_are_unfinished_is_no_loss() {
    const MINUTE: Duration = Duration::from_secs(60);
    let broker = Troubled::new();
    let client = client(&broker);
    let submitted = client.submit_all(&function(), [(), ()]).await.unwrap().job;
    broker.set_read(false);
    let mut gathering = Box::pin(client.attach::<u64>(submitted).await.unwrap().gather());
    // First it tells nothing at all, then that there is nothing to tell.
    for is_read in [false, true] {
        broker.set_read(is_read);
        let early = timeout(2 * MINUTE, &mut gathering).await;
        assert!(early.is_err(), "{early:?}");
    }
    assert!(broker.asked_so_far() > 0);
    // One has ended, the other has not.
    broker.work(completed).await;
    let early = timeout(2 * MINUTE, &mut gathering).await;
    assert!(early.is_err(), "{early:?}");
    broker.work(completed).await;
    let outcomes = soon(gathering).await.unwrap();
    assert!(
        outcomes.len() == 2 && outcomes.iter().all(|outcome| outcome.result == Ok(7)),
        "{outcomes:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_submitter_that_waits_for_its_inputs_is_not_taken_for_gone() {
    let broker = Troubled::new();
    let client = client(&broker);
    let _working = Working::at(&broker);
    // Longer than a submitter may be silent.
    let later = async { tokio::time::sleep(Duration::from_secs(20)).await };
    let inputs = stream::once(std::future::ready(())).chain(stream::once(later));
    let mut job = client.map_stream(&function(), inputs);
    job.keep_outcomes();
    soon(job.next()).await.unwrap();
    // Everything that was published has ended, so nothing but the submitter's word keeps it open.
    let id = job.id().unwrap();
    assert_eq!(unfinished(&broker, id).await, 0);
    let attached = client.attach::<u64>(id).await.unwrap();
    let (last, followed) = soon(async {
        tokio::join!(
            async {
                let last = job.next().await;
                (last, job)
            },
            attached.gather()
        )
    })
    .await;
    assert_eq!(last.0.unwrap().result, Ok(7));
    let outcomes = followed.unwrap();
    assert!(
        outcomes.len() == 2 && outcomes.iter().all(|outcome| outcome.result == Ok(7)),
        "{outcomes:?}"
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
    broker.published(4).await;
    broker.leave();
    let error = soon(job.gather()).await.unwrap_err();
    assert_eq!((error.outcomes.len(), error.missing), (0, Some(3)));
    assert!(error.why.contains("it is away"), "{error}");
    let error = soon(task).await.unwrap_err();
    assert!(
        matches!(
            &error,
            TaskError::BrokerGone { reason, stays: true } if reason.contains("it is away")
        ),
        "{error}"
    );
    soon(client.flush_jobs()).await;
    // More tasks could have come to the job of the single one.
    for (job, state) in [
        (id, JobState::Sealed { tasks: 3 }),
        (single, JobState::Open),
    ] {
        let record = broker.inner.job(key(job)).await.unwrap();
        let record = record.expect("the record of a job that was not forgotten");
        assert_eq!(record.state, state);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_has_ended_is_not_cancelled() {
    let broker = Troubled::new();
    let client = client(&broker);
    let ended = done(&client, &broker, 3).await;
    assert_eq!(client.cancel(ended).await.unwrap(), Cancellation::HadEnded);
    let status = client.job_status(ended).await.unwrap();
    assert_eq!((status.phase(None), status.completed), (JobPhase::Ended, 3));
    let left = client.submit_all(&function(), [(), ()]).await.unwrap();
    assert_eq!(
        client.cancel(left.job).await.unwrap(),
        Cancellation::Cancelled
    );
    assert_eq!(
        client.cancel(left.job).await.unwrap(),
        Cancellation::Cancelled
    );
    let record = broker.inner.job(key(left.job)).await.unwrap().unwrap();
    assert_eq!(record.state, JobState::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn the_status_of_a_job_that_ends_tasks_without_a_pause_is_told_all_the_same() {
    let broker = Troubled::new();
    let client = client(&broker);
    // One bundle that nobody works on; the outcomes of others come without end.
    let job = client.map_stream(&function(), stream::iter([()]).chain(stream::pending()));
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
                    .complete(LeaseId(u64::MAX), key(id), report)
                    .await
                    .unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    // All that were stored when it was asked; it waits for none that come later.
    let status = timeout(Duration::from_secs(1), client.job_status(id))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (status.unfinished, status.counted),
        (Some(1), Counted::All),
        "{status:?}"
    );
    assert!(status.completed > 10, "{status:?}");
    reporting.abort();

    let done = done(&client, &broker, 20).await;
    let status = soon(client.job_status(done)).await.unwrap();
    assert_eq!((status.completed, status.counted), (20, Counted::All));
}

#[tokio::test(start_paused = true)]
async fn the_status_is_told_of_a_job_that_is_fed_as_fast_as_its_tasks_end() {
    let broker = Troubled::new();
    let client = client(&broker);
    // Every query finds nothing unfinished.
    let mut job = client.map_stream(
        &function(),
        stream::unfold((), |()| async {
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
    // Between two inputs.
    tokio::time::sleep(Duration::from_millis(2050)).await;
    let status = timeout(Duration::from_secs(1), client.job_status(id))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (status.unfinished, status.record.state),
        (Some(0), JobState::Open)
    );
    assert!(
        status.completed > 10 && status.counted == Counted::All,
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
    while unfinished(broker, detached.job).await > 0 {
        broker.work(failed).await;
    }
    let letters = broker.inner.dead_letters(None, 2 * count).await.unwrap();
    assert_eq!(letters.len(), count);
    letters
}

/// Whether each of so many letters is either still there, or published anew, in a job that knows
/// how many.
async fn check_none_lost_or_doubled(broker: &Troubled, old: JobKey, count: usize) {
    let left = broker
        .inner
        .dead_letters(Some(old), 2 * count)
        .await
        .unwrap()
        .len();
    let jobs = broker.inner.jobs(10).await.unwrap();
    let new = jobs
        .iter()
        .find(|record| record.job.key != old)
        .expect("a new job");
    let published = unfinished(broker, new.job.key.job).await;
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
    soon(client.flush_jobs()).await;
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
        matches!(&error.why, crate::SubmitError::Broker(why) if why.is_transient()),
        "{error:?}"
    );
    let [job] = &*error.replayed.jobs else {
        panic!("one job was submitted: {error:?}")
    };
    assert_eq!(job.tasks, unfinished(&broker, job.job).await);
    assert!(job.tasks >= 100 && error.replayed.left > 0, "{error:?}");
}

#[derive(Debug, Default)]
struct Recorder(std::sync::Mutex<Vec<String>>);

impl crate::observer::Observer<crate::observer::Event> for Recorder {
    fn on(&self, event: &crate::observer::Event) {
        use crate::observer::Event;
        let told = match event {
            Event::TasksSubmitted { tasks, .. } => format!("{tasks} submitted"),
            Event::TasksEnded { outcomes, .. } => format!("{} ended", outcomes.len()),
        };
        self.0.lock().unwrap().push(told);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_client_submits_and_receives_is_counted_and_told() {
    let broker = Troubled::new();
    let recorder = Arc::new(Recorder::default());
    let client = Client::observed(Arc::new(broker.clone()), recorder.clone());
    let job = client.submit_all(&function(), [()]).await.unwrap().job;
    broker
        .inner
        .report(key(job), vec![failed(0)])
        .await
        .unwrap();
    let outcomes = soon(client.attach::<u64>(job).await.unwrap().gather()).await;
    assert_eq!(outcomes.unwrap().len(), 1);
    assert_eq!(*recorder.0.lock().unwrap(), ["1 submitted", "1 ended"]);
    let count = |metric: &Metric, code: Option<&str>| {
        let samples = client.metrics().into_iter();
        let found = samples
            .filter(|sample| sample.metric == metric)
            .find(|sample| code.is_none_or(|code| sample.labels.contains(&("code", code))));
        found.map(|sample| sample.value)
    };
    assert_eq!(count(&metrics::SUBMITTED, None), Some(Value::Count(1)));
    assert_eq!(
        count(&metrics::ENDED, Some("trapped")),
        Some(Value::Count(1))
    );
    assert_eq!(
        count(&metrics::ENDED, Some("completed")),
        Some(Value::Count(0))
    );
    assert_eq!(count(&metrics::ATTEMPTS, None), Some(Value::Count(1)));
}
