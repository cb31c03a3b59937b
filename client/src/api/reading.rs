//! Reads objects that functions made, from this process.

use bytes::Bytes;
use sortie_objects::{self as objects, Address, Objects};

use crate::api::client::Client;
use crate::api::output::Output;

impl Client {
    /// Open an object that a function made, to read parts of it.
    ///
    /// # Errors
    /// When it is not there any more, or this process cannot reach it.
    pub async fn open(&self, output: &Output) -> Result<objects::Object, objects::Error> {
        let address = Address::from(output.location().clone());
        self.objects().open(&address, None).await
    }

    /// The bytes of an object that a function made, compared with its digest.
    ///
    /// # Errors
    /// When it has more than `bytes_max`, is not there any more or was damaged, or this process
    /// cannot reach it.
    pub async fn read(&self, output: &Output, bytes_max: u64) -> Result<Bytes, objects::Error> {
        let stored = &output.object.stored;
        objects::values::fetch(self.objects(), None, stored, bytes_max).await
    }

    /// The objects as this process reaches them, for listing inputs.
    #[must_use]
    pub fn objects(&self) -> &Objects {
        &self.shared.values.objects
    }
}
