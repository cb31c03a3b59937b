//! Where an object is: a URL, or the path of a local file; and which bytes of it are meant.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use url::Url;

use super::range::{self, ByteRange};

/// What a byte range begins with, behind the URL that it belongs to. In a URL, `#` followed by anything else is part of the name.
const RANGE_MARK: &str = "#bytes=";
/// A range that says nothing.
const WHOLE: &str = "#bytes=0-";

/// An object, or some of its bytes.
///
/// Written as a URL, with `#bytes=FIRST-LAST`, `#bytes=FIRST-` or `#bytes=-COUNT` behind it for some bytes, counted as RFC 9110 does: from 0,
/// the last one included. In the path of a local file that is no URL, `#` is part of the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Where the object is.
    pub location: Location,
    /// Which bytes of it; all, if absent.
    pub bytes: Option<ByteRange>,
}

/// A parsed location. Prints as a person wrote it, without user, password and query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A local file, by absolute path.
    File(PathBuf),
    /// An object in a bucket.
    Bucket {
        /// Whose bucket.
        service: Service,
        /// The bucket, or container.
        bucket: String,
        /// The key, without a slash in front.
        key: String,
    },
    /// A file on a web server.
    Http(Url),
}

/// A service that keeps objects in buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Amazon S3, or a store that speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gs,
    /// Azure Blob Storage, whose buckets are called containers.
    Az,
}

impl Service {
    const ALL: [Self; 3] = [Self::S3, Self::Gs, Self::Az];

    /// What stands in front of `://`.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gs => "gs",
            Self::Az => "az",
        }
    }

    const fn form(self) -> &'static str {
        match self {
            Self::S3 => "write s3://bucket/key",
            Self::Gs => "write gs://bucket/key",
            Self::Az => "write az://container/path",
        }
    }
}

/// The text is not a location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It has a scheme that is not served.
    #[error("`{0}` starts with a scheme that is not served; use a path, file://, s3://, gs://, az://, https:// or http://")]
    Scheme(String),
    /// It does not parse.
    #[error("`{shown}` is not a location: {reason}")]
    Syntax {
        /// The text, without what may be secret.
        shown: String,
        /// What is wrong.
        reason: &'static str,
    },
}

impl Address {
    /// Parse a URL, with or without a range, or a path relative to `folder`.
    ///
    /// # Errors
    /// When the scheme is not served, a part is missing, or the range is none.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Malformed> {
        let Some((url, range)) = text.rsplit_once(RANGE_MARK).filter(|(url, _)| url.contains("://")) else {
            return Ok(Location::parse(text, folder)?.into());
        };
        let location = Location::parse(url, folder)?;
        let bytes = ByteRange::parse(range).map_err(|range::Malformed(reason)| syntax(url, reason))?;
        // Written only to say that what is in front is no range.
        let says_nothing = bytes == ByteRange::From(0) && url.contains(RANGE_MARK);
        Ok(Self { location, bytes: Some(bytes).filter(|_| !says_nothing) })
    }

    /// The text that names these bytes to a worker and in a memo key: a full URL, query and range included. Parsing it gives this address.
    #[must_use]
    pub fn to_url(&self) -> String {
        self.with_range(self.location.to_url())
    }

    fn with_range(&self, location: String) -> String {
        match &self.bytes {
            Some(bytes) => format!("{location}#{bytes}"),
            None => guard(location),
        }
    }
}

impl From<Location> for Address {
    fn from(location: Location) -> Self {
        Self { location, bytes: None }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_range(self.location.to_string()))
    }
}

impl Location {
    /// Parse a URL, or a path relative to `folder`. What looks like a range is part of the name here; see [`Address::parse`].
    ///
    /// # Errors
    /// When the scheme is not served or a part is missing.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Malformed> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Self::file(text, &folder.join(text));
        };
        let scheme = scheme.to_ascii_lowercase();
        if let Some(service) = Service::ALL.into_iter().find(|service| service.scheme() == scheme) {
            return match rest.split_once('/') {
                Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
                    Ok(Self::Bucket { service, bucket: bucket.into(), key: key.into() })
                }
                _ => Err(syntax(text, service.form())),
            };
        }
        match &*scheme {
            "file" => match rest.strip_prefix('/').or_else(|| rest.strip_prefix("localhost/")) {
                Some(path) => Self::file(text, &Path::new("/").join(path)),
                None => Err(syntax(text, "write file:/// and an absolute path")),
            },
            "http" | "https" => match Url::parse(text) {
                Ok(mut url) if url.has_host() && url.path() != "/" => {
                    // Never sent to a server.
                    url.set_fragment(None);
                    Ok(Self::Http(url))
                }
                _ => Err(syntax(text, "write https://host/path")),
            },
            _ => Err(Malformed::Scheme(redact(text))),
        }
    }

    fn file(text: &str, path: &Path) -> Result<Self, Malformed> {
        if text.is_empty() {
            return Err(syntax(text, "it is empty"));
        }
        // Lexically, so that a link stays what the person named; `..` after a link is rare enough.
        let mut absolute = PathBuf::new();
        for part in path.components() {
            match part {
                Component::ParentDir => {
                    absolute.pop();
                }
                Component::CurDir => {}
                part => absolute.push(part),
            }
        }
        Ok(Self::File(absolute))
    }

    /// The last segment of the path.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            Self::Bucket { key, .. } => key.rsplit('/').next().unwrap_or_default().to_owned(),
            Self::Http(url) => url.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default().to_owned(),
        }
    }

    /// A full URL, query included.
    fn to_url(&self) -> String {
        match self {
            Self::Http(url) => url.to_string(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file://{}", path.display()),
            Self::Bucket { service, bucket, key } => write!(f, "{}://{bucket}/{key}", service.scheme()),
            Self::Http(url) => f.write_str(&redact(url.as_str())),
        }
    }
}

/// A location that is meant as a whole: a name may end in what looks like a range.
fn guard(location: String) -> String {
    if location.contains(RANGE_MARK) { location + WHOLE } else { location }
}

fn syntax(text: &str, reason: &'static str) -> Malformed {
    Malformed::Syntax { shown: redact(text), reason }
}

/// The text without user, password and query, and not too long.
fn redact(text: &str) -> String {
    let before_query = text.split(['?', '#']).next().unwrap_or_default();
    let shown = match before_query.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, format!("/{path}")));
            let host = host.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => before_query.to_owned(),
    };
    sortie_protocol::outcome::cut(shown, 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Location, Malformed> {
        Location::parse(text, Path::new("/data"))
    }

    fn address(text: &str) -> Result<Address, Malformed> {
        Address::parse(text, Path::new("/data"))
    }

    #[test]
    fn paths_are_relative_to_the_folder() {
        for (text, path) in [("a.pdf", "/data/a.pdf"), ("../b.pdf", "/b.pdf"), ("/c/./d", "/c/d"), ("file:///e f", "/e f")] {
            assert_eq!(parse(text), Ok(Location::File(path.into())), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_location_says_what_to_write() {
        for (text, part) in [
            ("", "empty"),
            ("s3://bucket", "s3://bucket/key"),
            ("s3:///key", "s3://bucket/key"),
            ("GS://bucket/", "gs://bucket/key"),
            ("az://container", "az://container/path"),
            ("https://host", "https://host/path"),
            ("file://relative", "absolute path"),
            ("ftp://host/x", "not served"),
        ] {
            assert!(parse(text).unwrap_err().to_string().contains(part), "{text}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let location = parse("https://me:secret@host/a/b.pdf?X-Amz-Signature=secret#x").unwrap();
        assert_eq!(location.to_string(), "https://host/a/b.pdf");
        assert_eq!(location.name(), "b.pdf");
        assert!(!parse("gopher://me:secret@host/?secret").unwrap_err().to_string().contains("secret"));
        let some = address("https://me:secret@host/a?X-Amz-Signature=secret#bytes=0-9").unwrap();
        assert_eq!(some.to_string(), "https://host/a#bytes=0-9");
        assert!(!address("https://me:secret@host/a?secret#bytes=9-0").unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn ranges_are_printed_as_they_were_parsed() {
        for (text, bytes) in [
            ("s3://b/k#bytes=0-1048575", ByteRange::Between { first: 0, last: 1_048_575 }),
            ("s3://b/k#1#bytes=7-", ByteRange::From(7)),
            ("s3://b/k#bytes=0-", ByteRange::From(0)),
            ("file:///a b#bytes=-12", ByteRange::Last(12)),
            ("https://me:secret@h/p?q=1#bytes=5-5", ByteRange::Between { first: 5, last: 5 }),
        ] {
            let parsed = address(text).unwrap();
            assert_eq!((parsed.bytes, parsed.to_url().as_str()), (Some(bytes), text));
        }
        assert_eq!(address("s3://b/k#bytes=0-9").unwrap().location, parse("s3://b/k").unwrap());
    }

    #[test]
    fn names_that_look_like_ranges_stay_names() {
        let key = |key: &str| Address::from(Location::Bucket { service: Service::S3, bucket: "b".into(), key: key.into() });
        let file = |path: &str| Address::from(Location::File(path.into()));
        for (address, url) in [
            (key("k#bytes=0-9"), "s3://b/k#bytes=0-9#bytes=0-"),
            (key("k#bytes=x"), "s3://b/k#bytes=x#bytes=0-"),
            (key("k#x"), "s3://b/k#x"),
            (file("/data/f#bytes=0-"), "file:///data/f#bytes=0-#bytes=0-"),
        ] {
            assert_eq!(address.to_url(), url);
            assert_eq!(Address::parse(url, Path::new("/")), Ok(address));
        }
        assert_eq!(address("f#bytes=0-9"), Ok(file("/data/f#bytes=0-9")));
    }

    #[test]
    fn what_is_not_a_range_says_what_to_write() {
        for (text, part) in [("s3://b/k#bytes=", "#bytes=0-1023"), ("s3://b/k#bytes=9-0", "before"), ("http://h/k#bytes=-0", "no bytes")] {
            assert!(address(text).unwrap_err().to_string().contains(part), "{text}");
        }
    }
}
