//! The HTTP client for stores that need credentials.
//!
//! It differs from an ordinary client in two ways. It follows no redirects, because a redirected
//! request would take along headers that the client does not know to be secret, such as the token
//! of temporary keys. And of an answer that refuses a request it passes on only the error code,
//! because such a body repeats key ids and signatures and would end up in error texts. It adds to
//! the code whether the request was signed, which decides the advice that the user is given.

use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use object_store::{ClientOptions, Error, Result};
use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use url::Url;

use super::notes::{CODE, NOBODY, PAID, UNSIGNED};

/// Timeout for connecting.
pub(crate) const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Timeout for a silent answer, after which the request is retried. A store's slowest first bytes
/// take seconds.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(15);
/// How much of an error response is read; its code is at the front.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// Maximum length of an error code.
const CODE_BYTES_MAX: usize = 64;
/// Google's header for the project that pays.
const PROJECT: &str = "x-goog-user-project";

/// Creates HTTP clients for stores with credentials.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connector {
    payer: Option<Payer>,
}

/// The project that pays for requests to Google Cloud Storage.
#[derive(Debug, Clone)]
struct Payer {
    /// Host and port of the store: the token services use the same client, and must not get the
    /// header.
    store: String,
    project: HeaderValue,
}

impl Connector {
    /// A connector whose clients add this project to signed requests to the store at `endpoint`.
    pub(crate) fn paying(project: &str, endpoint: &Url) -> std::result::Result<Self, String> {
        let project = HeaderValue::from_str(project)
            .map_err(|_| "the project that pays has a name that no header can hold")?;
        Ok(Self {
            payer: Some(Payer {
                store: endpoint.authority().to_owned(),
                project,
            }),
        })
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> Result<HttpClient> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("sortie/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIME_MAX)
            .read_timeout(SILENCE_MAX)
            .build()
            .map_err(|error| Error::Generic {
                store: "HTTP",
                source: Box::new(error),
            })?;
        Ok(HttpClient::new(Client {
            inner: client,
            payer: self.payer.clone(),
        }))
    }
}

/// The options of clients without credentials, which follow redirects.
pub(crate) fn open_options() -> ClientOptions {
    ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT_TIME_MAX)
        .with_read_timeout(SILENCE_MAX)
}

#[derive(Debug)]
struct Client {
    inner: reqwest::Client,
    payer: Option<Payer>,
}

#[async_trait]
impl HttpService for Client {
    async fn call(&self, mut request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let marks = marks(&mut request, self.payer.as_ref());
        let mut answer = HttpService::call(&self.inner, request).await?;
        if answer.status().is_success() || answer.status().as_u16() == 304 {
            return Ok(answer);
        }
        // Without the header, `object_store` reports the redirect as an error and does not follow
        // it.
        answer.headers_mut().remove("location");
        let (parts, body) = answer.into_parts();
        let body = front(body).await;
        // Azure also sends the code in a header, for answers without a body.
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

/// The marks for error texts on how a request was sent. Removes the placeholder signature of an
/// unsigned request, and adds the paying project to a signed one.
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

/// The first bytes of a body. If the body of an error response breaks off, the bytes so far are
/// used.
async fn front(body: HttpResponseBody) -> Vec<u8> {
    let mut parts = body.bytes_stream();
    let mut front = Vec::new();
    while front.len() < REFUSAL_BYTES_MAX
        && let Some(Ok(part)) = parts.next().await
    {
        front.extend_from_slice(part.get(..REFUSAL_BYTES_MAX - front.len()).unwrap_or(&part));
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
