//! `sortie worker list`: prints the workers that are connected.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde::Serialize;
use sortie::protocol::{Presence, Timestamp, WorkerId};
use sortie_broker::Operate as _;
use sortie_broker::nats::{NatsBroker, Role};
use sortie_frontend::settings::Environment;

use crate::arguments::worker::List;
use crate::ending::{Ending, Error, refused};
use crate::session::lacks;
use crate::terminal;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::table;

/// A worker says every three seconds that it is there. One that was not heard for this long is
/// dead, or cannot reach the broker.
const PRESENCE_LATE: Duration = Duration::from_secs(5);
/// How often it is seen whether a worker was heard again.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// What stands above the columns.
const TITLES: [&str; 8] = [
    "WORKER", "MACHINE", "PROCESS", "LABELS", "SLOTS", "BUSY", "SINCE", "STATE",
];

/// A worker as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    worker: String,
    machine: &'a str,
    process: u32,
    version: &'a str,
    labels: Vec<&'a str>,
    slots: u32,
    busy: u32,
    draining: bool,
    /// Whether it has a store, if it says so.
    store: Option<bool>,
    state: &'static str,
    since: String,
    /// When it was heard last, by its own clock.
    said: String,
}

/// Run the command.
pub(super) async fn run(
    list: &List,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let settings = list.broker.settings();
    let config = settings.existing(environment, Role::Observer)?;
    let broker = match interrupt.or(NatsBroker::connect(config)).await? {
        Ok(broker) => broker,
        Err(error) => match error.advice().as_ref().and_then(lacks) {
            Some(why) => {
                terminal::say(&format!("there are no workers: {why}"));
                return Ok(Ending::Completed);
            }
            None => return Err(refused(error)),
        },
    };
    let workers = interrupt.or(broker.workers()).await?.map_err(refused)?;
    let silent = silent(&broker, &workers, interrupt).await?;
    let is_silent = |presence: &Presence| silent.contains(&presence.worker);
    if workers.is_empty() {
        terminal::say(&format!("there are no workers at {}", broker.place()));
    } else if list.json {
        table::print_json(
            workers
                .iter()
                .map(|presence| shown(presence, is_silent(presence))),
        )?;
    } else {
        table::print(
            TITLES,
            workers
                .iter()
                .map(|presence| row(presence, is_silent(presence))),
        )?;
    }
    Ok(Ending::Completed)
}

/// The workers that are not heard any more. One that is there says so every few seconds; of one
/// whose word is older, by the clocks of two machines, it is seen whether another word comes.
async fn silent(
    broker: &NatsBroker,
    workers: &[Presence],
    interrupt: &Interrupt,
) -> Result<HashSet<WorkerId>, Error> {
    let now = terminal::time_of_day();
    let mut suspected: HashMap<WorkerId, Timestamp> = workers
        .iter()
        .filter(|worker| now.since(worker.said) > PRESENCE_LATE || worker.said > now)
        .map(|worker| (worker.worker, worker.said))
        .collect();
    let until = terminal::now() + PRESENCE_LATE;
    while !suspected.is_empty() && terminal::now() < until {
        interrupt.or(tokio::time::sleep(LOOK_INTERVAL)).await?;
        for worker in interrupt.or(broker.workers()).await?.map_err(refused)? {
            if suspected
                .get(&worker.worker)
                .is_some_and(|said| *said != worker.said)
            {
                suspected.remove(&worker.worker);
            }
        }
    }
    Ok(suspected.into_keys().collect())
}

fn state(presence: &Presence, is_silent: bool) -> &'static str {
    match (is_silent, presence.draining) {
        // It said that it takes no more, and then nothing: that is how a worker ends in peace.
        (true, true) => "stopped",
        (true, false) => "dead",
        (false, true) => "draining",
        (false, false) => "working",
    }
}

fn shown(presence: &Presence, is_silent: bool) -> Shown<'_> {
    Shown {
        worker: presence.worker.to_string(),
        machine: &presence.machine,
        process: presence.process,
        version: &presence.version,
        labels: presence.labels.iter().collect(),
        slots: presence.slots,
        busy: presence.busy,
        draining: presence.draining,
        store: presence.store,
        state: state(presence, is_silent),
        since: table::time(presence.started),
        said: table::time(presence.said),
    }
}

fn row(presence: &Presence, is_silent: bool) -> [String; 8] {
    [
        presence.worker.to_string(),
        presence.machine.clone(),
        presence.process.to_string(),
        if presence.labels.is_empty() {
            "none".into()
        } else {
            presence.labels.to_string()
        },
        presence.slots.to_string(),
        presence.busy.to_string(),
        table::time(presence.started),
        state(presence, is_silent).into(),
    ]
}

#[cfg(test)]
mod tests {
    use sortie::Labels;

    use super::*;

    #[test]
    fn a_worker_that_ended_in_peace_is_told_from_one_that_died() {
        let presence = |draining| Presence {
            worker: WorkerId::from_bytes([1; 16]),
            machine: "here".into(),
            process: 1,
            version: "1".into(),
            labels: Labels::default(),
            slots: 4,
            busy: 0,
            draining,
            started: Timestamp::default(),
            said: Timestamp::default(),
            store: None,
        };
        let states = [(false, false), (true, false), (false, true), (true, true)];
        let states = states.map(|(is_silent, draining)| state(&presence(draining), is_silent));
        assert_eq!(states, ["working", "dead", "draining", "stopped"]);
    }
}
