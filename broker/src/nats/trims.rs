//! Decides which stored outcomes are dropped because their only reader received them.
//!
//! Followers that come later read what is kept, so a job is kept whole while its outcomes are not
//! many. A job whose outcomes weigh more than [`KEPT_BYTES`] loses those that its submitter
//! received, so that a followed job of any size fits into a broker of any size. No I/O.
//!
//! The submitter's positions stay what they were: this process remembers how many outcomes are
//! gone, for a feed that it opens again.

use std::collections::{HashMap, VecDeque};

use sortie_protocol::JobKey;

use crate::traits::Position;

/// Outcomes of one job that are kept although they were received: what a person is sorry to lose
/// whose client is killed, and no burden to a server.
const KEPT_BYTES: u64 = 64 << 20;
/// What is worth a request to the server.
const STEP_BYTES: u64 = 8 << 20;
/// Places that are remembered of one job. Beyond it every second one is forgotten, so that a
/// little more is kept than need be.
const PLACES_MAX: usize = 4096;

/// The jobs that are followed from this process.
#[derive(Debug, Default)]
pub(super) struct Trims {
    jobs: HashMap<JobKey, Trim>,
}

/// Where outcomes lie, of which it is not known yet whether they were received.
#[derive(Debug, Default)]
struct Trim {
    places: VecDeque<Place>,
    /// What all messages so far weighed.
    bytes: u64,
    /// What those weighed that are dropped.
    dropped_bytes: u64,
    /// Outcomes that are dropped.
    dropped: Position,
}

/// One message.
#[derive(Debug, Clone, Copy)]
struct Place {
    sequence: u64,
    /// The position after its outcomes.
    end: Position,
    /// What all messages up to it weighed.
    bytes: u64,
}

impl Trims {
    /// A message was passed to the follower.
    pub(super) fn passed(&mut self, key: &JobKey, sequence: u64, end: Position, bytes: usize) {
        let trim = self.jobs.entry(*key).or_default();
        if trim
            .places
            .back()
            .is_some_and(|last| last.sequence >= sequence)
        {
            // Another feed of the same job passed it on before.
            return;
        }
        trim.bytes += bytes as u64;
        trim.places.push_back(Place {
            sequence,
            end,
            bytes: trim.bytes,
        });
        if trim.places.len() > PLACES_MAX {
            let mut number = 0;
            trim.places.retain(|_| {
                number += 1;
                number % 2 == 0
            });
        }
    }

    /// Outcomes before this position were received. The sequence before which messages are to be
    /// dropped, if that is worth it.
    pub(super) fn received(&mut self, key: &JobKey, before: Position) -> Option<u64> {
        let trim = self.jobs.get_mut(key)?;
        let count = trim.places.partition_point(|place| place.end <= before);
        let last = *trim.places.get(count.checked_sub(1)?)?;
        if trim.bytes < KEPT_BYTES || last.bytes - trim.dropped_bytes < STEP_BYTES {
            return None;
        }
        trim.places.drain(..count);
        trim.dropped_bytes = last.bytes;
        trim.dropped = last.end;
        Some(last.sequence + 1)
    }

    /// How many outcomes of a job were dropped from here.
    pub(super) fn dropped(&self, key: &JobKey) -> Position {
        self.jobs.get(key).map_or(0, |trim| trim.dropped)
    }

    /// A feed of the job ended.
    pub(super) fn ended(&mut self, key: &JobKey) {
        if self.dropped(key) == 0 {
            self.jobs.remove(key);
        }
    }

    pub(super) fn forget(&mut self, key: &JobKey) {
        self.jobs.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use sortie_protocol::{JobId, TenantId};

    use super::*;

    const MIB: usize = 1 << 20;

    fn key() -> JobKey {
        JobKey {
            tenant: TenantId::default(),
            job: JobId::from_bytes([1; 16]),
        }
    }

    #[test]
    fn a_small_job_is_kept_whole() {
        let mut trims = Trims::default();
        for message in 1..60 {
            trims.passed(&key(), message, message * 10, MIB);
            assert_eq!(trims.received(&key(), message * 10), None);
        }
        trims.ended(&key());
        assert_eq!(trims.received(&key(), 600), None);
    }

    #[test]
    fn a_large_job_loses_what_was_received_and_nothing_else() {
        let mut trims = Trims::default();
        for message in 1..=100 {
            trims.passed(&key(), message, message * 10, MIB);
        }
        trims.passed(&key(), 50, 500, MIB);
        assert_eq!(trims.received(&key(), 309), Some(31));
        assert_eq!(trims.dropped(&key()), 300);
        assert_eq!(trims.received(&key(), 379), None, "not worth it");
        assert_eq!(trims.received(&key(), 380), Some(39));
        trims.ended(&key());
        assert_eq!(
            trims.dropped(&key()),
            380,
            "for a feed that is opened again"
        );
        trims.forget(&key());
        assert_eq!(trims.dropped(&key()), 0);
    }

    #[test]
    fn the_places_of_a_job_that_is_never_trimmed_are_bounded() {
        let mut trims = Trims::default();
        for message in 1..100_000 {
            trims.passed(&key(), message, message, 10_000);
        }
        assert!(trims.jobs[&key()].places.len() <= PLACES_MAX);
        let dropped = trims.received(&key(), 99_999).unwrap();
        assert!(dropped > 90_000, "{dropped}");
    }
}
