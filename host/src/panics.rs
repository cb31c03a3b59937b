//! Panics of the host: they end the piece of work in which they happen, and nothing else.
//!
//! A panic is a mistake of ours, and one that a guest can cause is a security bug; neither is a
//! reason to take other people's tasks along. Where one piece of work ends, such as an attempt, its
//! panic is caught and said once as an error: what was at work and what the panic said. File and
//! line are what the process's panic hook prints, on standard error by default. What was at work is
//! dropped with all it held, and is not polled again; what others share is either behind locks that
//! hold no half-made state across a call, or replaced as a whole.
//!
//! The text of a panic stays in the log: nobody knows what is in it, so no outcome carries it.

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use sortie_protocol::Failure;
use sortie_protocol::outcome::{PlatformFault, cut};

/// The most of a panic's text that is logged.
const TEXT_BYTES_MAX: usize = 500;

/// What a panic said.
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
            .unwrap_or("it said nothing")
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        Self(cut(line, TEXT_BYTES_MAX))
    }

    /// What it means for a task that was being worked on: this host failed, and another may not.
    pub(crate) fn failure() -> Failure {
        let message = "the worker itself failed in the middle of this task, which is a bug of Sortie; its log says more".into();
        Failure::Platform {
            fault: PlatformFault::Host,
            message,
        }
    }
}

/// Do `work`, and say whether it panicked. Cancel safe if `work` is.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .map_err(|payload| Panicked::new(&*payload))
}

/// Where tests have the host panic.
#[cfg(test)]
pub(crate) mod provoked {
    use sortie_protocol::{Argument, Task};

    /// The text that makes whoever prepares a task panic, if it is an argument.
    pub(crate) const PREPARING: &str = "panic while the task is prepared";
    /// The same for whoever runs it.
    pub(crate) const RUNNING: &str = "panic while the task is run";

    /// Panic if this is among the arguments.
    pub(crate) fn by(task: &Task, text: &str) {
        let asks = |argument: &Argument| matches!(argument, Argument::Value(value) if value.ends_with(text.as_bytes()));
        assert!(
            !task.arguments.iter().any(asks),
            "as a test asked for: {text}"
        );
    }
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
            Err::<(), _>(Panicked("it said nothing".into()))
        );
        let long = caught(async { panic!("{}", "x".repeat(10_000)) }).await;
        assert!(matches!(long, Err::<(), _>(Panicked(text)) if text.len() == TEXT_BYTES_MAX));
    }
}
