//! A timer that wakes a state machine at a requested time.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use sortie_protocol::Timestamp;
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep};

use super::clock::Clock;

/// A timer that is set anew only where it would fire too late: the time that a machine asks for
/// moves on with every outcome, and a tick that comes early changes nothing.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: Option<Timestamp>,
}

impl Timer {
    /// Ready at `at` or before; never without a time. The timer runs on `runtime`, so it may be
    /// polled anywhere.
    pub(crate) fn poll(
        &mut self,
        at: Option<Timestamp>,
        clock: &Clock,
        runtime: &Handle,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let Some(at) = at else {
            return Poll::Pending;
        };
        let wait = match self.armed {
            Some(armed) if armed <= at => None,
            Some(_) | None => {
                self.armed = Some(at);
                Some(clock.until(at))
            }
        };
        let sleep = match (&mut self.sleep, wait) {
            (Some(set), None) => set,
            (Some(set), Some(wait)) => {
                set.as_mut().reset(Instant::now() + wait);
                set
            }
            (unset, wait) => {
                let _inside = runtime.enter();
                unset.insert(Box::pin(sleep(wait.unwrap_or_default())))
            }
        };
        ready!(sleep.as_mut().poll(cx));
        self.armed = None;
        Poll::Ready(())
    }
}
