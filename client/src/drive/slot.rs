//! The place where the outcome of one task is waited for.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use sortie_protocol::Outcome;

/// How many different wakers wait at once; beyond that all are woken, and register again.
const WAKERS_MAX: usize = 8;

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

/// A task's outcome, once it is there. Whoever holds its future polls it.
#[derive(Debug, Default)]
pub(crate) struct Slot(Mutex<State>);

#[derive(Debug)]
enum State {
    Waiting(Vec<Waker>),
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
                let woken = std::mem::take(wakers);
                *state = State::Ended(ended);
                woken
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

    /// How it ended, once it has.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Ended> {
        let mut state = self.0.lock();
        match &mut *state {
            State::Ended(ended) => Poll::Ready(ended.clone()),
            State::Waiting(wakers) => {
                if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    let mut woken = Vec::new();
                    if wakers.len() >= WAKERS_MAX {
                        woken = std::mem::take(wakers);
                    }
                    wakers.push(cx.waker().clone());
                    drop(state);
                    woken.into_iter().for_each(Waker::wake);
                }
                Poll::Pending
            }
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
    fn all_who_wait_are_woken_and_the_first_ending_stays() {
        let slot = Slot::default();
        let counts: Vec<Arc<Count>> = (0..3 * WAKERS_MAX).map(|_| Arc::default()).collect();
        for count in &counts {
            let waker = Waker::from(count.clone());
            for _ in 0..2 {
                assert!(slot.poll(&mut Context::from_waker(&waker)).is_pending());
            }
        }
        let outcome = Arc::new(unrun(1, Ending::Cancelled));
        slot.end(Ok(outcome.clone()));
        slot.end(Err(Gone {
            reason: "late".into(),
            stays: false,
        }));
        for count in &counts {
            assert!(count.0.load(Ordering::Relaxed) > 0);
            let waker = Waker::from(count.clone());
            let ended = slot.poll(&mut Context::from_waker(&waker));
            assert_eq!(ended, Poll::Ready(Ok(outcome.clone())));
        }
    }
}
