//! Catches panics of the host: a panic ends the piece of work in which it happens, and nothing
//! else.
//!
//! A panic is a bug of Sortie, and one that a guest can cause is a security bug; neither is a
//! reason to end other tasks. At the end of one piece of work, such as an attempt, its panic is
//! caught and logged once as an error: which work it was and the panic's text. The process's panic
//! hook prints file and line, on standard error by default. The work is dropped with all it held
//! and is not polled again; state that is shared with other work is either behind locks that hold
//! no half-made state across a call, or replaced as a whole.
//!
//! The text of a panic stays in the log: it may hold anything, so no outcome carries it.

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use sortie_protocol::Failure;
use sortie_protocol::outcome::{PlatformFault, cut};

/// The most of a panic's text that is logged.
const TEXT_BYTES_MAX: usize = 500;

/// A panic's message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Panicked(String);

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Panicked {
    fn new(payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let line = text
            .unwrap_or("no message")
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        Self(cut(line, TEXT_BYTES_MAX))
    }

    /// The failure of the task that was running: a host error, which is retried.
    pub(crate) fn failure() -> Failure {
        let message = "the worker itself failed in the middle of this task, which is a bug of \
                       Sortie; its log says more"
            .into();
        Failure::Platform {
            fault: PlatformFault::Host,
            message,
        }
    }
}

/// Do `work`, and return its value or its panic. Cancel safe if `work` is. A large future is better
/// given pinned: what is given is copied several times.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .map_err(|payload| Panicked::new(&*payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_panic_said_is_one_line_and_not_too_long() {
        assert_eq!(caught(async { 1 }).await, Ok(1));
        assert_eq!(
            caught(async { panic!("in\nthe {}", "middle") }).await,
            Err::<(), _>(Panicked("in the middle".into()))
        );
        assert_eq!(
            caught(async { std::panic::panic_any(7) }).await,
            Err::<(), _>(Panicked("no message".into()))
        );
        let long = caught(async { panic!("{}", "x".repeat(10_000)) }).await;
        assert!(matches!(long, Err::<(), _>(Panicked(text)) if text.len() == TEXT_BYTES_MAX));
    }
}
