//! Another try for dead letters.
//!
//! A letter is removed as soon as its task was published anew, so what is interrupted has neither
//! lost a letter nor, but for the few tasks that were on their way, run one twice. Stopping is not
//! dropping: whoever lets go of a replay stops it, and what was published by then is finished in
//! the background: its letters are removed, and the new job is told how many tasks it has. Only a
//! process that dies at once leaves more: letters of up to [`AT_ONCE_MAX`] tasks that are submitted
//! already, and a job whose number of tasks nobody was told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use sortie_broker::{Broker, Error, LetterId};
use sortie_protocol::{Bundle, DeadLetter, Job as JobDefinition, JobId, Task};
use tokio::sync::watch;

use crate::client::{Client, SubmitError, now, random_job_id};
use crate::detach::Detached;

/// Letters that are dealt with at once: each takes two answers of the broker, one after the other.
const AT_ONCE_MAX: usize = 64;

/// What came of replaying dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replayed {
    /// The new jobs, one for each job that a letter was of, each with how many tasks were
    /// submitted.
    pub jobs: Vec<Detached>,
    /// Letters that hold no task, and stay.
    pub unreadable: Vec<LetterId>,
    /// Letters whose tasks were not submitted because the replay ended before. They are still
    /// there.
    pub left: usize,
}

/// A replay broke off.
#[derive(Debug, thiserror::Error)]
#[error("not all dead letters could be replayed")]
pub struct ReplayError {
    /// What was done by then. Of the last job those tasks are counted that the broker confirmed;
    /// it was not told how many there are.
    pub replayed: Replayed,
    /// Why it broke off.
    #[source]
    pub why: SubmitError,
}

type Letters = Vec<(LetterId, Task)>;

impl Client {
    /// Submit the tasks of dead letters again: for each job that they were of a new one with the
    /// same function and options, its tasks counted from 0 in the order of the letters. A
    /// letter is removed once its task was published; a letter whose task fails again comes back.
    ///
    /// Dropping the future stops: what was published by then is finished in the background, which
    /// [`Client::settled`] waits for.
    ///
    /// # Errors
    /// When the broker does not answer; the error names the jobs that were submitted by then.
    /// Letters whose tasks were not published are still there.
    pub async fn replay(
        &self,
        letters: impl IntoIterator<Item = (LetterId, DeadLetter)>,
    ) -> Result<Replayed, ReplayError> {
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
    ) -> Result<Replayed, ReplayError> {
        let mut replayed = Replayed::default();
        let mut jobs: BTreeMap<JobId, (JobDefinition, Letters)> = BTreeMap::new();
        for (letter, dead) in letters {
            match dead {
                DeadLetter::Task { job, task, .. } => jobs
                    .entry(job.id)
                    .or_insert_with(|| (job, Vec::new()))
                    .1
                    .push((letter, task)),
                DeadLetter::Unreadable { .. } => replayed.unreadable.push(letter),
            }
        }
        let (stopping, stopped) = watch::channel(());
        let (broker, courtesy) = (self.shared.broker.clone(), self.shared.courtesies.begin());
        // On a task of its own, so that it goes on to a sound end when nobody waits any more.
        let mut replaying = self.shared.runtime.spawn(async move {
            let _courtesy = courtesy;
            let mut failed = None;
            for (job, letters) in jobs.into_values() {
                if failed.is_some() {
                    replayed.left += letters.len();
                } else {
                    failed = replay_job(&broker, job, letters, &stopped, &mut replayed)
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
    let published = AtomicU64::new(0);
    let mut under_way = FuturesUnordered::new();
    let mut failed = None;
    loop {
        while under_way.len() < AT_ONCE_MAX
            && failed.is_none()
            && !is_stopped()
            && let Some((index, (letter, task))) = letters.next()
        {
            under_way.push(replay_task(
                broker,
                id,
                (letter, Task { index, ..task }),
                &published,
            ));
        }
        match under_way.next().await {
            Some(Ok(())) => {}
            Some(Err(error)) => failed = failed.or(Some(error)),
            None => break,
        }
    }
    drop(under_way);
    let tasks = published.into_inner();
    if failed.is_none() || tasks > 0 {
        replayed.jobs.push(Detached { job: id, tasks });
    }
    replayed.left += letters.count();
    match failed {
        // How many tasks there are is not known for sure now. Whoever attaches gets those there
        // are.
        Some(error) => Err(error.into()),
        None => Ok(broker.seal(id, tasks).await?),
    }
}

/// Publish a task and remove its letter. It counts as published from when the broker has it.
async fn replay_task(
    broker: &Arc<dyn Broker>,
    job: JobId,
    (letter, task): (LetterId, Task),
    published: &AtomicU64,
) -> Result<(), Error> {
    broker
        .publish(Bundle {
            job,
            attempts_before: 0,
            lost_before: 0,
            published: now(),
            tasks: vec![task],
        })
        .await?;
    published.fetch_add(1, Ordering::Relaxed);
    broker.remove_dead_letter(letter).await
}
