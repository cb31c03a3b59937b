//! Limits how many bundles of a job are in flight, by the size of the fleet.

#[cfg(feature = "embedded")]
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sortie_broker::Broker;

/// The number of slots assumed before the fleet's size is known, and the minimum: a few machines,
/// so that the first workers find enough to do.
const FLEET_SLOTS_MIN: usize = 64;
/// How often the fleet is asked how large it is, while a job runs: as often as its workers say that
/// they are there, nearly.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// How many slots work on a client's jobs, as far as is known. Clones are the same window.
#[derive(Debug, Clone)]
pub(crate) enum Window {
    /// This many, in this process.
    #[cfg(feature = "embedded")]
    Own(NonZeroUsize),
    /// As many as the workers say that are there.
    Fleet(Arc<AtomicUsize>),
}

impl Window {
    /// Of a fleet that was not asked yet.
    pub(crate) fn fleet() -> Self {
        Self::Fleet(Arc::new(AtomicUsize::new(FLEET_SLOTS_MIN)))
    }

    /// The slots.
    pub(crate) fn slots(&self) -> usize {
        match self {
            #[cfg(feature = "embedded")]
            Self::Own(slots) => slots.get(),
            Self::Fleet(slots) => slots.load(Ordering::Relaxed),
        }
    }

    /// Bundles that may be published and not ended: enough that each slot finds the next one
    /// waiting when it ends the present one, and that workers have all those that they lease
    /// ahead where inputs take long to come, eight for each slot.
    pub(crate) fn bundles(&self) -> usize {
        self.slots().saturating_mul(11).saturating_add(1)
    }

    /// Keep the size of a fleet up to date. Never returns. Cancel safe.
    pub(crate) async fn keep(&self, broker: &dyn Broker) {
        let slots = match self {
            #[cfg(feature = "embedded")]
            Self::Own(_) => return std::future::pending().await,
            Self::Fleet(slots) => slots,
        };
        loop {
            // A broker that does not answer is noticed by those who need it; the fleet is as large
            // as it was.
            if let Ok(workers) = broker.workers().await {
                let there = workers
                    .iter()
                    .filter(|worker| !worker.draining)
                    .map(|worker| worker.slots as usize)
                    .sum::<usize>();
                slots.store(there.max(FLEET_SLOTS_MIN), Ordering::Relaxed);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}
