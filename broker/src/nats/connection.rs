//! The connection to a NATS server: requests with a time limit, subscriptions, and errors of this
//! crate.
//!
//! A request ends with its answer or with an error that tells whether a retry can help. The client
//! library reconnects for ever; [`Connection::patiently`] retries requests while the connection is
//! down, up to [`Config::outage_time_max`].
//!
//! A server reports a missing permission asynchronously, not as the answer to the request. So
//! permission violations are buffered, and an unanswered request that one of them explains fails
//! with it instead of with a timeout.

use sortie_protocol::Advice;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Request, RequestErrorKind};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};
use tokio::time::timeout;

use super::clock;
use super::config::{Config, place};
use super::connect::{self, Signals};
use super::retry::Retry;
use crate::metrics::Metrics;
use crate::traits::Error;

/// The oldest server that is accepted: batched reads came with 2.11, and 2.12 is the oldest line
/// that the configuration was written for.
pub(super) const SERVER_MIN: (i64, i64, i64) = (2, 12, 0);
/// How long after the answer to a flush the library may report a permission violation.
const REFUSAL_LAG: Duration = Duration::from_millis(5);
/// Bytes reserved for headers and the envelope of a message.
pub(super) const ENVELOPE_BYTES: usize = 2048;

/// A connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    place: String,
    answer_time_max: Duration,
    outage_time_max: Duration,
    signals: Signals,
    metrics: Arc<Metrics>,
    /// Whether there is room at the broker, as far as this process was told.
    room: Mutex<Room>,
}

#[derive(Debug, Default)]
struct Room {
    /// How much waits for room at the moment.
    waiting: usize,
    /// What the broker said to the last that waits.
    reason: String,
    /// What the broker said to what this process asked it to store last, if no stream has room.
    lacking: Option<Error>,
}

/// Something that this process could not store for want of room, and tries again. While it is
/// there, [`Connection::fullness`] tells of it.
#[derive(Debug)]
pub(super) struct WaitsForRoom(Connection);

impl Drop for WaitsForRoom {
    fn drop(&mut self) {
        let mut room = self.0.shared.room.lock();
        room.waiting = room.waiting.saturating_sub(1);
        if room.waiting == 0 {
            tracing::info!(broker = self.0.place(), "the broker has room again");
        }
    }
}

impl Connection {
    /// Connect and check that the server can be used.
    pub(super) async fn connect(config: &Config) -> Result<Self, Error> {
        let place = place(&config.servers);
        let metrics = Arc::new(Metrics::default());
        let (client, signals) = connect::open(config, &place, &metrics).await?;
        let connection = Self {
            client,
            shared: Arc::new(Shared {
                place,
                answer_time_max: config.answer_time_max,
                outage_time_max: config.outage_time_max,
                signals,
                metrics,
                room: Mutex::default(),
            }),
        };
        connection.check_server()?;
        Ok(connection)
    }

    fn check_server(&self) -> Result<(), Error> {
        let info = self.client.server_info();
        let (major, minor, patch) = SERVER_MIN;
        if !self.client.is_server_compatible(major, minor, patch) {
            let found = info.version.chars().take(32).collect::<String>();
            let reason = format!(
                "it is nats-server {}; version {major}.{minor} or later is needed",
                found.escape_debug()
            );
            return Err(self.unsuitable(reason));
        }
        Ok(())
    }

    /// The broker's address for display.
    pub(super) fn place(&self) -> &str {
        &self.shared.place
    }

    pub(super) fn unsuitable(&self, reason: impl Into<String>) -> Error {
        Error::Unsuitable {
            place: self.shared.place.clone(),
            reason: reason.into(),
            advice: None,
        }
    }

    /// Like [`Self::unsuitable`], with advice for the operator.
    pub(super) fn unprepared(&self, reason: impl Into<String>, advice: Advice) -> Error {
        Error::Unsuitable {
            place: self.shared.place.clone(),
            reason: reason.into(),
            advice: Some(advice),
        }
    }

    pub(super) fn unreachable(&self, reason: impl Into<String>) -> Error {
        Error::Unreachable {
            place: self.shared.place.clone(),
            reason: reason.into(),
        }
    }

    /// What this connection is used for, counted.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// There is no room at the broker.
    pub(super) fn full(&self, reason: impl Into<String>) -> Error {
        Error::Full {
            place: self.shared.place.clone(),
            reason: reason.into(),
        }
    }

    /// Note that something waits for room, until the value is dropped. Warns once an episode.
    pub(super) fn waits_for_room(&self, error: &Error) -> WaitsForRoom {
        let mut room = self.shared.room.lock();
        if room.waiting == 0 {
            tracing::warn!(%error, "waiting for room at the broker");
        }
        room.waiting += 1;
        room.reason = error.to_string();
        WaitsForRoom(self.clone())
    }

    /// Note that the broker has room for nothing, as it said last.
    pub(super) fn lacks_room(&self, error: Error) {
        self.shared.room.lock().lacking = Some(error);
    }

    /// Note that the broker has stored something.
    pub(super) fn has_room(&self) {
        self.shared.room.lock().lacking = None;
    }

    /// Why the broker has room for nothing, if it said so to what this process asked it to store
    /// last.
    pub(super) fn lacking(&self) -> Option<Error> {
        self.shared.room.lock().lacking.clone()
    }

    /// Why something waits for room or could not be stored for want of it, if anything does.
    pub(super) fn fullness(&self) -> Option<String> {
        let room = self.shared.room.lock();
        if room.waiting > 0 {
            return Some(room.reason.clone());
        }
        room.lacking.as_ref().map(Error::to_string)
    }

    /// Changes whenever messages may have gone missing.
    pub(super) fn gaps(&self) -> watch::Receiver<u64> {
        self.shared.signals.gaps.clone()
    }

    /// Subscribe to permission violations.
    pub(super) fn violations(&self) -> broadcast::Receiver<String> {
        self.shared.signals.violations.subscribe()
    }

    /// How long an answer may take.
    pub(super) fn answer_time_max(&self) -> Duration {
        self.shared.answer_time_max
    }

    /// A retry budget of [`Config::outage_time_max`].
    pub(super) fn retry(&self) -> Retry {
        Retry::new(self.shared.outage_time_max, self.shared.metrics.clone())
    }

    /// Maximum size of a message's content.
    pub(super) fn payload_max(&self) -> usize {
        self.client.max_payload().saturating_sub(ENVELOPE_BYTES)
    }

    /// Send a request once.
    pub(super) async fn ask(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Message, Error> {
        let mut request = Request::new()
            .payload(payload)
            .timeout(Some(self.shared.answer_time_max));
        if !headers.is_empty() {
            request = request.headers(headers);
        }
        let asked = clock::instant();
        let answer = self
            .guarded(
                subject,
                self.client.send_request(subject.to_owned(), request),
            )
            .await?;
        match answer {
            Ok(answer) => {
                self.metrics().answer.observe(asked.elapsed());
                Ok(answer)
            }
            Err(error) => {
                self.metrics().unanswered.add(1);
                Err(self.unanswered(subject, &error))
            }
        }
    }

    pub(super) fn unanswered(&self, subject: &str, error: &async_nats::RequestError) -> Error {
        match error.kind() {
            RequestErrorKind::TimedOut => self.unreachable(format!(
                "no answer on `{subject}` within {:?}",
                self.shared.answer_time_max
            )),
            RequestErrorKind::NoResponders => self.unreachable(format!(
                "nothing listens on `{subject}`: JetStream or a stream is missing"
            )),
            RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::InvalidSubject => {
                self.unsuitable(format!("`{subject}`: {error}"))
            }
            RequestErrorKind::Other => self.unreachable(error.to_string()),
        }
    }

    pub(super) fn denied(&self, violation: &str) -> Error {
        let violation = violation.escape_debug().to_string().replace("\\\"", "`");
        let reason = format!("{violation}; ask the operator for this permission");
        Error::Denied {
            place: self.shared.place.clone(),
            reason,
        }
    }

    /// Wait for an operation that publishes on `subject`, but fail if the server reports a
    /// permission violation for it. The violation names the subject or, if the account maps it to
    /// another one, a subject that ends with it.
    pub(super) async fn guarded<T>(
        &self,
        subject: &str,
        asking: impl Future<Output = T>,
    ) -> Result<T, Error> {
        let mut violations = self.shared.signals.violations.subscribe();
        tokio::pin!(asking);
        loop {
            tokio::select! {
                answer = &mut asking => return Ok(answer),
                violation = violations.recv() => match violation {
                    Ok(violation) if violation.contains(&format!("{subject}\"")) => {
                        return Err(self.denied(&violation));
                    }
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => {
                        return Err(self.unreachable("the connection was closed"));
                    }
                },
            }
        }
    }

    /// Retry an operation while the broker is unreachable.
    pub(super) async fn patiently<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut retry = self.retry();
        loop {
            match ask().await {
                Err(error) if error.is_transient() => retry.wait(error).await?,
                other => return other,
            }
        }
    }

    /// Publish a message without waiting for an answer.
    pub(super) async fn tell(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<(), Error> {
        let told = if headers.is_empty() {
            self.client.publish(subject, payload).await
        } else {
            self.client
                .publish_with_headers(subject, headers, payload)
                .await
        };
        told.map_err(|error| self.unreachable(error.to_string()))
    }

    /// Subscribe, and wait until the subscription is active. Without permission no messages arrive,
    /// and there may be no error.
    pub(super) async fn hear(&self, subject: String) -> Result<async_nats::Subscriber, Error> {
        let subscriber = self
            .client
            .subscribe(subject)
            .await
            .map_err(|error| self.unreachable(error.to_string()))?;
        self.flush().await?;
        Ok(subscriber)
    }

    /// Like [`Self::hear`], and wait for a permission violation.
    pub(super) async fn listen(&self, subject: String) -> Result<async_nats::Subscriber, Error> {
        let mut violations = self.shared.signals.violations.subscribe();
        let subscriber = self.hear(subject.clone()).await?;
        let refused = async {
            loop {
                match violations.recv().await {
                    Ok(violation) if violation.contains(&format!("\"{subject}\"")) => {
                        return violation;
                    }
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        // The server refuses before it answers the flush, but the library reports it from another
        // task.
        match timeout(REFUSAL_LAG, refused).await {
            Ok(violation) => Err(self.denied(&violation)),
            Err(_) => Ok(subscriber),
        }
    }

    /// Wait until the server has processed everything that was sent.
    pub(super) async fn flush(&self) -> Result<(), Error> {
        match timeout(self.shared.answer_time_max, self.round_trip()).await {
            Ok(flushed) => flushed,
            Err(_) => Err(self.unreachable(format!(
                "no answer to a ping within {:?}",
                self.shared.answer_time_max
            ))),
        }
    }

    async fn round_trip(&self) -> Result<(), Error> {
        self.client
            .flush()
            .await
            .map_err(|error| self.unreachable(error.to_string()))
    }
}
