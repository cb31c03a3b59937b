//! Tasks that other programs, or later runs of this one, find by a name.

use std::sync::Arc;

use sortie_broker::Error;
use sortie_protocol::{InvalidTaskName, JobId, Published, TaskIndex, TaskName};

use crate::api::client::Client;
use crate::api::future::TaskFuture;
use crate::drive::call::Inherited;
use crate::drive::program::Program;
use crate::drive::slot::{Gone, Slot};
use crate::drive::submitted::Submitted;
use crate::error::AttachError;

/// A published task could not be found.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// No task can have this name.
    #[error(transparent)]
    Invalid(#[from] InvalidTaskName),
    /// No task has it, or it was published longer ago than outcomes are kept.
    #[error("no task is published as `{0}`")]
    NotPublished(TaskName),
    /// The job of the task cannot be followed.
    #[error("the job of `{name}` cannot be followed: {error}")]
    Job {
        /// The name.
        name: TaskName,
        /// Why.
        error: AttachError,
    },
    /// The broker does not answer, or refuses.
    #[error(transparent)]
    Broker(#[from] Error),
}

impl Client {
    /// Publish a task: whoever asks [`Client::get`] for `name` gets a future of it, in this program
    /// or another, as long as the broker keeps its outcome: seven days in a fleet, and with the
    /// process otherwise. A task that had the name before has it no more. The task runs to its end
    /// although nobody holds its future.
    ///
    /// # Errors
    /// When no task can have this name, or the broker does not answer.
    pub async fn publish<T>(&self, name: &str, future: &TaskFuture<T>) -> Result<(), GetError> {
        let name: TaskName = name.parse()?;
        let published = Published {
            name,
            job: future.job(),
            index: future.run(),
        };
        future.keep();
        let submitted = future.submitted().clone();
        let own = (published.name.clone(), submitted);
        self.shared.broker.publish_name(published).await?;
        self.shared.published.lock().extend([own]);
        Ok(())
    }

    /// The future of a task that was published with this name. Its result is decoded as `T`.
    /// Dropping it cancels nothing. It can be an argument of other tasks of this client.
    ///
    /// # Errors
    /// When no task has this name, or the broker does not answer.
    pub async fn get<T>(&self, name: &str) -> Result<TaskFuture<T>, GetError> {
        let name: TaskName = name.parse()?;
        let published = self.shared.broker.published(&name).await?;
        let Some(Published { job, index, .. }) = published else {
            return Err(GetError::NotPublished(name));
        };
        if let Some(own) = self.shared.published.lock().get(&name)
            && own.program.job.job == job
            && own.program.run_of(own.index) == index
        {
            return Ok(TaskFuture::new(self.shared.clone(), own.clone()));
        }
        self.task(job, index)
            .await
            .map_err(|error| GetError::Job { name, error })
    }

    /// All tasks that were published, in the order of their names.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn published(&self) -> Result<Vec<Published>, Error> {
        self.shared.broker.all_published().await
    }

    /// Take a name away. The task and its result stay; a missing name is not an error.
    ///
    /// # Errors
    /// When no task can have this name, or the broker does not answer.
    pub async fn unpublish(&self, name: &str) -> Result<(), GetError> {
        let name: TaskName = name.parse()?;
        self.shared.broker.unpublish(&name).await?;
        self.shared.published.lock().remove(&name);
        Ok(())
    }

    /// The future of a task of any job.
    async fn task<T>(&self, job: JobId, index: TaskIndex) -> Result<TaskFuture<T>, AttachError> {
        let mut outcomes = self.attach::<()>(job).await?;
        let slot = Arc::<Slot>::default();
        let ended = slot.clone();
        let follower = self.shared.runtime.spawn(async move {
            while let Some(outcome) = outcomes.next_outcome().await {
                if outcome.index == index {
                    ended.end(Ok(Arc::new(outcome)));
                    return;
                }
            }
            let reason = outcomes.trouble().map_or_else(
                || "its job ended without an outcome of it".to_owned(),
                ToString::to_string,
            );
            ended.end(Err(Gone {
                reason: reason.into(),
                stays: false,
            }));
        });
        let key = self.shared.key(job);
        let program = Program::inherit(key, self.shared.tracker.clone(), Inherited::default());
        let follower = follower.abort_handle();
        let submitted = Submitted::followed(index, slot, program.program, follower);
        Ok(TaskFuture::new(self.shared.clone(), submitted.into()))
    }
}
