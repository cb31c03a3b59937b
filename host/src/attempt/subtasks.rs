//! The subtasks of an attempt: which job they are, and of which functions.

use std::sync::Arc;

use parking_lot::Mutex;
use sortie_broker::Lease;
use sortie_protocol::{JobKey, Parent, TaskIndex};

use super::context::{Attempt, Host};
use super::open::Ready;
use crate::subtasks::{Family, MakesSubtasks, NoFamily, Origin, Subtasks, Yields};

/// Whether an attempt may make subtasks.
pub(crate) fn makes_subtasks(attempt: &Attempt) -> bool {
    attempt.context.component.makes_subtasks()
}

/// What one run of a function needs to make subtasks. Costs next to nothing until it makes some.
#[derive(Debug)]
pub(crate) struct Nest {
    host: Host,
    subtasks: Arc<Subtasks>,
    attempt: Attempt,
    task: TaskIndex,
    /// What the subtasks follow from.
    seed: [u8; 32],
    /// Whether another attempt of the task makes the same.
    is_settled: bool,
    yields: Arc<dyn Yields>,
    /// Those of this run, or of a run before it.
    family: Mutex<Option<Arc<Family>>>,
}

impl Nest {
    /// For a task of a lease that is prepared. `before` are the subtasks that it made in a run
    /// before this one.
    pub(crate) fn new(
        host: &Host,
        subtasks: &Arc<Subtasks>,
        (lease, task): (&Lease, TaskIndex),
        (attempt, ready): (&Attempt, &Ready),
        yields: Arc<dyn Yields>,
        before: Option<Arc<Family>>,
    ) -> Self {
        let is_settled = ready.inputs.is_settled;
        // What follows from more than its inputs may make others in another attempt.
        let seed = match is_settled {
            true => *ready.inputs.key.as_bytes(),
            false => of_lease(lease),
        };
        Self {
            host: host.clone(),
            subtasks: subtasks.clone(),
            attempt: attempt.clone(),
            task,
            seed,
            is_settled,
            yields,
            family: Mutex::new(before),
        }
    }

    /// The subtasks that were made, if any were.
    pub(crate) fn made(&self) -> Option<Arc<Family>> {
        self.family.lock().clone()
    }

    /// Whether another attempt of the task makes the same subtasks.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_settled
    }

    fn origin(&self, key: JobKey, parent: Parent) -> Origin {
        let context = &self.attempt.context;
        let mut options = context.options().clone();
        options.priority = options.priority.of_subtasks();
        let result_max = options.limits.memory;
        Origin {
            key,
            component: context.component_digest(),
            options,
            parent,
            signatures: context.component.shared_signatures(),
            is_settled: self.is_settled,
            objects: self.host.objects.clone(),
            store: context.store.clone(),
            values: self.host.values.clone(),
            result_max,
        }
    }
}

impl MakesSubtasks for Nest {
    fn family(&self) -> Result<Arc<Family>, NoFamily> {
        let of = self.attempt.context.job();
        let parent = Parent::of(of.key, of.parent, self.task).ok_or(NoFamily::TooDeep)?;
        let key = parent.subtasks(of.key, &self.seed);
        let mut family = self.family.lock();
        if let Some(known) = &*family
            && known.job() == key
        {
            return Ok(known.clone());
        }
        // An input has changed since the run before.
        if let Some(before) = family.take().filter(|before| before.is_begun()) {
            self.subtasks.end(before.over());
        }
        let room = self.subtasks.try_wait().ok_or(NoFamily::Crowded)?;
        let made = Arc::new(Family::new(
            self.subtasks.clone(),
            self.origin(key, parent),
            self.yields.clone(),
            room,
        ));
        *family = Some(made.clone());
        Ok(made)
    }
}

/// What no other attempt has.
fn of_lease(lease: &Lease) -> [u8; 32] {
    let mut seed = [0; 32];
    let parts = [lease.id.0, lease.deadline.as_nanos(), lease.attempt.into()];
    for (place, part) in seed.chunks_exact_mut(8).zip(parts) {
        place.copy_from_slice(&part.to_be_bytes());
    }
    seed
}
