//! Fetches temporary credentials from the cloud's metadata service or from the container's agent.
//!
//! Outside of its cloud no metadata service answers; requests are then not signed, which is what
//! public buckets need. A configured agent must answer. No request is made before an object in a
//! store is needed, and one answer serves all buckets. Credentials are renewed [`RENEW_BEFORE`]
//! they expire, by the request that needs them; while renewing fails, they are used until they
//! expire.
//!
//! Bounds: an answer must come within [`METADATA_TIME_MAX`] or [`AGENT_TIME_MAX`] and has at most
//! [`ANSWER_BYTES_MAX`]. Credentials are used for at least [`ASK_AGAIN`], and a failure is cached
//! for [`TROUBLE_TIME`], so that a thousand tasks do not each send a request. Proxies are not used,
//! and redirects are not followed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use object_store::gcp::GcpCredential;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sortie_protocol::Timestamp;
use tokio::sync::Mutex;
use tokio::time::timeout;
use url::{Host, Url};

use super::notes::{NOBODY, Trouble};
use crate::clock;
use crate::config::Token;

/// Timeout for a metadata service: it is on the same machine, and Amazon's own clients use the same
/// timeout. After it, requests are not signed.
pub const METADATA_TIME_MAX: Duration = Duration::from_secs(1);
/// Timeout for a configured agent, which may have to ask another service. After it, the object is
/// reported as unavailable.
pub const AGENT_TIME_MAX: Duration = Duration::from_secs(5);
/// Maximum size of an answer: tokens and keys take a few thousand bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long before their expiry credentials are renewed: services have new ones ready by then.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
/// How long an answer is used at least, also the answer that there are no credentials: otherwise
/// every request to a bucket would ask again.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// How long a failure is cached for all requests: longer than the requests that are already waiting
/// take, shorter than a task's retries.
const TROUBLE_TIME: Duration = Duration::from_secs(2);
/// The metadata service of Amazon's machines.
const AMAZON: &str = "http://169.254.169.254";
/// The agents' addresses in Amazon's containers: ECS, and EKS over IPv4 and IPv6.
const AGENTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
/// Credentials, with their lifetime.
pub(crate) struct Given<C> {
    credential: C,
    /// Time until they expire, if they do.
    lasts: Option<Duration>,
}

/// A source of credentials.
#[async_trait]
pub(crate) trait Source: Send + Sync + 'static {
    /// The credential type.
    type Credential: Send + Sync;

    /// The placeholder for absent credentials.
    fn nobody() -> Self::Credential;

    /// Request credentials. `None` if there are none and that is not an error.
    async fn ask(&self) -> Result<Option<Given<Self::Credential>>, Trouble>;
}

/// Caches a source's credentials until they expire.
pub(crate) struct Keeper<S: Source> {
    source: S,
    last: Mutex<Last<S::Credential>>,
}

/// The result of the last request.
struct Last<C> {
    kept: Option<Kept<C>>,
    /// The failure, and until when it is cached.
    trouble: Option<(Trouble, Instant)>,
}

struct Kept<C> {
    credential: Arc<C>,
    fresh_until: Option<Instant>,
    valid_until: Option<Instant>,
}

impl<S: Source> Keeper<S> {
    pub(crate) fn new(source: S) -> Self {
        Self {
            source,
            last: Mutex::new(Last {
                kept: None,
                trouble: None,
            }),
        }
    }

    /// Cancel safe: the next caller sends the request again.
    async fn get(&self) -> Result<Arc<S::Credential>, Trouble> {
        // Held during the request, so that one caller asks for all.
        let mut last = self.last.lock().await;
        let is_past = |end: Option<Instant>| end.is_some_and(|end| end <= clock::instant());
        if let Some(kept) = last.kept.as_ref().filter(|kept| !is_past(kept.fresh_until)) {
            return Ok(kept.credential.clone());
        }
        if let Some((trouble, _)) = last
            .trouble
            .as_ref()
            .filter(|(_, until)| !is_past(Some(*until)))
        {
            return Err(trouble.clone());
        }
        let asked = self.source.ask().await;
        let now = clock::instant();
        if let Ok(Some(Given { credential, lasts })) = asked {
            let fresh_until = lasts.and_then(|lasts| {
                now.checked_add(lasts.saturating_sub(RENEW_BEFORE).max(ASK_AGAIN))
            });
            let new = Kept {
                credential: Arc::new(credential),
                fresh_until,
                valid_until: lasts.and_then(|lasts| now.checked_add(lasts)),
            };
            return Ok(last.kept.insert(new).credential.clone());
        }
        if let Some(kept) = last.kept.as_mut().filter(|kept| !is_past(kept.valid_until)) {
            tracing::warn!("credentials could not be renewed, and are used until they expire");
            kept.fresh_until = now.checked_add(ASK_AGAIN);
            return Ok(kept.credential.clone());
        }
        match asked {
            Err(trouble) => {
                last.trouble = now
                    .checked_add(TROUBLE_TIME)
                    .map(|until| (trouble.clone(), until));
                Err(trouble)
            }
            Ok(_) => {
                let new = Kept {
                    credential: Arc::new(S::nobody()),
                    fresh_until: now.checked_add(ASK_AGAIN),
                    valid_until: Some(now),
                };
                Ok(last.kept.insert(new).credential.clone())
            }
        }
    }
}

impl<S: Source> std::fmt::Debug for Keeper<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never print the credentials.
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

#[async_trait]
impl<S: Source> CredentialProvider for Keeper<S>
where
    S::Credential: std::fmt::Debug,
{
    type Credential = S::Credential;

    async fn get_credential(&self) -> object_store::Result<Arc<S::Credential>> {
        self.get()
            .await
            .map_err(|trouble| object_store::Error::Generic {
                store: "credentials",
                source: Box::new(trouble),
            })
    }
}

/// Where keys for S3 come from.
pub(crate) enum Amazon {
    /// The machine's metadata service.
    Machine(Service),
    /// The container's agent.
    Agent(Service, Option<Token>),
}

/// The metadata service of Google's machines.
pub(crate) struct Google(Service);

/// An HTTP service on this machine or near it.
pub(crate) struct Service {
    client: Client,
    url: Url,
}

impl Amazon {
    /// The machine's metadata service.
    pub(crate) fn machine(endpoint: Option<&str>) -> Result<Self, String> {
        Service::at(endpoint.unwrap_or(AMAZON)).map(Self::Machine)
    }

    /// The container's agent.
    pub(crate) fn agent(url: &str, token: Option<Token>) -> Result<Self, String> {
        let service = Service::at(url)?;
        if service.url.scheme() == "https" || is_near(&service.url) {
            return Ok(Self::Agent(service, token));
        }
        Err(format!(
            "the container's agent at {} would be shown a token over plain HTTP; use https://",
            service.shown()
        ))
    }
}

impl Google {
    /// The machine's metadata service.
    pub(crate) fn machine(host: &str) -> Result<Self, String> {
        Service::at(&format!("http://{host}")).map(Self)
    }
}

/// Whether a server is on this machine or at the address of an Amazon agent.
fn is_near(url: &Url) -> bool {
    let address = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::from(address),
        Some(Host::Ipv6(address)) => IpAddr::from(address),
        Some(Host::Domain(name)) => return name == "localhost",
        None => return false,
    };
    address.is_loopback() || AGENTS.iter().any(|agent| agent.parse() == Ok(address))
}

#[async_trait]
impl Source for Amazon {
    type Credential = AwsCredential;

    fn nobody() -> AwsCredential {
        AwsCredential {
            key_id: NOBODY.into(),
            secret_key: String::new(),
            token: None,
        }
    }

    async fn ask(&self) -> Result<Option<Given<AwsCredential>>, Trouble> {
        match self {
            Self::Machine(service) => match timeout(METADATA_TIME_MAX, machine(service)).await {
                Ok(Ok(Some(keys))) => keys.given(service).map(Some),
                Ok(Err(trouble @ Trouble::Refused(_))) => Err(trouble),
                Ok(Ok(None) | Err(Trouble::Silent(_))) | Err(_) => Ok(None),
            },
            Self::Agent(service, token) => {
                let late = |_| {
                    Trouble::Silent(format!(
                        "the container's agent at {} did not answer in time",
                        service.shown()
                    ))
                };
                timeout(AGENT_TIME_MAX, agent(service, token.as_ref()))
                    .await
                    .map_err(late)??
                    .given(service)
                    .map(Some)
            }
        }
    }
}

#[async_trait]
impl Source for Google {
    type Credential = GcpCredential;

    fn nobody() -> GcpCredential {
        GcpCredential {
            bearer: NOBODY.into(),
        }
    }

    async fn ask(&self) -> Result<Option<Given<GcpCredential>>, Trouble> {
        let request = self
            .0
            .get("computeMetadata/v1/instance/service-accounts/default/token")
            .header("Metadata-Flavor", "Google");
        match timeout(METADATA_TIME_MAX, self.0.send(request)).await {
            Ok(Ok(Answer { status: 200, body })) => {
                let GoogleToken {
                    access_token,
                    expires_in,
                } = self.0.parse(&body)?;
                Ok(Some(Given {
                    credential: GcpCredential {
                        bearer: access_token,
                    },
                    lasts: Some(Duration::from_secs(expires_in)),
                }))
            }
            Ok(_) | Err(_) => Ok(None),
        }
    }
}

/// Keys of the machine's role, if it has one. Version 2 of the service only, which protects against
/// server-side request forgery.
async fn machine(service: &Service) -> Result<Option<Keys>, Trouble> {
    const ROLES: &str = "latest/meta-data/iam/security-credentials/";
    const TOKEN: &str = "X-aws-ec2-metadata-token";
    let asked = service
        .put("latest/api/token")
        .header("X-aws-ec2-metadata-token-ttl-seconds", "60");
    let Answer {
        status: 200,
        body: token,
    } = service.send(asked).await?
    else {
        return Ok(None);
    };
    let Answer {
        status: 200,
        body: role,
    } = service
        .send(service.get(ROLES).header(TOKEN, token.as_slice()))
        .await?
    else {
        return Ok(None);
    };
    let role = String::from_utf8_lossy(&role);
    let Some(role) = role.lines().next().filter(|role| !role.is_empty()) else {
        return Ok(None);
    };
    let answer = service
        .send(
            service
                .get(&format!("{ROLES}{role}"))
                .header(TOKEN, token.as_slice()),
        )
        .await?;
    service
        .accepted(answer, "the machine's metadata service")
        .map(Some)
}

async fn agent(service: &Service, token: Option<&Token>) -> Result<Keys, Trouble> {
    let mut request = service.client.get(service.url.clone());
    if let Some(token) = token {
        request = request.header("Authorization", shown_token(token).await?);
    }
    let answer = service.send(request).await?;
    service.accepted(answer, "the container's agent")
}

async fn shown_token(token: &Token) -> Result<String, Trouble> {
    let file = match token {
        Token::Text(text) => return Ok(text.expose().to_owned()),
        Token::File(file) => file,
    };
    let read = tokio::fs::read_to_string(file).await;
    let text = read.map_err(|error| {
        Trouble::Refused(format!(
            "failed to read the token for credentials `{}`: {error}",
            file.display()
        ))
    })?;
    Ok(text.trim().to_owned())
}

/// A service's answer.
struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Service {
    fn at(url: &str) -> Result<Self, String> {
        let parsed = Url::parse(url)
            .ok()
            .filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"));
        let url = parsed.ok_or(
            "the URL of the credentials service is not valid; it has the form http://host/path",
        )?;
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .build();
        Ok(Self {
            client: client.map_err(|error| error.to_string())?,
            url,
        })
    }

    /// Scheme, host and port: the rest may be secret.
    fn shown(&self) -> String {
        let port = self
            .url
            .port()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        format!(
            "`{}://{}{port}`",
            self.url.scheme(),
            self.url.host_str().unwrap_or_default()
        )
    }

    fn below(&self, path: &str) -> String {
        format!("{}/{path}", self.url.as_str().trim_end_matches('/'))
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.below(path))
    }

    fn put(&self, path: &str) -> RequestBuilder {
        self.client
            .put(self.below(path))
            .header("Content-Length", "0")
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer, Trouble> {
        let silent = |_| {
            Trouble::Silent(format!(
                "the service for credentials at {} does not answer",
                self.shown()
            ))
        };
        let mut response = request.send().await.map_err(silent)?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(silent)? {
            if body.len() + part.len() > ANSWER_BYTES_MAX {
                return Err(self.unknown());
            }
            body.extend_from_slice(&part);
        }
        Ok(Answer { status, body })
    }

    /// The keys in the answer, if it has any.
    fn accepted(&self, answer: Answer, who: &str) -> Result<Keys, Trouble> {
        match answer.status {
            200 => self.parse(&answer.body),
            status @ (408 | 429 | 500..) => Err(Trouble::Silent(format!(
                "{who} at {} answers {status}",
                self.shown()
            ))),
            status => Err(Trouble::Refused(format!(
                "{who} at {} returned no credentials: it answered {status}",
                self.shown()
            ))),
        }
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Trouble> {
        serde_json::from_slice(body).map_err(|_| self.unknown())
    }

    fn unknown(&self) -> Trouble {
        Trouble::Refused(format!(
            "the answer of the service at {} contains no credentials",
            self.shown()
        ))
    }
}

/// Keys, in the JSON format of Amazon's services. Never printed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Keys {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<String>,
}

impl Keys {
    fn given(self, service: &Service) -> Result<Given<AwsCredential>, Trouble> {
        let lasts = self
            .expiration
            .map(|text| humantime::parse_rfc3339_weak(&text).map_err(|_| service.unknown()))
            .transpose()?;
        let left = lasts.map(|end| {
            let end = Timestamp::default() + end.duration_since(UNIX_EPOCH).unwrap_or_default();
            end.since(clock::now())
        });
        if left == Some(Duration::ZERO) {
            return Err(Trouble::Silent(format!(
                "the credentials from {} have expired",
                service.shown()
            )));
        }
        let credential = AwsCredential {
            key_id: self.access_key_id,
            secret_key: self.secret_access_key,
            token: self.token,
        };
        Ok(Given {
            credential,
            lasts: left,
        })
    }
}

/// A token, in the JSON format of Google's service. Never printed.
#[derive(Deserialize)]
struct GoogleToken {
    access_token: String,
    expires_in: u64,
}

#[cfg(test)]
mod tests;
