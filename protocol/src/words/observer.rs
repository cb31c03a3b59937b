//! The observer trait, through which a program receives events of a worker or a client.
//!
//! Each crate that calls one has its own closed set of events. Metrics and traces do not pass
//! through it.

use std::fmt::Debug;

/// Receives events as they happen.
///
/// `on` runs on the thread on which the event happens, between two steps of a task: it must not
/// block. A slow observer slows tasks down.
pub trait Observer<Event>: Debug + Send + Sync + 'static {
    /// Called for each event.
    fn on(&self, event: &Event);
}
