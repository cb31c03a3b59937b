//! The manners of a submission, and how many requests it may have under way.

/// Requests that may be unanswered: at 1 ms for a round trip 64,000 bundles a second, which is more
/// than one client makes. At the limit no further inputs are taken.
pub const REQUESTS_AT_ONCE: usize = 64;

/// How a job is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Inputs are published, and outcomes followed until each has one.
    Map,
    /// Inputs are published and left to the broker.
    Detached,
    /// Outcomes of a job that was submitted elsewhere are followed.
    Attached,
    /// Tasks that failed before are published alone, and each is confirmed when the broker has it.
    Replay,
}

impl Manner {
    pub(super) fn follows(self) -> bool {
        match self {
            Self::Map | Self::Attached => true,
            Self::Detached | Self::Replay => false,
        }
    }

    pub(super) fn publishes(self) -> bool {
        match self {
            Self::Map | Self::Detached | Self::Replay => true,
            Self::Attached => false,
        }
    }
}
