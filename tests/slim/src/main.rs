//! Reads a result of a job with a client that has no embedded host, and prints its size and digest.
//!
//! `sortie-slim BROKER JOB ENDPOINT KEY SECRET`: the broker, the job, and the store that speaks S3
//! with its keys. The end-to-end tests compare what it prints; its build proves that the client
//! needs no WebAssembly engine.

use std::error::Error;

use serde_bytes::ByteBuf;
use sortie::objects::{Config, S3, S3Credentials};
use sortie::protocol::Digest;
use sortie::{Client, nats};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [broker, job, endpoint, key, secret] = arguments.as_slice() else {
        return Err("call it with BROKER JOB ENDPOINT KEY SECRET".into());
    };
    let s3 = S3 {
        endpoint: Some(endpoint.clone()),
        credentials: S3Credentials::Keys {
            id: key.as_str().into(),
            secret: secret.as_str().into(),
            token: None,
        },
        ..S3::default()
    };
    let objects = Config {
        s3,
        ..Config::default()
    };
    let client = Client::builder()
        .objects(objects)
        .connect(nats::Config::new(broker.as_str(), nats::Role::Client))
        .await?;
    let mut outcomes = client.attach::<ByteBuf>(job.parse()?).await?;
    while let Some(outcome) = outcomes.next().await {
        let bytes = outcome.result?;
        println!("{} {}", bytes.len(), Digest::of(&bytes).to_hex());
    }
    Ok(())
}
