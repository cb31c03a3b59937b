//! What clients leave for others: jobs that a worker goes on with, and tasks that have names.

use sortie_broker::nats::NatsBroker;
use sortie_broker::{Coordinate as _, Directory as _, Submit as _};
use sortie_protocol::{GraphEntry, JobId, Part, Published, Term, WaitingTask, WorkerId};

use crate::support::{Follower, all_done, complete, publish, pull, put_job, until};

/// As a coordinator does with a job whose client died.
pub(crate) async fn a_worker_goes_on_with_a_job(acme: &NatsBroker, worker: &NatsBroker) {
    let id = put_job(acme).await;
    let term = |number, holder| Term {
        number,
        holder: WorkerId::from_bytes([holder; 16]),
        holds: true,
    };
    let entry = GraphEntry::Waiting(WaitingTask {
        index: 1,
        function: 0,
        parts: vec![Part::Result(0)],
        input: None,
        repeatable: true,
    });
    acme.append_graph(id, vec![entry.clone()]).await.unwrap();
    let version = acme.claim(id, term(1, 1), None).await.unwrap();
    assert!(version.is_some());
    publish(acme, id, [0]).await;
    let all = worker.all_claimed().await.unwrap();
    let [(claimed, left)] = &all[..] else {
        panic!("{all:?}");
    };
    assert_eq!((*claimed, Some(left.version)), (id, version));
    assert_eq!(worker.graph(id).await.unwrap(), [entry]);
    assert_eq!(worker.unfinished_tasks(id).await.unwrap(), [0]);
    let taken = worker.claim(id, term(2, 2), version).await.unwrap();
    assert!(taken.is_some());
    let mut follower = Follower::of(worker, id).await;
    let lease = pull(worker).await;
    complete(worker, &lease, all_done(&lease)).await;
    publish(worker, id, [1]).await;
    let lease = pull(worker).await;
    complete(worker, &lease, all_done(&lease)).await;
    follower.sees_all(2).await;
    until("unfinished", &0, async || {
        worker.unfinished(id).await.unwrap().bundles
    })
    .await;
    worker.submitting(id).await.unwrap();
    worker.seal(id, 2).await.unwrap();
    worker.drop_graph(id).await.unwrap();
    assert_eq!(acme.claimed(id).await.unwrap(), None);
    assert_eq!(acme.claim(id, term(1, 1), version).await.unwrap(), None);
}

pub(crate) async fn a_task_is_published(acme: &NatsBroker) {
    let published = Published {
        name: "a sum".parse().unwrap(),
        job: JobId::from_bytes([7; 16]),
        index: 3,
    };
    acme.publish_name(published.clone()).await.unwrap();
    let found = acme.published(&published.name).await.unwrap();
    assert_eq!(found.as_ref(), Some(&published));
    assert_eq!(
        acme.all_published().await.unwrap(),
        found.into_iter().collect::<Vec<_>>()
    );
    acme.unpublish(&published.name).await.unwrap();
    assert_eq!(acme.published(&published.name).await.unwrap(), None);
}
