//! Checks what a configuration names before anything is connected to: the servers' addresses, and
//! the files with credentials and certificates.
//!
//! What is wrong here is wrong in what the caller asked for ([`Error::Misconfigured`]). Whatever a
//! network or a server has against the configuration is found out later, and is another error.

use std::io;
use std::path::Path;

use async_nats::ServerAddr;
use tokio::io::AsyncReadExt as _;

use super::config::{Config, place};
use crate::traits::{Error, Part};

/// The most that is read of a file with credentials or certificates. A system's bundle of all
/// authorities has a quarter of a megabyte; a larger file is refused.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Schemes of servers' addresses.
const SCHEMES: [&str; 2] = ["nats", "tls"];
/// How a certificate begins in a PEM file.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
/// How a private key of any kind ends the line that it begins with.
const KEY: &str = "PRIVATE KEY-----";

/// What a configuration names, as far as it is used as it is.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) servers: Vec<ServerAddr>,
    /// The content of the credentials file. Secret.
    pub(super) credentials: Option<Credentials>,
}

/// The content of a credentials file, which is not printed.
pub(super) struct Credentials(pub(super) String);

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

/// Check a configuration.
///
/// # Errors
/// When an address is none, or a file cannot be read or does not hold what it should.
pub(super) async fn check(config: &Config) -> Result<Checked, Error> {
    let servers = config.servers.split(',').map(str::trim);
    let servers = servers.map(server).collect::<Result<_, _>>()?;
    let credentials = match &config.credentials {
        Some(path) => Some(Credentials(read(path, Part::Credentials).await?)),
        None => None,
    };
    if let Some(path) = &config.tls.authorities {
        read_pem(path, Part::TlsAuthorities, CERTIFICATE).await?;
    }
    if let Some((certificate, key)) = &config.tls.identity {
        read_pem(certificate, Part::TlsIdentity, CERTIFICATE).await?;
        read_pem(key, Part::TlsIdentity, KEY).await?;
    }
    Ok(Checked {
        servers,
        credentials,
    })
}

fn server(text: &str) -> Result<ServerAddr, Error> {
    let address = text.parse::<ServerAddr>().ok();
    let is_one =
        |address: &ServerAddr| SCHEMES.contains(&address.scheme()) && !address.host().is_empty();
    address.filter(is_one).ok_or_else(|| {
        misconfigured(
            Part::Servers,
            format!(
                "`{}` is not the address of a broker, which has the form nats://host:4222 or \
                 tls://host:4222",
                place(text)
            ),
        )
    })
}

async fn read(path: &Path, part: Part) -> Result<String, Error> {
    let shown = path.display();
    let unreadable =
        |error: io::Error| misconfigured(part, format!("`{shown}` cannot be read: {error}"));
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    let mut text = String::new();
    let mut front = file.take(FILE_BYTES_MAX + 1);
    let read = front.read_to_string(&mut text).await;
    let size = read.map_err(unreadable)?;
    if size as u64 > FILE_BYTES_MAX {
        let text = format!("`{shown}` has more than {} MiB", FILE_BYTES_MAX >> 20);
        return Err(misconfigured(part, text));
    }
    Ok(text)
}

async fn read_pem(path: &Path, part: Part, mark: &str) -> Result<(), Error> {
    if read(path, part).await?.contains(mark) {
        return Ok(());
    }
    let what = if mark == KEY {
        "private key"
    } else {
        "certificate"
    };
    let text = format!("`{}` has no {what} in PEM form in it", path.display());
    Err(misconfigured(part, text))
}

/// The credentials of this file are none.
pub(super) fn no_credentials(path: &Path) -> Error {
    let text = format!(
        "`{}` is not a credentials file, which has a JWT and a seed in it",
        path.display()
    );
    misconfigured(Part::Credentials, text)
}

fn misconfigured(part: Part, reason: String) -> Error {
    Error::Misconfigured { part, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::Role;

    async fn refused(config: Config) -> (Part, String) {
        match check(&config).await.unwrap_err() {
            Error::Misconfigured { part, reason } => (part, reason),
            other => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn what_is_no_address_of_a_broker_is_told_without_what_is_secret() {
        for servers in [
            "nats://one",
            "one:4222",
            "tls://me:secret@one:4222, nats://two",
            "nats://[::1]:4222",
        ] {
            let checked = check(&Config::new(servers, Role::Client)).await.unwrap();
            assert_eq!(checked.servers.len(), servers.split(',').count());
        }
        for servers in [
            "",
            "nats://",
            "nats://one,",
            "http://me:secret@one",
            "ws://one",
            "nats://me:secret@one:99999",
            "nats://on e",
            "://one",
        ] {
            let (part, reason) = refused(Config::new(servers, Role::Client)).await;
            assert_eq!(part, Part::Servers);
            assert!(reason.contains("nats://host:4222"), "{reason}");
            assert!(!reason.contains("secret"), "{reason}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_not_what_it_should_be_is_named() {
        let folder = std::env::temp_dir();
        let config = || Config::new("nats://one", Role::Client);
        let missing = folder.join("there-is-no-such-file.pem");
        for (part, config) in [
            (Part::Credentials, {
                let credentials = Some(missing.clone());
                Config {
                    credentials,
                    ..config()
                }
            }),
            (Part::TlsAuthorities, {
                let mut config = config();
                config.tls.authorities = Some(missing.clone());
                config
            }),
            (Part::TlsIdentity, {
                let mut config = config();
                config.tls.identity = Some((missing.clone(), missing.clone()));
                config
            }),
        ] {
            let (found, reason) = refused(config).await;
            assert_eq!(found, part);
            assert!(reason.contains("there-is-no-such-file.pem"), "{reason}");
        }
        let mut other = config();
        other.tls.authorities = Some(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").into());
        let (_, reason) = refused(other).await;
        assert!(reason.contains("has no certificate"), "{reason}");
        let mut endless = config();
        endless.credentials = Some("/dev/zero".into());
        assert!(refused(endless).await.1.contains("more than 4 MiB"));
    }
}
