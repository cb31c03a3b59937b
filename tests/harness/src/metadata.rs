//! A machine's metadata service, as Amazon's machines have it (version 2), and a container's agent: both hand out keys for a token.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};

use crate::http::{Server, header, plain};

const ROLE: &str = "worker-role";
const SESSION: &str = "session-of-the-machine";
const POD_TOKEN: &str = "token-of-the-pod";

/// A server that ends with its handle.
#[derive(Debug)]
pub struct MetadataServer {
    server: Server,
}

impl MetadataServer {
    /// Hand out `keys`: an access key id and a secret key.
    pub fn start(keys: (&str, &str)) -> Self {
        let (id, secret) = (keys.0.to_owned(), keys.1.to_owned());
        Self { server: Server::start(move |request| answer(request, &id, &secret)) }
    }

    /// Where it is: `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// Where the container's agent is: `AWS_CONTAINER_CREDENTIALS_FULL_URI`. It wants [`MetadataServer::pod_token`].
    pub fn pod_url(&self) -> String {
        format!("{}/pod/credentials", self.endpoint())
    }

    /// What a pod finds in the file that `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` names.
    pub fn pod_token() -> &'static str {
        POD_TOKEN
    }
}

fn answer(request: &Request<Incoming>, id: &str, secret: &str) -> Response<Full<Bytes>> {
    let has_session = header(request, "x-aws-ec2-metadata-token") == Some(SESSION);
    let keys = || {
        format!(
            r#"{{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"{id}","SecretAccessKey":"{secret}","Token":"session-token","Expiration":"2099-01-01T00:00:00Z","LastUpdated":"2020-01-01T00:00:00Z"}}"#
        )
    };
    match (request.method(), request.uri().path()) {
        (&Method::PUT, "/latest/api/token") if header(request, "x-aws-ec2-metadata-token-ttl-seconds").is_some() => {
            plain(StatusCode::OK, SESSION)
        }
        (&Method::GET, "/latest/meta-data/iam/security-credentials/") if has_session => plain(StatusCode::OK, ROLE),
        (&Method::GET, "/latest/meta-data/iam/security-credentials/worker-role") if has_session => plain(StatusCode::OK, keys()),
        (&Method::GET, "/pod/credentials") if header(request, "authorization") == Some(POD_TOKEN) => plain(StatusCode::OK, keys()),
        _ => plain(StatusCode::UNAUTHORIZED, ""),
    }
}
