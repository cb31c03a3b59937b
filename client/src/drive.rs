//! Drives jobs: one async shell around the state machine of `sortie_protocol::submission`, with
//! what it needs of the broker, the caller and the clock.

pub(crate) mod clock;
pub(crate) mod feed;
pub(crate) mod mapped;
pub(crate) mod requests;
pub(crate) mod shell;
pub(crate) mod sink;
pub(crate) mod timer;
pub(crate) mod tracker;
pub(crate) mod watch;
pub(crate) mod window;
