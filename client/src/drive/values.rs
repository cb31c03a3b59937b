//! Large values: keeps arguments before their task is published, and fetches results when the
//! caller takes them.
//!
//! A client fetches values that are elsewhere only on demand: waiting outcomes contain only
//! references to them. Without a store it leaves arguments that are too large for a message with
//! the broker, if that is not in this process; results it fetches from wherever they are.

use std::sync::Arc;

use bytes::Bytes;
use sortie_broker::{Broker, Error};
use sortie_objects::{Objects, TenantStore, values};
use sortie_protocol::filling::{malformed, object_in_a_value};
use sortie_protocol::outcome::PlatformFault;
use sortie_protocol::output::INLINE_BYTES_MAX;
use sortie_protocol::{
    Argument, BrokerRef, Ending, Failure, JobKey, Outcome, Output, Task, TaskIndex, TenantId,
};

/// A value that is given to many tasks and has more bytes than this is stored: below, naming it
/// takes as much as the value.
const SCATTERED_BYTES_MIN: usize = 4 << 10;
/// The largest argument in a message where only the broker could keep it: three quarters of what
/// NATS takes. Unlike a result, it stays there until its job is over.
const ARGUMENT_BYTES_MAX: usize = 768 << 10;

/// A client's store for large arguments, and its access to stored results. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Values {
    pub(crate) objects: Objects,
    store: Option<TenantStore>,
    broker: Arc<dyn Broker>,
}

/// Whose argument a value becomes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taker {
    pub(crate) job: JobKey,
    /// The task, if it has its place in the job already. The broker keeps the value as long as its
    /// result, and else as long as the job.
    pub(crate) task: Option<TaskIndex>,
}

impl From<JobKey> for Taker {
    fn from(job: JobKey) -> Self {
        Self { job, task: None }
    }
}

impl Values {
    /// Maximum size of a fetched value: the maximum memory of a function.
    const BYTES_MAX: u64 = sortie_protocol::Limits::MEMORY_MAX.as_u64();

    /// Values in `store`, or at `broker` where there is none.
    pub(crate) fn new(
        objects: Objects,
        store: Option<TenantStore>,
        broker: Arc<dyn Broker>,
    ) -> Self {
        Self {
            objects,
            store,
            broker,
        }
    }

    /// The value of a result of a job of `tenant`, wherever it is; none if it is an object.
    async fn value(&self, tenant: TenantId, output: &Output) -> Result<Option<Bytes>, Failure> {
        match output {
            Output::Value(value) => Ok(Some(value.clone())),
            Output::Object(_) => Ok(None),
            Output::Stored(stored) => {
                let store = self.store.as_ref();
                let fetched = values::fetch(&self.objects, store, stored, Self::BYTES_MAX).await;
                let fetched = fetched.map_err(|error| values::unfetched("the result", &error));
                fetched.map(Some)
            }
            Output::AtBroker(kept) => self.kept(tenant, *kept).await.map(Some),
        }
    }

    async fn kept(&self, tenant: TenantId, kept: BrokerRef) -> Result<Bytes, Failure> {
        let failed = |fault, why: String| Failure::Platform {
            fault,
            message: format!("the result cannot be fetched: {why}"),
        };
        match self.broker.value(tenant, kept).await {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(failed(
                PlatformFault::ResultLost,
                "the broker does not keep it any more".into(),
            )),
            Err(error) if error.is_transient() => {
                Err(failed(PlatformFault::StoreUnavailable, error.to_string()))
            }
            Err(error) => Err(failed(PlatformFault::StoreUnusable, error.to_string())),
        }
    }

    /// A value for many tasks: stored, if there is a store and it is worth that. Cancel safe.
    pub(crate) async fn scatter(&self, value: Bytes) -> Result<Argument, Failure> {
        match &self.store {
            Some(store) if value.len() > SCATTERED_BYTES_MIN => {
                let stored = store.put(value, Some("application/cbor")).await;
                stored
                    .map(Argument::Stored)
                    .map_err(|error| unstored(&error))
            }
            Some(_) | None => Ok(Argument::Value(value)),
        }
    }

    /// A result of a job of `tenant` as a CBOR item.
    ///
    /// # Errors
    /// The failure of the task that takes it.
    pub(crate) async fn item(&self, tenant: TenantId, output: &Output) -> Result<Bytes, Failure> {
        let value = self.value(tenant, output).await?;
        value.ok_or_else(object_in_a_value)
    }

    /// Prepare arguments for a message: large ones are kept elsewhere. Cancel safe.
    pub(crate) async fn send(
        &self,
        taker: Taker,
        mut arguments: Vec<Argument>,
    ) -> Result<Vec<Argument>, Failure> {
        for argument in &mut arguments {
            self.send_one(taker, argument).await?;
        }
        Ok(arguments)
    }

    /// Keep an argument elsewhere if it is large. Cancel safe.
    pub(crate) async fn send_one(
        &self,
        taker: Taker,
        argument: &mut Argument,
    ) -> Result<(), Failure> {
        let Argument::Value(value) = argument else {
            return Ok(());
        };
        match &self.store {
            Some(store) if value.len() > INLINE_BYTES_MAX => {
                let value = std::mem::take(value);
                let stored = store.put(value, Some("application/cbor")).await;
                *argument = Argument::Stored(stored.map_err(|error| unstored(&error))?);
            }
            None if value.len() > ARGUMENT_BYTES_MAX && self.broker.outlives_process() => {
                let Taker { job, task } = taker;
                let kept = self
                    .broker
                    .put_value(job, task, std::mem::take(value))
                    .await;
                *argument = Argument::AtBroker(kept.map_err(|error| unkept(&error))?);
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    /// Have the broker keep what a task takes for another job than the one that it was kept for.
    /// What is gone is left: the task says so. Cancel safe.
    pub(crate) async fn rehome(&self, task: &mut Task, job: JobKey) {
        for argument in &mut task.arguments {
            if let Argument::AtBroker(kept) = argument
                && let Ok(Some(value)) = self.broker.value(job.tenant, *kept).await
                && let Ok(again) = self.broker.put_value(job, None, value).await
            {
                *kept = again;
            }
        }
    }

    /// The outcome of a task of `tenant` with its value at hand. If that cannot be fetched, the
    /// outcome says so instead. Cancel safe.
    pub(crate) async fn fetched(&self, tenant: TenantId, mut outcome: Outcome) -> Outcome {
        if let Ending::Completed(output) = &outcome.ending
            && output.is_elsewhere()
        {
            outcome.ending = match self.item(tenant, output).await {
                Ok(value) => Ending::Completed(Output::Value(value)),
                Err(failure) => Ending::Failed(failure),
            };
        }
        outcome
    }

    /// As [`Self::fetched`], for whoever is the only one to take it: the broker drops what it kept.
    pub(crate) async fn taken(&self, tenant: TenantId, outcome: Outcome) -> Outcome {
        let kept = match &outcome.ending {
            Ending::Completed(Output::AtBroker(kept)) => Some(*kept),
            Ending::Completed(_) | Ending::Failed(_) | Ending::Cancelled => None,
        };
        let fetched = self.fetched(tenant, outcome).await;
        if let Some(BrokerRef {
            job,
            task: Some(task),
            ..
        }) = kept
            && matches!(fetched.ending, Ending::Completed(_))
        {
            // Should it fail, it goes with the job.
            let job = JobKey { tenant, job };
            let _ = self.broker.drop_values(job, vec![task]).await;
        }
        fetched
    }
}

/// Whether the outcome's value is elsewhere and not yet fetched.
pub(crate) fn is_elsewhere(outcome: &Outcome) -> bool {
    matches!(&outcome.ending, Ending::Completed(output) if output.is_elsewhere())
}

/// Whether the outcome's value was elsewhere, and is not there any more.
pub(crate) fn is_lost(outcome: &Outcome) -> bool {
    matches!(
        &outcome.ending,
        Ending::Failed(Failure::Platform {
            fault: PlatformFault::ResultLost,
            ..
        })
    )
}

/// The failure of a task whose argument is not stored.
fn unstored(error: &impl std::fmt::Display) -> Failure {
    Failure::Platform {
        fault: PlatformFault::StoreUnavailable,
        message: format!("an argument is too large for a message, and cannot be stored: {error}"),
    }
}

/// The failure of a task whose argument the broker does not keep.
fn unkept(error: &Error) -> Failure {
    match error {
        Error::TooLarge { weight, limit } => malformed(format!(
            "an argument has {weight} bytes; at most {limit} are allowed"
        )),
        error => unstored(error),
    }
}
