//! The configuration of a memory broker: lease, losses, and what it may hold.

use std::time::Duration;

use sortie_protocol::delivery::LOSSES_MAX;

use super::faults::Faults;

/// The bounds of a [`MemoryBroker`](super::MemoryBroker).
#[derive(Debug, Clone)]
pub struct Config {
    /// How long a lease holds unless extended. Default 30 s; at least a millisecond.
    pub lease: Duration,
    /// After how many deliveries in a row without a report a task ends as `worker-lost`. Default
    /// [`LOSSES_MAX`].
    pub deliveries_max: u32,
    /// What the waiting bundles of a tenant may weigh together. Default 256 MiB; `publish` waits at
    /// the limit.
    pub weight_max: usize,
    /// How many dead letters are kept; the oldest go first. Default 10 000.
    pub dead_letters_max: usize,
    /// Faults to inject, for tests. Default none.
    pub faults: Option<Faults>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            deliveries_max: LOSSES_MAX,
            weight_max: 256 << 20,
            dead_letters_max: 10_000,
            faults: None,
        }
    }
}
