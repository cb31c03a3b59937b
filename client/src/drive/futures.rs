//! Whoever holds the futures of an open job, as its driver sees them.

use std::sync::Arc;

use sortie_protocol::{Outcome, TaskIndex};
use tokio::sync::mpsc;

use super::program::Program;

/// The most tasks that are cancelled with one request.
const CANCELS_MAX: usize = 1024;

/// Whoever holds the futures of a job, for its driver.
#[derive(Debug)]
pub(crate) struct Futures {
    program: Arc<Program>,
    stopped: mpsc::UnboundedReceiver<TaskIndex>,
}

impl Futures {
    pub(crate) fn new(program: Arc<Program>, stopped: mpsc::UnboundedReceiver<TaskIndex>) -> Self {
        Self { program, stopped }
    }

    /// Whether outcomes that were handed out stay at the broker.
    pub(crate) fn keeps_outcomes(&self) -> bool {
        self.program.is_kept() || self.program.is_published()
    }

    /// Hand outcomes out.
    pub(crate) fn hand_out(&self, outcomes: &[Outcome]) {
        self.program.ended(outcomes);
    }

    /// The next tasks that nothing needs any more. Cancel safe.
    pub(crate) async fn stopped(&mut self) -> Vec<TaskIndex> {
        let mut tasks = Vec::new();
        match self.stopped.recv_many(&mut tasks, CANCELS_MAX).await {
            0 => std::future::pending().await,
            _ => tasks,
        }
    }
}
