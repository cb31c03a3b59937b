//! Carries keys to the wire byte for byte, past the path type of `object_store`.
//!
//! That type strips slashes, refuses empty segments and encodes what it does not like, so that
//! another object would be asked for. A key goes through the library as one plain segment, a mark
//! and the key in hexadecimal ([`disguised`]); the HTTP client of the stores turns it back into the
//! key, percent-encoded for a URL ([`revealed`]), and signs what is really sent.

use std::fmt::Write as _;

use object_store::path::Path;

use crate::Service;

/// Stands in front of a key in disguise. Only letters, so that nothing encodes it.
const MARK: &str = "SortieKeyInHexadecimal";

/// What becomes of slashes in a key where it stands in a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slashes {
    /// They stay, as S3 and Azure have it.
    Kept,
    /// They are encoded, as Google has it: a key is one segment.
    Encoded,
}

impl Slashes {
    pub(crate) fn of(service: Service) -> Self {
        match service {
            Service::S3 | Service::Az => Self::Kept,
            Service::Gs => Self::Encoded,
        }
    }
}

/// Why a key cannot be asked for, if it cannot: a client resolves such segments before it sends a
/// URL, also where they are encoded, and another object would be meant.
pub(crate) fn why_not(service: Service, key: &str) -> Option<&'static str> {
    let is_dots = |segment: &str| matches!(segment, "." | "..");
    let refused = match Slashes::of(service) {
        Slashes::Kept => key.split('/').any(is_dots),
        Slashes::Encoded => is_dots(key),
    };
    refused.then_some(
        "its key has a segment `.` or `..`, which no URL can hold; give the object another key",
    )
}

/// The key as the library has it.
pub(crate) fn disguised(key: &str) -> Path {
    let mut name = String::with_capacity(MARK.len() + 2 * key.len());
    name.push_str(MARK);
    for byte in key.bytes() {
        // Writing into memory cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    Path::from(name)
}

/// The same text with the key in it as it is, percent-encoded; none if there is no key in it.
pub(crate) fn revealed(text: &str, slashes: Slashes) -> Option<String> {
    let (before, after) = text.rsplit_once(MARK)?;
    let end = after
        .bytes()
        .position(|byte| !byte.is_ascii_hexdigit())
        .unwrap_or(after.len());
    let (digits, rest) = after.split_at_checked(end)?;
    let mut key = Vec::with_capacity(end / 2);
    for pair in digits.as_bytes().chunks(2) {
        let pair = std::str::from_utf8(pair).ok()?;
        key.push(u8::from_str_radix(pair, 16).ok()?);
    }
    Some(format!("{before}{}{rest}", encoded(&key, slashes)))
}

/// Bytes as a URL's path or query holds them: all but letters, digits and `-_.~` are encoded.
pub(crate) fn encoded(bytes: &[u8], slashes: Slashes) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        let plain = byte.is_ascii_alphanumeric()
            || b"-_.~".contains(&byte)
            || (byte == b'/' && slashes == Slashes::Kept);
        if plain {
            text.push(char::from(byte));
        } else {
            // Writing into memory cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_out_as_it_went_in() {
        for (key, wire) in [
            ("/a", "/a"),
            ("a//b/", "a//b/"),
            ("br[1]*?.txt", "br%5B1%5D%2A%3F.txt"),
            ("100%/caf\u{e9}#~", "100%25/caf%C3%A9%23~"),
            ("n\nt\tr\r", "n%0At%09r%0D"),
            (
                "%2e%2e/SortieKeyInHexadecimal",
                "%252e%252e/SortieKeyInHexadecimal",
            ),
        ] {
            let path = disguised(key);
            let text = format!("http://host/bucket/{}?uploads=", path.as_ref());
            assert_eq!(
                revealed(&text, Slashes::Kept).unwrap(),
                format!("http://host/bucket/{wire}?uploads=")
            );
        }
        let text = format!("/b/{}", disguised("a/../b").as_ref());
        assert_eq!(revealed(&text, Slashes::Encoded).unwrap(), "/b/a%2F..%2Fb");
        assert_eq!(
            revealed("http://host/bucket?list-type=2", Slashes::Kept),
            None
        );
    }

    #[test]
    fn what_no_url_can_hold_is_refused() {
        for key in ["..", "a/../b", "a/.", "./a"] {
            assert!(why_not(Service::S3, key).is_some(), "{key}");
            assert!(why_not(Service::Az, key).is_some(), "{key}");
        }
        for key in ["...", "a/..b", "%2e%2e/a", "/", "a//b"] {
            assert!(why_not(Service::S3, key).is_none(), "{key}");
        }
        assert!(why_not(Service::Gs, "..").is_some() && why_not(Service::Gs, "a/../b").is_none());
    }
}
