//! Performs one request for a run of blocks, completing each block as its bytes arrive. Blocks
//! found on disk are not requested.
//!
//! `object_store` retries a request that was refused or interrupted, within the two bounds of its
//! configuration, and ensures that the remainder is of the same version. This module adds two
//! things: it gives up on a body that stalls, and on one that no reader waits for.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use object_store::{GetResult, GetResultPayload};
use sortie_protocol::outcome::InputFault;
use tokio::time::timeout;

use super::block::Run;
use super::held::Held;
use super::pending::{Pending, Stretch};
use super::version::Version;
use crate::Error;

/// Timeout for the next part of a body, retries included: longer than any pause of a working store,
/// shorter than a user's patience. After it, the task's retry policy applies.
pub const STALL_TIME_MAX: Duration = Duration::from_secs(90);

/// Fetch a run of blocks and publish each as it is complete.
pub(crate) async fn run(held: Arc<Held>, version: Arc<Version>, run: Run) {
    let mut pending = Pending::new(held, version.clone(), run);
    if let Err(error) = bring(&version, &mut pending).await {
        pending.fail(&error);
    }
}

async fn bring(version: &Version, pending: &mut Pending) -> Result<(), Error> {
    for stretch in pending.look_up().await {
        match stretch {
            Stretch::Kept(bytes) => pending.settle_kept(bytes),
            Stretch::Missing(count) => {
                if request(version, pending, count).await? == Wanted::No {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Whether a reader waits for the remaining blocks.
#[derive(PartialEq, Eq)]
enum Wanted {
    Yes,
    No,
}

/// Request the next `count` blocks.
async fn request(version: &Version, pending: &mut Pending, count: usize) -> Result<Wanted, Error> {
    let answer = version.get(pending.ask(count)).await?;
    match answer.payload {
        GetResultPayload::File(..) => file(version, answer, pending, count).await,
        GetResultPayload::Stream(_) => stream(version, answer, pending, count).await,
    }
}

/// A local file is read at once, by one read.
async fn file(
    version: &Version,
    answer: GetResult,
    pending: &mut Pending,
    count: usize,
) -> Result<Wanted, Error> {
    let mut bytes = answer
        .bytes()
        .await
        .map_err(|error| Error::from_store(version.shown(), &error))?;
    for _ in 0..count {
        let length = pending.next_bytes();
        if bytes.len() < length {
            return Err(cut_short(version));
        }
        pending.settle(bytes.split_to(length));
    }
    Ok(Wanted::Yes)
}

async fn stream(
    version: &Version,
    answer: GetResult,
    pending: &mut Pending,
    count: usize,
) -> Result<Wanted, Error> {
    let mut body = answer.into_stream();
    let mut rest = Bytes::new();
    for _ in 0..count {
        let length = pending.next_bytes();
        let mut block = BytesMut::with_capacity(length);
        while block.len() < length {
            if rest.is_empty() {
                if !pending.is_wanted() {
                    return Ok(Wanted::No);
                }
                rest = next(version, &mut body).await?;
            }
            block.extend_from_slice(&rest.split_to(rest.len().min(length - block.len())));
        }
        pending.settle(block.freeze());
    }
    Ok(Wanted::Yes)
}

async fn next(
    version: &Version,
    body: &mut (impl futures::Stream<Item = object_store::Result<Bytes>> + Unpin),
) -> Result<Bytes, Error> {
    match timeout(STALL_TIME_MAX, body.next()).await {
        Ok(Some(Ok(part))) => Ok(part),
        Ok(Some(Err(error))) => Err(Error::from_store(version.shown(), &error)),
        Ok(None) => Err(cut_short(version)),
        Err(_) => {
            let message = format!(
                "failed to read `{}`: nothing came for {} s",
                version.shown(),
                STALL_TIME_MAX.as_secs()
            );
            Err(Error::new(InputFault::Unavailable, message))
        }
    }
}

fn cut_short(version: &Version) -> Error {
    Error::new(
        InputFault::Unavailable,
        format!(
            "failed to read `{}`: the answer ended too early",
            version.shown()
        ),
    )
}
