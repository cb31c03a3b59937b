//! The state shared by all clones of a client and its futures.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sortie_broker::{Broker, Error};
use sortie_protocol::{JobId, JobKey, TaskName, WorkerId};
use tokio::runtime::Handle;

use crate::drive::open_job::{OpenJobs, Opening};
use crate::drive::submitted::Submitted;
use crate::drive::tracker::{TaskTracker, Tracked};
use crate::drive::values::Values;
use crate::drive::window::Window;
use crate::error::SubmitError;
use crate::observer::Observed;

/// A client's broker, runtime and values.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) runtime: Handle,
    pub(crate) window: Window,
    pub(crate) tracker: TaskTracker,
    pub(crate) observed: Observed,
    pub(crate) values: Values,
    pub(crate) open: OpenJobs,
    /// Who coordinates the client's open jobs, as others see it.
    pub(crate) holder: WorkerId,
    /// Tasks that this client published.
    pub(crate) published: Mutex<HashMap<TaskName, Arc<Submitted>>>,
    #[cfg(feature = "embedded")]
    pub(crate) embedded: Option<crate::embedded::loader::Embedded>,
}

/// A name that nothing else has.
pub(crate) fn random_id() -> std::io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes)
}

/// The name of a process as a coordinator. Without random bytes it is one that others may have too:
/// then two may think that they coordinate a job, which is harmless.
pub(crate) fn new_holder() -> WorkerId {
    WorkerId::from_bytes(random_id().unwrap_or_default())
}

impl Shared {
    /// The key of one of this tenant's jobs.
    pub(crate) fn key(&self, job: JobId) -> JobKey {
        JobKey {
            tenant: self.broker.tenant(),
            job,
        }
    }

    /// The key of a job that is new.
    pub(crate) fn new_key(&self) -> Result<JobKey, SubmitError> {
        let id = random_id().map_err(SubmitError::Random)?;
        Ok(self.key(JobId::from_bytes(id)))
    }

    /// What a job needs that is to be kept open.
    pub(crate) fn opening(&self) -> Opening {
        Opening {
            broker: self.broker.clone(),
            runtime: self.runtime.clone(),
            window: self.window.clone(),
            observed: self.observed.clone(),
            values: self.values.clone(),
            holder: self.holder,
            tracked: self.tracker.begin(),
        }
    }

    /// Number of a job's bundles that wait or are leased, if the broker tells.
    pub(crate) async fn unfinished(&self, job: JobKey) -> Result<Option<u64>, Error> {
        match self.broker.unfinished(job).await {
            Ok(unfinished) => Ok(Some(unfinished.bundles)),
            Err(Error::Denied { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Cancel a job and have the broker forget it, in the background. `tracked` was begun when
    /// there was something to cancel.
    pub(crate) fn abandon(&self, job: JobKey, tracked: Tracked) {
        let broker = self.broker.clone();
        self.runtime.spawn(async move {
            // A broker that cannot be reached forgets the job by itself in time.
            let _ = broker.cancel(job).await;
            let _ = broker.forget(job).await;
            drop(tracked);
        });
    }
}
