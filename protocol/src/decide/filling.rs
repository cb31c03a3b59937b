//! Puts results of tasks into the arguments that take them.

use bytes::Bytes;

use crate::address::Address;
use crate::argument::{Argument, ObjectList, ObjectRef, TooLong};
use crate::id::TaskIndex;
use crate::kind::Kind;
use crate::outcome::{Failure, InputFault};
use crate::output::{INLINE_BYTES_MAX, Output, OutputObject};
use crate::part::Part;
use crate::reference::{self, Invalid};
use crate::signature::{Mismatch, Parameter, Signature};

/// Check the number and, as far as they are known, the kinds of arguments.
///
/// # Errors
/// The first thing that does not fit.
pub fn check<D>(signature: &Signature, parts: &[Part<D>]) -> Result<(), Mismatch> {
    signature.check_kinds(parts.iter().map(|part| match part {
        Part::Ready(argument) => Some(argument.kind()),
        Part::Result(_) => None,
        Part::Template(..) => Some(Kind::Value),
        Part::Objects(..) => Some(Kind::Objects),
    }))
}

/// The references in a value are to these tasks, one after the other, and to no others.
///
/// # Errors
/// When the value has the tag of references on something else.
pub fn check_template(value: &[u8], tasks: usize) -> Result<(), Invalid> {
    let known = reference::results(value)?;
    match (0..).zip(&known).find(|(place, task)| place != *task) {
        None if known.len() == tasks => Ok(()),
        Some(_) | None => Err(Invalid::NoTask),
    }
}

/// Make a list of results that a parameter takes as objects a list of objects.
///
/// # Errors
/// When it is too long, with what to do.
pub fn as_objects<D>(signature: &Signature, parts: &mut [Part<D>]) -> Result<(), String> {
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

/// Whether nothing has to be fetched for a part, and it is small enough for a message.
#[must_use]
pub fn is_inline(part: &Part<Output>) -> bool {
    let Part::Template(value, results) = part else {
        return true;
    };
    let is_here = |output: &Output| !output.is_elsewhere();
    let results_bytes: u64 = results.iter().map(Output::size).sum();
    let bytes = results_bytes.saturating_add(value.len() as u64);
    results.iter().all(is_here) && bytes <= INLINE_BYTES_MAX as u64
}

/// Put results in their places.
///
/// # Errors
/// The failure of the task, if a result does not fit.
pub fn fill(signature: &Signature, parts: Vec<Part<Output>>) -> Result<Vec<Argument>, Failure> {
    let filled = parts.into_iter().zip(&signature.parameters);
    filled
        .map(|(part, parameter)| fill_part(part, signature, parameter))
        .collect()
}

/// Put results in their places of one argument. Those in a value have to be here.
///
/// # Errors
/// As [`fill`].
pub fn fill_part(
    part: Part<Output>,
    signature: &Signature,
    parameter: &Parameter,
) -> Result<Argument, Failure> {
    match part {
        Part::Ready(argument) => Ok(argument),
        Part::Result(output) => argument(output, signature, parameter),
        Part::Template(value, results) => {
            // A result that is referred to many times would be copied as often.
            check_template(&value, results.len()).map_err(|error| malformed(error.to_string()))?;
            let items: Option<Vec<_>> = results.into_iter().map(Output::into_value).collect();
            put_in(&value, &items.ok_or_else(object_in_a_value)?).map(Argument::Value)
        }
        Part::Objects(list, results) => objects(list, results, signature, parameter),
    }
}

/// A list of objects as an argument.
///
/// # Errors
/// When it is too long, with what to do.
pub fn list_of(objects: Vec<ObjectRef>) -> Result<Argument, String> {
    let list = ObjectList::try_from(objects).map_err(too_long)?;
    Ok(Argument::Objects(list))
}

/// Why an object cannot be put into a value.
#[must_use]
pub fn object_in_a_value() -> Failure {
    malformed(
        "a value has the result of a task in it which is an object: an object is an argument of \
         its own"
            .into(),
    )
}

/// The failure of a task with an argument that does not fit.
#[must_use]
pub fn malformed(message: String) -> Failure {
    Failure::Input {
        fault: InputFault::Malformed,
        message,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::RESULT;

    fn signature(kind: Kind) -> Signature {
        let parameter = Parameter {
            name: "it".into(),
            kind,
            type_name: "any".into(),
        };
        Signature {
            name: "takes".into(),
            doc: String::new(),
            parameters: vec![parameter],
            returns: String::new(),
        }
    }

    /// An array of references to these.
    fn template(results: &[TaskIndex]) -> Bytes {
        let mut encoder = minicbor::Encoder::new(Vec::new());
        encoder.array(results.len() as u64).unwrap();
        for result in results {
            encoder.tag(minicbor::data::Tag::new(RESULT)).unwrap();
            encoder.u64(*result).unwrap();
        }
        encoder.into_writer().into()
    }

    fn filled(value: Bytes, results: usize) -> Result<Vec<Argument>, Failure> {
        let results = (0..results).map(|result| Output::from(vec![u8::try_from(result).unwrap()]));
        let part = Part::Template(value, results.collect());
        fill(&signature(Kind::Value), vec![part])
    }

    #[test]
    fn results_come_into_the_places_that_refer_to_them() {
        let three = Argument::Value(vec![0x83, 0, 1, 2].into());
        assert_eq!(filled(template(&[0, 1, 2]), 3), Ok(vec![three]));
    }

    #[test]
    fn a_result_that_is_referred_to_many_times_or_never_is_refused() {
        for (results, there) in [
            (vec![0; 20_000], 1),
            (vec![0, 0], 2),
            (vec![1, 0], 2),
            (vec![0], 2),
        ] {
            let refused = filled(template(&results), there);
            assert_eq!(refused.unwrap_err().code(), "input-malformed");
        }
    }
}
