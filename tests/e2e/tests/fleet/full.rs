//! A server whose storage is full: what is stored there can be read, and what waits removed.

use std::num::NonZeroUsize;
use std::sync::Arc;

use sortie::nats::{Config, NatsBroker, Role};
use sortie::protocol::{
    Argument, Bundle, Digest, FunctionRef, Job, JobId, JobKey, Labels, Task, Timestamp, WorkerId,
};
use sortie_broker::{Serves, Submit as _};
use sortie_harness::{NatsServer, Sortie, until};
use sortie_host::setup::Identity;
use sortie_host::{Setup, Worker};
use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};

use crate::beside::refused;

/// As little as the streams of a space get by with.
const STORAGE: &str = "max_file_store: 16MB";
/// What one result or one argument takes here, about: a hundredth of it.
const PIECE_BYTES: usize = 160_000;
/// More of these than fit.
const PIECES: usize = 200;
/// Fewer than are there before the first of them finds no room.
const PIECES_STORED: usize = 20;

/// A server with little storage, and what commands keep beside it.
struct Narrow {
    runtime: Runtime,
    server: NatsServer,
    cache: TempDir,
}

impl Narrow {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let server = runtime.block_on(NatsServer::builder().jetstream(STORAGE).start());
        let cache = sortie_harness::cache();
        Self {
            runtime,
            server,
            cache,
        }
    }

    fn sortie(&self, words: &[&str]) -> Sortie {
        Sortie::new(words).env("SORTIE_BROKER", self.server.url())
    }

    /// Submit and leave; the job's name.
    fn detach(&self, function: &str, lines: String) -> String {
        let map = Sortie::map(function, ["--detach", "--inputs", "-"])
            .cache(self.cache.path())
            .env("SORTIE_BROKER", self.server.url());
        map.input(lines).run().code(0).stdout.trim().to_owned()
    }

    fn broker(&self, role: Role) -> Arc<NatsBroker> {
        let config = Config::new(self.server.url(), role);
        Arc::new(self.runtime.block_on(NatsBroker::connect(config)).unwrap())
    }

    /// A worker, and how it is connected.
    fn worker(&self) -> (Worker, Arc<NatsBroker>) {
        let broker = self.broker(Role::Worker);
        let setup = Setup {
            concurrency: NonZeroUsize::new(2),
            cache: Some(self.cache.path().into()),
            ..Setup::default()
        };
        let identity = Identity {
            id: WorkerId::from_bytes([7; 16]),
            serves: Serves::Labels(Labels::default()),
            introduction: None,
        };
        let lease = Some(broker.lease());
        let worker = self.runtime.block_on(async {
            let prepared = setup.prepare(Handle::current()).unwrap();
            prepared.start(identity, broker.clone(), lease).unwrap()
        });
        (worker, broker)
    }
}

#[test]
fn a_full_server_gives_out_what_it_has_and_forgets_it() {
    let narrow = Narrow::start();
    let (_worker, broker) = narrow.worker();
    let whole = narrow.detach("echo", "a\nb\nc\n".into());
    let gather = ["job", "gather", &whole];
    let kept = narrow.sortie(&gather).args(["--keep"]).run().code(0);
    assert_eq!(kept.records().len(), 3, "{kept}");
    let sizes = (0..PIECES).map(|n| format!("{}\n", PIECE_BYTES + n));
    let job = narrow.detach("returns_bytes", sizes.collect());
    let is_full = until("a worker that waits for room", || broker.full().is_some());
    narrow.runtime.block_on(is_full);

    // All of it is there, and only what was to be stored about that is not.
    for _ in 0..2 {
        let says = ["is full", "results stay", "sortie job forget"];
        let ran = narrow.sortie(&gather).run().code(0).says(&says);
        assert_eq!(ran.records().len(), 3, "{ran}");
    }
    // The rest may still come, when somebody makes room.
    let mut gathering = narrow.sortie(&["job", "gather", &job]).start();
    for _ in 0..PIECES_STORED {
        gathering.line();
    }
    gathering.signal(rustix::process::Signal::INT);
    let _ = gathering.wait().code(130).says(&["the job goes on"]);
    let _ = narrow.sortie(&["job", "logs", &job]).run().code(0);

    // What is full with results stays full without what waited.
    let says = ["is full", &job, "sortie job forget", "sortie broker empty"];
    refused(narrow.sortie(&["job", "cancel", &job]).run(), 3, &says);
    let status = narrow.sortie(&["job", "status", &job, "--json"]).run();
    assert_eq!(status.code(0).value()["unfinished_bundles"], 0);
    let says = ["outcomes are missing", "sortie job forget"];
    let ran = narrow.sortie(&["job", "gather", &job]).run();
    let ran = ran.code(3).says(&says);
    assert!(ran.records().len() >= PIECES_STORED, "{ran}");

    let _ = narrow.sortie(&["job", "forget", &job]).run().code(0);
    let _ = narrow.sortie(&gather).run().code(0);
    refused(narrow.sortie(&gather).run(), 2, &["were gathered at"]);
}

#[test]
fn cancelling_a_job_makes_room_for_saying_so() {
    let narrow = Narrow::start();
    let broker = narrow.broker(Role::Client);
    let key = JobKey {
        tenant: broker.tenant(),
        job: JobId::from_bytes([5; 16]),
    };
    let function = FunctionRef {
        component: Digest::of(b"none"),
        name: "none".into(),
    };
    let bundle = |index| Bundle {
        job: key,
        attempts_before: 0,
        lost_before: 0,
        published: Timestamp::default(),
        tasks: vec![Task {
            index,
            arguments: vec![Argument::Value(vec![7; PIECE_BYTES].into())],
            function: 0,
            input: None,
            then: Vec::new(),
        }],
    };
    let publish_all = async {
        // With this in it the server is full before the tenant's queue is.
        let component = vec![0; 2 << 20];
        let stored = broker.put_component(Digest::of(&component), component.into());
        stored.await.unwrap();
        let job = Job::of(key, function, Default::default());
        broker.put_job(job, Timestamp::default()).await.unwrap();
        for index in 0..PIECES as u64 {
            broker.publish(bundle(index)).await.unwrap();
        }
        panic!("there was room for all");
    };
    narrow.runtime.block_on(async {
        tokio::select! {
            () = publish_all => {}
            () = until("a broker without room", || broker.full().is_some()) => {}
        }
    });

    let job = key.job.to_string();
    // Nobody submits it any more, and whether a worker is there cannot be known.
    let says = ["more may be missing", "no worker can report", "is full"];
    let ran = narrow.sortie(&["job", "gather", &job]).run();
    let _ = ran.code(4).says(&says);
    let cancelled = narrow.sortie(&["job", "cancel", &job]).run();
    let _ = cancelled.code(0).says(&["is cancelled"]);
    let status = narrow.sortie(&["job", "status", &job, "--json"]).run();
    let status = status.code(0).value();
    assert_eq!(
        (&status["state"], &status["unfinished_bundles"]),
        (&"cancelled".into(), &0.into())
    );
    let ran = narrow.sortie(&["job", "gather", &job]).run();
    let _ = ran.code(1).says(&["was cancelled"]);
}
