//! Keeps the newest dead letters, up to a number, each under an id that is never used again.

use std::collections::VecDeque;

use sortie_protocol::{DeadLetter, JobKey, TenantId};

use crate::traits::LetterId;

/// The newest dead letters. The oldest go first when there are more than may be kept.
#[derive(Debug)]
pub(super) struct DeadLetters {
    /// In the order of their names.
    letters: VecDeque<(LetterId, DeadLetter)>,
    count_max: usize,
    next: LetterId,
}

impl DeadLetters {
    pub(super) fn new(count_max: usize) -> Self {
        Self {
            letters: VecDeque::new(),
            count_max,
            next: 0,
        }
    }

    pub(super) fn bury(&mut self, letter: DeadLetter) {
        self.next += 1;
        self.letters.push_back((self.next, letter));
        let excess = self.letters.len().saturating_sub(self.count_max);
        self.letters.drain(..excess);
    }

    /// The newest of a tenant, or of one job, newest first.
    pub(super) fn newest(
        &self,
        tenant: &TenantId,
        job: Option<JobKey>,
        count_max: usize,
    ) -> Vec<(LetterId, DeadLetter)> {
        let wanted = |(_, letter): &&(LetterId, DeadLetter)| match (job, letter.job()) {
            (Some(job), of) => of == Some(job),
            (None, of) => of.is_none_or(|of| of.tenant == *tenant),
        };
        self.letters
            .iter()
            .rev()
            .filter(wanted)
            .take(count_max)
            .cloned()
            .collect()
    }

    /// Remove a letter, if it is there. Whether it was.
    pub(super) fn remove(&mut self, letter: LetterId) -> bool {
        match self.letters.binary_search_by_key(&letter, |(id, _)| *id) {
            Ok(place) => self.letters.remove(place).is_some(),
            Err(_) => false,
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.letters.len()
    }
}
