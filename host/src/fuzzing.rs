//! Entry points of the fuzz targets: the look at a component's structure, and entries of the memo.
//!
//! Not part of the API: this module has no promise of stability, and nothing else uses it. It takes
//! bytes and returns plain values, so that the decoders themselves stay private.

use sortie_protocol::memo::KeyBuilder;
use sortie_protocol::{Digest, FunctionRef, Limits, TenantId};

use crate::engine::structure;
use crate::memo::{Entry, Name};

/// The names that a component imports, and those that it exports.
///
/// # Errors
/// Why it is refused.
pub fn structure(component: &[u8]) -> Result<(Vec<String>, Vec<String>), String> {
    let structure = structure::look(component).map_err(|error| error.to_string())?;
    Ok((structure.imports, structure.exports))
}

/// What a memo keeps of this content under a name that is always the same: sealed, as any process
/// that can write to a shared store is able to.
#[must_use]
pub fn memo_sealed(content: &[u8]) -> Vec<u8> {
    with_name(|name| Entry::seal_content(name, content))
}

/// An entry of a memo under that name, opened and sealed again.
#[must_use]
pub fn memo_entry(sealed: &[u8]) -> Option<Vec<u8>> {
    with_name(|name| Entry::open(name, sealed)?.seal(name).ok())
}

/// Whether both are entries, and the same.
#[must_use]
pub fn memo_same(one: &[u8], other: &[u8]) -> bool {
    with_name(|name| {
        Entry::open(name, one).is_some_and(|entry| Some(entry) == Entry::open(name, other))
    })
}

fn with_name<T>(then: impl FnOnce(Name<'_>) -> T) -> T {
    let function = FunctionRef {
        component: Digest::of(b""),
        name: "fuzzed".into(),
    };
    let key = KeyBuilder::new(&function, &Limits::default()).finish();
    then(Name {
        tenant: TenantId::default(),
        key: &key,
    })
}
