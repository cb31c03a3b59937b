//! Values that are stored once and handed to many tasks.

use serde::Serialize;
use sortie_protocol::{Argument, Part};

use crate::api::arguments::{Input, value};
use crate::api::client::Client;
use crate::api::function::CallError;
use crate::error::SubmitError;

impl Client {
    /// Store a value once, to give it to many tasks: each task names it by where it is, and workers
    /// fetch it once and keep it while there is room, instead of getting it with every task.
    ///
    /// Values of up to 4 KiB, and all values where the client has no store, stay what they are.
    ///
    /// # Errors
    /// When the value cannot be encoded, has futures in it, or cannot be stored.
    pub async fn scatter(&self, shared: impl Serialize) -> Result<Input, SubmitError> {
        let part = value(shared).0.map_err(CallError::from)?;
        let Part::Ready(Argument::Value(item)) = part else {
            return Err(SubmitError::argument(
                "a value with futures in it is not stored: give it to the tasks itself".into(),
            ));
        };
        let stored = self.shared.values.scatter(item).await;
        stored
            .map(|argument| Input(Ok(Part::Ready(argument))))
            .map_err(SubmitError::Store)
    }
}
