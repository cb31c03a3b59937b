//! Handles SIGINT (Ctrl-C) and SIGTERM.
//!
//! The first signal is a request: code that waits through [`Interrupt`] stops, and the command
//! writes the results it has and ends. A second signal ends the process at once. A command also
//! ends [`GRACE`] after the first signal, so that a pipe that nobody reads cannot block it. A
//! service bounds its own shutdown, which may take longer.

use std::future::Future;
use std::process::exit;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sortie_frontend::{Raise, Stop};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use super::{clock, text};
use crate::ending::{Ending, Error};

/// Maximum time from the first signal to exit: users expect an interrupted command to end within a
/// second.
const GRACE: Duration = Duration::from_millis(950);

/// Time reserved at the end for the final message.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// What kind of command handles the signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// A command that a user waits for.
    Command,
    /// A service, which runs until a signal and bounds its own shutdown.
    Service,
}

impl Manner {
    /// Wait until the process has to exit, whatever it is doing.
    async fn grace(self) {
        match self {
            Self::Command => tokio::time::sleep(GRACE).await,
            Self::Service => std::future::pending().await,
        }
    }

    /// The message printed when the process is forced to exit.
    fn parting(self) -> &'static str {
        match self {
            Self::Command => {
                "interrupted; results that were written stay, and the same command goes on from \
                 there"
            }
            Self::Service => {
                "interrupted twice; running tasks are run again elsewhere when their leases are \
                 over"
            }
        }
    }
}

/// Reports signals. After it is dropped, the process no longer reacts to them.
#[derive(Debug)]
pub(crate) struct Interrupt {
    stop: Stop,
    /// When the first signal came.
    since: Arc<OnceLock<Instant>>,
    _watcher: JoinSet<()>,
}

impl Interrupt {
    /// Start watching. Call it within a runtime.
    ///
    /// # Errors
    /// When the system refuses the signal handlers.
    pub(crate) fn watch(manner: Manner) -> std::io::Result<Self> {
        let signals = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        );
        let (raise, stop) = Stop::new();
        let since = Arc::new(OnceLock::new());
        let mut watcher = JoinSet::new();
        watcher.spawn(attend(signals, raise, since.clone(), manner));
        Ok(Self {
            stop,
            since,
            _watcher: watcher,
        })
    }

    /// Stops operations when a signal comes.
    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Whether a signal came.
    pub(crate) fn is_raised(&self) -> bool {
        self.stop.is_raised()
    }

    /// How long an interrupted command may still wait; `None` if it is not interrupted.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.since.get().map(|since| {
            GRACE
                .saturating_sub(LAST_WORDS)
                .saturating_sub(clock::now().duration_since(*since))
        })
    }

    /// Wait for a signal. Cancel safe.
    pub(crate) async fn raised(&self) {
        self.stop.raised().await;
    }

    /// Wait for `future`, but not past a signal. Cancel safe if `future` is.
    ///
    /// # Errors
    /// When a signal comes first.
    pub(crate) async fn or<T>(&self, future: impl Future<Output = T>) -> Result<T, Error> {
        self.stop.or(future).await.map_err(|_| Error::Interrupted)
    }
}

async fn attend(
    (mut interrupt, mut terminate): (Signal, Signal),
    raise: Raise,
    since: Arc<OnceLock<Instant>>,
    manner: Manner,
) {
    next(&mut interrupt, &mut terminate).await;
    since.get_or_init(clock::now);
    raise.raise();
    tokio::select! {
        () = next(&mut interrupt, &mut terminate) => {}
        () = manner.grace() => {}
    }
    text::error(manner.parting());
    exit(Ending::Interrupted.code().into());
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
