//! The HTTP client for stores that need credentials.
//!
//! It differs from an ordinary client in some ways. It follows no redirects, because a redirected
//! request would take along headers that the client does not know to be secret, such as the token
//! of temporary keys. And of an answer that refuses a request it passes on only the error code,
//! because such a body repeats key ids and signatures and would end up in error texts. It adds to
//! the code whether the request was signed, which decides the advice that the user is given.
//!
//! Keys come to it in disguise ([`super::key`]) and leave it as they are; what is sent is what is
//! signed.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use object_store::{ClientOptions, Error, Result};
use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use url::Url;

use super::key::{Slashes, revealed};
use super::notes::{CODE, NOBODY, PAID, UNSIGNED};
use super::retries::{RETRIES_MAX, RETRY_TIME_MAX};
use super::signer::Signer;
use crate::clock;
use crate::networks::Resolver;

/// Timeout for connecting.
pub(crate) const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Timeout for a silent answer, after which the request is retried. A store's slowest first bytes
/// take seconds.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(15);
/// How much of an error response is read; its code is at the front.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// Maximum length of an error code.
const CODE_BYTES_MAX: usize = 64;
/// Before a request is repeated for the first time, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// What servers are told of who asks.
pub(crate) const USER_AGENT: &str = concat!("sortie/", env!("CARGO_PKG_VERSION"));
/// The headers that say from where a copy is made: S3's, Google's and Azure's.
const COPY_SOURCES: [&str; 3] = [
    "x-amz-copy-source",
    "x-goog-copy-source",
    "x-ms-copy-source",
];
/// The header that names who pays, for stores of Google.
const PROJECT: &str = "x-goog-user-project";

/// Makes clients for one bucket. Clones share the client.
#[derive(Debug, Clone)]
pub(crate) struct Connector(Arc<Client>);

/// The client for one bucket.
pub(crate) struct Client {
    inner: reqwest::Client,
    payer: Option<Payer>,
    slashes: Slashes,
    /// Who asks; nobody, if it is not set.
    signer: OnceLock<Signer>,
}

/// The project that pays for requests to Google Cloud Storage.
#[derive(Debug, Clone)]
pub(crate) struct Payer {
    /// Host and port of the store: the services that hand out its tokens are asked through the
    /// same client, and are not told.
    store: String,
    project: HeaderValue,
}

impl Payer {
    /// This project is named to the store at `endpoint`, in signed requests.
    pub(crate) fn new(project: &str, endpoint: &Url) -> std::result::Result<Self, String> {
        let project = HeaderValue::from_str(project)
            .map_err(|_| "the project that pays has a name that no header can hold")?;
        Ok(Self {
            store: endpoint.authority().to_owned(),
            project,
        })
    }
}

impl Connector {
    /// A client whose keys have slashes like this in URLs, and whose names are looked up by
    /// `resolver`.
    pub(crate) fn new(
        slashes: Slashes,
        payer: Option<Payer>,
        resolver: Resolver,
    ) -> std::result::Result<Self, String> {
        let inner = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIME_MAX)
            .read_timeout(SILENCE_MAX)
            .dns_resolver(Arc::new(resolver))
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self(Arc::new(Client {
            inner,
            payer,
            slashes,
            signer: OnceLock::new(),
        })))
    }

    /// From now on requests are signed so.
    pub(crate) fn sign_with(&self, signer: Signer) {
        // Set once, when the store is made.
        let _ = self.0.signer.set(signer);
    }

    pub(crate) fn client(&self) -> Arc<Client> {
        self.0.clone()
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> Result<HttpClient> {
        Ok(HttpClient::new(Shared(self.0.clone())))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// The client, as the library wants it.
#[derive(Debug)]
struct Shared(Arc<Client>);

#[async_trait]
impl HttpService for Shared {
    async fn call(&self, mut request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let reveals = self.0.reveal(&mut request)?;
        if let (true, Some(signer)) = (reveals, self.0.signer.get()) {
            signer.sign_again(&mut request).await.map_err(wrong)?;
        }
        self.0.send(request).await
    }
}

impl Client {
    /// Put keys that are in disguise into the request as they are, and say whether there is one in
    /// its URL.
    fn reveal(&self, request: &mut HttpRequest) -> std::result::Result<bool, HttpError> {
        for header in COPY_SOURCES {
            let source = request
                .headers()
                .get(header)
                .and_then(|source| revealed(source.to_str().ok()?, self.slashes));
            if let Some(source) = source {
                let mut source = HeaderValue::from_str(&source).map_err(wrong)?;
                source.set_sensitive(true);
                request.headers_mut().insert(header, source);
            }
        }
        let Some(url) = revealed(&request.uri().to_string(), self.slashes) else {
            return Ok(false);
        };
        *request.uri_mut() = url.parse().map_err(wrong)?;
        Ok(true)
    }

    /// Send a request of our own, signed, and read its answer. It is repeated as the library
    /// repeats its own. Cancel safe.
    ///
    /// # Errors
    /// When it was refused, or more than `bytes_max` came.
    pub(crate) async fn ask(&self, method: &str, url: &str, bytes_max: usize) -> Result<Bytes> {
        let over = clock::instant() + RETRY_TIME_MAX;
        let mut pause = PAUSE_MIN;
        for tries_left in (0..=RETRIES_MAX).rev() {
            let (error, passes) = match self.ask_once(method, url, bytes_max).await {
                Ok(body) => return Ok(body),
                Err(failed) => failed,
            };
            if tries_left == 0 || !passes || clock::instant() + pause > over {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Err(generic("the request was not sent"))
    }

    /// Once; the error, and whether repeating may help.
    async fn ask_once(
        &self,
        method: &str,
        url: &str,
        bytes_max: usize,
    ) -> std::result::Result<Bytes, (Error, bool)> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        let built = method
            .parse()
            .map(|method| *request.method_mut() = method)
            .is_ok();
        let Ok(uri) = url.parse() else {
            return Err((generic("its name makes no URL"), false));
        };
        *request.uri_mut() = uri;
        if !built {
            return Err((generic("there is no such method"), false));
        }
        if let Some(signer) = self.signer.get() {
            signer
                .sign(&mut request)
                .await
                .map_err(|error| (error, false))?;
        }
        let answer = self.send(request).await.map_err(|error| {
            let passes = !matches!(error.kind(), HttpErrorKind::Decode | HttpErrorKind::Unknown);
            (boxed(error), passes)
        })?;
        let status = answer.status();
        let body = answer.into_body();
        if !status.is_success() {
            let said = String::from_utf8_lossy(&front(body, CODE_BYTES_MAX * 4).await).into_owned();
            let passes = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
            return Err((refused(status.as_u16(), said), passes));
        }
        let mut parts = body.bytes_stream();
        let mut all = BytesMut::new();
        while let Some(part) = parts.next().await {
            let part = part.map_err(|error| (boxed(error), true))?;
            if all.len() + part.len() > bytes_max {
                return Err((generic("its answer is too long"), false));
            }
            all.extend_from_slice(&part);
        }
        Ok(all.freeze())
    }

    /// Send a request. Of a refusal only the code comes back.
    async fn send(&self, mut request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let marks = marks(&mut request, self.payer.as_ref());
        let mut answer = HttpService::call(&self.inner, request).await?;
        if answer.status().is_success() || answer.status().as_u16() == 304 {
            return Ok(answer);
        }
        // Without the header, `object_store` reports the redirect as an error and does not follow
        // it.
        answer.headers_mut().remove("location");
        let (parts, body) = answer.into_parts();
        let body = front(body, REFUSAL_BYTES_MAX).await;
        // Azure has it in a header, too, where there is no body.
        let header = parts
            .headers
            .get("x-ms-error-code")
            .and_then(|code| code.to_str().ok())
            .filter(|code| is_code(code));
        let code = code_of(&body)
            .or_else(|| header.map(ToOwned::to_owned))
            .map(|code| format!("{CODE}{code}"));
        let said: Vec<String> = code
            .into_iter()
            .chain(marks.map(ToOwned::to_owned))
            .collect();
        Ok(HttpResponse::from_parts(
            parts,
            HttpResponseBody::from(said.join(" ")),
        ))
    }
}

/// What repeating a request does not mend.
fn wrong(error: impl std::error::Error + Send + Sync + 'static) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, error)
}

fn boxed(error: HttpError) -> Error {
    Error::Generic {
        store: "HTTP",
        source: Box::new(error),
    }
}

fn generic(why: &str) -> Error {
    Error::Generic {
        store: "HTTP",
        source: why.into(),
    }
}

/// A refusal as the library tells it.
fn refused(status: u16, said: String) -> Error {
    let path = String::new();
    match status {
        404 => Error::NotFound {
            path,
            source: said.into(),
        },
        401 => Error::Unauthenticated {
            path,
            source: said.into(),
        },
        403 => Error::PermissionDenied {
            path,
            source: said.into(),
        },
        300..=399 => generic(&format!("Received redirect {said}")),
        _ if said.is_empty() => generic(&format!("the store answers with status {status}")),
        _ => generic(&said),
    }
}

/// How a request is sent, as error texts have it. One that nobody signed loses its signature here;
/// one that somebody did says who pays.
fn marks(
    request: &mut HttpRequest,
    payer: Option<&Payer>,
) -> impl Iterator<Item = &'static str> + use<> {
    let authorization = request
        .headers()
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let is_nobodys = authorization.starts_with(&format!("AWS4-HMAC-SHA256 Credential={NOBODY}/"))
        || authorization == format!("Bearer {NOBODY}");
    // A shared access signature is in the query.
    let has_signature = request
        .uri()
        .query()
        .is_some_and(|query| query.split('&').any(|pair| pair.starts_with("sig=")));
    let is_signed = (!authorization.is_empty() && !is_nobodys) || has_signature;
    if is_nobodys {
        request.headers_mut().remove("authorization");
    }
    if let Some(Payer { store, project }) = payer
        && is_signed
        && request
            .uri()
            .authority()
            .is_some_and(|authority| authority.as_str() == store)
    {
        request.headers_mut().insert(PROJECT, project.clone());
    }
    let pays = ["x-amz-request-payer", PROJECT]
        .iter()
        .any(|name| request.headers().contains_key(*name));
    [(!is_signed).then_some(UNSIGNED), pays.then_some(PAID)]
        .into_iter()
        .flatten()
}

/// The first bytes of a body. A refusal whose body breaks off is a refusal all the same.
async fn front(body: HttpResponseBody, bytes_max: usize) -> Vec<u8> {
    let mut parts = body.bytes_stream();
    let mut front = Vec::new();
    while front.len() < bytes_max
        && let Some(Ok(part)) = parts.next().await
    {
        front.extend_from_slice(part.get(..bytes_max - front.len()).unwrap_or(&part));
    }
    front
}

/// The error code in `<Error><Code>NoSuchBucket</Code>…`, or in Google's JSON errors.
fn code_of(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let between = |before: &str, after: &str| {
        Some(text.split_once(before)?.1.split_once(after)?.0.to_owned())
    };
    let code = between("<Code>", "</Code>").or_else(|| between("\"reason\": \"", "\""))?;
    is_code(&code).then_some(code)
}

fn is_code(text: &str) -> bool {
    text.len() <= CODE_BYTES_MAX
        && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_code_is_taken_from_a_refusal() {
        let body =
            b"<?xml version=\"1.0\"?><Error><Code>ExpiredToken</Code><Token>secret</Token></Error>";
        assert_eq!(code_of(body).as_deref(), Some("ExpiredToken"));
        assert_eq!(code_of(b"<Error><Code>se cret/key=</Code></Error>"), None);
        assert_eq!(
            code_of(b"{\"error\": {\"errors\": [{\"reason\": \"forbidden\"}]}}").as_deref(),
            Some("forbidden")
        );
        assert_eq!(code_of(b"nothing of the kind"), None);
    }
}
