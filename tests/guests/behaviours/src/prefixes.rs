//! Data sets of many objects.

use sortie_guest::{Failure, Prefix};

/// Returns the names and sizes of what lies below a prefix, in order.
#[sortie_guest::function]
fn lists(place: Prefix, below: String) -> Result<Vec<(String, u64)>, Failure> {
    let mut found = Vec::new();
    for entry in place.list(&below)? {
        let entry = entry?;
        found.push((entry.name, entry.size));
    }
    found.sort();
    Ok(found)
}

/// Returns how many objects lie below a prefix, and the sum of their sizes.
#[sortie_guest::function]
fn counts_below(place: Prefix) -> Result<(u64, u64), Failure> {
    let mut counted = (0, 0);
    for entry in place.list("")? {
        counted = (counted.0 + 1, counted.1 + entry?.size);
    }
    Ok(counted)
}

/// Returns the text of one object below a prefix.
#[sortie_guest::function]
fn reads_below(place: Prefix, name: String) -> Result<String, Failure> {
    String::from_utf8(place.open(&name)?.read_all()?)
        .map_err(|error| Failure::new("no-text", error))
}

/// Tries names and returns those that something was opened by.
#[sortie_guest::function]
fn reaches_out(place: Prefix, names: Vec<String>) -> Vec<String> {
    names
        .into_iter()
        .filter(|name| {
            place.open(name).is_ok()
                || place
                    .list(name)
                    .is_ok_and(|mut entries| matches!(entries.next(), Some(Ok(_))))
        })
        .collect()
}

/// Starts listings for ever and keeps the handles of all.
#[sortie_guest::function]
fn hoards_listings(place: Prefix) -> Result<(), Failure> {
    loop {
        std::mem::forget(place.list("")?);
    }
}
