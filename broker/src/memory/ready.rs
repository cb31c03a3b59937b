//! The bundles that are ready, by tenant, by priority and by the labels that they ask for.
//!
//! Tenants are served in turn. Of a tenant's bundles a worker gets the oldest of the highest
//! priority among those that it may take; of subtasks, of the deepest. Bundles of different label
//! sets do not block each other. A pull takes time in proportion to the number of tenants and label
//! sets that have bundles ready, which is one where there is one tenant and no job asks for labels.
//! What has no bundles is dropped, so memory is bounded by the bundles.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use sortie_protocol::{Labels, Priority, TenantId};

use super::queued_bundle::QueuedBundle;
use crate::traits::Serves;

/// Bundles of one label set, each with its place in the order in which they became ready. Never
/// empty.
type Pool = VecDeque<(u64, QueuedBundle)>;

/// The ready bundles of one tenant. Never empty.
#[derive(Debug, Default)]
struct Turn {
    /// By priority, and of subtasks the deepest first: what was begun is ended before more is.
    pools: BTreeMap<Reverse<(Priority, u32)>, BTreeMap<Labels, Pool>>,
    /// When it was served last, among all bundles that were taken.
    served: u64,
}

/// All ready bundles.
#[derive(Debug, Default)]
pub(super) struct Ready {
    tenants: BTreeMap<TenantId, Turn>,
    next: u64,
    taken: u64,
}

impl Ready {
    pub(super) fn push(&mut self, queued: QueuedBundle) {
        self.next += 1;
        let lane = &queued.lane;
        // Whoever comes anew is behind those that wait for their turn.
        let taken = self.taken;
        let turn = self
            .tenants
            .entry(queued.bundle.job.tenant)
            .or_insert_with(|| Turn {
                served: taken,
                ..Turn::default()
            });
        let pool = turn
            .pools
            .entry(Reverse((lane.priority, lane.depth)))
            .or_default()
            .entry(lane.labels.clone())
            .or_default();
        pool.push_back((self.next, queued));
    }

    /// The next bundle for a worker that serves these.
    pub(super) fn pop(&mut self, serves: &Serves) -> Option<QueuedBundle> {
        let mut turns: Vec<(&TenantId, &mut Turn)> = self.tenants.iter_mut().collect();
        turns.sort_by_key(|(_, turn)| turn.served);
        let (tenant, queued, is_over) = turns.into_iter().find_map(|(tenant, turn)| {
            let queued = turn.pop(serves)?;
            self.taken += 1;
            turn.served = self.taken;
            turn.pools.retain(|_, pools| !pools.is_empty());
            Some((*tenant, queued, turn.pools.is_empty()))
        })?;
        if is_over {
            self.tenants.remove(&tenant);
        }
        Some(queued)
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&QueuedBundle) -> bool) {
        self.tenants.retain(|_, turn| {
            turn.pools.retain(|_, pools| {
                pools.retain(|_, pool| {
                    pool.retain(|(_, queued)| keep(queued));
                    !pool.is_empty()
                });
                !pools.is_empty()
            });
            !turn.pools.is_empty()
        });
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &QueuedBundle> {
        self.tenants
            .values()
            .flat_map(|turn| turn.pools.values())
            .flat_map(BTreeMap::values)
            .flatten()
            .map(|(_, queued)| queued)
    }
}

impl Turn {
    fn pop(&mut self, serves: &Serves) -> Option<QueuedBundle> {
        self.pools.values_mut().find_map(|pools| {
            let mine = pools.iter_mut().filter(|(labels, _)| serves.takes(labels));
            let (labels, pool) =
                mine.min_by_key(|(_, pool)| pool.front().map(|(place, _)| *place))?;
            let (_, queued) = pool.pop_front()?;
            if pool.is_empty() {
                let labels = labels.clone();
                pools.remove(&labels);
            }
            Some(queued)
        })
    }
}
