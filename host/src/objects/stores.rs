//! The stores behind locations: one per bucket or web server, made when first needed and kept for its connections.

use std::collections::HashMap;
use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::http::HttpBuilder;
use object_store::limit::LimitStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, RetryConfig};
use parking_lot::Mutex;
use sortie_protocol::ByteSize;
use sortie_protocol::outcome::InputFault;

use super::connector::{self, Connector};
use super::{Error, Files, Location, RETRIES_MAX, RETRY_TIME_MAX};

/// How many stores are kept open. Signed URLs make one each; at the limit all are closed and opened again as needed.
const STORES_MAX: usize = 256;

/// What a process holds of objects, unless it is told otherwise: eight streams that are read ahead as far as they may, or as many short documents
/// as two hundred requests bring.
pub const MEMORY_DEFAULT: ByteSize = ByteSize(512 << 20);

/// Requests to one bucket or web server at once, each with a connection of its own: at 40 MB/s each more than a machine's network carries. More
/// wait.
pub const REQUESTS_MAX: usize = 128;

/// How objects are reached.
#[derive(Debug, Clone)]
pub struct Config {
    /// S3, or a store that speaks its protocol.
    pub s3: S3,
    /// Which local files may be read.
    pub files: Files,
    /// What may be held of objects, for tasks that read them and for those to come.
    pub memory: ByteSize,
    /// Whether objects are read ahead of who needs them.
    pub prefetch: Prefetch,
}

/// Whether objects are read ahead of who needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefetch {
    /// Inputs of tasks that are to come, and what follows where a function reads in order.
    #[default]
    On,
    /// Nothing is fetched before a function asks for it.
    Off,
}

impl Default for Config {
    fn default() -> Self {
        Self { s3: S3::default(), files: Files::default(), memory: MEMORY_DEFAULT, prefetch: Prefetch::default() }
    }
}

/// How S3 is reached. What is absent is not guessed, except the region.
#[derive(Clone, Default)]
pub struct S3 {
    /// The server, if not Amazon's. Buckets are then addressed by path.
    pub endpoint: Option<String>,
    /// The region; `us-east-1` if absent.
    pub region: Option<String>,
    /// Access key id, secret key and, for temporary keys, the session token. Without keys requests are not signed.
    pub keys: Option<(String, String, Option<String>)>,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let signed = self.keys.is_some();
        f.debug_struct("S3").field("endpoint", &self.endpoint).field("region", &self.region).field("signed", &signed).finish()
    }
}

/// Open stores.
#[derive(Debug)]
pub(super) struct Stores {
    config: Config,
    open: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl Stores {
    pub(super) fn new(config: Config) -> Self {
        Self { config, open: Mutex::new(HashMap::new()) }
    }

    /// Which local files may be read.
    pub(super) fn files(&self) -> &Files {
        &self.config.files
    }

    /// The store of a location, and the object's path in it.
    pub(super) fn of(&self, location: &Location) -> Result<(Arc<dyn ObjectStore>, Path), Error> {
        let malformed = |reason: String| Error::new(InputFault::Malformed, format!("`{location}` cannot be opened: {reason}"));
        let (key, path) = match location {
            Location::File(path) => ("file".into(), Path::from_absolute_path(path).map_err(|error| malformed(error.to_string()))?),
            Location::S3 { bucket, key } => (format!("s3://{bucket}"), Path::parse(key).map_err(|error| malformed(error.to_string()))?),
            Location::Http(url) => {
                let path = Path::from_url_path(url.path()).map_err(|error| malformed(error.to_string()))?;
                let mut base = url.clone();
                // A query, such as a signature, stays with the base: the store appends the path in front of it.
                base.set_path("/");
                (base.into(), path)
            }
        };
        let mut open = self.open.lock();
        if let Some(store) = open.get(&key) {
            return Ok((store.clone(), path));
        }
        let store = self.make(location, &key).map_err(|error| malformed(super::error::root_cause(&error)))?;
        if open.len() >= STORES_MAX {
            open.clear();
        }
        open.insert(key, store.clone());
        Ok((store, path))
    }

    fn make(&self, location: &Location, key: &str) -> object_store::Result<Arc<dyn ObjectStore>> {
        let retry = RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRY_TIME_MAX, ..RetryConfig::default() };
        Ok(match location {
            Location::File(_) => Arc::new(LocalFileSystem::new()),
            Location::S3 { bucket, .. } => {
                let store = self.s3(bucket).with_http_connector(Connector).with_retry(retry).build()?;
                Arc::new(LimitStore::new(store, REQUESTS_MAX))
            }
            Location::Http(url) => {
                let options = connector::open_options().with_allow_http(url.scheme() == "http");
                let store = HttpBuilder::new().with_url(key).with_client_options(options).with_retry(retry).build()?;
                Arc::new(LimitStore::new(store, REQUESTS_MAX))
            }
        })
    }

    fn s3(&self, bucket: &str) -> AmazonS3Builder {
        let S3 { endpoint, region, keys } = &self.config.s3;
        let mut builder = AmazonS3Builder::new().with_bucket_name(bucket).with_region(region.as_deref().unwrap_or("us-east-1"));
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        match keys {
            Some((id, secret, token)) => {
                builder = builder.with_access_key_id(id).with_secret_access_key(secret);
                if let Some(token) = token {
                    builder = builder.with_token(token);
                }
            }
            None => builder = builder.with_skip_signature(true),
        }
        builder
    }
}
