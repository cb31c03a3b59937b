//! Where S3 is and who we are there: the usual variables first, then the profile in the usual two files.
//!
//! Read are `AWS_*` variables (see [`Variables`]), `region`, `endpoint_url`, `aws_access_key_id`, `aws_secret_access_key` and
//! `aws_session_token` of the profile. Not followed are single sign-on, roles, `credential_process` and the instance's metadata service:
//! `aws configure export-credentials --format env` turns any of them into variables.
//!
//! Trouble here is kept as a [`Settings::trouble`] and reported only when something in S3 is asked for, because a profile that we cannot use
//! is no reason to refuse local files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sortie::objects::S3;

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
}

impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the keys.
        f.debug_struct("Variables").field("endpoint", &self.endpoint).field("profile", &self.profile).finish_non_exhaustive()
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
        let (profile, mut trouble) = Profile::read(variables);
        let get = |name: &str| profile.0.get(name).cloned();
        let endpoint = variables.endpoint.clone().or_else(|| get("endpoint_url"));
        let region = variables.region.clone().or_else(|| get("region"));
        let (id, secret, token) = match (&variables.key_id, &variables.secret) {
            (None, None) => (get("aws_access_key_id"), get("aws_secret_access_key"), get("aws_session_token")),
            // Keys belong together: half from here and half from there never fits.
            (id, secret) => {
                trouble = None;
                (id.clone(), secret.clone(), variables.token.clone())
            }
        };
        let keys = match (id, secret) {
            (Some(id), Some(secret)) => Some((id, secret, token)),
            (None, None) => None,
            (Some(_), None) => {
                trouble = Some("an access key id for S3 is set, but no secret access key: set AWS_SECRET_ACCESS_KEY".into());
                None
            }
            (None, Some(_)) => {
                trouble = Some("a secret access key for S3 is set, but no access key id: set AWS_ACCESS_KEY_ID".into());
                None
            }
        };
        if keys.is_none() && trouble.is_none() {
            trouble = profile.unusable(variables);
        }
        Self { s3: S3 { endpoint, region, keys }, trouble }
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
        let files = [(&variables.config_file, section_of_config(name)), (&variables.credentials_file, name.to_owned())];
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
            trouble.get_or_insert(format!("AWS_PROFILE names `{profile}`, but there is no such profile in the AWS files"));
        }
        (found, trouble)
    }

    /// Why a profile without keys cannot be used, if it was meant to give some.
    fn unusable(&self, variables: &Variables) -> Option<String> {
        let ways = ["sso_session", "sso_start_url", "role_arn", "credential_process", "web_identity_token_file"];
        let way = ways.iter().find(|way| self.0.contains_key(**way))?;
        let name = variables.profile.as_deref().unwrap_or("default");
        Some(format!(
            "the AWS profile `{name}` has no keys of its own ({way} is not followed); run: \
             eval \"$(aws configure export-credentials --profile {name} --format env)\""
        ))
    }
}

fn section_of_config(profile: &str) -> String {
    if profile == "default" { profile.into() } else { format!("profile {profile}") }
}

/// A file's text; none if there is no file.
fn read(path: &Path) -> Result<Option<String>, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("failed to read `{}`: {error}", path.display())),
    }
}

/// The values of a section, if it is there. Indented lines continue a nested value, of which none is needed here.
fn ini_section(text: &str, wanted: &str) -> Option<BTreeMap<String, String>> {
    let mut values = None;
    let mut inside = false;
    for line in text.lines().filter(|line| !line.starts_with([' ', '\t', '#', ';'])) {
        if let Some(header) = line.strip_prefix('[') {
            let name = header.split(']').next().unwrap_or_default();
            inside = name.split_whitespace().eq(wanted.split_whitespace());
            if inside {
                values.get_or_insert_with(BTreeMap::new);
            }
        } else if let (true, Some((name, value))) = (inside, line.split_once('=')) {
            // A comment needs a blank in front, since secrets may hold `#`.
            let value = value.split(" #").next().unwrap_or_default().split(" ;").next().unwrap_or_default();
            values.get_or_insert_with(BTreeMap::new).insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "# keys\n[default]\naws_access_key_id = AKID\naws_secret_access_key=se/cr#et= # mine\n\n\
        [ci]\nAWS_ACCESS_KEY_ID=CI\naws_secret_access_key=cis\naws_session_token = tok\n[half]\naws_access_key_id=H\n";
    const CONFIG: &str = "[default]\nregion = eu-west-1\ns3 =\n    endpoint_url = http://nested\n[profile  ci]\n\
        endpoint_url = http://ci:9000\n[profile sso]\nsso_session = work\n";

    fn settings(change: impl FnOnce(&mut Variables)) -> Settings {
        let folder = tempfile::tempdir().unwrap();
        let (credentials, config) = (folder.path().join("credentials"), folder.path().join("config"));
        std::fs::write(&credentials, CREDENTIALS).unwrap();
        std::fs::write(&config, CONFIG).unwrap();
        let mut variables = Variables { credentials_file: Some(credentials), config_file: Some(config), ..Variables::default() };
        change(&mut variables);
        Settings::read(&variables)
    }

    #[test]
    fn the_default_profile_is_read_from_both_files() {
        let Settings { s3, trouble } = settings(|_| ());
        assert_eq!(s3.keys, Some(("AKID".into(), "se/cr#et=".into(), None)));
        assert_eq!((s3.region.as_deref(), s3.endpoint, trouble), (Some("eu-west-1"), None, None));
    }

    #[test]
    fn a_named_profile_has_its_own_values() {
        let Settings { s3, trouble } = settings(|v| v.profile = Some("ci".into()));
        assert_eq!(s3.keys, Some(("CI".into(), "cis".into(), Some("tok".into()))));
        assert_eq!((s3.region, s3.endpoint.as_deref(), trouble), (None, Some("http://ci:9000"), None));
    }

    #[test]
    fn variables_win_over_files_and_keys_are_never_mixed() {
        let Settings { s3, trouble } = settings(|v| {
            (v.key_id, v.secret, v.region) = (Some("ENV".into()), Some("env".into()), Some("us-west-2".into()));
            v.profile = Some("nobody".into());
        });
        assert_eq!(s3.keys, Some(("ENV".into(), "env".into(), None)));
        assert_eq!((s3.region.as_deref(), trouble), (Some("us-west-2"), None));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (profile, part) in [("half", "AWS_SECRET_ACCESS_KEY"), ("sso", "sso_session"), ("nobody", "`nobody`")] {
            let trouble = settings(|v| v.profile = Some(profile.into())).trouble.unwrap();
            assert!(trouble.contains(part), "{trouble}");
        }
    }

    #[test]
    fn without_anything_requests_are_not_signed() {
        let Settings { s3, trouble } = Settings::read(&Variables::default());
        assert!(s3.keys.is_none() && s3.endpoint.is_none() && trouble.is_none());
    }
}
