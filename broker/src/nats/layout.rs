//! The layout of an installation, as recorded at the server.

use std::num::NonZeroU16;
use std::time::Duration;

use serde::Deserialize;

use super::config::Layout;

/// The version of the layout. Another one is refused.
const LAYOUT_VERSION: u64 = 3;

/// The layout that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ExistingLayout {
    pub(super) shards: u16,
    pub(super) replicas: usize,
    pub(super) lease: Duration,
}

/// `meta.layout`, as JSON: operators read it with any NATS tool.
#[derive(Debug, Deserialize)]
struct Record {
    version: u64,
    shards: u16,
    replicas: usize,
    lease_ms: u64,
}

impl ExistingLayout {
    /// The layout that will exist once the requested one is created.
    pub(super) fn of(asked: &Layout) -> Self {
        Self {
            shards: asked.shards.get(),
            replicas: asked.replicas.get(),
            lease: asked.lease,
        }
    }

    /// Read the record. The error completes "its record ...".
    pub(super) fn parse(payload: &[u8]) -> Result<Self, String> {
        let record: Record =
            serde_json::from_slice(payload).map_err(|error| format!("cannot be read: {error}"))?;
        if record.version != LAYOUT_VERSION {
            return Err(format!(
                "is of version {}; this program knows version {LAYOUT_VERSION}",
                record.version
            ));
        }
        Ok(Self {
            shards: record.shards.max(1),
            replicas: record.replicas,
            lease: Duration::from_millis(record.lease_ms),
        })
    }

    /// The record.
    pub(super) fn record(&self) -> serde_json::Value {
        let lease_ms = u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX);
        serde_json::json!({
            "version": LAYOUT_VERSION,
            "shards": self.shards,
            "replicas": self.replicas,
            "lease_ms": lease_ms,
        })
    }
}

/// `meta.tenant.NAME`, as JSON: that a tenant is there, with its streams, and what it may have of
/// the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct TenantRecord {
    #[serde(default = "one")]
    pub(super) weight: NonZeroU16,
}

fn one() -> NonZeroU16 {
    NonZeroU16::MIN
}

impl TenantRecord {
    /// One that cannot be read counts as one without wishes: its bundles are taken all the same.
    pub(super) fn parse(payload: &[u8]) -> Self {
        serde_json::from_slice(payload).unwrap_or(Self { weight: one() })
    }

    pub(super) fn record(self) -> serde_json::Value {
        serde_json::json!({ "weight": self.weight })
    }
}
