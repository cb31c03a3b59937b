//! Attaches to jobs that were submitted by another process, or by an earlier run of this program.

use sortie_protocol::JobId;

use crate::api::client::Client;
use crate::api::job::Job;
use crate::drive::feed::Feed;
use crate::drive::mapped;
use crate::error::AttachError;

impl Client {
    /// Follow an existing job from its first outcome on. Its results are decoded as `T`.
    ///
    /// The stream ends when all outcomes have arrived. If the job was cancelled, it ends with the
    /// outcomes stored so far; if the submitter disappeared before it sealed the job, it ends when
    /// no more outcomes can come ([`Job::incomplete`] says why). If outcomes were dropped because
    /// they were not read within the retention time, it ends too, and [`Job::trouble`] says how
    /// many. Dropping the job cancels nothing, and the broker keeps the outcomes until
    /// [`Client::forget`].
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
