//! The configuration of a NATS broker: servers, credentials, tenant, time limits, layout.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use sortie_protocol::TenantId;
use sortie_protocol::delivery::LOSSES_MAX;

/// Maximum length of a space's name: it becomes part of stream names.
const NAME_CHARS_MAX: usize = 32;

/// The name of a space, which all its streams and subjects begin with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

/// The text is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to {NAME_CHARS_MAX} characters of a-z, 0-9 and `-`")]
pub struct InvalidName;

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_name = (1..=NAME_CHARS_MAX).contains(&text.len()) && text.chars().all(fits);
        if is_name {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName)
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How to reach a NATS server, and with which credentials.
#[derive(Clone)]
pub struct Config {
    /// Server URLs, such as `nats://host:4222` or `tls://host:4222`; several servers of a cluster
    /// are separated by commas. A URL may contain a user and password.
    pub servers: String,
    /// The tenant that the jobs belong to. Default `default`. Ignored for workers, which serve all
    /// tenants.
    pub tenant: TenantId,
    /// Names the streams and subjects, so that several installations can share one account.
    /// Default `sortie`.
    pub space: Name,
    /// A credentials file, as `nsc` writes it: a user's JWT and nkey seed.
    pub credentials: Option<PathBuf>,
    /// TLS settings, used if the URL or the server requires TLS.
    pub tls: Tls,
    /// Whether this process is a client or a worker: decides the subject of replies, see
    /// `deploy/nats`.
    pub role: Role,
    /// Timeout for connecting, over all servers. Each server gets an equal share, at least two
    /// seconds, also for reconnecting. A host name with several addresses counts as one server, and
    /// each of its addresses may take the whole share. Default 5 s.
    pub connect_time_max: Duration,
    /// Timeout of one request, after which it is retried. Default 3 s: most leader elections take
    /// less.
    pub answer_time_max: Duration,
    /// How long requests are retried during an outage before they fail. Default 10 minutes: longer
    /// than any restart or election.
    pub outage_time_max: Duration,
    /// After how many lost leases in a row a task ends as `worker-lost`. Default 5.
    pub losses_max: u32,
    /// Whether and how missing streams are created.
    pub provision: Provision,
}

/// The role of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Submits and follows jobs of one tenant.
    Client,
    /// Runs tasks of all tenants.
    Worker,
    /// Asks about workers and the installation, and needs no tenant that is there.
    Observer,
}

/// TLS settings.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Require TLS even if the URL does not. Default no.
    pub required: bool,
    /// A PEM file with certificate authorities to trust in addition to the system's.
    pub authorities: Option<PathBuf>,
    /// The client certificate and its key: two PEM files.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Whether and how missing streams are created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provision {
    /// Create them on first use with this layout, if permitted.
    Missing(Layout),
    /// Never create any: an operator did that.
    Never,
}

/// How an installation is laid out. Shards, replicas and lease are chosen once, when its first
/// streams are made; the rest for each tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Streams that share the bundles of a tenant. Default 1; more spread the load of very many
    /// bundles over the servers of a cluster.
    pub shards: NonZeroU16,
    /// JetStream replicas of each stream. Default 1; 3 survives the loss of one server.
    pub replicas: NonZeroUsize,
    /// How long a lease lasts unless it is extended. Default 30 s, at least 1 s.
    pub lease: Duration,
    /// What the bundles of a tenant that wait may take in each shard; publishing waits at the
    /// limit, and the server reserves that much disk. Default [`QUEUE_BYTES`], or less on a server
    /// that has less: see [`QUEUE_BYTES_MIN`].
    pub tasks_bytes_max: NonZeroU32,
    /// A tenant's share of the workers, in proportion to those of the others that have work.
    /// Default 1.
    pub weight: NonZeroU16,
}

/// What an operator changes of a tenant; what is `None` stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// As [`Layout::tasks_bytes_max`].
    pub queue_bytes: Option<NonZeroU32>,
    /// As [`Layout::weight`].
    pub weight: Option<NonZeroU16>,
}

/// What the bundles that wait may take, of each tenant and shard, if nothing else is said: some
/// thousand bundles of the usual size, and room for a few dozen tenants on a small disk.
pub const QUEUE_BYTES: NonZeroU32 = NonZeroU32::MIN.saturating_add((256 << 20) - 1);
/// The least that a server is asked for where it has no room for [`QUEUE_BYTES`]: some bundles as
/// large as a message may be.
pub const QUEUE_BYTES_MIN: NonZeroU32 = NonZeroU32::MIN.saturating_add((8 << 20) - 1);

/// The shortest lease: a worker extends its leases every 3 s at most, tests are faster.
pub const LEASE_MIN: Duration = Duration::from_millis(500);
/// Maximum number of shards: every worker polls each of them.
pub const SHARDS_MAX: u16 = 64;

impl Default for Layout {
    fn default() -> Self {
        Self {
            shards: NonZeroU16::MIN,
            replicas: NonZeroUsize::MIN,
            lease: Duration::from_secs(30),
            tasks_bytes_max: QUEUE_BYTES,
            weight: NonZeroU16::MIN,
        }
    }
}

impl Config {
    /// For these servers, with the defaults.
    #[must_use]
    pub fn new(servers: impl Into<String>, role: Role) -> Self {
        Self {
            servers: servers.into(),
            tenant: TenantId::default(),
            space: Name("sortie".into()),
            credentials: None,
            tls: Tls::default(),
            role,
            connect_time_max: Duration::from_secs(5),
            answer_time_max: Duration::from_secs(3),
            outage_time_max: Duration::from_secs(600),
            losses_max: LOSSES_MAX,
            provision: Provision::Missing(Layout::default()),
        }
    }
}

impl fmt::Debug for Config {
    /// Leaves the URL out: it may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("place", &place(&self.servers))
            .field("tenant", &self.tenant)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// The servers for display: hosts and ports, without users and passwords.
pub(super) fn place(servers: &str) -> String {
    let hosts = servers.split(',').map(|server| {
        let server = server.trim();
        let (scheme, rest) = server.split_once("://").unwrap_or(("nats", server));
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        let host = host.split(['/', '?', '#']).next().unwrap_or_default();
        format!("{scheme}://{host}")
    });
    hosts.collect::<Vec<_>>().join(",")
}

/// The user and password, or the token alone, of the first server that names any.
pub(super) fn user_and_password(servers: &str) -> Option<(String, Option<String>)> {
    let named = servers.split(',').find_map(|server| {
        let server = server.trim();
        let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        authority.rsplit_once('@').map(|(named, _)| named)
    })?;
    Some(match named.split_once(':') {
        Some((user, password)) => (unescaped(user), Some(unescaped(password))),
        None => (unescaped(named), None),
    })
}

/// Percent-decode text from a URL. Invalid escapes stay as they are.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let escape = part
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (escape, part.get(2..)) {
            (Some(byte), Some(rest)) => {
                bytes.push(byte);
                bytes.extend_from_slice(rest.as_bytes());
            }
            _ => {
                bytes.push(b'%');
                bytes.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_no_secrets() {
        assert_eq!(
            place("nats://me:secret@one:4222, tls://two:4222/x?token=y"),
            "nats://one:4222,tls://two:4222"
        );
        assert_eq!(place("localhost"), "nats://localhost");
        assert!(
            !format!("{:?}", Config::new("nats://me:secret@one", Role::Client)).contains("secret")
        );
    }

    #[test]
    fn a_password_is_taken_from_the_url() {
        let some = |user: &str, password: Option<&str>| {
            Some((user.to_owned(), password.map(str::to_owned)))
        };
        assert_eq!(
            user_and_password("nats://one:4222, tls://me:a%40b%2f%zz%:c@two/x@y"),
            some("me", Some("a@b/%zz%:c"))
        );
        assert_eq!(
            user_and_password("me:secret@one"),
            some("me", Some("secret"))
        );
        assert_eq!(user_and_password("nats://token@one"), some("token", None));
        assert_eq!(user_and_password("nats://one:4222/x@y"), None);
    }

    #[test]
    fn names_fit_into_subjects_and_streams() {
        assert!("acme-2".parse::<Name>().is_ok());
        for text in ["", "Acme", "a.b", "a*", "a b", &"x".repeat(33)] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }
}
