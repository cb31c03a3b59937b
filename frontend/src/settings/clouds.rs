//! Endpoints and credentials of all cloud services, from the environment.
//!
//! A problem with one service is kept, and reported only when an object of that service is asked
//! for.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sortie::objects::{Az, AzCredentials, Config, Gs, GsCredentials, Service};

use super::aws;

/// Where Google's machines have their metadata service.
const GOOGLE_METADATA: &str = "metadata.google.internal";
/// The longest name of a project, with the longest domain in front.
const PROJECT_BYTES_MAX: usize = 300;
/// The account that every Azure emulator has, and its key, as its documentation gives them.
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
const EMULATOR_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const EMULATOR_ENDPOINT: &str = "http://127.0.0.1:10000/devstoreaccount1";

/// What the environment says of all services.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variables {
    pub(crate) aws: aws::Variables,
    pub(crate) google: Google,
    pub(crate) azure: Azure,
}

/// What it says of Google Cloud Storage.
#[derive(Debug, Clone, Default)]
pub(crate) struct Google {
    /// `STORAGE_EMULATOR_HOST`: a URL, or a host and port.
    pub(crate) emulator: Option<String>,
    /// `GOOGLE_BASE_URL`: a server that is no emulator.
    pub(crate) endpoint: Option<String>,
    /// `GOOGLE_APPLICATION_CREDENTIALS`.
    pub(crate) credentials: Option<PathBuf>,
    /// Where `gcloud auth application-default login` writes to.
    pub(crate) login: Option<PathBuf>,
    /// `GOOGLE_SKIP_SIGNATURE`.
    pub(crate) unsigned: bool,
    /// `GCE_METADATA_HOST`.
    pub(crate) metadata: Option<String>,
    /// `GOOGLE_CLOUD_QUOTA_PROJECT`.
    pub(crate) project: Option<String>,
}

/// What it says of Azure Blob Storage.
#[derive(Clone, Default)]
pub(crate) struct Azure {
    /// `AZURE_STORAGE_ACCOUNT`, else `AZURE_STORAGE_ACCOUNT_NAME`.
    pub(crate) account: Option<String>,
    /// `AZURE_STORAGE_KEY`, else `AZURE_STORAGE_ACCOUNT_KEY`.
    pub(crate) key: Option<String>,
    /// `AZURE_STORAGE_SAS_TOKEN`, where there is no key.
    pub(crate) signature: Option<String>,
    /// `AZURE_STORAGE_ENDPOINT`.
    pub(crate) endpoint: Option<String>,
    /// `AZURE_STORAGE_USE_EMULATOR`.
    pub(crate) emulator: bool,
}

impl std::fmt::Debug for Azure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never keys and signatures.
        f.debug_struct("Azure")
            .field("account", &self.account)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Access to objects.
#[derive(Debug, Clone, Default)]
pub struct Clouds {
    /// The configuration of the services. All local files may be read.
    pub config: Config,
    /// Configuration errors of services.
    pub troubles: Troubles,
}

/// Known configuration errors of services, found without sending a request.
#[derive(Debug, Clone, Default)]
pub struct Troubles(Vec<(Service, String)>);

impl Troubles {
    /// The error of the service that a text names, if any.
    #[must_use]
    pub fn with(&self, text: &str) -> Option<&str> {
        let service = Service::of(text)?;
        self.all()
            .find(|(with, _)| *with == service)
            .map(|(_, trouble)| trouble)
    }

    /// All errors, with their services.
    pub fn all(&self) -> impl Iterator<Item = (Service, &str)> {
        self.0
            .iter()
            .map(|(service, trouble)| (*service, trouble.as_str()))
    }
}

impl Clouds {
    /// Put together what variables and files say.
    pub(super) fn read(variables: &Variables) -> Self {
        let aws::Settings { s3, trouble } = aws::Settings::read(&variables.aws);
        let mut troubles: Vec<_> = trouble
            .map(|trouble| (Service::S3, trouble))
            .into_iter()
            .collect();
        let gs = variables.google.settings().unwrap_or_else(|trouble| {
            troubles.push((Service::Gs, trouble));
            Gs::default()
        });
        Self {
            config: Config {
                s3,
                gs,
                az: variables.azure.settings(),
                ..Config::default()
            },
            troubles: Troubles(troubles),
        }
    }
}

impl Google {
    fn settings(&self) -> Result<Gs, String> {
        if let Some(host) = &self.emulator {
            let endpoint = if host.contains("://") {
                host.clone()
            } else {
                format!("http://{host}")
            };
            // An emulator has no accounts.
            return Ok(Gs {
                endpoint: Some(endpoint),
                ..Gs::default()
            });
        }
        let project = self.project.clone();
        if project.as_ref().is_some_and(|name| !is_project(name)) {
            return Err(
                "GOOGLE_CLOUD_QUOTA_PROJECT is not the id of a Google Cloud project, such as \
                 my-project-1"
                    .into(),
            );
        }
        let credentials = match (&self.credentials, &self.login) {
            _ if self.unsigned => GsCredentials::Anonymous,
            (Some(path), _) => of_file(path)?,
            (None, Some(path)) if path.is_file() => of_file(path)?,
            (None, _) => GsCredentials::Machine {
                host: self
                    .metadata
                    .clone()
                    .unwrap_or_else(|| GOOGLE_METADATA.into()),
            },
        };
        Ok(Gs {
            endpoint: self.endpoint.clone(),
            credentials,
            project,
        })
    }
}

/// Whether a text can name a project: its id, also one that has a domain in front, or its number.
fn is_project(text: &str) -> bool {
    text.len() <= PROJECT_BYTES_MAX
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte))
}

/// Whose credentials a file has. What is wrong with it is said without what is in it.
fn of_file(path: &Path) -> Result<GsCredentials, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("failed to read Google's credentials `{shown}`: {error}"))?;
    let content: Value = serde_json::from_str(&text)
        .map_err(|_| format!("Google's credentials `{shown}` are not JSON"))?;
    let needs = |names: &[&str]| match names
        .iter()
        .find(|name| content.get(**name).is_none_or(|value| !value.is_string()))
    {
        Some(name) => Err(format!("Google's credentials `{shown}` have no `{name}`")),
        None => Ok(()),
    };
    match content.get("type").and_then(Value::as_str) {
        Some("service_account") => {
            needs(&["private_key", "private_key_id", "client_email"])?;
            Ok(GsCredentials::Account(text.into()))
        }
        Some("authorized_user") => {
            needs(&["client_id", "client_secret", "refresh_token"])?;
            Ok(GsCredentials::Person(path.to_owned()))
        }
        _ => Err(format!(
            "Google's credentials `{shown}` are neither of a service account nor of `gcloud auth \
             application-default login`, and others are not followed"
        )),
    }
}

impl Azure {
    fn settings(&self) -> Az {
        let Self {
            account,
            key,
            signature,
            endpoint,
            emulator,
        } = self.clone();
        let credentials = match (key, signature) {
            (Some(key), _) => AzCredentials::Key(key.into()),
            (None, Some(signature)) => AzCredentials::Signature(signature.into()),
            (None, None) if emulator => AzCredentials::Key(EMULATOR_KEY.into()),
            (None, None) => AzCredentials::Anonymous,
        };
        let usual = |text: &str| emulator.then(|| text.to_owned());
        Az {
            account: account.or_else(|| usual(EMULATOR_ACCOUNT)),
            endpoint: endpoint.or_else(|| usual(EMULATOR_ENDPOINT)),
            credentials,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_of_the_service_it_is_about() {
        let mut variables = Variables::default();
        variables.google.credentials = Some("/no/such.json".into());
        let Clouds { troubles, .. } = Clouds::read(&variables);
        assert!(
            troubles
                .with("GS://bucket/key")
                .unwrap()
                .contains("/no/such.json")
        );
        for text in [
            "s3://bucket/key",
            "az://container/key",
            "gs",
            "https://host/gs",
        ] {
            assert_eq!(troubles.with(text), None);
        }
        assert_eq!(troubles.all().count(), 1);
    }

    #[test]
    fn an_emulator_of_google_is_asked_without_credentials() {
        let google = Google {
            emulator: Some("localhost:4443".into()),
            credentials: Some("/no/such.json".into()),
            ..Google::default()
        };
        let expected = Gs {
            endpoint: Some("http://localhost:4443".into()),
            ..Gs::default()
        };
        assert_eq!(google.settings(), Ok(expected));
        let machine = GsCredentials::Machine {
            host: GOOGLE_METADATA.into(),
        };
        assert_eq!(
            Google::default().settings(),
            Ok(Gs {
                credentials: machine,
                ..Gs::default()
            })
        );
    }

    #[test]
    fn a_project_that_pays_has_a_name_as_projects_have() {
        let project = |text: &str| {
            Google {
                project: Some(text.into()),
                unsigned: true,
                ..Google::default()
            }
            .settings()
        };
        for name in ["my-project-1", "example.com:my-project", "123456789"] {
            assert_eq!(project(name).unwrap().project.as_deref(), Some(name));
        }
        for text in ["two words", "line\nbreak", "projects/one", "ümlaut"] {
            assert!(
                project(text)
                    .unwrap_err()
                    .contains("GOOGLE_CLOUD_QUOTA_PROJECT")
            );
        }
    }

    #[test]
    fn files_of_google_are_looked_through_without_being_shown() {
        let folder = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            let path = folder.path().join("key.json");
            std::fs::write(&path, text).unwrap();
            of_file(&path)
        };
        let account = concat!(
            r#"{"type": "service_account", "private_key": "hidden", "#,
            r#""private_key_id": "1", "client_email": "me"}"#,
        );
        assert_eq!(read(account), Ok(GsCredentials::Account(account.into())));
        let person = concat!(
            r#"{"type": "authorized_user", "client_id": "1", "#,
            r#""client_secret": "hidden", "refresh_token": "hidden"}"#,
        );
        assert_eq!(
            read(person),
            Ok(GsCredentials::Person(folder.path().join("key.json")))
        );
        for (text, part) in [
            ("hidden", "not JSON"),
            (
                r#"{"type": "service_account", "private_key": "hidden"}"#,
                "no `private_key_id`",
            ),
            (
                r#"{"type": "authorized_user", "client_id": "hidden", "client_secret": 1}"#,
                "no `client_secret`",
            ),
            (
                r#"{"type": "external_account", "audience": "hidden"}"#,
                "not followed",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(
                error.contains(part) && error.contains("key.json") && !error.contains("hidden"),
                "{error}"
            );
        }
        assert!(
            of_file(folder.path())
                .unwrap_err()
                .contains("failed to read")
        );
    }

    #[test]
    fn an_emulator_of_azure_has_its_usual_account() {
        let az = Azure {
            emulator: true,
            ..Azure::default()
        }
        .settings();
        assert_eq!(
            (az.account.as_deref(), az.endpoint.as_deref()),
            (Some("devstoreaccount1"), Some(EMULATOR_ENDPOINT))
        );
        let own = Azure {
            emulator: true,
            key: Some("own".into()),
            endpoint: Some("http://other".into()),
            ..Azure::default()
        };
        let az = own.settings();
        assert_eq!(
            (az.credentials, az.endpoint.as_deref()),
            (AzCredentials::Key("own".into()), Some("http://other"))
        );
        assert_eq!(Azure::default().settings(), Az::default());
    }

    #[test]
    fn secrets_are_not_printed() {
        let azure = Azure {
            key: Some("hidden".into()),
            signature: Some("hidden".into()),
            ..Azure::default()
        };
        let aws = aws::Variables {
            secret: Some("hidden".into()),
            pod_token: Some("hidden".into()),
            ..aws::Variables::default()
        };
        assert!(!format!("{azure:?} {:?} {aws:?}", azure.settings()).contains("hidden"));
    }
}
