//! Open jobs whose clients end, or stand still, while tasks wait.
//!
//! The client has a runtime of its own, which runs only within `block_on`: between two of them the
//! client is as one that was stopped, and a dropped runtime is one that was killed. Time of the
//! others is paused: it passes when everybody waits.

use std::sync::Arc;

use sortie_broker::{Coordinate as _, Submit as _};
use sortie_objects::Objects;
use sortie_protocol::{JobId, JobState};
use tokio::runtime::{Builder, Handle, Runtime};

use super::troubled::Troubled;
use super::{Working, client, completed, failed, function, key, soon, takes_one};
use crate::drive::term::TERM;
use crate::{Client, Coordinator, TaskError, TaskFuture, TaskStatus};

/// A client in a runtime of its own, and what it submitted: a task, one that takes its result, one
/// that takes the result of that in a larger value, and a task for itself.
struct Other {
    runtime: Runtime,
    broker: Troubled,
    client: Client,
    futures: Vec<TaskFuture<u64>>,
    job: JobId,
}

impl Other {
    fn start(broker: &Troubled) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (client, futures) = runtime.block_on(async {
            let client = client(broker);
            let first = client.submit(&function(), ()).await.unwrap();
            let second = client.submit(&takes_one(), (&first,)).await.unwrap();
            let third = (vec![&second, &first],);
            let third = client.submit(&takes_one(), third).await.unwrap();
            let fourth = client.submit(&function(), ()).await.unwrap();
            (client, vec![first, second, third, fourth])
        });
        let job = futures[0].job();
        let other = Self {
            runtime,
            broker: broker.clone(),
            client,
            futures,
            job,
        };
        other.wait_until_it_is_kept();
        other
    }

    /// Until what waits is at the broker, and the claim to the job.
    fn wait_until_it_is_kept(&self) {
        let inner = &self.broker.inner;
        self.runtime.block_on(async {
            self.broker.published(2).await;
            // Two tasks, and the function that they call.
            while inner.graph(key(self.job)).await.unwrap().len() < 3
                || inner.claimed(key(self.job)).await.unwrap().is_none()
            {
                tokio::task::yield_now().await;
            }
        });
    }

    /// As a process that is killed: nothing is said to anybody.
    fn kill(self) -> JobId {
        std::mem::forget((self.futures, self.client));
        self.runtime.shutdown_background();
        self.job
    }
}

fn here() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap()
}

fn coordinator(broker: &Troubled) -> Coordinator {
    let objects = Objects::new(sortie_objects::Config::default(), Handle::current());
    Coordinator::start(Arc::new(broker.beside()), objects, None)
}

/// How the tasks of a job ended, once it is sealed and all have.
async fn results(broker: &Troubled, job: JobId) -> Vec<Result<u64, TaskError>> {
    let reader = client(&broker.beside());
    let job = soon(reader.attach::<u64>(job)).await.unwrap();
    let outcomes = soon(job.gather()).await.unwrap();
    outcomes.into_iter().map(|outcome| outcome.result).collect()
}

/// Until nobody has a claim to a job.
async fn is_over(broker: &Troubled, job: JobId) {
    while broker.inner.claimed(key(job)).await.unwrap().is_some() {
        tokio::time::sleep(TERM).await;
    }
}

#[test]
fn the_tasks_of_a_client_that_was_killed_go_on_and_its_job_is_sealed() {
    let broker = Troubled::new();
    let job = Other::start(&broker).kill();
    here().block_on(async {
        let _coordinator = coordinator(&broker);
        let _working = Working::at(&broker);
        assert_eq!(results(&broker, job).await, vec![Ok(7); 4]);
        soon(is_over(&broker, job)).await;
        let record = broker.inner.job(key(job)).await.unwrap().unwrap();
        assert_eq!(record.state, JobState::Sealed { tasks: 4 });
        assert_eq!(broker.inner.graph(key(job)).await.unwrap(), []);
    });
}

#[test]
fn a_failure_reaches_what_waits_when_the_client_is_gone() {
    let broker = Troubled::new();
    let job = Other::start(&broker).kill();
    here().block_on(async {
        let _coordinator = coordinator(&broker);
        broker.work(failed).await;
        let _working = Working::at(&broker);
        let results = results(&broker, job).await;
        let codes: Vec<_> = results
            .iter()
            .map(|result| match result {
                Err(TaskError::Failed(failure)) => failure.code().to_owned(),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(
            codes,
            ["trapped", "upstream-failed", "upstream-failed", "Ok(7)"]
        );
    });
}

#[test]
fn a_coordinator_that_dies_is_followed_by_another() {
    let broker = Troubled::new();
    let job = Other::start(&broker).kill();
    here().block_on(async {
        let first = coordinator(&broker);
        let claimed = async || broker.inner.claimed(key(job)).await.unwrap().unwrap();
        while claimed().await.term.number == 1 {
            tokio::time::sleep(TERM).await;
        }
        drop(first);
        let second = coordinator(&broker);
        while claimed().await.term.number == 2 {
            tokio::time::sleep(TERM).await;
        }
        // One that ends in peace says so, and the next does not wait.
        second.stop().await;
        assert!(!claimed().await.term.holds);
        let _third = coordinator(&broker);
        let _working = Working::at(&broker);
        assert_eq!(results(&broker, job).await, vec![Ok(7); 4]);
    });
}

#[test]
fn nobody_takes_a_job_from_a_client_that_is_there() {
    let broker = Troubled::new();
    let here = here();
    here.block_on(async {
        let _coordinator = coordinator(&broker);
        let client = client(&broker);
        let first = client.submit(&function(), ()).await.unwrap();
        let second = client.submit(&takes_one(), (&first,)).await.unwrap();
        tokio::time::sleep(20 * TERM).await;
        let claimed = broker.inner.claimed(key(first.job())).await.unwrap();
        assert_eq!(claimed.unwrap().term.number, 1);
        let _working = Working::at(&broker);
        assert_eq!(soon(second).await, Ok(7));
        drop(first);
        soon(client.flush_jobs()).await;
        assert_eq!(broker.inner.all_claimed().await.unwrap(), []);
    });
}

#[test]
fn a_client_that_stood_still_takes_its_job_back() {
    let broker = Troubled::new();
    let other = Other::start(&broker);
    let job = other.job;
    let here = here();
    let coordinator = here.block_on(async {
        let coordinator = coordinator(&broker);
        while broker
            .inner
            .claimed(key(job))
            .await
            .unwrap()
            .unwrap()
            .term
            .number
            == 1
        {
            tokio::time::sleep(TERM).await;
        }
        coordinator
    });
    // It goes on, and repeats its claim within some seconds of real time.
    other.runtime.block_on(async {
        while broker
            .inner
            .claimed(key(job))
            .await
            .unwrap()
            .unwrap()
            .term
            .number
            == 2
        {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let more = other
            .client
            .submit(&takes_one(), (&other.futures[2],))
            .await;
        let more = more.unwrap();
        assert_eq!(more.job(), job);
        let _working = Working::at(&broker);
        assert_eq!(soon(more).await, Ok(7));
    });
    drop(coordinator);
}

#[test]
fn a_client_that_stood_still_while_another_ended_its_job_has_all_results_and_opens_another() {
    let broker = Troubled::new();
    let Other {
        runtime,
        client,
        mut futures,
        job,
        ..
    } = Other::start(&broker);
    here().block_on(async {
        let _coordinator = coordinator(&broker);
        let _working = Working::at(&broker);
        assert_eq!(results(&broker, job).await, vec![Ok(7); 4]);
        soon(is_over(&broker, job)).await;
    });
    runtime.block_on(async {
        let _working = Working::at(&broker);
        let last = futures.pop().unwrap();
        for future in futures {
            assert_eq!(soon(future).await, Ok(7));
        }
        // Sooner or later it finds that its job was sealed.
        loop {
            let next = client.submit(&takes_one(), (&last,)).await.unwrap();
            let found = next.job() != job;
            assert_eq!(soon(next).await, Ok(7));
            if found {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
}

/// As [`Other::start`], with many more tasks than are sent at a time.
fn with_tasks_that_were_not_sent(broker: &Troubled) -> Other {
    let mut other = Other::start(broker);
    other.runtime.block_on(async {
        for _ in 0..3000 {
            let future = other.client.submit(&function(), ()).await.unwrap();
            other.futures.push(future);
        }
        let last = other
            .client
            .submit(&takes_one(), (&other.futures[0],))
            .await;
        other.futures.push(last.unwrap());
        while broker.inner.graph(key(other.job)).await.unwrap().len() < 4 {
            tokio::task::yield_now().await;
        }
    });
    other
}

#[test]
fn tasks_that_the_broker_never_had_end_when_their_client_does_not_come_back() {
    let broker = Troubled::new();
    let job = with_tasks_that_were_not_sent(&broker).kill();
    here().block_on(async {
        let _coordinator = coordinator(&broker);
        let _working = Working::at(&broker);
        let results = results(&broker, job).await;
        assert_eq!((results.len(), results.last()), (3005, Some(&Ok(7))));
        let failed: Vec<_> = results
            .iter()
            .filter_map(|result| result.as_ref().err())
            .collect();
        assert!((1000..3000).contains(&failed.len()), "{}", failed.len());
        assert!(
            failed
                .iter()
                .all(|error| error.to_string().contains("ended before the broker"))
        );
    });
}

#[test]
fn a_client_that_stood_still_loses_none_of_the_tasks_that_it_had_not_sent() {
    let broker = Troubled::new();
    let other = with_tasks_that_were_not_sent(&broker);
    let here = here();
    let coordinator = here.block_on(async {
        let coordinator = coordinator(&broker);
        let _working = Working::at(&broker);
        let job = key(other.job);
        while broker
            .inner
            .claimed(job)
            .await
            .unwrap()
            .unwrap()
            .term
            .number
            == 1
            || broker.inner.unfinished(job).await.unwrap().bundles > 0
        {
            tokio::time::sleep(TERM).await;
        }
        coordinator
    });
    other.runtime.block_on(async {
        let _working = Working::at(&broker);
        for future in other.futures {
            assert_eq!(soon(future).await, Ok(7));
        }
    });
    drop(coordinator);
}

#[test]
fn a_damaged_graph_ends_its_job() {
    let broker = Troubled::new();
    let other = Other::start(&broker);
    let job = other.job;
    let entries = other
        .runtime
        .block_on(broker.inner.graph(key(job)))
        .unwrap();
    let far = entries.into_iter().filter_map(|entry| match entry {
        sortie_protocol::GraphEntry::Waiting(mut task) => {
            task.index = u64::MAX - 1;
            Some(sortie_protocol::GraphEntry::Waiting(task))
        }
        sortie_protocol::GraphEntry::Function(..) => None,
    });
    let far = far.collect();
    other
        .runtime
        .block_on(broker.inner.append_graph(key(job), far))
        .unwrap();
    other.kill();
    here().block_on(async {
        let _coordinator = coordinator(&broker);
        soon(is_over(&broker, job)).await;
        let record = broker.inner.job(key(job)).await.unwrap().unwrap();
        assert_eq!(record.state, JobState::Cancelled);
    });
}

#[tokio::test(start_paused = true)]
async fn a_published_task_is_found_by_its_name_in_another_program_and_after_its_client_ended() {
    let broker = Troubled::new();
    let publisher = client(&broker);
    let first = publisher.submit(&function(), ()).await.unwrap();
    let second = publisher.submit(&takes_one(), (&first,)).await.unwrap();
    publisher.publish("the sum", &second).await.unwrap();
    assert!(publisher.publish("", &second).await.is_err());
    drop((first, second));
    let other = client(&broker.beside());
    // Before it ended.
    let early = other.get::<u64>("the sum").await.unwrap();
    let dropped = other.get::<u64>("the sum").await.unwrap();
    drop(dropped);
    let own = publisher.get::<u64>("the sum").await.unwrap();
    let _working = Working::at(&broker);
    assert_eq!((soon(early).await, soon(own).await), (Ok(7), Ok(7)));
    soon(publisher.flush_jobs()).await;
    drop(publisher);
    // After its client ended, also as an argument.
    let late = other.get::<u64>("the sum").await.unwrap();
    let taken = other.submit(&takes_one(), (&late,)).await.unwrap();
    assert_eq!((soon(taken).await, soon(late).await), (Ok(7), Ok(7)));
    let names = other.published().await.unwrap();
    let names: Vec<_> = names
        .iter()
        .map(|published| published.name.as_str())
        .collect();
    assert_eq!(names, ["the sum"]);
    other.unpublish("the sum").await.unwrap();
    let missing = other.get::<u64>("the sum").await.unwrap_err();
    assert_eq!(missing.to_string(), "no task is published as `the sum`");
    soon(other.flush_jobs()).await;
}

#[tokio::test(start_paused = true)]
async fn a_future_says_what_becomes_of_its_task() {
    let broker = Troubled::new();
    let client = client(&broker);
    let first = client.submit(&function(), ()).await.unwrap();
    let second = client.submit(&takes_one(), (&first,)).await.unwrap();
    let statuses = || (first.status(), second.status());
    assert_eq!(statuses(), (TaskStatus::Released, TaskStatus::Waiting));
    broker.work(completed).await;
    soon(first.clone()).await.unwrap();
    assert_eq!(statuses(), (TaskStatus::Completed, TaskStatus::Released));
    broker.work(failed).await;
    let _ = soon(second.clone()).await;
    assert_eq!(statuses(), (TaskStatus::Completed, TaskStatus::Failed));
    let third = client.submit(&function(), ()).await.unwrap();
    third.cancel().await.unwrap();
    let _ = soon(third.clone()).await;
    assert_eq!(third.status(), TaskStatus::Cancelled);
}
