//! Bytes of any kind: what was written is read back, and what was not is refused in words.

use minicbor::{Decoder, Encoder};
use proptest::prelude::*;
use sortie_protocol::envelope::{self, Error, Message, decode};
use sortie_protocol::packing::TASKS_MAX;
use sortie_protocol::{Bill, Ending, Outcome, Task};

use crate::{arbitrary, golden, samples};

fn refusal(bytes: &[u8]) -> String {
    match decode(bytes) {
        Err(Error::Malformed(why)) => why,
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn bundles_round_trip(bundle in arbitrary::bundle()) {
        prop_assert_eq!(decode(&envelope::bundle(&bundle)), Ok(Message::Bundle(bundle)));
    }

    #[test]
    fn outcomes_round_trip(outcomes in prop::collection::vec(arbitrary::outcome(), 0..8)) {
        prop_assert_eq!(decode(&envelope::outcomes(&outcomes)), Ok(Message::Outcomes(outcomes)));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn any_body_is_read_or_refused(
        kind in 1u8..=9,
        body in prop::collection::vec(any::<u8>(), 0..400)
    ) {
        let mut message = vec![0x83, 0x02, kind];
        message.extend_from_slice(&body);
        let _ = decode(&message);
    }
}

#[test]
fn every_flipped_byte_is_read_or_refused() {
    for golden in golden::goldens() {
        for position in 0..golden.len() {
            for flip in 1..=u8::MAX {
                let mut flipped = golden.clone();
                *flipped.get_mut(position).unwrap() ^= flip;
                let _ = decode(&flipped);
            }
        }
    }
}

#[test]
fn every_message_that_ends_early_or_late_is_refused() {
    for golden in golden::goldens() {
        for length in 0..golden.len() {
            refusal(golden.get(..length).unwrap());
        }
        let mut late = golden.clone();
        late.push(0xf6);
        assert!(refusal(&late).contains("1 bytes more than the message"));
    }
}

#[test]
fn lengths_are_not_believed() {
    for (kind, field) in [(1, 4), (2, 0), (4, 0)] {
        // A map or an array of 2^64 - 1 items, and in it or in place of its first field another.
        for header in [[0x9b], [0xbb]] {
            let huge = [&header[..], &[0xff; 8]].concat();
            refusal(&[&[0x83, 0x02, kind][..], &huge].concat());
            refusal(&[&[0x83, 0x02, kind, 0xa1, field][..], &huge].concat());
        }
    }
}

#[test]
fn deep_nesting_is_refused_before_it_is_followed() {
    let deep = [&[0x83, 0x02, 0x01][..], &vec![0x81; 1 << 20], &[0x00]].concat();
    assert!(refusal(&deep).contains("nested too deep"));
}

#[test]
fn fields_twice_are_refused() {
    // A manifest with its size twice.
    assert!(
        refusal(&[0x83, 0x02, 0x07, 0xa3, 0x00, 0x01, 0x00, 0x02, 0x01, 0x03])
            .contains("do not ascend")
    );
}

#[test]
fn senseless_values_are_refused() {
    let Some((.., Message::Bundle(bundle))) = samples::all().into_iter().next() else {
        panic!("the first sample is a bundle")
    };
    let mut twice = bundle.clone();
    twice.tasks.extend(bundle.tasks.clone());
    assert!(refusal(&envelope::bundle(&twice)).contains("a task twice"));
    let mut many = bundle.clone();
    let task = many.tasks[0].clone();
    many.tasks = (0..=TASKS_MAX as u64)
        .map(|index| Task {
            index,
            ..task.clone()
        })
        .collect();
    assert!(refusal(&envelope::bundle(&many)).contains("at most 1024"));
    many.tasks.pop();
    assert!(envelope::decode(&envelope::bundle(&many)).is_ok());
    let mut followed = bundle.clone();
    let waiting = sortie_protocol::WaitingTask {
        index: 1,
        function: 0,
        parts: Vec::new(),
        input: None,
        repeatable: true,
    };
    followed.tasks[0].then = vec![waiting; sortie_protocol::Task::THEN_MAX];
    assert!(envelope::decode(&envelope::bundle(&followed)).is_ok());
    let last = followed.tasks[0].then[0].clone();
    followed.tasks[0].then.push(last);
    assert!(refusal(&envelope::bundle(&followed)).contains("513 tasks after it"));
    let mut none = bundle;
    none.tasks.clear();
    assert!(refusal(&envelope::bundle(&none)).contains("without tasks"));
    assert!(
        refusal(&envelope::manifest(&envelope::Manifest {
            size: 1,
            chunk: 0
        }))
        .contains("no bytes")
    );
}

#[test]
fn records_and_reports_have_bounds() {
    let Some(Message::Job(record)) = samples::all()
        .into_iter()
        .map(|(.., message)| message)
        .find(|message| matches!(message, Message::Job(_)))
    else {
        panic!("no sample is a job")
    };
    let mut large = *record;
    let function = large.job.functions[0].clone();
    large.job.functions = vec![function; 4000];
    let refused = refusal(&envelope::job(&large));
    assert!(refused.contains("at most 262144"), "{refused}");
    let outcome = Outcome {
        index: 0,
        attempts: 1,
        ending: Ending::Cancelled,
        bill: Bill::default(),
        log: None,
        input: None,
        function: None,
    };
    let refused = refusal(&envelope::outcomes(&vec![outcome; TASKS_MAX + 1]));
    assert!(refused.contains("at most 1024"), "{refused}");
}

/// A presence with these labels in place of its own.
fn presence_with_labels(labels: &[&str]) -> Vec<u8> {
    let mut encoder = Encoder::new(vec![0x83, 0x02, 0x06]);
    encoder.map(8).unwrap();
    encoder
        .u8(0)
        .unwrap()
        .bytes(&[9; 16])
        .unwrap()
        .u8(1)
        .unwrap()
        .str("rack")
        .unwrap()
        .u8(2)
        .unwrap()
        .u8(1)
        .unwrap();
    encoder
        .u8(3)
        .unwrap()
        .str("0.1.0")
        .unwrap()
        .u8(4)
        .unwrap()
        .encode(labels)
        .unwrap();
    encoder
        .u8(5)
        .unwrap()
        .u8(1)
        .unwrap()
        .u8(8)
        .unwrap()
        .u8(0)
        .unwrap()
        .u8(9)
        .unwrap()
        .u8(0)
        .unwrap();
    let message = encoder.into_writer();
    Decoder::new(&message).skip().unwrap();
    message
}

#[test]
fn labels_are_checked_when_they_are_read() {
    assert!(matches!(
        decode(&presence_with_labels(&["a", "b"])),
        Ok(Message::Presence(_))
    ));
    assert!(refusal(&presence_with_labels(&["NOT"])).contains("is not a label"));
    assert!(refusal(&presence_with_labels(&["a", "a"])).contains("a label twice"));
    let many: Vec<String> = (0..1000).map(|i| i.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(refusal(&presence_with_labels(&many)).contains("at most 16"));
}
