//! An observer that records what it is told, and panics when it is asked to.

use parking_lot::Mutex;

use super::super::*;

/// At which event of a task to panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Started,
    Computing,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Recorder {
    steps: Mutex<Vec<String>>,
    /// At which event of the task with which index.
    panics: Option<(When, u64)>,
}

impl Recorder {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            steps: Mutex::default(),
            panics: None,
        })
    }

    /// One that panics at this event of each attempt of a task.
    pub(super) fn panics(when: When, task: u64) -> Arc<Self> {
        Arc::new(Self {
            steps: Mutex::default(),
            panics: Some((when, task)),
        })
    }

    /// What it was told, in order.
    pub(super) fn steps(&self) -> Vec<String> {
        self.steps.lock().clone()
    }

    fn panic_at(&self, when: When, task: u64) {
        assert_ne!(self.panics, Some((when, task)), "as a test asked for");
    }
}

impl Observer<Event> for Recorder {
    fn on(&self, event: &Event) {
        let step = match event {
            Event::TaskLeased { task, .. } => format!("task {task} leased"),
            Event::AttemptStarted { task, .. } => {
                self.panic_at(When::Started, *task);
                format!("attempt of {task} started")
            }
            Event::AttemptComputing { task, .. } => {
                self.panic_at(When::Computing, *task);
                format!("attempt of {task} computing")
            }
            Event::AttemptEnded {
                task, blame, code, ..
            } => format!("attempt of {task} ended: {blame} {code}"),
            Event::BundleReported { .. } => "bundle reported".into(),
            Event::LeaseLost { .. } => "lease lost".into(),
            Event::WorkerDraining { .. } => "worker draining".into(),
        };
        self.steps.lock().push(step);
    }
}
