//! What can be asked about jobs, dead letters and workers, and done about them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use sortie_broker::{Broker, Error, Event, LetterId};
use sortie_protocol::{DeadLetter, Ending, Job as JobDefinition, JobId, JobRecord, JobState, Outcome, Presence, Task};

use crate::attach::AttachError;
use crate::client::{Client, SubmitError, now, random_job_id};
use crate::detach::Detached;
use crate::following::Following;
use crate::publisher::Publisher;

/// How long counting the outcomes of a job that goes on waits for a further one: those that are stored come one right after the other.
const COUNT_QUIET: Duration = Duration::from_millis(500);

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobStatus {
    /// What it is, when it was submitted, and whether it was sealed or cancelled.
    pub record: JobRecord,
    /// Tasks that completed.
    pub completed: u64,
    /// Tasks that failed for good.
    pub failed: u64,
    /// Bundles that wait or are in work, where the broker tells: it does not tell a tenant that shares it with others.
    pub unfinished: Option<u64>,
}

impl JobStatus {
    /// How many tasks there are, if that is known.
    #[must_use]
    pub fn tasks(&self) -> Option<u64> {
        match self.record.state {
            JobState::Sealed { tasks } => Some(tasks),
            JobState::Open | JobState::Cancelled => None,
        }
    }

    fn ended(&self) -> u64 {
        self.completed + self.failed
    }

    fn count(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            match outcome.ending {
                Ending::Completed(_) => self.completed += 1,
                Ending::Failed(_) => self.failed += 1,
                Ending::Cancelled => {}
            }
        }
    }
}

/// What came of replaying dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replayed {
    /// The new jobs, one for each job that a letter was of.
    pub jobs: Vec<Detached>,
    /// Letters that hold no task, and stay.
    pub unreadable: Vec<LetterId>,
}

/// Bundles of a job that wait or are in work, where the broker tells.
pub(crate) async fn unfinished(broker: &dyn Broker, job: JobId) -> Result<Option<u64>, Error> {
    match broker.unfinished(job).await {
        Ok(bundles) => Ok(Some(bundles)),
        Err(Error::Denied { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Client {
    /// The jobs submitted last, newest first, at most `count_max`.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn jobs(&self, count_max: usize) -> Result<Vec<JobRecord>, Error> {
        self.shared.broker.jobs(count_max).await
    }

    /// A job's record, if the broker has the job.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn job(&self, job: JobId) -> Result<Option<JobRecord>, Error> {
        self.shared.broker.job(job).await
    }

    /// How a job stands. Reads its outcomes, to count them; of a job that goes on it counts those that come without a pause.
    ///
    /// # Errors
    /// When there is no such job, or the broker does not answer.
    pub async fn job_status(&self, job: JobId) -> Result<JobStatus, AttachError> {
        let broker = &self.shared.broker;
        let unfinished = unfinished(&**broker, job).await?;
        // Read last: what it says of the tasks is then true of what is counted.
        let record = broker.job(job).await?.ok_or(AttachError::NoSuchJob(job))?;
        let mut status = JobStatus { record, completed: 0, failed: 0, unfinished };
        let mut events = Following::open(broker, job).await?;
        while status.tasks().is_none_or(|tasks| status.ended() < tasks) {
            match tokio::time::timeout(COUNT_QUIET, events.next()).await {
                Ok(Some(Event::Outcomes(_, outcomes))) => status.count(&outcomes),
                Ok(Some(Event::Refused(_)) | None) => match events.trouble() {
                    Some(error) => return Err(error.into()),
                    None => break,
                },
                Ok(Some(Event::Cancelled)) | Err(_) => break,
            }
        }
        Ok(status)
    }

    /// Cancel a job: what waits is dropped, what runs is stopped. Outcomes that were stored before stay readable. Cancelling again, or a job
    /// that is not there, changes nothing.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn cancel(&self, job: JobId) -> Result<(), Error> {
        self.shared.broker.cancel(job).await
    }

    /// Have the broker drop all there is of a job, its outcomes too, except its dead letters. What still waits or runs of it is stopped first.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn forget(&self, job: JobId) -> Result<(), Error> {
        if unfinished(&*self.shared.broker, job).await? != Some(0) {
            self.shared.broker.cancel(job).await?;
        }
        self.shared.broker.forget(job).await
    }

    /// The workers that are there.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn workers(&self) -> Result<Vec<Presence>, Error> {
        self.shared.broker.workers().await
    }

    /// The newest dead letters, of a job or of all, newest first: tasks that failed for good, with what it takes to run them again.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn dead_letters(&self, job: Option<JobId>, count_max: usize) -> Result<Vec<(LetterId, DeadLetter)>, Error> {
        self.shared.broker.dead_letters(job, count_max).await
    }

    /// Remove a dead letter: it was dealt with. One that is not there is no error.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn remove_dead_letter(&self, letter: LetterId) -> Result<(), Error> {
        self.shared.broker.remove_dead_letter(letter).await
    }

    /// Submit the tasks of dead letters again: for each job that they were of a new one with the same function and options, its tasks counted
    /// from 0 in the order of the letters. A letter is removed once its task was published; a letter whose task fails again comes back.
    ///
    /// # Errors
    /// When the broker does not answer. Letters whose tasks were not published by then are still there.
    pub async fn replay(&self, letters: impl IntoIterator<Item = (LetterId, DeadLetter)>) -> Result<Replayed, SubmitError> {
        let mut replayed = Replayed::default();
        let mut jobs: BTreeMap<JobId, (JobDefinition, Vec<(LetterId, Task)>)> = BTreeMap::new();
        for (letter, dead) in letters {
            match dead {
                DeadLetter::Task { job, task, .. } => jobs.entry(job.id).or_insert_with(|| (job, Vec::new())).1.push((letter, task)),
                DeadLetter::Unreadable { .. } => replayed.unreadable.push(letter),
            }
        }
        for (job, tasks) in jobs.into_values() {
            replayed.jobs.push(self.replay_job(job, tasks).await?);
        }
        Ok(replayed)
    }

    /// Each task travels alone: it failed before, and may take its neighbours with it.
    async fn replay_job(&self, job: JobDefinition, tasks: Vec<(LetterId, Task)>) -> Result<Detached, SubmitError> {
        let (id, broker) = (random_job_id()?, &self.shared.broker);
        broker.put_job(JobDefinition { id, ..job }, now()).await?;
        let mut publisher = Publisher::new(&**broker, id);
        let mut count = 0;
        let mut published = Vec::with_capacity(tasks.len());
        for (index, (letter, task)) in (0..).zip(tasks) {
            while !publisher.has_room() {
                publisher.answer().await.result?;
            }
            if let Some(answer) = publisher.publish(vec![Task { index, ..task }]).await {
                answer.result?;
            }
            count = index + 1;
            published.push(letter);
        }
        while !publisher.is_idle() {
            publisher.answer().await.result?;
        }
        broker.seal(id, count).await?;
        for letter in published {
            broker.remove_dead_letter(letter).await?;
        }
        Ok(Detached { job: id, tasks: count })
    }
}
