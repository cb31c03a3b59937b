//! A web server with habits: the first segment of a path says how it answers.
//!
//! What differs from server to server on the web: whether `HEAD` is answered and how, ranges,
//! validators and what is made of them. [`HabitServer::asked`] tells what was asked,
//! and from where it was led to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_RANGE, ETAG, IF_MATCH, LAST_MODIFIED, LOCATION, RANGE, REFERER};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::watch;

use crate::http::{Server, header, plain};

/// The content of a path that has `large` in it.
const LARGE: usize = 2_500_000;
/// The content of any other.
const SMALL: &[u8] = b"a small body";

/// A server that ends with its handle.
#[derive(Debug)]
pub struct HabitServer {
    server: Server,
    asked: Arc<watch::Sender<Vec<String>>>,
}

impl HabitServer {
    /// Start it.
    ///
    /// # Panics
    /// When there is no port to listen on.
    pub fn start() -> Self {
        let asked = Arc::new(watch::Sender::new(Vec::new()));
        let shared = asked.clone();
        Self {
            server: Server::start(move |request| {
                let path = request.uri().path_and_query();
                let path = path.map(ToString::to_string).unwrap_or_default();
                let from = request.headers().get(REFERER);
                let from = from.map(|url| format!(" from {url:?}")).unwrap_or_default();
                let line = format!("{} {path}{from}", request.method());
                shared.send_modify(|asked| asked.push(line));
                answer(request)
            }),
            asked,
        }
    }

    /// The URL of this path. Its first segment is one of:
    /// - `plain`: ranges, a strong validator;
    /// - `no-head`, `denied-head`, `empty-head`: `HEAD` is answered with 405, with 403, or says
    ///   that there is nothing in the file;
    /// - `no-ranges`: everything at once, whatever is asked for;
    /// - `weak`, `unquoted`, `bare`: a weak validator, one that is none, or nothing of the kind; a
    ///   condition with one of those is never met;
    /// - `changing`: another validator with each answer;
    /// - `exact`: there is only the path that [`HabitServer::exact`] names;
    /// - `redirect`: leads to the rest of the path, below `plain`; `away` to the URL in its query;
    /// - `empty`: a file with nothing in it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.server.address)
    }

    /// The one path below `exact` that is there, with what URLs may have in them.
    pub fn exact() -> &'static str {
        "exact//a%2Fb%25/caf%E9;x=1,y:z@+$i'j(k)*~!.txt/"
    }

    /// What was asked since this was called last: methods and paths.
    pub fn asked(&self) -> Vec<String> {
        self.asked.send_replace(Vec::new())
    }

    /// What a path has in it.
    pub fn content(path: &str) -> Bytes {
        if path.contains("empty/") {
            Bytes::new()
        } else if path.contains("large") {
            (0..LARGE).map(|at| (at / 1000) as u8).collect()
        } else {
            Bytes::from_static(SMALL)
        }
    }
}

fn redirect(to: String) -> Response<Full<Bytes>> {
    Response::builder()
        .status(StatusCode::FOUND)
        .header(LOCATION, to)
        .body(Full::default())
        .expect("a redirect")
}

fn answer(request: &Request<Bytes>) -> Response<Full<Bytes>> {
    static ANSWERS: AtomicU64 = AtomicU64::new(0);
    let path = request.uri().path();
    let habit = path.split('/').nth(1).unwrap_or_default();
    let is_head = request.method() == Method::HEAD;
    let content = HabitServer::content(path);
    match habit {
        "no-head" if is_head => return plain(StatusCode::METHOD_NOT_ALLOWED, ""),
        "denied-head" if is_head => return plain(StatusCode::FORBIDDEN, ""),
        "empty-head" if is_head => return plain(StatusCode::OK, ""),
        "exact" if path.strip_prefix('/') != Some(HabitServer::exact()) => {
            return plain(StatusCode::NOT_FOUND, "");
        }
        "redirect" => return redirect(path.replacen("redirect", "plain", 1)),
        "away" => return redirect(request.uri().query().unwrap_or_default().to_owned()),
        _ => {}
    }
    let number = ANSWERS.fetch_add(1, Ordering::Relaxed);
    let etag = match habit {
        "weak" => Some("W/\"one\"".to_owned()),
        "unquoted" => Some("one".to_owned()),
        "bare" => None,
        "changing" => Some(format!("\"{number}\"")),
        _ => Some("\"one\"".to_owned()),
    };
    let is_met = |wanted: &str| {
        habit == "changing" || (etag.as_deref() == Some(wanted) && wanted == "\"one\"")
    };
    if header(request, IF_MATCH.as_str()).is_some_and(|wanted| !is_met(wanted)) {
        return plain(StatusCode::PRECONDITION_FAILED, "");
    }
    let mut builder = Response::builder();
    if let Some(etag) = &etag {
        builder = builder
            .header(ETAG, etag)
            .header(LAST_MODIFIED, "Sat, 01 Jan 2000 00:00:00 GMT");
    }
    let range = header(request, RANGE.as_str())
        .filter(|_| habit != "no-ranges")
        .and_then(|range| {
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?))
        });
    let body = match range {
        None => content,
        Some((first, _)) if first >= content.len() => {
            return builder
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .header(CONTENT_RANGE, format!("bytes */{}", content.len()))
                .body(Full::default())
                .expect("a sound response");
        }
        Some((first, last)) => {
            let end = content.len().min(last + 1);
            let shown = format!("bytes {first}-{}/{}", end - 1, content.len());
            builder = builder
                .status(StatusCode::PARTIAL_CONTENT)
                .header(CONTENT_RANGE, shown);
            content.slice(first..end)
        }
    };
    let body = if is_head { Bytes::new() } else { body };
    builder.body(Full::new(body)).expect("a sound response")
}
