//! Addresses: an object, or a range of its bytes, as a task names it.
//!
//! A range is written behind a URL, as in `s3://logs/2026.csv#bytes=0-1048575`, the way RFC 9110
//! (section 14.1.2) writes it: both ends count, `bytes=500-` goes to the end, `bytes=-500` are the
//! last 500. In a plain path `#` is part of the name.
//!
//! Behind the URL of an object in S3 a version may stand, as in
//! `s3://logs/2026.csv?versionId=3HL4k`; a range comes after it. Elsewhere `?` is part of the key.
//! Whoever means a key that ends so takes [`Address::literal`], for which nothing stands behind a
//! name.
//!
//! An address is parsed once ([`crate::location`]) and travels as its parts. [`Place`] is what
//! objects lie below.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

use minicbor::{Decode, Decoder, Encode};
use serde::{Deserialize, Serialize};

use crate::location::{Location, Malformed, Service, absolute, redact, syntax};

/// An object, or a range of its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct Address {
    /// The object.
    #[cbor(n(0), decode_with = "decode_object")]
    pub location: Location,
    /// The range of bytes; the whole object if absent.
    #[n(1)]
    pub bytes: Option<ByteRange>,
    /// The version that is meant, by the name that its store gave it; the present one, if absent.
    #[n(2)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
}

/// The name that a store gave a version of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, Encode)]
#[serde(try_from = "String", into = "String")]
#[cbor(transparent)]
pub struct VersionId(String);

/// A range of bytes of an object whose size is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub enum ByteRange {
    /// From this byte to the end.
    #[n(0)]
    From(#[n(0)] u64),
    /// From the first of these bytes to the last, both included. If the last comes before the
    /// first, no object has such bytes.
    #[n(1)]
    Within(#[n(0)] u64, #[n(1)] u64),
    /// The last so many bytes.
    #[n(2)]
    Last(#[n(0)] u64),
}

/// The location of a prefix: a folder, a bucket, or a key or URL that ends in a slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, Encode)]
#[serde(try_from = "Location")]
#[cbor(transparent)]
pub struct Place(Location);

/// Stands between a URL and the range of bytes that is meant.
const MARK: &str = "#bytes=";
/// Stands between a URL and the version that is meant.
const VERSION_MARK: &str = "?versionId=";
/// The longest name of a version, which is S3's bound.
const VERSION_BYTES_MAX: usize = 1024;

/// The location of an object: not a whole bucket.
fn decode_object<'b, C>(
    decoder: &mut Decoder<'b>,
    ctx: &mut C,
) -> Result<Location, minicbor::decode::Error> {
    match Location::decode(decoder, ctx)? {
        Location::Bucket { key, .. } if key.is_empty() => Err(minicbor::decode::Error::message(
            "a bucket is not an object",
        )),
        location => Ok(location),
    }
}

impl Address {
    /// Parse a URL, perhaps with a version and a range, or a path relative to `folder`.
    ///
    /// # Errors
    /// When the scheme is not served, a part is missing, or the version or the range is none.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Malformed> {
        let (whole, range) = match text.rsplit_once(MARK) {
            Some((whole, range)) if whole.contains("://") => (whole, Some(range)),
            _ => (text, None),
        };
        let (whole, version) = match whole.rsplit_once(VERSION_MARK) {
            Some((whole, version)) if Service::of(whole) == Some(Service::S3) => {
                (whole, Some(version))
            }
            _ => (whole, None),
        };
        let location = Location::parse(whole, folder)?;
        let wrong = |reason| syntax(&location.to_string(), reason);
        let bytes = range
            .map(|range| ByteRange::parse(range).ok_or_else(|| wrong(RANGE_RULE)))
            .transpose()?;
        let version = version
            .map(|version| VersionId::new(version).ok_or_else(|| wrong(VERSION_RULE)))
            .transpose()?;
        Ok(Self {
            location,
            bytes,
            version,
        })
    }

    /// Take a URL or a path relative to `folder` as the name of an object and nothing else: a
    /// version or a range is not looked for behind it.
    ///
    /// # Errors
    /// When the scheme is not served, or a part is missing.
    pub fn literal(text: &str, folder: &Path) -> Result<Self, Malformed> {
        Location::parse(text, folder).map(Self::from)
    }

    /// About how many bytes it takes in a message.
    #[must_use]
    pub fn weight(&self) -> usize {
        let version = self.version.as_ref().map_or(0, |version| version.0.len());
        self.location.weight() + self.bytes.map_or(0, |_| 16) + version
    }

    /// The URL, with user and query, and with version and range behind it. For people and for
    /// results, as [`Location::to_url`] is.
    #[must_use]
    pub fn to_url(&self) -> String {
        format!("{}{}", self.location.to_url(), Behind(self))
    }
}

/// What stands behind the URL of an object.
struct Behind<'a>(&'a Address);

impl fmt::Display for Behind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(version) = &self.0.version {
            write!(f, "{VERSION_MARK}{version}")?;
        }
        self.0
            .bytes
            .map_or(Ok(()), |bytes| write!(f, "{MARK}{bytes}"))
    }
}

/// What to write for a range.
const RANGE_RULE: &str = "write a range as #bytes=0-1048575, #bytes=500- or #bytes=-500";
/// What to write for a version.
const VERSION_RULE: &str = "write a version as ?versionId= and the name that the store gave it";

impl VersionId {
    /// A version of this name, if it can be one: nothing that has a meaning in a URL.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(&byte);
        ((1..=VERSION_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits))
            .then(|| Self(name.to_owned()))
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for VersionId {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, &'static str> {
        Self::new(&name).ok_or(VERSION_RULE)
    }
}

impl From<VersionId> for String {
    fn from(version: VersionId) -> Self {
        version.0
    }
}

impl<'b, C> Decode<'b, C> for VersionId {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Self::new(decoder.str()?).ok_or_else(|| minicbor::decode::Error::message(VERSION_RULE))
    }
}

impl From<Location> for Address {
    fn from(location: Location) -> Self {
        Self {
            location,
            bytes: None,
            version: None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.location, Behind(self))
    }
}

impl FromStr for Address {
    type Err = Malformed;

    /// Parses a URL, perhaps with a range, or an absolute path.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::parse(absolute(text)?, Path::new("/"))
    }
}

impl Place {
    /// Parse a URL or the path of a folder, relative to `folder`, that ends in a slash.
    ///
    /// # Errors
    /// When it does not, when the scheme is not served, when a part is missing, or when a URL has a
    /// query.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Malformed> {
        if !text.ends_with('/') {
            return Err(Malformed::NoSlash(redact(text)));
        }
        Self::try_from(Location::parse_place(text, folder)?)
    }

    /// Where it is.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.0
    }

    /// The URL, with a slash at its end. For people, as [`Location::to_url`] is.
    #[must_use]
    pub fn to_url(&self) -> String {
        with_slash(self.0.to_url())
    }
}

impl TryFrom<Location> for Place {
    type Error = Malformed;

    fn try_from(location: Location) -> Result<Self, Malformed> {
        match location {
            Location::File(_) => Ok(Self(location)),
            Location::Bucket { ref key, .. } if key.is_empty() || key.ends_with('/') => {
                Ok(Self(location))
            }
            Location::Http(ref url) if url.query().is_some() || url.fragment().is_some() => Err(
                syntax(url.as_str(), "a prefix on a web server has no query"),
            ),
            Location::Http(ref url) if url.path().ends_with('/') => Ok(Self(location)),
            Location::Bucket { .. } | Location::Http(_) => {
                Err(Malformed::NoSlash(location.to_string()))
            }
        }
    }
}

impl FromStr for Place {
    type Err = Malformed;

    /// Parses a URL or an absolute path that ends in a slash.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::parse(absolute(text)?, Path::new("/"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&with_slash(self.0.to_string()))
    }
}

impl<'b, C> Decode<'b, C> for Place {
    fn decode(decoder: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        Self::try_from(Location::decode(decoder, ctx)?).map_err(minicbor::decode::Error::message)
    }
}

fn with_slash(url: String) -> String {
    if url.ends_with('/') { url } else { url + "/" }
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

    /// The range in an object of this size, clamped to its end; `None` if the object ends before
    /// the range begins.
    #[must_use]
    pub fn within(self, size: u64) -> Option<Range<u64>> {
        match self {
            Self::From(first) => (first < size).then_some(first..size),
            Self::Within(first, last) => {
                (first < size && first <= last).then(|| first..last.saturating_add(1).min(size))
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
    fn an_address_travels_as_its_parts() {
        let marked = Address::from(Location::File("/data/a#bytes=0-0".into()));
        for address in [marked, parse("s3://b//k[1]#bytes=-7").unwrap()] {
            let bytes = minicbor::to_vec(&address).unwrap();
            assert_eq!(minicbor::decode::<Address>(&bytes).unwrap(), address);
        }
        let bucket = Location::parse_place("s3://b", Path::new("/")).unwrap();
        let bytes = minicbor::to_vec(Address::from(bucket)).unwrap();
        assert!(minicbor::decode::<Address>(&bytes).is_err());
        assert_eq!(ByteRange::Within(5, 4).within(9), None);
    }

    #[test]
    fn a_version_stands_behind_the_url_of_an_object_in_s3() {
        let key = |text: &str| match parse(text).unwrap() {
            Address {
                location: Location::Bucket { key, .. },
                bytes,
                version,
            } => (key, bytes, version.map(String::from)),
            other => panic!("{other}"),
        };
        let url = "s3://b/k?versionId=3HL4kqtJ.x-_";
        assert_eq!(key(url), ("k".into(), None, Some("3HL4kqtJ.x-_".into())));
        assert_eq!(parse(url).unwrap().to_url(), url);
        let both = "s3://b/k?versionId=null#bytes=5-";
        assert_eq!(
            key(both),
            ("k".into(), Some(ByteRange::From(5)), Some("null".into()))
        );
        assert_eq!(parse(both).unwrap().to_string(), both);
        let bytes = minicbor::to_vec(parse(both).unwrap()).unwrap();
        assert_eq!(
            minicbor::decode::<Address>(&bytes).unwrap(),
            parse(both).unwrap()
        );
        assert_eq!(key("gs://b/k?versionId=1").0, "k?versionId=1");
        for wrong in ["", "a b", "a&x=y", "a#b"] {
            assert!(parse(&format!("s3://b/k?versionId={wrong}")).is_err());
        }
        let literal = Address::literal(both, Path::new("/")).unwrap();
        assert_eq!(
            literal.location,
            Location::Bucket {
                service: Service::S3,
                bucket: "b".into(),
                key: "k?versionId=null#bytes=5-".into()
            }
        );
        assert_eq!((literal.bytes, literal.version), (None, None));
    }

    #[test]
    fn a_place_ends_in_a_slash() {
        for (text, url) in [
            ("s3://b/", "s3://b/"),
            ("s3://b//", "s3://b//"),
            ("s3://b/a.zarr/", "s3://b/a.zarr/"),
            ("https://host/a/", "https://host/a/"),
            ("x.zarr/", "file:///data/x.zarr/"),
        ] {
            let place = Place::parse(text, Path::new("/data")).unwrap();
            assert_eq!(
                (place.to_url().as_str(), place.to_string().as_str()),
                (url, url)
            );
            let bytes = minicbor::to_vec(&place).unwrap();
            assert_eq!(minicbor::decode::<Place>(&bytes).unwrap(), place);
        }
        for text in [
            "s3://b/a",
            "https://host/a?x=/",
            "https://host/a",
            "s3:///",
            "file://a/",
            "",
        ] {
            assert!(Place::parse(text, Path::new("/data")).is_err(), "{text}");
        }
        let address = parse("s3://b/a").unwrap();
        let bytes = minicbor::to_vec(&address.location).unwrap();
        assert!(minicbor::decode::<Place>(&bytes).is_err());
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
