//! Real nats-servers as processes, with JetStream in a folder of their own, that tests can kill,
//! pause and start again.
//!
//! A server listens on loopback, on a port below those that the system hands out: so nothing takes
//! it while the server is down, and it has the same one after a restart. A port that was taken all
//! the same only means another try. A server ends with its handle, and also when the test's process
//! is killed: a watchdog of a line of shell holds a pipe to it. When a test fails, its servers'
//! logs are shown.

mod cluster;
mod monitor;
mod ports;
mod process;

use std::env;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

pub use cluster::NatsCluster;
pub(crate) use process::watchdog;
use process::{Process, Started};

use crate::patience::patience;

/// How often a server may find its port taken before something else must be wrong.
const TRIES_MAX: u32 = 10;
/// The disk that JetStream may hand out. Streams reserve their limits of it without using them, and
/// the server's own default is three quarters of what happens to be free: tests with many streams
/// would fail on a machine with a full disk for no reason of theirs.
const STORE: &str = "max_file_store: 1TB";
/// What a failed test shows of a log: its end, where the trouble is.
const LOG_LINES_SHOWN: usize = 60;

/// The release that tests run with. The same version stands in `xtask`, which gets it.
const CURRENT: &str = "2.15.1";
/// The last release that is too old.
const TOO_OLD: &str = "2.11.11";
/// Where `xtask` links a server of the system, when it cannot get the release.
const FOUND: &str = "found";

/// The server's program: `SORTIE_NATS_SERVER` if it is set, else the one that `cargo xtask setup`
/// got.
///
/// # Panics
/// When it is not there.
pub fn nats_server() -> PathBuf {
    if let Some(path) = env::var_os("SORTIE_NATS_SERVER").map(PathBuf::from) {
        return there(path);
    }
    let pinned = program_of(CURRENT);
    there(if pinned.is_file() || !program_of(FOUND).is_file() {
        pinned
    } else {
        program_of(FOUND)
    })
}

/// The program of a server that is too old for Sortie.
///
/// # Panics
/// When it is not there.
pub fn nats_server_too_old() -> PathBuf {
    there(program_of(TOO_OLD))
}

fn program_of(version: &str) -> PathBuf {
    crate::repository()
        .join("target/toolchain/nats")
        .join(version)
        .join("nats-server")
}

fn there(path: PathBuf) -> PathBuf {
    assert!(
        path.is_file(),
        "there is no nats-server `{}`; run: cargo xtask setup",
        path.display()
    );
    path
}

/// What a server is to be like. By default it has JetStream, no monitoring, no accounts and no TLS.
#[derive(Debug, Clone)]
pub struct NatsBuilder {
    program: Option<PathBuf>,
    config: String,
    jetstream: Option<String>,
    monitoring: bool,
    tls: bool,
    /// Where other servers of its cluster reach it, and the list of all of them.
    cluster: Option<(SocketAddr, String)>,
    /// A folder with a configuration as it is deployed, and the file in it to start with.
    deployed: Option<(PathBuf, String)>,
    variables: Vec<(String, String)>,
}

impl NatsBuilder {
    fn new() -> Self {
        Self {
            program: None,
            config: String::new(),
            jetstream: Some(STORE.to_owned()),
            monitoring: false,
            tls: false,
            cluster: None,
            deployed: None,
            variables: Vec::new(),
        }
    }

    /// Another program than [`nats_server`].
    #[must_use]
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = Some(path.into());
        self
    }

    /// Further lines of its configuration file. May be called more than once.
    #[must_use]
    pub fn config(mut self, lines: &str) -> Self {
        let _infallible = writeln!(self.config, "{lines}");
        self
    }

    /// Lines within the `accounts` block of its configuration file.
    #[must_use]
    pub fn accounts(self, lines: &str) -> Self {
        self.config(&format!("accounts {{\n{lines}\n}}"))
    }

    /// The most bytes of a message.
    #[must_use]
    pub fn max_payload(self, bytes: u32) -> Self {
        self.config(&format!("max_payload: {bytes}"))
    }

    /// Lines within the `jetstream` block of its configuration file, instead of those that say how
    /// much it may store.
    #[must_use]
    pub fn jetstream(mut self, lines: &str) -> Self {
        self.jetstream = Some(lines.to_owned());
        self
    }

    /// No JetStream.
    #[must_use]
    pub fn without_jetstream(mut self) -> Self {
        self.jetstream = None;
        self
    }

    /// Start with this file, exactly as it is deployed, instead of a configuration of ours; its
    /// folder's other files lie beside it. Where to listen and where to store things it has to
    /// take from the variables `SORTIE_NATS_LISTEN`, `SORTIE_NATS_MONITOR` and
    /// `SORTIE_NATS_STORE`; in a cluster also `SORTIE_NATS_CLUSTER_LISTEN` and
    /// `SORTIE_NATS_ROUTES`.
    #[must_use]
    pub fn deployed(mut self, folder: &Path, file: &str) -> Self {
        self.deployed = Some((folder.to_owned(), file.to_owned()));
        self
    }

    /// Say that a configuration from elsewhere turns TLS on.
    #[must_use]
    pub fn speaks_tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// A variable of its environment, which its configuration can name.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Answer [`NatsServer::monitor`].
    #[must_use]
    pub fn monitoring(mut self) -> Self {
        self.monitoring = true;
        self
    }

    /// TLS with this certificate and its key, two PEM files.
    #[must_use]
    pub fn tls(mut self, certificate: &Path, key: &Path) -> Self {
        self.tls = true;
        self.config(&format!(
            "tls {{ cert_file: {:?}, key_file: {:?} }}",
            certificate.display(),
            key.display()
        ))
    }

    /// Start it, and wait until clients can connect.
    ///
    /// # Panics
    /// When it does not start in time; the text has its log.
    pub async fn start(self) -> NatsServer {
        for _ in 0..TRIES_MAX {
            if let Some(server) = self.try_start().await {
                return server;
            }
        }
        panic!("a nats-server found its port taken {TRIES_MAX} times");
    }

    /// None if a port was taken.
    async fn try_start(&self) -> Option<NatsServer> {
        let program = self.program.clone().unwrap_or_else(nats_server);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let address = ports::free();
        let monitor = self.monitoring.then(ports::free);
        std::fs::write(
            folder.path().join(process::CONFIG),
            self.text(address, monitor, folder.path()),
        )
        .expect("a file of ours");
        let variables = self.environment(address, monitor, folder.path());
        let server = NatsServer {
            program,
            folder,
            address,
            monitor,
            tls: self.tls,
            variables,
            process: Mutex::new(None),
        };
        server.run().await.then_some(server)
    }

    fn environment(
        &self,
        address: SocketAddr,
        monitor: Option<SocketAddr>,
        folder: &Path,
    ) -> Vec<(String, String)> {
        let mut all = self.variables.clone();
        if self.deployed.is_some() {
            let mut set =
                |name: &str, value: String| all.push((format!("SORTIE_NATS_{name}"), value));
            set("LISTEN", format!("\"{address}\""));
            set(
                "MONITOR",
                format!("\"{}\"", monitor.unwrap_or_else(ports::free)),
            );
            set("STORE", format!("{:?}", folder.join("store").display()));
            if let Some((address, routes)) = &self.cluster {
                set("CLUSTER_LISTEN", format!("\"{address}\""));
                set("ROUTES", format!("[{routes}]"));
            }
        }
        all
    }

    fn text(&self, address: SocketAddr, monitor: Option<SocketAddr>, folder: &Path) -> String {
        if let Some((from, file)) = &self.deployed {
            let others = std::fs::read_dir(from)
                .expect("a folder of the repository")
                .map(|entry| entry.expect("a file").path());
            for other in others.filter(|path| path.is_file()) {
                std::fs::copy(&other, folder.join(other.file_name().unwrap_or_default()))
                    .expect("a file of the repository");
            }
            return std::fs::read_to_string(from.join(file)).expect("a file of the repository")
                + "\n"
                + &self.config;
        }
        let mut text = format!("listen: \"{address}\"\n");
        if let Some(monitor) = monitor {
            let _infallible = writeln!(text, "http: \"{monitor}\"");
        }
        if let Some(lines) = &self.jetstream {
            let _infallible = writeln!(
                text,
                "jetstream {{\nstore_dir: {:?}\n{lines}\n}}",
                folder.join("store").display()
            );
        }
        if let Some((address, routes)) = &self.cluster {
            // Clients keep to the addresses that they were given, which may be those of proxies.
            let _infallible = writeln!(
                text,
                "cluster {{\nname: sortie\nno_advertise: true\nlisten: \"{address}\"\nroutes: \
                 [{routes}]\n}}"
            );
        }
        text + &self.config
    }
}

/// A server that ends with its handle.
#[derive(Debug)]
pub struct NatsServer {
    program: PathBuf,
    folder: TempDir,
    address: SocketAddr,
    monitor: Option<SocketAddr>,
    tls: bool,
    variables: Vec<(String, String)>,
    /// None while the server is down.
    process: Mutex<Option<Process>>,
}

impl NatsServer {
    /// Start a server with JetStream.
    ///
    /// # Panics
    /// When it does not start in time; the text has its log.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// A server to say more about before it starts.
    pub fn builder() -> NatsBuilder {
        NatsBuilder::new()
    }

    /// Where clients connect: `nats://127.0.0.1:PORT`, or `tls://` with TLS. It does not change.
    pub fn url(&self) -> String {
        format!(
            "{}://{}",
            if self.tls { "tls" } else { "nats" },
            self.address
        )
    }

    /// Where clients connect, for a [`TcpProxy`](crate::TcpProxy) in between.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id; none while it is down.
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Process::id)
    }

    /// End it at once, as a crash does. Nothing happens if it is down.
    pub fn kill(&self) {
        // Dropping kills.
        drop(self.process().take());
    }

    /// Let it come to its end, with everything written that it has.
    ///
    /// # Panics
    /// When it is down, or does not end in time.
    pub async fn stop(&self) {
        self.stop_with(Signal::TERM).await;
    }

    /// Send it a signal and wait for its end.
    ///
    /// # Panics
    /// When it is down, or does not end in time.
    pub async fn stop_with(&self, signal: Signal) -> ExitStatus {
        let mut process = self.process().take().expect("a server that is up");
        process.signal(signal);
        process.ended().await.unwrap_or_else(|| {
            panic!(
                "nats-server did not end within {:?}\n{}",
                patience(),
                self.log()
            )
        })
    }

    /// Stop its process from running, as a machine that hangs: its connections stay and nothing
    /// answers.
    ///
    /// # Panics
    /// When it is down.
    pub fn pause(&self) {
        self.process()
            .as_mut()
            .expect("a server that is up")
            .pause();
    }

    /// Let it run on after [`pause`](Self::pause).
    ///
    /// # Panics
    /// When it is down.
    pub fn resume(&self) {
        self.process()
            .as_mut()
            .expect("a server that is up")
            .resume();
    }

    /// Start it again with the same ports, configuration and store, and wait until clients can
    /// connect. If it is up it is killed first.
    ///
    /// # Panics
    /// When it does not start in time.
    pub async fn restart(&self) {
        self.kill();
        assert!(
            self.run().await,
            "the server's port was taken while it was down\n{}",
            self.log()
        );
    }

    /// All it has written, over all its starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(process::LOG)).unwrap_or_default()
    }

    /// The folder with its configuration, log and store.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it answers to a request for a path such as `/varz` on its monitoring port.
    ///
    /// # Panics
    /// When it was built without monitoring, or does not answer in time.
    pub async fn monitor(&self, path: &str) -> Value {
        let address = self.monitor.expect("a server built with `monitoring`");
        monitor::get(address, path)
            .await
            .unwrap_or_else(|error| panic!("no answer to {path}: {error}\n{}", self.log()))
    }

    /// Whether it is up and not paused, so that it answers.
    fn is_running(&self) -> bool {
        self.process()
            .as_ref()
            .is_some_and(|process| !process.is_paused())
    }

    /// False if one of its ports is taken.
    async fn run(&self) -> bool {
        match Process::start(&self.program, self.folder.path(), &self.variables).await {
            Started::Ready(process) => {
                *self.process() = Some(process);
                true
            }
            Started::PortTaken => false,
            Started::Failed(what) => panic!("nats-server {what}\n{}", self.log()),
        }
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let skipped = log.lines().count().saturating_sub(LOG_LINES_SHOWN);
            let end: Vec<_> = log.lines().skip(skipped).collect();
            eprintln!("the end of the log of {}:\n{}", self.url(), end.join("\n"));
        }
    }
}
