//! A submitted task, as its futures hold it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sortie_protocol::TaskIndex;
use tokio::task::AbortHandle;

use super::program::Program;
use super::slot::Slot;
use super::tracker::Tracked;

/// A submitted task. It is wanted until this is dropped.
#[derive(Debug)]
pub(crate) struct Submitted {
    pub(crate) index: TaskIndex,
    pub(crate) slot: Arc<Slot>,
    pub(crate) program: Arc<Program>,
    /// It runs to its end although nobody holds it.
    is_left: AtomicBool,
    _held: Tracked,
    /// What waits for its outcome, if its program does not.
    _follower: Option<Follower>,
}

/// Something that is aborted with the last who holds this.
#[derive(Debug)]
struct Follower(AbortHandle);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Submitted {
    pub(crate) fn new(index: TaskIndex, slot: Arc<Slot>, program: Arc<Program>) -> Self {
        Self {
            _held: program.hold(),
            index,
            slot,
            program,
            is_left: AtomicBool::new(false),
            _follower: None,
        }
    }

    /// A task of a job that is not driven here. Dropping this cancels nothing but `follower`, which
    /// waits for the task's outcome.
    pub(crate) fn followed(
        index: TaskIndex,
        slot: Arc<Slot>,
        program: Arc<Program>,
        follower: AbortHandle,
    ) -> Self {
        Self {
            _held: program.hold(),
            index,
            slot,
            program,
            is_left: AtomicBool::new(true),
            _follower: Some(Follower(follower)),
        }
    }

    /// Have the task run to its end when nobody holds it any more.
    pub(crate) fn leave(&self) {
        self.is_left.store(true, Ordering::Relaxed);
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        let is_left = self.is_left.load(Ordering::Relaxed);
        self.program.dropped(self.index, is_left);
    }
}

/// A task whose result another one takes. While this is held, the task is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Dependency(pub(crate) Arc<Submitted>);

impl PartialEq for Dependency {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Dependency {}
