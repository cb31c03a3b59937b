//! Ctrl-C, and the signal that asks a process to end.
//!
//! The first asks: whoever waits through [`Interrupt`] stops, writes what it has and ends the
//! process. The second ends it at once. For a command so does time: after [`GRACE`] the process
//! ends whatever it was doing, so that a pipe nobody reads cannot hold it. A service bounds its own
//! end, which may take longer.

use std::future::Future;
use std::process::exit;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock;
use crate::ending::{Ending, Error};
use crate::terminal;

/// From the first signal to the end, whatever happens: people expect an interrupted command to end
/// within a second.
const GRACE: Duration = Duration::from_millis(950);

/// What a command needs at its very end, to say what became of it.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// What a signal finds running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Something that a person waits for.
    Command,
    /// Something that runs until it is told to end, and ends in its own time.
    Service,
}

impl Manner {
    /// Wait for the time after which the process ends, whatever it was doing.
    async fn grace(self) {
        match self {
            Self::Command => tokio::time::sleep(GRACE).await,
            Self::Service => std::future::pending().await,
        }
    }

    /// What the process says when it is ended.
    fn parting(self) -> &'static str {
        match self {
            Self::Command => {
                "interrupted; results that were written stay, and the same command goes on from there"
            }
            Self::Service => {
                "interrupted twice; what was in work is run again elsewhere when its leases are over"
            }
        }
    }
}

/// Tells of signals. Dropping it leaves them to the system again as far as this process goes:
/// nothing reacts.
#[derive(Debug)]
pub(crate) struct Interrupt {
    /// When the first signal came.
    raised: watch::Receiver<Option<Instant>>,
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
        let (raise, raised) = watch::channel(None);
        let mut watcher = JoinSet::new();
        watcher.spawn(attend(signals, raise, manner));
        Ok(Self {
            raised,
            _watcher: watcher,
        })
    }

    /// Whether a signal came.
    pub(crate) fn is_raised(&self) -> bool {
        self.raised.borrow().is_some()
    }

    /// How long a command that is interrupted may still wait for something, if it is.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let since = *self.raised.borrow();
        since.map(|since| {
            GRACE
                .saturating_sub(LAST_WORDS)
                .saturating_sub(clock::now().duration_since(since))
        })
    }

    /// Wait for a signal. Cancel safe.
    pub(crate) async fn raised(&self) {
        let mut raised = self.raised.clone();
        if raised.wait_for(Option::is_some).await.is_err() {
            // The watcher is gone, so nothing will come.
            std::future::pending::<()>().await;
        }
    }

    /// Wait for `future`, but not past a signal. Cancel safe if `future` is.
    ///
    /// # Errors
    /// When a signal comes first.
    pub(crate) async fn or<T>(&self, future: impl Future<Output = T>) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.raised() => Err(Error::Interrupted),
            value = future => Ok(value),
        }
    }
}

async fn attend(
    (mut interrupt, mut terminate): (Signal, Signal),
    raise: watch::Sender<Option<Instant>>,
    manner: Manner,
) {
    next(&mut interrupt, &mut terminate).await;
    raise.send_replace(Some(clock::now()));
    tokio::select! {
        () = next(&mut interrupt, &mut terminate) => {}
        () = manner.grace() => {}
    }
    terminal::error(manner.parting());
    exit(Ending::Interrupted.code().into());
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
