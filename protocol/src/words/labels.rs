//! Labels: properties that workers have and jobs can require.
//!
//! A label is a word, or a word with a value (`gpu`, `region=eu-west-1`); it means what an
//! installation agrees on. A job runs only on workers that have all of its labels. The set a job
//! asks for names the pool its bundles wait in, so an installation has few different sets.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder};
use serde::{Deserialize, Serialize};

/// The most labels in a set: a pool is named by a few words, not by a description.
pub const LABELS_MAX: usize = 16;
/// The longest label, in bytes.
pub const LABEL_BYTES_MAX: usize = 63;

/// A set of labels, sorted and each once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Labels(Arc<[Arc<str>]>);

/// The text is not a label, or there are too many.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not a label.
    #[error(
        "`{0}` is not a label: use 1 to {LABEL_BYTES_MAX} of a-z, 0-9, `.`, `_`, `-`, and `=` \
         before a value, as in `gpu` or `region=eu`"
    )]
    Label(String),
    /// Too many.
    #[error("{0} labels; at most {LABELS_MAX} make a set")]
    TooMany(usize),
}

impl Labels {
    /// The set of these labels.
    ///
    /// # Errors
    /// When one is not a label, or there are more than [`LABELS_MAX`].
    pub fn new<L: AsRef<str>>(labels: impl IntoIterator<Item = L>) -> Result<Self, Invalid> {
        let mut set = BTreeSet::new();
        for label in labels {
            let label = label.as_ref();
            if !is_label(label) {
                return Err(Invalid::Label(
                    label
                        .chars()
                        .take(LABEL_BYTES_MAX)
                        .collect::<String>()
                        .escape_debug()
                        .to_string(),
                ));
            }
            set.insert(Arc::from(label));
        }
        if set.len() > LABELS_MAX {
            Err(Invalid::TooMany(set.len()))
        } else {
            Ok(Self(set.into_iter().collect()))
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The labels, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|label| &**label)
    }

    /// Whether these labels include all of `asked`.
    #[must_use]
    pub fn include(&self, asked: &Self) -> bool {
        asked
            .0
            .iter()
            .all(|label| self.0.binary_search(label).is_ok())
    }

    /// The name of the pool of jobs that ask for this set: `any` for none, else 16 hexadecimal
    /// digits that follow from the labels.
    #[must_use]
    pub fn pool(&self) -> String {
        if self.is_empty() {
            return "any".into();
        }
        let mut name = crate::id::Digest::of(self.to_string().as_bytes()).to_hex();
        name.truncate(16);
        name
    }
}

fn is_label(text: &str) -> bool {
    let fits = |c: u8| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'_' | b'-' | b'=')
    };
    !text.is_empty()
        && text.len() <= LABEL_BYTES_MAX
        && !text.starts_with('=')
        && text.bytes().all(fits)
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter()
            .enumerate()
            .try_for_each(|(i, label)| write!(f, "{}{label}", if i == 0 { "" } else { "," }))
    }
}

impl FromStr for Labels {
    type Err = Invalid;

    /// From a list with commas; empty text is the empty set.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::new(text.split(',').filter(|label| !label.is_empty()))
    }
}

impl TryFrom<Vec<String>> for Labels {
    type Error = Invalid;

    fn try_from(labels: Vec<String>) -> Result<Self, Invalid> {
        Self::new(labels)
    }
}

impl From<Labels> for Vec<String> {
    fn from(labels: Labels) -> Self {
        labels.iter().map(str::to_owned).collect()
    }
}

impl<C> Encode<C> for Labels {
    fn encode<W: Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.array(self.0.len() as u64)?;
        self.iter().try_for_each(|label| encoder.str(label)?.ok())
    }
}

impl<'b, C> Decode<'b, C> for Labels {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let position = decoder.position();
        let labels: Vec<&str> = decoder
            .array_iter()?
            .take(LABELS_MAX + 1)
            .collect::<Result<_, _>>()?;
        let set = Self::new(&labels)
            .map_err(|invalid| minicbor::decode::Error::message(invalid).at(position))?;
        if set.0.len() < labels.len() {
            Err(minicbor::decode::Error::message("a label twice").at(position))
        } else {
            Ok(set)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        text.parse().unwrap()
    }

    #[test]
    fn a_set_does_not_depend_on_order_or_repetition() {
        assert_eq!(labels("gpu,region=eu,gpu"), labels("region=eu,gpu"));
        assert_eq!(labels("region=eu,gpu").to_string(), "gpu,region=eu");
        assert_eq!(
            labels("region=eu,gpu").pool(),
            labels("gpu,region=eu").pool()
        );
        assert_eq!(labels("").pool(), "any");
    }

    #[test]
    fn a_worker_needs_every_label_a_job_asks_for() {
        let worker = labels("gpu,region=eu");
        assert!(
            worker.include(&labels(""))
                && worker.include(&labels("gpu"))
                && worker.include(&worker)
        );
        assert!(!worker.include(&labels("gpu,ssd")) && !labels("").include(&labels("gpu")));
    }

    #[test]
    fn what_a_subject_could_not_carry_is_no_label() {
        for text in ["GPU", "a b", "=x", "ä", "a*", &"x".repeat(64)] {
            assert!(Labels::new([text]).is_err(), "{text}");
        }
        assert!(Labels::new((0..17).map(|i| i.to_string())).is_err());
    }
}
