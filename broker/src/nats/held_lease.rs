//! Leases that this process holds.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use sortie_protocol::{Bundle, Job, JobKey, LeaseId, TenantId};

use super::attempts::Attempts;
use super::clock;
use super::notes::BundleId;
use crate::traits::Lease;

/// A lease that is held here.
#[derive(Debug, Clone)]
pub(super) struct HeldLease {
    pub(super) id: LeaseId,
    pub(super) key: JobKey,
    pub(super) job: Arc<Job>,
    pub(super) bundle: Arc<Bundle>,
    /// Which message it is.
    pub(super) message: BundleId,
    /// Where acknowledgements go.
    pub(super) ack: String,
    pub(super) attempt: u32,
    /// Leases of these tasks that were lost in a row before this one.
    pub(super) losses: u32,
    /// Whether a worker had these tasks before.
    pub(super) is_again: bool,
    /// The number of this delivery of the message.
    pub(super) delivery: u64,
    /// Tasks of the message that did not end, and are not in this lease.
    pub(super) rest: Attempts,
    /// Since when it may run.
    pub(super) since: Instant,
    /// From here on it counts as lost.
    pub(super) until: Instant,
}

impl HeldLease {
    /// Whether the lease still holds.
    pub(super) fn holds(&self) -> bool {
        clock::instant() < self.until
    }

    /// The lease in the form that workers get.
    pub(super) fn lease(&self) -> Lease {
        let deadline = clock::now() + self.until.saturating_duration_since(clock::instant());
        Lease {
            id: self.id,
            job: self.job.clone(),
            bundle: self.bundle.clone(),
            attempt: self.attempt,
            deadline,
        }
    }
}

/// The leases held by this process. A lease ends with its report, so there are no more than the
/// worker's slots plus a few spares.
#[derive(Debug, Default)]
pub(super) struct HeldLeases {
    held: Mutex<HashMap<LeaseId, HeldLease>>,
    next: AtomicU64,
}

impl HeldLeases {
    pub(super) fn next_id(&self) -> LeaseId {
        LeaseId(self.next.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(super) fn insert(&self, held: HeldLease) {
        self.held.lock().insert(held.id, held);
    }

    pub(super) fn remove(&self, lease: LeaseId) -> Option<HeldLease> {
        self.held.lock().remove(&lease)
    }

    pub(super) fn get(&self, lease: LeaseId) -> Option<HeldLease> {
        self.held.lock().get(&lease).cloned()
    }

    /// How many are held of each tenant.
    pub(super) fn by_tenant(&self) -> HashMap<TenantId, usize> {
        let mut counts = HashMap::new();
        for held in self.held.lock().values() {
            *counts.entry(held.key.tenant).or_default() += 1;
        }
        counts
    }

    pub(super) fn prolong(&self, lease: LeaseId, until: Instant) {
        if let Some(held) = self.held.lock().get_mut(&lease) {
            held.until = until;
        }
    }
}
