//! A client without the embedded host reads a result that no message holds, from a fleet: a real
//! broker, a worker in a process of its own, and a store that speaks S3.

use std::path::PathBuf;
use std::process::Command;

use sortie::nats::{Config, Role};
use sortie::protocol::Digest;
use sortie::protocol::job::Memo;
use sortie::{ByteSize, Client, Function, FunctionOptions, JobId, Limits, value};
use sortie_harness::{NatsServer, S3Server, Sortie};

use crate::{function, in_time};

/// A result as large as a table or an image may be: far more than a message holds.
const RESULT_BYTES: usize = 100_000_000;

#[test]
fn a_client_without_a_host_reads_a_stored_result() {
    // The worker's handle must not be dropped inside a runtime, so only the waits are in one.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("results")).unwrap();
    let s3 = S3Server::start(folder.path());
    let nats = runtime.block_on(NatsServer::start());
    let worker = Sortie::new(["worker", "--broker", &nats.url(), "--store", "s3://results"]);
    let _worker = s3.for_command(worker).start();
    let job = runtime.block_on(submit(&nats, folder.path().join("cache")));

    let (key, secret) = S3Server::KEYS;
    let mut command = Command::new(sortie_harness::slim());
    command.args([&nats.url(), &job.to_string(), &s3.endpoint(), key, secret]);
    let ran = runtime
        .block_on(in_time(runtime.spawn_blocking(move || command.output())))
        .unwrap()
        .unwrap();
    let digest = Digest::of(&vec![0x5a; RESULT_BYTES]).to_hex();
    assert_eq!(
        String::from_utf8_lossy(&ran.stdout),
        format!("{RESULT_BYTES} {digest}\n"),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let stored = std::fs::read_dir(folder.path().join("results/objects/default")).unwrap();
    assert_eq!(stored.count(), 1, "the result did not travel in a message");
}

/// Submits the one task whose result is read.
async fn submit(nats: &NatsServer, cache: PathBuf) -> JobId {
    let submitter = Client::builder()
        .cache(cache)
        .connect(Config::new(nats.url(), Role::Client))
        .await
        .unwrap();
    let limits = Limits {
        memory: ByteSize::mib(1024),
        result: ByteSize::mib(128),
        ..Limits::default()
    };
    let returns: Function<()> = function(&submitter, "returns_bytes").await;
    let returns = returns.with_options(FunctionOptions {
        limits,
        memo: Memo::Off,
        ..FunctionOptions::default()
    });
    let inputs = [value(RESULT_BYTES)];
    in_time(submitter.submit_all(&returns, inputs))
        .await
        .unwrap()
        .job
}
