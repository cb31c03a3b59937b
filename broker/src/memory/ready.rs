//! The bundles that are ready, by priority and by the labels that they ask for.
//!
//! A worker gets the oldest bundle of the highest priority among those that it may take. Bundles of
//! different label sets do not block each other. A pull takes time in proportion to the number of
//! label sets that have bundles ready, which is one where no job asks for labels. A set without
//! bundles is dropped, so memory is bounded by the bundles.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use sortie_protocol::{Labels, Priority};

use super::queued_bundle::QueuedBundle;
use crate::traits::Serves;

/// Bundles of one label set, each with its place in the order in which they became ready. Never
/// empty.
type Pool = VecDeque<(u64, QueuedBundle)>;

/// All ready bundles.
#[derive(Debug, Default)]
pub(super) struct Ready {
    pools: BTreeMap<Reverse<Priority>, BTreeMap<Labels, Pool>>,
    next: u64,
}

impl Ready {
    pub(super) fn push(&mut self, queued: QueuedBundle) {
        self.next += 1;
        let lane = &queued.lane;
        let pool = self
            .pools
            .entry(Reverse(lane.priority))
            .or_default()
            .entry(lane.labels.clone())
            .or_default();
        pool.push_back((self.next, queued));
    }

    /// The next bundle for a worker that serves these.
    pub(super) fn pop(&mut self, serves: &Serves) -> Option<QueuedBundle> {
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

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&QueuedBundle) -> bool) {
        for pools in self.pools.values_mut() {
            pools.retain(|_, pool| {
                pool.retain(|(_, queued)| keep(queued));
                !pool.is_empty()
            });
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &QueuedBundle> {
        self.pools
            .values()
            .flat_map(BTreeMap::values)
            .flatten()
            .map(|(_, queued)| queued)
    }
}
