//! The channel between a job's driver and its caller: outcomes are passed on only as fast as they
//! are read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use sortie_protocol::Outcome;
use sortie_protocol::completion::Incomplete;
use sortie_protocol::submission::Progress;
use tokio::sync::{mpsc, watch};

use crate::error::SubmitError;

/// Batches of outcomes that wait for the caller.
const BATCHES_WAITING: usize = 16;

/// What the caller wants to happen to a job that it has not dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// It goes on.
    Run,
    /// It is cancelled.
    Cancel,
    /// It stays at the broker as it is.
    Leave,
}

/// What is known of a job beside its outcomes.
#[derive(Debug, Default)]
pub(crate) struct State {
    submitted: AtomicU64,
    complete: AtomicBool,
    cancelled: AtomicBool,
    keeps_outcomes: AtomicBool,
    trouble: OnceLock<SubmitError>,
    incomplete: OnceLock<Incomplete>,
}

impl State {
    pub(crate) fn progress(&self) -> Progress {
        // Whether these are all is read first: what is read then are all.
        let complete = self.complete.load(Ordering::Acquire);
        Progress {
            submitted: self.submitted.load(Ordering::Acquire),
            complete,
            cancelled: self.cancelled.load(Ordering::Acquire),
        }
    }

    pub(crate) fn set_progress(&self, progress: Progress) {
        self.submitted.store(progress.submitted, Ordering::Release);
        self.cancelled.store(progress.cancelled, Ordering::Release);
        self.complete.store(progress.complete, Ordering::Release);
    }

    pub(crate) fn trouble(&self) -> Option<&SubmitError> {
        self.trouble.get()
    }

    /// The first is the cause of those that follow.
    pub(crate) fn set_trouble(&self, error: SubmitError) {
        let _ = self.trouble.set(error);
    }

    pub(crate) fn incomplete(&self) -> Option<Incomplete> {
        self.incomplete.get().copied()
    }

    pub(crate) fn set_incomplete(&self, why: Incomplete) {
        let _ = self.incomplete.set(why);
    }

    /// Whether outcomes that were passed on have to stay at the broker.
    pub(crate) fn keeps_outcomes(&self) -> bool {
        self.keeps_outcomes.load(Ordering::Acquire)
    }

    pub(crate) fn keep_outcomes(&self) {
        self.keeps_outcomes.store(true, Ordering::Release);
    }
}

/// The shell's end.
pub(crate) struct JobSink {
    pub(crate) batches: mpsc::Sender<Arc<[Outcome]>>,
    pub(crate) control: watch::Receiver<Control>,
    pub(crate) state: Arc<State>,
}

/// The caller's end.
pub(crate) struct JobSource {
    pub(crate) batches: mpsc::Receiver<Arc<[Outcome]>>,
    pub(crate) control: watch::Sender<Control>,
    pub(crate) state: Arc<State>,
}

/// Both ends of a job.
pub(crate) fn ends() -> (JobSource, JobSink) {
    let (sender, receiver) = mpsc::channel(BATCHES_WAITING);
    let (control, controlled) = watch::channel(Control::Run);
    let state = Arc::new(State::default());
    let source = JobSource {
        batches: receiver,
        control,
        state: state.clone(),
    };
    let sink = JobSink {
        batches: sender,
        control: controlled,
        state,
    };
    (source, sink)
}

impl JobSink {
    /// Whether the job ended for its caller because its broker was away for too long, and perhaps
    /// for nobody else.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.state.trouble().is_some_and(SubmitError::is_transient)
    }

    /// Wait until the caller has read the remaining outcomes and dropped the job. Returns false if
    /// it left the job at the broker.
    pub(crate) async fn dropped(self) -> bool {
        let Self {
            batches,
            mut control,
            state,
        } = self;
        // The caller reads what is left, and then the end.
        drop((batches, state));
        while *control.borrow_and_update() != Control::Leave {
            if control.changed().await.is_err() {
                return true;
            }
        }
        false
    }
}
