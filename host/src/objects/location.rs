//! Where an object is: a URL, or the path of a local file.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

/// A parsed location. Prints as a person wrote it, without user, password and query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A local file, by absolute path.
    File(PathBuf),
    /// An object in S3 or a store that speaks its protocol.
    S3 {
        /// The bucket.
        bucket: String,
        /// The key, without a slash in front.
        key: String,
    },
    /// A file on a web server.
    Http(Url),
}

/// The text is not a location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It has a scheme that is not served.
    #[error("`{0}` starts with a scheme that is not served; use a path, file://, s3://, https:// or http://")]
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
        match scheme.to_ascii_lowercase().as_str() {
            "file" => match rest.strip_prefix('/').or_else(|| rest.strip_prefix("localhost/")) {
                Some(path) => Self::file(text, &Path::new("/").join(path)),
                None => Err(syntax(text, "write file:/// and an absolute path")),
            },
            "s3" => match rest.split_once('/') {
                Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => Ok(Self::S3 { bucket: bucket.into(), key: key.into() }),
                _ => Err(syntax(text, "write s3://bucket/key")),
            },
            "http" | "https" => match Url::parse(text) {
                Ok(url) if url.has_host() && url.path() != "/" => Ok(Self::Http(url)),
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
            Self::File(path) => path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            Self::S3 { key, .. } => key.rsplit('/').next().unwrap_or_default().to_owned(),
            Self::Http(url) => url.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default().to_owned(),
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
            Self::S3 { bucket, key } => write!(f, "s3://{bucket}/{key}"),
            Self::Http(url) => f.write_str(&redact(url.as_str())),
        }
    }
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
    }
}
