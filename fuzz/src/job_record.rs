//! Fuzzes what the broker over NATS reads from subjects, headers and messages.

use std::collections::HashSet;

use sortie_broker::nats::{Name, fuzzing};
use sortie_protocol::envelope::{self, Message};
use sortie_protocol::packing::TASKS_MAX;
use sortie_protocol::{JobId, JobKey, TenantId};

use crate::input::{choose, chosen, joined, part};
use crate::memory::{at_most, measured};
use crate::seeds::golden_messages;

/// What reading may allocate for each byte: the same as reading an envelope.
const MEMORY_FACTOR: usize = 100;
/// Leases in a row that are lost in a run.
const LOSSES_MAX: u32 = 5;

const RECORD: u8 = 0;
const BUNDLE: u8 = 1;
const OUTCOMES: u8 = 2;
const RANGES: u8 = 3;
const NOTE: u8 = 4;
const SUBJECT: u8 = 5;
const LAYOUT: u8 = 6;
const TENANT: u8 = 7;

/// Reads one kind of record, header or subject. What can be written again reads as the same.
pub fn run(data: &[u8]) {
    let Some((choice, rest)) = choose(data, TENANT + 1) else {
        return;
    };
    let text = std::str::from_utf8(rest).unwrap_or_default();
    match choice {
        RECORD => record(rest),
        BUNDLE => bundle(rest),
        OUTCOMES => outcomes(rest),
        RANGES => ranges(text),
        NOTE => note(rest),
        SUBJECT => subject(text),
        LAYOUT => {
            if let Ok(written) = fuzzing::layout(rest) {
                assert_eq!(fuzzing::layout(written.as_bytes()), Ok(written));
            }
        }
        _ => {
            let written = fuzzing::tenant_record(rest);
            assert_eq!(fuzzing::tenant_record(written.as_bytes()), written);
        }
    }
}

fn record(payload: &[u8]) {
    let key = key_of(payload);
    let (read, bytes) = measured(|| fuzzing::job_record(&key, payload));
    at_most(bytes, payload, MEMORY_FACTOR);
    if let Ok(record) = read {
        assert_eq!(record.job.key, key);
        assert_eq!(
            fuzzing::job_record(&key, &envelope::job(&record)),
            Ok(record)
        );
    }
}

fn bundle(payload: &[u8]) {
    let key = key_of(payload);
    if let Ok(bundle) = fuzzing::bundle(&key, payload) {
        assert!(!bundle.tasks.is_empty() && bundle.job == key);
        assert_eq!(
            fuzzing::bundle(&key, &envelope::bundle(&bundle)),
            Ok(bundle)
        );
    }
}

/// Each task is taken once, by a reader that gets every message and by one that gets all of them
/// twice.
fn outcomes(mut data: &[u8]) {
    let (mut once, mut twice) = (
        fuzzing::OutcomeReader::default(),
        fuzzing::OutcomeReader::default(),
    );
    let (mut seen, mut sequence) = (HashSet::new(), 0);
    while let Some(header) = part(&mut data) {
        let payload = part(&mut data).unwrap_or_default();
        let header = std::str::from_utf8(header).ok();
        sequence += 1;
        let tasks = once.take(sequence, header, payload);
        assert_eq!(twice.take(sequence, header, payload), tasks);
        assert!(twice.take(sequence, header, payload).is_empty());
        for task in tasks {
            assert!(seen.insert(task), "task {task} was taken twice");
        }
        assert_eq!(once.position(), seen.len() as u64);
        assert_eq!(twice.position(), once.position());
    }
}

fn ranges(header: &str) {
    let ((tasks, written), bytes) = measured(|| fuzzing::task_ranges(header));
    assert!(tasks.len() <= TASKS_MAX && bytes < 64 << 10);
    let (again, _) = fuzzing::task_ranges(&written);
    assert!(tasks.starts_with(&again), "{header:?} became {written:?}");
}

fn note(payload: &[u8]) {
    let (written, bytes) = measured(|| fuzzing::attempts_note(payload));
    assert!(bytes < 1 << 20);
    if let Some(written) = written {
        assert_eq!(fuzzing::attempts_note(written.as_bytes()), Some(written));
    }
    for losses in 0..LOSSES_MAX {
        let ended = fuzzing::attempts_end(payload, losses, LOSSES_MAX);
        assert!(ended.is_none_or(|ended| ended <= TASKS_MAX));
    }
}

fn subject(subject: &str) {
    let space = space();
    if let Some(written) = fuzzing::subject(&space, subject) {
        assert_eq!(fuzzing::subject(&space, &written), Some(written));
    }
}

fn space() -> Name {
    "s".parse().expect("a letter is a name")
}

/// The job that a message is of, so that it is not refused as another job's.
fn key_of(payload: &[u8]) -> JobKey {
    match envelope::decode(payload) {
        Ok(Message::Job(record)) => record.job.key,
        Ok(Message::Bundle(bundle)) => bundle.job,
        Ok(_) | Err(_) => JobKey {
            tenant: TenantId::default(),
            job: JobId::from_bytes([7; 16]),
        },
    }
}

/// The golden messages, and headers, notes and subjects as they are written.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let messages = golden_messages();
    let mut seeds = Vec::new();
    for message in &messages {
        seeds.push(chosen(RECORD, message));
        seeds.push(chosen(BUNDLE, message));
        let reports: [&[u8]; 6] = [b"0-3,7", message, b"1", b"\xff", b"", message];
        seeds.push(chosen(OUTCOMES, &joined(reports)));
    }
    let texts = [
        (RANGES, "0-41,43"),
        (RANGES, "0-18446744073709551615"),
        (RANGES, "5-2,x,1"),
        (NOTE, "12\n0-1 1 0 0\n2-2 1 1 0\n4-4 1 1 1"),
        (NOTE, "1\n0-18446744073709551615 1 1 1\n0-9 1 1 86400000"),
        (
            SUBJECT,
            "s.tasks.acme.3.any.high.job-07070707070707070707070707070707",
        ),
        (
            SUBJECT,
            "s.cancel.acme.job-07070707070707070707070707070707",
        ),
        (
            LAYOUT,
            r#"{"version":2,"shards":4,"replicas":1,"lease_ms":30000}"#,
        ),
        (TENANT, r#"{"weight":3}"#),
    ];
    seeds.extend(texts.map(|(choice, text)| chosen(choice, text.as_bytes())));
    seeds
}
