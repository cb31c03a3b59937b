//! A web server over a folder: `GET` and `HEAD` with ranges and validators, as object stores and
//! static servers answer them.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_MATCH, LAST_MODIFIED, RANGE,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::patience::patience;
use crate::thread::Thread;

/// A server that ends with its handle.
#[derive(Debug)]
pub struct WebServer {
    address: std::net::SocketAddr,
    requests: watch::Receiver<u64>,
    thread: Thread,
}

impl WebServer {
    /// Serve the files in `folder`.
    ///
    /// # Panics
    /// When there is no port to listen on.
    pub fn start(folder: &Path) -> Self {
        let (thread, listener, address) = Thread::listening();
        let (count, requests) = watch::channel(0);
        thread.run(serve(listener, Arc::new(folder.to_owned()), count));
        Self {
            address,
            requests,
            thread,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// The URL of a file.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Wait until this many requests were made.
    ///
    /// # Panics
    /// When they are not in time.
    pub fn wait_for(&self, count: u64) {
        let mut requests = self.requests.clone();
        let waiting = async {
            tokio::time::timeout(patience(), requests.wait_for(|made| *made >= count))
                .await
                .is_ok()
        };
        assert!(
            self.thread.block_on(waiting),
            "there were not {count} requests"
        );
    }
}

async fn serve(listener: TcpListener, folder: Arc<PathBuf>, count: watch::Sender<u64>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (folder, count) = (folder.clone(), count.clone());
        let service = service_fn(move |request| {
            count.send_modify(|count| *count += 1);
            let answer = answer(&folder, &request);
            async move { Ok::<_, Infallible>(answer) }
        });
        tokio::spawn(async move {
            // A client that goes away in the middle is its own business.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn answer(folder: &Path, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let plain = |status: StatusCode| {
        Response::builder()
            .status(status)
            .body(Full::default())
            .expect("a plain response")
    };
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED);
    }
    let path = folder.join(request.uri().path().trim_start_matches('/'));
    let Ok(content) = std::fs::read(&path) else {
        return plain(StatusCode::NOT_FOUND);
    };
    let header = |name| {
        request
            .headers()
            .get(name)
            .and_then(|value: &hyper::header::HeaderValue| value.to_str().ok())
    };
    let etag = format!(
        "\"{:x}-{:x}\"",
        content.len(),
        content
            .iter()
            .fold(0u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte))
    );
    if header(IF_MATCH).is_some_and(|wanted| wanted != etag) {
        return plain(StatusCode::PRECONDITION_FAILED);
    }
    let builder = Response::builder()
        .header(ETAG, etag)
        .header(ACCEPT_RANGES, "bytes")
        .header(LAST_MODIFIED, "Sat, 01 Jan 2000 00:00:00 GMT");
    let total = content.len();
    let (builder, part) = match header(RANGE).and_then(|range| parse(range, total)) {
        Some((start, end)) => {
            let range = format!("bytes {start}-{}/{total}", end - 1);
            (
                builder
                    .status(StatusCode::PARTIAL_CONTENT)
                    .header(CONTENT_RANGE, range),
                content[start..end].to_vec(),
            )
        }
        None => (builder, content),
    };
    let builder = builder.header(CONTENT_LENGTH, part.len());
    let body = if request.method() == Method::HEAD {
        Full::default()
    } else {
        Full::from(part)
    };
    builder.body(body).expect("a sound response")
}

/// `bytes=FIRST-LAST`, as a half-open range within `total`.
fn parse(range: &str, total: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let first = first.parse().ok()?;
    let end = last
        .parse::<usize>()
        .map_or(total, |last| (last + 1).min(total));
    (first < end).then_some((first, end))
}
