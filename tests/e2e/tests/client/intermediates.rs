//! Large results that many tasks take, and what of them leaves the store.

use rustix::process::Signal;
use sortie::protocol::job::Memo;
use sortie::{Function, Output, gather, value};
use sortie_e2e::Fleet;
use sortie_harness::{Link, S3Server, Sortie, StoreProxy};

use crate::{function, in_time};

/// Less than what a worker keeps of objects by default.
const SIZE: u64 = 50_000_000;
const READERS: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_many_tasks_take_is_fetched_once_by_each_worker() {
    let fleet = Fleet::start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("shared")).unwrap();
    let s3 = S3Server::start(folder.path());
    let proxy = StoreProxy::start(s3.address(), Link::default());
    let url = fleet.url();
    let worker = || {
        let words = [
            "worker",
            "--broker",
            &url,
            "--store",
            "s3://shared/fleet",
            "--concurrency",
            "1",
        ];
        proxy.for_command(Sortie::new(words)).start()
    };
    let workers = [worker(), worker()];
    let client = fleet.client().await;
    let makes: Function<Output> = function(&client, "makes_object").await;
    let sums: Function<(u64, u64)> = function(&client, "sum_of").await;
    // Each call is a task that runs.
    let sums = sums.memo(Memo::Off);
    let made = client.submit(&makes, (SIZE, value(()))).await.unwrap();
    let mut futures = Vec::new();
    for _ in 0..READERS {
        futures.push(client.submit(&sums, &made).await.unwrap());
    }
    for sum in in_time(gather(futures)).await {
        assert_eq!(sum, Ok((SIZE, SIZE * 0x5a)));
    }
    let left = proxy.counts().body_bytes;
    assert!((SIZE..=2 * SIZE + SIZE / 100).contains(&left), "{left}");
    let ending = tokio::task::spawn_blocking(|| {
        for worker in workers {
            worker.signal(Signal::TERM);
            let _ = worker.wait().code(0);
        }
    });
    ending.await.unwrap();
}
