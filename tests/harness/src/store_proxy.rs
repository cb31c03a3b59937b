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

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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

/// What the line to the server is like. By default it is as near and as wide as this machine lets
/// it be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Link {
    /// From a request to the first byte of its answer.
    pub latency: Duration,
    /// How much each connection of a client carries towards the client.
    pub bytes_per_second: Option<NonZeroU64>,
}

/// What passed since the start or the last [`StoreProxy::forget`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests of any kind.
    pub requests: u64,
    /// Bytes of bodies that were passed to clients.
    pub body_bytes: u64,
    /// Connections of clients that are there now.
    pub connections: u64,
    /// The most connections that were there at once.
    pub connections_max: u64,
    /// Requests that a fault befell.
    pub struck: u64,
    /// By `bucket/key`, as it stands in the requests' paths.
    pub objects: BTreeMap<String, ObjectCounts>,
}

/// What passed of one object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ObjectCounts {
    /// Reads, of all or a range.
    pub gets: u64,
    /// Questions about it.
    pub heads: u64,
    /// Bytes of bodies that were passed to clients.
    pub body_bytes: u64,
}

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

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    link: Link,
    counts: Mutex<Counts>,
    struck: Condvar,
    rules: Mutex<Vec<Rule>>,
    released: watch::Sender<()>,
}

impl Shared {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Count a request and say what befalls it.
    fn asked(&self, operation: Operation, key: &str) -> Option<Fault> {
        let fault = self
            .rules()
            .iter_mut()
            .find_map(|rule| rule.strike(operation, key));
        let mut counts = self.counts();
        counts.requests += 1;
        let object = matches!(operation, Operation::Get | Operation::Head)
            .then(|| counts.objects.entry(key.to_owned()).or_default());
        match (operation, object) {
            (Operation::Get, Some(object)) => object.gets += 1,
            (Operation::Head, Some(object)) => object.heads += 1,
            _ => {}
        }
        if fault.is_some() {
            counts.struck += 1;
            self.struck.notify_all();
        }
        fault
    }

    /// Count bytes that were passed on.
    fn passed(&self, key: &str, bytes: u64) {
        let mut counts = self.counts();
        counts.body_bytes += bytes;
        if let Some(object) = counts.objects.get_mut(key) {
            object.body_bytes += bytes;
        }
    }
}

/// A connection that is counted while it is there.
struct Counted(Arc<Shared>);

impl Counted {
    fn new(shared: Arc<Shared>) -> Self {
        let mut counts = shared.counts();
        counts.connections += 1;
        counts.connections_max = counts.connections_max.max(counts.connections);
        drop(counts);
        Self(shared)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.counts().connections -= 1;
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
