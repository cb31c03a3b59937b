//! Reads many messages of a stream with one request and without a consumer: batched direct reads.
//!
//! Follows ADR-31 of nats-architecture-and-design, "Batched requests". There is no flow control:
//! the server sends the whole batch at once, so a batch is bounded in messages and bytes to what a
//! subscription here can hold. Any copy of the stream may answer, so what was stored a moment ago
//! may be missing; a caller that needs all of it compares with what
//! [`JetStream::last`](super::jetstream::JetStream::last) says.

use async_nats::{HeaderMap, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::json;
use tokio::time::timeout;

use super::connection::Connection;
use super::headers::number;
use crate::traits::Error;

/// Messages in one batch: below what a subscription holds.
const BATCH_MESSAGES: usize = 500;
/// Bytes in one batch.
const BATCH_BYTES: usize = 8 << 20;

/// A message of a batch.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) sequence: u64,
    pub(super) headers: Option<HeaderMap>,
    pub(super) payload: Bytes,
}

impl Read {
    /// The subject that it was published to.
    pub(super) fn subject(&self) -> Option<&str> {
        Some(self.headers.as_ref()?.get("Nats-Subject")?.as_str())
    }
}

/// A batch, and whether there was more.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) messages: Vec<Read>,
    pub(super) end: End,
}

/// Whether a batch was the last for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Reached,
    Further,
}

/// The messages on subjects like `filter` from `sequence` on.
pub(super) async fn read(
    connection: &Connection,
    stream: &str,
    filter: &str,
    sequence: u64,
) -> Result<Batch, Error> {
    read_some(connection, stream, filter, sequence, BATCH_MESSAGES).await
}

/// The first message on subjects like `filter` from `sequence` on.
pub(super) async fn read_first(
    connection: &Connection,
    stream: &str,
    filter: &str,
    sequence: u64,
) -> Result<Option<Read>, Error> {
    let batch = read_some(connection, stream, filter, sequence, 1).await?;
    Ok(batch.messages.into_iter().next())
}

async fn read_some(
    connection: &Connection,
    stream: &str,
    filter: &str,
    sequence: u64,
    messages: usize,
) -> Result<Batch, Error> {
    let question = json!({
        "seq": sequence.max(1),
        "next_by_subj": filter,
        "batch": messages,
        "max_bytes": BATCH_BYTES,
    });
    let inbox = connection.client.new_inbox();
    let subscriber = connection
        .client
        .subscribe(inbox.clone())
        .await
        .map_err(|error| connection.unreachable(error.to_string()))?;
    let subject = format!("$JS.API.DIRECT.GET.{stream}");
    let reading = async {
        let asked = connection
            .client
            .publish_with_reply(subject.clone(), inbox, question.to_string().into())
            .await;
        asked.map_err(|error| connection.unreachable(error.to_string()))?;
        collect(connection, &subject, subscriber).await
    };
    connection.guarded(&subject, reading).await?
}

/// All messages on subjects like `filter`: for streams that hold few.
pub(super) async fn read_all(
    connection: &Connection,
    stream: &str,
    filter: &str,
) -> Result<Vec<Read>, Error> {
    let mut all: Vec<Read> = Vec::new();
    loop {
        let from = all.last().map_or(1, |read| read.sequence + 1);
        let batch = read(connection, stream, filter, from).await?;
        let got = batch.messages.len();
        all.extend(batch.messages);
        if batch.end == End::Reached || got == 0 {
            return Ok(all);
        }
    }
}

async fn collect(
    connection: &Connection,
    subject: &str,
    mut subscriber: Subscriber,
) -> Result<Batch, Error> {
    let mut messages = Vec::new();
    loop {
        let Ok(next) = timeout(connection.answer_time_max(), subscriber.next()).await else {
            return Err(connection.unreachable(format!("a read on `{subject}` did not end")));
        };
        let Some(message) = next else {
            return Err(connection.unreachable("the connection was closed"));
        };
        match message.status.map(|status| status.as_u16()) {
            Some(404) => {
                return Ok(Batch {
                    messages,
                    end: End::Reached,
                });
            }
            Some(204) => {
                let pending = message
                    .headers
                    .as_ref()
                    .and_then(|headers| number(headers, "Nats-Num-Pending"));
                return Ok(Batch {
                    messages,
                    end: if pending == Some(0) {
                        End::Reached
                    } else {
                        End::Further
                    },
                });
            }
            Some(503) => {
                return Err(connection.unreachable(format!(
                    "nothing listens on `{subject}`: a stream is missing or has no leader"
                )));
            }
            Some(status) => {
                let said = message.description.unwrap_or_default();
                return Err(connection.unreachable(format!(
                    "a read on `{subject}` was refused: {status} {}",
                    said.escape_debug()
                )));
            }
            None => {
                let sequence = message
                    .headers
                    .as_ref()
                    .and_then(|headers| number(headers, "Nats-Sequence"));
                let Some(sequence) = sequence else {
                    return Err(
                        connection.unreachable("a read returned a message without its sequence")
                    );
                };
                messages.push(Read {
                    sequence,
                    headers: message.headers,
                    payload: message.payload,
                });
            }
        }
    }
}
