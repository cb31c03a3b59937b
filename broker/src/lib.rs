//! The broker: queues bundles of tasks for workers, and stores their outcomes.
//!
//! [`Broker`] is the interface for clients, workers and operators: put components and jobs,
//! publish bundles, pull leases, report, follow a job's outcomes, cancel. [`memory::MemoryBroker`]
//! is the broker of one process: the default of an embedded client, with leases, expiry, redelivery
//! and dead letters like any other, and with seeded faults for tests. [`nats::NatsBroker`] is the
//! broker of a fleet. [`conformance`] tests what every broker promises.
//!
//! Promises, for every implementation:
//! - A published bundle is leased until its tasks' outcomes are stored or its job is cancelled. A
//!   lease that is neither extended nor completed in time goes to another worker.
//! - Of a task, the first stored outcome is visible, and only that one, whatever the number of
//!   attempts and late reports.
//! - A bundle is given up after a number of deliveries without a report: its remaining tasks end as
//!   `worker-lost`.
//! - Tasks that failed permanently are kept as dead letters, up to a bound.
//!
//! A broker never decodes arguments or results, and never runs functions.
//!
//! Reading order: the traits ([`Submit`], [`Work`], [`Operate`], [`Coordinate`], [`Directory`],
//! [`KeepValues`]), [`memory`], [`nats`], [`conformance`].

pub mod conformance;
mod lane;
pub mod memory;
pub mod metrics;
pub mod nats;
mod traits;

pub use traits::{
    Broker, Cancellation, Claimed, Coordinate, Directory, Error, Event, Extended, GRAPH_BYTES_MAX,
    KeepValues, Lease, LetterId, Mark, Operate, PRESENCE, Part, Position, Puller, Report, Retrial,
    Serves, Submit, Unfinished, VALUE_BYTES_MAX, Waiting, Work,
};
