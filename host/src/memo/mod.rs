//! The memo: caches results of deterministic tasks, in a local folder and in a store that several
//! hosts share.
//!
//! A deterministic task's result follows from its key (see `sortie_protocol::memo`), so it may be
//! taken from here instead of being computed. Only the function's own answer is kept: a result, or
//! a failure that it calls final. What the platform did (traps, limits, unreadable inputs) is not
//! kept. The local folder is asked first, then the store; what the store has is kept in the folder,
//! too.
//!
//! Tenants of a fleet share nothing here: each has names of its own in both places. The folder is
//! as private as that of [`crate::artifacts`], which it lies in; the store is as private as its
//! owner makes it.
//!
//! Bounds: a result that is cheap to compute is not kept ([`WORTH_KEEPING`],
//! [`SHARED_WORTH_KEEPING`]); [`local`] bounds the folder, [`shared`] what asking the store may
//! cost.

mod costs;
pub(crate) mod entry;
pub mod local;
pub mod shared;

use sortie_protocol::Limits;

pub use self::costs::{CHEAP_RUNS_MAX, SHARED_WORTH_KEEPING, WORTH_KEEPING};
pub(crate) use self::costs::{Cost, JobCosts};
pub(crate) use self::entry::{Entry, Name, is_final};
pub use self::local::Local;
pub use self::shared::Shared;

/// The cache of results: a local folder, a shared store, or both. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Memo {
    local: Option<Local>,
    shared: Option<Shared>,
}

/// Where an entry was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    /// In this machine's folder.
    Local,
    /// In the store that hosts share.
    Shared,
}

impl Memo {
    /// A memo with these tiers; `None` if there is none.
    #[must_use]
    pub fn new(local: Option<Local>, shared: Option<Shared>) -> Option<Self> {
        (local.is_some() || shared.is_some()).then_some(Self { local, shared })
    }

    /// Whether asking may take as long as a request does.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// What is kept under `name`, and where it was found. Waits for the shared memo only, and not
    /// for long. Cancel safe.
    pub(crate) async fn get(
        &self,
        name: Name<'_>,
        limits: &Limits,
        costs: &JobCosts,
    ) -> Option<(Entry, Tier)> {
        if let Some(entry) = self.local.as_ref().and_then(|local| local.get(name)) {
            return entry.fits(limits).then_some((entry, Tier::Local));
        }
        let shared = self.shared.as_ref().filter(|_| !costs.are_cheap())?;
        let entry = shared.get(name).await.filter(|entry| entry.fits(limits))?;
        if let Some(local) = &self.local {
            local.put(name, &entry);
        }
        Some((entry, Tier::Shared))
    }

    /// Keep what the function answered under `name`, in each place that is worth it. Failing to is
    /// not an error: the task runs again next time.
    pub(crate) fn put(&self, name: Name<'_>, entry: &Entry, cost: Cost) {
        if let Some(local) = self.local.as_ref().filter(|_| cost.is_worth_keeping()) {
            local.put(name, entry);
        }
        if let Some(shared) = self.shared.as_ref().filter(|_| cost.is_worth_sharing()) {
            shared.put(name, entry);
        }
    }

    /// Wait until pending entries are written to the shared memo, or [`shared::FLUSH_TIME_MAX`] has
    /// passed. Cancel safe.
    pub async fn flush(&self) {
        if let Some(shared) = &self.shared {
            shared.flush().await;
        }
    }
}
