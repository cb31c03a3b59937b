//! Decides how many bundles a worker leases concurrently.
//!
//! As many as may compute, and as many more as have to wait for their inputs if the computing
//! threads are not to: by Little's law, that is the time that a bundle waits, over the time that it
//! computes, for each thread. The law speaks of means, and inputs that follow each other are often
//! alike: a run of short ones uses up at once what was there for the mean, so it is twice as many.
//! Tasks that read nothing, or whose inputs come at once, are not leased ahead at all, so that near
//! a job's end other workers have them. A worker that has not measured anything yet leases nothing
//! ahead.
//!
//! A bundle that can only wait, for the store when it has computed all it can or for its component
//! before it can compute anything, is parked and does not count: another is leased in its place.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Bundles leased ahead for each that may compute, at most: bounds what a lost worker holds up.
/// Over a line of 30 ms, documents of 1 to 140 ms keep 87 % of two cores busy with 4, 92 % without
/// the headroom below, 95 % with it, and 96 % with 12.
pub(super) const AHEAD_MAX: usize = 8;
/// How many times as many as the means ask for.
const HEADROOM: f64 = 2.0;
/// Weight of the newest measurement in the running means.
const SMOOTHING: f64 = 0.2;
/// What a mean that fades away may still say: a twentieth of a bundle is none.
const NEGLIGIBLE: f64 = 0.05;
/// Work of a bundle below which the measurement says more about the clock than about the work.
const WORK_MIN: Duration = Duration::from_micros(100);

/// Decides how many leases to have.
#[derive(Debug, Clone)]
pub(super) struct LeaseTarget {
    slots: usize,
    threads: usize,
    /// Seconds that a bundle waits for inputs, and that it computes.
    means: Option<(f64, f64)>,
    /// Bundles that can only wait.
    parked: usize,
    /// Bundles that wait for subtasks.
    waiting: usize,
}

impl LeaseTarget {
    pub(super) fn new(slots: usize, threads: usize) -> Self {
        Self {
            slots,
            threads,
            means: None,
            parked: 0,
            waiting: 0,
        }
    }

    /// Learn that a bundle waited so long before its first task could run, and then computed so
    /// long.
    pub(super) fn observe(&mut self, waited: Duration, computed: Duration) {
        let (waited, computed) = (waited.as_secs_f64(), computed.max(WORK_MIN).as_secs_f64());
        let smooth = |mean: f64, new: f64| mean + SMOOTHING * (new - mean);
        self.means = Some(self.means.map_or((waited, computed), |(w, c)| {
            (smooth(w, waited), smooth(c, computed))
        }));
    }

    /// Learn that one more bundle can only wait.
    pub(super) fn parks(&mut self) {
        self.parked += 1;
    }

    /// Learn that one of those goes on.
    pub(super) fn unparks(&mut self) {
        self.parked = self.parked.saturating_sub(1);
    }

    /// Learn that one more bundle waits for subtasks.
    pub(super) fn waits(&mut self) {
        self.waiting += 1;
    }

    /// Learn that one of those goes on, or ended.
    pub(super) fn goes_on(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// How many bundles to have. Those that wait for subtasks come on top, however many they are:
    /// who runs the subtasks has to be among the others.
    pub(super) fn leases(&self) -> usize {
        let ahead = (self.ahead() + self.parked).min(self.slots.saturating_mul(AHEAD_MAX));
        self.slots + ahead + self.waiting
    }

    /// How many more than the slots it takes so that inputs come in time.
    fn ahead(&self) -> usize {
        let Some((waited, computed)) = self.means else {
            return 0;
        };
        #[expect(clippy::cast_precision_loss, reason = "threads are few")]
        let ahead = self.threads as f64 * HEADROOM * waited / computed;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "cut to what is there right after; below zero is zero"
        )]
        let ahead = (ahead - NEGLIGIBLE).ceil() as usize;
        ahead.min(self.slots.saturating_mul(AHEAD_MAX))
    }
}

/// The lease target of a worker, and how many of its slots may pull by it.
#[derive(Debug)]
pub(super) struct Plan {
    target: Mutex<LeaseTarget>,
    /// How many slots may pull.
    pulls: AtomicUsize,
    /// Tells a slot, by its number, that it may pull now, or not any more.
    turns: Mutex<Vec<Arc<Notify>>>,
}

/// A bundle that can only wait, for as long as this is held.
#[derive(Debug)]
pub(super) struct Parked<'p>(&'p Plan);

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.learn(LeaseTarget::unparks);
    }
}

impl Plan {
    pub(super) fn new(slots: usize, threads: usize) -> Self {
        Self {
            target: Mutex::new(LeaseTarget::new(slots, threads)),
            pulls: AtomicUsize::new(slots),
            turns: Mutex::default(),
        }
    }

    /// Whether the slot with this number is among those that may pull.
    pub(super) fn may_pull(&self, number: usize) -> bool {
        number < self.pulls()
    }

    /// How many slots may pull.
    pub(super) fn pulls(&self) -> usize {
        self.pulls.load(Ordering::Acquire)
    }

    /// Wait until the slot with this number may pull. Cancel safe.
    pub(super) async fn turn(&self, number: usize) {
        self.until(number, true).await;
    }

    /// Wait until the slot with this number may not pull any more. Cancel safe.
    pub(super) async fn turn_ends(&self, number: usize) {
        self.until(number, false).await;
    }

    /// Wait until the slot with this number may pull, or may not.
    async fn until(&self, number: usize, may_pull: bool) {
        let turn = {
            let mut turns = self.turns.lock();
            if turns.len() <= number {
                turns.resize_with(number + 1, Arc::default);
            }
            turns.get(number).cloned().unwrap_or_default()
        };
        loop {
            let mut turned = pin!(turn.notified());
            // Registered before it is looked at, so that no change in between is missed.
            turned.as_mut().enable();
            if self.may_pull(number) == may_pull {
                return;
            }
            turned.await;
        }
    }

    /// Let the target learn something, and as many slots pull as it then says.
    pub(super) fn learn(&self, learn: impl FnOnce(&mut LeaseTarget)) {
        // Under the lock, so that what was learned last is what holds.
        let mut target = self.target.lock();
        learn(&mut target);
        let leases = target.leases();
        let before = self.pulls.swap(leases, Ordering::AcqRel);
        let (fewer, more) = (before.min(leases), before.max(leases));
        let turns = self.turns.lock();
        for turn in turns.iter().take(more).skip(fewer) {
            turn.notify_waiters();
        }
    }

    /// Count a bundle as one that can only wait.
    pub(super) fn park(&self) -> Parked<'_> {
        self.learn(LeaseTarget::parks);
        Parked(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leases(waited: u64, computed: u64) -> usize {
        let mut target = LeaseTarget::new(4, 2);
        for _ in 0..50 {
            target.observe(
                Duration::from_millis(waited),
                Duration::from_millis(computed),
            );
        }
        target.leases()
    }

    #[test]
    fn nothing_is_leased_ahead_that_does_not_wait() {
        assert_eq!(LeaseTarget::new(4, 2).leases(), 4);
        assert_eq!(leases(0, 20), 4);
        assert_eq!(leases(0, 0), 4);
    }

    #[test]
    fn waiting_is_covered_by_bundles_ahead_up_to_the_bound() {
        assert_eq!(leases(40, 20), 4 + 8);
        assert_eq!(leases(1, 20), 4 + 1);
        assert_eq!(leases(10_000, 1), 4 + 32);
    }

    #[test]
    fn parked_bundles_are_made_up_for_up_to_the_same_bound() {
        let mut target = LeaseTarget::new(1, 1);
        for leases in [2, 3, 4, 5, 6, 7, 8, 9, 9] {
            target.parks();
            assert_eq!(target.leases(), leases);
        }
        (0..9).for_each(|_| target.unparks());
        assert_eq!(target.leases(), 1);
    }

    #[test]
    fn what_waits_for_subtasks_is_made_up_for_without_a_bound() {
        let mut target = LeaseTarget::new(1, 1);
        (0..100).for_each(|_| target.waits());
        assert_eq!(target.leases(), 101);
        (0..100).for_each(|_| target.goes_on());
        assert_eq!(target.leases(), 1);
    }

    #[test]
    fn it_comes_back_when_inputs_come_at_once() {
        let mut target = LeaseTarget::new(4, 2);
        target.observe(Duration::from_secs(1), Duration::from_millis(20));
        assert_eq!(target.leases(), 36);
        for _ in 0..200 {
            target.observe(Duration::ZERO, Duration::from_millis(20));
        }
        assert_eq!(target.leases(), 4);
    }
}
