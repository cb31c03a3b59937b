//! The running slots of a worker. There are more of them while tasks wait for their subtasks: each
//! such task keeps a slot, and its subtasks need others.

use std::fmt;

use async_executor::Task;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use crate::compute_pool::Spawner;

/// Makes the slot with this number.
type Make = Box<dyn Fn(usize) -> BoxFuture<'static, ()> + Send + Sync>;

/// See the module.
pub(super) struct Crew {
    spawner: Spawner,
    count_max: usize,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    /// None before the first one starts, and once no more do.
    make: Option<Make>,
    slots: Vec<Task<()>>,
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew")
            .field("slots", &self.running.lock().slots.len())
            .finish_non_exhaustive()
    }
}

impl Crew {
    /// Of so many slots at most, none yet.
    pub(super) fn new(spawner: Spawner, count_max: usize) -> Self {
        Self {
            spawner,
            count_max,
            running: Mutex::default(),
        }
    }

    /// Start so many slots, which `make` makes, and further ones when they are asked for.
    pub(super) fn start(&self, count: usize, make: Make) {
        self.running.lock().make = Some(make);
        self.grow(count);
    }

    /// Have so many slots at least, if there may be as many.
    pub(super) fn grow(&self, count: usize) {
        let mut running = self.running.lock();
        let Running { make, slots } = &mut *running;
        let Some(make) = make else {
            return;
        };
        for number in slots.len()..count.min(self.count_max) {
            slots.extend(self.spawner.spawn(make(number)));
        }
    }

    /// All slots that run. No more are started.
    pub(super) fn dismiss(&self) -> Vec<Task<()>> {
        let mut running = self.running.lock();
        running.make = None;
        std::mem::take(&mut running.slots)
    }
}
