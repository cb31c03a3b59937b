//! Locations: where an object is, parsed from a URL or from the path of a local file.
//!
//! A text is parsed once, where a person or a program gives it. From then on a location travels as
//! its parts, which are taken byte for byte: a key with two slashes in it, a percent sign or a file
//! name that is not UTF-8 means the same object everywhere. Decoding refuses what parsing refuses.
//!
//! A location is printed without user, password and query; [`Location::to_url`] has them.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder};
use serde::{Deserialize, Serialize};
use url::Url;

/// The most of a location that is printed.
const SHOWN_BYTES_MAX: usize = 512;

/// Where an object is. Prints as a person wrote it, without user, password and query.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "Parts", try_from = "Parts")]
pub enum Location {
    /// A local file, by absolute path.
    File(PathBuf),
    /// An object in a bucket.
    Bucket {
        /// The service that has the bucket.
        service: Service,
        /// The bucket, which Azure calls a container.
        bucket: String,
        /// The key, byte for byte. Empty only for a bucket as a whole, which is no object.
        key: String,
    },
    /// A file on a web server.
    Http(Url),
}

/// A service that has buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[cbor(index_only)]
pub enum Service {
    /// S3, or a store that speaks its protocol.
    #[n(0)]
    S3,
    /// Google Cloud Storage.
    #[n(1)]
    Gs,
    /// Azure Blob Storage. The account is no part of a location.
    #[n(2)]
    Az,
}

impl Service {
    /// All services.
    pub const ALL: [Self; 3] = [Self::S3, Self::Gs, Self::Az];

    /// What its URLs start with.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gs => "gs",
            Self::Az => "az",
        }
    }

    /// What its URLs look like.
    fn pattern(self) -> &'static str {
        match self {
            Self::S3 => "write s3://bucket/key",
            Self::Gs => "write gs://bucket/key",
            Self::Az => "write az://container/path",
        }
    }

    /// The service whose URL this is.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let (scheme, _) = text.split_once("://")?;
        Self::ALL
            .into_iter()
            .find(|service| scheme.eq_ignore_ascii_case(service.scheme()))
    }

    /// Why a bucket cannot have this name, if it cannot.
    fn why_no_bucket(self, name: &str) -> Option<&'static str> {
        match self {
            _ if name.is_empty() => Some(self.pattern()),
            Self::S3 if is_bucket(name) => None,
            Self::S3 => Some(
                "a bucket's name has letters, digits, and any of -_. between them, 255 at most",
            ),
            Self::Gs if is_google_bucket(name) => None,
            Self::Gs => {
                Some("a bucket's name has lower case letters, digits, and any of -_. between them")
            }
            // As `abfss://` has it.
            Self::Az if name.contains('@') => {
                Some("write az://container/path; the storage account is not part of the URL")
            }
            Self::Az if is_container(name) => None,
            Self::Az => {
                Some("a container's name has 3 to 63 lower case letters, digits and hyphens")
            }
        }
    }
}

/// The longest name of a bucket that any service has or had.
const BUCKET_BYTES_MAX: usize = 255;

/// The rule of Amazon's first years, which other servers keep to: any later one is stricter. The
/// name becomes a part of a URL, so nothing that has a meaning there may be in it.
fn is_bucket(name: &str) -> bool {
    let is_within = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.len() <= BUCKET_BYTES_MAX
        && name.bytes().all(is_within)
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.ends_with(|last: char| last.is_ascii_alphanumeric())
        && !name.contains("..")
}

/// Google's rule, without the length.
fn is_google_bucket(name: &str) -> bool {
    is_bucket(name) && !name.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// Azure's rule; what begins with `$` has a meaning of its own there.
fn is_container(name: &str) -> bool {
    let plain = name.strip_prefix('$').unwrap_or(name);
    (3..=63).contains(&name.len())
        && plain
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !plain.starts_with('-')
        && !plain.ends_with('-')
}

/// The text is not a location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It has a scheme that is not served.
    #[error(
        "`{0}` starts with a scheme that is not served; use a path, file://, s3://, gs://, az://, \
         https:// or http://"
    )]
    Scheme(String),
    /// It does not parse.
    #[error("`{shown}` is not a location: {reason}")]
    Syntax {
        /// The text, without what may be secret.
        shown: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// It is to be a prefix.
    #[error("`{0}` is not a prefix: a prefix ends in a slash, as in `s3://bucket/array.zarr/`")]
    NoSlash(String),
}

impl Location {
    /// Parse the URL of an object, or a path relative to `folder`.
    ///
    /// # Errors
    /// When the scheme is not served or a part is missing.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Malformed> {
        match Self::parse_place(text, folder)? {
            Self::Bucket { service, key, .. } if key.is_empty() => {
                Err(syntax(text, service.pattern()))
            }
            location => Ok(location),
        }
    }

    /// Parse the place of many objects: as [`Self::parse`] does, or the URL of a whole bucket.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_place(text: &str, folder: &Path) -> Result<Self, Malformed> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Self::file(text, &folder.join(text));
        };
        if let Some(service) = Service::of(text) {
            let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
            return match service.why_no_bucket(bucket) {
                Some(reason) => Err(syntax(text, reason)),
                None => Ok(Self::Bucket {
                    service,
                    bucket: bucket.into(),
                    key: key.into(),
                }),
            };
        }
        match scheme.to_ascii_lowercase().as_str() {
            "file" => match rest
                .strip_prefix('/')
                .or_else(|| rest.strip_prefix("localhost/"))
            {
                Some(path) => Self::file(text, &Path::new("/").join(path)),
                None => Err(syntax(text, "write file:/// and an absolute path")),
            },
            "http" | "https" => web(text),
            _ => Err(Malformed::Scheme(redact(text))),
        }
    }

    fn file(text: &str, path: &Path) -> Result<Self, Malformed> {
        if text.is_empty() {
            return Err(syntax(text, "it is empty"));
        }
        if text.contains('\0') {
            return Err(syntax(text, "no path has a zero byte in it"));
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
            Self::File(path) => path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            Self::Bucket { key, .. } => key.rsplit('/').next().unwrap_or_default().to_owned(),
            Self::Http(url) => url
                .path_segments()
                .and_then(|mut segments| segments.next_back())
                .unwrap_or_default()
                .to_owned(),
        }
    }

    /// The location of `path` below this one.
    #[must_use]
    pub fn below(&self, path: &str) -> Self {
        match self {
            Self::File(folder) => Self::File(folder.join(path)),
            Self::Bucket {
                service,
                bucket,
                key,
            } => {
                let slash = if key.is_empty() || key.ends_with('/') {
                    ""
                } else {
                    "/"
                };
                Self::Bucket {
                    service: *service,
                    bucket: bucket.clone(),
                    key: format!("{key}{slash}{path}"),
                }
            }
            Self::Http(url) => {
                let mut url = url.clone();
                if let Ok(mut segments) = url.path_segments_mut() {
                    // Encodes what has a meaning in a URL, the percent sign among it.
                    segments.pop_if_empty().extend(path.split('/'));
                }
                Self::Http(url)
            }
        }
    }

    /// About how many bytes it takes in a message.
    #[must_use]
    pub fn weight(&self) -> usize {
        8 + match self {
            Self::File(path) => path.as_os_str().len(),
            Self::Bucket { bucket, key, .. } => bucket.len() + key.len(),
            Self::Http(url) => url.as_str().len(),
        }
    }

    /// The URL, user and query included. A path that is not UTF-8 has none that is exact: this is
    /// for people and for results, not for parsing it again.
    #[must_use]
    pub fn to_url(&self) -> String {
        match self {
            Self::Http(url) => url.to_string(),
            other => other.to_string(),
        }
    }
}

impl FromStr for Location {
    type Err = Malformed;

    /// Parses the URL of an object, or an absolute path.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::parse(absolute(text)?, Path::new("/"))
    }
}

/// The text, unless it is a relative path.
pub(crate) fn absolute(text: &str) -> Result<&str, Malformed> {
    if text.contains("://") || text.starts_with('/') {
        Ok(text)
    } else {
        Err(syntax(text, "a relative path means nothing here"))
    }
}

/// A URL of a web server, as it was written: what parsing would take away or turn into something
/// else is refused or encoded first.
fn url(text: &str) -> Result<Url, Malformed> {
    if text.contains(|c: char| c.is_ascii_control()) || text.trim() != text {
        return Err(syntax(
            text,
            "write control characters, and spaces at its ends, with a percent sign, as %0A",
        ));
    }
    let authority = text
        .split_once("://")
        .and_then(|(_, rest)| rest.split(['/', '?', '#']).next())
        .unwrap_or_default();
    if authority.contains('\\') {
        return Err(syntax(text, "write https://host/path"));
    }
    // It would be taken for a slash.
    Url::parse(&text.replace('\\', "%5C")).map_err(|_| syntax(text, "write https://host/path"))
}

/// Whether a URL names a file on a web server.
/// A file of a web server.
fn web(text: &str) -> Result<Location, Malformed> {
    let url = url(text)?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(syntax(text, "write https://host/path"));
    }
    if url.path() == "/" {
        let reason = "it names a web server and no file there: write https://host/path";
        return Err(syntax(text, reason));
    }
    Ok(Location::Http(url))
}

/// A location as it travels.
#[derive(Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
enum Parts {
    /// The bytes of an absolute path.
    #[n(0)]
    File {
        #[cbor(n(0), with = "minicbor::bytes")]
        #[serde(with = "serde_bytes")]
        path: Vec<u8>,
    },
    #[n(1)]
    Bucket {
        #[n(0)]
        service: Service,
        #[n(1)]
        bucket: String,
        #[n(2)]
        key: String,
    },
    #[n(2)]
    Http {
        #[n(0)]
        url: String,
    },
}

impl From<Location> for Parts {
    fn from(location: Location) -> Self {
        match location {
            Location::File(path) => Self::File {
                path: path.into_os_string().into_vec(),
            },
            Location::Bucket {
                service,
                bucket,
                key,
            } => Self::Bucket {
                service,
                bucket,
                key,
            },
            Location::Http(url) => Self::Http { url: url.into() },
        }
    }
}

impl TryFrom<Parts> for Location {
    type Error = Malformed;

    fn try_from(parts: Parts) -> Result<Self, Malformed> {
        match parts {
            Parts::File { path } => {
                let path = PathBuf::from(OsString::from_vec(path));
                if is_plain(&path) {
                    return Ok(Self::File(path));
                }
                Err(syntax(
                    &path.to_string_lossy(),
                    "it is not an absolute path",
                ))
            }
            Parts::Bucket {
                service,
                bucket,
                key,
            } => match service.why_no_bucket(&bucket) {
                None if !bucket.contains('/') => Ok(Self::Bucket {
                    service,
                    bucket,
                    key,
                }),
                reason => Err(syntax(&bucket, reason.unwrap_or(service.pattern()))),
            },
            Parts::Http { url: text } => web(&text),
        }
    }
}

/// Whether a path is absolute and has nothing in it that means another folder.
fn is_plain(path: &Path) -> bool {
    path.is_absolute()
        && !path.as_os_str().as_bytes().contains(&0)
        && path
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

impl<C> Encode<C> for Location {
    fn encode<W: Write>(
        &self,
        encoder: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        Parts::from(self.clone()).encode(encoder, ctx)
    }
}

impl<'b, C> Decode<'b, C> for Location {
    fn decode(decoder: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        Self::try_from(Parts::decode(decoder, ctx)?).map_err(minicbor::decode::Error::message)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file://{}", path.display()),
            Self::Bucket {
                service,
                bucket,
                key,
            } => write!(f, "{}://{bucket}/{key}", service.scheme()),
            Self::Http(url) => f.write_str(&redact(url.as_str())),
        }
    }
}

pub(crate) fn syntax(text: &str, reason: &'static str) -> Malformed {
    Malformed::Syntax {
        shown: redact(text),
        reason,
    }
}

/// The text without user, password and query, and not too long.
pub(crate) fn redact(text: &str) -> String {
    let before_query = text.split(['?', '#']).next().unwrap_or_default();
    let shown = match before_query.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest
                .split_once('/')
                .map_or((rest, String::new()), |(host, path)| {
                    (host, format!("/{path}"))
                });
            let host = host.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => before_query.to_owned(),
    };
    crate::text::cut(shown, SHOWN_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Location, Malformed> {
        Location::parse(text, Path::new("/data"))
    }

    #[test]
    fn paths_are_relative_to_the_folder() {
        for (text, path) in [
            ("a.pdf", "/data/a.pdf"),
            ("../b.pdf", "/b.pdf"),
            ("/c/./d", "/c/d"),
            ("file:///e f", "/e f"),
        ] {
            assert_eq!(parse(text), Ok(Location::File(path.into())), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_location_says_what_to_write() {
        for (text, part) in [
            ("", "empty"),
            ("s3://bucket", "s3://bucket/key"),
            ("s3:///key", "s3://bucket/key"),
            ("gs://bucket", "gs://bucket/key"),
            ("gs://Bucket/key", "lower case"),
            ("az://box", "az://container/path"),
            (
                "az://box@account.blob.core.windows.net/key",
                "storage account",
            ),
            ("az://my_box/key", "3 to 63"),
            ("az://b/key", "3 to 63"),
            ("s3://victim?policy&x=/key", "letters, digits"),
            ("s3://../key", "letters, digits"),
            ("s3://b#/key", "letters, digits"),
            ("s3://b%2fc/key", "letters, digits"),
            ("s3://user@host/key", "letters, digits"),
            ("gs://../key", "lower case"),
            ("gs://a..b/key", "lower case"),
            ("az://---/key", "3 to 63"),
            ("az://b?c/key", "3 to 63"),
            ("https://host", "no file there"),
            ("https://host/?page=1", "no file there"),
            ("https://host\\@other/a", "https://host/path"),
            ("https://host/a\tb", "percent sign"),
            ("https://host/a ", "percent sign"),
            ("/a\0b", "zero byte"),
            ("file://relative", "absolute path"),
            ("ftp://host/x", "not served"),
        ] {
            assert!(
                parse(text).unwrap_err().to_string().contains(part),
                "{text}"
            );
        }
    }

    #[test]
    fn buckets_are_told_apart_by_their_service() {
        for (text, service) in [
            ("s3://box/a/b", Service::S3),
            ("GS://box/a/b", Service::Gs),
            ("az://$web/a/b", Service::Az),
        ] {
            let location = parse(text).unwrap();
            let bucket = text.get(5..8).unwrap().replace("$we", "$web");
            assert_eq!(
                location,
                Location::Bucket {
                    service,
                    bucket,
                    key: "a/b".into()
                }
            );
            assert_eq!(
                (location.name().as_str(), location.to_url()),
                ("b", text.replace("GS", "gs"))
            );
        }
    }

    #[test]
    fn a_key_is_taken_byte_for_byte() {
        for key in [
            "/a",
            "a//b",
            "a/",
            "%2e%2e/b",
            "../c",
            "br[1].txt",
            "a\tb",
            "/",
            "//",
        ] {
            let location = parse(&format!("s3://box/{key}")).unwrap();
            assert!(
                matches!(&location, Location::Bucket { key: parsed, .. } if parsed == key),
                "{location:?}"
            );
        }
    }

    #[test]
    fn a_url_is_taken_as_it_was_written() {
        for (text, wire) in [
            ("https://host/a%2Fb//c/", "/a%2Fb//c/"),
            ("https://host/caf%E9", "/caf%E9"),
            ("https://host/a\\b", "/a%5Cb"),
            (
                "https://host/a:b,c;d=e+f@g!h$i'j(k)*~.txt",
                "/a:b,c;d=e+f@g!h$i'j(k)*~.txt",
            ),
        ] {
            let Ok(Location::Http(url)) = parse(text) else {
                panic!("{text}");
            };
            assert_eq!(url.path(), wire);
        }
    }

    #[test]
    fn what_travels_is_what_was_named() {
        let name = OsString::from_vec(b"/data/latin\xe9#bytes=0-0".to_vec());
        let samples = [
            Location::File(name.into()),
            parse("s3://box//a//%2e[1]/").unwrap(),
            parse("https://me:pw@host/a%20b?X-Amz-Signature=x").unwrap(),
            Location::parse_place("gs://box", Path::new("/")).unwrap(),
        ];
        for location in samples {
            let bytes = minicbor::to_vec(&location).unwrap();
            assert_eq!(minicbor::decode::<Location>(&bytes).unwrap(), location);
            let mut cbor = Vec::new();
            ciborium::into_writer(&location, &mut cbor).unwrap();
            assert_eq!(
                ciborium::from_reader::<Location, _>(&cbor[..]).unwrap(),
                location
            );
        }
    }

    #[test]
    fn what_cannot_be_parsed_is_not_decoded() {
        let bucket = |service, bucket: &str| Parts::Bucket {
            service,
            bucket: bucket.into(),
            key: "k".into(),
        };
        let http = |url: &str| Parts::Http { url: url.into() };
        let file = |path: &[u8]| Parts::File { path: path.into() };
        for parts in [
            bucket(Service::S3, ""),
            bucket(Service::S3, "a/b"),
            bucket(Service::S3, "victim?policy&x="),
            bucket(Service::S3, ".."),
            bucket(Service::S3, "b#"),
            bucket(Service::Gs, "Box"),
            bucket(Service::Gs, ".."),
            bucket(Service::Az, "b"),
            http("ftp://host/a"),
            http("https://host"),
            http("no URL"),
            http("https://host/a\tb"),
            http("ht\ntps://host/a"),
            http(" https://host/a"),
            http("https://host\\@other/a"),
            file(b"a"),
            file(b""),
            file(b"/a/../b"),
            file(b"/a\0b"),
        ] {
            let bytes = minicbor::to_vec(&parts).unwrap();
            assert!(minicbor::decode::<Location>(&bytes).is_err());
        }
    }

    #[test]
    fn a_url_that_travels_is_the_one_that_is_parsed() {
        let text = "https://me:pw@host/a?b\\c";
        let bytes = minicbor::to_vec(Parts::Http { url: text.into() }).unwrap();
        let location = minicbor::decode::<Location>(&bytes).unwrap();
        assert_eq!(Ok(&location), parse(text).as_ref());
        assert_eq!(location.to_url(), "https://me:pw@host/a?b%5Cc");
    }

    #[test]
    fn what_lies_below_is_below() {
        let below = |text: &str, path: &str| {
            Location::parse_place(text, Path::new("/here"))
                .unwrap()
                .below(path)
                .to_url()
        };
        assert_eq!(below("s3://box", "x/y"), "s3://box/x/y");
        assert_eq!(below("s3://box/a", "x"), "s3://box/a/x");
        assert_eq!(below("s3://box/a//", "x"), "s3://box/a//x");
        assert_eq!(below("r s#1?", "x"), "file:///here/r s#1?/x");
        assert_eq!(
            below("https://host/a/", "%2e/b?x#y"),
            "https://host/a/%252e/b%3Fx%23y"
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let location = parse("https://me:secret@host/a/b.pdf?X-Amz-Signature=secret#x").unwrap();
        assert_eq!(location.to_string(), "https://host/a/b.pdf");
        assert_eq!(location.name(), "b.pdf");
        assert!(
            !parse("gopher://me:secret@host/?secret")
                .unwrap_err()
                .to_string()
                .contains("secret")
        );
    }
}
