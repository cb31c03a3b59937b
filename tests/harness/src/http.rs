//! An HTTP server in the test's process that answers with a function.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use crate::thread::Thread;

/// A server that ends with its handle.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _thread: Thread,
}

impl Server {
    /// Serve `answer` on a free port.
    pub(crate) fn start(
        answer: impl Fn(&Request<Bytes>) -> Response<Full<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        let (thread, listener, address) = Thread::listening();
        let answer = Arc::new(answer);
        thread.run(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answer.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = answer.clone();
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        Ok::<_, hyper::Error>(answer(&Request::from_parts(head, body)))
                    }
                });
                tokio::spawn(async move {
                    // A client that goes away in the middle is its own business.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            _thread: thread,
        }
    }
}

/// An answer without more than a body.
pub(crate) fn plain(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .body(Full::new(body.into()))
        .expect("a plain response")
}

/// A header's text.
pub(crate) fn header<'r>(request: &'r Request<Bytes>, name: &str) -> Option<&'r str> {
    request
        .headers()
        .get(name)
        .and_then(|value| value.to_str().ok())
}
