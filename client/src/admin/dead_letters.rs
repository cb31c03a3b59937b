//! Lists and removes dead letters: tasks that failed permanently, kept so that they can be run
//! again.

use sortie_broker::{Error, LetterId};
use sortie_protocol::{DeadLetter, JobId};

use crate::api::client::Client;

impl Client {
    /// The newest dead letters, of a job or of all, newest first.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn dead_letters(
        &self,
        job: Option<JobId>,
        count_max: usize,
    ) -> Result<Vec<(LetterId, DeadLetter)>, Error> {
        let job = job.map(|job| self.shared.key(job));
        self.shared.broker.dead_letters(job, count_max).await
    }

    /// Remove a dead letter. Whether it was there.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn remove_dead_letter(&self, letter: LetterId) -> Result<bool, Error> {
        self.shared.broker.remove_dead_letter(letter).await
    }
}
