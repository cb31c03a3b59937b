//! The environment, read once: nothing else looks at it.

use std::env;
use std::path::PathBuf;

use crate::aws;

/// What this program takes from its environment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    /// The tracing filter.
    pub(crate) log: Option<String>,
    /// Where caches are kept by default.
    pub(crate) cache: Option<PathBuf>,
    /// Where the store is.
    pub(crate) store: Option<String>,
    /// The servers of the broker.
    pub(crate) broker: Option<String>,
    /// Whose jobs these are.
    pub(crate) tenant: Option<String>,
    /// The credentials file for the broker.
    pub(crate) credentials: Option<PathBuf>,
    /// Where S3 is and who we are there.
    pub(crate) aws: aws::Variables,
    /// The folder that relative paths start from.
    pub(crate) folder: PathBuf,
}

impl Environment {
    /// Read it.
    pub(crate) fn read() -> Self {
        let home = path("HOME");
        let caches = path("XDG_CACHE_HOME").or_else(|| home.as_ref().map(|home| home.join(".cache")));
        Self {
            log: text("SORTIE_LOG"),
            cache: caches.map(|folder| folder.join("sortie")),
            store: text("SORTIE_STORE"),
            broker: text("SORTIE_BROKER"),
            tenant: text("SORTIE_TENANT"),
            credentials: text("SORTIE_CREDS").map(PathBuf::from),
            aws: aws::Variables {
                endpoint: text("AWS_ENDPOINT_URL_S3").or_else(|| text("AWS_ENDPOINT_URL")),
                region: text("AWS_REGION").or_else(|| text("AWS_DEFAULT_REGION")),
                key_id: text("AWS_ACCESS_KEY_ID"),
                secret: text("AWS_SECRET_ACCESS_KEY"),
                token: text("AWS_SESSION_TOKEN"),
                profile: text("AWS_PROFILE"),
                credentials_file: path("AWS_SHARED_CREDENTIALS_FILE").or_else(|| home.as_ref().map(|home| home.join(".aws/credentials"))),
                config_file: path("AWS_CONFIG_FILE").or_else(|| home.as_ref().map(|home| home.join(".aws/config"))),
            },
            folder: env::current_dir().unwrap_or_default(),
        }
    }
}

/// A variable's text; set to nothing counts as not set.
fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// A variable that holds an absolute path; others are ignored, as the XDG specification asks.
fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}
