//! A JetStream client: API requests, publishing into streams, reading single messages.
//!
//! An answer is a result or a [`Refusal`] with JetStream's error code, which the caller may handle;
//! [`JetStream::refused`] turns a refusal into an error.

use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{HeaderMap, Message, Request, RequestError, StatusCode};
use base64::Engine as _;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sortie_protocol::Advice;
use tokio::time::Instant;

use super::connection::{Connection, WaitsForRoom};
use crate::traits::Error;

/// JetStream error codes that are handled. From `server/errors.json` of nats-server.
pub(super) mod code {
    pub(crate) const WRONG_LAST_SEQUENCE: u64 = 10071;
    pub(crate) const WRONG_LAST_SEQUENCE_CONSTANT: u64 = 10164;
    pub(crate) const NO_MESSAGE: u64 = 10037;
    pub(crate) const SEQUENCE_NOT_FOUND: u64 = 10043;
    pub(crate) const MESSAGE_DELETE_FAILED: u64 = 10057;
    pub(crate) const STREAM_NOT_FOUND: u64 = 10059;
    pub(crate) const TOO_MANY_REQUESTS: u64 = 10167;
    pub(crate) const DUPLICATE_IN_PROCESS: u64 = 10158;
    pub(crate) const UNAVAILABLE: u64 = 10008;
    pub(crate) const NO_PEERS: u64 = 10005;
    pub(crate) const NOT_ENABLED: u64 = 10076;
    pub(crate) const NOT_ENABLED_FOR_ACCOUNT: u64 = 10039;
    // There is no room: in the stream, on the server, or in what the account may take.
    pub(crate) const STREAM_STORE_FAILED: u64 = 10077;
    pub(crate) const ACCOUNT_RESOURCES_EXCEEDED: u64 = 10002;
    pub(crate) const INSUFFICIENT_RESOURCES: u64 = 10023;
    pub(crate) const MEMORY_EXCEEDED: u64 = 10028;
    pub(crate) const STORAGE_EXCEEDED: u64 = 10047;
}

/// JetStream at a server. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct JetStream {
    pub(super) connection: Connection,
    pub(super) context: Context,
    /// How long what is to be stored waits for room; `None` for as long as it takes.
    room_time_max: Option<Duration>,
}

/// What a JetStream server answers to a publish.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Stored {
    /// The message's sequence in its stream.
    pub(super) seq: u64,
}

/// Why JetStream refused a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u64,
    pub(super) text: String,
}

/// An answer, or a refusal to act on.
pub(super) type Answer<T> = Result<Result<T, Refusal>, Error>;

/// A stored message.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) sequence: u64,
    pub(super) payload: Bytes,
}

/// The subject on which a stream is asked for.
pub(super) fn info_of(stream: &str) -> String {
    format!("$JS.API.STREAM.INFO.{stream}")
}

impl JetStream {
    pub(super) fn new(connection: Connection) -> Self {
        let context = jetstream::context::ContextBuilder::new()
            .timeout(connection.answer_time_max())
            .build(connection.client.clone());
        Self {
            connection,
            context,
            room_time_max: None,
        }
    }

    /// The same for what is given up with [`Error::Full`] if there is no room within `time_max`.
    /// Nothing is logged of that: whoever gives up says so.
    pub(super) fn with_room_within(&self, time_max: Duration) -> Self {
        Self {
            room_time_max: Some(time_max),
            ..self.clone()
        }
    }

    /// Send a request to JetStream's API once. `subject` comes after `$JS.API.`.
    pub(super) async fn api<T: DeserializeOwned>(
        &self,
        subject: &str,
        question: &Value,
    ) -> Answer<T> {
        let payload = if question.is_null() {
            Bytes::new()
        } else {
            Bytes::from(question.to_string())
        };
        let message = self
            .connection
            .ask(&format!("$JS.API.{subject}"), HeaderMap::new(), payload)
            .await?;
        self.parse(&message)
    }

    /// Ask for a stream once, as [`info_of`] says. The inner error is that of the asking: whoever
    /// asks knows best what it means that nobody answers.
    pub(super) async fn about(&self, stream: &str) -> Result<Result<Message, RequestError>, Error> {
        let subject = info_of(stream);
        let request = Request::new().timeout(Some(self.connection.answer_time_max()));
        let asking = self
            .connection
            .client
            .send_request(subject.clone(), request);
        self.connection.guarded(&subject, asking).await
    }

    pub(super) fn parse<T: DeserializeOwned>(&self, message: &Message) -> Answer<T> {
        #[derive(Deserialize)]
        struct Problem {
            #[serde(default)]
            err_code: u64,
            #[serde(default)]
            description: String,
        }
        #[derive(Deserialize)]
        struct Envelope {
            error: Option<Problem>,
        }
        let strange = |error: serde_json::Error| {
            self.connection
                .unreachable(format!("an invalid answer: {error}"))
        };
        let envelope: Envelope = serde_json::from_slice(&message.payload).map_err(strange)?;
        match envelope.error {
            None => serde_json::from_slice(&message.payload)
                .map(Ok)
                .map_err(strange),
            Some(Problem {
                err_code: code::NOT_ENABLED | code::NOT_ENABLED_FOR_ACCOUNT,
                ..
            }) => Err(self.no_jetstream()),
            Some(Problem {
                err_code: code,
                description,
            }) => Ok(Err(Refusal {
                code,
                text: description,
            })),
        }
    }

    /// Publish into a stream once, and wait until it is stored.
    pub(super) async fn store_once(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Answer<Stored> {
        let message = self.connection.ask(subject, headers, payload).await?;
        let answer = self.parse(&message)?;
        match &answer {
            Ok(Stored { .. }) => self.connection.has_room(),
            Err(refusal) if refusal.is_of_full_server() => {
                self.connection.lacks_room(self.refused(refusal));
            }
            Err(_) => {}
        }
        Ok(answer)
    }

    /// Publish into a stream, again and again while the broker is away or full; a refusal of
    /// another kind comes back.
    ///
    /// While it is full this waits as long as it takes, and [`Connection::fullness`] says so; or no
    /// longer than was said ([`Self::with_room_within`]). A caller that has waited too long drops
    /// this call.
    pub(super) async fn store(
        &self,
        subject: &str,
        headers: &HeaderMap,
        payload: &Bytes,
    ) -> Answer<Stored> {
        let subject = subject.to_owned();
        self.store_at(&[subject], headers, payload).await
    }

    /// As [`Self::store`], at the first of these subjects whose stream is not full.
    pub(super) async fn store_at(
        &self,
        subjects: &[String],
        headers: &HeaderMap,
        payload: &Bytes,
    ) -> Answer<Stored> {
        let mut subjects = subjects.iter().cycle();
        let mut subject = subjects.next().map_or("", String::as_str);
        let mut retry = self.connection.retry();
        let mut waits: Option<WaitsForRoom> = None;
        let give_up_at = self.room_time_max.map(|time_max| Instant::now() + time_max);
        loop {
            let error = match self
                .store_once(subject, headers.clone(), payload.clone())
                .await
            {
                Ok(Err(refusal)) if refusal.is_busy() => {
                    retry.forgive();
                    self.refused(&refusal)
                }
                Ok(Err(refusal)) if refusal.is_full() => {
                    retry.forgive();
                    let error = self.refused(&refusal);
                    match give_up_at {
                        Some(at) if Instant::now() >= at => return Err(error),
                        Some(_) => {}
                        None => {
                            waits.get_or_insert_with(|| self.connection.waits_for_room(&error));
                        }
                    }
                    subject = subjects.next().map_or(subject, String::as_str);
                    error
                }
                // A leader election is in progress, or the same message is being stored by an
                // earlier request.
                Ok(Err(refusal)) if refusal.is_transient() => self.refused(&refusal),
                Err(error) if error.is_transient() => error,
                other => return other,
            };
            retry.wait(error).await?;
        }
    }

    /// The last message on a subject, from the stream's leader: never stale.
    pub(super) async fn last(&self, stream: &str, subject: &str) -> Result<Option<Kept>, Error> {
        #[derive(Deserialize)]
        struct Found {
            message: FoundMessage,
        }
        #[derive(Deserialize)]
        struct FoundMessage {
            seq: u64,
            #[serde(default)]
            data: String,
        }
        let question = serde_json::json!({ "last_by_subj": subject });
        match self
            .api::<Found>(&format!("STREAM.MSG.GET.{stream}"), &question)
            .await?
        {
            Ok(Found { message }) => {
                let payload = base64::engine::general_purpose::STANDARD.decode(&message.data);
                let payload = payload.map_err(|error| {
                    self.connection
                        .unreachable(format!("an invalid message: {error}"))
                })?;
                Ok(Some(Kept {
                    sequence: message.seq,
                    payload: payload.into(),
                }))
            }
            Err(refusal) if refusal.code == code::NO_MESSAGE => Ok(None),
            Err(refusal) => Err(self.refused(&refusal)),
        }
    }

    /// The last message on a subject, from any replica: may be stale or missing for a moment after
    /// it was stored.
    pub(super) async fn last_anywhere(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<Bytes>, Error> {
        let message = self
            .connection
            .ask(
                &format!("$JS.API.DIRECT.GET.{stream}.{subject}"),
                HeaderMap::new(),
                Bytes::new(),
            )
            .await?;
        Ok(
            if message
                .status
                .is_some_and(|status| status != StatusCode::OK)
            {
                None
            } else {
                Some(message.payload)
            },
        )
    }

    /// Remove all messages on a subject.
    pub(super) async fn purge(&self, stream: &str, subject: &str) -> Result<(), Error> {
        self.purge_as(stream, &serde_json::json!({ "filter": subject }))
            .await
    }

    /// Remove the messages on a subject that come before this sequence.
    pub(super) async fn purge_before(
        &self,
        stream: &str,
        subject: &str,
        sequence: u64,
    ) -> Result<(), Error> {
        self.purge_as(
            stream,
            &serde_json::json!({ "filter": subject, "seq": sequence }),
        )
        .await
    }

    async fn purge_as(&self, stream: &str, question: &Value) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct Purged {}
        match self
            .api::<Purged>(&format!("STREAM.PURGE.{stream}"), question)
            .await?
        {
            Ok(Purged {}) => Ok(()),
            Err(refusal) if refusal.code == code::STREAM_NOT_FOUND => Ok(()),
            Err(refusal) => Err(self.refused(&refusal)),
        }
    }

    /// The error for a refusal that the caller does not act on.
    pub(super) fn refused(&self, refusal: &Refusal) -> Error {
        if refusal.code == code::STREAM_NOT_FOUND {
            return self
                .connection
                .unprepared("a stream is missing", Advice::InitBroker);
        }
        if refusal.is_full() {
            let what = if refusal.is_of_full_server() {
                "its storage has no room left: "
            } else {
                ""
            };
            return self
                .connection
                .full(format!("{what}{} (code {})", refusal.text, refusal.code));
        }
        // Elections pass; what does not ends with the outage's limit.
        self.connection
            .unreachable(format!("{} (code {})", refusal.text, refusal.code))
    }

    pub(super) fn no_jetstream(&self) -> Error {
        self.connection.unsuitable(
            "JetStream is not enabled there: start the server with `-js`, or enable it for this \
             account",
        )
    }
}

impl Refusal {
    /// Whether the subject was not in the state that the publish expected.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(
            self.code,
            code::WRONG_LAST_SEQUENCE | code::WRONG_LAST_SEQUENCE_CONSTANT
        )
    }

    fn is_transient(&self) -> bool {
        matches!(self.code, code::DUPLICATE_IN_PROCESS | code::UNAVAILABLE)
    }

    /// The server has more to store than it manages at the moment.
    fn is_busy(&self) -> bool {
        self.code == code::TOO_MANY_REQUESTS
    }

    /// Whether there is no room on the server, or in what the account may take, for any stream.
    fn is_of_full_server(&self) -> bool {
        self.is_full() && self.code != code::STREAM_STORE_FAILED
    }

    /// Whether there is no room. A subject that has its one message is refused with the same code,
    /// but only to publishes that do not expect it empty; all of ours do.
    pub(super) fn is_full(&self) -> bool {
        matches!(
            self.code,
            code::STREAM_STORE_FAILED
                | code::ACCOUNT_RESOURCES_EXCEEDED
                | code::INSUFFICIENT_RESOURCES
                | code::MEMORY_EXCEEDED
                | code::STORAGE_EXCEEDED
        )
    }
}
