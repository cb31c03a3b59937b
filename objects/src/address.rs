//! Which bytes a task is handed: an object, or a stretch of one.
//!
//! A stretch is written behind a URL, as in `s3://logs/2026.csv#bytes=0-1048575`, with a range as
//! RFC 9110 (section 14.1.2) writes it: both ends count, `bytes=500-` goes to the end, `bytes=-500`
//! are the last 500. In a plain path `#` is part of the name.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use crate::location::{Location, Malformed};

/// An object, or a stretch of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The object.
    pub location: Location,
    /// The bytes that are meant; all, if absent.
    pub bytes: Option<ByteRange>,
}

/// A stretch of an object whose size is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// From this byte to the end.
    From(u64),
    /// From the first of these bytes to the last, both included.
    Within(u64, u64),
    /// So many bytes at the end.
    Last(u64),
}

const MARK: &str = "#bytes=";

impl Address {
    /// Parse a URL, perhaps with a range, or a path relative to `folder`.
    ///
    /// # Errors
    /// When the scheme is not served, a part is missing, or the range is none.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Malformed> {
        let Some((whole, range)) = text
            .rsplit_once(MARK)
            .filter(|(whole, _)| whole.contains("://"))
        else {
            return Ok(Self {
                location: Location::parse(text, folder)?,
                bytes: None,
            });
        };
        let location = Location::parse(whole, folder)?;
        match ByteRange::parse(range) {
            Some(bytes) => Ok(Self {
                location,
                bytes: Some(bytes),
            }),
            None => Err(Malformed::Syntax {
                shown: location.to_string(),
                reason: "write a range as #bytes=0-1048575, #bytes=500- or #bytes=-500",
            }),
        }
    }

    /// The text that names this to a worker and in a memo key.
    #[must_use]
    pub fn to_url(&self) -> String {
        let url = self.location.to_url();
        self.bytes
            .map_or_else(|| url.clone(), |bytes| format!("{url}{MARK}{bytes}"))
    }
}

impl From<Location> for Address {
    fn from(location: Location) -> Self {
        Self {
            location,
            bytes: None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.location)?;
        self.bytes
            .map_or(Ok(()), |bytes| write!(f, "{MARK}{bytes}"))
    }
}

impl ByteRange {
    fn parse(text: &str) -> Option<Self> {
        let number = |digits: &str| {
            digits
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| digits.parse().ok())
                .flatten()
        };
        match text.split_once('-')? {
            ("", count) => number(count).map(Self::Last),
            (first, "") => number(first).map(Self::From),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Within(first, last))
            }
        }
    }

    /// The bytes that are meant of an object of this size, cut to its end; none if it ends before
    /// they begin.
    #[must_use]
    pub fn within(self, size: u64) -> Option<Range<u64>> {
        match self {
            Self::From(first) => (first < size).then_some(first..size),
            Self::Within(first, last) => {
                (first < size).then(|| first..last.saturating_add(1).min(size))
            }
            Self::Last(count) => (count > 0 && size > 0).then(|| size.saturating_sub(count)..size),
        }
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(first) => write!(f, "{first}-"),
            Self::Within(first, last) => write!(f, "{first}-{last}"),
            Self::Last(count) => write!(f, "-{count}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Service;

    fn parse(text: &str) -> Result<Address, Malformed> {
        Address::parse(text, Path::new("/data"))
    }

    #[test]
    fn a_range_is_what_it_is_over_http() {
        for (range, size, expected) in [
            ("0-9", 100, Some(0..10)),
            ("90-200", 100, Some(90..100)),
            ("5-", 100, Some(5..100)),
            ("-7", 100, Some(93..100)),
            ("-700", 100, Some(0..100)),
            ("100-", 100, None),
            ("100-200", 100, None),
            ("-0", 100, None),
            ("0-0", 0, None),
        ] {
            let address = parse(&format!("s3://b/k#bytes={range}")).unwrap();
            assert_eq!(
                address.bytes.unwrap().within(size),
                expected,
                "{range} of {size}"
            );
            assert_eq!(address.to_url(), format!("s3://b/k#bytes={range}"));
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for range in [
            "",
            "-",
            "5",
            "9-5",
            "a-b",
            "+1-2",
            "1-2-3",
            "99999999999999999999-",
            " 1-2",
        ] {
            let error = parse(&format!("https://host/a?sig=secret#bytes={range}"))
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("#bytes=0-1048575") && !error.contains("secret"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_mark_in_a_path_or_a_key_is_part_of_the_name() {
        assert_eq!(
            parse("a#bytes=0-1").unwrap(),
            Location::File("/data/a#bytes=0-1".into()).into()
        );
        assert_eq!(
            parse("s3://b/a#b").unwrap().location,
            Location::Bucket {
                service: Service::S3,
                bucket: "b".into(),
                key: "a#b".into()
            }
        );
        let twice = parse("s3://b/a#bytes=1-2#bytes=3-4").unwrap();
        assert_eq!(
            (twice.location, twice.bytes),
            (
                Location::Bucket {
                    service: Service::S3,
                    bucket: "b".into(),
                    key: "a#bytes=1-2".into()
                },
                Some(ByteRange::Within(3, 4))
            )
        );
    }
}
