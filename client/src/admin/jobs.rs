//! Lists, cancels and forgets jobs.

use sortie_broker::Error;
use sortie_protocol::{JobId, JobRecord, JobState, Reading};

use crate::api::client::Client;
use crate::drive::clock::time_of_day;

/// Jobs of subtasks that one look at the jobs removes.
const FORGOTTEN_AT_ONCE: usize = 100;

/// What became of a job that was to be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancellation {
    /// It is cancelled, or was before, or is not there.
    Cancelled,
    /// All of its tasks had ended. It stays as it is.
    HadEnded,
}

impl Client {
    /// The jobs submitted last, newest first, at most `count_max`.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn jobs(&self, count_max: usize) -> Result<Vec<JobRecord>, Error> {
        let mut records = self.shared.broker.jobs(count_max).await?;
        self.drop_left_behind(&records).await?;
        self.drop_subtasks(&mut records).await?;
        Ok(records)
    }

    /// Forget subtasks that are over: workers, who end them, may not remove what is stored.
    async fn drop_subtasks(&self, records: &mut Vec<JobRecord>) -> Result<(), Error> {
        let is_over =
            |record: &JobRecord| record.job.parent.is_some() && record.state == JobState::Cancelled;
        let over = records.iter().filter(|record| is_over(record));
        for record in over.take(FORGOTTEN_AT_ONCE) {
            self.shared.broker.forget(record.job.key).await?;
        }
        records.retain(|record| !is_over(record));
        Ok(())
    }

    /// Take away outcomes that were gathered while a reader stood in the record that had died.
    async fn drop_left_behind(&self, records: &[JobRecord]) -> Result<(), Error> {
        let now = time_of_day();
        // A name that no reader has: what is noted then is only that others are gone.
        let ends = Reading::Ends { id: [0; 16], now };
        for record in records.iter().filter(|record| !record.is_gathered()) {
            let mut noted = record.clone();
            noted.note(ends);
            if noted.is_gathered() {
                match self.shared.broker.note(record.job.key, ends).await {
                    // The next look takes them away.
                    Err(Error::Full { .. }) => {}
                    ended => ended.map(drop)?,
                }
            }
        }
        Ok(())
    }

    /// A job's record, if the broker has the job.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn job(&self, job: JobId) -> Result<Option<JobRecord>, Error> {
        self.shared.broker.job(self.shared.key(job)).await
    }

    /// Cancel a job: waiting tasks are dropped, running tasks are stopped. Outcomes stored before
    /// stay readable. Cancelling again, or cancelling a missing job or one that has ended, changes
    /// nothing.
    ///
    /// # Errors
    /// When the broker does not answer. When it is full and stays so for a few seconds: waiting
    /// tasks were dropped all the same and workers were told to stop running ones, but the job does
    /// not count as cancelled.
    pub async fn cancel(&self, job: JobId) -> Result<Cancellation, Error> {
        let key = self.shared.key(job);
        let broker = &self.shared.broker;
        if let Some(record) = broker.job(key).await?
            && matches!(record.state, JobState::Sealed { .. })
            && (record.is_gathered() || self.shared.unfinished(key).await? == Some(0))
        {
            return Ok(Cancellation::HadEnded);
        }
        broker.cancel(key).await.map(|()| Cancellation::Cancelled)
    }

    /// Remove everything that the broker has of a job, outcomes included, except its dead letters.
    /// Its waiting and running tasks are stopped. Who follows it is told that it was forgotten
    /// ([`SubmitError::Forgotten`](crate::SubmitError::Forgotten)).
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn forget(&self, job: JobId) -> Result<(), Error> {
        self.shared.broker.forget(self.shared.key(job)).await
    }
}
