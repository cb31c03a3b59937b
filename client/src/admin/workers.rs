//! Lists the workers of a fleet.

use std::time::Duration;

use sortie_broker::Error;
use sortie_protocol::{JobId, Presence};

use crate::api::client::Client;
use crate::drive::requests::workers;

impl Client {
    /// How long the broker waits for a worker that is not heard any more before others run what it
    /// had in work, if that is known.
    #[must_use]
    pub fn lease(&self) -> Option<Duration> {
        self.shared.broker.lease()
    }

    /// The connected workers.
    ///
    /// # Errors
    /// When the broker does not answer, or is known here to be full and lists none: workers cannot
    /// say then that they are there.
    pub async fn workers(&self) -> Result<Vec<Presence>, Error> {
        self.shared.broker.workers().await
    }

    /// The workers that are there for a job: those that have the labels it asks for.
    ///
    /// # Errors
    /// As [`Client::workers`].
    pub async fn workers_of(&self, job: JobId) -> Result<Vec<Presence>, Error> {
        workers(&*self.shared.broker, self.shared.key(job)).await
    }
}
