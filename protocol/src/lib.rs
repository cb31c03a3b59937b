//! Sortie's data types, their wire format, and pure decision logic.
//!
//! Everything that clients, brokers and workers exchange is declared here and nowhere else: ids,
//! tasks, jobs, limits, outcomes ([`envelope`] encodes them). The decision logic needs nothing but
//! these values: whether to retry ([`retry`]), how many tasks go into a bundle ([`packing`]), which
//! outcomes of a job were seen ([`seen`]), which result may be reused ([`memo`]), whether a job may
//! run a component ([`grants`]), what to do with a bundle whose lease was lost ([`delivery`]),
//! how results come into the arguments that take them ([`filling`]), when tasks run that take them
//! ([`graph`]), whether a job is over ([`completion`]), and what a client does for a job at each
//! step ([`submission`]).
//!
//! This crate never reads a clock, never does I/O and never starts a thread. Time comes in as
//! [`Timestamp`].
//!
//! Reading order: [`id`], [`tenant`], [`address`], [`argument`], [`task`], [`job`], [`outcome`],
//! [`output`], [`signature`], [`envelope`], then the decisions.

mod decide;
mod wire;
mod words;

pub use decide::{
    completion, delivery, filling, grants, graph, memo, packing, retry, seen, submission,
};
pub use wire::envelope;
pub use words::{
    address, advice, argument, backtrace, dead, function, gathering, graph_entry, id, input_name,
    job, kind, labels, limits_max, location, metric, observer, outcome, output, part, presence,
    published, reference, signature, size, subtask, task, tenant, term, text, time,
};

pub use address::{Address, ByteRange, Place, VersionId};
pub use advice::{Advice, Cloud};
pub use argument::{Argument, ObjectList, ObjectRef, Pin, TooLong};
pub use backtrace::Backtrace;
pub use dead::DeadLetter;
pub use function::{FunctionIndex, FunctionRef};
pub use gathering::{Gathered, Reader, Readers, Reading};
pub use graph_entry::{GraphEntry, WaitingTask};
pub use id::{Digest, JobId, LeaseId, TaskIndex, WorkerId};
pub use input_name::InputName;
pub use job::{
    FunctionOptions, Grant, Grants, Job, JobFunction, JobRecord, JobState, Limits, Priority,
    RetryPolicy,
};
pub use kind::Kind;
pub use labels::Labels;
pub use limits_max::{AboveMax, LimitsMax};
pub use location::Location;
pub use outcome::{Bill, Blame, Ending, Failure, Limit, Log, Outcome, Refusal, Retry};
pub use output::{BrokerRef, Output, OutputObject, StoredRef};
pub use part::Part;
pub use presence::Presence;
pub use published::{InvalidTaskName, Published, TaskName};
pub use signature::{Parameter, Signature};
pub use size::ByteSize;
pub use subtask::Parent;
pub use task::{Bundle, Task};
pub use tenant::{JobKey, TenantId};
pub use term::Term;
pub use time::Timestamp;

use wire::codec;

/// The contract's version, as in `wit/sortie-task/task.wit`. Part of every memo key.
pub const CONTRACT_VERSION: &str = "0.3.1";
