//! Lists the workers of a fleet.

use sortie_broker::Error;
use sortie_protocol::Presence;

use crate::api::client::Client;

impl Client {
    /// The connected workers.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn workers(&self) -> Result<Vec<Presence>, Error> {
        self.shared.broker.workers().await
    }
}
