//! Jobs that were submitted elsewhere, or by this program when it ran before.

use sortie_protocol::JobId;

use crate::api::client::Client;
use crate::api::job::Job;
use crate::drive::feed::Feed;
use crate::drive::mapped;
use crate::error::AttachError;

impl Client {
    /// Follow a job that was submitted before, from its first outcome on. Its results are decoded
    /// as `T`.
    ///
    /// It ends when all outcomes are there. If the job was cancelled, it ends with those there are;
    /// if its submitter is gone before it said how many tasks there are, it ends when nothing more
    /// can come ([`Job::incomplete`] says why). If outcomes were dropped, because nobody fetched
    /// them in time, it ends too, and [`Job::trouble`] says how many. Dropping it cancels nothing,
    /// and the broker keeps the outcomes until [`Client::forget`].
    ///
    /// # Errors
    /// When there is no such job, or the broker does not answer.
    pub async fn attach<T>(&self, job: JobId) -> Result<Job<T>, AttachError> {
        let broker = &self.shared.broker;
        let key = self.shared.key(job);
        let record = broker.job(key).await?.ok_or(AttachError::NoSuchJob(job))?;
        let feed = Feed::open(broker, key, self.shared.observed.clone()).await?;
        let (attached, sink) = Job::new(Some(job), self.shared.values.clone());
        let shared = self.shared.clone();
        self.shared.runtime.spawn(async move {
            let (broker, runtime) = (shared.broker.clone(), shared.runtime.clone());
            mapped::attach(broker, runtime, record, feed, sink).await;
            drop(shared);
        });
        Ok(attached)
    }
}
