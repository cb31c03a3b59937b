//! How futures get into values: each is serialized as a reference, and collected beside the value.

use std::cell::RefCell;

use serde::ser::Error as _;
use serde::{Serialize as _, Serializer};
use sortie_protocol::reference;

use crate::drive::submitted::Dependency;

thread_local! {
    /// The tasks whose futures were serialized since an argument is being made here.
    static COLLECTED: RefCell<Option<Vec<Dependency>>> = const { RefCell::new(None) };
}

/// Puts back what was collected before, however the serialization ends.
struct Before(Option<Vec<Dependency>>);

impl Drop for Before {
    fn drop(&mut self) {
        COLLECTED.set(self.0.take());
    }
}

/// Serialize a value, and collect the tasks whose futures are in it.
pub(crate) fn collecting<T>(serialize: impl FnOnce() -> T) -> (T, Vec<Dependency>) {
    let before = Before(COLLECTED.replace(Some(Vec::new())));
    let serialized = serialize();
    let collected = COLLECTED.take().unwrap_or_default();
    drop(before);
    (serialized, collected)
}

/// Serialize a future: as a reference to the place of its task among those collected.
pub(crate) fn serialize<S: Serializer>(
    dependency: &Dependency,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let place = COLLECTED.with_borrow_mut(|collected| {
        let tasks = collected.as_mut()?;
        tasks.push(dependency.clone());
        Some(tasks.len() as u64 - 1)
    });
    match place {
        Some(place) => {
            ciborium::tag::Required::<u64, { reference::RESULT }>(place).serialize(serializer)
        }
        None => Err(S::Error::custom(
            "a future can be serialized in an argument of a task, and nowhere else",
        )),
    }
}
