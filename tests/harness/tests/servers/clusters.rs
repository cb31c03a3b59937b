//! Three real servers as one. Tests that start a cluster have `cluster` in their name: the test
//! runner runs one of them at a time.

use async_nats::jetstream;
use sortie_harness::NatsCluster;

#[tokio::test]
async fn a_cluster_keeps_a_replicated_stream_when_its_leader_is_killed() {
    let cluster = NatsCluster::start(3).await;
    assert_eq!(cluster.urls().len(), 3);
    assert!(cluster.leader_of_meta().await < 3);
    let context = jetstream::new(async_nats::connect(cluster.urls()).await.unwrap());
    let config = |name: &str, num_replicas| jetstream::stream::Config {
        name: name.into(),
        subjects: vec![name.into()],
        num_replicas,
        ..Default::default()
    };
    context.create_stream(config("KEPT", 3)).await.unwrap();
    context.create_stream(config("SINGLE", 1)).await.unwrap();
    assert!(cluster.leader_of_stream("SINGLE").await < 3);
    context
        .publish("KEPT", "x".into())
        .await
        .unwrap()
        .await
        .unwrap();

    let leader = cluster.leader_of_stream("KEPT").await;
    cluster.server(leader).kill();
    let next = cluster.leader_of_stream("KEPT").await;
    assert_ne!(next, leader);
    assert_ne!(cluster.leader_of_meta().await, leader);
    let context = jetstream::new(
        async_nats::connect(cluster.server(next).url())
            .await
            .unwrap(),
    );
    assert_eq!(
        context
            .get_stream("KEPT")
            .await
            .unwrap()
            .info()
            .await
            .unwrap()
            .state
            .messages,
        1
    );

    cluster.server(leader).restart().await;
    cluster.wait_until_current().await;
}
