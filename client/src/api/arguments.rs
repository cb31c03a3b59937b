//! Arguments of tasks.

use std::path::PathBuf;

use bytes::Bytes;
use serde::Serialize;
use sortie_objects as objects;
use sortie_protocol::filling::{check_template, list_of};
use sortie_protocol::{Address, Argument, InputName, ObjectRef, Part, Pin, Place, reference};

use crate::api::references::collecting;
use crate::drive::submitted::Dependency;

/// One argument: made by [`value`], [`object`], [`prefix`] or [`cbor`].
///
/// A value that cannot be encoded is reported when the task is submitted, so that arguments can be
/// created inside iterators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input(pub(crate) Result<Part<Dependency>, NoInput>);

/// A value argument: anything serde can serialize. Futures of tasks may be anywhere in it, as in
/// `value((1, &future))` or `value(&futures)`: the function gets their results in their places.
pub fn value(value: impl Serialize) -> Input {
    let (encoded, results) = collecting(|| {
        let mut bytes = Vec::new();
        ciborium::into_writer(&value, &mut bytes).map(|()| Bytes::from(bytes))
    });
    let encoded = encoded.map_err(|error| format!("the value cannot be encoded: {error}"));
    Input::of(encoded.and_then(|bytes| part(bytes, results)))
}

/// A value, with the tasks that it has references to.
fn part(bytes: Bytes, mut results: Vec<Dependency>) -> Result<Part<Dependency>, String> {
    if results.is_empty() {
        return Ok(Part::Ready(Argument::Value(bytes)));
    }
    check_template(&bytes, results.len()).map_err(|invalid| invalid.to_string())?;
    match (reference::whole(&bytes), results.pop()) {
        (Some(_), Some(result)) => Ok(Part::Result(result)),
        (_, last) => {
            results.extend(last);
            Ok(Part::Template(bytes, results))
        }
    }
}

/// A value argument that is already encoded as CBOR. It is not checked here; the function refuses
/// what it cannot decode.
#[must_use]
pub fn cbor(item: impl Into<Bytes>) -> Input {
    Input(Ok(Part::Ready(Argument::Value(item.into()))))
}

/// An object argument, which the function receives as a handle: a URL (`s3://`, `gs://`, `az://`,
/// `https://`, `http://`, `file://`), optionally followed by a byte range (`#bytes=0-1048575`), or
/// the path of a local file, made absolute here.
pub fn object(location: impl AsRef<str>) -> Input {
    let address = address(location.as_ref());
    Input::of(address.map(|address| Part::Ready(Argument::Object(address.into()))))
}

/// An object pinned to a version, for example from a listing: the task fails with `input-changed`
/// if the object has another version.
pub fn object_at(location: impl AsRef<str>, pin: Pin) -> Input {
    Input::of(address(location.as_ref()).map(|address| {
        Part::Ready(Argument::Object(ObjectRef {
            address,
            pin: Some(pin),
        }))
    }))
}

/// A list of objects as one argument, which the function receives as a handle to each, in this
/// order (a parameter `Vec<Object>`): what [`object`] makes, and futures of tasks that make
/// objects. A list has at most 1000, and their names at most 512 KiB.
///
/// Futures alone need not be put into this: a list of them, as in `(&futures, 5)`, is a list of
/// objects where that is what the parameter takes.
pub fn object_list(items: impl IntoIterator<Item = impl IntoInput>) -> Input {
    let (mut list, mut results) = (Vec::new(), Vec::new());
    for item in items {
        match item.into_input().0 {
            Ok(Part::Ready(Argument::Object(object))) => list.push(Some(Box::new(object))),
            Ok(Part::Result(result)) => {
                list.push(None);
                results.push(result);
            }
            Ok(_) => {
                let text = "an item of a list of objects is neither an object nor a future; make \
                            an object of a name by `object`";
                return Input::of(Err(text.into()));
            }
            Err(error) => return Input(Err(error)),
        }
    }
    if results.is_empty() {
        return Input::of(
            list_of(list.into_iter().flatten().map(|object| *object).collect()).map(Part::Ready),
        );
    }
    Input(Ok(Part::Objects(list, results)))
}

/// A prefix argument, which the function receives as a handle to all objects below a location: a
/// URL or the path of a local folder, ending in a slash, as in `s3://bucket/array.zarr/`. A path is
/// made absolute here.
pub fn prefix(location: impl AsRef<str>) -> Input {
    let text = location.as_ref();
    let place = folder(text)
        .and_then(|folder| Place::parse(text, &folder).map_err(|error| error.to_string()));
    Input::of(place.map(|place| Part::Ready(Argument::Prefix(place))))
}

/// Why an argument cannot travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoInput {
    Unencodable(String),
    /// It was found, and cannot be read.
    Unread(objects::Error),
}

impl Input {
    fn of(part: Result<Part<Dependency>, String>) -> Self {
        Self(part.map_err(NoInput::Unencodable))
    }
}

/// An argument that was found and cannot be had, for this reason: among the inputs of a job it
/// fails its own task, with blame `input`.
impl From<objects::Error> for Input {
    fn from(error: objects::Error) -> Self {
        Self(Err(NoInput::Unread(error)))
    }
}

impl From<ObjectRef> for Input {
    fn from(object: ObjectRef) -> Self {
        Self(Ok(Part::Ready(Argument::Object(object))))
    }
}

impl From<Place> for Input {
    fn from(place: Place) -> Self {
        Self(Ok(Part::Ready(Argument::Prefix(place))))
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
pub struct Arguments {
    inputs: Vec<Input>,
    name: Option<InputName>,
}

impl Arguments {
    /// The same arguments, which results call by this name: their outcome has it as
    /// [`TaskOutcome::input`](crate::TaskOutcome), wherever it is read. A name longer than 1 KiB is
    /// cut.
    #[must_use]
    pub fn named(self, name: impl Into<InputName>) -> Self {
        Self {
            name: Some(name.into()),
            ..self
        }
    }

    /// The arguments, or why one of them cannot travel.
    pub(crate) fn into_parts(self) -> Result<Vec<Part<Dependency>>, NoInput> {
        self.inputs.into_iter().map(|input| input.0).collect()
    }

    /// What results call them.
    pub(crate) fn name(&self) -> Option<&InputName> {
        self.name.as_ref()
    }
}

impl From<Vec<Input>> for Arguments {
    fn from(inputs: Vec<Input>) -> Self {
        Self { inputs, name: None }
    }
}

/// What can be given as one argument: an [`Input`], or as a value whatever serde can serialize.
pub trait IntoInput {
    /// The argument.
    fn into_input(self) -> Input;
}

impl IntoInput for Input {
    fn into_input(self) -> Input {
        self
    }
}

impl IntoInput for &Input {
    fn into_input(self) -> Input {
        self.clone()
    }
}

impl<T: Serialize> IntoInput for T {
    fn into_input(self) -> Input {
        value(self)
    }
}

/// What can be given as the arguments of a task: one [`Input`], an array or vector of them, a tuple
/// of up to eight arguments as in `(1, object("a.pdf"))`, or nothing: `()`. A value alone is
/// `(value,)`, or [`value`] of it.
pub trait IntoArguments {
    /// The arguments, in order.
    fn into_arguments(self) -> Arguments;
}

impl IntoArguments for Arguments {
    fn into_arguments(self) -> Arguments {
        self
    }
}

impl IntoArguments for &Arguments {
    fn into_arguments(self) -> Arguments {
        self.clone()
    }
}

impl IntoArguments for () {
    fn into_arguments(self) -> Arguments {
        Arguments::default()
    }
}

impl IntoArguments for Input {
    fn into_arguments(self) -> Arguments {
        vec![self].into()
    }
}

impl IntoArguments for &Input {
    fn into_arguments(self) -> Arguments {
        vec![self.clone()].into()
    }
}

impl<const N: usize> IntoArguments for [Input; N] {
    fn into_arguments(self) -> Arguments {
        Vec::from(self).into()
    }
}

impl IntoArguments for &[Input] {
    fn into_arguments(self) -> Arguments {
        self.to_vec().into()
    }
}

impl IntoArguments for Vec<Input> {
    fn into_arguments(self) -> Arguments {
        self.into()
    }
}

impl IntoArguments for &Vec<Input> {
    fn into_arguments(self) -> Arguments {
        self.clone().into()
    }
}

macro_rules! tuples {
    ($(($($part:ident),*))*) => {
        $(impl<$($part: IntoInput),*> IntoArguments for ($($part,)*) {
            #[expect(non_snake_case, reason = "each part is called as its type")]
            fn into_arguments(self) -> Arguments {
                let ($($part,)*) = self;
                vec![$($part.into_input()),*].into()
            }
        })*
    };
}

tuples! {
    (A)
    (A, B)
    (A, B, C)
    (A, B, C, D)
    (A, B, C, D, E)
    (A, B, C, D, E, F)
    (A, B, C, D, E, F, G)
    (A, B, C, D, E, F, G, H)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuples_are_arguments_and_what_is_no_input_is_a_value() {
        assert_eq!(
            (1, 2).into_arguments(),
            vec![value(1), value(2)].into_arguments()
        );
        let text = String::from("text");
        assert_eq!(
            (object("/a.pdf"), &text, [1, 2]).into_arguments(),
            vec![object("/a.pdf"), value("text"), value([1, 2])].into_arguments()
        );
        let eight = (1, 2, 3, 4, 5, 6, 7, "eight").into_arguments();
        assert_eq!(eight.inputs.len(), 8);
        assert_eq!(eight.inputs.last(), Some(&value("eight")));
        assert_eq!((5,).into_arguments(), value(5).into_arguments());
        assert_eq!(().into_arguments(), Arguments::default());
    }

    #[test]
    fn arguments_have_the_name_that_they_were_given() {
        let named = (1, 2).into_arguments().named("the first");
        assert_eq!(named.name().map(InputName::as_str), Some("the first"));
        assert_eq!((1, 2).into_arguments().name(), None);
    }
}
