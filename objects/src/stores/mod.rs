//! Opens the stores behind locations: one client for each bucket or web server, created on first
//! use and kept for its connections.

pub(crate) mod bucket;
pub(crate) mod connector;
pub(crate) mod key;
pub(crate) mod local;
pub(crate) mod metadata_credentials;
pub(crate) mod notes;
pub(crate) mod page;
pub(crate) mod retries;
pub(crate) mod signer;
pub(crate) mod web;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureAccessKey, AzureCredential, MicrosoftAzureBuilder, split_sas};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::limit::LimitStore;
use object_store::{ObjectStore, StaticCredentialProvider};
use parking_lot::Mutex;
use sortie_protocol::outcome::InputFault;
use sortie_protocol::{Advice, Cloud};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use url::Url;

use self::bucket::{Bucket, Keyed};
use self::connector::Connector;
use self::key::Slashes;
use self::metadata_credentials::{Amazon, Google, Keeper, Source};
use self::notes::NOBODY;
use self::retries::retry;
use self::signer::Signer;
use self::web::{Web, WebFile};
use crate::blocking::{NAMES_MAX, Pool};
use crate::config::{
    Addressing, Az, AzCredentials, Config, Gs, GsCredentials, Payer, S3, S3Credentials,
};
use crate::networks::{Networks, Resolver};
use crate::shown::shown;
use crate::{Address, Error, Files, Location, Service};

/// How many stores are kept open. Signed URLs make one each; at the limit all are closed and opened
/// again as needed.
const STORES_MAX: usize = 256;

/// Concurrent requests to one bucket or web server, each on its own connection; more wait. At 40
/// MB/s each, they exceed a machine's network.
pub const REQUESTS_MAX: usize = 128;

/// The endpoint of Google Cloud Storage.
const GOOGLE_STORAGE: &str = "https://storage.googleapis.com";

/// Where an object is, with what it is read through. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum Spot {
    File(PathBuf),
    Bucket(Keyed),
    Web(WebFile),
}

/// Open stores.
#[derive(Debug)]
pub(crate) struct Stores {
    config: Config,
    open: Mutex<HashMap<String, Bucket>>,
    /// Requests at once to each web server.
    servers: Mutex<HashMap<String, Arc<Semaphore>>>,
    /// What gives keys for S3 and for Google, if a machine or container does: one for all buckets,
    /// made when first needed.
    amazon: OnceLock<Arc<Keeper<Amazon>>>,
    google: OnceLock<Arc<Keeper<Google>>>,
    web: OnceLock<Web>,
    /// Looks up names of servers.
    names: Pool,
}

impl Stores {
    pub(crate) fn new(config: Config, io: Handle) -> Self {
        Self {
            config,
            open: Mutex::default(),
            servers: Mutex::default(),
            amazon: OnceLock::new(),
            google: OnceLock::new(),
            web: OnceLock::new(),
            names: Pool::new(NAMES_MAX, io),
        }
    }

    /// Which local files may be read.
    pub(crate) fn files(&self) -> &Files {
        &self.config.files
    }

    /// What names an object among those of all stores that there are, and not only among those that
    /// this process reaches.
    pub(crate) fn name(&self, address: &Address) -> String {
        let server = match &address.location {
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
        let whole = Address {
            bytes: None,
            ..address.clone()
        };
        format!("{}\n{}", server.unwrap_or_default(), whole.to_url())
    }

    /// Where an object is. A key that cannot be asked for as it is would name another object, and
    /// is refused.
    pub(crate) fn of(&self, location: &Location) -> Result<Spot, Error> {
        match location {
            Location::File(path) => Ok(Spot::File(path.clone())),
            Location::Bucket { service, key, .. } => match key::why_not(*service, key) {
                Some(reason) => Err(malformed(location, reason)),
                None => Ok(Spot::Bucket(Keyed {
                    bucket: self.bucket(location)?,
                    key: key.clone(),
                })),
            },
            Location::Http(url) => Ok(Spot::Web(WebFile {
                web: self.web().map_err(|reason| malformed(location, &reason))?,
                url: url.clone(),
                permits: self.permits(url),
            })),
        }
    }

    /// The bucket of a location, which is in one.
    pub(crate) fn bucket(&self, location: &Location) -> Result<Bucket, Error> {
        let Location::Bucket {
            service, bucket, ..
        } = location
        else {
            return Err(malformed(location, "it is in no bucket"));
        };
        let key = format!("{}://{bucket}", service.scheme());
        let mut open = self.open.lock();
        if let Some(bucket) = open.get(&key) {
            return Ok(bucket.clone());
        }
        let made = match service {
            Service::S3 => self.s3(bucket),
            Service::Gs => self.gs(bucket),
            Service::Az => self.az(bucket),
        };
        let made = made.map_err(|reason| {
            let error = malformed(location, &reason);
            match self.advice(location) {
                Some(advice) => error.advised(advice),
                None => error,
            }
        })?;
        if open.len() >= STORES_MAX {
            open.clear();
        }
        open.insert(key, made.clone());
        Ok(made)
    }

    fn web(&self) -> Result<Web, String> {
        if let Some(web) = self.web.get() {
            return Ok(web.clone());
        }
        let new = Web::new(self.resolver(self.config.web_networks.clone()))?;
        Ok(self.web.get_or_init(|| new).clone())
    }

    fn permits(&self, url: &Url) -> Arc<Semaphore> {
        let mut servers = self.servers.lock();
        // Those that are in use keep what they have.
        if servers.len() >= STORES_MAX {
            servers.clear();
        }
        servers
            .entry(format!("{}://{}", url.scheme(), url.authority()))
            .or_insert_with(|| Arc::new(Semaphore::new(REQUESTS_MAX)))
            .clone()
    }

    fn resolver(&self, networks: Networks) -> Resolver {
        Resolver {
            networks: Arc::new(networks),
            pool: self.names.clone(),
        }
    }

    fn connector(
        &self,
        service: Service,
        payer: Option<connector::Payer>,
    ) -> Result<Connector, String> {
        // Where stores are, the operator says.
        let resolver = self.resolver(Networks::Everywhere);
        Connector::new(Slashes::of(service), payer, resolver)
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

    /// A bucket in S3, or why it cannot be opened, without secrets.
    fn s3(&self, bucket: &str) -> Result<Bucket, String> {
        let S3 {
            endpoint,
            region,
            addressing,
            payer,
            ..
        } = &self.config.s3;
        let region = region.as_deref().unwrap_or("us-east-1");
        let connector = self.connector(Service::S3, None)?;
        let builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(region)
            .with_virtual_hosted_style_request(*addressing == Addressing::VirtualHosted)
            .with_request_payer(*payer == Payer::Requester)
            .with_http_connector(connector.clone())
            .with_retry(retry());
        let endpoint = match checked(endpoint.as_deref())? {
            Some(endpoint) => endpoint,
            None => checked(Some(&format!("https://s3.{region}.amazonaws.com")))?
                .ok_or("the region has a name that no server's name can hold")?,
        };
        let (builder, url) = match addressing {
            Addressing::Path => {
                let endpoint = endpoint.as_str().trim_end_matches('/');
                let url = format!("{endpoint}/{bucket}");
                (builder.with_endpoint(endpoint), url)
            }
            Addressing::VirtualHosted => {
                let hosted = hosted(&endpoint, bucket)?;
                (builder.with_endpoint(&hosted), hosted)
            }
        };
        let store = self
            .s3_credentials(builder)?
            .build()
            .map_err(|error| crate::error::root_cause(&error))?;
        if self.config.s3.credentials != S3Credentials::Anonymous {
            connector.sign_with(Signer::Amazon {
                credentials: store.credentials().clone(),
                region: region.to_owned(),
                pays: *payer == Payer::Requester,
            });
        }
        let client = connector.client();
        Ok(Bucket::new(Service::S3, limited(store), client, url))
    }

    fn s3_credentials(&self, builder: AmazonS3Builder) -> Result<AmazonS3Builder, String> {
        Ok(match &self.config.s3.credentials {
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

    /// A bucket at Google, or why it cannot be opened, without secrets.
    fn gs(&self, bucket: &str) -> Result<Bucket, String> {
        let Gs {
            endpoint,
            credentials,
            project,
        } = &self.config.gs;
        let usual = || Url::parse(GOOGLE_STORAGE).map_err(|error| error.to_string());
        let endpoint = checked(endpoint.as_deref())?.map_or_else(usual, Ok)?;
        let payer = project
            .as_ref()
            .map(|project| connector::Payer::new(project, &endpoint))
            .transpose()?;
        let connector = self.connector(Service::Gs, payer)?;
        let endpoint = endpoint.as_str().trim_end_matches('/');
        let builder = GoogleCloudStorageBuilder::new()
            .with_bucket_name(bucket)
            .with_http_connector(connector.clone())
            .with_base_url(endpoint)
            .with_retry(retry());
        let builder = match credentials {
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
        };
        let store = builder
            .build()
            .map_err(|error| crate::error::root_cause(&error))?;
        connector.sign_with(Signer::Google(store.credentials().clone()));
        let url = format!("{endpoint}/{bucket}");
        let client = connector.client();
        Ok(Bucket::new(Service::Gs, limited(store), client, url))
    }

    /// A container at Azure, or why it cannot be opened, without secrets.
    fn az(&self, container: &str) -> Result<Bucket, String> {
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
        let connector = self.connector(Service::Az, None)?;
        let builder = builder
            .with_http_connector(connector.clone())
            .with_retry(retry());
        let endpoint = match checked(endpoint.as_deref())? {
            Some(endpoint) => endpoint.as_str().trim_end_matches('/').to_owned(),
            None => format!("https://{account}.blob.core.windows.net"),
        };
        let builder = builder.with_endpoint(endpoint.clone());
        let provider = StaticCredentialProvider::new(az_credential(credentials)?);
        let store = builder
            .with_credentials(Arc::new(provider))
            .with_skip_signature(*credentials == AzCredentials::Anonymous)
            .build()
            .map_err(|error| crate::error::root_cause(&error))?;
        connector.sign_with(Signer::Azure {
            credential: Arc::new(az_credential(credentials)?),
            account: account.clone(),
        });
        let url = format!("{endpoint}/{container}");
        let client = connector.client();
        Ok(Bucket::new(Service::Az, limited(store), client, url))
    }
}

fn az_credential(credentials: &AzCredentials) -> Result<AzureCredential, String> {
    Ok(match credentials {
        AzCredentials::Anonymous => AzureCredential::SASToken(Vec::new()),
        AzCredentials::Key(key) => AzureCredential::AccessKey(
            AzureAccessKey::try_new(key.expose())
                .map_err(|_| "the storage account's key is not base64")?,
        ),
        AzCredentials::Signature(signature) => AzureCredential::SASToken(
            split_sas(signature.expose())
                .map_err(|_| "the shared access signature has not the form sv=...&sig=...")?,
        ),
    })
}

fn malformed(location: &Location, reason: &str) -> Error {
    Error::new(
        InputFault::Malformed,
        format!("`{}` cannot be opened: {reason}", shown(location)),
    )
}

/// A store, with its limit.
fn limited<T: ObjectStore>(store: T) -> LimitStore<T> {
    LimitStore::new(store, REQUESTS_MAX)
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
    use crate::{Objects, Token};

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
