//! Where buckets are and who we are there, for all services: what the environment says, as the host takes it.
//!
//! Trouble with one service is kept, and reported only when something of that service is asked for.

use std::path::PathBuf;

use sortie::objects::{Az, AzCredentials, Config, Gs, GsCredentials, Service};

use crate::aws;

/// Where Google's machines have their metadata service.
const GOOGLE_METADATA: &str = "metadata.google.internal";
/// The account that every Azure emulator has, and its key, as its documentation gives them.
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
const EMULATOR_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
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
    /// `GOOGLE_APPLICATION_CREDENTIALS`.
    pub(crate) credentials: Option<PathBuf>,
    /// Where `gcloud auth application-default login` writes to.
    pub(crate) login: Option<PathBuf>,
    /// `GOOGLE_SKIP_SIGNATURE`.
    pub(crate) unsigned: bool,
    /// `GCE_METADATA_HOST`.
    pub(crate) metadata: Option<String>,
}

/// What it says of Azure Blob Storage.
#[derive(Clone, Default)]
pub(crate) struct Azure {
    /// `AZURE_STORAGE_ACCOUNT`, else `AZURE_STORAGE_ACCOUNT_NAME`.
    pub(crate) account: Option<String>,
    /// `AZURE_STORAGE_KEY`, else `AZURE_STORAGE_ACCOUNT_KEY`.
    pub(crate) key: Option<String>,
    /// `AZURE_STORAGE_SAS_TOKEN`.
    pub(crate) signature: Option<String>,
    /// `AZURE_STORAGE_ENDPOINT`.
    pub(crate) endpoint: Option<String>,
    /// `AZURE_STORAGE_USE_EMULATOR`.
    pub(crate) emulator: bool,
}

impl std::fmt::Debug for Azure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never keys and signatures.
        f.debug_struct("Azure").field("account", &self.account).field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// How objects are reached.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// For the host. All local files may be read.
    pub(crate) config: Config,
    pub(crate) troubles: Troubles,
}

/// Why services cannot be used, as far as that is known before anything is asked of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Troubles {
    s3: Option<String>,
    gs: Option<String>,
    az: Option<String>,
}

impl Troubles {
    /// Why what a text names cannot be reached, if that is known.
    pub(crate) fn with(&self, text: &str) -> Option<&str> {
        let (scheme, _) = text.split_once("://")?;
        let of = |service: Service| scheme.eq_ignore_ascii_case(service.scheme());
        let trouble = [(Service::S3, &self.s3), (Service::Gs, &self.gs), (Service::Az, &self.az)];
        trouble.into_iter().find(|(service, _)| of(*service))?.1.as_deref()
    }

    /// What was set up, but wrongly, with the service it is about.
    pub(crate) fn mistakes(&self) -> impl Iterator<Item = (&'static str, &str)> {
        // That there is no account at Azure is how most are.
        let all = [("S3", &self.s3), ("Google Cloud Storage", &self.gs)];
        all.into_iter().filter_map(|(service, trouble)| Some((service, trouble.as_deref()?)))
    }
}

impl Settings {
    /// Put together what variables and files say.
    pub(crate) fn read(variables: &Variables) -> Self {
        let aws::Settings { s3, trouble } = aws::Settings::read(&variables.aws);
        let (gs, gs_trouble) = variables.google.settings();
        let (az, az_trouble) = variables.azure.settings();
        let troubles = Troubles { s3: trouble, gs: gs_trouble, az: az_trouble };
        Self { config: Config { s3, gs, az, ..Config::default() }, troubles }
    }
}

impl Google {
    fn settings(&self) -> (Gs, Option<String>) {
        let endpoint = self.emulator.as_ref().map(|host| if host.contains("://") { host.clone() } else { format!("http://{host}") });
        let mut trouble = None;
        let credentials = match (&self.credentials, &self.login) {
            // An emulator knows nobody.
            _ if self.unsigned || endpoint.is_some() => GsCredentials::Anonymous,
            (Some(path), _) => {
                if !path.is_file() {
                    trouble = Some(format!("GOOGLE_APPLICATION_CREDENTIALS names `{}`, but there is no such file", path.display()));
                }
                GsCredentials::File(path.clone())
            }
            (None, Some(path)) if path.is_file() => GsCredentials::File(path.clone()),
            (None, _) => GsCredentials::Machine { host: self.metadata.clone().unwrap_or_else(|| GOOGLE_METADATA.into()) },
        };
        (Gs { endpoint, credentials }, trouble)
    }
}

impl Azure {
    fn settings(&self) -> (Az, Option<String>) {
        let Self { account, key, signature, endpoint, emulator } = self.clone();
        let credentials = match (key, signature) {
            (Some(key), _) => AzCredentials::Key(key.into()),
            (None, Some(signature)) => AzCredentials::Signature(signature.into()),
            (None, None) if emulator => AzCredentials::Key(EMULATOR_KEY.into()),
            (None, None) => AzCredentials::Anonymous,
        };
        let usual = |text: &str| emulator.then(|| text.to_owned());
        let (account, endpoint) = (account.or_else(|| usual(EMULATOR_ACCOUNT)), endpoint.or_else(|| usual(EMULATOR_ENDPOINT)));
        let trouble = account.is_none().then(|| "no storage account is named: set AZURE_STORAGE_ACCOUNT".to_owned());
        (Az { account, endpoint, credentials }, trouble)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_of_the_service_it_is_about() {
        let mut variables = Variables::default();
        variables.google.credentials = Some("/no/such.json".into());
        let Settings { troubles, .. } = Settings::read(&variables);
        assert!(troubles.with("GS://bucket/key").unwrap().contains("/no/such.json"));
        assert!(troubles.with("az://container/path").unwrap().contains("AZURE_STORAGE_ACCOUNT"));
        assert_eq!((troubles.with("s3://bucket/key"), troubles.with("gs"), troubles.with("https://host/gs")), (None, None, None));
        assert_eq!(troubles.mistakes().count(), 1);
    }

    #[test]
    fn an_emulator_of_google_is_asked_without_credentials() {
        let google = Google { emulator: Some("localhost:4443".into()), credentials: Some("/no/such.json".into()), ..Google::default() };
        let expected = Gs { endpoint: Some("http://localhost:4443".into()), credentials: GsCredentials::Anonymous };
        assert_eq!(google.settings(), (expected, None));
        let machine = GsCredentials::Machine { host: GOOGLE_METADATA.into() };
        assert_eq!(Google::default().settings(), (Gs { endpoint: None, credentials: machine }, None));
    }

    #[test]
    fn an_emulator_of_azure_has_its_usual_account() {
        let (az, trouble) = Azure { emulator: true, ..Azure::default() }.settings();
        assert_eq!((az.account.as_deref(), az.endpoint.as_deref(), trouble), (Some("devstoreaccount1"), Some(EMULATOR_ENDPOINT), None));
        let (az, _) =
            Azure { emulator: true, key: Some("own".into()), endpoint: Some("http://other".into()), ..Azure::default() }.settings();
        assert_eq!((az.credentials, az.endpoint.as_deref()), (AzCredentials::Key("own".into()), Some("http://other")));
    }

    #[test]
    fn secrets_are_not_printed() {
        let azure = Azure { key: Some("hidden".into()), signature: Some("hidden".into()), ..Azure::default() };
        assert!(!format!("{azure:?} {:?}", azure.settings()).contains("hidden"));
    }
}
