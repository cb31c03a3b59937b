//! Reads output objects.

use bytes::Bytes;
use sortie_objects::{self as objects, Address, Objects};

use crate::api::client::Client;
use crate::api::output::Output;

impl Client {
    /// Open an output object, to read parts of it.
    ///
    /// # Errors
    /// When the object no longer exists, or this process cannot read it.
    pub async fn open(&self, output: &Output) -> Result<objects::Object, objects::Error> {
        let address = Address::from(output.location().clone());
        self.objects().open(&address, None).await
    }

    /// The bytes of an output object, checked against its digest.
    ///
    /// # Errors
    /// When the object is larger than `bytes_max`, no longer exists or is damaged, or this process
    /// cannot read it.
    pub async fn read(&self, output: &Output, bytes_max: u64) -> Result<Bytes, objects::Error> {
        let stored = &output.object.stored;
        objects::values::fetch(self.objects(), None, stored, bytes_max).await
    }

    /// This client's access to objects, for example for listing inputs.
    #[must_use]
    pub fn objects(&self) -> &Objects {
        &self.shared.values.objects
    }
}
