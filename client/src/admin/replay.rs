//! Replays dead letters: submits their tasks again as new jobs.
//!
//! A letter is removed as soon as its task was published again, so an interruption neither loses a
//! letter nor runs a task twice, except for the few in flight. If the caller drops a replay, no
//! further tasks are published, and the replay is completed in the background: the letters of
//! published tasks are removed, and the new job is sealed. Only a process that is killed leaves
//! more behind: letters of up to
//! [`REQUESTS_AT_ONCE`](sortie_protocol::submission::REQUESTS_AT_ONCE) tasks that are submitted
//! already, and a job that is not sealed.

use futures::stream;
use sortie_broker::{Broker, LetterId};
use sortie_protocol::submission::{End, Manner};
use sortie_protocol::{DeadLetter, Job as JobDefinition, Task};
use tokio::sync::watch;

use crate::api::client::Client;
use crate::api::detached::Detached;
use crate::api::shared::Shared;
use crate::drive::clock::time_of_day;
use crate::drive::shell::{Parts, Shell};
use crate::error::SubmitError;

/// The result of replaying dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replayed {
    /// The new jobs, one for each original job, each with its number of submitted tasks.
    pub jobs: Vec<Detached>,
    /// Letters without a task, which are kept.
    pub unreadable: Vec<LetterId>,
    /// Number of letters whose tasks the broker had not confirmed when the replay ended. They are
    /// kept.
    pub left: usize,
}

/// A replay failed before it was complete.
#[derive(Debug, thiserror::Error)]
#[error("not all dead letters could be replayed")]
pub struct ReplayError {
    /// What was done by then. For the last job, which is not sealed, only tasks that the broker
    /// confirmed are counted.
    pub replayed: Replayed,
    /// Why it failed.
    #[source]
    pub why: SubmitError,
}

#[derive(Debug, Default)]
struct Letters {
    ids: Vec<LetterId>,
    tasks: Vec<Task>,
}

impl Client {
    /// Submit the tasks of dead letters again: a new job with the same function and options for
    /// each original job, with tasks numbered from 0 in the order of the letters. A letter is
    /// removed once its task was published; a task that fails again becomes a new dead letter.
    ///
    /// Dropping the future stops the replay; it is completed in the background for the tasks
    /// published by then, which [`Client::flush_jobs`] waits for.
    ///
    /// # Errors
    /// When the broker does not answer; the error contains the jobs submitted by then. Letters
    /// whose tasks were not published are kept.
    pub async fn replay(
        &self,
        letters: impl IntoIterator<Item = (LetterId, DeadLetter)>,
    ) -> Result<Replayed, ReplayError> {
        self.replay_until(letters, std::future::pending()).await
    }

    /// Like [`Client::replay`], but no further tasks are submitted after `stop` resolves.
    ///
    /// # Errors
    /// As [`Client::replay`].
    pub async fn replay_until(
        &self,
        letters: impl IntoIterator<Item = (LetterId, DeadLetter)>,
        stop: impl Future<Output = ()>,
    ) -> Result<Replayed, ReplayError> {
        let mut replayed = Replayed::default();
        let mut jobs: Vec<(JobDefinition, Letters)> = Vec::new();
        for (letter, dead) in letters {
            match dead {
                DeadLetter::Task { job, task, .. } => {
                    // Each letter has the one function of its task.
                    let place = jobs.iter().position(|(known, _)| *known == job);
                    let place = place.unwrap_or_else(|| {
                        jobs.push((job, Letters::default()));
                        jobs.len() - 1
                    });
                    if let Some((_, letters)) = jobs.get_mut(place) {
                        letters.ids.push(letter);
                        letters.tasks.push(task);
                    }
                }
                DeadLetter::Unreadable { .. } => replayed.unreadable.push(letter),
            }
        }
        let (stopping, stopped) = watch::channel(());
        let (shared, tracked) = (self.shared.clone(), self.shared.tracker.begin());
        // In a spawned task, so that it completes properly if the caller drops the future.
        let mut replaying = self.shared.runtime.spawn(async move {
            let _tracked = tracked;
            let mut failed = None;
            for (job, letters) in jobs {
                if failed.is_some() {
                    replayed.left += letters.ids.len();
                } else {
                    failed = replay_job(&shared, job, letters, &stopped, &mut replayed)
                        .await
                        .err();
                }
            }
            match failed {
                Some(why) => Err(ReplayError { replayed, why }),
                None => Ok(replayed),
            }
        });
        let cut_off = |_| ReplayError {
            replayed: Replayed::default(),
            why: SubmitError::ShuttingDown,
        };
        tokio::select! {
            biased;
            ended = &mut replaying => return ended.map_err(cut_off)?,
            () = stop => drop(stopping),
        }
        replaying.await.map_err(cut_off)?
    }
}

/// Submit the tasks of one job's letters as a new job.
async fn replay_job(
    shared: &Shared,
    job: JobDefinition,
    mut letters: Letters,
    stopped: &watch::Receiver<()>,
    replayed: &mut Replayed,
) -> Result<(), SubmitError> {
    let count = letters.ids.len();
    // The other end is held by the caller that waits.
    if stopped.has_changed().is_err() {
        replayed.left += count;
        return Ok(());
    }
    let key = shared.new_key()?;
    let broker: &dyn Broker = &*shared.broker;
    let put = broker.put_job(JobDefinition { key, ..job }, time_of_day());
    if let Err(error) = put.await {
        replayed.left += count;
        return Err(error.into());
    }
    for task in &mut letters.tasks {
        shared.values.rehome(task, key).await;
    }
    let tasks = std::mem::take(&mut letters.tasks);
    let parts = Parts {
        letters: &letters.ids,
        observed: shared.observed.clone(),
        stop: Some(stopped.clone()),
        ..Parts::default()
    };
    let mut shell = Shell::new(Manner::Replay, (broker, key), &shared.runtime, parts);
    let end = shell.run(stream::iter(tasks.into_iter().map(Ok))).await;
    let tasks = shell.published();
    let is_whole = matches!(end, End::Complete(_));
    if is_whole || tasks > 0 {
        replayed.jobs.push(Detached {
            job: key.job,
            tasks,
        });
    }
    replayed.left += count - usize::try_from(tasks).unwrap_or(count).min(count);
    match end {
        // How many tasks there are is not known for sure now. A client that attaches gets those
        // there are.
        End::Failed(error) | End::Closed(Some(error)) => Err(error.into()),
        End::Complete(_)
        | End::Cancelled
        | End::Lost(_)
        | End::Incomplete(_)
        | End::Closed(None)
        | End::Gone => Ok(()),
    }
}
