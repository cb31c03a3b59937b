//! The connection: questions with answers, each with its limit, and errors in our words.
//!
//! Whoever asks here gets an answer, or an error that says whether asking again can help. The
//! connection itself is kept up by the client library, for ever; what was asked while it was down
//! is asked again here, up to [`Config::outage_time_max`].
//!
//! A server tells of a missing permission beside the question, not in answer to it; so violations
//! are kept, and a question that stays unanswered because of one ends with it instead of with a
//! time-out.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, HeaderMap, Message, Request, RequestErrorKind,
    ServerError, StatusCode,
};
use base64::Engine as _;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep, timeout};

use super::config::{Config, Role, place, user_and_password};
use crate::broker::Error;

/// The oldest server that is accepted: batched reads came with 2.11, and 2.12 is the oldest line
/// that the configuration was written for.
pub(super) const SERVER_MIN: (i64, i64, i64) = (2, 12, 0);
/// How often the server is asked whether it is there: two unanswered questions end the connection,
/// and another server is tried.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Messages that wait in this process for each subscription. What exceeds it is dropped and read
/// again from the stream.
const SUBSCRIPTION_MESSAGES: usize = 2048;
/// The wait before something is asked again; doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest wait before something is asked again.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The wait before the second try to connect again; doubled up to [`RECONNECT_MAX`].
const RECONNECT_MIN: Duration = Duration::from_millis(20);
/// The longest wait between two tries to connect again.
const RECONNECT_MAX: Duration = Duration::from_secs(2);
/// What one server gets to be connected to at least, however many there are: the same limit holds
/// whenever the connection is made again, and a server that is far away or busy takes longer than a
/// small share of a few seconds. The first time all of them together still get no more than
/// [`Config::connect_time_max`].
const SERVER_TIME_MIN: Duration = Duration::from_secs(2);
/// Violations that are kept for whoever asks at the moment.
const VIOLATIONS_KEPT: usize = 64;
/// How much later than the answer to a flush the library may tell of a refusal.
const REFUSAL_LAG: Duration = Duration::from_millis(5);
/// What headers and the envelope may add to a message's content.
pub(super) const ENVELOPE_BYTES: usize = 2048;

/// Error codes of JetStream that are acted on. From `server/errors.json` of nats-server.
pub(super) mod code {
    pub(crate) const WRONG_LAST_SEQUENCE: u64 = 10071;
    pub(crate) const WRONG_LAST_SEQUENCE_CONSTANT: u64 = 10164;
    pub(crate) const NO_MESSAGE: u64 = 10037;
    pub(crate) const SEQUENCE_NOT_FOUND: u64 = 10043;
    pub(crate) const MESSAGE_DELETE_FAILED: u64 = 10057;
    pub(crate) const STREAM_NOT_FOUND: u64 = 10059;
    pub(crate) const STREAM_STORE_FAILED: u64 = 10077;
    pub(crate) const TOO_MANY_REQUESTS: u64 = 10167;
    pub(crate) const DUPLICATE_IN_PROCESS: u64 = 10158;
    pub(crate) const UNAVAILABLE: u64 = 10008;
    pub(crate) const NOT_ENABLED: u64 = 10076;
    pub(crate) const NOT_ENABLED_FOR_ACCOUNT: u64 = 10039;
}

/// A connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) context: Context,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    place: String,
    answer_time_max: Duration,
    outage_time_max: Duration,
    violations: broadcast::Sender<String>,
    /// Counts what may have made messages go missing: reconnections, and subscriptions that
    /// overflowed.
    gaps: watch::Receiver<u64>,
}

/// What a JetStream server answers to a publish.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Stored {}

/// Why a question to JetStream got no for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u64,
    pub(super) text: String,
}

/// An answer, or a refusal to act on.
pub(super) type Answer<T> = Result<Result<T, Refusal>, Error>;

/// A message as a stream holds it.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) sequence: u64,
    pub(super) payload: Bytes,
}

impl Link {
    /// Connect and see that the server is one that can be used.
    pub(super) async fn connect(config: &Config) -> Result<Self, Error> {
        let place = place(&config.servers);
        let (violations, _) = broadcast::channel(VIOLATIONS_KEPT);
        let (gap, gaps) = watch::channel(0);
        let options = options(config, &place, violations.clone(), gap).await?;
        let servers: Vec<&str> = config.servers.split(',').map(str::trim).collect();
        let connecting = timeout(config.connect_time_max, options.connect(servers)).await;
        let client = match connecting {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(refused_connection(&place, &error)),
            Err(_) => {
                return Err(Error::Unreachable {
                    place,
                    reason: format!("no connection within {:?}", config.connect_time_max),
                });
            }
        };
        let context = jetstream::context::ContextBuilder::new()
            .timeout(config.answer_time_max)
            .build(client.clone());
        let (answer_time_max, outage_time_max) = (config.answer_time_max, config.outage_time_max);
        let link = Self {
            client,
            context,
            shared: Arc::new(Shared {
                place,
                answer_time_max,
                outage_time_max,
                violations,
                gaps,
            }),
        };
        link.check_server()?;
        Ok(link)
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

    /// Where the broker is, for people.
    pub(super) fn place(&self) -> &str {
        &self.shared.place
    }

    pub(super) fn unsuitable(&self, reason: impl Into<String>) -> Error {
        Error::Unsuitable {
            place: self.shared.place.clone(),
            reason: reason.into(),
        }
    }

    pub(super) fn no_jetstream(&self) -> Error {
        self.unsuitable("JetStream is not enabled there: start the server with `-js`, or enable it for this account")
    }

    pub(super) fn unreachable(&self, reason: impl Into<String>) -> Error {
        Error::Unreachable {
            place: self.shared.place.clone(),
            reason: reason.into(),
        }
    }

    /// Changes whenever messages may have gone missing.
    pub(super) fn gaps(&self) -> watch::Receiver<u64> {
        self.shared.gaps.clone()
    }

    /// What the server did not permit, from now on.
    pub(super) fn violations(&self) -> broadcast::Receiver<String> {
        self.shared.violations.subscribe()
    }

    /// How long an answer may take.
    pub(super) fn answer_time_max(&self) -> Duration {
        self.shared.answer_time_max
    }

    /// The most that a message's content may take.
    pub(super) fn payload_max(&self) -> usize {
        self.client.max_payload().saturating_sub(ENVELOPE_BYTES)
    }

    /// Ask once.
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
        let answer = self
            .guarded(
                subject,
                self.client.send_request(subject.to_owned(), request),
            )
            .await?;
        answer.map_err(|error| self.unanswered(subject, &error))
    }

    pub(super) fn unanswered(&self, subject: &str, error: &async_nats::RequestError) -> Error {
        match error.kind() {
            RequestErrorKind::TimedOut => self.unreachable(format!(
                "no answer on `{subject}` within {:?}",
                self.shared.answer_time_max
            )),
            RequestErrorKind::NoResponders => self.unreachable(format!(
                "nothing listens on `{subject}`: JetStream or a stream is not there"
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

    /// Wait for what asks on `subject` by itself, unless the server says that this is not
    /// permitted. It then names the subject, or, where the account maps it to another, one that
    /// ends with it.
    pub(super) async fn guarded<T>(
        &self,
        subject: &str,
        asking: impl Future<Output = T>,
    ) -> Result<T, Error> {
        let mut violations = self.shared.violations.subscribe();
        tokio::pin!(asking);
        loop {
            tokio::select! {
                answer = &mut asking => return Ok(answer),
                violation = violations.recv() => match violation {
                    Ok(violation) if violation.contains(&format!("{subject}\"")) => return Err(self.denied(&violation)),
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return Err(self.unreachable("the connection was closed")),
                },
            }
        }
    }

    /// Ask JetStream's API once. `subject` comes after `$JS.API.`.
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
            .ask(&format!("$JS.API.{subject}"), HeaderMap::new(), payload)
            .await?;
        self.parse(&message)
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
        let strange =
            |error: serde_json::Error| self.unreachable(format!("an answer that is none: {error}"));
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
        let message = self.ask(subject, headers, payload).await?;
        self.parse(&message)
    }

    /// Publish into a stream, again and again while the broker is away or full; a refusal of
    /// another kind comes back.
    pub(super) async fn store(
        &self,
        subject: &str,
        headers: &HeaderMap,
        payload: &Bytes,
    ) -> Answer<Stored> {
        let mut patience = Patience::new(self.shared.outage_time_max);
        loop {
            let error = match self
                .store_once(subject, headers.clone(), payload.clone())
                .await
            {
                // Full: as long as it takes. Whoever waits too long drops this call.
                Ok(Err(refusal)) if refusal.is_full() => {
                    patience.forgive();
                    self.unreachable(refusal.text)
                }
                // An election is not over, or the same message, asked twice, is not stored yet.
                Ok(Err(refusal)) if refusal.passes() => self.refused(&refusal),
                Err(error) if error.passes() => error,
                other => return other,
            };
            patience.wait(error).await?;
        }
    }

    /// Do something that asks, again and again while the broker is away.
    pub(super) async fn patiently<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut patience = Patience::new(self.shared.outage_time_max);
        loop {
            match ask().await {
                Err(error) if error.passes() => patience.wait(error).await?,
                other => return other,
            }
        }
    }

    /// The last message on a subject, as the stream's leader knows it: never an old one.
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
                    self.unreachable(format!("a message that is none: {error}"))
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

    /// The last message on a subject, as any server knows it: an old one, or none, for a moment
    /// after it was stored.
    pub(super) async fn last_anywhere(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<Bytes>, Error> {
        let message = self
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
        #[derive(Deserialize)]
        struct Purged {}
        match self
            .api::<Purged>(
                &format!("STREAM.PURGE.{stream}"),
                &serde_json::json!({ "filter": subject }),
            )
            .await?
        {
            Ok(Purged {}) => Ok(()),
            Err(refusal) if refusal.code == code::STREAM_NOT_FOUND => Ok(()),
            Err(refusal) => Err(self.refused(&refusal)),
        }
    }

    /// A refusal that nobody can do anything about here.
    pub(super) fn refused(&self, refusal: &Refusal) -> Error {
        if refusal.code == code::STREAM_NOT_FOUND {
            return self.unsuitable("a stream is not there; an operator makes what is missing with `sortie broker init`");
        }
        // Elections and full disks pass; what does not ends with the outage's limit.
        self.unreachable(format!("{} (code {})", refusal.text, refusal.code))
    }

    /// Tell whoever listens, without an answer.
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

    /// Listen, and be sure to hear what is said from now on. Where that is not permitted nothing is
    /// heard, and perhaps nothing said.
    pub(super) async fn hear(&self, subject: String) -> Result<async_nats::Subscriber, Error> {
        let subscriber = self
            .client
            .subscribe(subject)
            .await
            .map_err(|error| self.unreachable(error.to_string()))?;
        self.flush().await?;
        Ok(subscriber)
    }

    /// As [`Self::hear`], and wait to be told if it is not permitted.
    pub(super) async fn listen(&self, subject: String) -> Result<async_nats::Subscriber, Error> {
        let mut violations = self.shared.violations.subscribe();
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
        // The server refuses before it answers the flush, but the library tells of it on another
        // task.
        match timeout(REFUSAL_LAG, refused).await {
            Ok(violation) => Err(self.denied(&violation)),
            Err(_) => Ok(subscriber),
        }
    }

    /// Wait until the server has taken in all that was said.
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

impl Refusal {
    /// Whether a subject was not in the state that a publish asked for.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(
            self.code,
            code::WRONG_LAST_SEQUENCE | code::WRONG_LAST_SEQUENCE_CONSTANT
        )
    }

    fn passes(&self) -> bool {
        matches!(self.code, code::DUPLICATE_IN_PROCESS | code::UNAVAILABLE)
    }

    /// A subject that has its one message is refused with the same code, but only to publishes that
    /// do not expect it empty; all of ours do.
    fn is_full(&self) -> bool {
        matches!(
            self.code,
            code::STREAM_STORE_FAILED | code::TOO_MANY_REQUESTS
        )
    }
}

/// How long somebody goes on asking.
struct Patience {
    time_max: Duration,
    until: Instant,
    pause: Duration,
}

impl Patience {
    fn new(time_max: Duration) -> Self {
        Self {
            time_max,
            until: Instant::now() + time_max,
            pause: PAUSE_MIN,
        }
    }

    /// The broker is there, so this is no outage.
    fn forgive(&mut self) {
        self.until = Instant::now() + self.time_max;
    }

    /// Wait before asking again; `error` when it has been too long.
    async fn wait(&mut self, error: Error) -> Result<(), Error> {
        if Instant::now() + self.pause > self.until {
            return Err(error);
        }
        tracing::debug!(%error, "asking the broker again");
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }
}

async fn options(
    config: &Config,
    place: &str,
    violations: broadcast::Sender<String>,
    gap: watch::Sender<u64>,
) -> Result<ConnectOptions, Error> {
    let inbox = match config.role {
        Role::Client => format!("_INBOX.client.{}", config.tenant),
        Role::Worker => "_INBOX.worker".into(),
    };
    let mut options = ConnectOptions::new()
        .name(format!("sortie {}", env!("CARGO_PKG_VERSION")))
        .custom_inbox_prefix(inbox)
        .ping_interval(PING_INTERVAL)
        .connection_timeout(server_time_max(config))
        .request_timeout(Some(config.answer_time_max))
        .subscription_capacity(SUBSCRIPTION_MESSAGES)
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| {
            let doublings = u32::try_from(attempts).unwrap_or(u32::MAX).min(16);
            (RECONNECT_MIN * (1 << doublings)).min(RECONNECT_MAX)
        })
        .event_callback({
            let place = place.to_owned();
            move |event| {
                on_event(&place, event, &violations, &gap);
                std::future::ready(())
            }
        });
    let unusable = |what: &str, error: std::io::Error| Error::Denied {
        place: place.to_owned(),
        reason: format!("{what}: {error}"),
    };
    // The library takes none from the URL.
    match user_and_password(&config.servers) {
        Some((user, Some(password))) => options = options.user_and_password(user, password),
        Some((token, None)) => options = options.token(token),
        None => {}
    }
    if let Some(path) = &config.credentials {
        let text = tokio::fs::read_to_string(path)
            .await
            .map_err(|error| unusable(&format!("the credentials `{}`", path.display()), error))?;
        options = options
            .credentials(&text)
            .map_err(|error| unusable(&format!("the credentials `{}`", path.display()), error))?;
    }
    if config.tls.required {
        options = options.require_tls(true);
    }
    if let Some(path) = &config.tls.authorities {
        options = options.add_root_certificates(path.clone());
    }
    if let Some((certificate, key)) = &config.tls.identity {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(options)
}

/// How long one server may take to be connected to, each time. They are tried one after the other:
/// one that says nothing must not use up the time of those behind it. Of a name with several
/// addresses each may take that long.
fn server_time_max(config: &Config) -> Duration {
    let servers = u32::try_from(config.servers.split(',').count())
        .unwrap_or(u32::MAX)
        .max(1);
    (config.connect_time_max / servers).max(SERVER_TIME_MIN)
}

fn on_event(
    place: &str,
    event: Event,
    violations: &broadcast::Sender<String>,
    gap: &watch::Sender<u64>,
) {
    match event {
        Event::Connected => {
            tracing::info!(broker = place, "connected");
            gap.send_modify(|gaps| *gaps += 1);
        }
        Event::Disconnected => {
            tracing::warn!(broker = place, "the connection was lost; connecting again")
        }
        Event::SlowConsumer(_) => {
            tracing::debug!(
                broker = place,
                "messages were dropped here; reading them again"
            );
            gap.send_modify(|gaps| *gaps += 1);
        }
        Event::ServerError(ServerError::Other(text)) => {
            tracing::debug!(broker = place, error = %text.escape_debug(), "the server objects");
            // Nobody asking at the moment is fine.
            let _ = violations.send(text);
        }
        other @ (Event::ServerError(_)
        | Event::ClientError(_)
        | Event::LameDuckMode
        | Event::Draining
        | Event::Closed) => {
            tracing::info!(broker = place, event = %other, "the connection");
        }
    }
}

fn refused_connection(place: &str, error: &async_nats::ConnectError) -> Error {
    let place = place.to_owned();
    // The library's own words for a kind are short; its source says what happened.
    let source = std::error::Error::source(error)
        .map(|source| format!(": {source}"))
        .unwrap_or_default();
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            Error::Denied {
                place,
                reason: "user, password or credentials are wrong or missing".into(),
            }
        }
        ConnectErrorKind::ServerParse => Error::Unsuitable {
            place,
            reason: format!("the address is not one, as in nats://host:4222{source}"),
        },
        // What TLS finds where a server greets in plain text.
        ConnectErrorKind::Tls | ConnectErrorKind::Io if source.contains("InvalidContentType") => {
            Error::Unsuitable {
                place,
                reason: "it does not speak TLS, and the URL or the configuration requires that"
                    .into(),
            }
        }
        ConnectErrorKind::Tls => Error::Unreachable {
            place,
            reason: format!("TLS failed{source}"),
        },
        ConnectErrorKind::TimedOut => Error::Unreachable {
            place,
            reason: "the connection timed out".into(),
        },
        ConnectErrorKind::Dns | ConnectErrorKind::Io | ConnectErrorKind::MaxReconnects => {
            Error::Unreachable {
                place,
                reason: format!("{}{source}", error.kind()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_share_the_time_to_connect_and_none_gets_too_little() {
        let share = |servers: usize, seconds| {
            let config = Config {
                connect_time_max: Duration::from_secs(seconds),
                ..Config::new(vec!["nats://there"; servers].join(","), Role::Client)
            };
            server_time_max(&config).as_millis()
        };
        assert_eq!(
            [
                share(1, 5),
                share(2, 5),
                share(3, 5),
                share(10, 5),
                share(1, 1),
                share(3, 30)
            ],
            [5000, 2500, 2000, 2000, 2000, 10_000]
        );
    }
}
