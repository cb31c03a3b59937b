//! `sortie worker list`: prints the workers that are connected.

use serde::Serialize;
use sortie::protocol::Presence;
use sortie_broker::Operate as _;
use sortie_broker::nats::Role;
use sortie_frontend::settings::Environment;

use super::connect::connect;
use crate::arguments::worker::List;
use crate::ending::{Ending, Error, refused};
use crate::terminal;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::table;

/// Column titles.
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
    since: String,
}

/// Run the command.
pub(super) async fn run(
    list: &List,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let config = list.broker.settings().required(environment, Role::Client)?;
    let broker = connect(config, interrupt).await?;
    let workers = interrupt.or(broker.workers()).await?.map_err(refused)?;
    if workers.is_empty() {
        terminal::say(&format!("there are no workers at {}", broker.place()));
    } else if list.json {
        table::print_json(workers.iter().map(shown))?;
    } else {
        table::print(TITLES, workers.iter().map(row))?;
    }
    Ok(Ending::Completed)
}

fn shown(presence: &Presence) -> Shown<'_> {
    Shown {
        worker: presence.worker.to_string(),
        machine: &presence.machine,
        process: presence.process,
        version: &presence.version,
        labels: presence.labels.iter().collect(),
        slots: presence.slots,
        busy: presence.busy,
        draining: presence.draining,
        since: table::time(presence.started),
    }
}

fn row(presence: &Presence) -> [String; 8] {
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
        if presence.draining {
            "draining"
        } else {
            "working"
        }
        .into(),
    ]
}
