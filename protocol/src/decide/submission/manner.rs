//! The modes of a submission, and its limit on concurrent requests.

/// Maximum unanswered requests: with round trips of 1 ms this allows 64,000 bundles a second, more
/// than one client produces. At the limit no further inputs are taken.
pub const REQUESTS_AT_ONCE: usize = 64;

/// How a job is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Inputs are published, and outcomes followed until every task has one.
    Map,
    /// The same for a job that stays open: its tasks call several functions, and single ones are
    /// cancelled.
    Open,
    /// Inputs are published; outcomes are not followed.
    Detached,
    /// The outcomes of a job that another client submitted are followed.
    Attached,
    /// Dead letters' tasks are published one per bundle, and each is confirmed when the broker has
    /// it.
    Replay,
}

impl Manner {
    pub(super) fn follows(self) -> bool {
        match self {
            Self::Map | Self::Open | Self::Attached => true,
            Self::Detached | Self::Replay => false,
        }
    }

    pub(super) fn publishes(self) -> bool {
        match self {
            Self::Map | Self::Open | Self::Detached | Self::Replay => true,
            Self::Attached => false,
        }
    }
}
