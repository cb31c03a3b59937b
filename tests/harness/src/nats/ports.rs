//! Chooses loopback ports for servers that keep their port over a restart.
//!
//! The system assigns ports from 32768 up to sockets that ask for any port, also to outgoing
//! connections. Such a port could be taken while a server restarts. So these ports are chosen at
//! random below that range, and tried before they are used. Two tests can still choose the same
//! port at the same time: the second server then fails to bind and starts again with another one.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Above the ports of well-known services, below those that the system hands out.
const RANGE: std::ops::Range<u16> = 15_000..32_000;
/// Far more than it takes when only some of the range is in use.
const TRIES_MAX: u32 = 1000;

/// A loopback address on which nothing listens.
///
/// # Panics
/// When there is none.
pub(super) fn free() -> SocketAddr {
    let random = || RandomState::new().hash_one(0) % u64::from(RANGE.end - RANGE.start);
    let mut candidates = (0..TRIES_MAX)
        .map(|_| RANGE.start + u16::try_from(random()).expect("a number below the range's length"));
    let port = candidates.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    SocketAddr::from((Ipv4Addr::LOCALHOST, port.expect("a free port")))
}
