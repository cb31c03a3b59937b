//! Some bytes of an object, as RFC 9110 counts them: from 0, with the last one included.

use std::fmt;
use std::ops::Range;

/// Which bytes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// From one byte to another, both included.
    Between {
        /// The first.
        first: u64,
        /// The last. An object may end before it.
        last: u64,
    },
    /// From this byte to the end.
    From(u64),
    /// This many bytes at the end, or the whole object if it has fewer.
    Last(u64),
}

/// The text is not a range: why, and what to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

impl ByteRange {
    /// Parse what stands behind `bytes=`.
    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        const FORM: Malformed = Malformed("write a range as #bytes=0-1023, #bytes=1024- or #bytes=-512");
        // `parse` takes a plus sign, too.
        let number = |text: &str| match text.bytes().all(|c| c.is_ascii_digit()) {
            true => text.parse::<u64>().map_err(|_| FORM),
            false => Err(FORM),
        };
        match text.split_once('-').ok_or(FORM)? {
            ("", count) => match number(count)? {
                0 => Err(Malformed("the last 0 bytes are no bytes")),
                count => Ok(Self::Last(count)),
            },
            (first, "") => Ok(Self::From(number(first)?)),
            (first, last) => match (number(first)?, number(last)?) {
                (first, last) if last < first => Err(Malformed("the range ends before it starts")),
                (first, last) => Ok(Self::Between { first, last }),
            },
        }
    }

    /// The half-open range in an object of `size` bytes, cut to its end; nothing if it starts behind the end. All bytes of an empty object are
    /// an empty range.
    #[must_use]
    pub fn within(&self, size: u64) -> Option<Range<u64>> {
        match *self {
            Self::Between { first, last } => (first < size).then(|| first..last.saturating_add(1).min(size)),
            Self::From(first) => (first < size || first == 0).then_some(first..size),
            Self::Last(count) => Some(size.saturating_sub(count)..size),
        }
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Between { first, last } => write!(f, "bytes={first}-{last}"),
            Self::From(first) => write!(f, "bytes={first}-"),
            Self::Last(count) => write!(f, "bytes=-{count}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_end() {
        for (text, size, expected) in [
            ("0-9", 10, Some(0..10)),
            ("0-9", 5, Some(0..5)),
            ("4-4", 5, Some(4..5)),
            ("5-9", 5, None),
            ("0-0", 0, None),
            ("0-18446744073709551615", 5, Some(0..5)),
            ("2-", 5, Some(2..5)),
            ("5-", 5, None),
            ("0-", 0, Some(0..0)),
            ("-2", 5, Some(3..5)),
            ("-9", 5, Some(0..5)),
            ("-9", 0, Some(0..0)),
        ] {
            let range = ByteRange::parse(text).unwrap();
            assert_eq!((range.within(size), range.to_string()), (expected, format!("bytes={text}")), "{text} of {size}");
        }
    }

    #[test]
    fn what_is_not_a_range_is_refused() {
        for text in ["", "-", "5", "a-b", "+1-2", "1-+2", "1-2,4-5", " 1-2", "2-1", "-0", "0-18446744073709551616"] {
            assert!(ByteRange::parse(text).is_err(), "{text}");
        }
    }
}
