//! The WebAssembly engine: configuration, compiling, compiled code on disk, and the clock that
//! interrupts functions.
//!
//! - [`Settings`] say how many instances the pool has; `config` makes the wasmtime configuration.
//! - [`compile`] turns bytes into machine code, with one-line errors; [`artifacts`] keeps machine
//!   code on disk.
//! - [`Engine`] holds wasmtime's engine. A thread of its own raises the engine's epoch every
//!   [`TICK`], so that a function which never calls the host is still stopped within two ticks.
//!
//! One engine per process: artifacts and types of two engines must not meet. Nothing here runs a
//! function: `crate::sandbox` does.

pub mod apart;
pub mod artifacts;
pub mod compile;
mod config;
pub mod structure;

use std::fmt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use self::config::config;
pub use self::config::{Paging, STACK_BYTES, Settings};

/// How often running guests are checked: a timeout or a cancellation stops one within two ticks.
pub const TICK: Duration = Duration::from_millis(10);

/// The engine and its clock thread. Dropping it stops the clock.
pub struct Engine {
    pub(crate) inner: wasmtime::Engine,
    paging: Paging,
    /// Closes when dropped, which the clock thread takes as the end.
    stop: Option<mpsc::Sender<()>>,
    clock: Option<JoinHandle<()>>,
}

/// The engine could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// wasmtime refused the configuration, usually because the system lacks address space.
    #[error("failed to create the WebAssembly engine")]
    Engine(#[source] wasmtime::Error),
    /// No thread for the clock.
    #[error("failed to start the engine's clock thread")]
    Clock(#[source] std::io::Error),
}

impl Engine {
    /// Create the engine and start its clock.
    ///
    /// # Errors
    /// When the system denies the address space or the thread.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        tracing::info!(
            paging = ?settings.paging,
            instances = settings.instances(),
            "creating the WebAssembly engine"
        );
        let inner = wasmtime::Engine::new(&config(settings)).map_err(Error::Engine)?;
        let (stop, stopped) = mpsc::channel();
        let weak = inner.weak();
        let tick = move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(TICK) {
                let Some(engine) = weak.upgrade() else { return };
                engine.increment_epoch();
            }
        };
        let clock = std::thread::Builder::new()
            .name("sortie-clock".into())
            .spawn(tick)
            .map_err(Error::Clock)?;
        Ok(Self {
            inner,
            paging: settings.paging,
            stop: Some(stop),
            clock: Some(clock),
        })
    }

    /// Whether its clock thread is alive. Without it no guest is interrupted.
    #[must_use]
    pub fn ticks(&self) -> bool {
        self.clock
            .as_ref()
            .is_some_and(|clock| !clock.is_finished())
    }

    /// How pooled memories are reset.
    #[must_use]
    pub fn paging(&self) -> Paging {
        self.paging
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(clock) = self.clock.take() {
            // The thread only ticks; should it have panicked there is nothing to undo.
            let _ = clock.join();
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("paging", &self.paging)
            .finish_non_exhaustive()
    }
}
