//! Submits complete jobs without following their outcomes.

use futures::{Stream, StreamExt as _, stream};
use sortie_protocol::submission::{End, Manner};
use sortie_protocol::{JobId, JobKey};

use crate::api::arguments::IntoArguments;
use crate::api::client::{Client, as_sent};
use crate::api::function::Function;
use crate::api::shared::Shared;
use crate::drive::clock::time_of_day;
use crate::drive::shell::{Parts, Shell};
use crate::drive::tracker::Tracked;
use crate::error::SubmitError;

/// A job that was submitted without following it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detached {
    /// Its id, for [`Client::attach`].
    pub job: JobId,
    /// How many tasks it has.
    pub tasks: u64,
}

/// Cancels and forgets the job unless it was submitted to its end.
struct Guard<'c> {
    shared: &'c Shared,
    job: JobKey,
    tracked: Option<Tracked>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some(tracked) = self.tracked.take() {
            self.shared.abandon(self.job, tracked);
        }
    }
}

impl Client {
    /// Submit one task for each item of `inputs`, without following the job: it runs whether or not
    /// this program does, and [`Client::attach`] follows it later. Inputs are consumed as fast as
    /// the broker accepts tasks; submitting waits while the broker is full.
    ///
    /// An input that does not match the function fails that one task, with blame `input`. Dropping
    /// the future before it resolves cancels the job; so does an error. With an embedded client the
    /// job ends with the client.
    ///
    /// # Errors
    /// When the broker does not accept the job, or becomes unreachable.
    pub async fn submit_all<T, I>(
        &self,
        function: &Function<T>,
        inputs: I,
    ) -> Result<Detached, SubmitError>
    where
        I: IntoIterator,
        I::Item: IntoArguments,
    {
        self.submit_all_stream(function, stream::iter(inputs)).await
    }

    /// Like [`Client::submit_all`], over a stream: tasks start while inputs still arrive.
    ///
    /// # Errors
    /// As [`Client::submit_all`].
    pub async fn submit_all_stream<T, S>(
        &self,
        function: &Function<T>,
        inputs: S,
    ) -> Result<Detached, SubmitError>
    where
        S: Stream,
        S::Item: IntoArguments,
    {
        let shared = &*self.shared;
        let definition = self.new_job(function)?;
        let key = definition.key;
        let mut guard = Guard {
            shared,
            job: key,
            tracked: Some(shared.tracker.begin()),
        };
        shared.broker.put_job(definition, time_of_day()).await?;
        let values = &shared.values;
        let tasks = inputs.then(|input| as_sent(function, values, key, input.into_arguments()));
        let mut shell = Shell::new(
            Manner::Detached,
            (&*shared.broker, key),
            &shared.runtime,
            Parts {
                observed: shared.observed.clone(),
                ..Parts::default()
            },
        );
        match shell.run(std::pin::pin!(tasks)).await {
            End::Complete(tasks) => {
                guard.tracked = None;
                Ok(Detached {
                    job: key.job,
                    tasks,
                })
            }
            End::Failed(error) | End::Closed(Some(error)) => Err(error.into()),
            End::Cancelled | End::Lost(_) | End::Incomplete(_) | End::Closed(None) | End::Gone => {
                Err(SubmitError::ShuttingDown)
            }
        }
    }
}
