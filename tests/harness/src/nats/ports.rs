//! Ports of loopback for servers that must keep theirs over a restart.
//!
//! The system hands out ports from 32768 on to whoever asks for any, also to outgoing connections.
//! One that a server leaves for a moment would soon be somebody else's. So these come from below,
//! at random, and are tried before they are used. Two tests can still pick the same one at the same
//! time: whoever comes second starts anew.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Above the ports of well-known services, below those that the system hands out.
const RANGE: std::ops::Range<u16> = 15_000..32_000;
/// Far more than it takes when only some of the range is in use.
const TRIES_MAX: u32 = 1000;

/// An address that nobody listens at.
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
