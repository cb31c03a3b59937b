//! Lists the connected workers: each worker's last announcement, for [`PRESENCE`].

use std::collections::BTreeMap;

use sortie_protocol::{Presence, Timestamp, WorkerId};

use crate::traits::PRESENCE;

/// How many workers are kept: more than one process ever holds. At the limit the one that announced
/// itself longest ago is dropped.
const WORKERS_MAX: usize = 1024;

/// The workers that announced themselves.
#[derive(Debug, Default)]
pub(super) struct Roster {
    heard: BTreeMap<WorkerId, (Timestamp, Presence)>,
}

impl Roster {
    pub(super) fn hear(&mut self, presence: Presence, now: Timestamp) {
        self.heard.insert(presence.worker, (now, presence));
        if self.heard.len() > WORKERS_MAX {
            self.heard.retain(|_, (at, _)| is_there(*at, now));
        }
        while self.heard.len() > WORKERS_MAX {
            let Some((_, silent)) = self
                .heard
                .iter()
                .map(|(worker, (at, _))| (*at, *worker))
                .min()
            else {
                break;
            };
            self.heard.remove(&silent);
        }
    }

    /// Those that are there, in the order of their names.
    pub(super) fn present(&self, now: Timestamp) -> Vec<Presence> {
        self.heard
            .values()
            .filter(|(at, _)| is_there(*at, now))
            .map(|(_, presence)| presence.clone())
            .collect()
    }
}

fn is_there(heard: Timestamp, now: Timestamp) -> bool {
    now.since(heard) < PRESENCE
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sortie_protocol::Labels;

    use super::*;

    fn presence(number: u16) -> Presence {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        Presence {
            worker: WorkerId::from_bytes(id),
            machine: "machine".into(),
            process: 1,
            version: "0".into(),
            labels: Labels::default(),
            slots: 1,
            busy: 0,
            draining: false,
            started: Timestamp::default(),
            said: Timestamp::default(),
            store: None,
        }
    }

    #[test]
    fn a_worker_that_falls_silent_is_there_until_its_presence_ends() {
        let mut roster = Roster::default();
        let now = Timestamp::from_nanos(1);
        roster.hear(presence(1), now);
        assert_eq!(
            roster.present(now + (PRESENCE - Duration::from_nanos(1))),
            [presence(1)]
        );
        assert_eq!(roster.present(now + PRESENCE), []);
        roster.hear(presence(1), now + PRESENCE);
        assert_eq!(roster.present(now + PRESENCE), [presence(1)]);
    }

    #[test]
    fn the_workers_that_were_silent_for_longest_make_room() {
        let mut roster = Roster::default();
        let count = u16::try_from(WORKERS_MAX).unwrap() + 2;
        for number in 0..count {
            roster.hear(presence(number), Timestamp::from_nanos(u64::from(number)));
        }
        let present = roster.present(Timestamp::from_nanos(u64::from(count)));
        assert_eq!(present, (2..count).map(presence).collect::<Vec<_>>());
    }
}
