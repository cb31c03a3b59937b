//! What can be done about an error, as a value: errors of every crate carry it, and each front door
//! words it for its users.
//!
//! A library does not know whether its user types flags, calls a function or clicks, so its
//! messages name no flag, command or environment variable. The set is closed and small: a new
//! variant must be worded by every front door before it compiles.

use std::fmt;

use crate::id::JobId;
use crate::labels::Labels;

/// What can be done about an error, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// The caller names a broker.
    NameBroker,
    /// An operator lays the broker out.
    InitBroker,
    /// An operator adds a tenant to the broker.
    InitTenant {
        /// Its name.
        tenant: String,
    },
    /// An operator adds a pool of workers to the broker.
    InitPool {
        /// What the pool's workers have.
        labels: Labels,
    },
    /// The caller looks which jobs there are.
    ListJobs,
    /// An operator looks at the dead letters.
    ListDeadLetters,
    /// An operator updates the program that is older than what it reads.
    UpdateProgram,
    /// The caller gathers the results of a job that stays at the broker.
    GatherJob {
        /// The job.
        job: JobId,
    },
    /// The caller runs a task again, without the cache of results.
    RunAgain,
    /// The caller, or an operator, names a store for large outputs.
    ConfigureStore,
    /// The caller, or an operator, names another folder for the cache, or none.
    ConfigureCache,
    /// The caller asks for fewer tasks at once.
    LowerConcurrency,
    /// The operator of a worker lets tasks read a folder of local files.
    AllowFiles,
    /// The caller names the inputs one by one, as in a file of them.
    ListInputs,
    /// Credentials, or other ones, are given for a service.
    GiveCredentials {
        /// The service.
        cloud: Cloud,
    },
    /// The storage account is named.
    NameAccount,
    /// A request says who pays for it.
    SetPayer {
        /// The service.
        cloud: Cloud,
    },
    /// The region of the buckets is named, or the server's address.
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
