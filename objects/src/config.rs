//! How objects are reached, as plain data: nothing here looks at the environment, and nothing
//! prints what is secret.

use std::fmt;
use std::path::PathBuf;

use sortie_protocol::ByteSize;

use crate::{Files, Networks};

/// What a process holds of objects, unless it is told otherwise: eight streams that are read ahead
/// as far as they may, or as many short documents as two hundred requests bring.
pub const MEMORY_DEFAULT: ByteSize = ByteSize(512 << 20);

/// How objects are reached.
#[derive(Debug, Clone)]
pub struct Config {
    /// S3, or a store that speaks its protocol.
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
    /// Whether objects are read ahead of who needs them.
    pub prefetch: Prefetch,
    /// Where parts of remote objects are kept beyond memory and beyond the process, if they are.
    pub disk: Option<Disk>,
}

/// A folder for parts of remote objects. Whoever may read it reads them, without asking the stores
/// that they came from; whoever may write to it can forge them. Several processes may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The folder, made when it is first needed.
    pub folder: PathBuf,
    /// What all files in it may take.
    pub bytes_max: ByteSize,
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

/// A text that is not printed.
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

/// How S3 is reached. What is absent is not guessed, except the region.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3 {
    /// The server, if not Amazon's.
    pub endpoint: Option<String>,
    /// The region; `us-east-1` if absent.
    pub region: Option<String>,
    /// Who asks.
    pub credentials: S3Credentials,
    /// Where in a URL the bucket stands.
    pub addressing: Addressing,
    /// Who pays for what is read.
    pub payer: Payer,
}

/// Who asks S3.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum S3Credentials {
    /// Nobody: requests are not signed.
    #[default]
    Anonymous,
    /// Whoever has these keys.
    Keys {
        /// The access key id.
        id: Secret,
        /// The secret access key.
        secret: Secret,
        /// The session token that temporary keys have.
        token: Option<Secret>,
    },
    /// A role that is taken on with a token from a file, as Kubernetes hands them to pods.
    WebIdentity {
        /// The file of the token. Read again whenever keys are renewed.
        token_file: PathBuf,
        /// The role.
        role: String,
        /// What the session is called, if that matters.
        session: Option<String>,
        /// The security token service, if not Amazon's of the region.
        endpoint: Option<String>,
    },
    /// What the container's agent gives.
    Container {
        /// Where the agent is. Asked over plain HTTP only on this machine and at the addresses
        /// that Amazon's containers have for it.
        url: String,
        /// What the agent wants to see, if anything.
        token: Option<Token>,
    },
    /// The machine's role, if its metadata service answers and names one; otherwise requests are
    /// not signed.
    Machine {
        /// The metadata service, if not at Amazon's usual address.
        endpoint: Option<String>,
    },
}

/// What somebody shows to be given keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// This text.
    Text(Secret),
    /// What is in a file, which is read again whenever keys are renewed.
    File(PathBuf),
}

/// Where in a URL the bucket stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Addressing {
    /// In the path: `https://server/bucket/key`.
    #[default]
    Path,
    /// In the server's name: `https://bucket.server/key`.
    VirtualHosted,
}

/// Who pays for what is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Payer {
    /// The bucket's owner.
    #[default]
    Owner,
    /// Whoever reads, as some buckets want it.
    Requester,
}

/// How Google Cloud Storage is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gs {
    /// The server, if not Google's.
    pub endpoint: Option<String>,
    /// Who asks.
    pub credentials: GsCredentials,
    /// The project that pays for requests, where that is not the bucket's owner. Named to the
    /// store only, and only in somebody's name.
    pub project: Option<String>,
}

/// Who asks Google Cloud Storage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum GsCredentials {
    /// Nobody: requests are not signed.
    #[default]
    Anonymous,
    /// A service account, by the JSON text of its key.
    Account(Secret),
    /// A person, by the file that `gcloud auth application-default login` writes.
    Person(PathBuf),
    /// The machine's service account, if its metadata service answers; otherwise requests are not
    /// signed.
    Machine {
        /// Host of the metadata service, and port if it has one.
        host: String,
    },
}

/// How Azure Blob Storage is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Az {
    /// The storage account. Without one nothing can be read.
    pub account: Option<String>,
    /// The account's URL, if not Azure's usual one.
    pub endpoint: Option<String>,
    /// Who asks.
    pub credentials: AzCredentials,
}

/// Who asks Azure Blob Storage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AzCredentials {
    /// Nobody: requests are not signed.
    #[default]
    Anonymous,
    /// Whoever has the account's key.
    Key(Secret),
    /// Whoever has this shared access signature.
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
