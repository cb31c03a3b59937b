//! Advice on what to do about an error, as a value: errors of every crate carry it, and each front
//! end words it for its users.
//!
//! A library does not know whether its user types flags, calls a function or clicks, so its
//! messages name no flag, command or environment variable. The set is closed and small: a new
//! variant must be worded by every front door before it compiles.

#![warn(clippy::wildcard_enum_match_arm)]

use std::fmt;

use crate::id::JobId;
use crate::labels::Labels;
use crate::outcome::{Failure, InputFault, Limit, PlatformFault};

/// What can be done about an error, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// The caller should name a broker.
    NameBroker,
    /// An operator should set up the broker.
    InitBroker,
    /// An operator should add a tenant to the broker.
    InitTenant {
        /// Its name.
        tenant: String,
    },
    /// An operator should add a pool to the broker.
    InitPool {
        /// The labels of the pool's workers.
        labels: Labels,
    },
    /// The caller can list the jobs.
    ListJobs,
    /// An operator should list the dead letters.
    ListDeadLetters,
    /// An operator should update a program that is older than the messages it reads.
    UpdateProgram,
    /// The caller can gather the results of a job that stays at the broker.
    GatherJob {
        /// The job.
        job: JobId,
    },
    /// The caller should run a task again, without the cache of results.
    RunAgain,
    /// The caller should run a task again, with a higher limit.
    RaiseLimit {
        /// The limit that stopped it.
        limit: Limit,
    },
    /// The caller or an operator should configure a store for large outputs.
    ConfigureStore,
    /// The caller or an operator should configure another cache folder, or none.
    ConfigureCache,
    /// The caller should run fewer tasks concurrently.
    LowerConcurrency,
    /// The worker's operator should allow tasks to read a folder of local files.
    AllowFiles,
    /// The caller gives an argument for each of these parameters.
    NameArguments {
        /// Their names, in order.
        parameters: Vec<String>,
    },
    /// The operator of a worker lets tasks read web servers in a network that is not public.
    AllowNetworks,
    /// The caller names the inputs one by one, as in a file of them.
    ListInputs,
    /// Configure credentials, or different ones, for a service.
    GiveCredentials {
        /// The service.
        cloud: Cloud,
    },
    /// Configure the storage account.
    NameAccount,
    /// Configure who pays for requests.
    SetPayer {
        /// The service.
        cloud: Cloud,
    },
    /// Configure the buckets' region, or the endpoint.
    SetRegion,
}

/// A service that has buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    /// Amazon S3, and what speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gs,
    /// Azure Blob Storage.
    Az,
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::S3 => "S3",
            Self::Gs => "Google Cloud Storage",
            Self::Az => "Azure Blob Storage",
        })
    }
}

impl Failure {
    /// What could be done, if that is known.
    ///
    /// The fault alone does not say why an input was refused or does not come: the store's message
    /// does. The stack is the same for all tasks, and a larger result belongs in an object.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::Answer { .. } | Self::Trapped { .. } | Self::Refused { .. } => None,
            Self::Stopped { limit, .. } => match limit {
                Limit::Memory(_)
                | Limit::WallTime(_)
                | Limit::CpuTime(_)
                | Limit::OutputBytes(_) => Some(Advice::RaiseLimit { limit: *limit }),
                Limit::Stack(_) | Limit::Result(_) => None,
            },
            Self::Input { fault, .. } => match fault {
                InputFault::Malformed
                | InputFault::Missing
                | InputFault::Denied
                | InputFault::Changed
                | InputFault::Unavailable => None,
            },
            Self::Platform { fault, .. } => match fault {
                PlatformFault::WorkerLost | PlatformFault::Host => Some(Advice::ListDeadLetters),
                PlatformFault::StoreUnusable => Some(Advice::ConfigureStore),
                PlatformFault::Component
                | PlatformFault::StoreUnavailable
                | PlatformFault::ResultLost => None,
            },
            Self::Upstream { failure, .. } => failure.advice(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::size::ByteSize;

    #[test]
    fn a_limit_is_raised_where_the_caller_sets_it() {
        let (size, time) = (ByteSize::mib(1), Duration::from_secs(1));
        for limit in [
            Limit::Memory(size),
            Limit::WallTime(time),
            Limit::CpuTime(time),
            Limit::OutputBytes(size),
        ] {
            let advice = Failure::stopped(limit).advice();
            assert_eq!(advice, Some(Advice::RaiseLimit { limit }));
        }
        for limit in [Limit::Stack(size), Limit::Result(size)] {
            assert_eq!(Failure::stopped(limit).advice(), None);
        }
    }

    #[test]
    fn a_platform_failure_leads_to_the_dead_letters_or_to_the_store() {
        for (fault, advice) in [
            (PlatformFault::Component, None),
            (PlatformFault::WorkerLost, Some(Advice::ListDeadLetters)),
            (PlatformFault::Host, Some(Advice::ListDeadLetters)),
            (PlatformFault::StoreUnusable, Some(Advice::ConfigureStore)),
            (PlatformFault::StoreUnavailable, None),
            (PlatformFault::ResultLost, None),
        ] {
            let failure = Failure::Platform {
                fault,
                message: String::new(),
            };
            assert_eq!(failure.advice(), advice, "{fault:?}");
        }
    }

    #[test]
    fn an_answer_a_trap_and_an_input_have_their_message_only() {
        let message = String::new;
        let answer = Failure::Answer {
            code: "damaged".into(),
            message: message(),
            retry: None,
        };
        assert_eq!(answer.advice(), None);
        assert_eq!(Failure::trapped(message()).advice(), None);
        for fault in [
            InputFault::Malformed,
            InputFault::Missing,
            InputFault::Denied,
            InputFault::Changed,
            InputFault::Unavailable,
        ] {
            let failure = Failure::Input {
                fault,
                message: message(),
            };
            assert_eq!(failure.advice(), None, "{fault:?}");
        }
    }
}
