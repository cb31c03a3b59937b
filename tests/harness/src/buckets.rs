//! A bucket that lists with versions and reads by version, in the dialects of S3, Google Cloud Storage and Azure Blob Storage.
//!
//! It stands for what the folder behind [`S3Server`](crate::S3Server) cannot: pages of a chosen length, validators in listings, `If-Match`, answers
//! that are errors, and a bucket of any number of objects. It checks no signatures; what requests say of who asks is kept for the test to see.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::watch;

use crate::http::{Server, header, plain};

/// Names in a page.
const PAGE: usize = 100;

/// How a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// S3, and Google's XML interface, which takes after it.
    S3,
    /// Azure Blob Storage, where the path begins with the account.
    Azure,
}

/// An answer that is an error.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// The service's word for it.
    pub code: &'static str,
    /// What else is in the body.
    pub more: &'static str,
}

/// What a request said, beside what it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// As in `GET /bucket/key?query`.
    pub what: String,
    /// The header `Authorization`.
    pub authorization: Option<String>,
    /// The header `x-amz-request-payer`.
    pub payer: Option<String>,
}

#[derive(Debug)]
struct State {
    dialect: Dialect,
    objects: BTreeMap<String, Bytes>,
    /// Objects that are made as they are listed, instead of `objects`.
    made: u64,
    refusal: Option<Refusal>,
    /// The page, counted from 1, that is answered with the refusal; everything is, if absent.
    refused_page: Option<u64>,
    /// What is put as soon as something was listed.
    later: Option<(String, Bytes)>,
    pages: u64,
    asked: Vec<Asked>,
}

/// A server of one bucket, whatever its name, that ends with its handle.
#[derive(Debug)]
pub struct BucketServer {
    server: Server,
    state: Arc<watch::Sender<State>>,
}

impl BucketServer {
    /// Serve these objects.
    pub fn start(dialect: Dialect, objects: &[(&str, &str)]) -> Self {
        let objects = objects.iter().map(|(key, content)| ((*key).to_owned(), Bytes::from((*content).to_owned()))).collect();
        Self::serve(State { dialect, objects, made: 0, refusal: None, refused_page: None, later: None, pages: 0, asked: Vec::new() })
    }

    /// Serve as many objects, `part-00000000` and so on, of one byte each. They take no memory here.
    pub fn endless(dialect: Dialect, count: u64) -> Self {
        let server = Self::start(dialect, &[]);
        server.state.send_modify(|state| state.made = count);
        server
    }

    fn serve(state: State) -> Self {
        let state = Arc::new(watch::Sender::new(state));
        let shared = state.clone();
        Self { server: Server::start(move |request| answer(&shared, request)), state }
    }

    /// Where it is.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// Put another version of an object once the present one was listed.
    pub fn replace_when_listed(&self, key: &str, content: &str) {
        self.state.send_modify(|state| state.later = Some((key.to_owned(), Bytes::from(content.to_owned()))));
    }

    /// Answer everything so.
    pub fn refuse(&self, refusal: Refusal) {
        self.state.send_modify(|state| state.refusal = Some(refusal));
    }

    /// Answer the page of this number so, counted from 1.
    pub fn refuse_page(&self, page: u64, refusal: Refusal) {
        self.state.send_modify(|state| (state.refusal, state.refused_page) = (Some(refusal), Some(page)));
    }

    /// How many pages were listed.
    pub fn pages(&self) -> u64 {
        self.state.borrow().pages
    }

    /// What was asked.
    pub fn asked(&self) -> Vec<Asked> {
        self.state.borrow().asked.clone()
    }
}

fn answer(shared: &watch::Sender<State>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let owned = |name| header(request, name).map(ToOwned::to_owned);
    let what = format!("{} {}", request.method(), request.uri());
    let query: BTreeMap<String, String> =
        request.uri().query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')).map(decoded).collect();
    let is_listing = query.contains_key("list-type") || query.get("comp").is_some_and(|what| what == "list");
    shared.send_modify(|state| {
        state.pages += u64::from(is_listing);
        state.asked.push(Asked { what, authorization: owned("authorization"), payer: owned("x-amz-request-payer") });
    });
    let state = shared.borrow();
    if let Some(refusal) = &state.refusal
        && state.refused_page.is_none_or(|page| is_listing && page == state.pages)
    {
        return refused(request, refusal);
    }
    let segments = match state.dialect {
        Dialect::S3 => 2,
        Dialect::Azure => 3,
    };
    if is_listing {
        let listed = list(&state, &query);
        drop(state);
        shared.send_modify(|state| {
            let later = state.later.take();
            state.objects.extend(later);
        });
        return listed;
    }
    let key = request.uri().path().splitn(segments + 1, '/').nth(segments).unwrap_or_default();
    let (key, _) = decoded((key, ""));
    let content = if state.made > 0 { Some(Bytes::from_static(b"x")) } else { state.objects.get(&key).cloned() };
    match content {
        Some(content) => read(request, &content),
        None => refused(request, &Refusal { status: 404, code: "NoSuchKey", more: "" }),
    }
}

/// Percent signs taken away.
fn decoded((name, value): (&str, &str)) -> (String, String) {
    let decode = |text: &str| {
        let mut parts = text.split('%');
        let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
        for part in parts {
            let (digits, rest) = part.split_at(2.min(part.len()));
            bytes.push(u8::from_str_radix(digits, 16).expect("a percent sign with two digits"));
            bytes.extend_from_slice(rest.as_bytes());
        }
        String::from_utf8(bytes).expect("text")
    };
    (decode(name), decode(value))
}

fn refused(request: &Request<Incoming>, refusal: &Refusal) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(refusal.status).expect("a status");
    let body = format!(r#"<?xml version="1.0"?><Error><Code>{}</Code><Message>no</Message>{}</Error>"#, refusal.code, refusal.more);
    plain(status, if request.method() == Method::HEAD { String::new() } else { body })
}

fn etag(content: &[u8]) -> String {
    format!("{:x}", content.iter().fold(7u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte)))
}

fn read(request: &Request<Incoming>, content: &Bytes) -> Response<Full<Bytes>> {
    let etag = format!("\"{}\"", etag(content));
    if header(request, "if-match").is_some_and(|wanted| wanted != etag) {
        return refused(request, &Refusal { status: 412, code: "PreconditionFailed", more: "" });
    }
    let range = header(request, "range").and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse::<usize>().ok()?, last.parse::<usize>().map_or(content.len(), |last| (last + 1).min(content.len()))))
    });
    let builder = Response::builder()
        .header(ETAG, etag)
        .header(CONTENT_TYPE, "text/plain")
        .header(LAST_MODIFIED, "Sat, 01 Jan 2000 00:00:00 GMT")
        .header("x-ms-blob-type", "BlockBlob");
    let (builder, part) = match range {
        Some((first, end)) if first < end => {
            let shown = format!("bytes {first}-{}/{}", end - 1, content.len());
            (builder.status(StatusCode::PARTIAL_CONTENT).header(CONTENT_RANGE, shown), content.slice(first..end))
        }
        Some(_) => return refused(request, &Refusal { status: 416, code: "InvalidRange", more: "" }),
        None => (builder, content.clone()),
    };
    let builder = builder.header(CONTENT_LENGTH, part.len());
    builder.body(if request.method() == Method::HEAD { Full::default() } else { Full::new(part) }).expect("a sound response")
}

fn list(state: &State, query: &BTreeMap<String, String>) -> Response<Full<Bytes>> {
    let given = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    let prefix = given("prefix");
    let start: usize = given("continuation-token").parse().or_else(|_| given("marker").parse()).unwrap_or_default();
    let delimiter = query.get("delimiter");
    let is_level = |key: &str| delimiter.is_none_or(|end| !key[prefix.len()..].contains(end.as_str()));
    let made = (start as u64..state.made).map(|n| (format!("part-{n:08}"), Bytes::from_static(b"x")));
    let kept = state.objects.iter().filter(|(key, _)| key.starts_with(prefix) && is_level(key)).skip(start);
    let kept = kept.map(|(key, content)| (key.clone(), content.clone()));
    let mut entries: Vec<_> = made.chain(kept).take(PAGE + 1).collect();
    let next = (entries.len() > PAGE).then(|| start + PAGE);
    entries.truncate(PAGE);
    plain(StatusCode::OK, page(state.dialect, &entries, next))
}

fn page(dialect: Dialect, entries: &[(String, Bytes)], next: Option<usize>) -> String {
    let escaped = |key: &str| key.replace('&', "&amp;").replace('<', "&lt;");
    let mut body = String::from(r#"<?xml version="1.0" encoding="utf-8"?>"#);
    let entry = |(key, content): &(String, Bytes)| {
        let (key, size, etag) = (escaped(key), content.len(), etag(content));
        match dialect {
            Dialect::S3 => format!(
                "<Contents><Key>{key}</Key><LastModified>2000-01-01T00:00:00.000Z</LastModified><ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size></Contents>"
            ),
            // Without quotes, as Azure does where it lists.
            Dialect::Azure => format!(
                "<Blob><Name>{key}</Name><Properties><Last-Modified>Sat, 01 Jan 2000 00:00:00 GMT</Last-Modified><Etag>{etag}</Etag><Content-Length>{size}</Content-Length><Content-Type>text/plain</Content-Type></Properties></Blob>"
            ),
        }
    };
    let listed: String = entries.iter().map(entry).collect();
    let next = next.map(|next| next.to_string());
    body += &match dialect {
        Dialect::S3 => {
            let token = next.map(|next| format!("<NextContinuationToken>{next}</NextContinuationToken>")).unwrap_or_default();
            format!("<ListBucketResult>{listed}{token}</ListBucketResult>")
        }
        Dialect::Azure => {
            let marker = next.unwrap_or_default();
            format!("<EnumerationResults><Blobs>{listed}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>")
        }
    };
    body
}
