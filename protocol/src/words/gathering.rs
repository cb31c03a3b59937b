//! Who reads the outcomes of a job, and what is left of a job whose outcomes nobody needs any more.
//!
//! A broker keeps a job's outcomes until they were gathered. Several may gather at once, so each
//! says that it reads, and says so again while it does; the last one that ends takes the outcomes
//! away, if one of them had them all and has no further use for them. The job's record stays, with
//! how the job had ended.
//!
//! Readers' times are by their own clocks. A reader that died stands in the record until its time
//! is over, and keeps the outcomes for so long.

use std::time::Duration;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// How long a reader counts as reading after it said so: five times it may miss its turn, and the
/// clocks of two machines may differ by minutes.
pub const READING_TIME: Duration = Duration::from_secs(300);
/// How often a reader says that it reads.
pub const READING_INTERVAL: Duration = Duration::from_secs(60);
/// Readers that a record has room for. One more is not noted; it may find the outcomes gone.
pub const READERS_MAX: usize = 256;

/// Somebody who reads a job's outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct Reader {
    /// A random name.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub id: [u8; 16],
    /// Until when it reads, unless it says so again.
    #[n(1)]
    pub until: Timestamp,
}

/// Those who read a job's outcomes, each once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, Encode, Decode)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct Readers(Vec<Reader>);

impl Readers {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Note one that reads from `start` on; those that died before are dropped.
    pub(crate) fn add(&mut self, reader: Reader) {
        let start = reader.until.as_nanos().saturating_sub(nanos(READING_TIME));
        self.remove(reader.id, Timestamp::from_nanos(start));
        if self.0.len() < READERS_MAX {
            self.0.push(reader);
        }
    }

    pub(crate) fn remove(&mut self, id: [u8; 16], now: Timestamp) {
        self.0
            .retain(|reader| reader.id != id && reader.until > now);
    }
}

/// How a job had ended when its outcomes were gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct Gathered {
    /// When, by the reader's clock.
    #[n(0)]
    pub at: Timestamp,
    /// Tasks that completed.
    #[n(1)]
    pub completed: u64,
    /// Tasks that failed.
    #[n(2)]
    pub failed: u64,
}

/// What a reader says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// It reads, or still does.
    Reads(Reader),
    /// It ends without having read all, or the outcomes are to stay.
    Ends {
        /// Its name.
        id: [u8; 16],
        /// When it says so.
        now: Timestamp,
    },
    /// It ends, has read all, and has no further use for the outcomes.
    Gathers {
        /// Its name.
        id: [u8; 16],
        /// How the job had ended.
        gathered: Gathered,
    },
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::JobId;
    use crate::job::{Job, JobRecord, JobState};
    use crate::tenant::{JobKey, TenantId};

    const NOW: Timestamp = Timestamp::from_nanos(1_790_000_000_000_000_000);

    fn record() -> JobRecord {
        JobRecord {
            job: Job {
                key: JobKey {
                    tenant: TenantId::default(),
                    job: JobId::from_bytes([1; 16]),
                },
                functions: Vec::new(),
                parent: None,
            },
            created: NOW,
            state: JobState::Sealed { tasks: 2 },
            readers: Readers::default(),
            gathered: None,
        }
    }

    fn reads(id: u8, now: Timestamp) -> Reading {
        Reading::Reads(Reader {
            id: [id; 16],
            until: now + READING_TIME,
        })
    }

    fn gathers(id: u8, at: Timestamp) -> Reading {
        let gathered = Gathered {
            at,
            completed: 2,
            failed: 0,
        };
        Reading::Gathers {
            id: [id; 16],
            gathered,
        }
    }

    #[test]
    fn the_last_reader_takes_the_outcomes_away_and_only_if_one_had_them_all() {
        let mut record = record();
        assert!(record.note(reads(1, NOW)) && record.note(reads(2, NOW)));
        assert!(record.note(gathers(1, NOW)) && !record.is_gathered());
        let now = NOW;
        assert!(record.note(Reading::Ends { id: [2; 16], now }) && record.is_gathered());
        assert!(!record.note(reads(3, NOW)), "it comes too late");

        let mut kept = super::tests::record();
        assert!(kept.note(reads(1, NOW)));
        assert!(kept.note(Reading::Ends { id: [1; 16], now }) && !kept.is_gathered());
        assert!(!kept.note(Reading::Ends { id: [1; 16], now }));
    }

    #[test]
    fn a_reader_that_died_holds_the_outcomes_for_a_while() {
        let mut record = record();
        record.note(reads(1, NOW));
        record.note(reads(2, NOW));
        record.note(gathers(2, NOW));
        assert!(!record.is_gathered());
        let later = NOW + READING_TIME;
        record.note(reads(3, later));
        record.note(gathers(3, later));
        assert!(record.is_gathered());
    }

    #[test]
    fn readers_have_a_bound_and_each_stands_once() {
        let mut record = record();
        for n in 0..=u8::MAX {
            record.note(reads(n, NOW));
            record.note(reads(n, NOW));
        }
        assert_eq!(record.readers.0.len(), READERS_MAX);
        let more = Reader {
            id: *b"one more, please",
            until: NOW + READING_TIME,
        };
        assert!(!record.note(Reading::Reads(more)));
    }
}
