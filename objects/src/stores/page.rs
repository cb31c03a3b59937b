//! One page of a listing, as S3, Google Cloud Storage and Azure Blob Storage write it.
//!
//! Text is taken byte for byte: nothing is trimmed, and line feeds stay what they are, because they
//! may be part of a key. What XML cannot hold, S3 writes as a reference (`&#13;`).

use std::time::{SystemTime, UNIX_EPOCH};

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, Event};
use sortie_protocol::Timestamp;

/// A page of a listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) entries: Vec<Listed>,
    /// Where the next page begins; none at the end.
    pub(crate) next: Option<String>,
}

/// What a listing says of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) key: String,
    pub(crate) size: u64,
    /// Its validator, in quotes.
    pub(crate) etag: Option<String>,
    pub(crate) modified: Timestamp,
}

impl Listed {
    /// Whether it stands for a folder: tools make such objects so that a folder is seen.
    pub(crate) fn is_folder_marker(&self) -> bool {
        self.size == 0 && self.key.ends_with('/')
    }
}

/// Why a page cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store's listing cannot be read: {0}")]
pub(crate) struct Unreadable(String);

fn unreadable(error: impl std::fmt::Display) -> Unreadable {
    Unreadable(error.to_string())
}

impl Page {
    pub(crate) fn parse(xml: &[u8]) -> Result<Self, Unreadable> {
        let mut reader = Reader::from_reader(xml);
        let (mut page, mut is_cut) = (Self::default(), false);
        let (mut path, mut text) = (Vec::<Vec<u8>>::new(), String::new());
        let mut entry: Option<Listed> = None;
        let (mut is_listing, mut is_encoded) = (false, false);
        loop {
            match reader.read_event().map_err(unreadable)? {
                Event::Start(start) => {
                    let name = start.local_name().as_ref().to_vec();
                    if matches!(name.as_slice(), b"Contents" | b"Blob") {
                        entry = Some(Listed::default());
                    }
                    is_listing |=
                        matches!(name.as_slice(), b"ListBucketResult" | b"EnumerationResults");
                    is_encoded = start
                        .try_get_attribute("Encoded")
                        .map_err(unreadable)?
                        .is_some_and(|encoded| encoded.value.as_ref() == b"true");
                    path.push(name);
                    text.clear();
                }
                Event::Text(part) => text.push_str(&part.decode().map_err(unreadable)?),
                Event::CData(part) => text.push_str(&part.decode().map_err(unreadable)?),
                Event::GeneralRef(reference) => text.push(character(&reference)?),
                Event::End(_) => {
                    let name = path.pop().unwrap_or_default();
                    match (name.as_slice(), &mut entry) {
                        (b"Contents" | b"Blob", _) => page.entries.extend(entry.take()),
                        (name, Some(entry)) if is_of_entry(path.last()) => {
                            if std::mem::take(&mut is_encoded) {
                                text = decoded(&text)?;
                            }
                            set(entry, name, &text)?;
                        }
                        (_, Some(_)) => {}
                        (b"NextContinuationToken" | b"NextMarker", None) if !text.is_empty() => {
                            page.next = Some(std::mem::take(&mut text));
                        }
                        (b"IsTruncated", None) => is_cut = text.trim() == "true",
                        (_, None) => {}
                    }
                    text.clear();
                }
                Event::Eof if !path.is_empty() || !is_listing => {
                    return Err(unreadable("it ends too early"));
                }
                Event::Eof if is_cut && page.next.is_none() => {
                    return Err(unreadable("it does not say where it goes on"));
                }
                Event::Eof => return Ok(page),
                Event::Empty(_)
                | Event::Decl(_)
                | Event::PI(_)
                | Event::Comment(_)
                | Event::DocType(_) => {}
            }
        }
    }
}

/// Whether an element in this one says something of an object itself, not of its owner.
fn is_of_entry(parent: Option<&Vec<u8>>) -> bool {
    parent.is_some_and(|name| matches!(name.as_slice(), b"Contents" | b"Blob" | b"Properties"))
}

/// A key that Azure lists percent-encoded, because XML cannot hold it.
fn decoded(text: &str) -> Result<String, Unreadable> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part
            .split_at_checked(2)
            // A sign is no digit.
            .filter(|(digits, _)| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .ok_or_else(|| unreadable("a percent sign without digits"))?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(unreadable)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).map_err(unreadable)
}

/// Take what an element says of an object.
fn set(entry: &mut Listed, name: &[u8], text: &str) -> Result<(), Unreadable> {
    match name {
        b"Key" | b"Name" => text.clone_into(&mut entry.key),
        b"Size" | b"Content-Length" => {
            entry.size = text.trim().parse().map_err(unreadable)?;
        }
        b"ETag" | b"Etag" => entry.etag = quoted(text.trim()),
        b"LastModified" | b"Last-Modified" => entry.modified = modified(text.trim()),
        _ => {}
    }
    Ok(())
}

/// A validator as answers have it: Azure, and some servers of the other kinds, list it without the
/// quotes.
fn quoted(etag: &str) -> Option<String> {
    match etag {
        "" => None,
        quoted if quoted.ends_with('"') => Some(quoted.to_owned()),
        plain => Some(format!("\"{plain}\"")),
    }
}

/// When it was written; long ago, if that cannot be read.
fn modified(text: &str) -> Timestamp {
    let time = humantime::parse_rfc3339(text).or_else(|_| httpdate::parse_http_date(text));
    let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::default() + time.map(since).unwrap_or_default()
}

fn character(reference: &BytesRef<'_>) -> Result<char, Unreadable> {
    if let Some(character) = reference.resolve_char_ref().map_err(unreadable)? {
        return Ok(character);
    }
    let name = reference.decode().map_err(unreadable)?;
    resolve_xml_entity(&name)
        .and_then(|text| text.chars().next())
        .ok_or_else(|| unreadable(format!("`&{name};` means nothing")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3(keys: &[&str], rest: &str) -> String {
        let contents: String = keys
            .iter()
            .map(|key| {
                format!(
                    "<Contents><Key>{key}</Key><LastModified>2000-01-01T00:00:00.000Z</LastModified>\
                     <ETag>&quot;e&quot;</ETag><Size>3</Size><Owner><ID>Key</ID></Owner></Contents>"
                )
            })
            .collect();
        format!(
            "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"http://s3/\"><Prefix> a</Prefix>\
             {contents}{rest}</ListBucketResult>"
        )
    }

    #[test]
    fn keys_are_taken_as_they_are_written() {
        let keys = [
            " a ",
            "/a//b/",
            "n&#10;l\nl",
            "cr&#13;&#x1;",
            "a&amp;&lt;&#x1F600;",
            "\tx",
        ];
        let page = Page::parse(s3(&keys, "").as_bytes()).unwrap();
        let found: Vec<&str> = page
            .entries
            .iter()
            .map(|entry| entry.key.as_str())
            .collect();
        assert_eq!(
            found,
            [
                " a ",
                "/a//b/",
                "n\nl\nl",
                "cr\r\u{1}",
                "a&<\u{1F600}",
                "\tx"
            ]
        );
        let first = &page.entries[0];
        assert_eq!((first.size, first.etag.as_deref()), (3, Some("\"e\"")));
        assert_eq!(first.modified.as_nanos(), 946_684_800_000_000_000);
        assert_eq!(page.next, None);
    }

    #[test]
    fn a_page_says_where_the_next_begins_or_is_refused() {
        let more = "<IsTruncated>true</IsTruncated>";
        let token = "<NextContinuationToken>t&amp;</NextContinuationToken>";
        let page = Page::parse(s3(&["a"], &format!("{more}{token}")).as_bytes()).unwrap();
        assert_eq!(page.next.as_deref(), Some("t&"));
        assert!(Page::parse(s3(&["a"], more).as_bytes()).is_err());
        let whole = s3(&["a"], "");
        for end in [10, whole.len() - 20, whole.len() - 1] {
            assert!(Page::parse(&whole.as_bytes()[..end]).is_err(), "{end}");
        }
        assert!(Page::parse(b"<html></html>").is_err());
        assert!(Page::parse(b"").is_err());
    }

    #[test]
    fn azure_lists_in_its_own_words() {
        let xml = "<?xml version=\"1.0\"?><EnumerationResults><Blobs><Blob>\
                   <Name Encoded=\"true\">a/%20b%01</Name>\
                   <Properties><Last-Modified>Sat, 01 Jan 2000 00:00:00 GMT</Last-Modified>\
                   <Etag>0x8</Etag><Content-Length>7</Content-Length></Properties></Blob></Blobs>\
                   <NextMarker /></EnumerationResults>";
        let page = Page::parse(xml.as_bytes()).unwrap();
        assert_eq!(
            page.entries,
            [Listed {
                key: "a/ b\u{1}".into(),
                size: 7,
                etag: Some("\"0x8\"".into()),
                modified: Timestamp::from_nanos(946_684_800_000_000_000),
            }]
        );
        assert_eq!(page.next, None);
        for wrong in ["%+1", "%1", "%g0"] {
            let xml = xml.replace("%01", wrong);
            assert!(Page::parse(xml.as_bytes()).is_err(), "{wrong}");
        }
    }
}
