//! Services that hand out credentials: a machine's metadata service as Amazon's and Google's
//! machines have it, a container's agent, and the service that gives keys of a role for a web
//! identity. Each wants to be asked the way the real one does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode};

use crate::buckets::query;
use crate::http::{Server, header, plain};

const ROLE: &str = "worker-role";
const SESSION: &str = "session-of-the-machine";
const EXPIRATION: &str = "2099-01-01T00:00:00Z";

/// A server that ends with its handle.
#[derive(Debug)]
pub struct CredentialServer {
    server: Server,
    /// The names of all headers that came.
    headers: Arc<Mutex<BTreeSet<String>>>,
}

impl CredentialServer {
    /// What a container, a pod or a web identity has to show.
    pub const TOKEN: &str = "token-of-no-value-to-be-shown";
    /// The role that a web identity takes on.
    pub const ROLE_ARN: &str = "arn:aws:iam::000000000000:role/worker-role";
    /// What a machine of Google shows to a bucket.
    pub const BEARER: &str = "ya29.bearer-of-no-value";

    /// Hand out `keys`: an access key id and a secret key.
    ///
    /// # Panics
    /// When there is no port to listen on.
    pub fn start(keys: (&str, &str)) -> Self {
        let keys = (keys.0.to_owned(), keys.1.to_owned());
        let headers = Arc::<Mutex<BTreeSet<String>>>::default();
        let seen = headers.clone();
        let server = Server::start(move |request: &Request<Bytes>| {
            let names = request
                .headers()
                .keys()
                .map(|name| name.as_str().to_owned());
            seen.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(names);
            answer(request, &keys)
        });
        Self { server, headers }
    }

    /// The names of all headers that came, in lower case.
    pub fn headers(&self) -> BTreeSet<String> {
        self.headers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Its host and port: `GCE_METADATA_HOST`.
    pub fn host(&self) -> String {
        self.server.address.to_string()
    }

    /// Where it is: `AWS_EC2_METADATA_SERVICE_ENDPOINT` and `AWS_ENDPOINT_URL_STS`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// Where the container's agent is: `AWS_CONTAINER_CREDENTIALS_FULL_URI`. It wants
    /// [`CredentialServer::TOKEN`].
    pub fn agent_url(&self) -> String {
        format!("{}/v1/credentials", self.endpoint())
    }
}

fn answer(request: &Request<Bytes>, (id, secret): &(String, String)) -> Response<Full<Bytes>> {
    let has_session = header(request, "x-aws-ec2-metadata-token") == Some(SESSION);
    let keys = || {
        plain(
            StatusCode::OK,
            format!(
                "{{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"AccessKeyId\":\"{id}\",\
                 \"SecretAccessKey\":\"{secret}\",\"Token\":\"session\",\
                 \"Expiration\":\"{EXPIRATION}\"}}"
            ),
        )
    };
    match (request.method(), request.uri().path()) {
        (&Method::PUT, "/latest/api/token")
            if header(request, "x-aws-ec2-metadata-token-ttl-seconds").is_some() =>
        {
            plain(StatusCode::OK, SESSION)
        }
        (&Method::GET, "/latest/meta-data/iam/security-credentials/") if has_session => {
            plain(StatusCode::OK, ROLE)
        }
        (&Method::GET, "/latest/meta-data/iam/security-credentials/worker-role") if has_session => {
            keys()
        }
        (&Method::GET, "/v1/credentials")
            if header(request, "authorization") == Some(CredentialServer::TOKEN) =>
        {
            keys()
        }
        (&Method::GET, "/computeMetadata/v1/instance/service-accounts/default/token")
            if header(request, "metadata-flavor") == Some("Google") =>
        {
            let bearer = CredentialServer::BEARER;
            plain(
                StatusCode::OK,
                format!(r#"{{"access_token":"{bearer}","expires_in":3599,"token_type":"Bearer"}}"#),
            )
        }
        (&Method::POST, "/") => role(&query(request), id, secret),
        _ => plain(StatusCode::UNAUTHORIZED, ""),
    }
}

/// Keys of a role, as Amazon's security token service writes them.
fn role(query: &BTreeMap<String, String>, id: &str, secret: &str) -> Response<Full<Bytes>> {
    let is = |name: &str, value: &str| query.get(name).is_some_and(|given| given == value);
    if !is("Action", "AssumeRoleWithWebIdentity") || !is("RoleArn", CredentialServer::ROLE_ARN) {
        return plain(
            StatusCode::BAD_REQUEST,
            "<ErrorResponse><Error><Code>ValidationError</Code></Error></ErrorResponse>",
        );
    }
    if !is("WebIdentityToken", CredentialServer::TOKEN) {
        let given = query
            .get("WebIdentityToken")
            .map(String::as_str)
            .unwrap_or_default();
        let error = format!(
            "<Error><Code>InvalidIdentityToken</Code><Message>not a token: \
             {given}</Message></Error>"
        );
        return plain(
            StatusCode::BAD_REQUEST,
            format!("<ErrorResponse>{error}</ErrorResponse>"),
        );
    }
    let keys = format!(
        "<AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
         <SessionToken>session</SessionToken><Expiration>{EXPIRATION}</Expiration>"
    );
    let result = format!(
        "<AssumeRoleWithWebIdentityResult><Credentials>{keys}</Credentials>\
         </AssumeRoleWithWebIdentityResult>"
    );
    plain(
        StatusCode::OK,
        format!("<AssumeRoleWithWebIdentityResponse>{result}</AssumeRoleWithWebIdentityResponse>"),
    )
}
