//! The memo's shared tier: results in an object store that several hosts share.
//!
//! An entry is at `memo/<tenant>/<first two digits>/<rest>` below the store's place, and counts for
//! the tenant's quota there; one that does not fit is not kept. A task never waits long for it: a
//! lookup has [`LOOKUP_TIME_MAX`], entries are written in the background, and after a failure the
//! store is not asked for [`PAUSE`], which is logged once.
//!
//! Unless the credentials may list the bucket, S3 answers that a missing entry is denied: let them
//! list it.
//!
//! Bounds: entries of at most [`ENTRY_BYTES_MAX`], of which [`PENDING_BYTES_MAX`] wait to be
//! written, [`WRITES_MAX`] at a time. Beyond that they are not kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::entry::{Entry, Name};
use crate::clock;
use sortie_objects::failure_episode::FailureEpisode;
use sortie_objects::output_store::MEMO;
use sortie_objects::{Location, OutputStore, TenantStore, WriteError, WriteFault};

/// Timeout of a lookup, which a task waits for: an object store usually answers within a tenth of
/// it.
pub const LOOKUP_TIME_MAX: Duration = Duration::from_secs(1);
/// How long a store that did not answer is not used, so that it costs a slot at most a second twice
/// a minute.
pub const PAUSE: Duration = Duration::from_secs(30);
/// Timeout of writing an entry. Only the shutdown of the process waits for it.
pub const WRITE_TIME_MAX: Duration = Duration::from_secs(20);
/// How long shutdown waits for entries to be written.
pub const FLUSH_TIME_MAX: Duration = Duration::from_secs(5);
/// Maximum size of an entry, which must be readable within [`LOOKUP_TIME_MAX`]. Larger results are
/// cached in the local folder only.
pub const ENTRY_BYTES_MAX: u64 = 4 << 20;
/// Maximum size of entries that wait to be written.
pub const PENDING_BYTES_MAX: u64 = 64 << 20;
/// Concurrent writes: enough for a thousand a second at 50 ms each.
pub const WRITES_MAX: usize = 50;
/// What is counted of what waits.
const UNIT_BYTES: u64 = 1024;

/// Results in a store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shared {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: OutputStore,
    io: Handle,
    lookups: Side,
    puts: Side,
    /// Bytes that may wait, in units.
    pending: Arc<Semaphore>,
    writes: Semaphore,
}

/// One direction, and whether it works.
#[derive(Debug)]
struct Side {
    episode: FailureEpisode,
    began: Instant,
    /// Nanoseconds after `began` until which the store is left alone.
    paused_until: AtomicU64,
}

impl Side {
    fn new(what: &'static str) -> Self {
        Self {
            episode: FailureEpisode::new(what),
            began: clock::instant(),
            paused_until: AtomicU64::new(0),
        }
    }

    fn is_paused(&self) -> bool {
        nanos(clock::instant() - self.began) < self.paused_until.load(Ordering::Relaxed)
    }

    fn works(&self) {
        self.episode.works();
    }

    fn fails(&self, error: &dyn std::fmt::Display) {
        self.paused_until.store(
            nanos(clock::instant() + PAUSE - self.began),
            Ordering::Relaxed,
        );
        self.episode.fails(error);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// All that may wait, in units.
fn pending_max() -> u32 {
    u32::try_from(PENDING_BYTES_MAX / UNIT_BYTES).unwrap_or(u32::MAX)
}

impl Shared {
    /// A shared memo in `store`. Writes run on `io`.
    #[must_use]
    pub fn new(store: OutputStore, io: Handle) -> Self {
        let inner = Inner {
            store,
            io,
            lookups: Side::new("looking up results in the shared memo"),
            puts: Side::new("keeping results in the shared memo"),
            pending: Arc::new(Semaphore::new(pending_max() as usize)),
            writes: Semaphore::new(WRITES_MAX),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// What is kept under `name`, if the store says so in time. Cancel safe.
    pub(super) async fn get(&self, name: Name<'_>) -> Option<Entry> {
        let Inner { store, lookups, .. } = &*self.inner;
        if lookups.is_paused() {
            return None;
        }
        let location = self.location(name)?;
        let sealed = match timeout(
            LOOKUP_TIME_MAX,
            store.objects().get_small(&location, ENTRY_BYTES_MAX),
        )
        .await
        {
            Ok(Ok(sealed)) => sealed,
            Ok(Err(error)) => {
                lookups.fails(&error);
                return None;
            }
            Err(_) => {
                lookups.fails(&format!(
                    "no answer from `{}` within {LOOKUP_TIME_MAX:?}",
                    store.place()
                ));
                return None;
            }
        };
        lookups.works();
        let entry = Entry::open(name, &sealed?);
        if entry.is_none() {
            tracing::debug!(
                %location,
                "an entry of the shared memo is damaged, or of another version; computing it again"
            );
        }
        entry
    }

    /// Keep what the function said under `name`, beside whatever else happens.
    pub(super) fn put(&self, name: Name<'_>, entry: &Entry) {
        // A store that gives no answers takes nothing, either, and the end of the process would
        // wait for it.
        if self.inner.puts.is_paused() || self.inner.lookups.is_paused() {
            return;
        }
        let Some(location) = self.location(name) else {
            return;
        };
        let Some(sealed) = entry
            .seal(name)
            .ok()
            .filter(|sealed| sealed.len() as u64 <= ENTRY_BYTES_MAX)
        else {
            return;
        };
        let units = u32::try_from((sealed.len() as u64).div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let Ok(room) = self.inner.pending.clone().try_acquire_many_owned(units) else {
            tracing::debug!("the shared memo is too slow; one result is not stored there");
            return;
        };
        // Bounded by the room that it holds, and waited for by `flush`.
        let tenant = self.inner.store.of(name.tenant);
        let writing = self
            .inner
            .clone()
            .write(tenant, location, sealed.into(), room);
        self.inner.io.spawn(writing);
    }

    /// Wait until what was given is written.
    pub(super) async fn flush(&self) {
        if timeout(
            FLUSH_TIME_MAX,
            self.inner.pending.acquire_many(pending_max()),
        )
        .await
        .is_err()
        {
            tracing::warn!(
                "the shared memo did not store all results in time; some will be computed again \
                 elsewhere"
            );
        }
    }

    fn location(&self, name: Name<'_>) -> Option<Location> {
        let hex = name.key.to_hex();
        let (first, rest) = hex.split_at_checked(2)?;
        let path = format!("{MEMO}/{}/{first}/{rest}", name.tenant);
        Some(self.inner.store.place().below(&path))
    }
}

impl Inner {
    async fn write(
        self: Arc<Self>,
        tenant: TenantStore,
        location: Location,
        sealed: Bytes,
        _room: OwnedSemaphorePermit,
    ) {
        let Ok(_permit) = self.writes.acquire().await else {
            return;
        };
        // Others that waited for their turn have found out.
        if self.puts.is_paused() {
            return;
        }
        let writing = async {
            let reserved = tenant.reserve(sealed.len() as u64).await?;
            self.store.objects().put(&location, sealed, None).await?;
            reserved.keep();
            Ok::<_, WriteError>(())
        };
        match timeout(WRITE_TIME_MAX, writing).await {
            Ok(Ok(())) => self.puts.works(),
            // The store works; others have room.
            Ok(Err(error)) if error.fault == WriteFault::Quota => tracing::debug!(%error),
            Ok(Err(error)) => self.puts.fails(&error),
            Err(_) => self.puts.fails(&format!(
                "no answer from `{}` within {WRITE_TIME_MAX:?}",
                self.store.place()
            )),
        }
    }
}
