//! Decides what to do with a redelivered bundle.
//!
//! An expired lease means that a worker died, perhaps because of the bundle. One bad task must not
//! affect the other tasks of its bundle, so after the second loss each task gets its own bundle;
//! and it must not kill the whole fleet, so after [`LOSSES_MAX`] losses it is given up.

/// How many leases of a task may be lost in a row before it is given up: enough to survive
/// unrelated failures, few enough to limit how many workers a bad task can kill.
pub const LOSSES_MAX: u32 = 5;
/// After this many losses, each task of a bundle gets its own bundle.
const LOSSES_TOGETHER_MAX: u32 = 2;

/// What to do with a delivered bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Run it.
    Run,
    /// Put each of its tasks into its own bundle.
    Split,
    /// End its tasks as `worker-lost`.
    GiveUp,
}

/// Decide over a bundle of `tasks` tasks after `losses` lost leases, of at most `losses_max`.
#[must_use]
pub fn decide(tasks: usize, losses: u32, losses_max: u32) -> Delivery {
    if losses >= losses_max {
        Delivery::GiveUp
    } else if tasks > 1 && losses >= LOSSES_TOGETHER_MAX {
        Delivery::Split
    } else {
        Delivery::Run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_parted_before_anything_is_given_up() {
        let decisions: Vec<_> = (0..=5)
            .map(|losses| decide(2, losses, LOSSES_MAX))
            .collect();
        assert_eq!(
            decisions,
            [
                Delivery::Run,
                Delivery::Run,
                Delivery::Split,
                Delivery::Split,
                Delivery::Split,
                Delivery::GiveUp
            ]
        );
    }

    #[test]
    fn a_task_alone_is_run_until_it_is_given_up() {
        let decisions: Vec<_> = (0..=5)
            .map(|losses| decide(1, losses, LOSSES_MAX))
            .collect();
        assert_eq!(
            decisions,
            [
                Delivery::Run,
                Delivery::Run,
                Delivery::Run,
                Delivery::Run,
                Delivery::Run,
                Delivery::GiveUp
            ]
        );
    }
}
