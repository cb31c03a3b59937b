//! Fuzzes names of objects: locations, addresses, patterns, listings of stores, and ids.

use std::fmt::{Debug, Display};
use std::path::Path;
use std::str::FromStr;

use minicbor::{Decode, Encode};
use sortie_objects::fuzzing::{content_range, listing_page, pattern};
use sortie_protocol::{
    Address, ByteRange, Digest, JobId, Labels, Location, Place, TenantId, VersionId, WorkerId,
};

use crate::input::{choose, chosen, lines};
use crate::memory::{at_most, measured};

/// What reading a page of a listing may allocate for each byte: an entry for each of the shortest
/// elements, while their list grows.
const PAGE_FACTOR: usize = 64;

const TEXT: u8 = 0;
const WIRE: u8 = 1;
const PATTERN: u8 = 2;
const PAGE: u8 = 3;
const IDS: u8 = 4;

/// Reads one kind of name.
pub fn run(data: &[u8]) {
    let Some((choice, rest)) = choose(data, IDS + 1) else {
        return;
    };
    match (choice, std::str::from_utf8(rest)) {
        (WIRE, _) => wire(rest),
        (PAGE, _) => page(rest),
        (TEXT, Ok(text)) => names(text),
        (PATTERN, Ok(_)) => patterns(rest),
        (_, Ok(text)) => ids(text),
        (_, Err(_)) => {}
    }
}

/// What is parsed has a URL that is parsed to the same, and travels as the same.
fn names(text: &str) {
    let folder = Path::new("/data");
    if let Ok(location) = Location::parse(text, folder) {
        assert_eq!(
            Location::parse(&location.to_url(), folder).as_ref(),
            Ok(&location)
        );
        travels(&location);
    }
    if let Ok(place) = Place::parse(text, folder) {
        assert_eq!(Place::parse(&place.to_url(), folder).as_ref(), Ok(&place));
        travels(&place);
    }
    if let Ok(address) = Address::parse(text, folder) {
        travels(&address);
        // In a plain path what looks like a range is a part of the name.
        if !matches!(address.location, Location::File(_)) {
            assert_eq!(
                Address::parse(&address.to_url(), folder).as_ref(),
                Ok(&address)
            );
        }
        if let Some(range) = address.bytes {
            within(range);
        }
    }
    if let Ok(address) = Address::literal(text, folder) {
        assert_eq!((address.bytes, &address.version), (None, &None));
        travels(&address);
    }
}

/// What is decoded could have been parsed.
fn wire(bytes: &[u8]) {
    if let Ok(location) = minicbor::decode::<Location>(bytes) {
        travels(&location);
        if !is_odd_path(&location) {
            let parsed = Location::parse_place(&location.to_url(), Path::new("/"));
            assert_eq!(parsed.as_ref(), Ok(&location));
        }
    }
    if let Ok(place) = minicbor::decode::<Place>(bytes) {
        travels(&place);
        if !is_odd_path(place.location()) {
            assert_eq!(place.to_url().parse().as_ref(), Ok(&place));
        }
    }
    if let Ok(address) = minicbor::decode::<Address>(bytes) {
        travels(&address);
    }
    if let Ok(version) = minicbor::decode::<VersionId>(bytes) {
        assert_eq!(VersionId::new(version.as_str()).as_ref(), Some(&version));
        travels(&version);
    }
}

/// A path that is no text has no URL.
fn is_odd_path(location: &Location) -> bool {
    matches!(location, Location::File(path) if path.to_str().is_none())
}

fn travels<T>(value: &T)
where
    T: PartialEq + Debug + Encode<()> + for<'b> Decode<'b, ()>,
{
    let bytes = minicbor::to_vec(value).expect("memory takes every write");
    assert_eq!(
        &minicbor::decode::<T>(&bytes).expect("it was written"),
        value
    );
}

fn within(range: ByteRange) {
    for size in [0, 1, 7, u64::MAX] {
        if let Some(bytes) = range.within(size) {
            assert!(bytes.start < bytes.end && bytes.end <= size);
        }
    }
}

/// A pattern without wildcards matches its own text and nothing else.
fn patterns(data: &[u8]) {
    let Some((text, key)) = lines(data) else {
        return;
    };
    let matches = pattern(text, key);
    if !text.contains(['*', '?', '[']) {
        assert_eq!(matches, Ok(text == key));
    }
    if matches.is_ok() && !key.is_empty() {
        assert_eq!(pattern("**", key), Ok(true));
    }
}

/// The keys on a page are no longer than the page.
fn page(xml: &[u8]) {
    let (page, bytes) = measured(|| listing_page(xml));
    at_most(bytes, xml, PAGE_FACTOR);
    if let Ok(entries) = page {
        let keys: usize = entries.iter().map(|(key, _)| key.len()).sum();
        assert!(keys <= xml.len());
    }
}

/// What is parsed is shown as it was written, and parsed from that to the same.
fn ids(text: &str) {
    is_shown_as_written::<JobId>(text);
    is_shown_as_written::<WorkerId>(text);
    is_shown_as_written::<Digest>(text);
    is_shown_as_written::<TenantId>(text);
    if let Ok(labels) = text.parse::<Labels>() {
        assert_eq!(labels.to_string().parse().as_ref(), Ok(&labels));
        travels(&labels);
    }
    if let Some((Some(range), size)) = content_range(text) {
        assert!(range.start < range.end && range.end <= size);
    }
}

fn is_shown_as_written<T: FromStr + Display>(text: &str) {
    if let Ok(id) = text.parse::<T>() {
        assert!(
            id.to_string().eq_ignore_ascii_case(text),
            "{id} of {text:?}"
        );
    }
}

/// Names of each kind, in text, as bytes and in listings.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "a.pdf",
        "../b/./c.pdf",
        "file:///e f",
        "s3://box//a//%2e[1]/",
        "s3://logs/2026.csv?versionId=3HL4k#bytes=0-1048575",
        "gs://box/key#bytes=-500",
        "az://$web/a/b#bytes=500-",
        "https://me:pw@host/a%20b\\c?X-Amz-Signature=x#bytes=1-2",
        "s3://bucket/array.zarr/",
    ];
    let mut seeds = Vec::new();
    for text in texts {
        seeds.push(chosen(TEXT, text.as_bytes()));
        if let Ok(address) = Address::parse(text, Path::new("/data")) {
            let travels = [
                minicbor::to_vec(&address),
                minicbor::to_vec(&address.location),
            ];
            seeds.extend(
                travels
                    .into_iter()
                    .flatten()
                    .map(|cbor| chosen(WIRE, &cbor)),
            );
        }
    }
    let patterns = ["a/**/b/*.txt\na/x/b/r.txt", "[!a-c]?x\ndex", "a//b\na//b"];
    seeds.extend(patterns.map(|text| chosen(PATTERN, text.as_bytes())));
    seeds.push(chosen(PAGE, S3_PAGE.as_bytes()));
    seeds.push(chosen(PAGE, AZURE_PAGE.as_bytes()));
    let ids = [
        "job-07070707070707070707070707070707",
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "gpu,region=eu-west-1",
        "bytes 0-9/100",
        "team-7",
    ];
    seeds.extend(ids.map(|text| chosen(IDS, text.as_bytes())));
    seeds
}

const S3_PAGE: &str = "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"http://s3/\"><Contents>\
    <Key>a&amp;b&#13;</Key><LastModified>2000-01-01T00:00:00.000Z</LastModified>\
    <ETag>&quot;e&quot;</ETag><Size>3</Size><Owner><ID>Key</ID></Owner></Contents>\
    <IsTruncated>true</IsTruncated><NextContinuationToken>n</NextContinuationToken>\
    </ListBucketResult>";

const AZURE_PAGE: &str = "<EnumerationResults><Blobs><Blob><Name Encoded=\"true\">a%FF%01</Name>\
    <Properties><Content-Length>7</Content-Length><Etag>0x8</Etag>\
    <Last-Modified>Sat, 01 Jan 2000 00:00:00 GMT</Last-Modified></Properties></Blob></Blobs>\
    <NextMarker/></EnumerationResults>";
