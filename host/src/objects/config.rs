//! How objects are reached, as plain data: nothing here looks at the environment, and nothing prints what is secret.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{CONNECT_TIME_MAX, Files, READ_TIME_MAX};

/// How objects are reached.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// S3, or a store that speaks its protocol.
    pub s3: S3,
    /// Google Cloud Storage.
    pub gs: Gs,
    /// Azure Blob Storage.
    pub az: Az,
    /// Which local files may be read.
    pub files: Files,
    /// How long a server may keep quiet.
    pub patience: Patience,
}

/// How long a server may keep quiet before a request is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long making a connection may take.
    pub connect: Duration,
    /// How long the next bytes of an answer may take.
    pub read: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: CONNECT_TIME_MAX, read: READ_TIME_MAX }
    }
}

/// A text that is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(super) fn expose(&self) -> &str {
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
        id: String,
        /// The secret access key.
        secret: Secret,
        /// The session token that temporary keys have.
        token: Option<Secret>,
    },
    /// A role that is taken on with a token from a file, as Kubernetes hands them to pods.
    WebIdentity {
        /// The file of the token. Read again whenever keys expire.
        token_file: PathBuf,
        /// The role.
        role: String,
        /// What the session is called, if that matters.
        session: Option<String>,
    },
    /// What the container's agent gives, at a path of the address that ECS has for it.
    Task {
        /// The path.
        path: String,
    },
    /// What the container's agent gives, at a URL, for a token from a file.
    Pod {
        /// The URL.
        url: String,
        /// The file of the token.
        token_file: PathBuf,
    },
    /// The machine's role, if its metadata service answers and names one; otherwise requests are not signed. Asked once, when S3 is first used.
    Machine {
        /// The metadata service, if not Amazon's usual one.
        endpoint: Option<String>,
    },
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
}

/// Who asks Google Cloud Storage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum GsCredentials {
    /// Nobody: requests are not signed.
    #[default]
    Anonymous,
    /// Whoever this file says: a service account's key, or what `gcloud auth application-default login` writes.
    File(PathBuf),
    /// The machine's service account, if its metadata service answers; otherwise requests are not signed. Asked once, when a bucket is first
    /// used.
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
        let config = Config {
            s3: S3 {
                credentials: S3Credentials::Keys { id: "AKID".into(), secret: "hidden".into(), token: Some("hidden".into()) },
                ..S3::default()
            },
            az: Az { credentials: AzCredentials::Signature("hidden".into()), ..Az::default() },
            ..Config::default()
        };
        let text = format!("{config:?} {:?}", AzCredentials::Key("hidden".into()));
        assert!(!text.contains("hidden") && text.contains("AKID"), "{text}");
    }
}
