//! Waits for the futures that are in a value.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sortie_protocol::filling::check_template;
use sortie_protocol::{OutputObject, TaskIndex, reference};

use crate::api::client::Client;
use crate::api::future::TaskFuture;
use crate::api::output::{Decode, not_a};
use crate::api::references::collecting;
use crate::api::task_error::TaskError;

/// A result as it came: one CBOR item.
struct Item(Vec<u8>);

impl Decode for Item {
    fn from_value(cbor: &[u8]) -> Result<Self, TaskError> {
        Ok(Self(cbor.to_vec()))
    }

    fn from_object(object: OutputObject) -> Result<Self, TaskError> {
        Err(not_a::<Self>(format!(
            "the result of a task is an object, `{}`, which is no part of a value; await its future",
            object.stored.location
        )))
    }
}

impl Client {
    /// The value with the results of all futures that are in it, at any depth, in their places: of
    /// `(first, vec![second, third])`, say, as a `(u64, Vec<u64>)`. The futures stay the caller's.
    /// Cancel safe.
    ///
    /// # Errors
    /// The first error among the futures in their order, whether others have ended or not; or when
    /// the value cannot be encoded, is not a `T`, or has a result in it that is an object.
    pub async fn gather<T: DeserializeOwned>(
        &self,
        nested: &(impl Serialize + ?Sized),
    ) -> Result<T, TaskError> {
        let (encoded, tasks) = collecting(|| {
            let mut bytes = Vec::new();
            ciborium::into_writer(nested, &mut bytes).map(|()| bytes)
        });
        let encoded = encoded.map_err(|error| not_a::<T>(error.to_string()))?;
        check_template(&encoded, tasks.len()).map_err(|error| not_a::<T>(error.to_string()))?;
        let mut items = Vec::with_capacity(tasks.len());
        for task in tasks {
            let Item(item) = TaskFuture::new(self.shared.clone(), task.0).await?;
            items.push(item);
        }
        let item = |place: TaskIndex| Some(&**items.get(usize::try_from(place).ok()?)?);
        let value = reference::replaced(&encoded, item);
        T::from_value(&value.map_err(|error| not_a::<T>(error.to_string()))?)
    }
}
