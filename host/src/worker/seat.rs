//! The place of a task that makes subtasks: its permit to compute, and its stay in memory while it
//! waits.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::crew::Crew;
use super::permits::Permits;
use super::plan::{LeaseTarget, Plan};
use crate::budget::Budget;
use crate::subtasks::Yields;

/// What tasks give up while they wait for subtasks, and take again.
#[derive(Debug)]
pub(super) struct Seats {
    pub(super) permits: Arc<Permits>,
    pub(super) plan: Arc<Plan>,
    pub(super) budget: Arc<Budget>,
    pub(super) crew: Arc<Crew>,
    /// Instances beyond those that compute: for tasks that stay in memory while they wait.
    pub(super) residents: Arc<Semaphore>,
}

/// See the module. Its bundle has a permit to compute, which is lent to others while it waits.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// Whether its permit is lent. Then it is counted as waiting.
    is_lent: bool,
    /// Its stay in memory.
    stay: Option<OwnedSemaphorePermit>,
}

impl Seat {
    /// Of a task whose bundle has a permit to compute.
    pub(super) fn new(seats: Arc<Seats>) -> Self {
        Self {
            seats,
            held: Mutex::default(),
        }
    }

    /// Whether its permit is lent: the bundle does not have it any more, and takes another.
    pub(super) fn is_lent(&self) -> bool {
        self.held.lock().is_lent
    }

    /// The task is out of memory.
    pub(super) fn is_out(&self) {
        self.held.lock().stay = None;
    }

    /// The task goes on: its bundle took another permit, or it ended.
    pub(super) fn goes_on(&self) {
        let mut held = self.held.lock();
        held.stay = None;
        if std::mem::replace(&mut held.is_lent, false) {
            self.seats.plan.learn(LeaseTarget::goes_on);
        }
    }
}

#[async_trait]
impl Yields for Seat {
    fn stays(&self) -> bool {
        let mut held = self.held.lock();
        if held.stay.is_none() {
            held.stay = self.seats.residents.clone().try_acquire_owned().ok();
        }
        held.stay.is_some()
    }

    fn leave(&self) {
        let mut held = self.held.lock();
        if !std::mem::replace(&mut held.is_lent, true) {
            self.seats.permits.compute.add_permits(1);
            self.seats.plan.learn(LeaseTarget::waits);
            self.seats.crew.grow(self.seats.plan.pulls());
        }
    }

    async fn enter(&self) {
        if !self.is_lent() {
            return;
        }
        if let Ok(permit) = self.seats.permits.compute.acquire().await {
            permit.forget();
        }
        self.goes_on();
    }

    async fn must_go(&self) {
        self.seats.budget.is_short().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.goes_on();
    }
}
