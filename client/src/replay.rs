//! Another try for dead letters.
//!
//! A letter is removed as soon as its task was published anew, so what is interrupted has neither lost a letter nor, but for the few tasks that
//! were on their way, run one twice. Stopping is not dropping: whoever lets go of a replay stops it, and what was published by then is finished in
//! the background: its letters are removed, and the new job is told how many tasks it has. Only a process that dies at once leaves more:
//! letters of up to [`AT_ONCE_MAX`] tasks that are submitted already, and a job whose number of tasks nobody was told.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use sortie_broker::{Broker, Error, LetterId};
use sortie_protocol::{Bundle, DeadLetter, Job as JobDefinition, JobId, Task, TaskIndex};
use tokio::sync::watch;

use crate::client::{Client, SubmitError, now, random_job_id};
use crate::detach::Detached;

/// Letters that are dealt with at once: each takes two answers of the broker, one after the other.
const AT_ONCE_MAX: usize = 64;

/// What came of replaying dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replayed {
    /// The new jobs, one for each job that a letter was of.
    pub jobs: Vec<Detached>,
    /// Letters that hold no task, and stay.
    pub unreadable: Vec<LetterId>,
    /// Letters whose tasks were not submitted because the replay was stopped. They are still there.
    pub left: usize,
}

type Letters = Vec<(LetterId, Task)>;

impl Client {
    /// Submit the tasks of dead letters again: for each job that they were of a new one with the same function and options, its tasks counted
    /// from 0 in the order of the letters. A letter is removed once its task was published; a letter whose task fails again comes back.
    ///
    /// Dropping the future stops: what was published by then is finished in the background, which [`Client::settled`] waits for.
    ///
    /// # Errors
    /// When the broker does not answer. Letters whose tasks were not published by then are still there.
    pub async fn replay(&self, letters: impl IntoIterator<Item = (LetterId, DeadLetter)>) -> Result<Replayed, SubmitError> {
        self.replay_until(letters, std::future::pending()).await
    }

    /// As [`Client::replay`], but no further tasks are submitted from when `stop` resolves.
    ///
    /// # Errors
    /// As [`Client::replay`].
    pub async fn replay_until(
        &self,
        letters: impl IntoIterator<Item = (LetterId, DeadLetter)>,
        stop: impl Future<Output = ()>,
    ) -> Result<Replayed, SubmitError> {
        let mut replayed = Replayed::default();
        let mut jobs: BTreeMap<JobId, (JobDefinition, Letters)> = BTreeMap::new();
        for (letter, dead) in letters {
            match dead {
                DeadLetter::Task { job, task, .. } => jobs.entry(job.id).or_insert_with(|| (job, Vec::new())).1.push((letter, task)),
                DeadLetter::Unreadable { .. } => replayed.unreadable.push(letter),
            }
        }
        let (stopping, stopped) = watch::channel(());
        let (broker, courtesy) = (self.shared.broker.clone(), self.shared.courtesies.begin());
        // On a task of its own, so that it goes on to a sound end when nobody waits any more.
        let mut replaying = self.shared.runtime.spawn(async move {
            let _courtesy = courtesy;
            for (job, letters) in jobs.into_values() {
                replay_job(&broker, job, letters, &stopped, &mut replayed).await?;
            }
            Ok(replayed)
        });
        tokio::select! {
            biased;
            ended = &mut replaying => return ended.map_err(|_| SubmitError::ShuttingDown)?,
            () = stop => drop(stopping),
        }
        replaying.await.map_err(|_| SubmitError::ShuttingDown)?
    }
}

/// Each task travels alone: it failed before, and may take its neighbours with it.
async fn replay_job(
    broker: &Arc<dyn Broker>,
    job: JobDefinition,
    letters: Letters,
    stopped: &watch::Receiver<()>,
    replayed: &mut Replayed,
) -> Result<(), SubmitError> {
    // The other end is held by whoever waits.
    let is_stopped = || stopped.has_changed().is_err();
    if is_stopped() {
        replayed.left += letters.len();
        return Ok(());
    }
    let id = random_job_id()?;
    broker.put_job(JobDefinition { id, ..job }, now()).await?;
    let mut letters = (0..).zip(letters);
    let (mut under_way, mut published) = (FuturesUnordered::new(), 0);
    let mut failed = None;
    loop {
        while under_way.len() < AT_ONCE_MAX
            && failed.is_none()
            && !is_stopped()
            && let Some((index, (letter, task))) = letters.next()
        {
            published = index + 1;
            under_way.push(replay_task(broker, id, index, letter, task));
        }
        match under_way.next().await {
            Some(Ok(())) => {}
            Some(Err(error)) => failed = failed.or(Some(error)),
            None => break,
        }
    }
    if let Some(error) = failed {
        // How many tasks there are is not known now. Whoever attaches gets those there are.
        return Err(error.into());
    }
    broker.seal(id, published).await?;
    replayed.jobs.push(Detached { job: id, tasks: published });
    replayed.left += letters.count();
    Ok(())
}

async fn replay_task(broker: &Arc<dyn Broker>, job: JobId, index: TaskIndex, letter: LetterId, task: Task) -> Result<(), Error> {
    let tasks = vec![Task { index, ..task }];
    broker.publish(Bundle { job, attempts_before: 0, lost_before: 0, published: now(), tasks }).await?;
    broker.remove_dead_letter(letter).await
}
