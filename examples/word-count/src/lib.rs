//! How often words are in texts: each text is counted by itself, and counts are merged as a tree.
//!
//! `count` takes a text and `merge` takes what several calls of both return, so that
//! `sortie map word-count.wasm count 'texts/*.txt' --reduce merge` counts any number of texts.
//! `top` and `both` go on from there: the words that are most frequent, and those that two lists
//! share.
//!
//! Bounded by [`words::WORD_CHARS_MAX`] for a word and by the task's memory for how many different
//! ones there are; a text of any length is read as a stream.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use sortie_guest::{Failure, Object};

mod words;

/// How often each word occurs.
pub type Counts = BTreeMap<String, u64>;

/// Count the words of a text in UTF-8.
///
/// A word is a run of letters and digits, in small letters; an apostrophe within belongs to it.
///
/// Fails with `not-utf8` if it is no such text.
#[sortie_guest::function]
pub fn count(text: Object) -> Result<BTreeMap<String, u64>, Failure> {
    let mut counts = Counts::new();
    words::for_each(text.reader(), |word| match counts.get_mut(word) {
        Some(count) => *count += 1,
        None => {
            counts.insert(word.to_owned(), 1);
        }
    })?;
    Ok(counts)
}

/// Add up counts of words.
#[sortie_guest::function]
pub fn merge(counts: Vec<BTreeMap<String, u64>>) -> BTreeMap<String, u64> {
    let mut counts = counts.into_iter();
    let mut all = counts.next().unwrap_or_default();
    for (word, count) in counts.flatten() {
        let sum = all.entry(word).or_default();
        *sum = sum.saturating_add(count);
    }
    all
}

/// The words that occur most often, with how often, the most frequent first.
#[sortie_guest::function]
pub fn top(counts: BTreeMap<String, u64>, words: u32) -> Vec<(String, u64)> {
    let mut ranked: Vec<_> = counts.into_iter().collect();
    // Equally frequent ones stay in the order of the alphabet.
    ranked.sort_by_key(|(_, count)| Reverse(*count));
    ranked.truncate(usize::try_from(words).unwrap_or(usize::MAX));
    ranked
}

/// The words that are in both lists, with how often they are in each, in the order of the first.
#[sortie_guest::function]
pub fn both(one: Vec<(String, u64)>, other: Vec<(String, u64)>) -> Vec<(String, u64, u64)> {
    let others: BTreeMap<_, _> = other.into_iter().collect();
    let shared = one.into_iter().filter_map(|(word, count)| {
        let count_of_other = *others.get(&word)?;
        Some((word, count, count_of_other))
    });
    shared.collect()
}

#[cfg(test)]
mod tests;
