//! Permits of a worker: to compute, and to store a result in the background.
//!
//! A bundle that holds a permit to compute may wait for room in the store, never the other way
//! round.

use sortie_protocol::ByteSize;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::sandbox::Cancel;

/// The most of results that are stored in the background, on the whole worker: four of the largest
/// that tasks may have by default, or a thousand of the smallest that are stored at all, which is
/// more than a store takes at once. A result for which there is no room holds its bundle's compute
/// permit until it is stored, so that no more are made.
const STORING_BYTES_MAX: usize = 256 << 20;
/// The part of the memory for tasks, as a fraction of it, that results have at most which are
/// stored in the background.
const STORING_SHARE: usize = 4;
/// What storing is counted in: a semaphore counts at most four billion.
const ROOM_UNIT_BYTES: usize = 1 << 10;

/// Permits that the bundles of a worker share.
#[derive(Debug)]
pub(super) struct Permits {
    pub(super) compute: Semaphore,
    compute_max: usize,
    /// In units of [`ROOM_UNIT_BYTES`].
    pub(super) storing: Semaphore,
}

impl Permits {
    /// Permits for so many bundles to compute at once, on a worker that has so much memory for
    /// tasks.
    pub(super) fn new(compute_max: usize, tasks_max: ByteSize) -> Self {
        let storing = STORING_BYTES_MAX.min(tasks_max.as_usize() / STORING_SHARE);
        Self {
            compute: Semaphore::new(compute_max),
            compute_max,
            storing: Semaphore::new(storing / ROOM_UNIT_BYTES),
        }
    }

    /// A permit to compute; none if the tasks are cancelled before there is one. Cancel safe.
    pub(super) async fn compute(&self, cancel: &Cancel) -> Option<SemaphorePermit<'_>> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => None,
            permit = self.compute.acquire() => permit.ok(),
        }
    }

    /// A permit to compute, if one is free that no bundle waits for.
    pub(super) fn try_compute(&self) -> Option<SemaphorePermit<'_>> {
        self.compute.try_acquire().ok()
    }

    /// Permits to compute in use.
    pub(super) fn computing(&self) -> usize {
        self.compute_max
            .saturating_sub(self.compute.available_permits())
    }

    /// Room for a result of so many bytes to be stored in the background; none if there is nothing
    /// to store, or not as much room.
    pub(super) fn storing(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let units = u32::try_from(bytes.div_ceil(ROOM_UNIT_BYTES))
            .ok()
            .filter(|units| *units > 0)?;
        self.storing.try_acquire_many(units).ok()
    }
}
