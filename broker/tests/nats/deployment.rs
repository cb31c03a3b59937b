//! The files of `deploy/nats` as an operator uses them: one account, passwords, a cluster of three.

use sortie_broker::nats::{Config, NatsBroker, Role};
use sortie_harness::{NatsCluster, NatsServer, repository};

use crate::security::{deployed, lay_out, of};
use crate::support::{Follower, LONG, assert_error, config, publish, put_job, work};

/// The accounts that the README shows for one tenant, as they stand there.
#[tokio::test]
async fn one_account_is_enough_for_one_tenant() {
    let readme = std::fs::read_to_string(repository().join("deploy/nats/README.md")).unwrap();
    let (_, block) = readme.split_once("```text\naccounts {").unwrap();
    let accounts = format!("accounts {{{}", block.split("```").next().unwrap());
    let server = NatsServer::builder().config(&accounts);
    let server = server
        .variable("SORTIE_CLIENT_PASSWORD", "client-pw")
        .variable("SORTIE_WORKER_PASSWORD", "worker-pw")
        .start()
        .await;
    let with = |user, role| Config {
        role,
        ..config(
            &server
                .url()
                .replace("nats://", &format!("nats://{user}:{user}-pw@")),
            LONG,
        )
    };
    let worker = NatsBroker::connect(with("worker", Role::Worker))
        .await
        .unwrap();
    let client = NatsBroker::connect(with("client", Role::Client))
        .await
        .unwrap();
    let id = put_job(&client).await;
    publish(&client, id, [0]).await;
    work(&worker).await;
    Follower::of(&client, id).await.sees_all(1).await;
}

/// Clients without a password are refused.
#[tokio::test]
async fn strangers_are_not_let_in() {
    let server = deployed("server.conf").start().await;
    assert_error!(NatsBroker::connect(config(&server.url(), LONG)).await, Denied, says "missing");
    let wrong = server.url().replace("nats://", "nats://acme:globex-pw@");
    assert_error!(NatsBroker::connect(config(&wrong, LONG)).await, Denied, says "password");
}

/// Three servers with the deployed configuration find each other, and keep three copies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deployed_cluster_runs_a_task() {
    let server = deployed("cluster.conf").variable("SORTIE_NATS_ROUTE_PASSWORD", "route-pw");
    // Each server's own name follows in a line after the file.
    let server = server.variable("SORTIE_NATS_NAME", "nobody");
    let cluster = NatsCluster::start_with(3, server).await;
    let url = cluster.server(0).url();
    lay_out(&url, 3, &[]).await;
    let acme = NatsBroker::connect(of(&url, "acme", Role::Client))
        .await
        .unwrap();
    let worker = NatsBroker::connect(of(&cluster.server(1).url(), "worker", Role::Worker))
        .await
        .unwrap();
    let id = put_job(&acme).await;
    publish(&acme, id, [0]).await;
    work(&worker).await;
    Follower::of(&acme, id).await.sees_all(1).await;
}
