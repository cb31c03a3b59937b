//! What is written to stores, in folders and over S3's protocol: uploads, kept results that several
//! processes share, and `sortie cache`.

mod cache;
mod memo;
mod writing;

use serde_json::Value;
use sortie_harness::Ran;

/// Whether each result was known before, in the order of the inputs.
fn known(ran: &Ran) -> Vec<bool> {
    let mut records = ran.records();
    records.sort_by_key(|record| record["index"].as_u64());
    records
        .iter()
        .map(|record| record["bill"]["cached"].as_bool().unwrap())
        .collect()
}

/// The values in the order of the inputs.
fn values(ran: &Ran) -> Vec<Value> {
    let mut records = ran.records();
    records.sort_by_key(|record| record["index"].as_u64());
    records
        .iter()
        .map(|record| record["value"].clone())
        .collect()
}
