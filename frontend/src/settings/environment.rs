//! Reads the environment variables, once; no other code of the libraries reads them.

use std::env;
use std::path::{Path, PathBuf};

use super::worker_variables::WorkerVariables;
use super::{aws, clouds};

/// The settings taken from the environment.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The tracing filter.
    pub log: Option<String>,
    /// Where caches are kept by default.
    pub cache: Option<PathBuf>,
    /// Where the store is.
    pub store: Option<String>,
    /// The servers of the broker.
    pub broker: Option<String>,
    /// Networks that a worker's tasks may read web servers in.
    pub networks: Option<String>,
    /// Whose jobs these are.
    pub tenant: Option<String>,
    /// The credentials file for the broker.
    pub credentials: Option<PathBuf>,
    /// What a worker has, and lets a task use.
    pub(crate) worker: WorkerVariables,
    /// Where buckets are, and the credentials for them.
    pub(crate) clouds: clouds::Variables,
    /// The folder that relative paths start from.
    pub folder: PathBuf,
    /// What the terminal takes, if there is one.
    pub terminal: Terminal,
}

/// What the terminal takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Terminal {
    /// Text only: `TERM` is `dumb`, or not set.
    #[default]
    Dumb,
    /// Text, and what moves the cursor, but no colours: `NO_COLOR` is set.
    Colorless,
    /// Colours, too.
    Full,
}

impl Environment {
    /// Read the environment. Empty variables count as not set.
    #[must_use]
    pub fn read() -> Self {
        let home = path("HOME");
        let caches =
            path("XDG_CACHE_HOME").or_else(|| home.as_ref().map(|home| home.join(".cache")));
        Self {
            log: text("SORTIE_LOG"),
            cache: caches.map(|folder| folder.join("sortie")),
            store: text("SORTIE_STORE"),
            networks: text("SORTIE_ALLOW_NETWORKS"),
            broker: text("SORTIE_BROKER"),
            tenant: text("SORTIE_TENANT"),
            credentials: text("SORTIE_CREDS").map(PathBuf::from),
            worker: worker(),
            clouds: clouds::Variables {
                aws: aws(home.as_deref()),
                google: google(home.as_deref()),
                azure: azure(),
            },
            folder: env::current_dir().unwrap_or_default(),
            terminal: terminal(),
        }
    }

    /// Endpoints and credentials of buckets, and configuration errors.
    #[must_use]
    pub fn clouds(&self) -> clouds::Clouds {
        clouds::Clouds::read(&self.clouds)
    }
}

fn terminal() -> Terminal {
    match text("TERM") {
        None => Terminal::Dumb,
        Some(kind) if kind == "dumb" => Terminal::Dumb,
        Some(_) if text("NO_COLOR").is_some() => Terminal::Colorless,
        Some(_) => Terminal::Full,
    }
}

fn worker() -> WorkerVariables {
    WorkerVariables {
        memory: text("SORTIE_MEMORY"),
        max_memory: text("SORTIE_MAX_MEMORY"),
        max_timeout: text("SORTIE_MAX_TIMEOUT"),
        max_cpu_time: text("SORTIE_MAX_CPU_TIME"),
        max_result: text("SORTIE_MAX_RESULT"),
        max_log: text("SORTIE_MAX_LOG"),
        max_written: text("SORTIE_MAX_WRITTEN"),
        store_quota: text("SORTIE_STORE_QUOTA"),
        max_attempts: text("SORTIE_MAX_ATTEMPTS"),
    }
}

fn aws(home: Option<&Path>) -> aws::Variables {
    let in_home = |name: &str| home.map(|home| home.join(name));
    aws::Variables {
        endpoint: text("AWS_ENDPOINT_URL_S3").or_else(|| text("AWS_ENDPOINT_URL")),
        region: text("AWS_REGION").or_else(|| text("AWS_DEFAULT_REGION")),
        key_id: text("AWS_ACCESS_KEY_ID"),
        secret: text("AWS_SECRET_ACCESS_KEY"),
        token: text("AWS_SESSION_TOKEN"),
        profile: text("AWS_PROFILE"),
        credentials_file: path("AWS_SHARED_CREDENTIALS_FILE")
            .or_else(|| in_home(".aws/credentials")),
        config_file: path("AWS_CONFIG_FILE").or_else(|| in_home(".aws/config")),
        unsigned: flag("AWS_SKIP_SIGNATURE"),
        virtual_hosted: flag("AWS_VIRTUAL_HOSTED_STYLE_REQUEST"),
        requester_pays: flag("AWS_REQUEST_PAYER")
            || text("AWS_REQUEST_PAYER").is_some_and(|payer| payer == "requester"),
        role: text("AWS_ROLE_ARN"),
        role_session: text("AWS_ROLE_SESSION_NAME"),
        role_endpoint: text("AWS_ENDPOINT_URL_STS"),
        identity_file: path("AWS_WEB_IDENTITY_TOKEN_FILE"),
        task_path: text("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
        pod_url: text("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        pod_token: text("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        pod_token_file: path("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
        no_metadata: flag("AWS_EC2_METADATA_DISABLED"),
        metadata: text("AWS_EC2_METADATA_SERVICE_ENDPOINT"),
    }
}

fn google(home: Option<&Path>) -> clouds::Google {
    clouds::Google {
        emulator: text("STORAGE_EMULATOR_HOST"),
        endpoint: text("GOOGLE_BASE_URL"),
        credentials: text("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from),
        login: home.map(|home| home.join(".config/gcloud/application_default_credentials.json")),
        unsigned: flag("GOOGLE_SKIP_SIGNATURE"),
        metadata: text("GCE_METADATA_HOST"),
        project: text("GOOGLE_CLOUD_QUOTA_PROJECT"),
    }
}

fn azure() -> clouds::Azure {
    clouds::Azure {
        account: text("AZURE_STORAGE_ACCOUNT").or_else(|| text("AZURE_STORAGE_ACCOUNT_NAME")),
        key: text("AZURE_STORAGE_KEY").or_else(|| text("AZURE_STORAGE_ACCOUNT_KEY")),
        signature: text("AZURE_STORAGE_SAS_TOKEN"),
        endpoint: text("AZURE_STORAGE_ENDPOINT"),
        emulator: flag("AZURE_STORAGE_USE_EMULATOR"),
    }
}

/// Whether a variable is set to yes.
fn flag(name: &str) -> bool {
    text(name).is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
}

/// A variable's text; set to nothing counts as not set.
fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// A variable that holds an absolute path; others are ignored, as the XDG specification asks.
fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}
