//! Where an object is: a URL, or the path of a local file.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

/// A parsed location. Prints as a person wrote it, without user, password and query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A local file, by absolute path.
    File(PathBuf),
    /// An object in a bucket.
    Bucket {
        /// Whose bucket.
        service: Service,
        /// The bucket, which Azure calls a container.
        bucket: String,
        /// The key, without a slash in front.
        key: String,
    },
    /// A file on a web server.
    Http(Url),
}

/// A service that has buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// S3, or a store that speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gs,
    /// Azure Blob Storage. The account is no part of a location.
    Az,
}

impl Service {
    /// All there are.
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

    /// Parse what is behind the scheme, as [`Location::parse`] does; without a key it is the bucket
    /// as a whole.
    pub(crate) fn bucket(self, text: &str, rest: &str) -> Result<(String, String), Malformed> {
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let reason = match self {
            _ if bucket.is_empty() => self.pattern(),
            Self::S3 => return Ok((bucket.into(), key.into())),
            Self::Gs
                if bucket.bytes().all(|byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte)
                }) =>
            {
                return Ok((bucket.into(), key.into()));
            }
            Self::Gs => {
                "a bucket's name has lower case letters, digits, and any of -_. between them"
            }
            // As `abfss://` has it.
            Self::Az if bucket.contains('@') => {
                "write az://container/path; the storage account is not part of the URL"
            }
            Self::Az if is_container(bucket) => return Ok((bucket.into(), key.into())),
            Self::Az => "a container's name has 3 to 63 lower case letters, digits and hyphens",
        };
        Err(syntax(text, reason))
    }
}

/// Azure's rule; what begins with `$` has a meaning of its own there.
fn is_container(name: &str) -> bool {
    let plain = |name: &str| {
        name.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    (3..=63).contains(&name.len()) && plain(name.strip_prefix('$').unwrap_or(name))
}

/// The text is not a location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It has a scheme that is not served.
    #[error(
        "`{0}` starts with a scheme that is not served; use a path, file://, s3://, gs://, az://, https:// or http://"
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
}

impl Location {
    /// Parse a URL, or a path relative to `folder`.
    ///
    /// # Errors
    /// When the scheme is not served or a part is missing.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Malformed> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Self::file(text, &folder.join(text));
        };
        if let Some(service) = Service::of(text) {
            let (bucket, key) = service.bucket(text, rest)?;
            return if key.is_empty() {
                Err(syntax(text, service.pattern()))
            } else {
                Ok(Self::Bucket {
                    service,
                    bucket,
                    key,
                })
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
            "http" | "https" => match Url::parse(text) {
                Ok(url) if url.has_host() && url.path() != "/" => Ok(Self::Http(url)),
                _ => Err(syntax(text, "write https://host/path")),
            },
            _ => Err(Malformed::Scheme(redact(text))),
        }
    }

    /// Parse the place of many objects: as [`Self::parse`] does, or the URL of a whole bucket.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_place(text: &str, folder: &Path) -> Result<Self, Malformed> {
        let whole = Service::of(text).zip(
            text.trim_end_matches('/')
                .split_once("://")
                .map(|(_, bucket)| bucket),
        );
        match whole.filter(|(_, bucket)| !bucket.contains('/')) {
            Some((service, bucket)) => {
                let (bucket, key) = service.bucket(text, bucket)?;
                Ok(Self::Bucket {
                    service,
                    bucket,
                    key,
                })
            }
            None => Self::parse(text, folder),
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
                std::path::Component::ParentDir => {
                    absolute.pop();
                }
                std::path::Component::CurDir => {}
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

    /// The text that names this object to a worker and in a memo key: a full URL, query included.
    #[must_use]
    pub fn to_url(&self) -> String {
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
            Self::Bucket {
                service,
                bucket,
                key,
            } => write!(f, "{}://{bucket}/{key}", service.scheme()),
            Self::Http(url) => f.write_str(&redact(url.as_str())),
        }
    }
}

fn syntax(text: &str, reason: &'static str) -> Malformed {
    Malformed::Syntax {
        shown: redact(text),
        reason,
    }
}

/// The text without user, password and query, and not too long.
fn redact(text: &str) -> String {
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
    sortie_protocol::outcome::cut(shown, 512)
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
            ("https://host", "https://host/path"),
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
