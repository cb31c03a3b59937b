//! Decides which bundle loads its component next, fairly between tenants.
//!
//! Loading a component takes up to a minute and a half when it is made to be expensive, so that it
//! has places of its own, [`LOADS_AT_ONCE`], and a tenant has one of them at most. A bundle that
//! waits for its component occupies no slot; a tenant has a limited number of those, and what is
//! beyond is handed back to the broker. So one tenant's components hold up neither another's
//! components nor another's tasks. Two tenants that attack together can hold up a third's new
//! components, not its tasks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use sortie_protocol::TenantId;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Components that are loaded at once: each may take its bytes, and what compiling them takes.
const LOADS_AT_ONCE: usize = 2;

/// Who loads components, and who waits for that.
#[derive(Debug)]
pub(super) struct Loads {
    places: Semaphore,
    /// Those that have a bundle here.
    tenants: Mutex<HashMap<TenantId, Arc<Tenant>>>,
    /// Bundles of one tenant here, at most.
    tenant_max: usize,
}

#[derive(Debug)]
struct Tenant {
    turn: Semaphore,
    bundles: AtomicUsize,
}

/// A bundle that waits for its component. Dropping it makes room for another.
#[derive(Debug)]
pub(super) struct Waiting<'l> {
    loads: &'l Loads,
    name: TenantId,
    tenant: Arc<Tenant>,
}

/// The right to load a component.
#[derive(Debug)]
pub(super) struct Turn<'w> {
    _tenants: Option<SemaphorePermit<'w>>,
    _place: Option<SemaphorePermit<'w>>,
}

impl Loads {
    /// At most `tenant_max` bundles of one tenant wait.
    pub(super) fn new(tenant_max: usize) -> Self {
        Self {
            places: Semaphore::new(LOADS_AT_ONCE),
            tenants: Mutex::default(),
            tenant_max,
        }
    }

    /// Let a bundle of this tenant wait, unless too many do.
    pub(super) fn wait(&self, name: TenantId) -> Option<Waiting<'_>> {
        let mut tenants = self.tenants.lock();
        let tenant = tenants.entry(name).or_insert_with(|| {
            Arc::new(Tenant {
                turn: Semaphore::new(1),
                bundles: AtomicUsize::new(0),
            })
        });
        if tenant.bundles.load(Ordering::Relaxed) >= self.tenant_max {
            return None;
        }
        tenant.bundles.fetch_add(1, Ordering::Relaxed);
        Some(Waiting {
            loads: self,
            name,
            tenant: tenant.clone(),
        })
    }
}

impl Waiting<'_> {
    /// Wait for the turn of this bundle. Cancel safe.
    pub(super) async fn turn(&self) -> Turn<'_> {
        // Neither is ever closed. The tenant's first: whoever waits for a place is the only one of
        // its tenant, so that places go round among tenants.
        let tenants = self.tenant.turn.acquire().await.ok();
        let place = self.loads.places.acquire().await.ok();
        Turn {
            _tenants: tenants,
            _place: place,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut tenants = self.loads.tenants.lock();
        // Under the lock, so that nobody joins a tenant that is being removed.
        if self.tenant.bundles.fetch_sub(1, Ordering::Relaxed) == 1 {
            tenants.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    #[test]
    fn a_tenant_with_many_components_leaves_a_place_to_another() {
        let loads = Loads::new(8);
        let many: Vec<_> = (0..8)
            .map(|_| loads.wait(tenant("many")).unwrap())
            .collect();
        let mut turns: Vec<_> = many.iter().map(|one| Box::pin(one.turn())).collect();
        let had: Vec<_> = turns
            .iter_mut()
            .filter_map(|turn| turn.as_mut().now_or_never())
            .collect();
        assert_eq!(had.len(), 1);
        let other = loads.wait(tenant("other")).unwrap();
        let its_turn = other.turn().now_or_never().unwrap();
        let third = loads.wait(tenant("third")).unwrap();
        assert!(third.turn().now_or_never().is_none());
        drop(its_turn);
        assert!(third.turn().now_or_never().is_some());
    }

    #[test]
    fn bundles_of_one_tenant_that_wait_have_a_bound() {
        let loads = Loads::new(2);
        let one = loads.wait(tenant("a")).unwrap();
        let two = loads.wait(tenant("a")).unwrap();
        assert!(loads.wait(tenant("a")).is_none());
        assert!(loads.wait(tenant("b")).is_some());
        drop(one);
        assert!(loads.wait(tenant("a")).is_some());
        drop(two);
        assert!(loads.tenants.lock().is_empty());
    }
}
