//! Says who sends a request to a store.
//!
//! Requests that `object_store` made are signed by it, over a key in disguise ([`super::key`]);
//! where the signature covers the path they are signed anew here. Requests of our own, which list
//! and remove, are signed here alone.

use std::sync::Arc;

use object_store::Result;
use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::azure::{AzureAuthorizer, AzureCredential};
use object_store::client::HttpRequest;
use object_store::gcp::GcpCredentialProvider;
use reqwest::header::{AUTHORIZATION, HeaderValue};

use super::notes::NOBODY;

/// Where S3 has the digest of a request's body.
const BODY_DIGEST: &str = "x-amz-content-sha256";

/// Who asks a store.
#[derive(Debug, Clone)]
pub(crate) enum Signer {
    Amazon {
        credentials: AwsCredentialProvider,
        region: String,
        /// Whether who asks pays.
        pays: bool,
    },
    Google(GcpCredentialProvider),
    Azure {
        credential: Arc<AzureCredential>,
        account: String,
    },
}

impl Signer {
    /// Sign a request of our own, which has no body.
    pub(crate) async fn sign(&self, request: &mut HttpRequest) -> Result<()> {
        match self {
            Self::Amazon {
                credentials,
                region,
                pays,
            } => {
                let credential = credentials.get_credential().await?;
                if credential.key_id == NOBODY {
                    return Ok(());
                }
                AwsAuthorizer::new(&credential, "s3", region)
                    .with_request_payer(*pays)
                    .try_authorize(request, None)
            }
            Self::Google(credentials) => {
                let credential = credentials.get_credential().await?;
                if credential.bearer != NOBODY
                    && let Ok(mut bearer) =
                        HeaderValue::from_str(&format!("Bearer {}", credential.bearer))
                {
                    bearer.set_sensitive(true);
                    request.headers_mut().insert(AUTHORIZATION, bearer);
                }
                Ok(())
            }
            Self::Azure {
                credential,
                account,
            } => AzureAuthorizer::new(credential, account).try_authorize(request),
        }
    }

    /// Sign a request anew whose path is another than the one that was signed. What was not signed
    /// stays so.
    pub(crate) async fn sign_again(&self, request: &mut HttpRequest) -> Result<()> {
        let Some(signature) = request.headers().get(AUTHORIZATION).cloned() else {
            return Ok(());
        };
        match self {
            Self::Amazon {
                credentials,
                region,
                ..
            } => {
                let credential = credentials.get_credential().await?;
                if credential.key_id == NOBODY {
                    return Ok(());
                }
                let digest = request
                    .headers()
                    .get(BODY_DIGEST)
                    .and_then(|digest| bytes_of(digest.to_str().ok()?));
                request.headers_mut().remove(AUTHORIZATION);
                AwsAuthorizer::new(&credential, "s3", region)
                    .with_sign_payload(digest.is_some())
                    .try_authorize(request, digest.as_deref())
            }
            // A token says nothing of the path.
            Self::Google(_) => Ok(()),
            Self::Azure {
                credential,
                account,
            } if signature.as_bytes().starts_with(b"SharedKey ") => {
                request.headers_mut().remove(AUTHORIZATION);
                AzureAuthorizer::new(credential, account).try_authorize(request)
            }
            // Neither does a signature in the query.
            Self::Azure { .. } => Ok(()),
        }
    }
}

/// Bytes in hexadecimal; none for a word that stands for an unsigned body.
fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
