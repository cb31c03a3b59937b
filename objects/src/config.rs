//! Configuration of stores, caches and credentials, as plain data. Nothing here reads the
//! environment, and secrets are never printed.

use std::fmt;
use std::path::PathBuf;

use sortie_protocol::ByteSize;

use crate::{Files, Networks};

/// The default memory budget of a process for objects: enough for eight streams at their maximum
/// read-ahead, or for the short documents of two hundred requests.
pub const MEMORY_DEFAULT: ByteSize = ByteSize(512 << 20);

/// Configuration of [`crate::Objects`].
#[derive(Debug, Clone)]
pub struct Config {
    /// S3, or a compatible store.
    pub s3: S3,
    /// Google Cloud Storage.
    pub gs: Gs,
    /// Azure Blob Storage.
    pub az: Az,
    /// Which local files may be read.
    pub files: Files,
    /// Which addresses web servers are read at.
    pub web_networks: Networks,
    /// What may be held of objects, for tasks that read them and for those to come.
    pub memory: ByteSize,
    /// Whether objects are fetched before they are needed.
    pub prefetch: Prefetch,
    /// The disk cache for blocks of remote objects, if any.
    pub disk: Option<Disk>,
}

/// A disk cache for blocks of remote objects. Users who can read the folder can read these blocks
/// without the stores' permission, and users who can write to it can forge them. Several processes
/// may share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The folder, created when it is first needed.
    pub folder: PathBuf,
    /// Maximum size of all files in it.
    pub bytes_max: ByteSize,
}

/// Whether objects are fetched before they are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefetch {
    /// Fetch the inputs of waiting tasks, and read ahead in objects that a function reads
    /// sequentially.
    #[default]
    On,
    /// Nothing is fetched before a function asks for it.
    Off,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            s3: S3::default(),
            gs: Gs::default(),
            az: Az::default(),
            files: Files::default(),
            web_networks: Networks::default(),
            memory: MEMORY_DEFAULT,
            prefetch: Prefetch::default(),
            disk: None,
        }
    }
}

/// A text that `Debug` does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Configuration of S3. Absent settings are not guessed, except the region.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3 {
    /// The endpoint, if not Amazon's.
    pub endpoint: Option<String>,
    /// The region; `us-east-1` if absent.
    pub region: Option<String>,
    /// The credentials that requests are signed with.
    pub credentials: S3Credentials,
    /// Where a URL contains the bucket's name.
    pub addressing: Addressing,
    /// Who pays for requests.
    pub payer: Payer,
}

/// Credentials for S3.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum S3Credentials {
    /// None: requests are not signed.
    #[default]
    Anonymous,
    /// Static or temporary access keys.
    Keys {
        /// The access key id.
        id: Secret,
        /// The secret access key.
        secret: Secret,
        /// The session token of temporary keys.
        token: Option<Secret>,
    },
    /// A role assumed with a web identity token from a file, as Kubernetes gives to pods.
    WebIdentity {
        /// The file of the token, read again whenever credentials are renewed.
        token_file: PathBuf,
        /// The role.
        role: String,
        /// The session's name, if one is set.
        session: Option<String>,
        /// The security token service (STS), if not Amazon's in the region.
        endpoint: Option<String>,
    },
    /// Credentials from the container's credentials endpoint (ECS, EKS Pod Identity).
    Container {
        /// The agent's URL. Plain HTTP is allowed only for this machine and for the addresses that
        /// Amazon uses for such agents.
        url: String,
        /// The authorization token to send, if the agent requires one.
        token: Option<Token>,
    },
    /// The machine's role, if its metadata service returns one; otherwise requests are not signed.
    Machine {
        /// The metadata service's URL, if not Amazon's usual address.
        endpoint: Option<String>,
    },
}

/// The authorization token sent to the container's credentials endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// The token itself.
    Text(Secret),
    /// The content of a file, which is read again whenever credentials are renewed.
    File(PathBuf),
}

/// Where a URL contains the bucket's name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Addressing {
    /// In the path: `https://server/bucket/key`.
    #[default]
    Path,
    /// In the server's name: `https://bucket.server/key`.
    VirtualHosted,
}

/// Who pays for requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Payer {
    /// The bucket's owner.
    #[default]
    Owner,
    /// The reader, as "requester pays" buckets demand.
    Requester,
}

/// Configuration of Google Cloud Storage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gs {
    /// The endpoint, if not Google's.
    pub endpoint: Option<String>,
    /// The credentials that requests are signed with.
    pub credentials: GsCredentials,
    /// The project that pays for requests, if not the bucket's owner. Sent to the store only, and
    /// only with signed requests.
    pub project: Option<String>,
}

/// Credentials for Google Cloud Storage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum GsCredentials {
    /// None: requests are not signed.
    #[default]
    Anonymous,
    /// A service account: the JSON text of its key.
    Account(Secret),
    /// A user: the file that `gcloud auth application-default login` writes.
    Person(PathBuf),
    /// The machine's service account, if its metadata service answers; otherwise requests are not
    /// signed.
    Machine {
        /// Host of the metadata service, with an optional port.
        host: String,
    },
}

/// Configuration of Azure Blob Storage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Az {
    /// The storage account. Required for `az://` locations.
    pub account: Option<String>,
    /// The account's URL, if not Azure's usual one.
    pub endpoint: Option<String>,
    /// The credentials that requests are signed with.
    pub credentials: AzCredentials,
}

/// Credentials for Azure Blob Storage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AzCredentials {
    /// None: requests are not signed.
    #[default]
    Anonymous,
    /// The account's key.
    Key(Secret),
    /// A shared access signature (SAS).
    Signature(Secret),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let keys = S3Credentials::Keys {
            id: "hidden".into(),
            secret: "hidden".into(),
            token: Some("hidden".into()),
        };
        let container = S3Credentials::Container {
            url: "http://127.0.0.1/".into(),
            token: Some(Token::Text("hidden".into())),
        };
        let config = Config {
            s3: S3 {
                credentials: keys,
                ..S3::default()
            },
            gs: Gs {
                credentials: GsCredentials::Account("hidden".into()),
                ..Gs::default()
            },
            az: Az {
                credentials: AzCredentials::Signature("hidden".into()),
                ..Az::default()
            },
            ..Config::default()
        };
        let text = format!(
            "{config:?} {container:?} {:?}",
            AzCredentials::Key("hidden".into())
        );
        assert!(
            !text.contains("hidden") && text.contains("127.0.0.1"),
            "{text}"
        );
    }
}
