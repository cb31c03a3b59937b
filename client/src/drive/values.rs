//! Large values: stores arguments before their task is published, and fetches results when the
//! caller takes them.
//!
//! A client fetches stored values only on demand: waiting outcomes contain only references to them.
//! A client without a store sends large arguments inline, as far as the broker accepts their size;
//! it fetches results by their URLs in any case.

use bytes::Bytes;
use sortie_objects::{Objects, TenantStore, values};
use sortie_protocol::outcome::{InputFault, PlatformFault};
use sortie_protocol::{Argument, Ending, Failure, Outcome, Output, StoredRef};

/// A value that is given to many tasks and has more bytes than this is stored: below, naming it
/// takes as much as the value.
const SCATTERED_BYTES_MIN: usize = 4 << 10;

/// A client's store for large arguments, and its access to stored results. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Values {
    pub(crate) objects: Objects,
    store: Option<TenantStore>,
}

impl Values {
    /// Maximum size of a fetched value: the maximum memory of a function.
    const BYTES_MAX: u64 = sortie_protocol::Limits::MEMORY_MAX.as_u64();

    pub(crate) fn new(objects: Objects, store: Option<TenantStore>) -> Self {
        Self { objects, store }
    }

    async fn fetch(&self, stored: &StoredRef) -> Result<Bytes, Failure> {
        let store = self.store.as_ref();
        let fetched = values::fetch(&self.objects, store, stored, Self::BYTES_MAX).await;
        fetched.map_err(|error| values::unfetched("the result", &error))
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

    /// A result as a CBOR item.
    ///
    /// # Errors
    /// The failure of the task that takes it.
    pub(crate) async fn item(&self, output: Output) -> Result<Bytes, Failure> {
        match output {
            Output::Value(item) => Ok(item),
            Output::Stored(stored) => self.fetch(&stored).await,
            Output::Object(_) => Err(object_in_a_value()),
        }
    }

    async fn keep(&self, value: Bytes) -> Result<Argument, Failure> {
        match values::keep(self.store.as_ref(), value).await {
            Ok(Output::Stored(stored)) => Ok(Argument::Stored(stored)),
            Ok(Output::Value(value)) => Ok(Argument::Value(value)),
            Ok(Output::Object(object)) => Ok(Argument::Stored(object.stored)),
            Err(error) => Err(unstored(&error)),
        }
    }

    /// Prepare arguments for a message, storing large ones. Cancel safe.
    pub(crate) async fn send(
        &self,
        mut arguments: Vec<Argument>,
    ) -> Result<Vec<Argument>, Failure> {
        for argument in &mut arguments {
            self.send_one(argument).await?;
        }
        Ok(arguments)
    }

    /// Store an argument if it is large. Cancel safe.
    pub(crate) async fn send_one(&self, argument: &mut Argument) -> Result<(), Failure> {
        if let Argument::Value(value) = argument
            && value.len() > sortie_protocol::output::INLINE_BYTES_MAX
        {
            *argument = self.keep(std::mem::take(value)).await?;
        }
        Ok(())
    }

    /// The outcome with its value at hand. If that cannot be fetched, the outcome says so instead.
    /// Cancel safe.
    pub(crate) async fn fetched(&self, mut outcome: Outcome) -> Outcome {
        if let Ending::Completed(Output::Stored(stored)) = &outcome.ending {
            outcome.ending = match self.fetch(stored).await {
                Ok(value) => Ending::Completed(Output::Value(value)),
                Err(failure) => Ending::Failed(failure),
            };
        }
        outcome
    }
}

/// Whether the outcome's value is in a store and not yet fetched.
pub(crate) fn is_stored(outcome: &Outcome) -> bool {
    matches!(outcome.ending, Ending::Completed(Output::Stored(_)))
}

/// The failure of a task whose argument is not stored.
fn unstored(error: &impl std::fmt::Display) -> Failure {
    Failure::Platform {
        fault: PlatformFault::StoreUnavailable,
        message: format!("an argument is too large for a message, and cannot be stored: {error}"),
    }
}

/// Why an object cannot be put into a value.
pub(crate) fn object_in_a_value() -> Failure {
    malformed(
        "a value has the result of a task in it which is an object: an object is an argument of \
         its own"
            .into(),
    )
}

/// The failure of a task with an argument that does not fit.
pub(crate) fn malformed(message: String) -> Failure {
    Failure::Input {
        fault: InputFault::Malformed,
        message,
    }
}
