//! Settings of the connection to a broker: which servers, for which tenant, with what credentials.
//!
//! Without a broker, tasks run in the front end's own process. Errors in files and addresses are
//! reported by the broker's code, without secrets.

use std::path::PathBuf;
use std::time::Duration;

use sortie::TenantId;
use sortie::nats::{Config, Provision, Role, Tls};
use sortie::protocol::Advice;

use super::environment::Environment;
use super::parse;
use crate::error::{Error, Setting};

/// Written instead of servers to use no broker although the environment names one.
const LOCAL: &str = "local";

/// Which broker, for which tenant, with what credentials. Unset fields are taken from the
/// environment, else from the defaults.
#[derive(Debug, Clone, Default)]
pub struct BrokerSettings {
    /// The servers, separated by commas; `local` for none.
    pub servers: Option<String>,
    /// The tenant of the jobs.
    pub tenant: Option<TenantId>,
    /// A credentials file, as `nsc` writes it.
    pub credentials: Option<PathBuf>,
    /// Require TLS, and trust the certificate authorities in this PEM file in addition to the
    /// system's.
    pub tls_authorities: Option<PathBuf>,
    /// Require TLS, and authenticate with this client certificate and key, both PEM.
    pub tls_identity: Option<(PathBuf, PathBuf)>,
    /// Timeout for connecting, over all servers.
    pub connect_time_max: Option<Duration>,
    /// How long requests are retried while the broker is unreachable, before they fail.
    pub outage_time_max: Option<Duration>,
}

impl BrokerSettings {
    /// The broker's configuration; `None` if neither the settings nor the environment name a
    /// broker.
    ///
    /// # Errors
    /// When a setting requires a broker and none is named, or when the environment contains an
    /// invalid tenant.
    pub fn config(&self, environment: &Environment, role: Role) -> Result<Option<Config>, Error> {
        let named = self.servers.clone().or_else(|| environment.broker.clone());
        let Some(servers) = named.filter(|servers| servers != LOCAL) else {
            return match self.first_set() {
                Some(setting) => Err(Error::usage("it needs a broker, but none is named")
                    .about(setting)
                    .advised(Advice::NameBroker)),
                None => Ok(None),
            };
        };
        let mut config = Config::new(servers, role);
        if let Some(tenant) = self.tenant(environment)? {
            config.tenant = tenant;
        }
        config.credentials = self
            .credentials
            .clone()
            .or_else(|| environment.credentials.clone());
        // An authority or a certificate is of no use with a server that offers no TLS.
        config.tls = Tls {
            required: self.tls_authorities.is_some() || self.tls_identity.is_some(),
            authorities: self.tls_authorities.clone(),
            identity: self.tls_identity.clone(),
        };
        config.connect_time_max = self.connect_time_max.unwrap_or(config.connect_time_max);
        config.outage_time_max = self.outage_time_max.unwrap_or(config.outage_time_max);
        Ok(Some(config))
    }

    /// Like [`Self::config`], for commands that require a broker.
    ///
    /// # Errors
    /// As [`Self::config`], and when no broker is named.
    pub fn required(&self, environment: &Environment, role: Role) -> Result<Config, Error> {
        let config = self.config(environment, role)?;
        config.ok_or_else(|| Error::usage("no broker is named").advised(Advice::NameBroker))
    }

    /// As [`Self::required`], for those who only look: nothing is made at the broker.
    ///
    /// # Errors
    /// As [`Self::required`].
    pub fn existing(&self, environment: &Environment, role: Role) -> Result<Config, Error> {
        Ok(Config {
            provision: Provision::Never,
            ..self.required(environment, role)?
        })
    }

    fn tenant(&self, environment: &Environment) -> Result<Option<TenantId>, Error> {
        match (self.tenant, &environment.tenant) {
            (Some(tenant), _) => Ok(Some(tenant)),
            (None, Some(text)) => parse::tenant(text)
                .map(Some)
                .map_err(|error| Error::usage(error).within("SORTIE_TENANT is invalid")),
            (None, None) => Ok(None),
        }
    }

    /// Something that is set and means nothing without a broker.
    fn first_set(&self) -> Option<Setting> {
        let settings = [
            (self.tenant.is_some(), Setting::Tenant),
            (self.credentials.is_some(), Setting::BrokerCredentials),
            (self.tls_authorities.is_some(), Setting::TlsAuthorities),
            (self.tls_identity.is_some(), Setting::TlsCertificate),
            (self.connect_time_max.is_some(), Setting::ConnectTime),
            (self.outage_time_max.is_some(), Setting::OutageTime),
        ];
        settings
            .into_iter()
            .find_map(|(is_set, setting)| is_set.then_some(setting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment {
            broker: Some("nats://there".into()),
            tenant: Some("acme".into()),
            ..Environment::default()
        }
    }

    fn config(settings: &BrokerSettings, environment: &Environment) -> Result<Config, Error> {
        settings.required(environment, Role::Client)
    }

    #[test]
    fn without_a_name_there_is_no_broker() {
        let nothing = Environment::default();
        let unset = BrokerSettings::default();
        assert!(unset.config(&nothing, Role::Client).unwrap().is_none());
        let error = config(&unset, &nothing).unwrap_err();
        assert_eq!(error.advice, Some(Advice::NameBroker));
        let only = BrokerSettings {
            credentials: Some("x".into()),
            ..BrokerSettings::default()
        };
        let error = only.config(&nothing, Role::Client).unwrap_err();
        assert_eq!(error.setting, Some(Setting::BrokerCredentials));
    }

    #[test]
    fn settings_win_over_the_environment() {
        let of_environment = config(&BrokerSettings::default(), &environment()).unwrap();
        assert_eq!(of_environment.servers, "nats://there");
        assert_eq!(of_environment.tenant.as_str(), "acme");
        let settings = BrokerSettings {
            servers: Some("nats://here".into()),
            tenant: "b".parse().ok(),
            ..BrokerSettings::default()
        };
        let set = config(&settings, &environment()).unwrap();
        assert_eq!(set.servers, "nats://here");
        assert_eq!(set.tenant.as_str(), "b");
    }

    #[test]
    fn naming_an_authority_requires_tls() {
        let settings = BrokerSettings {
            tls_authorities: Some("ca.pem".into()),
            ..BrokerSettings::default()
        };
        assert!(config(&settings, &environment()).unwrap().tls.required);
        let unset = BrokerSettings::default();
        assert!(!config(&unset, &environment()).unwrap().tls.required);
    }

    #[test]
    fn a_bad_tenant_in_the_environment_is_named() {
        let environment = Environment {
            tenant: Some("A B".into()),
            ..environment()
        };
        let error = config(&BrokerSettings::default(), &environment).unwrap_err();
        assert!(error.to_string().contains("SORTIE_TENANT"), "{error}");
    }
}
