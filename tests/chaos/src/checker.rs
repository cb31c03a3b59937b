//! Judges a history: a pure function from records to a verdict.
//!
//! A good history has, for each submitted task, exactly one outcome, the right one; every reader
//! saw the job's outcomes at the same positions, without a gap, from where it began; each reader
//! was killed or saw all, and one saw all from the start; the job's record has the right number
//! of tasks; nothing is left in the queue. It does not matter in which order the files of a run are
//! given.
//!
//! Memory: an entry for each task, and one for each reader.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::history::{Ended, Record};
use crate::work;

/// The exit code of a worker that finds no broker when it starts: the only end by itself that is as
/// it should be.
const NO_BROKER: i32 = 3;
/// What is shown of what is wrong in one line.
const VIOLATIONS_SHOWN: usize = 5;

/// What is wrong with a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// A task without an outcome.
    Lost(u64),
    /// A task with outcomes at both positions.
    Twice(u64, [u64; 2]),
    /// An outcome of a task that was never submitted.
    Unsubmitted(u64),
    /// A task that did not end as it had to.
    Wrong(u64, Ended),
    /// An outcome of a task that was never attempted.
    Unattempted(u64),
    /// A task that was recorded twice by submitters: the run itself went wrong.
    SubmittedTwice(u64),
    /// So many tasks were planned, and so many were submitted.
    Unplanned(Option<u64>, u64),
    /// Two readers saw different things at this position.
    Disagreement(u64),
    /// A reader had to see the first position next, and saw the second.
    Gap(u32, [u64; 2]),
    /// A reader of which it is not known where it began.
    UnknownReader(u32),
    /// A reader that was neither killed nor saw all, or that did so twice.
    Unresolved(u32),
    /// A reader that had seen more, or all, but whose records end at this position.
    Early(u32, u64),
    /// No reader saw all from the start.
    NobodyReadAll,
    /// The job's record names another number of tasks; or nobody read it, or somebody twice.
    Sealed(Option<u64>),
    /// Bundles that are left in the queue; or nobody looked.
    Left(Option<u64>),
    /// A process that could not go on.
    Broken(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(index) => write!(f, "task {index} has no outcome"),
            Self::Twice(index, [first, second]) => write!(
                f,
                "task {index} has outcomes at positions {first} and {second}"
            ),
            Self::Unsubmitted(index) => {
                write!(f, "an outcome of task {index}, which nobody submitted")
            }
            Self::Wrong(index, ended) => write!(f, "task {index} ended with {ended:?}"),
            Self::Unattempted(index) => write!(f, "task {index} ended without an attempt"),
            Self::SubmittedTwice(index) => {
                write!(f, "task {index} was recorded by submitters twice")
            }
            Self::Unplanned(planned, submitted) => write!(
                f,
                "{planned:?} tasks were planned and {submitted} submitted"
            ),
            Self::Disagreement(position) => write!(f, "readers disagree about position {position}"),
            Self::Gap(reader, [next, found]) => write!(
                f,
                "reader {reader} saw position {found} where {next} was next"
            ),
            Self::UnknownReader(reader) => write!(f, "reader {reader} never began"),
            Self::Unresolved(reader) => write!(
                f,
                "reader {reader} did not end once, either killed or with all outcomes"
            ),
            Self::Early(reader, position) => {
                write!(
                    f,
                    "the records of reader {reader} end at position {position}, which is not \
                     where it ended"
                )
            }
            Self::NobodyReadAll => write!(f, "no reader saw all outcomes from the start"),
            Self::Sealed(tasks) => write!(f, "a job's record with {tasks:?} tasks"),
            Self::Left(bundles) => write!(f, "{bundles:?} bundles are left in the queue"),
            Self::Broken(what) => write!(f, "{what}"),
        }
    }
}

/// What a history comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Tasks that were submitted.
    pub tasks: u64,
    /// Outcomes that were seen, by all readers together.
    pub outcomes: u64,
    /// Tasks whose visible outcome is that of a later attempt than the first.
    pub retried: u64,
    /// Tasks that ended with a failure.
    pub failed: u64,
    /// Readers.
    pub readers: u64,
    /// Everything that is wrong.
    pub violations: Vec<Violation>,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty()
    }

    /// Tasks without an outcome.
    pub fn lost(&self) -> usize {
        self.violations
            .iter()
            .filter(|violation| matches!(violation, Violation::Lost(_)))
            .count()
    }

    /// Tasks that did not end as they had to.
    pub fn wrong(&self) -> usize {
        self.violations
            .iter()
            .filter(|violation| matches!(violation, Violation::Wrong(..)))
            .count()
    }

    /// Tasks with more than one.
    pub fn duplicates(&self) -> usize {
        self.violations
            .iter()
            .filter(|violation| matches!(violation, Violation::Twice(..)))
            .count()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} tasks, lost {}, duplicates visible {}",
            self.tasks,
            self.lost(),
            self.duplicates()
        )?;
        self.violations
            .iter()
            .take(VIOLATIONS_SHOWN)
            .try_for_each(|violation| write!(f, "; {violation}"))
    }
}

/// Judge a whole history.
pub fn check<'a>(records: impl IntoIterator<Item = &'a Record>) -> Verdict {
    let mut checker = Checker::default();
    for record in records {
        checker.take(record);
    }
    checker.conclude()
}

/// Judges a history record by record, so that it need not be held.
#[derive(Debug, Default)]
pub struct Checker {
    planned: Option<u64>,
    submitted: HashMap<u64, u64>,
    places: HashMap<u64, Place>,
    readers: BTreeMap<u32, Reader>,
    sealed: Vec<(u32, u64)>,
    left: Option<u64>,
    outcomes: u64,
    violations: Vec<Violation>,
}

/// What is at a position.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    index: u64,
    attempts: u32,
    ended: Ended,
}

#[derive(Debug, Default)]
struct Reader {
    from: Option<u64>,
    seen: Vec<u64>,
    ends: u32,
    read: bool,
    killed: Option<u64>,
}

impl Checker {
    /// Take the next record.
    pub fn take(&mut self, record: &Record) {
        match record {
            Record::Planned { tasks } => match self.planned.replace(*tasks) {
                None => {}
                Some(before) => self
                    .violations
                    .push(Violation::Unplanned(Some(before), *tasks)),
            },
            Record::Submitted { index, argument } => {
                if self.submitted.insert(*index, *argument).is_some() {
                    self.violations.push(Violation::SubmittedTwice(*index));
                }
            }
            Record::Reading { reader, from } => {
                let reading = self.readers.entry(*reader).or_default();
                if reading.from.replace(*from).is_some() {
                    self.violations.push(Violation::UnknownReader(*reader));
                }
            }
            Record::Outcome {
                reader,
                position,
                index,
                attempts,
                ended,
            } => {
                self.outcomes += 1;
                let reading = self.readers.entry(*reader).or_default();
                reading.seen.push(*position);
                let place = Place {
                    index: *index,
                    attempts: *attempts,
                    ended: ended.clone(),
                };
                self.place(*position, place);
            }
            Record::Sealed { reader, tasks } => self.sealed.push((*reader, *tasks)),
            Record::Read { reader } => {
                let reader = self.readers.entry(*reader).or_default();
                reader.ends += 1;
                reader.read = true;
            }
            Record::Killed { reader, at } => {
                let reader = self.readers.entry(*reader).or_default();
                reader.ends += 1;
                reader.killed = Some(*at);
            }
            Record::Left { bundles } => match self.left.replace(*bundles) {
                None => {}
                Some(before) => self.violations.push(Violation::Left(Some(before))),
            },
            Record::Broken { what } => self.violations.push(Violation::Broken(what.clone())),
            // Without a broker at its start a worker says so, and ends.
            Record::Fault { .. }
            | Record::Exited {
                code: Some(NO_BROKER),
                ..
            } => {}
            Record::Exited { what, .. } => self.violations.push(Violation::Broken(what.clone())),
        }
    }

    fn place(&mut self, position: u64, place: Place) {
        match self.places.entry(position) {
            Entry::Vacant(entry) => {
                entry.insert(place);
            }
            Entry::Occupied(entry) if *entry.get() == place => {}
            Entry::Occupied(_) => self.violations.push(Violation::Disagreement(position)),
        }
    }

    /// The verdict over all that was taken.
    pub fn conclude(mut self) -> Verdict {
        let tasks = self.submitted.len() as u64;
        if self.planned != Some(tasks) {
            self.violations
                .push(Violation::Unplanned(self.planned, tasks));
        }
        self.judge_places();
        self.judge_readers(tasks);
        self.judge_end(tasks);
        let failed = self
            .places
            .values()
            .filter(|place| matches!(place.ended, Ended::Failed(_)))
            .count() as u64;
        let retried = self
            .places
            .values()
            .filter(|place| place.attempts > 1)
            .count() as u64;
        Verdict {
            tasks,
            outcomes: self.outcomes,
            retried,
            failed,
            readers: self.readers.len() as u64,
            violations: self.violations,
        }
    }

    fn judge_places(&mut self) {
        let mut positions: HashMap<u64, u64> = HashMap::new();
        let mut places: Vec<_> = self.places.iter().collect();
        places.sort_by_key(|(position, _)| **position);
        for (&position, place) in places {
            if let Some(first) = positions.insert(place.index, position) {
                self.violations
                    .push(Violation::Twice(place.index, [first, position]));
            }
            match self.submitted.get(&place.index) {
                None => self.violations.push(Violation::Unsubmitted(place.index)),
                Some(argument) if work::expected(*argument) != place.ended => {
                    self.violations
                        .push(Violation::Wrong(place.index, place.ended.clone()));
                }
                Some(_) if place.attempts == 0 => {
                    self.violations.push(Violation::Unattempted(place.index))
                }
                Some(_) => {}
            }
        }
        let mut lost: Vec<_> = self
            .submitted
            .keys()
            .filter(|index| !positions.contains_key(index))
            .copied()
            .collect();
        lost.sort_unstable();
        self.violations
            .extend(lost.into_iter().map(Violation::Lost));
    }

    fn judge_readers(&mut self, tasks: u64) {
        let mut whole = false;
        for (&name, reader) in &self.readers {
            let Some(from) = reader.from else {
                self.violations.push(Violation::UnknownReader(name));
                continue;
            };
            if reader.ends != 1 {
                self.violations.push(Violation::Unresolved(name));
            }
            let mut next = from;
            for &position in &reader.seen {
                if position != next {
                    self.violations.push(Violation::Gap(name, [next, position]));
                }
                next = position.saturating_add(1);
            }
            let end = if reader.read {
                Some(tasks)
            } else {
                reader.killed
            };
            if end.is_some_and(|end| end != next) {
                self.violations.push(Violation::Early(name, next));
            }
            whole |= reader.read && from == 0;
        }
        if !whole {
            self.violations.push(Violation::NobodyReadAll);
        }
    }

    fn judge_end(&mut self, tasks: u64) {
        let mut asked = BTreeMap::new();
        for (reader, sealed) in &self.sealed {
            *asked.entry(*reader).or_insert(0) += 1;
            if *sealed != tasks {
                self.violations.push(Violation::Sealed(Some(*sealed)));
            }
        }
        // A reader that saw all outcomes has also read the seal.
        for (name, _) in self.readers.iter().filter(|(_, reader)| reader.read) {
            if asked.get(name) != Some(&1) {
                self.violations.push(Violation::Sealed(None));
            }
        }
        if self.left != Some(0) {
            self.violations.push(Violation::Left(self.left));
        }
    }
}

#[cfg(test)]
mod tests;
