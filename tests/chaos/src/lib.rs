//! Real fleets under faults, and a judge of what their readers saw.
//!
//! A run starts nats-servers, three `sortie worker` processes, a process that submits, one that
//! reads, one that does both and one whose tasks take each other's results, each behind a network
//! of its own, and then kills, pauses and cuts them off one after the other while tasks are worked
//! on. Workers run short of descriptors, their clocks are stepped, and queue and storage are
//! filled. A second tenant attacks all the time. Each process writes down what it did and saw, as
//! it happens. At the end a reader that nobody disturbs
//! reads everything once more, and the [`checker`] compares: every task has exactly one outcome,
//! the right one, and all readers saw the same.
//!
//! Which fault comes when follows from the seed alone; what it hits does not, because processes run
//! as fast as the machine lets them. So a seed repeats a schedule, and the history tells what
//! happened.
//!
//! Bounds: a run ends when all is read, or when nothing was read for a minute. All processes end
//! with the one that started them.
//!
//! Reading order: [`work`], [`history`], [`checker`], [`schedule`], [`plan`], [`accounts`],
//! [`parts`], [`mapper`], [`graph`], [`grapher`], [`attack`], [`fleet`], [`run`].

pub mod accounts;
pub mod attack;
pub mod checker;
mod child;
mod common;
mod filler;
pub mod fleet;
pub mod graph;
pub mod grapher;
pub mod history;
pub mod mapper;
pub mod parts;
pub mod plan;
mod raw;
pub mod run;
pub mod schedule;
pub mod skew;
mod stage;
pub mod work;
