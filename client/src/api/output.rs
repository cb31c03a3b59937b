//! Output objects, and the decoding of results.

use serde::de::DeserializeOwned;
use sortie_protocol::{Digest, Location, OutputObject};

use crate::api::task_error::TaskError;

/// An object that a function wrote: the result type of a [`Function<Output>`](crate::Function).
///
/// ```no_run
/// use sortie::{Client, Output, object};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::builder().cache("cache").start()?;
/// let thumbnail = client.load("thumbnail.wasm").await?.function::<Output>("thumbnail")?;
/// let made: Output = client.submit(&thumbnail, object("photo.jpg")).await?.await?;
/// println!("{} bytes at {}", made.size(), made.url());
/// let bytes = client.read(&made, 10 << 20).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub(crate) object: OutputObject,
}

impl Output {
    /// Where it is, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.location().to_url()
    }

    /// Where it is.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.object.stored.location
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.object.stored.size
    }

    /// The digest of its bytes, which names it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.object.stored.digest
    }

    /// Its media type, if the function set one.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.object.content_type.as_deref()
    }
}

/// A type that a result can be decoded as: [`Output`] if the function returns an object, else
/// anything serde can deserialize.
///
/// A value is never decoded as an [`Output`], whatever it contains: a function cannot forge the URL
/// of one.
pub trait Decode: Sized {
    /// Decode a CBOR item.
    ///
    /// # Errors
    /// When the item is of another type.
    fn from_value(cbor: &[u8]) -> Result<Self, TaskError>;

    /// Decode an output object.
    ///
    /// # Errors
    /// When the type requires a value.
    fn from_object(object: OutputObject) -> Result<Self, TaskError>;
}

impl<T: DeserializeOwned> Decode for T {
    fn from_value(cbor: &[u8]) -> Result<Self, TaskError> {
        ciborium::from_reader(cbor).map_err(|error| not_a::<T>(error.to_string()))
    }

    fn from_object(object: OutputObject) -> Result<Self, TaskError> {
        Err(not_a::<T>(format!(
            "the function returned an object, `{}`; decode it as `sortie::Output`",
            object.stored.location
        )))
    }
}

impl Decode for Output {
    fn from_value(_: &[u8]) -> Result<Self, TaskError> {
        Err(not_a::<Self>("the function returned a value".into()))
    }

    fn from_object(object: OutputObject) -> Result<Self, TaskError> {
        Ok(Self { object })
    }
}

pub(crate) fn not_a<T>(reason: String) -> TaskError {
    TaskError::Decode {
        expected: std::any::type_name::<T>(),
        reason,
    }
}
