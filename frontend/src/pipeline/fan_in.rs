//! How many results one call of a reduction takes.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use sortie::protocol::ObjectList;

/// How many results one call of a reduction takes, from [`FanIn::MIN`] to [`FanIn::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FanIn(NonZeroUsize);

impl FanIn {
    /// The least: a call with one result would reduce nothing.
    pub const MIN: usize = 2;
    /// The most: so many objects are one argument, and so many results of 256 KiB, the largest that
    /// travel in messages, are the memory that a task has by default.
    pub const MAX: usize = ObjectList::LEN_MAX;

    /// How many that is.
    #[must_use]
    pub fn get(self) -> NonZeroUsize {
        self.0
    }
}

impl Default for FanIn {
    /// 16: a million results are five levels, and a call costs little beside what it adds up.
    fn default() -> Self {
        Self(NonZeroUsize::MIN.saturating_add(15))
    }
}

impl FromStr for FanIn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text
            .parse()
            .ok()
            .filter(|number: &NonZeroUsize| (Self::MIN..=Self::MAX).contains(&number.get()));
        number
            .map(Self)
            .ok_or_else(|| format!("write a number from {} to {}", Self::MIN, Self::MAX))
    }
}

impl fmt::Display for FanIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fan_in_is_a_number_within_its_bounds() {
        for text in ["2", "16", "1000"] {
            assert_eq!(text.parse::<FanIn>().unwrap().to_string(), text);
        }
        for text in ["", "0", "1", "1001", "-2", "many", "99999999999999999999"] {
            assert_eq!(
                text.parse::<FanIn>().unwrap_err(),
                "write a number from 2 to 1000",
                "{text}"
            );
        }
        assert_eq!(FanIn::default().to_string(), "16");
    }
}
