//! Options of the connection to a broker. Environment variables apply where an option is absent.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use sortie::TenantId;
use sortie_frontend::settings::{BrokerSettings, parse};

/// Which broker, for which tenant, with what credentials.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Broker")]
pub(crate) struct BrokerOptions {
    /// URLs of the fleet's NATS servers, separated by commas: nats://host:4222 or tls://host:4222;
    /// `local` runs tasks in this process, without a broker [env: SORTIE_BROKER]
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// The tenant that the jobs belong to [env: SORTIE_TENANT] [default: default]
    #[arg(long, value_name = "NAME", value_parser = parse::tenant)]
    tenant: Option<TenantId>,
    /// A NATS credentials file (.creds), as `nsc` writes it [env: SORTIE_CREDS]
    #[arg(long, value_name = "FILE")]
    creds: Option<PathBuf>,
    /// Require TLS, and trust the certificate authorities in this PEM file in addition to the
    /// system's
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Require TLS, and authenticate to the broker with this client certificate (PEM file)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the client certificate (PEM file)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Timeout for connecting to the broker, all of its servers included [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    connect_timeout: Option<Duration>,
    /// How long requests are retried while the broker is unreachable, before they fail [default:
    /// 10min]
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
