//! Watches the workers that are there for a job, so that a front door can say why nothing happens.
//!
//! A worker that is there announces itself every few seconds. One that was not heard for
//! [`SILENCE_MAX`] is lost: it died, or cannot reach its broker. What it had in work is run again
//! by others when its leases are over. Silence counts only while the broker answers, and not if all
//! workers fall silent at once: then it is more likely the broker that did not hear them.

use std::collections::HashMap;
use std::time::Duration;

use sortie::protocol::{Presence, WorkerId};
use sortie::{BrokerError, Client, JobId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How soon the broker is asked first: most short jobs have ended by then.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How often it is asked after that.
const ASK_INTERVAL: Duration = Duration::from_secs(5);
/// After this long without an announcement a worker is lost. It makes one every three seconds, and
/// its announcement holds for twelve.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Losses that wait to be told; later ones are dropped, as a front door that tells none needs none.
const LOSSES_WAITING: usize = 16;

/// Counts the workers that are there for a job, and tells which are lost, until it is dropped.
#[derive(Debug)]
pub struct WorkerWatch {
    seen: watch::Receiver<Seen>,
    lost: mpsc::Receiver<Vec<Presence>>,
    _asking: JoinSet<()>,
}

/// What the broker said when it was asked last.
#[derive(Debug)]
enum Seen {
    /// Nothing yet, or nothing that can be relied on.
    Nothing,
    /// So many are there.
    Count(usize),
    /// It is full, for this reason, and workers cannot say that they are there.
    NoRoom(String),
}

impl WorkerWatch {
    /// Watch a job. Call it within a runtime.
    #[must_use]
    pub fn start(client: Client, job: JobId) -> Self {
        let (sender, seen) = watch::channel(Seen::Nothing);
        let (losses, lost) = mpsc::channel(LOSSES_WAITING);
        let mut asking = JoinSet::new();
        asking.spawn(async move {
            let mut heard = Heard::default();
            let mut pause = FIRST_PAUSE;
            loop {
                tokio::time::sleep(pause).await;
                pause = ASK_INTERVAL;
                let answer = client.workers_of(job).await;
                if let Ok(workers) = &answer {
                    let gone = heard.on_list(workers, Instant::now());
                    if !gone.is_empty() {
                        // A front door that does not ask for them is not told.
                        let _ = losses.try_send(gone);
                    }
                }
                sender.send_replace(match answer {
                    // They may have had no time yet to say that they are there.
                    Ok(workers) if workers.is_empty() && heard.was_away => Seen::Nothing,
                    Ok(workers) => {
                        let at_work = workers.iter().filter(|worker| !worker.draining);
                        Seen::Count(at_work.count())
                    }
                    Err(error @ BrokerError::Full { .. }) => {
                        heard.forget();
                        Seen::NoRoom(error.to_string())
                    }
                    // A broker that does not answer, or tells this user nothing, proves nothing.
                    Err(_) => {
                        heard.forget();
                        Seen::Nothing
                    }
                });
            }
        });
        Self {
            seen,
            lost,
            _asking: asking,
        }
    }

    /// How many were there when the broker was asked last; `None` if it was not asked yet, or did
    /// not tell.
    #[must_use]
    pub fn count(&self) -> Option<usize> {
        match *self.seen.borrow() {
            Seen::Count(count) => Some(count),
            Seen::Nothing | Seen::NoRoom(_) => None,
        }
    }

    /// Workers that were lost at about the same time and were not told before, if there are any.
    pub fn lost(&mut self) -> Option<Vec<Presence>> {
        self.lost.try_recv().ok()
    }

    /// Why the broker has no room, where it is not known therefore whether any is there.
    #[must_use]
    pub fn no_room(&self) -> Option<String> {
        match &*self.seen.borrow() {
            Seen::NoRoom(why) => Some(why.clone()),
            Seen::Nothing | Seen::Count(_) => None,
        }
    }
}

/// The workers that were there, as lists of the broker tell.
#[derive(Debug, Default)]
struct Heard {
    workers: HashMap<WorkerId, Worker>,
    /// When the broker told last; `None` if it was asked in vain since.
    told: Option<Instant>,
    /// Whether the broker was away before the last list.
    was_away: bool,
}

#[derive(Debug)]
struct Worker {
    /// What it announced last.
    presence: Presence,
    /// When that was seen first.
    at: Instant,
    is_told: bool,
}

impl Heard {
    /// The broker could not be asked: nobody's silence counts that began before.
    fn forget(&mut self) {
        self.workers.clear();
        self.told = None;
    }

    /// The broker lists these workers, with the last announcement of each. Those that are lost.
    fn on_list(&mut self, listed: &[Presence], now: Instant) -> Vec<Presence> {
        // A question that is asked during an outage is answered after it.
        let is_late = |told: Instant| now.duration_since(told) > 2 * ASK_INTERVAL;
        self.was_away = self.told.replace(now).is_none_or(is_late);
        if self.was_away {
            self.workers.clear();
        }
        for presence in listed {
            let is_known = |worker: &Worker| worker.presence.said == presence.said;
            if !self.workers.get(&presence.worker).is_some_and(is_known) {
                let worker = Worker {
                    presence: presence.clone(),
                    at: now,
                    is_told: false,
                };
                self.workers.insert(presence.worker, worker);
            }
        }
        let is_silent = |worker: &Worker| now.duration_since(worker.at) >= SILENCE_MAX;
        if self.workers.values().all(is_silent) {
            self.workers.clear();
            return Vec::new();
        }
        let mut lost = Vec::new();
        self.workers.retain(|id, worker| {
            // One that drains has given back what it had, or reports it.
            if is_silent(worker)
                && !std::mem::replace(&mut worker.is_told, true)
                && !worker.presence.draining
            {
                lost.push(worker.presence.clone());
            }
            !worker.is_told || listed.iter().any(|presence| presence.worker == *id)
        });
        lost.sort_by_key(|presence| presence.worker);
        lost
    }
}

#[cfg(test)]
mod tests {
    use sortie::Labels;
    use sortie::protocol::Timestamp;

    use super::*;

    const NONE: [u8; 0] = [];

    fn presence(number: u8, said: u64) -> Presence {
        Presence {
            worker: WorkerId::from_bytes([number; 16]),
            machine: "m".into(),
            process: 1,
            version: "0".into(),
            labels: Labels::default(),
            slots: 1,
            busy: 0,
            draining: false,
            started: Timestamp::default(),
            said: Timestamp::from_nanos(said),
            store: None,
        }
    }

    fn lost(heard: &mut Heard, workers: &[Presence], now: Instant) -> Vec<u8> {
        let lost = heard.on_list(workers, now);
        lost.iter().map(|lost| lost.worker.as_bytes()[0]).collect()
    }

    #[test]
    fn a_worker_that_falls_silent_is_lost_once() {
        let (start, mut heard) = (Instant::now(), Heard::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        let list = |first, second| [presence(1, first), presence(2, second)];
        assert_eq!(lost(&mut heard, &list(0, 0), at(0)), NONE);
        assert_eq!(lost(&mut heard, &list(0, 1), at(5)), NONE);
        // Whether or not it is still listed.
        assert_eq!(lost(&mut heard, &list(0, 2), at(10)), [1]);
        assert_eq!(lost(&mut heard, &list(0, 3), at(20)), NONE);
        assert_eq!(lost(&mut heard, &[presence(2, 4)], at(30)), NONE);
        // It was paused, and dies then.
        assert_eq!(lost(&mut heard, &list(9, 5), at(35)), NONE);
        assert_eq!(lost(&mut heard, &[presence(2, 6)], at(45)), [1]);
        assert_eq!(lost(&mut heard, &[presence(2, 7)], at(55)), NONE);
    }

    #[test]
    fn silence_of_all_and_of_those_who_ended_in_peace_is_no_loss() {
        let (start, mut heard) = (Instant::now(), Heard::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        let both = [presence(1, 0), presence(2, 0)];
        assert_eq!(lost(&mut heard, &both, at(0)), NONE);
        assert_eq!(lost(&mut heard, &[], at(10)), NONE);
        assert_eq!(lost(&mut heard, &[presence(2, 1)], at(15)), NONE);
        let draining = Presence {
            draining: true,
            ..presence(1, 1)
        };
        assert_eq!(lost(&mut heard, &[draining, presence(2, 2)], at(20)), NONE);
        assert_eq!(lost(&mut heard, &[presence(2, 3)], at(30)), NONE);
    }

    #[test]
    fn silence_while_the_broker_was_away_is_no_loss() {
        let (start, mut heard) = (Instant::now(), Heard::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        let both = |said| [presence(1, said), presence(2, said)];
        assert_eq!(lost(&mut heard, &both(0), at(0)), NONE);
        // The question waited for the broker, and only one worker is back already.
        assert_eq!(lost(&mut heard, &[presence(2, 1)], at(60)), NONE);
        assert!(heard.was_away);
        assert_eq!(lost(&mut heard, &both(2), at(65)), NONE);
        assert!(!heard.was_away);
        heard.forget();
        assert_eq!(lost(&mut heard, &[presence(2, 3)], at(75)), NONE);
        assert!(heard.was_away);
    }
}
