//! What the tasks of one bundle hold of the worker's memory: a claim for the one that computes, and
//! room for results that wait for the bundle's report.
//!
//! Order: a bundle that waits for a claim holds no permit to compute, and one that has a claim may
//! wait for a permit. See [`crate::budget`] for why nothing waits for ever.

use sortie_broker::Report;
use sortie_protocol::outcome::PlatformFault;
use sortie_protocol::{ByteSize, Ending, Failure, Limit, Limits, Output, Refusal};
use tokio::sync::OwnedSemaphorePermit;

use super::made::Made;
use crate::attempt::{Attempted, Sizes};
use crate::budget::{Budget, NeverFits, RETAINED_FREE_BYTES, Retained};

/// A bundle's report, and the room that its results take until the broker has them.
#[derive(Debug, Default)]
pub(super) struct Reported {
    pub(super) report: Report,
    pub(super) rooms: Vec<OwnedSemaphorePermit>,
    /// Subtasks that its tasks made.
    pub(super) made: Vec<Made>,
}

impl From<Report> for Reported {
    fn from(report: Report) -> Self {
        Self {
            report,
            rooms: Vec::new(),
            made: Vec::new(),
        }
    }
}

/// The room for results of one bundle.
#[derive(Debug)]
pub(super) struct Retention<'b> {
    budget: &'b Budget,
    held: u64,
    /// Of tasks that followed others.
    followed: u64,
    charged: u64,
    rooms: Vec<OwnedSemaphorePermit>,
}

impl<'b> Retention<'b> {
    pub(super) fn new(budget: &'b Budget) -> Self {
        Self {
            budget,
            held: 0,
            followed: 0,
            charged: 0,
            rooms: Vec::new(),
        }
    }

    /// Take what a task left into the report, if there is room for it. If not, the task has no
    /// result: it is tried again where there is room, unless there never is.
    pub(super) fn admit(&mut self, attempted: &mut Attempted) {
        let bytes = held_bytes(attempted);
        let held = self.held.saturating_add(bytes);
        let missing = held.saturating_sub(RETAINED_FREE_BYTES + self.charged);
        if missing > 0 {
            match self.budget.retain(missing) {
                Retained::Held(room) => {
                    self.charged += missing;
                    self.rooms.push(room);
                }
                Retained::Never(max) if bytes > max.as_u64() => {
                    return refuse(attempted, too_large(max));
                }
                Retained::Full | Retained::Never(_) => return refuse(attempted, no_room()),
            }
        }
        self.held = held;
    }

    /// Take what a task left that followed another, if it is little: it takes no room from tasks
    /// that have to be in the report, and makes that no larger than a message.
    pub(super) fn admits_followed(&mut self, attempted: &Attempted) -> bool {
        let followed = self.followed.saturating_add(held_bytes(attempted));
        let has_room = followed <= RETAINED_FREE_BYTES;
        if has_room {
            self.followed = followed;
        }
        has_room
    }

    pub(super) fn into_rooms(self) -> Vec<OwnedSemaphorePermit> {
        self.rooms
    }
}

/// What an attempt's result and log take.
fn held_bytes(attempted: &Attempted) -> u64 {
    let log = attempted.log.as_ref().map_or(0, |log| log.text.len());
    let value = match &attempted.ending {
        Ending::Completed(Output::Value(value)) => value.len(),
        Ending::Failed(failure) => failure.to_string().len(),
        Ending::Completed(Output::Stored(_) | Output::Object(_) | Output::AtBroker(_))
        | Ending::Cancelled => 0,
    };
    (log as u64).saturating_add(value as u64)
}

fn refuse(attempted: &mut Attempted, failure: Failure) {
    attempted.ending = Ending::Failed(failure);
    attempted.log = None;
}

fn too_large(max: ByteSize) -> Failure {
    Failure::stopped(Limit::Result(max))
}

fn no_room() -> Failure {
    Failure::Platform {
        fault: PlatformFault::Host,
        message: "this worker has no room for the result until others are reported".into(),
    }
}

/// How much a task claims that has these arguments. Those that were fetched ahead are charged
/// already.
pub(super) fn needs(limits: &Limits, sizes: Sizes, fetched_ahead: bool) -> u64 {
    let stored = if fetched_ahead { 0 } else { sizes.stored };
    Budget::needs(limits)
        .saturating_add(sizes.inline)
        .saturating_add(stored)
}

/// Why a task is not run that never has the memory it needs.
pub(super) fn never_fits(limits: &Limits, sizes: Sizes, NeverFits { max }: NeverFits) -> Failure {
    Failure::Refused {
        refusal: Refusal::Limit,
        message: format!(
            "the task needs {} of memory and {} for its arguments; this worker has {max} for tasks",
            ByteSize(Budget::needs(limits)),
            ByteSize(sizes.inline.saturating_add(sizes.stored)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sortie_protocol::{Bill, Log};

    use super::*;

    fn completed(bytes: usize) -> Attempted {
        Attempted {
            ending: Ending::Completed(vec![0; bytes].into()),
            bill: Bill {
                run: Duration::from_secs(1),
                ..Bill::default()
            },
            log: Some(Box::new(Log {
                text: "said".into(),
                dropped: 0,
            })),
        }
    }

    #[test]
    fn results_of_tasks_that_followed_others_take_no_room_from_others() {
        let budget = Budget::of(ByteSize::mib(64), ByteSize(0)).unwrap();
        let mut bundle = Retention::new(&budget);
        assert!(bundle.admits_followed(&completed(40 << 10)));
        assert!(!bundle.admits_followed(&completed(40 << 10)));
        assert!(bundle.admits_followed(&completed(20 << 10)));
        bundle.admit(&mut completed(60 << 10));
        assert!(bundle.into_rooms().is_empty());
    }

    #[test]
    fn results_that_wait_for_their_report_have_a_bound_for_all_bundles_together() {
        // Two megabytes for them.
        let budget = Budget::of(ByteSize::mib(64), ByteSize(0)).unwrap();
        let mut one = Retention::new(&budget);
        let mut taken = completed(1 << 20);
        one.admit(&mut taken);
        assert!(matches!(taken.ending, Ending::Completed(_)));
        let mut other = Retention::new(&budget);
        let mut without_room = completed(2 << 20);
        other.admit(&mut without_room);
        assert!(
            matches!(
                &without_room.ending,
                Ending::Failed(Failure::Platform {
                    fault: PlatformFault::Host,
                    ..
                })
            ) && without_room.log.is_none(),
            "{without_room:?}"
        );
        // Small ones go on.
        let mut small = completed(1 << 10);
        other.admit(&mut small);
        assert!(matches!(small.ending, Ending::Completed(_)));
        drop(one);
        let mut later = completed(1 << 20);
        other.admit(&mut later);
        assert!(matches!(later.ending, Ending::Completed(_)));
        let mut never = completed(3 << 20);
        other.admit(&mut never);
        assert_eq!(never.ending, Ending::Failed(too_large(ByteSize::mib(2))),);
    }
}
