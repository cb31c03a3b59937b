//! A bucket that is listed, read and written in the dialects of S3, Google Cloud Storage and Azure
//! Blob Storage.
//!
//! It stands for what the folder behind [`S3Server`](crate::S3Server) cannot: the other services,
//! buckets in a server's name, readers who have to pay, and refusals of the test's choice. It
//! checks no signatures; how requests say who asks is kept for the test to see.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::watch;

use crate::http::{Server, header, plain};

/// Names in a page: few, so that every listing in a test has several.
const PAGE: usize = 2;
const MODIFIED: &str = "Sat, 01 Jan 2000 00:00:00 GMT";

/// How a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// S3, and Google's XML interface, which takes after it.
    S3,
    /// Azure Blob Storage, where the path begins with the account.
    Azure,
}

/// An answer that refuses something.
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
    /// The server's name, as the client has it.
    pub host: String,
    /// The header `Authorization`.
    pub authorization: Option<String>,
    /// The header `x-amz-request-payer`.
    pub payer: Option<String>,
    /// The header `x-goog-user-project`.
    pub project: Option<String>,
}

#[derive(Debug)]
struct State {
    dialect: Dialect,
    objects: BTreeMap<String, Bytes>,
    /// Earlier versions, by key and name.
    versions: BTreeMap<(String, String), Bytes>,
    /// What was sent of objects that are uploaded in parts, by key and part.
    parts: BTreeMap<(String, String), Bytes>,
    refusal: Option<Refusal>,
    wants_payer: bool,
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
    ///
    /// # Panics
    /// When there is no port to listen on.
    pub fn start(dialect: Dialect, objects: &[(&str, &str)]) -> Self {
        let objects = objects
            .iter()
            .map(|(key, content)| ((*key).to_owned(), Bytes::from((*content).to_owned())))
            .collect();
        let state = Arc::new(watch::Sender::new(State {
            dialect,
            objects,
            versions: BTreeMap::new(),
            parts: BTreeMap::new(),
            refusal: None,
            wants_payer: false,
            asked: Vec::new(),
        }));
        let shared = state.clone();
        Self {
            server: Server::start(move |request| answer(&shared, request)),
            state,
        }
    }

    /// Where it is.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// Answer everything so.
    pub fn refuse(&self, refusal: Refusal) {
        self.state
            .send_modify(|state| state.refusal = Some(refusal));
    }

    /// Keep an earlier version of an object under this name.
    pub fn keep_version(&self, key: &str, name: &str, content: &str) {
        let content = Bytes::from(content.to_owned());
        self.state.send_modify(|state| {
            let _ = state
                .versions
                .insert((key.to_owned(), name.to_owned()), content);
        });
    }

    /// The content of this object, if there is one.
    pub fn content(&self, key: &str) -> Option<Bytes> {
        self.state.borrow().objects.get(key).cloned()
    }

    /// Denies requests that do not say that the requester pays.
    pub fn charge(&self) {
        self.state.send_modify(|state| state.wants_payer = true);
    }

    /// What was asked since this was called last.
    pub fn asked(&self) -> Vec<Asked> {
        let mut asked = Vec::new();
        self.state
            .send_modify(|state| asked = std::mem::take(&mut state.asked));
        asked
    }
}

/// The query of a request, decoded.
pub(crate) fn query(request: &Request<Bytes>) -> BTreeMap<String, String> {
    let pairs = request
        .uri()
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

fn answer(shared: &watch::Sender<State>, request: &Request<Bytes>) -> Response<Full<Bytes>> {
    let asked = recorded(request);
    let host = asked.host.clone();
    let is_free = asked.payer.is_some();
    shared.send_modify(|state| state.asked.push(asked));
    let state = shared.borrow();
    if let Some(refusal) = &state.refusal {
        return refused(request, refusal);
    }
    if state.wants_payer && !is_free {
        return refused(
            request,
            &Refusal {
                status: 403,
                code: "AccessDenied",
                more: "",
            },
        );
    }
    let query = query(request);
    if query.contains_key("list-type") || query.get("comp").is_some_and(|what| what == "list") {
        return list(&state, &query);
    }
    let segments = match state.dialect {
        Dialect::S3 if host.starts_with("bucket.") => 1,
        Dialect::S3 => 2,
        Dialect::Azure => 3,
    };
    let key = decoded(
        request
            .uri()
            .path()
            .splitn(segments + 1, '/')
            .nth(segments)
            .unwrap_or_default(),
    );
    if let Some(step) = Step::of(request, &query) {
        drop(state);
        return upload(shared, request, key, step);
    }
    if let Some(version) = query.get("versionId") {
        return match state.versions.get(&(key, version.clone())) {
            Some(content) => read(request, content),
            None => refused(request, &missing("NoSuchVersion")),
        };
    }
    match state.objects.get(&key) {
        _ if request.method() == Method::DELETE => {
            drop(state);
            shared.send_modify(|state| drop(state.objects.remove(&key)));
            plain(StatusCode::NO_CONTENT, "")
        }
        _ if request.method() == Method::PUT => {
            drop(state);
            shared.send_modify(|state| drop(state.objects.insert(key, request.body().clone())));
            let builder = Response::builder()
                .status(StatusCode::CREATED)
                .header(ETAG, format!("\"{}\"", etag(request.body())));
            builder
                .header(LAST_MODIFIED, MODIFIED)
                .body(Full::default())
                .expect("a sound response")
        }
        Some(content) => read(request, content),
        None => refused(request, &missing("NoSuchKey")),
    }
}

/// A step of an upload in parts: S3's, which Google takes after, and Azure's.
enum Step {
    Begin,
    Part(String),
    Complete,
}

impl Step {
    fn of(request: &Request<Bytes>, query: &BTreeMap<String, String>) -> Option<Self> {
        let part = query.get("partNumber").or_else(|| query.get("blockid"));
        let completes = query.get("comp").is_some_and(|what| what == "blocklist");
        match (part, request.method()) {
            (Some(part), _) => Some(Self::Part(part.clone())),
            (None, &Method::POST) if query.contains_key("uploads") => Some(Self::Begin),
            (None, &Method::POST) if query.contains_key("uploadId") => Some(Self::Complete),
            (None, _) => completes.then_some(Self::Complete),
        }
    }
}

fn upload(
    shared: &watch::Sender<State>,
    request: &Request<Bytes>,
    key: String,
    step: Step,
) -> Response<Full<Bytes>> {
    let body = match step {
        Step::Begin => "<InitiateMultipartUploadResult><UploadId>1</UploadId>\
                        </InitiateMultipartUploadResult>"
            .to_owned(),
        Step::Part(part) => {
            shared.send_modify(|state| {
                let _ = state.parts.insert((key, part), request.body().clone());
            });
            String::new()
        }
        Step::Complete => {
            shared.send_modify(|state| {
                let parts = std::mem::take(&mut state.parts);
                let (own, others) = parts.into_iter().partition(|((of, _), _)| *of == key);
                state.parts = others;
                let own: BTreeMap<(String, String), Bytes> = own;
                let content: Vec<u8> = own.into_values().flatten().collect();
                let _ = state.objects.insert(key, content.into());
            });
            "<CompleteMultipartUploadResult><ETag>1</ETag></CompleteMultipartUploadResult>".into()
        }
    };
    Response::builder()
        .status(StatusCode::CREATED)
        .header(ETAG, "\"1\"")
        .header(LAST_MODIFIED, MODIFIED)
        .body(Full::new(body.into()))
        .expect("a sound response")
}

fn missing(code: &'static str) -> Refusal {
    Refusal {
        status: 404,
        code,
        more: "",
    }
}

/// What tests can look at of a request.
fn recorded(request: &Request<Bytes>) -> Asked {
    let owned = |name| header(request, name).map(ToOwned::to_owned);
    // A client of a proxy sends the whole URL.
    let host = request.uri().host().map(ToOwned::to_owned);
    let path = request.uri().path_and_query();
    let path = path.map(ToString::to_string).unwrap_or_default();
    Asked {
        what: format!("{} {path}", request.method()),
        host: host.or_else(|| owned("host")).unwrap_or_default(),
        authorization: owned("authorization"),
        payer: owned("x-amz-request-payer"),
        project: owned("x-goog-user-project"),
    }
}

/// Decodes percent signs.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(2.min(part.len()));
        bytes.push(u8::from_str_radix(digits, 16).expect("a percent sign with two digits"));
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).expect("text")
}

fn refused(request: &Request<Bytes>, refusal: &Refusal) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(refusal.status).expect("a status");
    let body = format!(
        r#"<?xml version="1.0"?><Error><Code>{}</Code><Message>no</Message>{}</Error>"#,
        refusal.code, refusal.more
    );
    plain(
        status,
        if request.method() == Method::HEAD {
            String::new()
        } else {
            body
        },
    )
}

fn etag(content: &[u8]) -> String {
    format!(
        "{:x}",
        content
            .iter()
            .fold(7u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte))
    )
}

fn read(request: &Request<Bytes>, content: &Bytes) -> Response<Full<Bytes>> {
    let etag = format!("\"{}\"", etag(content));
    if header(request, "if-match").is_some_and(|wanted| wanted != etag) {
        return refused(
            request,
            &Refusal {
                status: 412,
                code: "PreconditionFailed",
                more: "",
            },
        );
    }
    let range = header(request, "range")
        .or_else(|| header(request, "x-ms-range"))
        .and_then(|range| {
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            Some((
                first.parse::<usize>().ok()?,
                last.parse::<usize>()
                    .map_or(content.len(), |last| (last + 1).min(content.len())),
            ))
        });
    let builder = Response::builder()
        .header(ETAG, etag)
        .header(CONTENT_TYPE, "text/plain")
        .header(LAST_MODIFIED, MODIFIED)
        .header("x-ms-blob-type", "BlockBlob");
    let (builder, part) = match range {
        Some((first, end)) if first < end => {
            let shown = format!("bytes {first}-{}/{}", end - 1, content.len());
            (
                builder
                    .status(StatusCode::PARTIAL_CONTENT)
                    .header(CONTENT_RANGE, shown),
                content.slice(first..end),
            )
        }
        Some(_) => {
            return refused(
                request,
                &Refusal {
                    status: 416,
                    code: "InvalidRange",
                    more: "",
                },
            );
        }
        None => (builder, content.clone()),
    };
    let builder = builder.header(CONTENT_LENGTH, part.len());
    builder
        .body(if request.method() == Method::HEAD {
            Full::default()
        } else {
            Full::new(part)
        })
        .expect("a sound response")
}

fn list(state: &State, query: &BTreeMap<String, String>) -> Response<Full<Bytes>> {
    let given = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    let start: usize = given("continuation-token")
        .parse()
        .or_else(|_| given("marker").parse())
        .unwrap_or_default();
    let found: Vec<_> = state
        .objects
        .iter()
        .filter(|(key, _)| key.starts_with(given("prefix")))
        .skip(start)
        .collect();
    let next = (found.len() > PAGE).then(|| (start + PAGE).to_string());
    let listed: String = found
        .into_iter()
        .take(PAGE)
        .map(|(key, content)| entry(state.dialect, key, content))
        .collect();
    let body = match state.dialect {
        Dialect::S3 => {
            let token = next
                .map(|next| format!("<NextContinuationToken>{next}</NextContinuationToken>"))
                .unwrap_or_default();
            format!("<ListBucketResult>{listed}{token}</ListBucketResult>")
        }
        Dialect::Azure => {
            let marker = next.unwrap_or_default();
            format!(
                "<EnumerationResults><Blobs>{listed}</Blobs>\
                 <NextMarker>{marker}</NextMarker></EnumerationResults>"
            )
        }
    };
    plain(
        StatusCode::OK,
        format!(r#"<?xml version="1.0" encoding="utf-8"?>{body}"#),
    )
}

/// A key in XML: control characters as references, as S3 writes them.
fn escaped(key: &str) -> String {
    let mut text = String::new();
    for character in key.chars() {
        match character {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            control if control.is_control() => {
                text.push_str(&format!("&#{};", u32::from(control)));
            }
            other => text.push(other),
        }
    }
    text
}

fn entry(dialect: Dialect, key: &str, content: &Bytes) -> String {
    let (key, size, etag) = (escaped(key), content.len(), etag(content));
    match dialect {
        Dialect::S3 => format!(
            "<Contents><Key>{key}</Key><LastModified>2000-01-01T00:00:00.000Z</LastModified>\
             <ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size></Contents>"
        ),
        // Without quotes, as Azure does where it lists.
        Dialect::Azure => format!(
            "<Blob><Name>{key}</Name><Properties><Last-Modified>{MODIFIED}</Last-Modified>\
             <Etag>{etag}</Etag><Content-Length>{size}</Content-Length>\
             <Content-Type>text/plain</Content-Type></Properties></Blob>"
        ),
    }
}
