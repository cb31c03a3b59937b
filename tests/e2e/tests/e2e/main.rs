//! The `sortie` binary as a person meets it: commands go in, lines and exit codes come out.
//!
//! One module for each thing that is promised. Every function of the component `behaviours` is used
//! somewhere here, which [`coverage`] checks.

mod answers;
mod archives;
mod bad_input;
mod coverage;
mod data_sets;
mod examples;
mod formats;
mod hostile;
mod interrupts;
mod lists;
mod map;
mod named;
mod neighbours;
mod outputs;
mod pipeline;
mod places;
mod probes;
mod result_files;
mod tables;
mod template;
mod typed;
mod unreadable;
mod uploads;

use serde_json::Value;
use sortie_harness::Ran;

/// The records of a run in the order of its inputs.
fn sorted(ran: &Ran) -> Vec<Value> {
    let mut records = ran.records();
    records.sort_by_key(|record| record["index"].as_u64());
    records
}

/// What became of each input, in order: the status, or the code of the failure.
fn endings(ran: &Ran) -> Vec<String> {
    let ending = |record: &Value| match &record["error"]["code"] {
        Value::String(code) => code.clone(),
        _ => record["status"].as_str().unwrap_or_default().to_owned(),
    };
    sorted(ran).iter().map(ending).collect()
}
