//! A server of a cluster dies while tasks flow: each of three in turn may lead the stream of
//! bundles or that of outcomes.

use std::num::NonZeroUsize;
use std::time::Duration;

use sortie_broker::nats::{Config, NatsBroker, Provision};
use sortie_broker::{Submit as _, Work as _};
use sortie_harness::NatsCluster;

use crate::support::{Follower, all_done, config, publish, pull, put_job, soon, until};

/// Long enough that an election does not cost a lease: what is tested is that nothing is lost, not
/// that work is done twice.
const LEASE: Duration = Duration::from_secs(10);
const TASKS: u64 = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_loses_its_leaders_loses_no_task() {
    let cluster = NatsCluster::start(3).await;
    let urls = cluster.urls().join(",");
    let base = config(&urls, LEASE);
    let Provision::Missing(layout) = base.provision.clone() else {
        unreachable!()
    };
    let provision = Provision::Missing(sortie_broker::nats::Layout {
        replicas: NonZeroUsize::new(3).unwrap(),
        ..layout
    });
    let config = Config { provision, ..base };
    let client = NatsBroker::connect(config.clone()).await.unwrap();
    let worker = NatsBroker::connect(config).await.unwrap();
    let job = put_job(&client).await;
    let mut follower = Follower::of(&client, job).await;

    let publishing = tokio::spawn({
        let client = client.clone();
        async move {
            for index in 0..TASKS {
                publish(&client, job, [index]).await;
            }
        }
    });
    let working = tokio::spawn({
        let worker = worker.clone();
        async move {
            loop {
                let lease = pull(&worker).await;
                worker
                    .complete(lease.id, job, all_done(&lease))
                    .await
                    .unwrap();
            }
        }
    });
    for (at, stream) in [
        (30, "sortie-tasks-default-0"),
        (130, "sortie-outcomes-default"),
    ] {
        follower.outcomes(at).await;
        let leader = cluster.leader_of_stream(stream).await;
        cluster.server(leader).kill();
        follower.outcomes(30).await;
        cluster.server(leader).restart().await;
        cluster.wait_until_current().await;
    }
    soon("all publishes", publishing).await.unwrap();
    follower.sees_all(TASKS).await;
    until("unfinished", &0, async || {
        client.unfinished(job).await.unwrap().bundles
    })
    .await;
    working.abort();
    // A later follower sees the same.
    Follower::of(&client, job).await.sees_all(TASKS).await;
}
