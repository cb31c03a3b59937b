//! Attaches to jobs that were submitted by another process, or by an earlier run of this program.

use sortie_protocol::{Gathered, JobId, Reading};

use crate::api::client::Client;
use crate::api::job::Job;
use crate::api::shared::random_id;
use crate::drive::clock::time_of_day;
use crate::drive::feed::Feed;
use crate::drive::mapped::{self, Said};
use crate::error::AttachError;

impl Client {
    /// Follow an existing job from its first outcome on. Its results are decoded as `T`.
    ///
    /// It ends when all outcomes are there. If the job was cancelled, it ends with those there are;
    /// if its submitter is gone before it said how many tasks there are, it ends when nothing more
    /// can come ([`Job::incomplete`] says why). If outcomes were dropped, because nobody fetched
    /// them in time, it ends too, and [`Job::trouble`] says how many. Dropping it cancels nothing,
    /// and the broker keeps the outcomes until [`Client::forget`], or until they were
    /// [gathered](Client::gathered) and nobody is attached any more.
    ///
    /// # Errors
    /// When there is no such job, its outcomes were gathered already, or the broker does not
    /// answer.
    pub async fn attach<T>(&self, job: JobId) -> Result<Job<T>, AttachError> {
        let broker = &self.shared.broker;
        let key = self.shared.key(job);
        let id = random_id()?;
        let (noted, said) = match broker.note(key, mapped::reads(id)).await {
            // It may read and not write.
            Err(sortie_broker::Error::Denied { .. }) => (broker.job(key).await?, Said::Yes),
            // Reading needs no room.
            Err(sortie_broker::Error::Full { .. }) => (broker.job(key).await?, Said::NoRoom),
            noted => (noted?, Said::Yes),
        };
        let record = noted.ok_or(AttachError::NoSuchJob(job))?;
        if let Some(gathered) = record.gathered.filter(|_| record.is_gathered()) {
            return Err(AttachError::Gathered { job, gathered });
        }
        let feed = Feed::open(broker, key, self.shared.observed.clone()).await?;
        let (mut attached, sink) = Job::new(Some(job), self.shared.clone());
        attached.reader = Some(id);
        let (shared, tracked) = (self.shared.clone(), self.shared.tracker.begin());
        self.shared.runtime.spawn(async move {
            let (broker, runtime) = (shared.broker.clone(), shared.runtime.clone());
            mapped::attach(broker, runtime, record, (id, said), feed, sink).await;
            drop((tracked, shared));
        });
        Ok(attached)
    }

    /// Say that a job's outcomes were gathered, with how it had ended, and are of no further use to
    /// the reader that `attached` is. When nobody else reads them any more, the broker drops them;
    /// the job stays listed for a while. Whether they are dropped by now.
    ///
    /// # Errors
    /// When the broker does not answer, or is full: then it keeps the outcomes.
    pub async fn gathered<T>(
        &self,
        attached: &Job<T>,
        (completed, failed): (u64, u64),
    ) -> Result<bool, sortie_broker::Error> {
        let (Some(job), Some(id)) = (attached.id(), attached.reader) else {
            return Ok(false);
        };
        let gathered = Gathered {
            at: time_of_day(),
            completed,
            failed,
        };
        let reading = Reading::Gathers { id, gathered };
        let record = self
            .shared
            .broker
            .note(self.shared.key(job), reading)
            .await?;
        Ok(record.is_none_or(|record| record.is_gathered()))
    }
}
