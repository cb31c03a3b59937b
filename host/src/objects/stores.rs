//! The stores behind locations: one per bucket or web server, made when first needed and kept for its connections.
//!
//! A request that is not answered ends: connecting within [`CONNECT_TIME_MAX`], waiting for the next bytes within [`READ_TIME_MAX`]. How long a
//! whole answer takes has no bound here, since it depends on its size: readers ask for ranges, and those have one. A store has at most
//! [`REQUESTS_MAX`] requests under way; further ones wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::limit::LimitStore;
use object_store::list::PaginatedListStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use parking_lot::Mutex;
use sortie_protocol::outcome::InputFault;
use tokio::sync::OnceCell;

use super::config::{Addressing, Az, AzCredentials, Config, Gs, GsCredentials, Patience, Payer, S3, S3Credentials};
use super::location::Service;
use super::{Error, Files, Location, RETRIES_MAX, RETRY_TIME_MAX, metadata};

/// How many stores are kept open. Signed URLs make one each; at the limit all are closed and opened again as needed.
const STORES_MAX: usize = 256;
/// Requests that one store may have under way, from when they are sent until their answer is read or dropped. One connection to S3 brings some
/// 85 MB/s, so that these fill 40 Gbit/s; more of them only make each slower. Further requests wait for their turn.
pub const REQUESTS_MAX: usize = 64;
/// How long making a connection may take: three tries of the first packet, as systems space them. Then the request is repeated.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// How long the next bytes of an answer may take: stores that are asked to slow down keep quiet for seconds, never for this long. Then the
/// request is repeated from where it stopped.
pub const READ_TIME_MAX: Duration = Duration::from_secs(30);

/// A store that is open. Cheap to clone.
#[derive(Clone)]
pub(super) struct Store {
    /// Reads.
    pub(super) objects: Arc<dyn ObjectStore>,
    /// Lists, where it can.
    pub(super) pages: Option<Arc<dyn PaginatedListStore>>,
    /// Whether requests say who asks.
    pub(super) identity: Identity,
}

/// Whether requests say who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// They do, or it does not matter here.
    Given,
    /// They do not.
    None,
}

/// Open stores.
#[derive(Debug)]
pub(super) struct Stores {
    config: Config,
    open: Mutex<HashMap<String, Store>>,
    amazon_role: OnceCell<bool>,
    google_account: OnceCell<bool>,
}

impl Stores {
    pub(super) fn new(config: Config) -> Self {
        Self { config, open: Mutex::default(), amazon_role: OnceCell::new(), google_account: OnceCell::new() }
    }

    /// Which local files may be read.
    pub(super) fn files(&self) -> &Files {
        &self.config.files
    }

    /// The store of a location, and the object's path in it. Waits at most [`metadata::METADATA_TIME_MAX`]. Cancel safe.
    pub(super) async fn of(&self, location: &Location) -> Result<(Store, Path), Error> {
        let malformed = |reason: String| Error::new(InputFault::Malformed, format!("`{location}` cannot be opened: {reason}"));
        let (key, path) = match location {
            Location::File(path) => ("file".into(), Path::from_absolute_path(path).map_err(|error| malformed(error.to_string()))?),
            Location::Bucket { service, bucket, key } => {
                let path = Path::parse(key).map_err(|error| malformed(error.to_string()))?;
                (format!("{}://{bucket}", service.scheme()), path)
            }
            Location::Http(url) => {
                let path = Path::from_url_path(url.path()).map_err(|error| malformed(error.to_string()))?;
                let mut base = url.clone();
                // A query, such as a signature, stays with the base: the store appends the path in front of it.
                base.set_path("/");
                (base.into(), path)
            }
        };
        if let Some(store) = self.open.lock().get(&key) {
            return Ok((store.clone(), path));
        }
        let store = self.make(location, &key).await.map_err(malformed)?;
        let mut open = self.open.lock();
        if open.len() >= STORES_MAX {
            open.clear();
        }
        // Somebody else may have been faster: then that one is used, so that there is one limit.
        let store = open.entry(key).or_insert(store).clone();
        Ok((store, path))
    }

    async fn make(&self, location: &Location, key: &str) -> Result<Store, String> {
        let made = match location {
            Location::File(_) => Ok(unlimited(LocalFileSystem::new())),
            Location::Bucket { service, bucket, .. } => match service {
                Service::S3 => self.s3(bucket).await?,
                Service::Gs => self.gs(bucket).await,
                Service::Az => self.az(bucket)?,
            },
            Location::Http(url) => {
                let options = self.options(url.scheme() == "http");
                HttpBuilder::new().with_url(key).with_client_options(options).with_retry(retry()).build().map(|store| Store {
                    objects: Arc::new(LimitStore::new(store, REQUESTS_MAX)),
                    pages: None,
                    identity: Identity::Given,
                })
            }
        };
        made.map_err(|error| super::error::root_cause(&error))
    }

    async fn s3(&self, bucket: &str) -> Result<object_store::Result<Store>, String> {
        let S3 { endpoint, region, credentials, addressing, payer } = &self.config.s3;
        let region = region.as_deref().unwrap_or("us-east-1");
        let is_plain = endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(region)
            .with_request_payer(*payer == Payer::Requester)
            .with_virtual_hosted_style_request(*addressing == Addressing::VirtualHosted)
            .with_client_options(self.options(is_plain))
            .with_retry(retry());
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(match addressing {
                Addressing::Path => endpoint.clone(),
                Addressing::VirtualHosted => hosted(endpoint, bucket)?,
            });
        }
        let (builder, identity) = self.identify(builder, credentials).await;
        Ok(builder.build().map(|store| store_of(store, identity)))
    }

    async fn identify(&self, builder: AmazonS3Builder, credentials: &S3Credentials) -> (AmazonS3Builder, Identity) {
        use AmazonS3ConfigKey as K;
        let builder = match credentials {
            S3Credentials::Anonymous => return (builder.with_skip_signature(true), Identity::None),
            S3Credentials::Keys { id, secret, token } => {
                let builder = builder.with_access_key_id(id).with_secret_access_key(secret.expose());
                token.iter().fold(builder, |builder, token| builder.with_token(token.expose()))
            }
            S3Credentials::WebIdentity { token_file, role, session } => {
                let file = token_file.to_string_lossy();
                let builder = builder.with_config(K::WebIdentityTokenFile, file).with_config(K::RoleArn, role);
                session.iter().fold(builder, |builder, session| builder.with_config(K::RoleSessionName, session))
            }
            S3Credentials::Task { path } => builder.with_config(K::ContainerCredentialsRelativeUri, path),
            S3Credentials::Pod { url, token_file } => builder
                .with_config(K::ContainerCredentialsFullUri, url)
                .with_config(K::ContainerAuthorizationTokenFile, token_file.to_string_lossy()),
            S3Credentials::Machine { endpoint } => {
                let endpoint = endpoint.as_deref();
                if !*self.amazon_role.get_or_init(|| metadata::amazon_has_role(endpoint)).await {
                    return (builder.with_skip_signature(true), Identity::None);
                }
                endpoint.into_iter().fold(builder, |builder, endpoint| builder.with_metadata_endpoint(endpoint.trim_end_matches('/')))
            }
        };
        (builder, Identity::Given)
    }

    async fn gs(&self, bucket: &str) -> object_store::Result<Store> {
        let Gs { endpoint, credentials } = &self.config.gs;
        let is_plain = endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let mut builder =
            GoogleCloudStorageBuilder::new().with_bucket_name(bucket).with_client_options(self.options(is_plain)).with_retry(retry());
        if let Some(endpoint) = endpoint {
            builder = builder.with_base_url(endpoint.trim_end_matches('/'));
        }
        let is_anonymous = match credentials {
            GsCredentials::Anonymous => true,
            GsCredentials::File(path) => {
                builder = builder.with_application_credentials(path.to_string_lossy());
                false
            }
            GsCredentials::Machine { host } => !*self.google_account.get_or_init(|| metadata::google_has_account(host)).await,
        };
        if is_anonymous {
            // A token that is never sent: without any, the builder would look for a file of its own.
            builder = builder.with_bearer_token("").with_skip_signature(true);
        }
        let identity = if is_anonymous { Identity::None } else { Identity::Given };
        builder.build().map(|store| store_of(store, identity))
    }

    fn az(&self, container: &str) -> Result<object_store::Result<Store>, String> {
        let Az { account, endpoint, credentials } = &self.config.az;
        let Some(account) = account else { return Err("no storage account is named; set AZURE_STORAGE_ACCOUNT".into()) };
        let is_plain = endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let mut builder = MicrosoftAzureBuilder::new()
            .with_account(account)
            .with_container_name(container)
            .with_client_options(self.options(is_plain))
            .with_retry(retry());
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
        }
        let (builder, identity) = match credentials {
            AzCredentials::Anonymous => (builder.with_skip_signature(true), Identity::None),
            AzCredentials::Key(key) => (builder.with_access_key(key.expose()), Identity::Given),
            AzCredentials::Signature(signature) => {
                (builder.with_config(AzureConfigKey::SasKey, signature.expose().trim_start_matches('?')), Identity::Given)
            }
        };
        Ok(builder.build().map(|store| store_of(store, identity)))
    }

    fn options(&self, allow_http: bool) -> ClientOptions {
        let Patience { connect, read } = self.config.patience;
        let options = ClientOptions::new().with_allow_http(allow_http).with_timeout_disabled();
        options.with_connect_timeout(connect).with_read_timeout(read)
    }
}

/// A store of a service, with its limit.
fn store_of<T: ObjectStore + PaginatedListStore + Clone>(store: T, identity: Identity) -> Store {
    let pages = Some(Arc::new(store.clone()) as _);
    Store { objects: Arc::new(LimitStore::new(store, REQUESTS_MAX)), pages, identity }
}

fn unlimited(store: LocalFileSystem) -> Store {
    Store { objects: Arc::new(store), pages: None, identity: Identity::Given }
}

/// The bucket in front of the server's name.
fn hosted(endpoint: &str, bucket: &str) -> Result<String, String> {
    let (scheme, server) = endpoint.split_once("://").ok_or_else(|| format!("the endpoint `{endpoint}` is no URL"))?;
    Ok(format!("{scheme}://{bucket}.{}", server.trim_end_matches('/')))
}

fn retry() -> RetryConfig {
    RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRY_TIME_MAX, ..RetryConfig::default() }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What lies below may print queries.
        f.debug_struct("Store").field("identity", &self.identity).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_goes_in_front_of_the_servers_name() {
        assert_eq!(hosted("https://server:9000/", "bucket").as_deref(), Ok("https://bucket.server:9000"));
        assert!(hosted("server", "bucket").unwrap_err().contains("`server` is no URL"));
    }
}
