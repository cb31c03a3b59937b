//! Quotas: how much each tenant may have in a store.
//!
//! A listing of the tenant's folders is the truth: it also finds what other processes wrote, and
//! what was removed. Between two listings what this process writes is added. What is being written
//! is claimed before it is sent, so that concurrent writes do not exceed the quota together.
//!
//! Bounds: a few hundred bytes for each tenant that has written; one listing of a tenant at a time,
//! at most one each [`RECOUNT_TIME`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use parking_lot::Mutex;
use sortie_protocol::outcome::InputFault;
use sortie_protocol::{ByteSize, TenantId};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::layout::{MEMO, OBJECTS};
use crate::failure_episode::FailureEpisode;
use crate::{Error, Location, Objects, WriteError, WriteFault, clock};

/// How long a count is used before the tenant is listed again. A listing is a request for each
/// thousand objects.
pub const RECOUNT_TIME: Duration = Duration::from_secs(60);
/// How long a write waits for the first count of its tenant. A store of some 50,000 objects is
/// listed in that time; where it takes longer, what is written meanwhile is added to the count and
/// not refused.
pub const COUNT_TIME_MAX: Duration = Duration::from_secs(5);

/// The quotas of all tenants of a store.
#[derive(Debug)]
pub(super) struct Quotas {
    objects: Objects,
    place: Arc<Location>,
    bytes_max: ByteSize,
    tenants: Mutex<HashMap<TenantId, Arc<Usage>>>,
    counting: Arc<FailureEpisode>,
}

/// What one tenant has.
#[derive(Debug, Default)]
struct Usage {
    count: Mutex<Count>,
    /// Wakes those that wait for the first count.
    counted: Notify,
}

#[derive(Debug, Default)]
struct Count {
    /// What the last listing found, or what had been written before the present one began.
    listed: u64,
    /// What was written since the last listing began.
    written: u64,
    /// What is being written.
    claimed: u64,
    is_listing: bool,
    /// When the last listing ended.
    ended: Option<Instant>,
    /// Why there has been no listing that came to its end.
    error: Option<WriteError>,
}

/// Room for something that is being written.
#[derive(Debug)]
pub(super) struct Claim {
    usage: Arc<Usage>,
    bytes: u64,
}

impl Claim {
    /// What it was for is written.
    pub(super) fn keep(self) {
        let mut count = self.usage.count.lock();
        count.written = count.written.saturating_add(self.bytes);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut count = self.usage.count.lock();
        count.claimed = count.claimed.saturating_sub(self.bytes);
    }
}

impl Count {
    fn bytes(&self) -> u64 {
        self.listed
            .saturating_add(self.written)
            .saturating_add(self.claimed)
    }

    /// Whether nothing is known yet, and may be soon.
    fn is_awaited(&self) -> bool {
        self.ended.is_none() || (self.is_listing && self.error.is_some())
    }

    /// Whether the tenant is to be listed now; if so, the listing begins.
    fn begin(&mut self, now: Instant) -> bool {
        let pause = if self.error.is_some() {
            COUNT_TIME_MAX
        } else {
            RECOUNT_TIME
        };
        let is_due = self
            .ended
            .is_none_or(|ended| now.saturating_duration_since(ended) >= pause);
        if self.is_listing || !is_due {
            return false;
        }
        self.is_listing = true;
        // The listing finds it.
        self.listed = self
            .listed
            .saturating_add(std::mem::take(&mut self.written));
        true
    }

    /// A listing has ended.
    fn end(&mut self, now: Instant, listed: Result<u64, WriteError>) {
        let is_first = self.ended.is_none() || self.error.is_some();
        self.is_listing = false;
        self.ended = Some(now);
        match listed {
            Ok(bytes) => {
                self.listed = bytes;
                self.error = None;
            }
            Err(error) if is_first => self.error = Some(error),
            // The last count, and what was written since, is still the best that is known.
            Err(_) => {}
        }
    }
}

impl Quotas {
    pub(super) fn new(objects: Objects, place: Arc<Location>, bytes_max: ByteSize) -> Self {
        Self {
            objects,
            place,
            bytes_max,
            tenants: Mutex::default(),
            counting: Arc::new(FailureEpisode::new(
                "counting what a tenant has in the store",
            )),
        }
    }

    /// Claim room for `bytes`. Cancel safe.
    pub(super) async fn claim(&self, tenant: TenantId, bytes: u64) -> Result<Claim, WriteError> {
        let usage = self.tenants.lock().entry(tenant).or_default().clone();
        if usage.count.lock().begin(clock::instant()) {
            self.list(tenant, usage.clone());
        }
        // Later than this it is let through.
        let _ = timeout(COUNT_TIME_MAX, usage.first_count()).await;
        let mut count = usage.count.lock();
        if let Some(error) = &count.error {
            return Err(error.clone());
        }
        let used = count.bytes();
        if used.saturating_add(bytes) > self.bytes_max.as_u64() {
            return Err(self.refusal(tenant, ByteSize(used), ByteSize(bytes)));
        }
        count.claimed = count.claimed.saturating_add(bytes);
        drop(count);
        Ok(Claim { usage, bytes })
    }

    /// List a tenant's folders in the background.
    fn list(&self, tenant: TenantId, usage: Arc<Usage>) {
        let (objects, counting) = (self.objects.clone(), self.counting.clone());
        let folders = [OBJECTS, MEMO].map(|folder| self.place.below(&format!("{folder}/{tenant}")));
        let listing = async move {
            let listed = bytes_below(&objects, &folders).await;
            match &listed {
                Ok(_) => counting.works(),
                Err(error) => counting.fails(error),
            }
            let listed = listed.map_err(|error| uncounted(&error));
            usage.count.lock().end(clock::instant(), listed);
            usage.counted.notify_waiters();
        };
        // Ends with the listing, of which each request has a time limit.
        self.objects.shared.io.spawn(listing);
    }

    fn refusal(&self, tenant: TenantId, used: ByteSize, asked: ByteSize) -> WriteError {
        let Self {
            place, bytes_max, ..
        } = self;
        WriteError::new(
            WriteFault::Quota,
            format!(
                "`{place}` has no room for {asked} more of the tenant `{tenant}`, who has {used} \
                 of {bytes_max} there; have what is not needed removed, or ask the operator for \
                 more"
            ),
        )
    }
}

impl Usage {
    async fn first_count(&self) {
        loop {
            let counted = self.counted.notified();
            if !self.count.lock().is_awaited() {
                return;
            }
            counted.await;
        }
    }
}

async fn bytes_below(objects: &Objects, folders: &[Location]) -> Result<u64, Error> {
    let mut bytes = 0_u64;
    for folder in folders {
        let mut entries = objects.list_below(folder)?;
        while let Some(entry) = entries.try_next().await? {
            bytes = bytes.saturating_add(entry.size);
        }
    }
    Ok(bytes)
}

/// What a write is told when there is no count.
fn uncounted(error: &Error) -> WriteError {
    let fault = match error.fault {
        InputFault::Unavailable => WriteFault::Unavailable,
        InputFault::Denied => WriteFault::Denied,
        InputFault::Malformed | InputFault::Missing | InputFault::Changed => WriteFault::NoPlace,
    };
    let message = format!("what the tenant has in the store cannot be counted: {error}");
    WriteError::new(fault, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn failed() -> WriteError {
        WriteError::new(WriteFault::Unavailable, "no answer")
    }

    #[test]
    fn a_count_is_what_was_listed_and_what_was_written_since() {
        let start = clock::instant();
        let mut count = Count::default();
        assert!(count.begin(start) && !count.begin(start));
        count.written = 10;
        count.end(start, Ok(100));
        assert_eq!(count.bytes(), 110);
        // Nothing is forgotten while the next listing runs, and it replaces what was known.
        assert!(!count.begin(start + RECOUNT_TIME - SECOND));
        assert!(count.begin(start + RECOUNT_TIME));
        count.claimed = 5;
        assert_eq!(count.bytes(), 115);
        count.written = 7;
        count.end(start + RECOUNT_TIME + SECOND, Ok(50));
        assert_eq!(count.bytes(), 62);
    }

    #[test]
    fn a_listing_that_fails_leaves_what_was_known() {
        let start = clock::instant();
        let mut count = Count::default();
        assert!(count.begin(start));
        count.end(start, Err(failed()));
        assert_eq!(count.error, Some(failed()));
        // It is tried again soon, and waited for.
        assert!(!count.is_awaited() && count.begin(start + COUNT_TIME_MAX));
        assert!(count.is_awaited());
        count.end(start + COUNT_TIME_MAX, Ok(100));
        assert_eq!(count.error, None);
        assert!(count.begin(start + 2 * RECOUNT_TIME));
        count.end(start + 2 * RECOUNT_TIME, Err(failed()));
        assert_eq!((count.error.clone(), count.bytes()), (None, 100));
    }
}
