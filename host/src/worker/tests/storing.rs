//! Who computes while a store is slow.

use sortie_broker::Submit as _;
use sortie_harness::{Fault, Link, Operation, S3Server, StoreProxy, until};
use sortie_protocol::outcome::Limit;
use sortie_protocol::{Ending, Failure, Limits, Output};

use super::super::Duration;
use super::codes;
use super::scene::Scene;
use sortie_objects::{Config as Reach, S3, S3Credentials};

/// A store over HTTP that takes no object before it is told to.
struct HeldStore {
    proxy: StoreProxy,
    _server: S3Server,
    _folder: tempfile::TempDir,
}

impl HeldStore {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bucket")).unwrap();
        let server = S3Server::start(folder.path());
        let proxy = StoreProxy::start(server.address(), Link::default());
        proxy.add(Fault::Hold.on(Operation::Put, "/objects/"));
        Self {
            proxy,
            _server: server,
            _folder: folder,
        }
    }

    /// A worker that keeps its results there.
    fn scene(&self, slots: usize) -> Scene {
        let (id, secret) = S3Server::KEYS;
        let credentials = S3Credentials::Keys {
            id: id.into(),
            secret: secret.into(),
            token: None,
        };
        let s3 = S3 {
            endpoint: Some(self.proxy.endpoint()),
            credentials,
            ..S3::default()
        };
        let place =
            sortie_objects::output_store::parse("s3://bucket/store", std::path::Path::new("/"))
                .unwrap();
        Scene::with_store(
            slots,
            place,
            Reach {
                s3,
                ..Reach::default()
            },
        )
    }

    /// How many objects are waiting to be taken, or were.
    fn held(&self) -> u64 {
        self.proxy.counts().struck
    }
}

/// Results that are too large for a message, each another.
const LARGE: [u64; 3] = [300_000, 300_001, 300_002];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_task_of_a_bundle_computes_while_a_result_is_being_stored() {
    let store = HeldStore::start();
    let scene = store.scene(1);
    let job = scene.job("returns_bytes", 0).await;
    scene
        .publish(job, &[LARGE[0].into(), 5.into(), LARGE[1].into()])
        .await;
    // It is on its way while the first is, and the permit is free when there is nothing more to
    // compute.
    until("the second result", || store.held() == 2).await;
    until("a free permit", || {
        scene.worker.permits.compute.available_permits() == 1
    })
    .await;
    assert_eq!(scene.worker.busy(), 1);
    store.proxy.release();
    let outcomes = scene.outcomes(job, 3).await;
    assert_eq!(
        codes(&outcomes),
        [
            (0, 1, "completed"),
            (1, 1, "completed"),
            (2, 1, "completed")
        ]
    );
    for (outcome, is_stored) in outcomes.iter().zip([true, false, true]) {
        assert_eq!(
            matches!(outcome.ending, Ending::Completed(Output::Stored(_))),
            is_stored,
            "{outcome:?}"
        );
        assert_eq!(
            outcome.bill.store > Duration::ZERO,
            is_stored,
            "{outcome:?}"
        );
        // Waiting for the store is not running.
        assert!(
            outcome.bill.run < Duration::from_secs(30)
                && outcome.bill.cpu < Duration::from_secs(30),
            "{outcome:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_bundle_is_taken_and_computed_while_a_result_is_being_stored() {
    let store = HeldStore::start();
    let scene = store.scene(1);
    let job = scene.job("returns_bytes", 0).await;
    scene.publish(job, &[LARGE[0].into()]).await;
    until("the first result", || store.held() == 1).await;
    scene.publish_after(job, 1, &[5.into()]).await;
    assert_eq!(codes(&scene.outcomes(job, 1).await), [(1, 1, "completed")]);
    assert_eq!((store.held(), scene.worker.busy()), (1, 1));
    store.proxy.release();
    assert_eq!(
        codes(&scene.outcomes(job, 2).await),
        [(0, 1, "completed"), (1, 1, "completed")]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_on_its_way_to_the_store_is_cancelled_and_has_the_tasks_time() {
    let store = HeldStore::start();
    let scene = store.scene(1);
    let cancelled = scene.job("returns_bytes", 0).await;
    scene.publish(cancelled, &LARGE.map(Into::into)).await;
    until("results", || store.held() == 3).await;
    scene.broker.cancel(cancelled).await.unwrap();
    until("the end of what is stored", || scene.worker.busy() == 0).await;

    let limits = Limits {
        wall_time: Duration::from_millis(300),
        ..Limits::default()
    };
    let late = scene.job_within("returns_bytes", limits).await;
    scene.publish(late, &[(LARGE[0] + 10).into()]).await;
    let outcomes = scene.outcomes(late, 1).await;
    let limit = Failure::stopped(Limit::WallTime(Duration::from_millis(300)));
    let limit = Ending::Failed(limit);
    assert_eq!(outcomes[0].ending, limit);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_for_which_there_is_no_room_hold_their_permit_until_they_are_stored() {
    let store = HeldStore::start();
    let scene = store.scene(1);
    let room = scene.worker.permits.storing.available_permits();
    scene.worker.permits.storing.forget_permits(room);
    let job = scene.job("returns_bytes", 0).await;
    scene.publish(job, &LARGE.map(Into::into)).await;
    for held in 1..=3 {
        until("a result", || store.held() == held).await;
        assert_eq!(scene.worker.permits.compute.available_permits(), 0);
        store.proxy.release();
    }
    assert!(
        codes(&scene.outcomes(job, 3).await)
            .iter()
            .all(|(_, _, code)| *code == "completed")
    );
}
