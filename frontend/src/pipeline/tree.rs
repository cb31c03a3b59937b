//! Calls the function that reduces, with results that are here.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use sortie::protocol::outcome::PlatformFault;
use sortie::protocol::{Address, ObjectRef, Output};
use sortie::{Client, Ending, Failure, Input, Kind, Outcome, TaskError, cbor, object_list};

use super::plan::Plan;
use super::refused::{Refused, malformed};
use crate::error::Error;

/// How a call of the tree ended.
pub(super) enum Called {
    /// With an outcome.
    Ended(Box<Outcome>),
    /// It is not known how.
    Lost(TaskError),
    /// It could not be submitted.
    Refused(Refused),
}

/// Call with a list of results, and wait for what it gives. Values that are in a store are fetched
/// for that.
pub(super) async fn reduce(client: Client, plan: Arc<Plan>, results: Vec<Outcome>) -> Called {
    let Some((stage, _)) = &plan.reduce else {
        return Called::Refused(Refused::All(Error::platform("nothing reduces results")));
    };
    let gathered = match stage.shape.open() {
        [parameter] if parameter.kind == Kind::Objects => objects(results),
        _ => values(&client, results).await,
    };
    let arguments = match gathered {
        Ok(list) => stage.shape.with_result(list, None),
        Err(failure) => return Called::Refused(Refused::Task(failure)),
    };
    let task = match client.submit(&stage.function, arguments).await {
        Ok(task) => task,
        Err(error) => return Called::Refused(error.into()),
    };
    match task.outcome().await {
        Ok(outcome) => Called::Ended(outcome.into()),
        Err(error) => Called::Lost(error),
    }
}

/// A list of values.
async fn values(client: &Client, results: Vec<Outcome>) -> Result<Input, Failure> {
    let mut values = Vec::with_capacity(results.len());
    for outcome in results {
        values.push(value_of(client.fetched(outcome).await)?);
    }
    Ok(cbor(list(&values)))
}

/// A list of objects.
fn objects(results: Vec<Outcome>) -> Result<Input, Failure> {
    let objects: Result<Vec<_>, _> = results.into_iter().map(object_of).collect();
    Ok(object_list(objects?.into_iter().map(Input::from)))
}

/// The object that a task made.
fn object_of(outcome: Outcome) -> Result<ObjectRef, Failure> {
    match outcome.ending {
        Ending::Completed(Output::Object(made)) => Ok(Address::from(made.stored.location).into()),
        Ending::Completed(Output::Value(_) | Output::Stored(_) | Output::AtBroker(_)) => Err(
            malformed("a result is a value, and a list of objects has objects only".into()),
        ),
        Ending::Failed(failure) => Err(failure),
        Ending::Cancelled => Err(malformed("a result was cancelled".into())),
    }
}

/// The value of a task that completed.
fn value_of(outcome: Outcome) -> Result<Bytes, Failure> {
    match outcome.ending {
        Ending::Completed(Output::Value(value)) => Ok(value),
        Ending::Completed(Output::Object(_)) => Err(malformed(
            "a result is an object, and a list of results has values only".into(),
        )),
        Ending::Completed(Output::Stored(stored)) => Err(Failure::Platform {
            fault: PlatformFault::StoreUnavailable,
            message: format!("a result was not fetched; it is at `{}`", stored.location),
        }),
        Ending::Completed(Output::AtBroker(_)) => Err(Failure::Platform {
            fault: PlatformFault::StoreUnavailable,
            message: "a result was not fetched; it is at the broker".into(),
        }),
        Ending::Failed(failure) => Err(failure),
        Ending::Cancelled => Err(malformed("a result was cancelled".into())),
    }
}

/// CBOR items as one: an array of them.
fn list(items: &[Bytes]) -> Bytes {
    /// The major type of arrays.
    const ARRAY: u8 = 4 << 5;
    let length = items.len() as u64;
    let mut list = BytesMut::with_capacity(9 + items.iter().map(Bytes::len).sum::<usize>());
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..24), _) => list.put_u8(ARRAY | length),
        (Ok(length), _) => list.put_slice(&[ARRAY | 24, length]),
        (_, Ok(length)) => {
            list.put_u8(ARRAY | 25);
            list.put_u16(length);
        }
        (Err(_), Err(_)) => {
            list.put_u8(ARRAY | 27);
            list.put_u64(length);
        }
    }
    for item in items {
        list.put_slice(item);
    }
    list.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_a_list_of_any_length() {
        for length in [0, 1, 23, 24, 255, 256, 1024, 70_000_u64] {
            let numbers: Vec<u64> = (0..length).collect();
            let items: Vec<Bytes> = numbers
                .iter()
                .map(|number| {
                    let mut item = Vec::new();
                    ciborium::into_writer(number, &mut item).unwrap();
                    item.into()
                })
                .collect();
            let list = list(&items);
            assert_eq!(
                ciborium::from_reader::<Vec<u64>, _>(&*list).unwrap(),
                numbers
            );
            let mut whole = Vec::new();
            ciborium::into_writer(&numbers, &mut whole).unwrap();
            if length < 65_536 {
                assert_eq!(list, whole);
            }
        }
    }

    #[test]
    fn an_object_is_in_no_list_of_values_and_a_value_in_none_of_objects() {
        let outcome = |ending| Outcome {
            index: 0,
            attempts: 1,
            ending,
            bill: sortie::Bill::default(),
            log: None,
            input: None,
            function: None,
        };
        let stored = sortie::protocol::StoredRef {
            digest: sortie::protocol::Digest::of(b""),
            size: 7,
            location: "s3://b/k".parse().unwrap(),
        };
        let object = Output::Object(sortie::protocol::OutputObject {
            stored,
            content_type: None,
        });
        let failure = value_of(outcome(Ending::Completed(object.clone()))).unwrap_err();
        assert_eq!(failure.code(), "input-malformed");
        let value = || outcome(Ending::Completed(vec![0xf6].into()));
        assert_eq!(value_of(value()).unwrap(), [0xf6][..]);
        assert_eq!(object_of(value()).unwrap_err().code(), "input-malformed");
        let named = object_of(outcome(Ending::Completed(object))).unwrap();
        assert_eq!(named.address.to_url(), "s3://b/k");
    }
}
