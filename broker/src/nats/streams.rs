//! The configuration of the streams, with the reason for each setting.
//!
//! Bundles wait in work-queue streams, of each tenant its own, that refuse what does not fit,
//! instead of dropping the oldest. Everything else is kept for a time, and components for ever.

use std::time::Duration;

use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Republish, RetentionPolicy, StorageType,
};

use sortie_protocol::TenantId;

use super::layout::ExistingLayout;
use super::names::Names;
use crate::traits::PRESENCE;

/// How long a job's record is kept after its last change.
const JOB_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long an outcome is kept, unless its job is forgotten before.
pub const OUTCOME_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a dead letter is kept.
const DEAD_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Dead letters that are kept of a tenant; the oldest go first.
const DEAD_MESSAGES_MAX: i64 = 10_000;
/// Bytes in one chunk of a large value, where the server takes messages of that size: half of what
/// it takes by default.
pub(super) const VALUE_CHUNK_BYTES: usize = 512 << 10;
/// Chunks of large values that are kept of a tenant, of half a megabyte at most: a gibibyte.
const VALUE_CHUNKS_MAX: i64 = 2048;
/// A chunk of [`VALUE_CHUNK_BYTES`], with a kilobyte for its headers.
const CHUNK_MESSAGE_BYTES_MAX: i32 = 513 << 10;
/// JetStream's deduplication window: within it, a bundle that a client publishes again after a lost
/// answer is stored once. A longer window costs memory, about 170 bytes per bundle; beyond it a
/// bundle runs twice, and only its first outcomes count.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(30);

/// Makes the settings of the streams of one installation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams<'n> {
    pub(super) names: &'n Names,
    pub(super) laid: ExistingLayout,
}

impl Streams<'_> {
    /// Takes the bundles of these pools, and no others: what nobody could ever take is refused.
    pub(super) fn tasks(&self, tenant: &TenantId, shard: u16, pools: &[String]) -> Config {
        let (source, destination) = self.names.rung(tenant);
        let subjects = pools
            .iter()
            .map(|pool| self.names.pool_subjects(tenant, shard, pool));
        Config {
            name: self.names.tasks_stream(tenant, shard),
            subjects: subjects.collect(),
            retention: RetentionPolicy::WorkQueue,
            discard: DiscardPolicy::New,
            duplicate_window: DUPLICATE_WINDOW,
            // The bell that there is work. The server rings it, after it stored the bundle, so that
            // no tenant can ring another's.
            republish: Some(Republish {
                source,
                destination,
                headers_only: true,
            }),
            ..kept(self.laid)
        }
    }

    /// What a worker notes of a bundle that it hands back. Submitters cannot write here, and a note
    /// replaces the one before it, so there is always room for it until the disk is full.
    pub(super) fn attempts(&self, tenant: &TenantId) -> Config {
        Config {
            name: self.names.attempts_stream(tenant),
            subjects: vec![self.names.all_attempts(tenant)],
            max_messages_per_subject: 1,
            max_age: OUTCOME_AGE_MAX,
            ..kept(self.laid)
        }
    }

    /// A record replaces the one before it by a rollup, and not by a limit for each subject.
    ///
    /// A server that is killed learns from its files what was removed: of a rollup and of a purge
    /// it wrote that down, of a limit it did not, because it applies limits again. With a limit, a
    /// job that was forgotten would be there again as it was before its last change: the purge
    /// removed the last record only, and the limit finds none newer than the one before.
    pub(super) fn jobs(&self, tenant: &TenantId) -> Config {
        Config {
            name: self.names.jobs_stream(tenant),
            subjects: vec![self.names.all_jobs(tenant)],
            max_age: JOB_AGE_MAX,
            allow_rollup: true,
            ..kept(self.laid)
        }
    }

    pub(super) fn outcomes(&self, tenant: &TenantId) -> Config {
        let (source, destination) = self.names.republished(tenant);
        Config {
            name: self.names.outcomes_stream(tenant),
            subjects: vec![self.names.all_outcomes(tenant)],
            max_age: OUTCOME_AGE_MAX,
            republish: Some(Republish {
                source,
                destination,
                headers_only: false,
            }),
            ..kept(self.laid)
        }
    }

    /// The parts of a graph stay, and of the claims to a job only the last.
    pub(super) fn graphs(&self, tenant: &TenantId) -> Config {
        Config {
            name: self.names.graphs_stream(tenant),
            subjects: vec![self.names.all_graphs(tenant)],
            max_age: OUTCOME_AGE_MAX,
            allow_rollup: true,
            ..kept(self.laid)
        }
    }

    /// Bounded by the number of chunks: for a bound in bytes the server would reserve the disk.
    pub(super) fn values(&self, tenant: &TenantId) -> Config {
        Config {
            name: self.names.values_stream(tenant),
            subjects: vec![self.names.all_values(tenant)],
            max_age: OUTCOME_AGE_MAX,
            max_messages: VALUE_CHUNKS_MAX,
            max_message_size: CHUNK_MESSAGE_BYTES_MAX,
            discard: DiscardPolicy::New,
            ..kept(self.laid)
        }
    }

    pub(super) fn dead(&self, tenant: &TenantId) -> Config {
        Config {
            name: self.names.dead_stream(tenant),
            subjects: vec![self.names.all_dead(tenant)],
            max_age: DEAD_AGE_MAX,
            max_messages: DEAD_MESSAGES_MAX,
            ..kept(self.laid)
        }
    }

    pub(super) fn components(&self) -> Config {
        Config {
            name: self.names.components_stream(),
            subjects: vec![self.names.all_components()],
            // The first message of a chunk stays: all tenants write here, and none can replace
            // another's component.
            max_messages_per_subject: 1,
            discard: DiscardPolicy::New,
            discard_new_per_subject: true,
            ..kept(self.laid)
        }
    }

    pub(super) fn meta(&self) -> Config {
        Config {
            name: self.names.meta_stream(),
            subjects: vec![self.names.all_meta()],
            max_messages_per_subject: 1,
            ..kept(self.laid)
        }
    }

    /// Not replicated: workers announce themselves again within seconds. In a file, because a
    /// stream in memory is lost when its server restarts.
    pub(super) fn workers(&self) -> Config {
        Config {
            name: self.names.workers_stream(),
            subjects: vec![self.names.all_workers()],
            max_messages_per_subject: 1,
            max_age: PRESENCE,
            duplicate_window: PRESENCE,
            storage: StorageType::File,
            allow_direct: true,
            ..Config::default()
        }
    }
}

/// What streams that must not lose anything have in common.
fn kept(laid: ExistingLayout) -> Config {
    Config {
        storage: StorageType::File,
        num_replicas: laid.replicas,
        allow_direct: true,
        ..Config::default()
    }
}
