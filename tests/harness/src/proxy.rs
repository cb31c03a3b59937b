//! A bad network between a client and a server: a TCP proxy that can cut, stall, and lose chosen
//! messages.
//!
//! Each control holds when it returns: no byte that the proxy has not passed on yet passes later.
//! What it has passed on before may still be on its way in the system's buffers. To make it hold, a
//! byte is only ever written while the settings are held, and never waited for.
//!
//! It runs on a thread of its own, so it also works for a test that blocks. Memory is bounded by
//! the number of connections. Messages can be lost only between NATS clients and their server,
//! without TLS, and only those that a client publishes: also its requests and its acknowledgements,
//! which are published too.

mod frames;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr, TcpStream as Socket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::patience::patience;

use frames::Frames;

/// More connections at a time are refused: a test has a few.
const CONNECTIONS_MAX: usize = 256;
/// What is read at once, for each direction of each connection.
const CHUNK_BYTES: usize = 64 << 10;

/// A proxy that ends with its handle, and its connections with it.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Always there until the drop.
    runtime: Option<Runtime>,
}

impl TcpProxy {
    /// Pass on any protocol to this address.
    ///
    /// # Panics
    /// When there is no port to listen on.
    pub fn start(target: SocketAddr) -> Self {
        Self::start_as(target, Protocol::Any)
    }

    /// Pass on NATS to this address, so that messages can be lost.
    ///
    /// # Panics
    /// When there is no port to listen on.
    pub fn for_nats(target: SocketAddr) -> Self {
        Self::start_as(target, Protocol::Nats)
    }

    fn start_as(target: SocketAddr, protocol: Protocol) -> Self {
        let runtime = crate::thread::runtime();
        let listener =
            std::net::TcpListener::bind("127.0.0.1:0").expect("a port of the system's choice");
        let address = listener.local_addr().expect("a bound socket");
        listener.set_nonblocking(true).expect("a socket of ours");
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener).expect("a socket of ours")
        };
        let settings = Settings {
            target,
            flow: Flow::Open,
            rule: None,
        };
        let shared = Shared {
            settings: watch::Sender::new(settings),
            sockets: Mutex::default(),
            next: AtomicU64::new(0),
            lost: watch::Sender::new(0),
            protocol,
        };
        let shared = Arc::new(shared);
        runtime.spawn(accept(listener, shared.clone()));
        Self {
            address,
            shared,
            runtime: Some(runtime),
        }
    }

    /// Where to connect. It does not change.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where NATS clients connect.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Pass on new connections to another address. Those that are there stay.
    pub fn retarget(&self, target: SocketAddr) {
        self.shared
            .settings
            .send_modify(|settings| settings.target = target);
    }

    /// Close all connections, and each new one as soon as it is made, until [`mend`](Self::mend).
    pub fn cut(&self) {
        self.shared
            .settings
            .send_modify(|settings| settings.flow = Flow::Cut);
        // A connection that adds its socket after this sees the cut.
        for socket in self.shared.sockets().drain().map(|(_, socket)| socket) {
            // The other side may have closed it already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Keep connections, also new ones, but pass nothing on, until [`mend`](Self::mend). Nothing is
    /// lost.
    pub fn stall(&self) {
        self.shared
            .settings
            .send_modify(|settings| settings.flow = Flow::Stalled);
    }

    /// Lose each message that a client publishes from now on to a subject that starts with this,
    /// until [`mend`](Self::mend).
    ///
    /// # Panics
    /// When the proxy was not started [`for_nats`](Self::for_nats).
    pub fn swallow(&self, prefix: &str) {
        self.lose(prefix, u64::MAX);
    }

    /// The same for the next such message only.
    ///
    /// # Panics
    /// When the proxy was not started [`for_nats`](Self::for_nats).
    pub fn swallow_next(&self, prefix: &str) {
        self.lose(prefix, 1);
    }

    fn lose(&self, prefix: &str, count: u64) {
        assert_eq!(
            self.shared.protocol,
            Protocol::Nats,
            "messages can be lost only by a proxy for NATS"
        );
        let rule = Arc::new(Rule {
            prefix: prefix.as_bytes().to_owned(),
            left: AtomicU64::new(count),
        });
        self.shared
            .settings
            .send_modify(|settings| settings.rule = Some(rule));
    }

    /// How many messages were lost since the start.
    pub fn swallowed(&self) -> u64 {
        *self.shared.lost.borrow()
    }

    /// Wait until this many messages were lost since the start.
    ///
    /// # Panics
    /// When they are not in time.
    pub async fn wait_until_swallowed(&self, count: u64) {
        let mut lost = self.shared.lost.subscribe();
        let waiting = timeout(patience(), lost.wait_for(|lost| *lost >= count))
            .await
            .is_ok();
        assert!(
            waiting,
            "{} messages were lost within {:?}, not {count}",
            self.swallowed(),
            patience()
        );
    }

    /// End what [`cut`](Self::cut), [`stall`](Self::stall) and [`swallow`](Self::swallow) began.
    pub fn mend(&self) {
        self.shared
            .settings
            .send_modify(|settings| (settings.flow, settings.rule) = (Flow::Open, None));
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.cut();
        // Not waited for: a test may drop this where it must not block.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Any,
    Nats,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    Stalled,
    Cut,
}

/// What the controls set. Writing to a socket happens only while this is held.
#[derive(Debug)]
struct Settings {
    target: SocketAddr,
    flow: Flow,
    rule: Option<Arc<Rule>>,
}

/// Which messages to lose.
#[derive(Debug)]
struct Rule {
    prefix: Vec<u8>,
    left: AtomicU64,
}

impl Rule {
    /// Whether to lose the message that is published to this subject.
    fn takes(&self, subject: &[u8]) -> bool {
        let one_less = |left: u64| left.checked_sub(1);
        subject.starts_with(&self.prefix)
            && self
                .left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
                .is_ok()
    }
}

#[derive(Debug)]
struct Shared {
    settings: watch::Sender<Settings>,
    /// Both sides of each connection, so that all can be closed at once.
    sockets: Mutex<HashMap<u64, Socket>>,
    next: AtomicU64,
    lost: watch::Sender<u64>,
    protocol: Protocol,
}

impl Shared {
    fn sockets(&self) -> MutexGuard<'_, HashMap<u64, Socket>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One side of a connection, which a cut closes.
struct Side {
    stream: TcpStream,
    id: u64,
    shared: Arc<Shared>,
}

impl Side {
    /// None if connections are cut.
    fn new(stream: TcpStream, shared: &Arc<Shared>) -> std::io::Result<Option<Self>> {
        // A test waits for single small messages.
        stream.set_nodelay(true)?;
        let stream = stream.into_std()?;
        let id = shared.next.fetch_add(1, Ordering::SeqCst);
        let mut sockets = shared.sockets();
        if shared.settings.borrow().flow == Flow::Cut || sockets.len() >= 2 * CONNECTIONS_MAX {
            return Ok(None);
        }
        sockets.insert(id, stream.try_clone()?);
        drop(sockets);
        Ok(Some(Self {
            stream: TcpStream::from_std(stream)?,
            id,
            shared: shared.clone(),
        }))
    }

    /// Tell the other end that no more comes.
    fn end_writing(&self) {
        if let Some(socket) = self.shared.sockets().get(&self.id) {
            let _ = socket.shutdown(Shutdown::Write);
        }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // The copy would keep the connection open.
        self.shared.sockets().remove(&self.id);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        // A connection that breaks is what this is for.
        tokio::spawn(connection(stream, shared.clone()));
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) -> std::io::Result<()> {
    let Some(client) = Side::new(stream, &shared)? else {
        return Ok(());
    };
    let target = shared.settings.borrow().target;
    let Some(server) = Side::new(TcpStream::connect(target).await?, &shared)? else {
        return Ok(());
    };
    let frames = match shared.protocol {
        Protocol::Any => None,
        Protocol::Nats => Some(Frames::new()),
    };
    tokio::try_join!(
        pump(&client, &server, &shared, frames),
        pump(&server, &client, &shared, None)
    )
    .map(drop)
}

/// Passes on one direction until its end, which is passed on too.
async fn pump(
    from: &Side,
    to: &Side,
    shared: &Shared,
    mut frames: Option<Frames>,
) -> std::io::Result<()> {
    let mut settings = shared.settings.subscribe();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = read(&from.stream, &mut chunk).await?;
        // A rule that was set before these bytes were sent is seen here.
        let rule = open(&mut settings).await?.rule.clone();
        if length == 0 {
            to.end_writing();
            return Ok(());
        }
        let Some(frames) = &mut frames else {
            write(&to.stream, &chunk[..length], &mut settings).await?;
            continue;
        };
        let mut lost = 0;
        let out = frames.pass(&chunk[..length], |subject| {
            let takes = rule.as_ref().is_some_and(|rule| rule.takes(subject));
            lost += u64::from(takes);
            takes
        })?;
        if lost > 0 {
            shared.lost.send_modify(|count| *count += lost);
        }
        write(&to.stream, &out, &mut settings).await?;
    }
}

async fn read(from: &TcpStream, chunk: &mut [u8]) -> std::io::Result<usize> {
    loop {
        from.readable().await?;
        match from.try_read(chunk) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

/// Writes while the settings let it.
async fn write(
    to: &TcpStream,
    mut bytes: &[u8],
    settings: &mut watch::Receiver<Settings>,
) -> std::io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        let open = open(settings).await?;
        let written = to.try_write(bytes);
        drop(open);
        match written {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits while the connection is stalled. Nothing changes the settings while the answer is held.
async fn open(
    settings: &mut watch::Receiver<Settings>,
) -> std::io::Result<watch::Ref<'_, Settings>> {
    match settings
        .wait_for(|settings| settings.flow != Flow::Stalled)
        .await
    {
        Ok(settings) if settings.flow == Flow::Open => Ok(settings),
        _ => Err(ErrorKind::ConnectionAborted.into()),
    }
}
