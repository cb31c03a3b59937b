//! The endpoint, region and credentials of S3: from `AWS_*` variables, else from the profile in the
//! two AWS files, else from the container's or the machine's metadata service.
//!
//! Read are `AWS_*` variables (see [`Variables`]) and of the profile `region`, `endpoint_url`,
//! `aws_access_key_id`, `aws_secret_access_key`, `aws_session_token`, `role_arn` with
//! `web_identity_token_file`, and `addressing_style` below `s3`. Not followed are single sign-on,
//! other roles and `credential_process`: `aws configure export-credentials --format env` turns any
//! of them into variables.
//!
//! Who asks is decided in the order of [`credentials`]: the first that is there, whether or not it
//! turns out to be of use.
//!
//! Trouble here is kept as a [`Settings::trouble`] and reported only when something in S3 is asked
//! for, because a profile that we cannot use is no reason to refuse local files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sortie::objects::{Addressing, Payer, S3, S3Credentials, Token};

/// Where ECS has the agent of its containers.
const TASK_AGENT: &str = "http://169.254.170.2";

/// What the environment says.
#[derive(Clone, Default)]
pub(crate) struct Variables {
    /// `AWS_ENDPOINT_URL_S3`, else `AWS_ENDPOINT_URL`.
    pub(crate) endpoint: Option<String>,
    /// `AWS_REGION`, else `AWS_DEFAULT_REGION`.
    pub(crate) region: Option<String>,
    /// `AWS_ACCESS_KEY_ID`.
    pub(crate) key_id: Option<String>,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub(crate) secret: Option<String>,
    /// `AWS_SESSION_TOKEN`.
    pub(crate) token: Option<String>,
    /// `AWS_PROFILE`.
    pub(crate) profile: Option<String>,
    /// `AWS_SHARED_CREDENTIALS_FILE`, else `~/.aws/credentials`.
    pub(crate) credentials_file: Option<PathBuf>,
    /// `AWS_CONFIG_FILE`, else `~/.aws/config`.
    pub(crate) config_file: Option<PathBuf>,
    /// `AWS_SKIP_SIGNATURE`.
    pub(crate) unsigned: bool,
    /// `AWS_VIRTUAL_HOSTED_STYLE_REQUEST`.
    pub(crate) virtual_hosted: bool,
    /// `AWS_REQUEST_PAYER`.
    pub(crate) requester_pays: bool,
    /// `AWS_ROLE_ARN`.
    pub(crate) role: Option<String>,
    /// `AWS_ROLE_SESSION_NAME`.
    pub(crate) role_session: Option<String>,
    /// `AWS_ENDPOINT_URL_STS`.
    pub(crate) role_endpoint: Option<String>,
    /// `AWS_WEB_IDENTITY_TOKEN_FILE`.
    pub(crate) identity_file: Option<PathBuf>,
    /// `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`.
    pub(crate) task_path: Option<String>,
    /// `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
    pub(crate) pod_url: Option<String>,
    /// `AWS_CONTAINER_AUTHORIZATION_TOKEN`.
    pub(crate) pod_token: Option<String>,
    /// `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`, which wins.
    pub(crate) pod_token_file: Option<PathBuf>,
    /// `AWS_EC2_METADATA_DISABLED`.
    pub(crate) no_metadata: bool,
    /// `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    pub(crate) metadata: Option<String>,
}

impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the keys.
        f.debug_struct("Variables")
            .field("endpoint", &self.endpoint)
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

/// How S3 is reached.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// For the client.
    pub(crate) s3: S3,
    /// Why it cannot be used, if that is known by now.
    pub(crate) trouble: Option<String>,
}

impl Settings {
    /// Put together what variables and files say.
    pub(crate) fn read(variables: &Variables) -> Self {
        let (profile, trouble) = Profile::read(variables);
        let endpoint = variables
            .endpoint
            .clone()
            .or_else(|| profile.get("endpoint_url"));
        let region = variables.region.clone().or_else(|| profile.get("region"));
        let virtual_hosted = variables.virtual_hosted
            || profile
                .get("s3.addressing_style")
                .is_some_and(|style| style == "virtual");
        let addressing = if virtual_hosted {
            Addressing::VirtualHosted
        } else {
            Addressing::Path
        };
        let payer = if variables.requester_pays {
            Payer::Requester
        } else {
            Payer::Owner
        };
        let (credentials, trouble) = match credentials(variables, &profile, trouble) {
            Ok(credentials) => (credentials, None),
            Err(trouble) => (S3Credentials::Anonymous, Some(trouble)),
        };
        Self {
            s3: S3 {
                endpoint,
                region,
                credentials,
                addressing,
                payer,
            },
            trouble,
        }
    }
}

/// The credentials to use: the environment's, else the profile's, else what a machine or container
/// hands out. `trouble` is what went wrong with the profile, if it is needed.
fn credentials(
    variables: &Variables,
    profile: &Profile,
    trouble: Option<String>,
) -> Result<S3Credentials, String> {
    if variables.unsigned {
        return Ok(S3Credentials::Anonymous);
    }
    if let Some(given) = given(variables)? {
        return Ok(given);
    }
    if let Some(trouble) = trouble {
        return Err(trouble);
    }
    if let Some(given) = given_by_profile(variables, profile)? {
        return Ok(given);
    }
    if let Some(trouble) = profile.unusable(variables) {
        return Err(trouble);
    }
    Ok(handed_out(variables))
}

/// Keys or a web identity from the environment.
fn given(variables: &Variables) -> Result<Option<S3Credentials>, String> {
    // Keys belong together: half from here and half from there never fits.
    let keys = keys(
        variables.key_id.clone(),
        variables.secret.clone(),
        variables.token.clone(),
    )?;
    if keys.is_some() {
        return Ok(keys);
    }
    let Some(token_file) = variables.identity_file.clone() else {
        return Ok(None);
    };
    let Some(role) = variables.role.clone() else {
        return Err(
            "AWS_WEB_IDENTITY_TOKEN_FILE is set, but no role to assume with it: set AWS_ROLE_ARN"
                .into(),
        );
    };
    readable(&token_file)?;
    Ok(Some(S3Credentials::WebIdentity {
        token_file,
        role,
        session: variables.role_session.clone(),
        endpoint: variables.role_endpoint.clone(),
    }))
}

/// Keys or a web identity from a profile.
fn given_by_profile(
    variables: &Variables,
    profile: &Profile,
) -> Result<Option<S3Credentials>, String> {
    let keys = keys(
        profile.get("aws_access_key_id"),
        profile.get("aws_secret_access_key"),
        profile.get("aws_session_token"),
    )?;
    if keys.is_some() {
        return Ok(keys);
    }
    let (Some(file), Some(role)) = (
        profile.get("web_identity_token_file"),
        profile.get("role_arn"),
    ) else {
        return Ok(None);
    };
    readable(Path::new(&file))?;
    Ok(Some(S3Credentials::WebIdentity {
        token_file: file.into(),
        role,
        session: profile.get("role_session_name"),
        endpoint: variables.role_endpoint.clone(),
    }))
}

/// What a container's agent or a machine's metadata service hands out.
fn handed_out(variables: &Variables) -> S3Credentials {
    if let Some(path) = &variables.task_path {
        return S3Credentials::Container {
            url: format!("{TASK_AGENT}{path}"),
            token: None,
        };
    }
    if let Some(url) = variables.pod_url.clone() {
        let file = variables.pod_token_file.clone().map(Token::File);
        let text = variables.pod_token.clone();
        return S3Credentials::Container {
            url,
            token: file.or(text.map(|text| Token::Text(text.into()))),
        };
    }
    if variables.no_metadata {
        return S3Credentials::Anonymous;
    }
    S3Credentials::Machine {
        endpoint: variables.metadata.clone(),
    }
}

/// Say now what would fail at the first request.
fn readable(token_file: &Path) -> Result<(), String> {
    let opened = std::fs::File::open(token_file).map(drop);
    opened.map_err(|error| {
        format!(
            "failed to read the token of the web identity `{}`: {error}",
            token_file.display()
        )
    })
}

fn keys(
    id: Option<String>,
    secret: Option<String>,
    token: Option<String>,
) -> Result<Option<S3Credentials>, String> {
    match (id, secret) {
        (Some(id), Some(secret)) => Ok(Some(S3Credentials::Keys {
            id: id.into(),
            secret: secret.into(),
            token: token.map(Into::into),
        })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(
            "an access key id for S3 is set, but no secret access key: set AWS_SECRET_ACCESS_KEY"
                .into(),
        ),
        (None, Some(_)) => Err(
            "a secret access key for S3 is set, but no access key id: set AWS_ACCESS_KEY_ID".into(),
        ),
    }
}

/// What the two files say of one profile.
#[derive(Default)]
struct Profile(BTreeMap<String, String>);

impl Profile {
    fn read(variables: &Variables) -> (Self, Option<String>) {
        let name = variables.profile.as_deref().unwrap_or("default");
        let mut found = Self::default();
        let mut known = false;
        let mut trouble = None;
        // The credentials file wins where both have a key.
        let files = [
            (&variables.config_file, section_of_config(name)),
            (&variables.credentials_file, name.to_owned()),
        ];
        for (file, section) in files {
            match file.as_deref().map(read).transpose() {
                Ok(text) => {
                    let values = text.flatten().and_then(|text| ini_section(&text, &section));
                    known |= values.is_some();
                    found.0.extend(values.unwrap_or_default());
                }
                Err(error) => trouble = Some(error),
            }
        }
        if let Some(profile) = variables.profile.as_deref().filter(|_| !known) {
            trouble.get_or_insert(format!(
                "AWS_PROFILE names `{profile}`, but there is no such profile in the AWS files"
            ));
        }
        (found, trouble)
    }

    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    /// Why a profile without keys cannot be used, if it was meant to give some.
    fn unusable(&self, variables: &Variables) -> Option<String> {
        let ways = [
            "sso_session",
            "sso_start_url",
            "role_arn",
            "credential_process",
        ];
        let way = ways.iter().find(|way| self.0.contains_key(**way))?;
        let name = variables.profile.as_deref().unwrap_or("default");
        Some(format!(
            "the AWS profile `{name}` has no keys of its own ({way} is not followed); run: \
             eval \"$(aws configure export-credentials --profile {name} --format env)\""
        ))
    }
}

fn section_of_config(profile: &str) -> String {
    if profile == "default" {
        profile.into()
    } else {
        format!("profile {profile}")
    }
}

/// A file's text; none if there is no file.
fn read(path: &Path) -> Result<Option<String>, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("failed to read `{}`: {error}", path.display())),
    }
}

/// The values of a section, if it is there. Indented lines continue the value above:
/// `s3.addressing_style` is the one below `s3`.
fn ini_section(text: &str, wanted: &str) -> Option<BTreeMap<String, String>> {
    let mut values = None;
    let mut inside = false;
    let mut above = String::new();
    for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(header) = line.strip_prefix('[') {
            let name = header.split(']').next().unwrap_or_default();
            inside = name.split_whitespace().eq(wanted.split_whitespace());
            if inside {
                values.get_or_insert_with(BTreeMap::new);
            }
        } else if let (true, Some((name, value))) = (inside, line.split_once('=')) {
            // A comment needs a blank in front, since secrets may hold `#`.
            let value = value
                .split(" #")
                .next()
                .unwrap_or_default()
                .split(" ;")
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned();
            let name = name.trim().to_ascii_lowercase();
            let name = if line.starts_with([' ', '\t']) {
                format!("{above}.{name}")
            } else {
                above.clone_from(&name);
                name
            };
            values.get_or_insert_with(BTreeMap::new).insert(name, value);
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "# keys\n[default]\naws_access_key_id = AKID\n\
        aws_secret_access_key=se/cr#et= # mine\n\n\
        [ci]\nAWS_ACCESS_KEY_ID=CI\naws_secret_access_key=cis\n\
        aws_session_token = tok\n[half]\naws_access_key_id=H\n";
    const CONFIG: &str = "[default]\nregion = eu-west-1\ns3 =\n    endpoint_url = http://nested\n\
        [profile  ci]\n\
        endpoint_url = http://ci:9000\ns3 =\n  addressing_style = virtual\n\
        [profile sso]\nsso_session = work\n";

    fn settings(change: impl FnOnce(&mut Variables)) -> Settings {
        let folder = tempfile::tempdir().unwrap();
        let (credentials, config) = (
            folder.path().join("credentials"),
            folder.path().join("config"),
        );
        std::fs::write(&credentials, CREDENTIALS).unwrap();
        std::fs::write(&config, CONFIG).unwrap();
        let mut variables = Variables {
            credentials_file: Some(credentials),
            config_file: Some(config),
            ..Variables::default()
        };
        change(&mut variables);
        Settings::read(&variables)
    }

    fn keys(id: &str, secret: &str, token: Option<&str>) -> S3Credentials {
        S3Credentials::Keys {
            id: id.into(),
            secret: secret.into(),
            token: token.map(Into::into),
        }
    }

    #[test]
    fn the_default_profile_is_read_from_both_files() {
        let Settings { s3, trouble } = settings(|_| ());
        assert_eq!(s3.credentials, keys("AKID", "se/cr#et=", None));
        assert_eq!(
            (s3.region.as_deref(), s3.endpoint, trouble),
            (Some("eu-west-1"), None, None)
        );
    }

    #[test]
    fn a_named_profile_has_its_own_values() {
        let Settings { s3, trouble } = settings(|v| v.profile = Some("ci".into()));
        assert_eq!(s3.credentials, keys("CI", "cis", Some("tok")));
        assert_eq!(
            (s3.region, s3.endpoint.as_deref(), trouble),
            (None, Some("http://ci:9000"), None)
        );
        assert_eq!(s3.addressing, Addressing::VirtualHosted);
    }

    #[test]
    fn variables_win_over_files_and_keys_are_never_mixed() {
        let Settings { s3, trouble } = settings(|v| {
            (v.key_id, v.secret, v.region) = (
                Some("ENV".into()),
                Some("env".into()),
                Some("us-west-2".into()),
            );
            v.profile = Some("nobody".into());
        });
        assert_eq!(s3.credentials, keys("ENV", "env", None));
        assert_eq!((s3.region.as_deref(), trouble), (Some("us-west-2"), None));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (profile, part) in [
            ("half", "AWS_SECRET_ACCESS_KEY"),
            ("sso", "sso_session"),
            ("nobody", "`nobody`"),
        ] {
            let trouble = settings(|v| v.profile = Some(profile.into()))
                .trouble
                .unwrap();
            assert!(trouble.contains(part), "{trouble}");
        }
        assert!(
            settings(|v| v.key_id = Some("ENV".into()))
                .trouble
                .unwrap()
                .contains("AWS_SECRET_ACCESS_KEY")
        );
    }

    #[test]
    fn requests_are_unsigned_where_that_is_asked_for() {
        let Settings { s3, trouble } = settings(|v| {
            v.unsigned = true;
            v.profile = Some("nobody".into());
        });
        assert_eq!((s3.credentials, trouble), (S3Credentials::Anonymous, None));
        let Settings { s3, .. } = Settings::read(&Variables {
            requester_pays: true,
            no_metadata: true,
            ..Variables::default()
        });
        assert_eq!(
            (s3.credentials, s3.payer),
            (S3Credentials::Anonymous, Payer::Requester)
        );
    }

    #[test]
    fn without_keys_the_surroundings_are_asked_in_order() {
        let read = |change: &dyn Fn(&mut Variables)| {
            let mut variables = Variables::default();
            change(&mut variables);
            Settings::read(&variables).s3.credentials
        };
        let metadata = |v: &mut Variables| v.metadata = Some("http://[fd00:ec2::254]".into());
        let pod = |v: &mut Variables| {
            (v.pod_url, v.pod_token_file) = (
                Some("http://169.254.170.23/v1/credentials".into()),
                Some("/token".into()),
            );
        };
        assert_eq!(read(&|_| ()), S3Credentials::Machine { endpoint: None });
        assert_eq!(
            read(&metadata),
            S3Credentials::Machine {
                endpoint: Some("http://[fd00:ec2::254]".into())
            }
        );
        let container = |url: &str, token| S3Credentials::Container {
            url: url.into(),
            token,
        };
        let token = Some(Token::File("/token".into()));
        let url = "http://169.254.170.23/v1/credentials";
        assert_eq!(
            read(&|v| [metadata, pod].iter().for_each(|change| change(v))),
            container(url, token)
        );
        let shown =
            |v: &mut Variables| (v.pod_token, v.pod_token_file) = (Some("shown".into()), None);
        assert_eq!(
            read(&|v| [pod, shown].iter().for_each(|change| change(v))),
            container(url, Some(Token::Text("shown".into())))
        );
        let task = |v: &mut Variables| v.task_path = Some("/v2/credentials/1".into());
        let agent = container("http://169.254.170.2/v2/credentials/1", None);
        assert_eq!(
            read(&|v| [pod, task].iter().for_each(|change| change(v))),
            agent
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("identity");
        let identity = |v: &mut Variables| {
            (v.identity_file, v.role) = (Some(file.clone()), Some("arn".into()))
        };
        let missing = Settings::read(&Variables {
            identity_file: Some(file.clone()),
            role: Some("arn".into()),
            ..Variables::default()
        });
        assert!(missing.trouble.unwrap().contains("identity"));
        std::fs::write(&file, "token").unwrap();
        let expected = S3Credentials::WebIdentity {
            token_file: file.clone(),
            role: "arn".into(),
            session: None,
            endpoint: None,
        };
        let both = |v: &mut Variables| {
            task(v);
            identity(v);
        };
        assert_eq!(read(&both), expected);
    }
}
