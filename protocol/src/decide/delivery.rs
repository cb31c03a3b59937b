//! What to do with a bundle that is delivered again.
//!
//! A lease that ran out says that a worker died, or that the bundle killed it. One bad task must
//! not take its neighbours down, so after the second loss the tasks travel alone; and it must not
//! take the fleet down, so after [`LOSSES_MAX`] it is given up.

/// How many leases of a task may be lost in a row before it is given up: enough to outlive an
/// unlucky day, few enough that a task that kills its workers kills no more than these.
pub const LOSSES_MAX: u32 = 5;
/// After this many losses the tasks of a bundle travel alone.
const LOSSES_TOGETHER_MAX: u32 = 2;

/// What becomes of a delivered bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It is run.
    Run,
    /// Each of its tasks gets a bundle of its own.
    Split,
    /// Its tasks end as `worker-lost`.
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
