//! What the tests share: a broker, a client at it, and `sortie worker` as a process.
//!
//! Every wait ends on a condition, guarded by [`patience`]. A worker ends with its handle. When a
//! test fails, the worker's output is shown.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use serde_json::Value;
use sortie::protocol::{Labels, Presence};
use sortie::{Client, Function, TaskOutcome};
use sortie_broker::nats::{Config, Layout, NatsBroker, Provision, Role};
use sortie_broker::{Operate as _, Submit as _};
use sortie_harness::{NatsServer, patience, within};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// A lease that runs out soon, for tests that wait for that.
pub(crate) const SHORT: Duration = Duration::from_secs(2);
/// A lease that does not run out within a test.
pub(crate) const LONG: Duration = Duration::from_secs(300);
/// How often a condition is looked at that cannot be waited for.
const HOUR: Duration = Duration::from_secs(60 * 60);
const POLL: Duration = Duration::from_millis(20);

pub(crate) async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    within(what, happens).await
}

/// Wait until `holds`.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !holds().await {
            sleep(POLL).await;
        }
    })
    .await;
}

/// A broker, and a client at it that knows the component `behaviours`.
pub(crate) struct Fleet {
    pub(crate) server: NatsServer,
    pub(crate) broker: Arc<NatsBroker>,
    pub(crate) client: Client,
    /// Looks into components; runs nothing.
    embedded: Client,
    /// Compiled code, shared by all workers.
    cache: TempDir,
}

impl Fleet {
    pub(crate) async fn start(lease: Duration) -> Self {
        let server = NatsServer::start().await;
        let config = Config {
            provision: Provision::Missing(Layout {
                lease,
                ..Layout::default()
            }),
            ..Config::new(server.url(), Role::Client)
        };
        let gpu: Labels = "gpu".parse().unwrap();
        NatsBroker::init(config.clone(), &[gpu]).await.unwrap();
        let broker = Arc::new(NatsBroker::connect(config).await.unwrap());
        let cache = sortie_harness::cache();
        let embedded = Client::builder().cache(cache.path()).start().unwrap();
        Self {
            server,
            client: Client::over(broker.clone()),
            broker,
            embedded,
            cache,
        }
    }

    /// A function of `behaviours`, whose results are not kept.
    pub(crate) async fn function<T>(&self, name: &str) -> Function<T> {
        let path = sortie_harness::component("behaviours");
        let component = self.embedded.load(&path).await.unwrap();
        self.broker
            .put_component(component.digest(), std::fs::read(path).unwrap().into())
            .await
            .unwrap();
        component
            .function(name)
            .unwrap()
            .memo(sortie::protocol::job::Memo::Off)
    }

    /// The function that never ends by itself, nor by a limit within the time of a test: only what
    /// stops it does.
    pub(crate) async fn endless(&self) -> Function<()> {
        let spins = self.function("spins_forever").await;
        spins.timeout(HOUR).cpu_time(HOUR)
    }

    pub(crate) async fn worker(&self, arguments: &[&str]) -> WorkerProcess {
        self.worker_at(&self.server.url(), arguments).await
    }

    /// A worker that is ready.
    pub(crate) async fn worker_at(&self, url: &str, arguments: &[&str]) -> WorkerProcess {
        let cache = self.cache.path().to_str().unwrap();
        let mut worker = WorkerProcess::start(
            &[
                &["-v", "worker", "--broker", url, "--cache", cache],
                arguments,
            ]
            .concat(),
        );
        worker.said("; ready").await;
        worker
    }

    /// How a worker was announced last.
    pub(crate) async fn presence(&self, worker: &WorkerProcess) -> Option<Presence> {
        let workers = self.broker.workers().await.unwrap_or_default();
        workers
            .into_iter()
            .find(|presence| Some(presence.process) == worker.child.id())
    }

    /// Wait until a worker announces so many bundles in work. What it announced before does not
    /// count: it may be about what it did then.
    pub(crate) async fn until_busy(&self, worker: &WorkerProcess, count: u32) {
        let before = self.presence(worker).await.map(|presence| presence.said);
        until(
            &format!("a worker with {count} bundles in work"),
            async || {
                self.presence(worker)
                    .await
                    .is_some_and(|presence| Some(presence.said) > before && presence.busy == count)
            },
        )
        .await;
    }
}

/// Every one of the first `count` tasks, once.
pub(crate) fn check_each_once<T>(outcomes: &[TaskOutcome<T>], count: u64) {
    let mut indices: Vec<u64> = outcomes.iter().map(|outcome| outcome.index).collect();
    indices.sort_unstable();
    assert_eq!(indices, (0..count).collect::<Vec<_>>());
}

/// A command under way. Dropping it kills it.
pub(crate) struct WorkerProcess {
    child: Child,
    stderr: watch::Receiver<String>,
    _home: TempDir,
}

impl WorkerProcess {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new(sortie_harness::binary());
        command
            .args(arguments)
            .env_clear()
            .env("HOME", home.path())
            .current_dir(home.path());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, stderr) = watch::channel(String::new());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                sender.send_modify(|said| *said += &format!("{line}\n"));
            }
        });
        Self {
            child,
            stderr,
            _home: home,
        }
    }

    /// Wait until it said this; what it said by then comes back.
    pub(crate) async fn said(&mut self, what: &str) -> String {
        let waiting = timeout(patience(), self.stderr.wait_for(|said| said.contains(what))).await;
        let found = matches!(&waiting, Ok(Ok(_)));
        drop(waiting);
        let said = self.stderr.borrow().clone();
        assert!(found, "it never said `{what}`, but:\n{said}");
        said
    }

    /// The address in its line about health.
    pub(crate) fn health(&self) -> String {
        let said = self.stderr.borrow();
        said.split_once("http://")
            .and_then(|(_, rest)| rest.split_once(';'))
            .unwrap()
            .0
            .to_owned()
    }

    /// The most memory that it had so far.
    pub(crate) fn resident_peak(&self) -> u64 {
        let status = format!("/proc/{}/status", self.child.id().unwrap());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() << 10
    }

    /// Let it have so many files open from now on, or any number, and return how many it could have
    /// so far.
    pub(crate) fn limit_descriptors(&self, count: Option<u64>) -> Option<u64> {
        let soft = Rlimit {
            current: count,
            // The one of this process, which a child inherits.
            maximum: getrlimit(Resource::Nofile).maximum,
        };
        prlimit(Some(self.id()), Resource::Nofile, soft)
            .unwrap()
            .current
    }

    fn id(&self) -> Pid {
        Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).unwrap();
    }

    /// Its exit code (none if a signal ended it) and all it said.
    pub(crate) async fn ended(mut self) -> (Option<i32>, String) {
        let status = soon("the end of a worker", self.child.wait())
            .await
            .unwrap();
        // The sender goes with the pipe.
        let _ = soon("the end of its words", self.stderr.wait_for(|_| false))
            .await
            .map(drop);
        let said = self.stderr.borrow().clone();
        (status.code(), said)
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("a worker said:\n{}", *self.stderr.borrow());
        }
    }
}

/// `GET` over plain HTTP: the status and the body.
pub(crate) async fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    soon("an answer over HTTP", stream.read_to_string(&mut answer))
        .await
        .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

/// `sortie` with these arguments, to its end: its exit code, the JSON lines on standard output, and
/// standard error.
pub(crate) async fn sortie(arguments: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let running = Command::new(sortie_harness::binary())
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = soon("the end of a command", running).await.unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let records = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    (
        output.status.code(),
        records,
        String::from_utf8(output.stderr).unwrap(),
    )
}
