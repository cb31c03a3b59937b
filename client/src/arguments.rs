//! What a function is called with.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use sortie_protocol::{Argument, ObjectRef, Pin};

/// One argument: made by [`value`], [`object`], [`prefix`] or [`cbor`].
///
/// A value that cannot be encoded is kept as such and refused when it is submitted, so that
/// arguments can be made inside iterators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input(pub(crate) Result<Argument, String>);

/// An argument that travels as a value: anything serde can serialize.
pub fn value(value: impl Serialize) -> Input {
    let mut bytes = Vec::new();
    Input(match ciborium::into_writer(&value, &mut bytes) {
        Ok(()) => Ok(Argument::Value(bytes.into())),
        Err(error) => Err(format!("the value cannot be encoded: {error}")),
    })
}

/// An argument that is a CBOR item already. It is not checked here; the function refuses what does
/// not decode.
#[must_use]
pub fn cbor(item: impl Into<Bytes>) -> Input {
    Input(Ok(Argument::Value(item.into())))
}

/// An argument that travels as a handle to an object: a URL (`s3://`, `gs://`, `az://`, `https://`, `http://`, `file://`), or the path of a
/// local file, made absolute here.
pub fn object(location: impl AsRef<str>) -> Input {
    let text = location.as_ref();
    if text.contains("://") {
        return Input(Ok(Argument::Object(text.into())));
    }
    Input(match std::path::absolute(Path::new(text)) {
        Ok(path) => Ok(Argument::Object(
            format!("file://{}", path.display()).into(),
        )),
        Err(error) => Err(format!("`{text}` cannot be made an absolute path: {error}")),
    })
}

/// An object at the version that a listing saw: the task fails with `input-changed` if it has
/// another by then.
#[must_use]
pub fn object_at(url: impl Into<Arc<str>>, pin: Pin) -> Input {
    Input(Ok(Argument::Object(ObjectRef {
        url: url.into(),
        pin: Some(pin),
    })))
}

/// An argument that travels as a handle to all objects below one place: a URL or the path of a
/// local folder, with a slash at its end, as in `s3://bucket/array.zarr/`. A path is made absolute
/// here.
pub fn prefix(location: impl AsRef<str>) -> Input {
    let text = location.as_ref();
    if !text.ends_with('/') {
        let shown = text.split(['?', '#']).next().unwrap_or_default();
        return Input(Err(format!(
            "`{shown}` is no prefix: one ends in a slash, as in `s3://bucket/array.zarr/`"
        )));
    }
    if text.contains("://") {
        return Input(Ok(Argument::Prefix(text.into())));
    }
    Input(match std::path::absolute(Path::new(text)) {
        Ok(path) => Ok(Argument::Prefix(
            format!(
                "file://{}/",
                path.display().to_string().trim_end_matches('/')
            )
            .into(),
        )),
        Err(error) => Err(format!("`{text}` cannot be made an absolute path: {error}")),
    })
}

/// The arguments of one task.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arguments(pub(crate) Vec<Input>);

impl Arguments {
    /// The arguments as they travel, or why one of them cannot.
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
