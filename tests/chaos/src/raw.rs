//! A connection past the broker: raw requests and messages.

use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::{Client, ConnectOptions, HeaderMap};
use bytes::Bytes;
use serde_json::Value;
use tokio::time::timeout;

use crate::accounts::User;

/// How long one answer is waited for.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// Error codes of JetStream for "no room": in the account, on the server, in the stream.
const FULL: [u64; 5] = [10002, 10023, 10028, 10047, 10077];

/// A connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Raw(Client);

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was done.
    Done,
    /// There is no room.
    Full,
    /// Another refusal, with its code.
    Refused(u64),
    /// No answer came in time, or nobody listens.
    Nothing,
}

impl Raw {
    /// Connect, again and again until a server answers.
    pub(crate) async fn connect(servers: &str, user: User) -> Result<Self> {
        let urls: Vec<&str> = servers.split(',').collect();
        let options = ConnectOptions::with_user_and_password(user.name().into(), user.password())
            .custom_inbox_prefix(user.inbox())
            .request_timeout(Some(ANSWER_TIME_MAX))
            .retry_on_initial_connect();
        let client = options.connect(urls).await;
        client
            .map(Self)
            .context("failed to connect past the broker")
    }

    /// Ask, and read JetStream's answer.
    pub(crate) async fn ask(&self, subject: &str, payload: impl Into<Bytes>) -> Answer {
        let asked = self.0.request(subject.to_owned(), payload.into());
        let Ok(Ok(answer)) = timeout(ANSWER_TIME_MAX, asked).await else {
            return Answer::Nothing;
        };
        let Ok(answer) = serde_json::from_slice::<Value>(&answer.payload) else {
            return Answer::Nothing;
        };
        match answer.pointer("/error/err_code").and_then(Value::as_u64) {
            None => Answer::Done,
            Some(code) if FULL.contains(&code) => Answer::Full,
            Some(code) => Answer::Refused(code),
        }
    }

    /// Send without waiting for an answer. What cannot be sent is not.
    pub(crate) async fn tell(&self, subject: String, payload: impl Into<Bytes>) {
        // Whether it arrives is for the servers to decide.
        let _ = self.0.publish(subject, payload.into()).await;
    }

    /// The same, with a header.
    pub(crate) async fn tell_with(
        &self,
        subject: String,
        (name, value): (&str, &str),
        payload: impl Into<Bytes>,
    ) {
        let mut headers = HeaderMap::new();
        headers.insert(name, value);
        // As above.
        let _ = self
            .0
            .publish_with_headers(subject, headers, payload.into())
            .await;
    }
}
