//! The clocks of a task: virtual time, or real time under the grant `clock`.
//!
//! Virtual time starts at [`VIRTUAL_EPOCH`] and moves by [`VIRTUAL_STEP`] whenever it is read; a
//! wait moves it at once. So equal tasks see equal times, and no task waits for a timer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sortie_protocol::{Grant, Grants};
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use crate::clock;
use crate::sandbox::limits::Watch;

/// Where virtual time starts: 2000-01-01T00:00:00Z, in seconds since the Unix epoch.
pub const VIRTUAL_EPOCH: u64 = 946_684_800;
/// How far virtual time moves when it is read: enough that loops which wait for time to pass end.
pub const VIRTUAL_STEP: Duration = Duration::from_micros(1);

/// A task's time.
#[derive(Debug)]
pub(in crate::sandbox) struct ClocksCtx {
    /// Whether the task was granted the real time.
    is_real: bool,
    /// When the instance was made, by the real clock.
    started: Instant,
    /// Virtual time since [`VIRTUAL_EPOCH`].
    elapsed: Duration,
}

impl ClocksCtx {
    pub(in crate::sandbox) fn new(grants: &Grants) -> Self {
        Self {
            is_real: grants.contains(&Grant::Clock),
            started: clock::instant(),
            elapsed: Duration::ZERO,
        }
    }

    fn virtual_now(&mut self) -> Duration {
        self.elapsed = self.elapsed.saturating_add(VIRTUAL_STEP);
        self.elapsed
    }
}

/// A task's time, in the store that runs it.
pub(in crate::sandbox) struct ClocksCtxView<'a> {
    pub(in crate::sandbox) ctx: &'a mut ClocksCtx,
    pub(in crate::sandbox) watch: &'a Arc<Watch>,
    pub(in crate::sandbox) table: &'a mut ResourceTable,
}

/// Finds a task's time in the data of its store.
pub(in crate::sandbox) trait ClocksView: Send {
    fn clocks(&mut self) -> ClocksCtxView<'_>;
}

/// Tells wasmtime that the host functions work on a [`ClocksCtxView`].
pub(in crate::sandbox::imports) struct HasClocks;

impl HasData for HasClocks {
    type Data<'a> = ClocksCtxView<'a>;
}

impl wall_clock::Host for ClocksCtxView<'_> {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        let since_epoch = if self.ctx.is_real {
            clock::now().since(Default::default())
        } else {
            Duration::from_secs(VIRTUAL_EPOCH) + self.ctx.virtual_now()
        };
        Ok(wall_clock::Datetime {
            seconds: since_epoch.as_secs(),
            nanoseconds: since_epoch.subsec_nanos(),
        })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime {
            seconds: 0,
            nanoseconds: VIRTUAL_STEP.subsec_nanos(),
        })
    }
}

impl monotonic_clock::Host for ClocksCtxView<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        let elapsed = if self.ctx.is_real {
            clock::instant() - self.ctx.started
        } else {
            self.ctx.virtual_now()
        };
        Ok(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(u64::from(VIRTUAL_STEP.subsec_nanos()))
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let now = monotonic_clock::Host::now(self)?;
        monotonic_clock::Host::subscribe_duration(self, when.saturating_sub(now))
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let duration = Duration::from_nanos(duration);
        let timer = if self.ctx.is_real {
            Timer {
                until: clock::instant().checked_add(duration),
                watch: Some(Arc::clone(self.watch)),
            }
        } else {
            self.ctx.elapsed = self.ctx.elapsed.saturating_add(duration);
            Timer {
                until: None,
                watch: None,
            }
        };
        let timer = self.table.push(timer)?;
        subscribe(self.table, timer)
    }
}

/// A wait. Without a watch it is over already, because virtual time has moved.
struct Timer {
    until: Option<Instant>,
    watch: Option<Arc<Watch>>,
}

#[async_trait::async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        let Some(watch) = &self.watch else { return };
        let until = self.until;
        let wait = async {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        // Ready early when the attempt must end: the next tick then stops the guest.
        let _ = watch.bound(wait).await;
    }
}
