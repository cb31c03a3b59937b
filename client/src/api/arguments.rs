//! Arguments of tasks.

use std::path::PathBuf;

use bytes::Bytes;
use serde::Serialize;
use sortie_protocol::{Address, Argument, ObjectRef, Pin, Place};

/// One argument: made by [`value`], [`object`], [`prefix`] or [`cbor`].
///
/// A value that cannot be encoded is reported when the task is submitted, so that arguments can be
/// created inside iterators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input(pub(crate) Result<Argument, String>);

/// A value argument: anything serde can serialize.
pub fn value(value: impl Serialize) -> Input {
    let mut bytes = Vec::new();
    Input(match ciborium::into_writer(&value, &mut bytes) {
        Ok(()) => Ok(Argument::Value(bytes.into())),
        Err(error) => Err(format!("the value cannot be encoded: {error}")),
    })
}

/// A value argument that is already encoded as CBOR. It is not checked here; the function refuses
/// what it cannot decode.
#[must_use]
pub fn cbor(item: impl Into<Bytes>) -> Input {
    Input(Ok(Argument::Value(item.into())))
}

/// An object argument, which the function receives as a handle: a URL (`s3://`, `gs://`, `az://`,
/// `https://`, `http://`, `file://`), optionally followed by a byte range (`#bytes=0-1048575`), or
/// the path of a local file, made absolute here.
pub fn object(location: impl AsRef<str>) -> Input {
    Input(address(location.as_ref()).map(|address| Argument::Object(address.into())))
}

/// An object pinned to a version, for example from a listing: the task fails with `input-changed`
/// if the object has another version.
pub fn object_at(location: impl AsRef<str>, pin: Pin) -> Input {
    Input(address(location.as_ref()).map(|address| {
        Argument::Object(ObjectRef {
            address,
            pin: Some(pin),
        })
    }))
}

/// A prefix argument, which the function receives as a handle to all objects below a location: a
/// URL or the path of a local folder, ending in a slash, as in `s3://bucket/array.zarr/`. A path is
/// made absolute here.
pub fn prefix(location: impl AsRef<str>) -> Input {
    let text = location.as_ref();
    let place = folder(text)
        .and_then(|folder| Place::parse(text, &folder).map_err(|error| error.to_string()));
    Input(place.map(Argument::Prefix))
}

impl From<ObjectRef> for Input {
    fn from(object: ObjectRef) -> Self {
        Self(Ok(Argument::Object(object)))
    }
}

impl From<Place> for Input {
    fn from(place: Place) -> Self {
        Self(Ok(Argument::Prefix(place)))
    }
}

fn address(text: &str) -> Result<Address, String> {
    Address::parse(text, &folder(text)?).map_err(|error| error.to_string())
}

/// The folder that a path is relative to. Determined only if needed: a process may have no current
/// folder.
fn folder(text: &str) -> Result<PathBuf, String> {
    if text.contains("://") || text.starts_with('/') {
        return Ok(PathBuf::from("/"));
    }
    std::env::current_dir()
        .map_err(|error| format!("`{text}` cannot be made an absolute path: {error}"))
}

/// The arguments of one task.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arguments(pub(crate) Vec<Input>);

impl Arguments {
    /// The encoded arguments, or why one cannot be encoded.
    pub(crate) fn into_protocol(self) -> Result<Vec<Argument>, String> {
        self.0.into_iter().map(|input| input.0).collect()
    }
}

/// What can be given as the arguments of a task: one [`Input`], an array, vector or tuple of them,
/// or nothing: `()`.
pub trait IntoArguments {
    /// The arguments, in order.
    fn into_arguments(self) -> Arguments;
}

impl IntoArguments for Arguments {
    fn into_arguments(self) -> Arguments {
        self
    }
}

impl IntoArguments for () {
    fn into_arguments(self) -> Arguments {
        Arguments::default()
    }
}

impl IntoArguments for Input {
    fn into_arguments(self) -> Arguments {
        Arguments(vec![self])
    }
}

impl<const N: usize> IntoArguments for [Input; N] {
    fn into_arguments(self) -> Arguments {
        Arguments(self.into())
    }
}

impl IntoArguments for Vec<Input> {
    fn into_arguments(self) -> Arguments {
        Arguments(self)
    }
}

impl IntoArguments for (Input, Input) {
    fn into_arguments(self) -> Arguments {
        Arguments(vec![self.0, self.1])
    }
}

impl IntoArguments for (Input, Input, Input) {
    fn into_arguments(self) -> Arguments {
        Arguments(vec![self.0, self.1, self.2])
    }
}
