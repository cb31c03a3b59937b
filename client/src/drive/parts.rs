//! Puts results of other tasks into the arguments that take them.

use bytes::Bytes;
use sortie_protocol::output::INLINE_BYTES_MAX;
use sortie_protocol::reference::{self, Invalid};
use sortie_protocol::signature::Mismatch;
use sortie_protocol::{
    Address, Argument, Failure, Kind, ObjectList, ObjectRef, Output, OutputObject, Parameter, Part,
    Signature, TaskIndex, TooLong,
};

use super::values::{Taker, Values, malformed, object_in_a_value};

/// Check the number and, as far as they are known, the kinds of arguments.
///
/// # Errors
/// The first thing that does not fit.
pub(crate) fn check<D>(signature: &Signature, parts: &[Part<D>]) -> Result<(), Mismatch> {
    signature.check_kinds(parts.iter().map(|part| match part {
        Part::Ready(argument) => Some(argument.kind()),
        Part::Result(_) => None,
        Part::Template(..) => Some(Kind::Value),
        Part::Objects(..) => Some(Kind::Objects),
    }))
}

/// Make a list of results that a parameter takes as objects a list of objects.
///
/// # Errors
/// When it is too long, with what to do.
pub(crate) fn as_objects<D>(signature: &Signature, parts: &mut [Part<D>]) -> Result<(), String> {
    let taken = parts.iter_mut().zip(&signature.parameters);
    for (part, _) in taken.filter(|(_, parameter)| parameter.kind == Kind::Objects) {
        match part {
            Part::Template(value, results) if reference::is_list(value) => {
                let results = std::mem::take(results);
                let unnamed = results.iter().map(|_| None).collect();
                *part = Part::Objects(unnamed, results);
            }
            // A list of no results.
            Part::Ready(Argument::Value(value)) if reference::is_list(value) => {
                *part = Part::Ready(list_of(Vec::new())?);
            }
            _ => {}
        }
        if let Part::Objects(list, _) = part
            && list.len() > ObjectList::LEN_MAX
        {
            return Err(too_long(TooLong::Objects(list.len())));
        }
    }
    Ok(())
}

/// Store large arguments, of those that are there. Cancel safe.
///
/// # Errors
/// When one cannot be stored.
pub(crate) async fn send_ready<D>(
    values: &Values,
    taker: Taker,
    mut parts: Vec<Part<D>>,
) -> Result<Vec<Part<D>>, Failure> {
    for part in &mut parts {
        if let Part::Ready(argument) = part {
            values.send_one(taker, argument).await?;
        }
    }
    Ok(parts)
}

/// Arguments whose results are all there.
#[derive(Debug)]
pub(crate) enum Filled {
    /// They can travel.
    Ready(Vec<Argument>),
    /// Values in which results are put have to be fetched, or are too large for a message.
    Unfetched(Unfetched),
}

/// Arguments of which some values are not here.
#[derive(Debug)]
pub(crate) struct Unfetched(Vec<Part<Output>>);

/// Put results in their places.
///
/// # Errors
/// The failure of the task, if a result does not fit.
pub(crate) fn fill(signature: &Signature, parts: Vec<Part<Output>>) -> Result<Filled, Failure> {
    if !parts.iter().all(is_inline) {
        return Ok(Filled::Unfetched(Unfetched(parts)));
    }
    let mut ready = Vec::with_capacity(parts.len());
    for (part, parameter) in parts.into_iter().zip(&signature.parameters) {
        ready.push(match part {
            Part::Ready(argument) => argument,
            Part::Result(output) => argument(output, signature, parameter)?,
            Part::Template(value, results) => {
                let items: Option<Vec<_>> = results.into_iter().map(Output::into_value).collect();
                Argument::Value(put_in(&value, &items.ok_or_else(object_in_a_value)?)?)
            }
            Part::Objects(list, results) => objects(list, results, signature, parameter)?,
        });
    }
    Ok(Filled::Ready(ready))
}

/// Whether nothing has to be fetched for a part, and it is small enough for a message.
fn is_inline(part: &Part<Output>) -> bool {
    let Part::Template(value, results) = part else {
        return true;
    };
    let is_here = |output: &Output| !output.is_elsewhere();
    let results_bytes: u64 = results.iter().map(Output::size).sum();
    let bytes = results_bytes.saturating_add(value.len() as u64);
    results.iter().all(is_here) && bytes <= INLINE_BYTES_MAX as u64
}

impl Unfetched {
    /// Fetch the values, and put them in their places. Values that became large are stored.
    ///
    /// # Errors
    /// The failure of the task.
    pub(crate) async fn fetch(
        self,
        values: &Values,
        taker: Taker,
        signature: &Signature,
    ) -> Result<Vec<Argument>, Failure> {
        let mut ready = Vec::with_capacity(self.0.len());
        for (part, parameter) in self.0.into_iter().zip(&signature.parameters) {
            ready.push(match part {
                Part::Ready(argument) => argument,
                Part::Result(output) => argument(output, signature, parameter)?,
                Part::Template(value, results) => {
                    let mut items = Vec::with_capacity(results.len());
                    for output in &results {
                        items.push(values.item(taker.job.tenant, output).await?);
                    }
                    Argument::Value(put_in(&value, &items)?)
                }
                Part::Objects(list, results) => objects(list, results, signature, parameter)?,
            });
        }
        values.send(taker, ready).await
    }
}

/// A result as a whole argument.
fn argument(
    output: Output,
    signature: &Signature,
    parameter: &Parameter,
) -> Result<Argument, Failure> {
    match (output, parameter.kind) {
        (Output::Value(value), Kind::Value) => Ok(Argument::Value(value)),
        (Output::Stored(stored), Kind::Value) => Ok(Argument::Stored(stored)),
        (Output::AtBroker(kept), Kind::Value) => Ok(Argument::AtBroker(kept)),
        (Output::Object(made), Kind::Object) => Ok(Argument::Object(object(made))),
        (output, _) => Err(unfit(&output, signature, parameter, "the task")),
    }
}

/// A list of objects, of which some are results.
fn objects(
    list: Vec<Option<Box<ObjectRef>>>,
    results: Vec<Output>,
    signature: &Signature,
    parameter: &Parameter,
) -> Result<Argument, Failure> {
    let mut results = results.into_iter();
    let mut objects = Vec::with_capacity(list.len());
    for named in list {
        let made = match named {
            Some(named) => {
                objects.push(*named);
                continue;
            }
            None => results.next(),
        };
        match made {
            Some(Output::Object(made)) => objects.push(object(made)),
            Some(output) => {
                return Err(unfit(&output, signature, parameter, "one of the tasks"));
            }
            None => return Err(malformed("a list of objects lacks one".into())),
        }
    }
    if results.next().is_some() {
        return Err(malformed("a list of objects has no place for one".into()));
    }
    list_of(objects).map_err(malformed)
}

/// A list of objects as an argument.
///
/// # Errors
/// When it is too long, with what to do.
pub(crate) fn list_of(objects: Vec<ObjectRef>) -> Result<Argument, String> {
    let list = ObjectList::try_from(objects).map_err(too_long)?;
    Ok(Argument::Objects(list))
}

fn too_long(list: TooLong) -> String {
    format!("{list}; give several tasks a part each, and merge what they make")
}

/// An object that a task made, as another takes it.
fn object(made: OutputObject) -> ObjectRef {
    Address::from(made.stored.location).into()
}

/// The failure of a task whose parameter does not take what the task before it made.
fn unfit(output: &Output, signature: &Signature, parameter: &Parameter, what: &str) -> Failure {
    let got = match output {
        Output::Object(_) => Kind::Object,
        Output::Value(_) | Output::Stored(_) | Output::AtBroker(_) => Kind::Value,
    };
    malformed(format!(
        "parameter `{}` of `{}` takes {}, but the result of {what} that it is given is {}",
        parameter.name,
        signature.name,
        parameter.kind.article(),
        got.article()
    ))
}

fn put_in(value: &Bytes, items: &[Bytes]) -> Result<Bytes, Failure> {
    let item = |number: TaskIndex| Some(&**items.get(usize::try_from(number).ok()?)?);
    match reference::replaced(value, item) {
        Ok(value) => Ok(value.into()),
        Err(invalid) => Err(malformed(invalid.to_string())),
    }
}

/// The references in a value are to these tasks, one after the other, and to no others.
///
/// # Errors
/// When the value has the tag of references on something else.
pub(crate) fn check_template(value: &[u8], tasks: usize) -> Result<(), Invalid> {
    let known = reference::results(value)?;
    match (0..).zip(&known).find(|(place, task)| place != *task) {
        None if known.len() == tasks => Ok(()),
        Some(_) | None => Err(Invalid::NoTask),
    }
}
