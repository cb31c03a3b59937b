//! Handles SIGINT (Ctrl-C) and SIGTERM.
//!
//! The first signal is a request: code that waits through [`Interrupt`] stops, and the command
//! writes the results it has and ends. A second signal ends the process at once. A command also
//! ends [`GRACE`] after the first signal, so that a pipe that nobody reads cannot block it;
//! [`UPLOAD_GRACE`] if it has an upload to abort. A service bounds its own shutdown, which may take
//! longer.

use std::future::Future;
use std::process::exit;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use sortie_frontend::{Raise, Stop};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use super::{clock, text};
use crate::ending::{Ending, Error};

/// Maximum time from the first signal to exit: users expect an interrupted command to end within a
/// second.
const GRACE: Duration = Duration::from_millis(950);

/// The same for a command that has an upload to abort: that takes requests to a store, and parts
/// that nobody aborts stay in the bucket, where they cost money.
const UPLOAD_GRACE: Duration = Duration::from_secs(10);

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
    /// What the process says when it is ended, if it has nothing of its own to say.
    fn parting(self) -> &'static str {
        match self {
            Self::Command => "interrupted",
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
    /// What is said should the process be ended at once.
    parting: Arc<Mutex<Option<String>>>,
    /// How long a command may take to end.
    grace: Arc<Mutex<Duration>>,
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
        let parting = Arc::<Mutex<Option<String>>>::default();
        let grace = Arc::new(Mutex::new(GRACE));
        let mut watcher = JoinSet::new();
        let (began, says, allowed) = (since.clone(), parting.clone(), grace.clone());
        watcher.spawn(async move {
            let over = async move {
                let grace = *allowed.lock().unwrap_or_else(PoisonError::into_inner);
                match manner {
                    Manner::Command => tokio::time::sleep(grace).await,
                    Manner::Service => std::future::pending().await,
                }
            };
            attend(signals, raise, began, over).await;
            let says = says.lock().unwrap_or_else(PoisonError::into_inner).take();
            text::error(says.as_deref().unwrap_or_else(|| manner.parting()));
            exit(Ending::Interrupted.code().into());
        });
        Ok(Self {
            stop,
            since,
            parting,
            grace,
            _watcher: watcher,
        })
    }

    /// From now on say this should the process be ended at once: what becomes of what it began.
    pub(crate) fn set_parting(&self, says: String) {
        *self.parting.lock().unwrap_or_else(PoisonError::into_inner) = Some(says);
    }

    /// From now on an upload has to be aborted before the process ends.
    pub(crate) fn wait_for_upload(&self) {
        *self.grace.lock().unwrap_or_else(PoisonError::into_inner) = UPLOAD_GRACE;
    }

    /// What stops when a signal comes.
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
    over: impl Future<Output = ()>,
) {
    next(&mut interrupt, &mut terminate).await;
    since.get_or_init(clock::now);
    raise.raise();
    tokio::select! {
        () = next(&mut interrupt, &mut terminate) => {}
        () = over => {}
    }
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
