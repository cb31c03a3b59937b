//! Decides whether and when a failed task is retried.

use std::time::Duration;

use crate::job::{Grants, RetryPolicy};
use crate::outcome::{Failure, Retry};

/// What to do after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The failure is the task's outcome.
    Final,
    /// Retry, after at least this long.
    Again(Duration),
}

/// Decide whether to retry after a failed attempt, the `attempt`-th of its task (from 1).
///
/// The function's own delay is used if it is longer than the back-off; the back-off doubles from
/// `backoff_min` to `backoff_max`.
#[must_use]
pub fn decide(policy: &RetryPolicy, grants: &Grants, attempt: u32, failure: &Failure) -> Decision {
    if attempt >= policy.attempts_max.get() {
        return Decision::Final;
    }
    match failure.retry(grants.deterministic()) {
        Retry::Never => Decision::Final,
        Retry::Backoff => Decision::Again(backoff(policy, attempt)),
        Retry::After(delay) => Decision::Again(
            delay
                .max(backoff(policy, attempt))
                .min(policy.backoff_max.max(policy.backoff_min)),
        ),
    }
}

/// The wait after the `attempt`-th attempt (from 1).
#[must_use]
pub fn backoff(policy: &RetryPolicy, attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(31);
    policy
        .backoff_min
        .saturating_mul(1 << doublings)
        .min(policy.backoff_max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::PlatformFault;

    fn lost() -> Failure {
        Failure::Platform {
            fault: PlatformFault::WorkerLost,
            message: String::new(),
        }
    }

    #[test]
    fn backoff_doubles_up_to_its_bound() {
        let policy = RetryPolicy::default();
        let waits: Vec<_> = [1, 2, 3, 9, 10, u32::MAX]
            .iter()
            .map(|&attempt| backoff(&policy, attempt).as_millis())
            .collect();
        assert_eq!(waits, [100, 200, 400, 25_600, 30_000, 30_000]);
    }

    #[test]
    fn attempts_are_bounded() {
        let policy = RetryPolicy::retries(1);
        assert_eq!(
            decide(&policy, &Grants::default(), 1, &lost()),
            Decision::Again(Duration::from_millis(100))
        );
        assert_eq!(
            decide(&policy, &Grants::default(), 2, &lost()),
            Decision::Final
        );
    }

    #[test]
    fn a_functions_delay_is_bounded_by_the_policy() {
        let ask = Failure::Answer {
            code: "busy".into(),
            message: String::new(),
            retry: Some(Duration::from_secs(86_400)),
        };
        assert_eq!(
            decide(&RetryPolicy::default(), &Grants::default(), 1, &ask),
            Decision::Again(Duration::from_secs(30))
        );
    }
}
