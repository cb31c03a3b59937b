//! Decides which addresses web servers are read at.
//!
//! In an embedded client a task reads what its user could read. On a worker the submitter and the
//! operator are different people: what answers at the worker's own machine, in its private
//! networks or at its cloud's metadata service is not for submitters. So a worker reads public
//! addresses only, and those that its operator allows.
//!
//! The address that is checked is the one that is connected to: names are looked up here, and
//! every redirect is checked as the first request is. Stores of objects are not asked: where they
//! are, the operator says.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::blocking::Pool;

/// Which addresses web servers are read at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Networks {
    /// All of them.
    #[default]
    Everywhere,
    /// Public ones, and those in these networks.
    PublicAnd(Vec<Network>),
}

/// A network: addresses that have their first bits in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// The text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no network; write an address, or one and the bits that count, as in 10.1.0.0/16")]
pub struct NoNetwork(String);

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let wrong = || NoNetwork(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => (address, Some(bits)),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => bits_max,
            Some(bits) => bits.parse().map_err(|_| wrong())?,
        };
        if bits > bits_max {
            return Err(wrong());
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Network {
    const fn v4(a: u8, b: u8, c: u8, bits: u8) -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::new(a, b, c, 0)),
            bits,
        }
    }

    const fn v6(a: u16, b: u16, bits: u8) -> Self {
        Self {
            address: IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0)),
            bits,
        }
    }

    /// Whether this address lies in it. One of IPv4 is the same in IPv6 notation.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let is_same = |own: u128, other: u128, width: u32| {
            let rest = width.saturating_sub(u32::from(self.bits));
            own.checked_shr(rest).unwrap_or(0) == other.checked_shr(rest).unwrap_or(0)
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                is_same(own.to_bits().into(), other.to_bits().into(), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => is_same(own.to_bits(), other.to_bits(), 128),
            (IpAddr::V6(_), IpAddr::V4(_)) | (IpAddr::V4(_), IpAddr::V6(_)) => false,
        }
    }
}

/// Where machines at Azure reach their platform, although the address is a public one.
const AZURE: Network = Network {
    address: IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    bits: 32,
};
/// Networks of IPv4 that are not public: this network, private ones, shared by carriers, the
/// machine itself, link-local with the clouds' metadata services, for protocols, for examples and
/// measurements, multicast and reserved.
const CLOSED_4: [Network; 15] = [
    Network::v4(0, 0, 0, 8),
    Network::v4(10, 0, 0, 8),
    Network::v4(100, 64, 0, 10),
    Network::v4(127, 0, 0, 8),
    AZURE,
    Network::v4(169, 254, 0, 16),
    Network::v4(172, 16, 0, 12),
    Network::v4(192, 0, 0, 24),
    Network::v4(192, 0, 2, 24),
    Network::v4(192, 168, 0, 16),
    Network::v4(198, 18, 0, 15),
    Network::v4(198, 51, 100, 24),
    Network::v4(203, 0, 113, 24),
    Network::v4(224, 0, 0, 4),
    Network::v4(240, 0, 0, 4),
];
/// What is public of IPv6.
const OPEN_6: Network = Network::v6(0x2000, 0, 3);
/// Parts of it that are not: for protocols, and for examples.
const CLOSED_6: [Network; 3] = [
    Network::v6(0x2001, 0, 23),
    Network::v6(0x2001, 0xdb8, 32),
    Network::v6(0x3fff, 0, 20),
];
/// Addresses of IPv4 behind a translator.
const TRANSLATED: Network = Network::v6(0x64, 0xff9b, 96);
/// Addresses of IPv4 that are reached through a relay.
const RELAYED: Network = Network::v6(0x2002, 0, 16);

fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(_) => !CLOSED_4.iter().any(|network| network.contains(address)),
        IpAddr::V6(v6) => {
            let inner = |shift: u32| {
                // Cut to the 32 bits of the address within.
                #[expect(clippy::cast_possible_truncation, reason = "the rest is no part of it")]
                let bits = (v6.to_bits() >> shift) as u32;
                IpAddr::V4(Ipv4Addr::from_bits(bits))
            };
            if TRANSLATED.contains(address) {
                is_public(inner(0))
            } else if RELAYED.contains(address) {
                is_public(inner(80))
            } else {
                OPEN_6.contains(address)
                    && !CLOSED_6.iter().any(|network| network.contains(address))
            }
        }
    }
}

/// A server is where it may not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its server is in a network that is not read from here")]
pub(crate) struct Closed;

impl Networks {
    /// Whether a server at this address is read.
    #[must_use]
    pub fn allow(&self, address: IpAddr) -> bool {
        match self {
            Self::Everywhere => true,
            Self::PublicAnd(networks) => {
                is_public(address) || networks.iter().any(|network| network.contains(address))
            }
        }
    }

    /// See to it that a URL whose server is given by its address leads to one that is allowed.
    /// Names are checked when they are looked up.
    pub(crate) fn check(&self, url: &Url) -> Result<(), Closed> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        if self.allow(address) {
            Ok(())
        } else {
            Err(Closed)
        }
    }
}

/// Looks up names of servers, and leaves out the addresses that are not allowed.
#[derive(Debug, Clone)]
pub(crate) struct Resolver {
    pub(crate) networks: Arc<Networks>,
    pub(crate) pool: Pool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { networks, pool } = self.clone();
        Box::pin(async move {
            let looking = pool.run(move || {
                let found = (name.as_str(), 0).to_socket_addrs();
                found.map(Iterator::collect::<Vec<SocketAddr>>)
            });
            let mut found = looking.await??;
            let any = !found.is_empty();
            found.retain(|address| networks.allow(address.ip()));
            if any && found.is_empty() {
                return Err(Closed.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for closed in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "168.63.129.16",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "::7f00:1",
        ] {
            assert!(!is_public(closed.parse().unwrap()), "{closed}");
        }
        for open in [
            "1.1.1.1",
            "100.63.255.255",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "223.255.255.255",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::",
            "2606:4700:4700::1111",
        ] {
            assert!(is_public(open.parse().unwrap()), "{open}");
        }
    }

    #[test]
    fn a_network_is_what_its_bits_say() {
        let network = |text: &str| text.parse::<Network>().unwrap();
        let has = |text: &str, address: &str| network(text).contains(address.parse().unwrap());
        assert!(has("10.1.0.0/16", "10.1.255.1") && !has("10.1.0.0/16", "10.2.0.1"));
        assert!(has("10.1.0.0/16", "::ffff:10.1.0.9"));
        assert!(has("127.0.0.1", "127.0.0.1") && !has("127.0.0.1", "127.0.0.2"));
        assert!(has("0.0.0.0/0", "8.8.8.8") && !has("0.0.0.0/0", "2606::1"));
        assert!(has("::/0", "2606::1") && has("fd00::/8", "fd12::1"));
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "a/8", "10.0.0/8"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
        assert_eq!(network("10.0.0.0/8").to_string(), "10.0.0.0/8");
    }

    #[test]
    fn what_an_operator_allows_is_read() {
        let networks = Networks::PublicAnd(vec!["127.0.0.1".parse().unwrap()]);
        for (url, allowed) in [
            ("http://127.0.0.1:9/a", true),
            ("http://127.0.0.2/a", false),
            ("http://2130706434/a", false),
            ("http://0x7f.2/a", false),
            ("http://[::1]/a", false),
            ("http://[::ffff:127.0.0.2]/a", false),
            ("http://1.1.1.1/a", true),
            ("http://localhost/a", true),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(networks.check(&url).is_ok(), allowed, "{url}");
        }
        assert!(Networks::Everywhere.allow("::1".parse().unwrap()));
    }
}
