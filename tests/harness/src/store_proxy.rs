//! What lies between a client and an S3 server: distance, a narrow line, and things that go wrong.
//!
//! It speaks HTTP/1.1 on both sides and changes nothing that passes, the `Host` header included, so
//! that signatures over the proxy's address still verify. Bodies stream through, frame by frame,
//! without being copied or gathered. Each connection of a client has one connection to the
//! server behind it. All of it runs on one thread of its own and ends with its handle, so it works
//! for tests that block, and can stand in a benchmark.
//!
//! It keeps a count for each object that was asked for, so its memory grows with the objects of a
//! test, not with their size or the requests.

mod answers;
mod body;
mod line;
mod rules;
mod shared;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::patience::patience;
use crate::process::Sortie;
use crate::s3::S3Server;
use crate::thread::Thread;

use body::{Passing, Source};
use line::{Line, State};
pub use rules::{Fault, Operation, Rule};
use shared::{Counted, Shared};
pub use shared::{Counts, Link, ObjectCounts};

/// A proxy that ends with its handle, and its connections with it.
#[derive(Debug)]
pub struct StoreProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _thread: Thread,
}

impl StoreProxy {
    /// Pass requests on to the server at this address, over such a line.
    ///
    /// # Panics
    /// When there is no port to listen on.
    pub fn start(target: SocketAddr, link: Link) -> Self {
        let shared = Shared {
            target,
            link,
            counts: Mutex::default(),
            struck: Condvar::new(),
            rules: Mutex::default(),
            released: watch::Sender::new(()),
        };
        let shared = Arc::new(shared);
        let (thread, listener, address) = Thread::listening();
        thread.run(accept(listener, shared.clone()));
        Self {
            address,
            shared,
            _thread: thread,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where clients take the store to be.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The command with this proxy as its store, and the keys of an [`S3Server`] behind it, in the
    /// environment.
    #[must_use]
    pub fn for_command(&self, command: Sortie) -> Sortie {
        let (id, secret) = S3Server::KEYS;
        command
            .env("AWS_ENDPOINT_URL", self.endpoint())
            .env("AWS_ACCESS_KEY_ID", id)
            .env("AWS_SECRET_ACCESS_KEY", secret)
    }

    /// Let requests go wrong from now on.
    pub fn add(&self, rule: Rule) {
        self.shared.rules().push(rule);
    }

    /// Let nothing go wrong from now on. What went wrong already stays so.
    pub fn clear(&self) {
        self.shared.rules().clear();
    }

    /// Pass on the requests that are held now. Later ones are held as the rules say.
    pub fn release(&self) {
        self.shared.released.send_replace(());
    }

    /// What passed so far.
    pub fn counts(&self) -> Counts {
        self.shared.counts().clone()
    }

    /// Count from nothing, except for the connections that are there.
    pub fn forget(&self) {
        let mut counts = self.shared.counts();
        let connections = counts.connections;
        *counts = Counts {
            connections,
            connections_max: connections,
            ..Counts::default()
        };
    }

    /// Wait until faults befell this many requests.
    ///
    /// # Panics
    /// When they are not in time.
    pub fn wait_until_struck(&self, count: u64) {
        let waiting =
            self.shared
                .struck
                .wait_timeout_while(self.shared.counts(), patience(), |counts| {
                    counts.struck < count
                });
        let (counts, waited) = waiting.unwrap_or_else(PoisonError::into_inner);
        assert!(
            !waited.timed_out(),
            "faults befell {} requests within {:?}, not {count}",
            counts.struck,
            patience()
        );
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let counted = Counted::new(shared.clone());
        tokio::spawn(async move {
            connection(stream, &counted.0).await;
        });
    }
}

async fn connection(stream: TcpStream, shared: &Arc<Shared>) {
    // What is small must not wait for what comes after it.
    let _ = stream.set_nodelay(true);
    let (line, state) = Line::new(stream, shared.link.bytes_per_second);
    let server = tokio::sync::Mutex::new(None);
    let service = service_fn(|request| answer(request, &server, shared, &state));
    // A connection that breaks is what this is for.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(line), service)
        .await;
}

/// The connection to the server, once there is one.
type Server = tokio::sync::Mutex<Option<SendRequest<Incoming>>>;

async fn answer(
    request: Request<Incoming>,
    server: &Server,
    shared: &Arc<Shared>,
    line: &Arc<State>,
) -> io::Result<Response<Passing>> {
    let answered = Instant::now() + shared.link.latency;
    let (operation, key) = Operation::of(request.method(), request.uri());
    let mut released = shared.released.subscribe();
    let fault = shared.asked(operation, &key);
    match fault {
        Some(Fault::Silence) => std::future::pending().await,
        // It fails when the proxy ends, and this with it.
        Some(Fault::Hold) => drop(released.changed().await),
        _ => {}
    }
    let (parts, mut body) = request.into_parts();
    if let Some(whole) = fault
        .as_ref()
        .and_then(|fault| answers::whole(fault, &parts))
    {
        // As a store does: a connection that is closed with a body on its way breaks before its
        // answer is read, and a client sends again.
        while body.frame().await.is_some_and(|frame| frame.is_ok()) {}
        sleep_until(answered).await;
        return Ok(
            whole.map(|body| Passing::new(Source::Own(Full::new(body)), key, shared.clone()))
        );
    }
    let passed = pass(Request::from_parts(parts, body), server, shared.target).await;
    sleep_until(answered).await;
    let Ok(response) = passed else {
        let mut response = Response::new(Passing::new(
            Source::Own(Full::new(Bytes::new())),
            key,
            shared.clone(),
        ));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        return Ok(response);
    };
    let (mut head, body) = response.into_parts();
    answers::change(fault.as_ref(), &mut head);
    let length = body.size_hint().exact().unwrap_or_default();
    let body =
        Passing::new(Source::Store(body), key, shared.clone()).cut(fault.as_ref(), length, line);
    Ok(Response::from_parts(head, body))
}

/// Ask the server, over the connection that is there or a new one.
async fn pass(
    request: Request<Incoming>,
    server: &Server,
    target: SocketAddr,
) -> Result<Response<Incoming>, Lost> {
    // Requests of one client come one after the other, so nobody waits for this.
    let mut server = server.lock().await;
    if let Some(sender) = server.as_mut()
        && sender.ready().await.is_ok()
    {
        return sender.send_request(request).await.map_err(|_| Lost);
    }
    let stream = TcpStream::connect(target).await.map_err(|_| Lost)?;
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Lost)?;
    // It ends with its sender and the body of its last answer.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|_| Lost);
    *server = Some(sender);
    response
}

/// There is no answer of the server.
struct Lost;
