//! Connects a worker command to its broker.

use std::sync::Arc;

use sortie_broker::nats::{Config as BrokerConfig, NatsBroker};

use crate::ending::{Error, refused};
use crate::terminal::interrupt::Interrupt;

/// Connect to the broker.
///
/// # Errors
/// When the broker is not reached within the time that `config` allows, refuses the connection, or
/// lacks what a worker needs.
pub(super) async fn connect(
    config: BrokerConfig,
    interrupt: &Interrupt,
) -> Result<Arc<NatsBroker>, Error> {
    let connected = interrupt.or(NatsBroker::connect(config)).await?;
    connected.map(Arc::new).map_err(refused)
}
