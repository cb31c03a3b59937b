//! Drives jobs: an async loop around the state machine of `sortie_protocol::submission`, which does
//! its I/O with the broker, the caller and the clock.

pub(crate) mod call;
pub(crate) mod call_key;
pub(crate) mod clock;
pub(crate) mod driver;
pub(crate) mod feed;
pub(crate) mod futures;
pub(crate) mod made;
pub(crate) mod mapped;
mod node;
pub(crate) mod open_job;
pub(crate) mod parts;
pub(crate) mod program;
pub(crate) mod requests;
pub(crate) mod resolve;
mod run_times;
pub(crate) mod shell;
pub(crate) mod sink;
pub(crate) mod slot;
pub(crate) mod submitted;
mod tasks;
pub(crate) mod term;
pub(crate) mod timer;
pub(crate) mod tracker;
pub(crate) mod unwritten;
pub(crate) mod values;
pub(crate) mod window;
