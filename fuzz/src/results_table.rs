//! Fuzzes tables of results: values that functions returned, as CSV and as Parquet.

use bytes::Bytes;
use ciborium::cbor;
use csv_core::{ReadRecordResult, Reader};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use sortie::{Bill, Ending, Outcome};
use sortie_frontend::fuzzing;

use crate::input::{choose, chosen, joined, part};
use crate::seeds;

/// Rows of a table here.
const ROWS_MAX: u64 = 32;
/// Columns of a row: what all results have, and fields.
const COLUMNS_MAX: usize = 600;

const CSV: u8 = 0;
const PARQUET: u8 = 1;

/// Writes a table that another reader takes for one, with a row for each outcome.
pub fn run(data: &[u8]) {
    let Some((choice, mut rest)) = choose(data, PARQUET + 1) else {
        return;
    };
    let mut outcomes = Vec::new();
    for index in 0..ROWS_MAX {
        let Some(value) = part(&mut rest) else { break };
        outcomes.push(outcome(index, value));
    }
    match choice {
        CSV => {
            let table = fuzzing::csv(&outcomes).expect("memory takes every write");
            let records = records(&table);
            assert_eq!(records.len(), outcomes.len() + 1);
            let columns = records.first().copied().unwrap_or_default();
            assert!(columns <= COLUMNS_MAX && records.iter().all(|cells| *cells == columns));
        }
        _ => {
            let table = fuzzing::parquet(&outcomes).expect("memory takes every write");
            let reader = SerializedFileReader::new(Bytes::from(table)).expect("it is Parquet");
            let mut rows = 0;
            for row in reader.get_row_iter(None).expect("it has rows") {
                row.expect("a row can be read");
                rows += 1;
            }
            assert_eq!(rows, outcomes.len());
        }
    }
}

fn outcome(index: u64, value: &[u8]) -> Outcome {
    Outcome {
        index,
        attempts: 1,
        ending: Ending::Completed(value.to_vec().into()),
        bill: Bill::default(),
        log: None,
        input: None,
        function: None,
    }
}

/// How many cells each record of a table has.
fn records(csv: &[u8]) -> Vec<usize> {
    let mut reader = Reader::new();
    let (mut cells, mut ends) = (vec![0; csv.len() + 1], vec![0; COLUMNS_MAX + 1]);
    let (mut rest, mut records, mut columns) = (csv, Vec::new(), 0);
    loop {
        let (result, read, _, ended) = reader.read_record(rest, &mut cells, &mut ends);
        rest = rest.get(read..).unwrap_or_default();
        columns += ended;
        match result {
            ReadRecordResult::Record => records.push(std::mem::take(&mut columns)),
            ReadRecordResult::End => return records,
            // The next turn ends the last record.
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                panic!("a record with more than {COLUMNS_MAX} columns")
            }
        }
    }
}

/// Rows that are alike, and rows that are not.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let values = [
        cbor!({ "n" => 1, "text" => "a,\"b\"\n", "list" => [1, 2], "map" => { "a" => [null] } }),
        cbor!({ "n" => 2.5, "list" => [0.5, null], "map" => { "a" => [1], "b" => true } }),
        cbor!({ "n" => u64::MAX, "index" => "taken", "list" => [[1], []], "map" => {} }),
        cbor!([1, "x"]),
        cbor!({ "n" => f64::NAN, "list" => "text", "" => false, 1 => 2 }),
    ];
    let mut encoded = seeds::encoded(values);
    encoded.push(b"\xff no item".to_vec());
    let mut seeds = Vec::new();
    for choice in [CSV, PARQUET] {
        seeds.push(chosen(choice, b""));
        for count in 1..=encoded.len() {
            let rows = encoded.iter().take(count).map(Vec::as_slice);
            seeds.push(chosen(choice, &joined(rows)));
        }
    }
    seeds
}
