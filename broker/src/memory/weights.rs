//! What the bundles that wait weigh, by tenant.

use std::collections::HashMap;

use sortie_protocol::TenantId;

use super::queued_bundle::QueuedBundle;

/// What the waiting bundles of each tenant weigh.
#[derive(Debug, Default)]
pub(super) struct Weights {
    by_tenant: HashMap<TenantId, usize>,
    /// Whether something was taken since this was reset.
    pub(super) is_less: bool,
}

impl Weights {
    pub(super) fn of(&self, tenant: &TenantId) -> usize {
        self.by_tenant.get(tenant).copied().unwrap_or(0)
    }

    pub(super) fn put(&mut self, queued: &QueuedBundle) {
        *self.by_tenant.entry(queued.bundle.job.tenant).or_default() += queued.weight;
    }

    pub(super) fn take(&mut self, queued: &QueuedBundle) {
        self.is_less |= queued.weight > 0;
        if let Some(weight) = self.by_tenant.get_mut(&queued.bundle.job.tenant) {
            *weight = weight.saturating_sub(queued.weight);
        }
    }
}
