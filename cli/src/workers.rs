//! Words what becomes known of the workers while a person waits for a job.

use std::time::Duration;

use sortie::protocol::Presence;
use sortie::{Client, JobId};
use sortie_frontend::WorkerWatch;

use crate::terminal;

/// How many workers are named that were lost together.
const LOST_SHOWN: usize = 3;

/// Tells a person what becomes known of the workers that are there for a job: each thing once.
#[derive(Debug)]
pub(crate) struct WorkerNews {
    watch: WorkerWatch,
    /// How long a bundle of a worker that was lost waits for it, if that is known.
    lease: Option<Duration>,
    /// How many the person was told of last.
    count_told: Option<usize>,
    /// Whether the person was told that it is not known, because the broker has no room.
    is_no_room_told: bool,
}

impl WorkerNews {
    /// Watch the workers of a job. `count_told` is how many the person was told of, if any number
    /// was.
    pub(crate) fn start(client: &Client, job: JobId, count_told: Option<usize>) -> Self {
        Self {
            watch: WorkerWatch::start(client.clone(), job),
            lease: client.lease(),
            count_told,
            is_no_room_told: false,
        }
    }

    /// How many are there, if that is known.
    pub(crate) fn count(&self) -> Option<usize> {
        self.watch.count()
    }

    /// What is new.
    pub(crate) fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(self.of_count());
        // What they had in work stands still until their leases are over.
        while let Some(workers) = self.watch.lost() {
            lines.push(lost(&workers, self.lease));
        }
        lines.extend(self.of_no_room());
        lines
    }

    /// That nobody works any more, or again.
    fn of_count(&mut self) -> Option<String> {
        let count = self.watch.count()?;
        let before = self.count_told.replace(count);
        let says = match (before, count) {
            (Some(0), 1..) => "workers are there again",
            (None | Some(1..), 0) => "no worker is there; what is left waits for one",
            (None | Some(1..), 1..) | (Some(0), 0) => return None,
        };
        Some(says.into())
    }

    /// That the broker is full, if that is why it is not known whether anybody works.
    fn of_no_room(&mut self) -> Option<String> {
        let why = self.watch.no_room()?;
        if std::mem::replace(&mut self.is_no_room_told, true) {
            return None;
        }
        Some(format!(
            "{why}; workers can neither report nor say that they are there until there is room, so \
             it is not known whether any is there"
        ))
    }
}

/// What is said of workers that were lost.
fn lost(workers: &[Presence], lease: Option<Duration>) -> String {
    let named = workers.iter().take(LOST_SHOWN);
    let mut names: Vec<String> = named
        .map(|worker| terminal::line(&format!("{} on {}", worker.worker, worker.machine)))
        .collect();
    let more = workers.len().saturating_sub(LOST_SHOWN);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    let (are, had, their) = match workers.len() {
        1 => ("worker is", "it had", "its"),
        _ => ("workers are", "they had", "their"),
    };
    let lease = lease.map_or_else(String::new, |lease| {
        format!(", {} at most", humantime::format_duration(lease))
    });
    format!(
        "{} {are} not heard any more: {}. What {had} in work is run again by others when {their} \
         leases are over{lease}",
        workers.len(),
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use sortie::Labels;
    use sortie::protocol::{Timestamp, WorkerId};

    use super::*;

    #[test]
    fn lost_workers_are_named_and_not_all_of_many() {
        let presence = |number| Presence {
            worker: WorkerId::from_bytes([number; 16]),
            machine: format!("m{number}"),
            process: 1,
            version: "1".into(),
            labels: Labels::default(),
            slots: 4,
            busy: 0,
            draining: false,
            started: Timestamp::default(),
            said: Timestamp::default(),
            store: None,
        };
        let lease = Some(Duration::from_secs(30));
        let one = lost(&[presence(1)], lease);
        assert!(
            one.starts_with("1 worker is not heard any more: ")
                && one.contains(" on m1. ")
                && one.ends_with("when its leases are over, 30s at most"),
            "{one}"
        );
        let many: Vec<_> = (1..=5).map(presence).collect();
        let many = lost(&many, None);
        assert!(
            many.contains(" on m3, 2 more. ") && many.ends_with("when their leases are over"),
            "{many}"
        );
    }
}
