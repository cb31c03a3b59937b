//! Answers HTTP for orchestrators and Prometheus: `/healthz`, `/readyz` and `/metrics`.
//!
//! `GET /healthz` answers 200 unless the worker should be restarted because a part of it panicked
//! or ended; then it answers 503 with the reason. `GET /readyz` answers 200 while the broker is
//! connected and the worker accepts tasks, else 503 with the reason. `GET /metrics` answers with
//! metrics for Prometheus. Any other path is 404.
//!
//! Anyone may reach the port, so every request is bounded: [`HEAD_BYTES_MAX`],
//! [`REQUEST_TIME_MAX`], one request per connection, [`CONNECTIONS_MAX`] at a time; more wait in
//! the listen backlog.

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
use sortie_broker::Submit as _;
use sortie_broker::nats::NatsBroker;
use sortie_host::Worker;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::metrics;
use crate::ending::Error;

/// Maximum size of a request's head: the smallest value that the HTTP library accepts, and ample
/// for a probe.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Time limit for receiving a request and sending its answer: probes run on the same machine or
/// near it.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(5);
/// Maximum concurrent connections. Probes come one by one; the rest is for connections that hang.
const CONNECTIONS_MAX: usize = 16;
/// Pause after `accept` failed, most likely because the process ran out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a probe reports on.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub(super) broker: Arc<NatsBroker>,
    pub(super) worker: Arc<Worker>,
}

/// A bound port that is not served yet.
#[derive(Debug)]
pub(super) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// Bind the port.
///
/// # Errors
/// When the address cannot be bound.
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

    /// Serve requests until the returned `JoinSet` is dropped.
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
        // The permit first: connections without one wait in the listen backlog.
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
    // A client that disconnects early or sends an invalid request gets no answer.
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
            (StatusCode::OK, metrics::text(&probe.worker, &probe.broker))
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

/// The answer of `/healthz`: 503 with the reason to restart the process, else 200.
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
            // While the broker has no room, results wait here.
            self.broker.full().or_else(|| {
                let shortage = self.worker.shortage()?;
                Some(format!("this machine is short of something: {shortage}"))
            })
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
