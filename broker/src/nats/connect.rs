//! Opens the connection to a NATS server: options, credentials, TLS, reconnecting, and the client
//! library's events.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerError};
use tokio::sync::{broadcast, watch};
use tokio::time::{sleep, timeout};

use super::check::{self, Checked, Credentials};
use super::config::{Config, Role, user_and_password};
use crate::metrics::Metrics;
use crate::traits::Error;

/// Interval of pings: after two unanswered pings the connection is closed, and another server is
/// tried.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Buffered messages per subscription. Messages beyond it are dropped and read again from the
/// stream.
const SUBSCRIPTION_MESSAGES: usize = 2048;
/// The delay before the second reconnect attempt; doubled up to [`RECONNECT_MAX`].
const RECONNECT_MIN: Duration = Duration::from_millis(20);
/// Maximum delay between reconnect attempts.
const RECONNECT_MAX: Duration = Duration::from_secs(2);
/// The delay before retrying a server that accepted the first connection and then closed it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Minimum time for connecting to one server, however many there are. The same limit holds for
/// reconnecting, and a distant or busy server takes longer than a small share of a few seconds. The
/// first connect still takes no more than [`Config::connect_time_max`] for all servers together.
const SERVER_TIME_MIN: Duration = Duration::from_secs(2);
/// How many permission violations are buffered for pending requests.
const VIOLATIONS_KEPT: usize = 64;

/// Notifications from the connection's task.
#[derive(Debug)]
pub(super) struct Signals {
    /// Permission violations, as text from the server.
    pub(super) violations: broadcast::Sender<String>,
    /// Counts events that may have lost messages: reconnects, and overflowed subscriptions.
    pub(super) gaps: watch::Receiver<u64>,
}

/// Connect to the first server that answers within its share of the time.
pub(super) async fn open(
    config: &Config,
    place: &str,
    metrics: &Arc<Metrics>,
) -> Result<(Client, Signals), Error> {
    let (violations, _) = broadcast::channel(VIOLATIONS_KEPT);
    let (gap, gaps) = watch::channel(0);
    let told = Told {
        place: place.to_owned(),
        violations: violations.clone(),
        gap,
        metrics: metrics.clone(),
    };
    // A file that is a pipe may take any time.
    let connecting = async {
        let checked = check::check(config).await?;
        first(config, checked, &told).await
    };
    match timeout(config.connect_time_max, connecting).await {
        Ok(Ok(client)) => Ok((client, Signals { violations, gaps })),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Error::Unreachable {
            place: place.to_owned(),
            reason: format!("no connection within {:?}", config.connect_time_max),
        }),
    }
}

/// Make the first connection. A server that accepts the connection and closes it before its
/// greeting is starting or stopping: it is retried for as long as the caller waits. A refused
/// connection means that there is no server, which is reported at once.
async fn first(config: &Config, checked: Checked, told: &Told) -> Result<Client, Error> {
    loop {
        let options = options(config, &checked, told)?;
        match options.connect(checked.servers.clone()).await {
            Err(error) if is_cut_off(&error) => {
                tracing::debug!(broker = told.place, %error, "reconnecting");
                sleep(FIRST_PAUSE).await;
            }
            Err(error) => return Err(refused_connection(&told.place, &error)),
            Ok(client) => return Ok(client),
        }
    }
}

/// Whether a server accepted the connection and closed it before its greeting was complete.
fn is_cut_off(error: &ConnectError) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let Some(source) = std::error::Error::source(error) else {
        return false;
    };
    match source.downcast_ref::<io::Error>() {
        Some(error) => matches!(
            error.kind(),
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
        ),
        // The library's own words for a connection that ended.
        None => source.to_string() == "expected INFO, got nothing",
    }
}

/// Receives the notifications of the connection's task.
#[derive(Debug, Clone)]
struct Told {
    place: String,
    violations: broadcast::Sender<String>,
    gap: watch::Sender<u64>,
    metrics: Arc<Metrics>,
}

fn options(config: &Config, checked: &Checked, told: &Told) -> Result<ConnectOptions, Error> {
    let inbox = match config.role {
        Role::Client | Role::Observer => format!("_INBOX.client.{}", config.tenant),
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
            let told = told.clone();
            move |event| {
                on_event(event, &told);
                std::future::ready(())
            }
        });
    // The library takes none from the URL.
    match user_and_password(&config.servers) {
        Some((user, Some(password))) => options = options.user_and_password(user, password),
        Some((token, None)) => options = options.token(token),
        None => {}
    }
    if let (Some(path), Some(Credentials(text))) = (&config.credentials, &checked.credentials) {
        // The library's error might repeat some of what is in the file.
        let with = options.credentials(text);
        options = with.map_err(|_| check::no_credentials(path))?;
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

/// Timeout for connecting to one server. Servers are tried one after another, and a silent one must
/// not use up the time of the others. Each address of a host name may take that long.
fn server_time_max(config: &Config) -> Duration {
    let servers = u32::try_from(config.servers.split(',').count())
        .unwrap_or(u32::MAX)
        .max(1);
    (config.connect_time_max / servers).max(SERVER_TIME_MIN)
}

fn on_event(event: Event, told: &Told) {
    let Told {
        place,
        violations,
        gap,
        metrics,
    } = told;
    match event {
        Event::Connected => {
            metrics.connections.add(1);
            tracing::info!(broker = place, "connected");
            gap.send_modify(|gaps| *gaps += 1);
        }
        Event::Disconnected => {
            tracing::warn!(broker = place, "the connection was lost; reconnecting")
        }
        Event::SlowConsumer(_) => {
            tracing::debug!(
                broker = place,
                "messages were dropped by this client; reading them again"
            );
            gap.send_modify(|gaps| *gaps += 1);
        }
        Event::ServerError(ServerError::Other(text)) => {
            tracing::debug!(broker = place, error = %text.escape_debug(), "server error");
            // An error means that no request is under way.
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

fn refused_connection(place: &str, error: &ConnectError) -> Error {
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
        // It was checked before; what a cluster says of its other servers may be wrong, too.
        ConnectErrorKind::ServerParse => Error::Unsuitable {
            place,
            reason: format!("the address of a server is invalid{source}"),
            advice: None,
        },
        // What TLS finds where a server greets in plain text.
        ConnectErrorKind::Tls | ConnectErrorKind::Io if source.contains("InvalidContentType") => {
            Error::Unsuitable {
                place,
                reason: "it does not speak TLS, and the URL or the configuration requires that"
                    .into(),
                advice: None,
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
