//! Bounds an attempt: its memory, its wall time, its time on a core, and its cancellation.
//!
//! Memory is bounded by refusing to grow, as a machine would; most guests then abort, and the trap
//! is reported as the limit it came from. Time and cancellation are checked on every tick of the
//! engine's clock while the guest computes, and by every host function that waits.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sortie_protocol::{ByteSize, Limits, TaskIndex};
use tokio::sync::Notify;
use wasmtime::ResourceLimiter;

use crate::clock;

/// Elements of all tables together, as many as one pooled table may have.
const TABLE_ELEMENTS_MAX: usize = 100_000;

/// Stands for a wall time that no clock can hold.
const FOREVER: Duration = Duration::from_secs(86_400 * 365);

/// Counts the linear memory of all instances in a store.
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    limit: usize,
    used: usize,
    /// What the host holds for the task beyond what any task may have.
    reserved: usize,
    elements: usize,
    /// Growth was refused: a trap that follows is most likely the guest's answer to it.
    pub(crate) refused: bool,
}

impl MemoryLimiter {
    pub(crate) fn new(limit: ByteSize) -> Self {
        Self {
            limit: limit.as_usize(),
            used: 0,
            reserved: 0,
            elements: 0,
            refused: false,
        }
    }

    /// Take so many bytes of the limit for what the host holds, if no memory has them.
    pub(super) fn reserve(&mut self, bytes: usize) -> bool {
        let taken = self.used.saturating_add(self.reserved);
        let fits = taken.saturating_add(bytes) <= self.limit;
        if fits {
            self.reserved += bytes;
        }
        fits
    }

    /// Give back what was reserved.
    pub(super) fn give_back(&mut self, bytes: usize) {
        self.reserved = self.reserved.saturating_sub(bytes);
    }

    /// The bytes of all memories together. Memories only grow, so this is the peak.
    pub(crate) fn peak(&self) -> ByteSize {
        ByteSize(self.used as u64)
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.used.saturating_add(desired.saturating_sub(current));
        // A memory's own maximum is the guest's choice, not our refusal.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if total.saturating_add(self.reserved) > self.limit {
            self.refused = true;
            return Ok(false);
        }
        self.used = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self
            .elements
            .saturating_add(desired.saturating_sub(current));
        let fits = total <= TABLE_ELEMENTS_MAX;
        if fits {
            self.elements = total;
        }
        Ok(fits)
    }
}

/// Why an attempt was stopped from outside. Travels as the error that ends the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Cancelled,
    WallTime,
    CpuTime,
    /// The bytes of the objects that the task makes. The host function that takes them finds out.
    OutputBytes,
    /// It waits for subtasks, and others need its memory: it is run again when they have ended.
    Suspended,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "the task was cancelled",
            Self::WallTime => "the task took too long",
            Self::CpuTime => "the task computed for too long",
            Self::OutputBytes => "the task wrote too much",
            Self::Suspended => "the task waits for its subtasks",
        })
    }
}

impl std::error::Error for Stop {}

/// Cancels the attempts of a lease, which share it: all of them, or those of some tasks.
#[derive(Debug, Default)]
pub struct Cancel {
    cancelled: AtomicBool,
    /// Whether some tasks were cancelled alone; they are in `tasks`.
    has_tasks: AtomicBool,
    tasks: Mutex<HashSet<TaskIndex>>,
    notify: Notify,
}

impl Cancel {
    /// End all attempts.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    /// End the attempts of these tasks.
    pub fn cancel_tasks(&self, tasks: impl IntoIterator<Item = TaskIndex>) {
        self.tasks.lock().extend(tasks);
        self.has_tasks.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    /// Whether all were cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Whether this task was cancelled alone.
    #[must_use]
    pub fn has_cancelled(&self, task: TaskIndex) -> bool {
        self.has_tasks.load(Ordering::Acquire) && self.tasks.lock().contains(&task)
    }

    /// Wait until they are cancelled. Cancel safe.
    pub async fn cancelled(&self) {
        self.until(|| self.is_cancelled()).await;
    }

    /// Wait until something holds that a cancellation makes true. Cancel safe.
    async fn until(&self, holds: impl Fn() -> bool) {
        loop {
            let mut notified = std::pin::pin!(self.notify.notified());
            // Registered before it is looked at, so that a cancellation in between is not missed.
            notified.as_mut().enable();
            if holds() {
                return;
            }
            // Somebody else may have been meant.
            notified.await;
        }
    }
}

/// Cancels one task: with its lease, or alone.
#[derive(Debug, Clone, Default)]
pub struct TaskCancel {
    lease: Arc<Cancel>,
    task: TaskIndex,
    until: Option<Instant>,
}

impl TaskCancel {
    /// Of a task of a lease.
    #[must_use]
    pub fn of(lease: Arc<Cancel>, task: TaskIndex) -> Self {
        Self {
            lease,
            task,
            until: None,
        }
    }

    /// The same, and it counts as cancelled from a moment on.
    pub(crate) fn until(self, moment: Instant) -> Self {
        Self {
            until: Some(moment),
            ..self
        }
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let is_over = self.until.is_some_and(|until| clock::instant() >= until);
        is_over || self.lease.is_cancelled() || self.lease.has_cancelled(self.task)
    }

    /// Wait until it is cancelled. Cancel safe.
    pub(crate) async fn cancelled(&self) {
        let told = self.lease.until(|| self.is_cancelled());
        match self.until {
            Some(until) => {
                let _ = tokio::time::timeout_at(until.into(), told).await;
            }
            None => told.await,
        }
    }
}

/// The limits of one attempt on time, and its cancellation. Shared by its store and the task that
/// polls it.
#[derive(Debug)]
pub(crate) struct Watch {
    cancel: TaskCancel,
    deadline: Instant,
    cpu_max: Duration,
    /// Nanoseconds on a core in finished polls.
    cpu_used: AtomicU64,
    /// The polling thread's time on a core when the current poll began.
    poll_began: AtomicU64,
    /// Nanoseconds that do not count as wall time.
    stood_still: AtomicU64,
}

impl Watch {
    /// Watch over an attempt that starts now.
    pub(crate) fn new(cancel: TaskCancel, limits: &Limits) -> Self {
        let started = clock::instant();
        let deadline = started
            .checked_add(limits.wall_time)
            .unwrap_or(started + FOREVER);
        Self {
            cancel,
            deadline,
            cpu_max: limits.cpu_time,
            cpu_used: AtomicU64::new(0),
            poll_began: AtomicU64::new(0),
            stood_still: AtomicU64::new(0),
        }
    }

    /// Do not count so much of the time that passed.
    pub(crate) fn stood_still(&self, time: Duration) {
        self.stood_still.fetch_add(nanos(time), Ordering::Relaxed);
    }

    /// When its wall time is over.
    fn deadline(&self) -> Instant {
        let stood_still = Duration::from_nanos(self.stood_still.load(Ordering::Relaxed));
        let deadline = self.deadline.checked_add(stood_still);
        deadline.unwrap_or(self.deadline)
    }

    /// Wait for `future`, but not past a cancellation. Cancel safe if `future` is.
    pub(crate) async fn unless_cancelled<T>(
        &self,
        future: impl Future<Output = T>,
    ) -> Result<T, Stop> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Stop::Cancelled),
            value = future => Ok(value),
        }
    }

    /// Watch over an attempt that starts now and has used up `spent` of its wall time already.
    pub(crate) fn after(spent: Duration, cancel: TaskCancel, limits: &Limits) -> Self {
        Self::new(
            cancel,
            &Limits {
                wall_time: limits.wall_time.saturating_sub(spent),
                ..*limits
            },
        )
    }

    /// The same, of an attempt that was so long on a core before.
    pub(crate) fn with_spent(self, spent: Duration) -> Self {
        self.cpu_used.store(nanos(spent), Ordering::Relaxed);
        self
    }

    /// Whether the attempt must end, seen from the thread that computes it.
    pub(crate) fn check(&self) -> Result<(), Stop> {
        if self.cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        if clock::instant() >= self.deadline() {
            return Err(Stop::WallTime);
        }
        let running =
            nanos(clock::thread_cpu()).saturating_sub(self.poll_began.load(Ordering::Relaxed));
        let used = Duration::from_nanos(
            self.cpu_used
                .load(Ordering::Relaxed)
                .saturating_add(running),
        );
        if used >= self.cpu_max {
            Err(Stop::CpuTime)
        } else {
            Ok(())
        }
    }

    /// Time on a core so far, not counting a poll in progress.
    pub(crate) fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_used.load(Ordering::Relaxed))
    }

    /// Wait for `future`, but not past the end of the attempt. Cancel safe if `future` is.
    pub(crate) async fn bound<T>(&self, future: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Stop::Cancelled),
            value = future => Ok(value),
            () = tokio::time::sleep_until(self.deadline().into()) => Err(Stop::WallTime),
        }
    }

    /// As [`Watch::bound`], but without its cost where `future` is ready at once, as most are.
    pub(crate) async fn bound_if_slow<T>(
        &self,
        future: impl Future<Output = T>,
    ) -> Result<T, Stop> {
        let mut future = std::pin::pin!(future);
        match futures::poll!(future.as_mut()) {
            std::task::Poll::Ready(value) => Ok(value),
            std::task::Poll::Pending => self.bound(future).await,
        }
    }

    /// Poll `future` and charge each poll's time on the core to this attempt.
    pub(crate) async fn metered<F: Future>(&self, future: F) -> F::Output {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            let began = nanos(clock::thread_cpu());
            self.poll_began.store(began, Ordering::Relaxed);
            let poll = future.as_mut().poll(cx);
            self.cpu_used.fetch_add(
                nanos(clock::thread_cpu()).saturating_sub(began),
                Ordering::Relaxed,
            );
            poll
        })
        .await
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_is_cancelled_alone_takes_no_other_of_its_lease_along() {
        let lease = Arc::<Cancel>::default();
        let waits = |task| {
            let cancel = TaskCancel::of(lease.clone(), task);
            tokio::spawn(async move { cancel.cancelled().await })
        };
        let (first, second) = (waits(1), waits(2));
        let whole = tokio::spawn({
            let lease = lease.clone();
            async move { lease.cancelled().await }
        });
        tokio::task::yield_now().await;
        lease.cancel_tasks([1]);
        first.await.unwrap();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(!second.is_finished() && !whole.is_finished());
        assert!(lease.has_cancelled(1) && !lease.has_cancelled(2) && !lease.is_cancelled());
        lease.cancel();
        second.await.unwrap();
        whole.await.unwrap();
    }
}
