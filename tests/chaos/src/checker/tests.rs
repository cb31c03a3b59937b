//! Each kind of violation in a small history, and chance changes of good ones.

use proptest::prelude::*;

use super::*;

/// Readers 0 and 2 read all; reader 1 was killed, and reader 2 began where it had stopped.
fn good() -> Vec<Record> {
    history(&[0, 2, 1, 3], 2)
}

fn outcome(reader: u32, position: u64, index: u64) -> Record {
    let attempts = 1 + u32::from(index % 3 == 1);
    Record::Outcome {
        reader,
        position,
        index,
        attempts,
        ended: work::expected(argument(index)),
    }
}

fn argument(index: u64) -> u64 {
    1000 + index
}

/// A history in which tasks ended in this order, and reader 1 saw so many of the outcomes.
fn history(order: &[u64], killed_at: u64) -> Vec<Record> {
    let tasks = order.len() as u64;
    let mut records = vec![Record::Planned { tasks }];
    records.extend((0..tasks).map(|index| Record::Submitted {
        index,
        argument: argument(index),
    }));
    for (reader, from, to) in [
        (0, 0, tasks),
        (1, 0, killed_at),
        (2, killed_at, tasks),
        (3, 0, tasks),
    ] {
        records.push(Record::Reading { reader, from });
        let seen = (from..to)
            .map(|position| outcome(reader, position, order[usize::try_from(position).unwrap()]));
        records.extend(seen);
        if reader == 1 {
            records.push(Record::Killed { reader, at: to });
        } else {
            records.extend([Record::Sealed { reader, tasks }, Record::Read { reader }]);
        }
    }
    records.push(Record::Left { bundles: 0 });
    records
}

/// The violations of the good history after a change of it.
fn after(change: impl FnOnce(&mut Vec<Record>)) -> Vec<Violation> {
    let mut records = good();
    change(&mut records);
    check(&records).violations
}

fn place(records: &[Record], wanted: &Record) -> usize {
    records.iter().position(|record| record == wanted).unwrap()
}

/// The good history without one record.
fn without(gone: &Record) -> Vec<Violation> {
    after(|records| {
        records.remove(place(records, gone));
    })
}

/// The good history with the outcomes of one task changed for all readers.
fn with_task(index: u64, change: impl Fn(&mut Record)) -> Vec<Violation> {
    after(|records| {
        let of_task = |record: &&mut Record| match record {
            Record::Outcome { index: of, .. } => *of == index,
            _ => false,
        };
        records.iter_mut().filter(of_task).for_each(change);
    })
}

#[test]
fn a_good_history_passes() {
    let verdict = check(&good());
    assert_eq!(verdict.violations, []);
    assert_eq!(
        (
            verdict.tasks,
            verdict.outcomes,
            verdict.readers,
            verdict.retried
        ),
        (4, 12, 4, 1)
    );
}

#[test]
fn a_lost_task_is_found() {
    let order: Vec<u64> = vec![0, 2, 1];
    let mut records = history(&order, 2);
    records[0] = Record::Planned { tasks: 4 };
    records.push(Record::Submitted {
        index: 3,
        argument: argument(3),
    });
    let verdict = check(&records);
    assert!(
        verdict.violations.contains(&Violation::Lost(3)),
        "{:?}",
        verdict.violations
    );
    assert_eq!((verdict.lost(), verdict.duplicates()), (1, 0));
}

#[test]
fn a_task_with_two_outcomes_is_found() {
    let verdict = check(&history(&[0, 2, 2, 3], 2));
    assert!(
        verdict.violations.contains(&Violation::Twice(2, [1, 2])),
        "{:?}",
        verdict.violations
    );
    assert_eq!((verdict.lost(), verdict.duplicates()), (1, 1));
}

#[test]
fn an_outcome_of_a_task_that_nobody_submitted_is_found() {
    assert!(
        without(&Record::Submitted {
            index: 1,
            argument: argument(1)
        })
        .contains(&Violation::Unsubmitted(1))
    );
}

#[test]
fn results_of_two_tasks_that_changed_places_are_found() {
    let swapped = with_task(1, |record| {
        if let Record::Outcome { ended, .. } = record {
            *ended = work::expected(argument(2));
        }
    });
    assert_eq!(swapped, [Violation::Wrong(1, work::expected(argument(2)))]);
}

#[test]
fn a_failure_of_a_task_that_had_to_succeed_is_found() {
    let failure = Ended::Failed("worker-lost".into());
    let failed = with_task(3, |record| {
        if let Record::Outcome { ended, .. } = record {
            *ended = failure.clone();
        }
    });
    assert_eq!(failed, [Violation::Wrong(3, failure)]);
}

#[test]
fn an_outcome_without_an_attempt_is_found() {
    let unattempted = with_task(0, |record| {
        if let Record::Outcome { attempts, .. } = record {
            *attempts = 0;
        }
    });
    assert_eq!(unattempted, [Violation::Unattempted(0)]);
}

#[test]
fn readers_that_disagree_are_found() {
    let violations = after(|records| {
        let at = place(records, &outcome(3, 1, 2));
        records[at] = outcome(3, 1, 1);
        let at = place(records, &outcome(3, 2, 1));
        records[at] = outcome(3, 2, 2);
    });
    assert_eq!(
        violations,
        [Violation::Disagreement(1), Violation::Disagreement(2)]
    );
}

#[test]
fn a_reader_that_missed_an_outcome_is_found() {
    assert_eq!(without(&outcome(2, 2, 1)), [Violation::Gap(2, [2, 3])]);
}

#[test]
fn a_reader_that_ends_too_early_is_found() {
    assert_eq!(without(&outcome(2, 3, 3)), [Violation::Early(2, 3)]);
}

#[test]
fn a_reader_that_hangs_is_found() {
    assert_eq!(
        without(&Record::Killed { reader: 1, at: 2 }),
        [Violation::Unresolved(1)]
    );
    assert_eq!(
        without(&Record::Read { reader: 2 }),
        [Violation::Unresolved(2)]
    );
}

#[test]
fn a_reader_that_nobody_started_is_found() {
    assert!(
        without(&Record::Reading { reader: 2, from: 2 }).contains(&Violation::UnknownReader(2))
    );
}

#[test]
fn a_history_that_nobody_read_to_its_end_is_found() {
    let violations = after(|records| {
        for record in records.iter_mut() {
            if let Record::Read { reader } = *record {
                *record = Record::Killed { reader, at: 4 };
            }
        }
    });
    assert_eq!(violations, [Violation::NobodyReadAll]);
}

#[test]
fn a_wrong_number_in_the_jobs_record_is_found() {
    let violations = after(|records| {
        let at = place(
            records,
            &Record::Sealed {
                reader: 3,
                tasks: 4,
            },
        );
        records[at] = Record::Sealed {
            reader: 3,
            tasks: 5,
        };
    });
    assert_eq!(violations, [Violation::Sealed(Some(5))]);
    assert_eq!(
        without(&Record::Sealed {
            reader: 3,
            tasks: 4
        }),
        [Violation::Sealed(None)]
    );
}

#[test]
fn bundles_that_nobody_takes_are_found() {
    let violations = after(|records| *records.last_mut().unwrap() = Record::Left { bundles: 1 });
    assert_eq!(violations, [Violation::Left(Some(1))]);
    assert_eq!(
        without(&Record::Left { bundles: 0 }),
        [Violation::Left(None)]
    );
}

#[test]
fn tasks_that_were_not_submitted_as_planned_are_found() {
    assert_eq!(
        without(&Record::Planned { tasks: 4 }),
        [Violation::Unplanned(None, 4)]
    );
    let twice = after(|records| {
        records.push(Record::Submitted {
            index: 1,
            argument: argument(1),
        })
    });
    assert_eq!(twice, [Violation::SubmittedTwice(1)]);
}

#[test]
fn a_process_that_could_not_go_on_is_found() {
    let what = "reader 7: the stream ended".to_owned();
    assert_eq!(
        after(|records| records.push(Record::Broken { what: what.clone() })),
        [Violation::Broken(what)]
    );
}

#[test]
fn a_worker_that_crashes_is_found_and_one_without_a_broker_is_not() {
    let exited = |code| {
        after(|records| {
            records.push(Record::Exited {
                at_ms: 1,
                code,
                what: "worker 1 ended".into(),
            })
        })
    };
    assert_eq!(exited(Some(3)), []);
    for code in [None, Some(101), Some(0)] {
        assert_eq!(exited(code), [Violation::Broken("worker 1 ended".into())]);
    }
}

/// A change of one record.
#[derive(Debug, Clone, Copy)]
enum Change {
    Drop,
    Duplicate,
    /// With the next record that tells of the same thing.
    Swap,
    Alter,
}

/// Add one to a number in a record. Each record has one at least.
fn alter(record: &mut Record, which: usize) {
    let number = match record {
        Record::Planned { tasks } | Record::Sealed { tasks, .. } => tasks,
        Record::Submitted { index, argument } => {
            [index, argument].into_iter().nth(which % 2).unwrap()
        }
        Record::Reading { from, .. } => from,
        Record::Outcome {
            position,
            index,
            attempts,
            ended,
            ..
        } => {
            let Ended::Value(value) = ended else {
                unreachable!("no task of these histories fails")
            };
            match which % 4 {
                0 => position,
                1 => index,
                2 => value,
                _ => {
                    *attempts += 1;
                    return;
                }
            }
        }
        Record::Killed { at, .. } => at,
        Record::Read { reader } => {
            *reader += 10;
            return;
        }
        Record::Left { bundles } => bundles,
        Record::Broken { .. } | Record::Fault { .. } | Record::Exited { .. } => {
            unreachable!("not in these histories")
        }
    };
    *number = number.wrapping_add(1);
}

/// False if the change is none.
fn apply(records: &mut Vec<Record>, at: usize, which: usize, change: Change) -> bool {
    match change {
        Change::Drop => {
            records.remove(at);
        }
        Change::Duplicate => records.push(records[at].clone()),
        Change::Swap => {
            let Record::Outcome { reader, .. } = records[at] else {
                return false;
            };
            let next = |record: &Record| match record {
                Record::Outcome { reader: of, .. } => *of == reader,
                _ => false,
            };
            let Some(other) = (at + 1..records.len()).find(|other| next(&records[*other])) else {
                return false;
            };
            records.swap(at, other);
        }
        Change::Alter => alter(&mut records[at], which),
    }
    true
}

proptest! {
    #[test]
    fn a_good_history_passes_whatever_the_order(
        order in Just((0..40).collect::<Vec<u64>>()).prop_shuffle(),
        killed_at in 0..40_u64,
    ) {
        prop_assert_eq!(check(&history(&order, killed_at)).violations, []);
    }

    #[test]
    fn one_changed_record_is_always_found(
        order in (2..20_u64)
            .prop_flat_map(|tasks| Just((0..tasks).collect::<Vec<u64>>()).prop_shuffle()),
        at: prop::sample::Index,
        which in 0..8_usize,
        change in prop_oneof![
            Just(Change::Drop),
            Just(Change::Duplicate),
            Just(Change::Swap),
            Just(Change::Alter)
        ],
    ) {
        let mut records = history(&order, order.len() as u64 / 2);
        let at = at.index(records.len());
        let changed = records[at].clone();
        if apply(&mut records, at, which, change) {
            prop_assert!(!check(&records).is_good(), "{:?} of {:?} was not found", change, changed);
        }
    }
}
