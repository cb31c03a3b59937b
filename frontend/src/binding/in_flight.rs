//! Remembers the inputs of tasks that have no result yet, and bounds how many there are.
//!
//! Results name the input they belong to, but a job of a million inputs must not hold them all: an
//! input is remembered from when its task is made until its result is written. Where results are
//! written in the order of the inputs, this also keeps the inputs from running ahead:
//! past [`AHEAD_MAX`] tasks, or [`WAITING_BYTES_MAX`] of results that wait, no further input is
//! taken.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::Notify;

use crate::error::Error;

/// With ordered results: how many tasks may be ahead of the first whose result is missing. Sixteen
/// of the largest bundles.
pub(crate) const AHEAD_MAX: u64 = 16 << 10;
/// With ordered results: how many bytes of results may wait for an earlier one.
pub(crate) const WAITING_BYTES_MAX: usize = 64 << 20;

/// The order in which results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The order in which tasks end.
    Completion,
    /// The order of the inputs.
    Inputs,
    /// Results are not written by this process.
    Nowhere,
}

/// Shared by the side that takes inputs and the side that writes results.
#[derive(Debug)]
pub struct InFlight {
    order: Order,
    state: Mutex<State>,
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    taken: u64,
    written: u64,
    waiting_bytes: usize,
    shown: HashMap<u64, Value>,
    trouble: Option<Error>,
}

impl InFlight {
    /// Nothing was taken yet.
    #[must_use]
    pub fn new(order: Order) -> Self {
        Self {
            order,
            state: Mutex::default(),
            room: Notify::new(),
        }
    }

    /// Wait until another input may be taken. Cancel safe; only one may wait at a time.
    pub(crate) async fn room(&self) {
        while !self.has_room() {
            self.room.notified().await;
        }
    }

    fn has_room(&self) -> bool {
        let state = self.lock();
        match self.order {
            Order::Completion | Order::Nowhere => true,
            Order::Inputs => {
                state.taken - state.written < AHEAD_MAX && state.waiting_bytes < WAITING_BYTES_MAX
            }
        }
    }

    /// Record the input of the next task.
    pub(crate) fn take(&self, shown: Value) {
        let mut state = self.lock();
        let index = state.taken;
        state.taken += 1;
        if self.order != Order::Nowhere {
            state.shown.insert(index, shown);
        }
    }

    /// The input of a task whose result is still to be written.
    #[must_use]
    pub fn shown(&self, index: u64) -> Value {
        self.lock().shown.get(&index).cloned().unwrap_or_default()
    }

    /// A result is about to be written: its input is forgotten here.
    pub fn end(&self, index: u64) -> Value {
        let mut state = self.lock();
        state.written += 1;
        let shown = state.shown.remove(&index);
        drop(state);
        self.room.notify_one();
        shown.unwrap_or(Value::Null)
    }

    /// Set how many bytes of results wait for an earlier one.
    pub fn set_waiting_bytes(&self, bytes: usize) {
        self.lock().waiting_bytes = bytes;
        self.room.notify_one();
    }

    /// The number of inputs taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.lock().taken
    }

    /// No further input can be taken, for this reason.
    pub(crate) fn stop(&self, trouble: Error) {
        self.lock().trouble.get_or_insert(trouble);
    }

    /// Why inputs ended early, if they did.
    #[must_use]
    pub fn trouble(&self) -> Option<Error> {
        self.lock().trouble.clone()
    }

    /// Nothing here can panic half way, so a poisoned lock holds sound state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn inputs_are_forgotten_when_their_results_are_written() {
        let in_flight = InFlight::new(Order::Completion);
        in_flight.take("a".into());
        in_flight.take("b".into());
        assert_eq!(in_flight.end(1), Value::from("b"));
        assert_eq!(in_flight.end(1), Value::Null);
        assert_eq!(in_flight.lock().shown.len(), 1);
    }

    #[test]
    fn ordered_results_hold_back_the_inputs() {
        let in_flight = InFlight::new(Order::Inputs);
        for _ in 0..AHEAD_MAX {
            assert!(in_flight.room().now_or_never().is_some());
            in_flight.take(Value::Null);
        }
        assert!(in_flight.room().now_or_never().is_none());
        in_flight.end(0);
        assert!(in_flight.room().now_or_never().is_some());
        in_flight.set_waiting_bytes(WAITING_BYTES_MAX);
        assert!(in_flight.room().now_or_never().is_none());
    }
}
