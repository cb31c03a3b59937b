//! What a server can do by itself: publish into a work queue, consume with acknowledgement, publish
//! a result. Nothing else.
//!
//! The same number of messages as the fleet sends for tasks without bundles, of about the same
//! size, over as many connections, with as many under way as helps. What a fleet reaches beside
//! this is what its own work costs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::stream::{Config, Republish, RetentionPolicy};
use async_nats::jetstream::{AckKind, Context};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};

/// Acknowledgements that each connection waits for at once; more made the server no faster.
const UNDER_WAY: usize = 256;
/// How long no result may come: a message that the server drops is not sent again.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// About what a bundle of one task, and the report on it, take.
const PAYLOAD_BYTES: usize = 100;

/// Messages a second through `server`, with `workers` consuming connections.
pub async fn run(server: &str, messages: u64, workers: u64) -> Result<Duration> {
    let context = connect(server).await?;
    for stream in ["raw-tasks", "raw-results"] {
        // Left over from the round before.
        let _ = context.delete_stream(stream).await;
    }
    let tasks = Config {
        name: "raw-tasks".into(),
        subjects: vec!["raw.tasks.*".into()],
        retention: RetentionPolicy::WorkQueue,
        ..Config::default()
    };
    context.create_stream(tasks).await?;
    let republish = Republish {
        source: "raw.results.>".into(),
        destination: "raw.live.>".into(),
        headers_only: false,
    };
    let results = Config {
        name: "raw-results".into(),
        subjects: vec!["raw.results.*".into()],
        republish: Some(republish),
        ..Config::default()
    };
    context.create_stream(results).await?;
    let consumer = pull::Config {
        durable_name: Some("workers".into()),
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: 100_000,
        ..pull::Config::default()
    };
    context
        .create_consumer_on_stream(consumer, "raw-tasks")
        .await?;
    let mut live = context.client().subscribe("raw.live.*").await?;
    context.client().flush().await?;
    let mut consuming = tokio::task::JoinSet::new();
    for _ in 0..workers {
        let context = connect(server).await?;
        consuming.spawn(consume(context));
    }
    let began = Instant::now();
    let publishing = tokio::spawn(publish(context.clone(), messages));
    for _ in 0..messages {
        tokio::select! {
            message = tokio::time::timeout(SILENCE_MAX, live.next()) => {
                message.context("no result came; one may have been dropped on the \
                                 way")?.context("the connection was closed")?;
            }
            Some(ended) = consuming.join_next() => ended??,
        }
    }
    let took = began.elapsed();
    publishing.await??;
    consuming.shutdown().await;
    Ok(took)
}

async fn connect(server: &str) -> Result<Context> {
    let client = async_nats::ConnectOptions::new()
        .subscription_capacity(1 << 20)
        .connect(server)
        .await?;
    Ok(ContextBuilder::new()
        .max_ack_inflight(UNDER_WAY)
        .build(client))
}

async fn publish(context: Context, messages: u64) -> Result<()> {
    let payload = Bytes::from(vec![0; PAYLOAD_BYTES]);
    let publishing = stream::iter(0..messages).map(|_| async {
        context
            .publish("raw.tasks.job", payload.clone())
            .await?
            .await?;
        anyhow::Ok(())
    });
    publishing
        .buffer_unordered(UNDER_WAY)
        .try_collect::<()>()
        .await
}

async fn consume(context: Context) -> Result<()> {
    let consumer: async_nats::jetstream::consumer::Consumer<pull::Config> = context
        .get_consumer_from_stream("workers", "raw-tasks")
        .await?;
    let payload = Bytes::from(vec![0; PAYLOAD_BYTES]);
    let messages = consumer
        .stream()
        .max_messages_per_batch(2 * UNDER_WAY)
        .messages()
        .await?;
    let done = messages.map(|message| async {
        let message = message?;
        context
            .publish("raw.results.job", payload.clone())
            .await?
            .await?;
        message
            .ack_with(AckKind::Ack)
            .await
            .map_err(|error| anyhow::anyhow!(error))
    });
    let mut done = done.buffer_unordered(UNDER_WAY);
    while let Some(acknowledged) = done.next().await {
        acknowledged?;
    }
    ensure!(false, "the consumer's messages ended");
    Ok(())
}
