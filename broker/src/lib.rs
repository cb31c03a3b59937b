//! Where tasks wait for workers.
//!
//! [`Broker`] is what clients and workers need of a broker, and no more: put components and jobs,
//! publish bundles, pull leases, report, follow a job's outcomes, cancel. [`memory::MemoryBroker`]
//! is the broker of one process: the default of an embedded client, with leases, expiry, redelivery
//! and dead letters like any other, and with seeded faults for tests. [`nats::NatsBroker`] is the
//! broker of a fleet. [`conformance`] is the list of what every broker promises.
//!
//! Promises, for every implementation:
//! - A published bundle is leased until its tasks' outcomes are stored or its job is cancelled. A
//!   lease that is neither extended nor completed in time goes to another worker.
//! - Of a task, the first stored outcome is visible, and only that one, whatever the number of
//!   attempts and late reports.
//! - A bundle whose deliveries all came to nothing is given up after a number of them: the tasks
//!   left in it end as `worker-lost`.
//! - What failed for good is kept as a dead letter, up to a bound.
//!
//! A broker never looks into arguments or results, and never runs anything.
//!
//! Reading order: the traits ([`Submit`], [`Work`], [`Operate`]), [`memory`], [`nats`],
//! [`conformance`].

pub mod conformance;
mod lane;
pub mod memory;
pub mod nats;
mod traits;

pub use traits::{
    Broker, Error, Event, Extended, Lease, LetterId, Mark, Operate, PRESENCE, Position, Puller,
    Report, Retrial, Serves, Submit, Unfinished, Waiting, Work,
};
