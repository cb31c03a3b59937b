//! How stores that want credentials are talked to over HTTP.
//!
//! Two things that an ordinary client does must not happen here. It follows redirects, and takes along headers that it does not know to be
//! secret, such as the token of temporary keys: here none is followed. And an answer that refuses something repeats what was sent, key ids and
//! signatures included, in a body that ends up in error texts: here only its code is passed on, so there is nothing to redact later.

use std::time::Duration;

use async_trait::async_trait;
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpResponseBody, HttpService};
use object_store::{ClientOptions, Error, Result};
use reqwest::redirect::Policy;

/// How long a connection may take to stand.
pub(super) const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// How long nothing may come of an answer before it is asked for again. A store's slowest first bytes take seconds.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(15);
/// What is read of an answer that refuses something; its code stands at the front.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// The longest code that is believed to be one.
const CODE_BYTES_MAX: usize = 64;
/// Stands in front of the code, in error texts.
pub(super) const CODE: &str = "the store's code: ";

/// Makes clients for stores with credentials.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> Result<HttpClient> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("sortie/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIME_MAX)
            .read_timeout(SILENCE_MAX)
            .build()
            .map_err(|error| Error::Generic { store: "HTTP", source: Box::new(error) })?;
        Ok(HttpClient::new(Client(client)))
    }
}

/// The options of clients without credentials, which follow redirects.
pub(super) fn open_options() -> ClientOptions {
    ClientOptions::new().with_timeout_disabled().with_connect_timeout(CONNECT_TIME_MAX).with_read_timeout(SILENCE_MAX)
}

#[derive(Debug)]
struct Client(reqwest::Client);

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let mut answer = HttpService::call(&self.0, request).await?;
        if answer.status().is_success() || answer.status().as_u16() == 304 {
            return Ok(answer);
        }
        // Said again by `object_store` as a redirect that leads nowhere.
        answer.headers_mut().remove("location");
        let (parts, body) = answer.into_parts();
        // A refusal whose body breaks off is a refusal all the same.
        let body = body.bytes().await.unwrap_or_default();
        let code = code_of(body.get(..REFUSAL_BYTES_MAX).unwrap_or(&body));
        let said = code.map_or_else(String::new, |code| format!("{CODE}{code}"));
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(said)))
    }
}

/// The code in `<Error><Code>NoSuchBucket</Code>…`, or in JSON as Google's stores answer it.
fn code_of(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let between = |before: &str, after: &str| Some(text.split_once(before)?.1.split_once(after)?.0.to_owned());
    let code = between("<Code>", "</Code>").or_else(|| between("\"reason\": \"", "\""))?;
    let is_code = code.len() <= CODE_BYTES_MAX && !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_code.then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_code_is_taken_from_a_refusal() {
        let body = b"<?xml version=\"1.0\"?><Error><Code>ExpiredToken</Code><Token>secret</Token></Error>";
        assert_eq!(code_of(body).as_deref(), Some("ExpiredToken"));
        assert_eq!(code_of(b"<Error><Code>se cret/key=</Code></Error>"), None);
        assert_eq!(code_of(b"{\"error\": {\"errors\": [{\"reason\": \"forbidden\"}]}}").as_deref(), Some("forbidden"));
        assert_eq!(code_of(b"nothing of the kind"), None);
    }
}
