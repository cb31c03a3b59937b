//! The place where the outcome of one task is waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use sortie_protocol::Outcome;

/// Why the broker says no more about a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) reason: Arc<str>,
    /// Whether the task stays at the broker.
    pub(crate) stays: bool,
}

/// How a task ended for this client. Shared by those who hold its future, and those who take its
/// result.
pub(crate) type Ended = Result<Arc<Outcome>, Gone>;

/// Names who waits. No two in this process have the same.
type WaiterId = u64;

/// Somebody who waits for a slot's task, until this is dropped.
#[derive(Debug)]
pub(crate) struct Waiter {
    id: WaiterId,
    slot: Arc<Slot>,
}

impl Waiter {
    fn of(slot: &Arc<Slot>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            slot: slot.clone(),
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let waker = self.slot.leave(self.id);
        // Without the lock: it may drop futures.
        drop(waker);
    }
}

/// A task's outcome, once it is there. Whoever holds its future polls it.
#[derive(Debug, Default)]
pub(crate) struct Slot(Mutex<State>);

#[derive(Debug)]
enum State {
    /// In the order of their names.
    Waiting(Vec<(WaiterId, Waker)>),
    Ended(Ended),
}

impl Default for State {
    fn default() -> Self {
        Self::Waiting(Vec::new())
    }
}

impl Slot {
    /// The task ended. What was said first stays.
    pub(crate) fn end(&self, ended: Ended) {
        self.set(ended).into_iter().for_each(Waker::wake);
    }

    /// The same for a caller with a lock: whom to wake without it, as that may drop futures.
    #[must_use]
    pub(crate) fn set(&self, ended: Ended) -> Vec<Waker> {
        let mut state = self.0.lock();
        match &mut *state {
            State::Ended(_) => Vec::new(),
            State::Waiting(wakers) => {
                let wakers = std::mem::take(wakers);
                *state = State::Ended(ended);
                wakers.into_iter().map(|(_, waker)| waker).collect()
            }
        }
    }

    /// The task has not ended after all. Whoever waits waits on.
    pub(crate) fn reopen(&self) {
        let mut state = self.0.lock();
        if let State::Ended(_) = *state {
            *state = State::default();
        }
    }

    /// Nobody asks any more how it ended.
    pub(crate) fn let_go(&self) {
        let mut state = self.0.lock();
        if let State::Ended(ended) = &mut *state {
            *ended = Err(Gone {
                reason: Arc::default(),
                stays: false,
            });
        }
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&self) -> Option<Ended> {
        match &*self.0.lock() {
            State::Ended(ended) => Some(ended.clone()),
            State::Waiting(_) => None,
        }
    }

    /// Whether it ended.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(&*self.0.lock(), State::Ended(_))
    }

    /// How it ended, once it has. Who waits is the same from one call to the next.
    pub(crate) fn poll(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        waiter: &mut Option<Waiter>,
    ) -> Poll<Ended> {
        let mut state = self.0.lock();
        let wakers = match &mut *state {
            State::Ended(ended) => return Poll::Ready(ended.clone()),
            State::Waiting(wakers) => wakers,
        };
        let id = waiter.get_or_insert_with(|| Waiter::of(self)).id;
        let before = match wakers.binary_search_by_key(&id, |(of, _)| *of) {
            Ok(place) => wakers.get_mut(place).and_then(|(_, waker)| {
                let is_another = !waker.will_wake(cx.waker());
                is_another.then(|| std::mem::replace(waker, cx.waker().clone()))
            }),
            Err(place) => {
                wakers.insert(place, (id, cx.waker().clone()));
                None
            }
        };
        drop(state);
        drop(before);
        Poll::Pending
    }

    /// How it ended, once it has. Cancel safe.
    pub(crate) async fn wait(self: &Arc<Self>) -> Ended {
        let mut waiter = None;
        std::future::poll_fn(|cx| self.poll(cx, &mut waiter)).await
    }

    fn leave(&self, id: WaiterId) -> Option<Waker> {
        match &mut *self.0.lock() {
            State::Waiting(wakers) => {
                let place = wakers.binary_search_by_key(&id, |(of, _)| *of).ok()?;
                Some(wakers.remove(place).1)
            }
            State::Ended(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use sortie_protocol::Ending;
    use sortie_protocol::submission::unrun;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn all_who_wait_are_woken_once_and_the_first_ending_stays() {
        let slot = Arc::<Slot>::default();
        let counts: Vec<Arc<Count>> = (0..40).map(|_| Arc::default()).collect();
        let mut waiters: Vec<Option<Waiter>> = counts.iter().map(|_| None).collect();
        for (count, waiter) in counts.iter().zip(&mut waiters) {
            let waker = Waker::from(count.clone());
            for _ in 0..2 {
                let cx = &mut Context::from_waker(&waker);
                assert!(slot.poll(cx, waiter).is_pending());
            }
        }
        // One that waits no more.
        drop(waiters.remove(0));
        let outcome = Arc::new(unrun(1, Ending::Cancelled));
        slot.end(Ok(outcome.clone()));
        slot.end(Err(Gone {
            reason: "late".into(),
            stays: false,
        }));
        for (place, count) in counts.iter().enumerate() {
            assert_eq!(count.0.load(Ordering::Relaxed), usize::from(place > 0));
            let waker = Waker::from(count.clone());
            let ended = slot.poll(&mut Context::from_waker(&waker), &mut None);
            assert_eq!(ended, Poll::Ready(Ok(outcome.clone())));
        }
    }
}
