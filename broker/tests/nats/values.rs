//! Large values of one tenant are bounded.

use bytes::Bytes;
use sortie_broker::KeepValues as _;

use crate::support::{LONG, assert_error, connect, put_job};
use sortie_harness::NatsServer;

/// As many parts as the stream takes.
const PARTS_MAX: u64 = 2048;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_of_a_tenant_is_bounded_and_what_is_dropped_makes_room() {
    let server = NatsServer::start().await;
    let broker = connect(&server.url(), LONG).await;
    let job = put_job(&broker).await;
    let put = async |task: u64| {
        let value = Bytes::from_static(b"value");
        broker.put_value(job, Some(task), value).await
    };
    for task in 0..PARTS_MAX {
        put(task).await.unwrap();
    }
    assert_error!(put(PARTS_MAX).await, Full, says "maximum messages");
    // What waits for room gets it.
    let (put, dropped) = tokio::join!(put(PARTS_MAX), broker.drop_values(job, vec![7]));
    dropped.unwrap();
    let kept = put.unwrap();
    let value = broker.value(job.tenant, kept).await.unwrap();
    assert_eq!(value, Some(Bytes::from_static(b"value")));
}
