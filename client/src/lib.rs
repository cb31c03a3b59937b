//! Run WebAssembly-sandboxed functions over many inputs.
//!
//! A function is an export of a component, written with the `sortie-guest` crate or anything else
//! that implements `wit/sortie-task`. A [`Client`] loads components and submits tasks: one with
//! [`Client::submit`], or as many as an iterator or stream yields with [`Client::map`]. Each task
//! runs in an instance of its own, with limits, and ends in one [`TaskOutcome`] with its bill.
//!
//! ```no_run
//! use serde::Deserialize;
//! use sortie::{Client, Function, object};
//!
//! #[derive(Deserialize)]
//! struct Document {
//!     pages: u32,
//!     text: String,
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::embedded()?;
//! let component = client.load("pdf-text.wasm").await?;
//! let extract: Function<Document> = component.function("extract")?;
//!
//! // One task.
//! let first = client.submit(&extract, object("paper.pdf")).await?.await?;
//! println!("{} pages", first.pages);
//!
//! // Many, as they complete. Inputs are taken as fast as tasks complete and outcomes are read.
//! let mut job = client.map(&extract, (0..1000).map(|i| object(format!("s3://papers/{i}.pdf"))));
//! while let Some(outcome) = job.next().await {
//!     match outcome.result {
//!         Ok(document) => println!("{}: {} characters", outcome.index, document.text.len()),
//!         Err(error) => println!("{}: {error}", outcome.index),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Client::embedded`] runs everything in this process: a broker in memory and a host with a slot
//! per core. [`Client::connect`] is the same API over a fleet: [`Client::submit_all`] leaves a job
//! to it, and [`Client::attach`] follows one from anywhere. This crate never reads the environment;
//! everything is configured with [`Builder`] and [`nats::Config`].

mod admin;
mod api;
mod coordinate;
mod drive;
#[cfg(feature = "embedded")]
mod embedded;
mod error;
pub mod metrics;
pub mod observer;

/// The program of the book's page on this library compiles.
#[cfg(all(doctest, feature = "embedded"))]
#[doc = include_str!("../../docs/book/client.md")]
mod book {}

/// The programs of the book's page for people who know Dask compile.
#[cfg(all(doctest, feature = "embedded"))]
#[doc = include_str!("../../docs/book/from-dask.md")]
mod book_from_dask {}

/// The program of the book's page on functions that take each other's results compiles.
#[cfg(all(doctest, feature = "embedded"))]
#[doc = include_str!("../../docs/book/pipelines.md")]
mod book_pipelines {}

#[cfg(test)]
mod tests;

pub use self::admin::graph::{GraphTask, JobGraph, TaskState};
pub use self::admin::jobs::Cancellation;
pub use self::admin::replay::{ReplayError, Replayed};
pub use self::admin::status::{Counted, JobPhase, JobStatus, JobWatch};
pub use self::api::arguments::{
    Arguments, Input, IntoArguments, IntoInput, cbor, object, object_at, object_list, prefix, value,
};
pub use self::api::borrowed::BorrowedJob;
pub use self::api::builder::{Builder, ConnectError};
pub use self::api::client::Client;
pub use self::api::detached::Detached;
pub use self::api::function::{CallError, Component, Function};
pub use self::api::future::{TaskFuture, TaskStatus, gather};
pub use self::api::job::{GatherError, Job, Progress};
pub use self::api::outcome::TaskOutcome;
pub use self::api::output::{Decode, Output};
pub use self::api::published::GetError;
pub use self::api::retry::RetryError;
pub use self::api::task_error::TaskError;
pub use self::api::wait::{AsCompleted, WaitFor, Waited, as_completed, wait};
pub use self::coordinate::Coordinator;
#[cfg(feature = "embedded")]
pub use self::embedded::load::LoadError;
#[cfg(feature = "embedded")]
pub use self::embedded::loader::StartError;
pub use self::error::{AttachError, SubmitError};
pub use sortie_broker::{Error as BrokerError, LetterId, Part as BrokerPart, nats};
pub use sortie_objects as objects;
pub use sortie_protocol as protocol;
pub use sortie_protocol::completion::Incomplete;
pub use sortie_protocol::{
    Backtrace, Bill, Blame, ByteSize, DeadLetter, Ending, Failure, FunctionOptions, Gathered,
    Grant, Grants, InputName, InvalidTaskName, JobId, JobKey, JobRecord, JobState, Kind, Labels,
    Limits, Log, Outcome, Presence, Priority, Published, RetryPolicy, Signature, TaskName,
    TenantId,
};
