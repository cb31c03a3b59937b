//! Answers HTTP for orchestrators and Prometheus: `/healthz`, `/readyz` and `/metrics`.
//!
//! `GET /healthz` is 200 unless the worker should be replaced, because a part of it panicked or is
//! gone; then it is 503 and the reason. `GET /readyz` is 200 while the broker is connected and the
//! worker takes work, else 503 and the reason. `GET /metrics` is what Prometheus reads. Any other
//! path is 404.
//!
//! Anyone may reach the port, so every request is bounded: [`HEAD_BYTES_MAX`],
//! [`REQUEST_TIME_MAX`], one a connection, [`CONNECTIONS_MAX`] at a time; more wait in the system's
//! queue.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use sortie_broker::nats::NatsBroker;
use sortie_host::Worker;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::metrics;
use crate::ending::Error;

/// The most bytes of a request's head: the least that the HTTP library can be told, and ample for a
/// probe.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// How long a request may take to arrive, and its answer to be taken: probes run on the same
/// machine or near.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(5);
/// Connections at a time. Probes come one by one; this is for those that hang.
const CONNECTIONS_MAX: usize = 16;
/// Wait after a connection could not be accepted, for lack of descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is asked about.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub(super) broker: Arc<NatsBroker>,
    pub(super) worker: Arc<Worker>,
}

/// A port that is taken, and not served yet.
#[derive(Debug)]
pub(super) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// Take the port.
///
/// # Errors
/// When it cannot be had.
pub(super) async fn listen(address: SocketAddr) -> Result<Listener, Error> {
    let refused = |error: std::io::Error| {
        Error::Usage(format!(
            "cannot listen at {address}: {error}; name another address with --health"
        ))
    };
    let socket = TcpListener::bind(address).await.map_err(refused)?;
    let address = socket.local_addr().map_err(refused)?;
    Ok(Listener { socket, address })
}

impl Listener {
    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answer, until what comes back is dropped.
    pub(super) fn serve(self, probe: Probe) -> JoinSet<()> {
        let mut serving = JoinSet::new();
        serving.spawn(accept(self.socket, probe));
        serving
    }
}

async fn accept(socket: TcpListener, probe: Probe) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        // The place first: who finds none waits in the system's queue.
        let Ok(place) = permits.clone().acquire_owned().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        match socket.accept().await {
            Ok((stream, _)) => {
                let probe = probe.clone();
                connections.spawn(async move {
                    let _place = place;
                    let _ = timeout(REQUEST_TIME_MAX, connection(stream, probe)).await;
                });
            }
            Err(error) => {
                tracing::debug!(%error, "failed to accept a health connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, probe: Probe) {
    let service = service_fn(move |request| {
        let answer = answer(&request, &probe);
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut server = http1::Builder::new();
    server
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIME_MAX);
    // Who goes away in the middle, or sends what is no request, gets no answer.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

fn answer(request: &Request<Incoming>, probe: &Probe) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/healthz") => health(probe.worker.trouble()),
        (&Method::GET | &Method::HEAD, "/readyz") => match probe.trouble() {
            None => (StatusCode::OK, "ready\n".to_owned()),
            Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")),
        },
        (&Method::GET | &Method::HEAD, "/metrics") => {
            (StatusCode::OK, metrics::text(&probe.worker))
        }
        _ => (
            StatusCode::NOT_FOUND,
            "there is /healthz, /readyz and /metrics\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// What a process says of itself that should be replaced for this reason, or need not be.
fn health(trouble: Option<String>) -> (StatusCode, String) {
    match trouble {
        None => (StatusCode::OK, "ok\n".into()),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")),
    }
}

impl Probe {
    /// Why the worker should get no work.
    fn trouble(&self) -> Option<String> {
        if self.worker.is_draining() {
            Some("draining".into())
        } else if !self.broker.is_connected() {
            Some("not connected to the broker".into())
        } else {
            let shortage = self.worker.shortage()?;
            Some(format!("this machine is short of something: {shortage}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_should_be_replaced_is_not_healthy() {
        assert_eq!(health(None), (StatusCode::OK, "ok\n".into()));
        assert_eq!(
            health(Some("it panicked".into())),
            (StatusCode::SERVICE_UNAVAILABLE, "it panicked\n".into())
        );
    }
}
