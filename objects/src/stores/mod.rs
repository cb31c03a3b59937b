//! Opens the stores behind locations: one client for each bucket or web server, created on first
//! use and kept for its connections.

pub(crate) mod connector;
pub(crate) mod metadata_credentials;
pub(crate) mod notes;

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureAccessKey, AzureCredential, MicrosoftAzureBuilder, split_sas};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::http::HttpBuilder;
use object_store::limit::LimitStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, RetryConfig, StaticCredentialProvider};
use parking_lot::Mutex;
use sortie_protocol::outcome::InputFault;
use sortie_protocol::{Advice, Cloud};
use url::Url;

use self::connector::Connector;
use self::metadata_credentials::{Amazon, Google, Keeper, Source};
use self::notes::NOBODY;
use crate::config::{
    Addressing, Az, AzCredentials, Config, Gs, GsCredentials, Payer, S3, S3Credentials,
};
use crate::{Error, Files, Location, Service};

/// How often a request is retried after a transient error.
pub const RETRIES_MAX: usize = 5;
/// Maximum total time of the retries of a request.
pub const RETRY_TIME_MAX: Duration = Duration::from_secs(60);
/// How many stores are kept open. Signed URLs make one each; at the limit all are closed and opened
/// again as needed.
const STORES_MAX: usize = 256;

/// Concurrent requests to one bucket or web server, each on its own connection; more wait. At 40
/// MB/s each, they exceed a machine's network.
pub const REQUESTS_MAX: usize = 128;

/// The endpoint of Google Cloud Storage.
const GOOGLE_STORAGE: &str = "https://storage.googleapis.com";

/// An open store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store(Arc<dyn ObjectStore>);

impl Deref for Store {
    type Target = dyn ObjectStore;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The inner store's `Debug` would print keys and signatures.
        f.write_str("Store")
    }
}

/// Open stores.
#[derive(Debug)]
pub(crate) struct Stores {
    config: Config,
    open: Mutex<HashMap<String, Store>>,
    /// Credentials for S3 and for Google from a metadata service or agent: one for all buckets,
    /// created when first needed.
    amazon: OnceLock<Arc<Keeper<Amazon>>>,
    google: OnceLock<Arc<Keeper<Google>>>,
}

impl Stores {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            open: Mutex::default(),
            amazon: OnceLock::new(),
            google: OnceLock::new(),
        }
    }

    /// Which local files may be read.
    pub(crate) fn files(&self) -> &Files {
        &self.config.files
    }

    /// A name that identifies an object among all stores, not only among those of this
    /// configuration.
    pub(crate) fn name(&self, location: &Location) -> String {
        let server = match location {
            Location::File(_) | Location::Http(_) => None,
            Location::Bucket {
                service: Service::S3,
                ..
            } => self.config.s3.endpoint.clone(),
            Location::Bucket {
                service: Service::Gs,
                ..
            } => self.config.gs.endpoint.clone(),
            Location::Bucket {
                service: Service::Az,
                ..
            } => {
                let Az {
                    account, endpoint, ..
                } = &self.config.az;
                Some(format!(
                    "{} {}",
                    account.as_deref().unwrap_or_default(),
                    endpoint.as_deref().unwrap_or_default()
                ))
            }
        };
        format!("{}\n{}", server.unwrap_or_default(), location.to_url())
    }

    /// The store of an object, and the object's path in it. A key that the library's path type
    /// would change is refused, because it would name another object.
    pub(crate) fn of(&self, location: &Location) -> Result<(Store, Path), Error> {
        let (store, path) = self.of_place(location)?;
        match location {
            Location::Bucket { key, .. } if path.as_ref() != key => Err(malformed(
                location,
                "keys that begin or end with a slash are not supported",
            )),
            Location::Bucket { .. } | Location::File(_) | Location::Http(_) => Ok((store, path)),
        }
    }

    /// The store of a prefix, and the prefix's path in it, without the trailing slash.
    pub(crate) fn of_place(&self, location: &Location) -> Result<(Store, Path), Error> {
        let malformed = |reason: String| malformed(location, &reason);
        let (key, path) = match location {
            Location::File(path) => (
                "file".into(),
                Path::from_absolute_path(path).map_err(|error| malformed(error.to_string()))?,
            ),
            Location::Bucket {
                service,
                bucket,
                key,
            } => {
                let path = folder(key).map_err(malformed)?;
                (format!("{}://{bucket}", service.scheme()), path)
            }
            Location::Http(url) => {
                let path = Path::from_url_path(url.path())
                    .map_err(|error| malformed(error.to_string()))?;
                let mut base = url.clone();
                // A query, such as a signature, stays in the base URL: the store inserts the path
                // before it.
                base.set_path("/");
                (base.into(), path)
            }
        };
        let mut open = self.open.lock();
        if let Some(store) = open.get(&key) {
            return Ok((store.clone(), path));
        }
        let store = self.make(location, &key).map_err(|reason| Error {
            advice: self.advice(location),
            ..malformed(reason)
        })?;
        if open.len() >= STORES_MAX {
            open.clear();
        }
        open.insert(key, store.clone());
        Ok((store, path))
    }

    /// Advice for a store that cannot be set up.
    fn advice(&self, location: &Location) -> Option<Advice> {
        match location {
            Location::Bucket {
                service: Service::Az,
                ..
            } => Some(if self.config.az.account.is_none() {
                Advice::NameAccount
            } else {
                Advice::GiveCredentials { cloud: Cloud::Az }
            }),
            Location::Bucket { .. } | Location::File(_) | Location::Http(_) => None,
        }
    }

    /// Open a store. The error text contains no secrets.
    fn make(&self, location: &Location, key: &str) -> Result<Store, String> {
        match location {
            Location::File(_) => Ok(Store(Arc::new(LocalFileSystem::new()))),
            Location::Bucket {
                service: Service::S3,
                bucket,
                ..
            } => limited(self.s3(bucket)?.build()),
            Location::Bucket {
                service: Service::Gs,
                bucket,
                ..
            } => limited(self.gs(bucket)?.build()),
            Location::Bucket {
                service: Service::Az,
                bucket,
                ..
            } => limited(self.az(bucket)?.build()),
            Location::Http(url) => {
                let options = connector::open_options().with_allow_http(url.scheme() == "http");
                limited(
                    HttpBuilder::new()
                        .with_url(key)
                        .with_client_options(options)
                        .with_retry(retry())
                        .build(),
                )
            }
        }
    }

    fn s3(&self, bucket: &str) -> Result<AmazonS3Builder, String> {
        let S3 {
            endpoint,
            region,
            credentials,
            addressing,
            payer,
        } = &self.config.s3;
        let builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(region.as_deref().unwrap_or("us-east-1"))
            .with_virtual_hosted_style_request(*addressing == Addressing::VirtualHosted)
            .with_request_payer(*payer == Payer::Requester)
            .with_http_connector(Connector::default())
            .with_retry(retry());
        let builder = match (checked(endpoint.as_deref())?, addressing) {
            (None, _) => builder,
            (Some(endpoint), Addressing::Path) => builder.with_endpoint(endpoint.as_str()),
            (Some(endpoint), Addressing::VirtualHosted) => {
                builder.with_endpoint(hosted(&endpoint, bucket)?)
            }
        };
        Ok(match credentials {
            S3Credentials::Anonymous => builder.with_skip_signature(true),
            S3Credentials::Keys { id, secret, token } => {
                let builder = builder
                    .with_access_key_id(id.expose())
                    .with_secret_access_key(secret.expose());
                token
                    .iter()
                    .fold(builder, |builder, token| builder.with_token(token.expose()))
            }
            S3Credentials::WebIdentity {
                token_file,
                role,
                session,
                endpoint,
            } => {
                let file = token_file
                    .to_str()
                    .ok_or("the file of the web identity's token has a name that is no text")?;
                let builder = builder
                    .with_config(AmazonS3ConfigKey::WebIdentityTokenFile, file)
                    .with_config(AmazonS3ConfigKey::RoleArn, role);
                let builder = session.iter().fold(builder, |builder, name| {
                    builder.with_config(AmazonS3ConfigKey::RoleSessionName, name)
                });
                checked(endpoint.as_deref())?
                    .iter()
                    .fold(builder, |builder, url| {
                        builder.with_config(AmazonS3ConfigKey::StsEndpoint, url.as_str())
                    })
            }
            S3Credentials::Container { url, token } => {
                builder.with_credentials(kept(&self.amazon, || Amazon::agent(url, token.clone()))?)
            }
            S3Credentials::Machine { endpoint } => builder
                .with_credentials(kept(&self.amazon, || Amazon::machine(endpoint.as_deref()))?),
        })
    }

    fn gs(&self, bucket: &str) -> Result<GoogleCloudStorageBuilder, String> {
        let Gs {
            endpoint,
            credentials,
            project,
        } = &self.config.gs;
        let endpoint = checked(endpoint.as_deref())?;
        let connector = match project {
            None => Connector::default(),
            Some(project) => {
                let usual = || Url::parse(GOOGLE_STORAGE).map_err(|error| error.to_string());
                Connector::paying(project, &endpoint.clone().map_or_else(usual, Ok)?)?
            }
        };
        let builder = GoogleCloudStorageBuilder::new()
            .with_bucket_name(bucket)
            .with_http_connector(connector)
            .with_retry(retry());
        let builder = match endpoint {
            Some(endpoint) => builder.with_base_url(endpoint.as_str().trim_end_matches('/')),
            None => builder,
        };
        Ok(match credentials {
            GsCredentials::Anonymous => {
                // A placeholder that is never sent. Without it, the builder would look for
                // credential files itself.
                let nobody = GcpCredential {
                    bearer: NOBODY.into(),
                };
                builder
                    .with_credentials(Arc::new(StaticCredentialProvider::new(nobody)))
                    .with_skip_signature(true)
            }
            GsCredentials::Account(key) => builder.with_service_account_key(key.expose()),
            GsCredentials::Person(file) => builder.with_application_credentials(
                file.to_str()
                    .ok_or("the file of Google's credentials has a name that is no text")?,
            ),
            GsCredentials::Machine { host } => {
                builder.with_credentials(kept(&self.google, || Google::machine(host))?)
            }
        })
    }

    fn az(&self, container: &str) -> Result<MicrosoftAzureBuilder, String> {
        let Az {
            account,
            endpoint,
            credentials,
        } = &self.config.az;
        let account = account.as_ref().ok_or("no storage account is named")?;
        // The account's name becomes part of the host name.
        if account.is_empty()
            || !account
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        {
            return Err("the storage account's name may have lower case letters and digits".into());
        }
        let builder = MicrosoftAzureBuilder::new()
            .with_account(account)
            .with_container_name(container);
        let builder = builder
            .with_http_connector(Connector::default())
            .with_retry(retry());
        let builder = match checked(endpoint.as_deref())? {
            Some(endpoint) => {
                builder.with_endpoint(endpoint.as_str().trim_end_matches('/').to_owned())
            }
            None => builder,
        };
        let credential = match credentials {
            AzCredentials::Anonymous => AzureCredential::SASToken(Vec::new()),
            AzCredentials::Key(key) => AzureCredential::AccessKey(
                AzureAccessKey::try_new(key.expose())
                    .map_err(|_| "the storage account's key is not base64")?,
            ),
            AzCredentials::Signature(signature) => AzureCredential::SASToken(
                split_sas(signature.expose())
                    .map_err(|_| "the shared access signature has not the form sv=...&sig=...")?,
            ),
        };
        let builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(credential)));
        Ok(builder.with_skip_signature(*credentials == AzCredentials::Anonymous))
    }
}

fn retry() -> RetryConfig {
    RetryConfig {
        max_retries: RETRIES_MAX,
        retry_timeout: RETRY_TIME_MAX,
        ..RetryConfig::default()
    }
}

fn malformed(location: &Location, reason: &str) -> Error {
    Error::new(
        InputFault::Malformed,
        format!("`{location}` cannot be opened: {reason}"),
    )
}

/// A key, or a prefix of keys, as the library's path. The library drops a trailing slash, which is
/// fine, and a leading slash, which would name another object and is refused.
pub(crate) fn folder(key: &str) -> Result<Path, String> {
    let path = Path::parse(key).map_err(|error| error.to_string())?;
    if path.as_ref() == key.strip_suffix('/').unwrap_or(key) {
        Ok(path)
    } else {
        Err("keys that begin with a slash are not supported".into())
    }
}

/// A store with a limit on concurrent requests.
fn limited<T: ObjectStore>(store: object_store::Result<T>) -> Result<Store, String> {
    let store = store.map_err(|error| crate::error::root_cause(&error))?;
    Ok(Store(Arc::new(LimitStore::new(store, REQUESTS_MAX))))
}

/// The existing one, or a new one. If two callers create one at the same time, the first stays.
fn kept<S: Source>(
    there: &OnceLock<Arc<Keeper<S>>>,
    make: impl FnOnce() -> Result<S, String>,
) -> Result<Arc<Keeper<S>>, String> {
    if let Some(keeper) = there.get() {
        return Ok(keeper.clone());
    }
    let new = Arc::new(Keeper::new(make()?));
    Ok(there.get_or_init(|| new).clone())
}

/// Parse and check an endpoint.
fn checked(endpoint: Option<&str>) -> Result<Option<Url>, String> {
    let Some(text) = endpoint else {
        return Ok(None);
    };
    match Url::parse(text) {
        Ok(url)
            if matches!(url.scheme(), "http" | "https")
                && url.query().is_none()
                && url.username().is_empty() =>
        {
            Ok(Some(url))
        }
        _ => Err("the endpoint is not a URL such as https://host or http://host:9000".into()),
    }
}

/// The endpoint with the bucket as part of the host name.
fn hosted(endpoint: &Url, bucket: &str) -> Result<String, String> {
    let host = endpoint.domain().ok_or(
        "a bucket in front of the server's name needs an endpoint with a name, not an address",
    )?;
    let mut hosted = endpoint.clone();
    hosted
        .set_host(Some(&format!("{bucket}.{host}")))
        .map_err(|_| format!("`{bucket}` cannot stand in front of a server's name"))?;
    Ok(hosted.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;

    use super::*;
    use crate::{Address, Objects, Token};

    #[test]
    fn the_bucket_goes_in_front_of_the_servers_name() {
        let hosted = |text: &str| hosted(&Url::parse(text).unwrap(), "bucket");
        assert_eq!(
            hosted("https://server:9000/").as_deref(),
            Ok("https://bucket.server:9000")
        );
        assert!(
            hosted("http://127.0.0.1:9000")
                .unwrap_err()
                .contains("not an address")
        );
    }

    /// The error text for an object that cannot be opened with this configuration.
    fn told(text: &str, config: Config) -> String {
        let objects = Objects::new(config, Handle::current());
        let address = Address::parse(text, std::path::Path::new("/")).unwrap();
        let message = objects.check(&address.location).unwrap_err().message;
        let prefix = format!("`{text}` cannot be opened: ");
        assert!(message.starts_with(&prefix), "{message}");
        assert!(!message.contains("hidden"), "{message}");
        assert!(!message.contains('\n'), "{message}");
        message
    }

    #[tokio::test]
    async fn what_is_configured_wrongly_is_told_without_secrets() {
        let az = |account: Option<&str>, credentials: AzCredentials| {
            let az = Az {
                account: account.map(Into::into),
                credentials,
                ..Az::default()
            };
            told(
                "az://box/key",
                Config {
                    az,
                    ..Config::default()
                },
            )
        };
        assert!(az(None, AzCredentials::Anonymous).contains("no storage account"));
        assert!(
            az(Some("evil.host/"), AzCredentials::Anonymous).contains("storage account's name")
        );
        assert!(az(Some("account"), AzCredentials::Key("hidden!".into())).contains("not base64"));
        assert!(
            az(Some("account"), AzCredentials::Signature("hidden".into()))
                .contains("shared access signature")
        );
        let key = concat!(
            r#"{"type": "service_account", "private_key": "hidden", "#,
            r#""private_key_id": "1", "client_email": "me"}"#,
        );
        let gs = Gs {
            credentials: GsCredentials::Account(key.into()),
            ..Gs::default()
        };
        told(
            "gs://box/key",
            Config {
                gs,
                ..Config::default()
            },
        );
        let s3 = |s3: S3| {
            told(
                "s3://box/key",
                Config {
                    s3,
                    ..Config::default()
                },
            )
        };
        assert!(
            s3(S3 {
                endpoint: Some("hidden:9000".into()),
                ..S3::default()
            })
            .contains("endpoint")
        );
        let agent = S3Credentials::Container {
            url: "http://example.org/hidden".into(),
            token: Some(Token::Text("hidden".into())),
        };
        assert!(
            s3(S3 {
                credentials: agent,
                ..S3::default()
            })
            .contains("use https://")
        );
    }

    #[tokio::test]
    async fn stores_print_nothing_of_what_they_hold() {
        let az = Az {
            account: Some("account".into()),
            credentials: AzCredentials::Key("aGlkZGVu".into()),
            ..Az::default()
        };
        let objects = Objects::new(
            Config {
                az,
                ..Config::default()
            },
            Handle::current(),
        );
        objects
            .check(
                &Address::parse("az://box/key", std::path::Path::new("/"))
                    .unwrap()
                    .location,
            )
            .unwrap();
        let text = format!("{objects:?}");
        assert!(
            !text.contains("aGlkZGVu") && !text.contains("104, 105, 100, 100"),
            "{text}"
        );
    }
}
