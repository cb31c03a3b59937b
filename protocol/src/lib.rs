//! The words of Sortie as plain values.
//!
//! Everything that a client, a broker and a worker tell each other is declared here and nowhere
//! else: ids, tasks, jobs, limits, outcomes. Beside the values stand the decisions that need
//! nothing but values: whether to try again ([`retry`]), how many tasks travel together
//! ([`packing`]), which outcomes of a job were seen ([`seen`]), which result may be reused
//! ([`memo`]).
//!
//! This crate never reads a clock, never does I/O and never starts a thread. Time comes in as
//! [`Timestamp`].
//!
//! Reading order: [`id`], [`address`], [`task`], [`job`], [`outcome`], [`output`], [`signature`], [`envelope`],
//! then the decisions.

pub mod id;
pub mod size;
pub mod time;

pub mod address;
pub mod advice;
pub mod dead;
pub mod job;
pub mod labels;
pub mod location;
pub mod outcome;
pub mod output;
pub mod presence;
pub mod signature;
pub mod task;

mod codec;
pub mod envelope;

pub mod delivery;
pub mod memo;
pub mod metric;
pub mod observer;
pub mod packing;
pub mod retry;
pub mod seen;

pub use address::{Address, ByteRange, Place};
pub use advice::{Advice, Cloud};
pub use dead::DeadLetter;
pub use id::{Digest, JobId, LeaseId, TaskIndex, WorkerId};
pub use job::{Grants, Job, JobOptions, JobRecord, JobState, Limits, Priority, RetryPolicy};
pub use labels::Labels;
pub use location::Location;
pub use outcome::{Bill, Blame, Ending, Failure, Log, Outcome, Retry};
pub use output::{Output, OutputObject, StoredRef};
pub use presence::Presence;
pub use signature::{Kind, Parameter, Signature};
pub use size::ByteSize;
pub use task::{Argument, Bundle, FunctionRef, ObjectRef, Pin, Task};
pub use time::Timestamp;

/// The contract's version, as in `wit/sortie-task/task.wit`. Part of every memo key.
pub const CONTRACT_VERSION: &str = "0.2.0";
