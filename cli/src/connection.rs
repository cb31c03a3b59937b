//! Which broker a command talks to, and as whom: options first, then the environment.
//!
//! A command that names no broker has none, and works in its own process. What is wrong with a file
//! or an address is said by the broker's own code, with the place and without secrets.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use sortie_broker::nats::{Config, Name, NatsBroker, Role, Tls};

use crate::ending::Error;
use crate::environment::Environment;
use crate::interrupt::Interrupt;
use crate::settings;

/// What is written instead of a URL to have no broker although the environment names one.
const LOCAL: &str = "local";

/// Which broker, and as whom.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Broker")]
pub(crate) struct BrokerOptions {
    /// The NATS servers of the fleet, with commas between them: nats://host:4222, or
    /// tls://host:4222; or `local` for none [env: SORTIE_BROKER]
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// Whose jobs these are [env: SORTIE_TENANT] [default: default]
    #[arg(long, value_name = "NAME", value_parser = tenant)]
    tenant: Option<Name>,
    /// A credentials file for the broker, as `nsc` writes it [env: SORTIE_CREDS]
    #[arg(long, value_name = "FILE")]
    creds: Option<PathBuf>,
    /// Require TLS, and trust the authorities in this PEM file beside the system's
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Require TLS, and show this certificate (PEM) to the broker
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key (PEM) of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// How long connecting to the broker may take, over all of its servers [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = settings::duration)]
    connect_timeout: Option<Duration>,
    /// How long the broker may be away before what waits for it gives up [default: 10min]
    #[arg(long, value_name = "DURATION", value_parser = settings::duration)]
    outage_timeout: Option<Duration>,
}

impl BrokerOptions {
    /// How to reach the broker; none if neither the options nor the environment name one.
    ///
    /// # Errors
    /// When the options are about a broker that nobody names, or the environment holds what is
    /// none.
    pub(crate) fn config(
        &self,
        environment: &Environment,
        role: Role,
    ) -> Result<Option<Config>, Error> {
        let named = self.broker.clone().or_else(|| environment.broker.clone());
        let Some(servers) = named.filter(|servers| servers != LOCAL) else {
            return match self.first_given() {
                Some(option) => Err(Error::Usage(format!(
                    "{option} is about a broker, but none is named; add --broker URL"
                ))),
                None => Ok(None),
            };
        };
        let mut config = Config::new(servers, role);
        if let Some(tenant) = self.tenant(environment)? {
            config.tenant = tenant;
        }
        config.credentials = self
            .creds
            .clone()
            .or_else(|| environment.credentials.clone());
        let identity = self.tls_cert.clone().zip(self.tls_key.clone());
        // Whoever names an authority or shows a certificate does not want to talk to a server that
        // offers no TLS.
        config.tls = Tls {
            required: self.tls_ca.is_some() || identity.is_some(),
            authorities: self.tls_ca.clone(),
            identity,
        };
        config.connect_time_max = self.connect_timeout.unwrap_or(config.connect_time_max);
        config.outage_time_max = self.outage_timeout.unwrap_or(config.outage_time_max);
        Ok(Some(config))
    }

    /// As [`Self::config`], for a command that is nothing without a broker.
    ///
    /// # Errors
    /// As [`Self::config`], and when no broker is named.
    pub(crate) fn required(&self, environment: &Environment, role: Role) -> Result<Config, Error> {
        let config = self.config(environment, role)?;
        config.ok_or_else(|| {
            Error::Usage(
                "no broker is named: write --broker nats://HOST:4222, or set SORTIE_BROKER".into(),
            )
        })
    }

    fn tenant(&self, environment: &Environment) -> Result<Option<Name>, Error> {
        match (&self.tenant, &environment.tenant) {
            (Some(tenant), _) => Ok(Some(tenant.clone())),
            (None, Some(text)) => tenant(text)
                .map(Some)
                .map_err(|error| Error::Usage(format!("SORTIE_TENANT is no tenant: {error}"))),
            (None, None) => Ok(None),
        }
    }

    /// An option that means nothing without a broker.
    fn first_given(&self) -> Option<&'static str> {
        let given = [
            (self.tenant.is_some(), "--tenant"),
            (self.creds.is_some(), "--creds"),
            (self.tls_ca.is_some(), "--tls-ca"),
            (self.tls_cert.is_some(), "--tls-cert"),
            (self.connect_timeout.is_some(), "--connect-timeout"),
            (self.outage_timeout.is_some(), "--outage-timeout"),
        ];
        given
            .into_iter()
            .find_map(|(given, option)| given.then_some(option))
    }
}

/// Connect.
///
/// # Errors
/// When the broker is not reached within the time that `config` allows, refuses, or cannot be used.
pub(crate) async fn connect(
    config: Config,
    interrupt: &Interrupt,
) -> Result<Arc<NatsBroker>, Error> {
    let connected = interrupt.or(NatsBroker::connect(config)).await?;
    connected
        .map(Arc::new)
        .map_err(|error| Error::Platform(error.to_string()))
}

fn tenant(text: &str) -> Result<Name, String> {
    text.parse()
        .map_err(|error: sortie_broker::nats::InvalidName| error.to_string())
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

    #[test]
    fn without_a_name_there_is_no_broker() {
        assert!(
            BrokerOptions::default()
                .config(&Environment::default(), Role::Client)
                .unwrap()
                .is_none()
        );
        let error = BrokerOptions::default()
            .required(&Environment::default(), Role::Client)
            .unwrap_err();
        assert!(error.to_string().contains("SORTIE_BROKER"), "{error}");
        let only = BrokerOptions {
            creds: Some("x".into()),
            ..BrokerOptions::default()
        };
        assert!(
            only.config(&Environment::default(), Role::Client)
                .unwrap_err()
                .to_string()
                .contains("--creds")
        );
    }

    #[test]
    fn options_win_over_the_environment() {
        let config = BrokerOptions::default()
            .config(&environment(), Role::Worker)
            .unwrap()
            .unwrap();
        assert_eq!(
            (config.servers.as_str(), config.tenant.as_str()),
            ("nats://there", "acme")
        );
        let options = BrokerOptions {
            broker: Some("nats://here".into()),
            tenant: "b".parse().ok(),
            ..BrokerOptions::default()
        };
        let config = options
            .config(&environment(), Role::Worker)
            .unwrap()
            .unwrap();
        assert_eq!(
            (config.servers.as_str(), config.tenant.as_str()),
            ("nats://here", "b")
        );
    }

    #[test]
    fn naming_an_authority_requires_tls() {
        let options = BrokerOptions {
            tls_ca: Some("ca.pem".into()),
            ..BrokerOptions::default()
        };
        assert!(
            options
                .config(&environment(), Role::Client)
                .unwrap()
                .unwrap()
                .tls
                .required
        );
        assert!(
            !BrokerOptions::default()
                .config(&environment(), Role::Client)
                .unwrap()
                .unwrap()
                .tls
                .required
        );
    }

    #[test]
    fn a_bad_tenant_in_the_environment_is_named() {
        let environment = Environment {
            tenant: Some("A B".into()),
            ..environment()
        };
        assert!(
            BrokerOptions::default()
                .config(&environment, Role::Client)
                .unwrap_err()
                .to_string()
                .contains("SORTIE_TENANT")
        );
    }
}
