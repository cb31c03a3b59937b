//! A tenant of a shared fleet by the `sortie` command, on a server with exactly the accounts that
//! are shipped.

use std::path::Path;

use sortie::ByteSize;
use sortie::nats::{Config, NatsBroker, Provision, Role};
use sortie::protocol::{Labels, WorkerId};
use sortie_broker::Serves;
use sortie_harness::{NatsServer, Sortie, repository};
use sortie_host::setup::{Identity, StoreAt};
use sortie_host::{Setup, Worker};
use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};

struct Shared {
    runtime: Runtime,
    server: NatsServer,
    cache: TempDir,
    _worker: Worker,
}

impl Shared {
    fn start() -> Self {
        Self::start_with(|_| Setup::default())
    }

    /// With a worker that is set up like this, given the folder of its cache.
    fn start_with(setup: impl FnOnce(&Path) -> Setup) -> Self {
        let runtime = Runtime::new().unwrap();
        let users = ["operator", "acme", "globex", "worker"];
        let builder =
            NatsServer::builder().deployed(&repository().join("deploy/nats"), "server.conf");
        let builder = users.iter().fold(builder, |builder, user| {
            builder.variable(
                &format!("SORTIE_{}_PASSWORD", user.to_uppercase()),
                &format!("{user}-pw"),
            )
        });
        let server = runtime.block_on(builder.start());
        for tenant in ["acme", "globex"] {
            let ran = Sortie::new(["broker", "init", "--tenant", tenant])
                .env("SORTIE_BROKER", url(&server, "operator"))
                .run()
                .code(0);
            assert!(ran.stdout.contains(tenant), "{ran}");
        }
        let cache = sortie_harness::cache();
        let setup = Setup {
            concurrency: std::num::NonZeroUsize::new(2),
            cache: Some(cache.path().into()),
            ..setup(cache.path())
        };
        let worker = runtime.block_on(worker(&server, setup));
        Self {
            runtime,
            server,
            cache,
            _worker: worker,
        }
    }

    fn sortie(&self, tenant: &str, words: &[&str]) -> Sortie {
        Sortie::new(words)
            .env("SORTIE_BROKER", url(&self.server, tenant))
            .env("SORTIE_TENANT", tenant)
    }

    fn map(&self, tenant: &str, function: &str, inputs: &[&str]) -> Sortie {
        let map = Sortie::map(function, inputs).cache(self.cache.path());
        map.env("SORTIE_BROKER", url(&self.server, tenant))
            .env("SORTIE_TENANT", tenant)
    }
}

fn url(server: &NatsServer, user: &str) -> String {
    server
        .url()
        .replace("nats://", &format!("nats://{user}:{user}-pw@"))
}

async fn worker(server: &NatsServer, setup: Setup) -> Worker {
    let config = Config {
        provision: Provision::Never,
        ..Config::new(url(server, "worker"), Role::Worker)
    };
    let broker = NatsBroker::connect(config).await.unwrap();
    let prepared = setup.prepare(Handle::current()).unwrap();
    let identity = Identity {
        id: WorkerId::from_bytes([7; 16]),
        serves: Serves::Labels(Labels::default()),
        introduction: None,
    };
    let lease = broker.lease();
    prepared
        .start(identity, std::sync::Arc::new(broker), Some(lease))
        .unwrap()
}

#[test]
fn tenants_share_no_results_even_on_the_same_worker() {
    let shared = Shared::start();
    let is_known = |tenant: &str| {
        let ran = shared.map(tenant, "spins_for", &["20000000"]).run().code(0);
        ran.value()["bill"]["cached"].as_bool().unwrap()
    };
    assert_eq!(
        ["acme", "globex", "acme", "globex"].map(is_known),
        [false, false, true, true]
    );
}

#[test]
fn a_tenant_fills_no_more_than_its_part_of_a_store() {
    let shared = Shared::start_with(|folder| {
        let place = sortie::objects::output_store::parse("results", folder).unwrap();
        Setup {
            store: StoreAt::Shared(place),
            store_quota: Some(ByteSize(750_000)),
            ..Setup::default()
        }
    });
    // Large values are stored. One that is there already takes no more room.
    let sizes = ["300000", "300001", "300000"];
    let ran = shared.map("acme", "returns_bytes", &sizes).run().code(0);
    assert_eq!(ran.records().len(), 3, "{ran}");
    let ran = shared
        .map("acme", "returns_bytes", &["300002", "1000"])
        .run()
        .code(1);
    let records = ran.records();
    let of = |index: u64| {
        records
            .iter()
            .find(|record| record["index"] == index)
            .unwrap()
    };
    let refused = &of(0)["error"];
    assert_eq!(
        (&refused["code"], &refused["blame"], &refused["attempts"]),
        (&"store-quota".into(), &"guest".into(), &1.into()),
        "{ran}"
    );
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("`acme`"), "{message}");
    assert_eq!(of(1)["status"], "completed", "{ran}");
    // So for an object that the function writes, which then is nowhere.
    let ran = shared
        .map("acme", "makes_object", &["[200000, null]"])
        .run()
        .code(1);
    assert_eq!(ran.records()[0]["error"]["code"], "store-quota", "{ran}");
    let stored = |tenant: &str| {
        let folder = shared.cache.path().join("results/objects").join(tenant);
        let digits = std::fs::read_dir(folder).unwrap();
        digits
            .map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count())
            .sum::<usize>()
    };
    assert_eq!(stored("acme"), 2);
    // Another tenant has its own room, for equal bytes, too.
    let ran = shared
        .map("globex", "returns_bytes", &["300000"])
        .run()
        .code(0);
    assert_eq!(ran.records()[0]["status"], "completed", "{ran}");
    assert_eq!((stored("acme"), stored("globex")), (2, 1));
    let place = shared.cache.path().join("results").display().to_string();
    let info =
        Sortie::new(["cache", "info", "--json", "--store", &place]).cache(shared.cache.path());
    let tenants = info.run().code(0).value()["tenants"].clone();
    let objects = |index: usize| {
        let kept = &tenants[index];
        (kept["tenant"].clone(), kept["objects"]["bytes"].clone())
    };
    assert_eq!(objects(0).0, "acme", "{tenants}");
    assert!(objects(0).1.as_u64() > Some(600_000), "{tenants}");
    assert_eq!(objects(1).0, "globex", "{tenants}");
}

#[test]
fn a_tenant_runs_everything_it_needs_and_sees_nothing_of_another() {
    let shared = Shared::start();
    let ran = shared.map("acme", "echo", &["a", "b"]).run().code(0);
    assert_eq!(ran.records().len(), 2, "{ran}");
    let ran = shared
        .map("acme", "echo", &["a", "b", "c"])
        .args(["--detach"])
        .run()
        .code(0);
    let job = ran.stdout.trim().to_owned();

    let status = shared
        .sortie("acme", &["job", "status", &job, "--json"])
        .run()
        .code(0)
        .value();
    assert_eq!(
        (&status["tasks"], &status["unfinished_bundles"]),
        (&3.into(), &0.into())
    );
    for command in ["status", "gather", "logs", "cancel"] {
        let ran = shared
            .sortie("globex", &["job", command, &job])
            .run()
            .code(2);
        assert!(ran.stderr.contains("there is no job"), "{ran}");
    }
    assert_eq!(
        shared
            .sortie("globex", &["job", "list", "--json"])
            .run()
            .code(0)
            .stdout,
        ""
    );

    let ran = shared
        .sortie("acme", &["job", "gather", &job])
        .run()
        .code(0);
    assert_eq!(ran.records().len(), 3, "{ran}");
    let listed = shared.sortie("acme", &["job", "list", "--json"]).run();
    assert_eq!(listed.code(0).value()["phase"], "gathered");
    for words in [
        ["dlq", "list"],
        ["broker", "check"],
        ["broker", "queues"],
        ["worker", "list"],
    ] {
        let ran = shared.sortie("acme", &words).run().code(0);
        assert!(!ran.stderr.contains("error"), "{ran}");
    }
    // Asking for another's streams by name is no way in either.
    let ran = shared
        .map("globex", "echo", &["a"])
        .env("SORTIE_TENANT", "acme")
        .run()
        .code(3);
    assert!(ran.stderr.contains("acme"), "{ran}");
    drop(shared.runtime);
}
