//! Options of the connection to a broker. The environment is asked where they say nothing.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use sortie::TenantId;
use sortie_frontend::settings::{BrokerSettings, parse};

/// Which broker, for which tenant, with what credentials.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Broker")]
pub(crate) struct BrokerOptions {
    /// The NATS servers of the fleet, with commas between them: nats://host:4222, or
    /// tls://host:4222; or `local` for none [env: SORTIE_BROKER]
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// Whose jobs these are [env: SORTIE_TENANT] [default: default]
    #[arg(long, value_name = "NAME", value_parser = parse::tenant)]
    tenant: Option<TenantId>,
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
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    connect_timeout: Option<Duration>,
    /// How long the broker may be away before what waits for it gives up [default: 10min]
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    outage_timeout: Option<Duration>,
}

impl BrokerOptions {
    /// The settings that these options are.
    pub(crate) fn settings(&self) -> BrokerSettings {
        BrokerSettings {
            servers: self.broker.clone(),
            tenant: self.tenant,
            credentials: self.creds.clone(),
            tls_authorities: self.tls_ca.clone(),
            tls_identity: self.tls_cert.clone().zip(self.tls_key.clone()),
            connect_time_max: self.connect_timeout,
            outage_time_max: self.outage_timeout,
        }
    }
}
