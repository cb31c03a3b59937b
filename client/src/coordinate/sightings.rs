//! Decides from what is seen of the claims to jobs which of these were left.
//!
//! A claim counts as left when it was not repeated for [`TERM`], by the clock of whoever looks: no
//! clocks are compared. Whoever could not look for a while knows nothing of that time, so it begins
//! again.

use std::collections::HashMap;

use sortie_broker::Claimed;
use sortie_protocol::{JobKey, Timestamp, WorkerId};

use crate::drive::term::TERM;

/// What was seen of the claims to jobs.
#[derive(Debug, Default)]
pub(super) struct Sightings(HashMap<JobKey, Sighting>);

#[derive(Debug, Clone, Copy)]
struct Sighting {
    version: u64,
    /// When this version was seen first.
    since: Timestamp,
}

impl Sightings {
    /// All claims as they are now. Those that others left, the longest left first.
    pub(super) fn see(
        &mut self,
        all: Vec<(JobKey, Claimed)>,
        own: WorkerId,
        now: Timestamp,
    ) -> Vec<(JobKey, Claimed)> {
        let before = std::mem::take(&mut self.0);
        let mut left = Vec::new();
        for (job, claimed) in all {
            let version = claimed.version;
            let seen = before.get(&job).filter(|seen| seen.version == version);
            let since = seen.map_or(now, |seen| seen.since);
            self.0.insert(job, Sighting { version, since });
            let is_left = !claimed.term.holds || now >= since + TERM;
            if is_left && claimed.term.holder != own {
                left.push((since, job, claimed));
            }
        }
        left.sort_unstable_by_key(|(since, job, _)| (*since, job.job));
        left.into_iter()
            .map(|(_, job, claimed)| (job, claimed))
            .collect()
    }

    /// Nothing could be seen: a claim may have been repeated meanwhile.
    pub(super) fn miss(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sortie_protocol::{JobId, TenantId, Term};

    use super::*;

    fn claims(version: u64, holds: bool) -> Vec<(JobKey, Claimed)> {
        let job = JobKey {
            tenant: TenantId::default(),
            job: JobId::from_bytes([1; 16]),
        };
        let term = Term {
            number: 1,
            holder: WorkerId::from_bytes([2; 16]),
            holds,
        };
        vec![(job, Claimed { term, version })]
    }

    fn own() -> WorkerId {
        WorkerId::from_bytes([3; 16])
    }

    const START: Timestamp = Timestamp::from_nanos(1_000_000);

    #[test]
    fn a_claim_that_is_not_repeated_for_a_term_is_left() {
        let mut sightings = Sightings::default();
        assert!(sightings.see(claims(1, true), own(), START).is_empty());
        let almost = START + (TERM - Duration::from_millis(1));
        assert!(sightings.see(claims(1, true), own(), almost).is_empty());
        assert!(
            sightings
                .see(claims(2, true), own(), START + TERM)
                .is_empty()
        );
        let later = START + TERM + TERM;
        assert_eq!(
            sightings.see(claims(2, true), own(), later),
            claims(2, true)
        );
    }

    #[test]
    fn a_claim_that_was_given_up_is_left_at_once_and_ones_own_is_not() {
        let mut sightings = Sightings::default();
        let left = claims(1, false);
        assert_eq!(sightings.see(left.clone(), own(), START), left);
        let holder = left[0].1.term.holder;
        assert!(sightings.see(left, holder, START).is_empty());
    }

    #[test]
    fn whoever_could_not_look_begins_again() {
        let mut sightings = Sightings::default();
        assert!(sightings.see(claims(1, true), own(), START).is_empty());
        sightings.miss();
        let later = START + TERM;
        assert!(sightings.see(claims(1, true), own(), later).is_empty());
        assert!(
            !sightings
                .see(claims(1, true), own(), later + TERM)
                .is_empty()
        );
    }
}
