//! What can be asked about jobs, dead letters and workers, and done about them.

use std::time::Duration;

use futures::StreamExt as _;
use sortie_broker::{Broker, Error, LetterId};
use sortie_protocol::{DeadLetter, Ending, JobId, JobRecord, JobState, Outcome, Presence};
use tokio::time::Instant;

use crate::attach::AttachError;
use crate::client::Client;
use crate::following::{Followed, Following};

/// How long counting outcomes waits for a further one: those that are stored come one right after
/// the other, once the first has come.
const COUNT_QUIET: Duration = Duration::from_millis(500);
/// How long the outcomes of a job that goes on are counted: while tasks end as fast as they are
/// counted there is no pause to stop at. What was stored by then and not counted is missing, and
/// the status says so. So it does where nothing could be read in that time.
const COUNT_TIME_MAX: Duration = Duration::from_secs(5);

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobStatus {
    /// What it is, when it was submitted, and whether it was sealed or cancelled.
    pub record: JobRecord,
    /// Tasks that completed.
    pub completed: u64,
    /// Tasks that failed for good.
    pub failed: u64,
    /// Whether these are all that ended.
    pub counted: Counted,
    /// Bundles that wait or are in work, where the broker tells: it does not tell a tenant that
    /// shares it with others.
    pub unfinished: Option<u64>,
}

/// Whether all outcomes were counted that a job has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// All that were there.
    All,
    /// At least these: further ones came faster than they could be counted, or could not be read in
    /// time.
    Some,
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

    /// How a job stands. Reads its outcomes, to count them; of a job that goes on it counts those
    /// that come without a pause, for five seconds at most.
    ///
    /// # Errors
    /// When there is no such job, or the broker does not answer.
    pub async fn job_status(&self, job: JobId) -> Result<JobStatus, AttachError> {
        let broker = &self.shared.broker;
        let unfinished = unfinished(&**broker, job).await?;
        // Read last: what it says of the tasks is then true of what is counted.
        let record = broker.job(job).await?.ok_or(AttachError::NoSuchJob(job))?;
        let mut status = JobStatus {
            record,
            completed: 0,
            failed: 0,
            counted: Counted::All,
            unfinished,
        };
        let caught_up = broker.caught_up(job);
        let mut events = Following::open(broker, &self.shared.runtime, job).await?;
        let until = Instant::now() + COUNT_TIME_MAX;
        while status.tasks().is_none_or(|tasks| status.ended() < tasks) {
            // What does not go on is counted to its end. Nothing may be unfinished for a moment
            // while whoever submits the job goes on.
            let goes_on = status.unfinished != Some(0) || status.record.state == JobState::Open;
            if goes_on && Instant::now() >= until {
                status.counted = Counted::Some;
                break;
            }
            match tokio::time::timeout(COUNT_QUIET, events.next()).await {
                Ok(Some(Followed::Outcomes(_, outcomes))) => status.count(&outcomes),
                Ok(None) => match events.trouble() {
                    Some(error) => return Err(error.into()),
                    None => break,
                },
                Ok(Some(Followed::Cancelled | Followed::Idle)) => break,
                Err(_)
                    if broker
                        .caught_up(job)
                        .is_none_or(|count| Some(count) != caught_up) =>
                {
                    break;
                }
                // The broker has not read yet what is stored.
                Err(_) if Instant::now() >= until => {
                    status.counted = Counted::Some;
                    break;
                }
                Err(_) => {}
            }
        }
        Ok(status)
    }

    /// Cancel a job: what waits is dropped, what runs is stopped. Outcomes that were stored before
    /// stay readable. Cancelling again, or a job that is not there, changes nothing.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn cancel(&self, job: JobId) -> Result<(), Error> {
        self.shared.broker.cancel(job).await
    }

    /// Have the broker drop all there is of a job, its outcomes too, except its dead letters. What
    /// still waits or runs of it is stopped first.
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

    /// The newest dead letters, of a job or of all, newest first: tasks that failed for good, with
    /// what it takes to run them again.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn dead_letters(
        &self,
        job: Option<JobId>,
        count_max: usize,
    ) -> Result<Vec<(LetterId, DeadLetter)>, Error> {
        self.shared.broker.dead_letters(job, count_max).await
    }

    /// Remove a dead letter: it was dealt with. One that is not there is no error.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn remove_dead_letter(&self, letter: LetterId) -> Result<(), Error> {
        self.shared.broker.remove_dead_letter(letter).await
    }
}
