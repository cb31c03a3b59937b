//! Envelopes: the messages that clients, brokers and workers exchange, as bytes.
//!
//! A message is a CBOR array of a version, a kind and a body. The version counts what older
//! programs cannot read; they refuse it by name. Everything else that is new travels as fields that
//! older programs skip, in the body and after it. The files in `tests/golden` are the messages of
//! each version: a change that alters one of them is a new version, not a new file.
//!
//! A reader gets messages from a broker that others can write to, so the bytes may be anything.
//! Reading never panics, and allocates less than a hundred times the message's length; the length
//! itself is for the broker to bound. A message is walked twice, once to check and once to build.
//! That takes about half of the time to decode, a tenth of a millisecond for a full bundle, and
//! keeps every bound in one place.
//!
//! ```
//! use sortie_protocol::envelope::{self, Message};
//! use sortie_protocol::{Ending, Outcome};
//!
//! let outcome = Outcome {
//!     index: 7,
//!     attempts: 1,
//!     ending: Ending::Cancelled,
//!     bill: Default::default(),
//!     log: None,
//!     input: None,
//!     function: None,
//! };
//! let message = envelope::outcomes(std::slice::from_ref(&outcome));
//! assert_eq!(envelope::decode(&message), Ok(Message::Outcomes(vec![outcome])));
//! ```

use bytes::Bytes;
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::codec;
use crate::dead::DeadLetter;
use crate::graph_entry::GraphEntry;
use crate::id::TaskIndex;
use crate::job::{FUNCTIONS_MAX, JobRecord, RECORD_BYTES_MAX};
use crate::outcome::Outcome;
use crate::packing::TASKS_MAX;
use crate::presence::Presence;
use crate::published::Published;
use crate::task::{Bundle, Task};
use crate::term::Term;

/// The version of the messages that this program writes, and the only one that it reads.
pub const VERSION: u16 = 2;

/// About how many bytes a message takes that carries no tasks and no outcomes.
const SMALL_BYTES: usize = 256;

/// A message that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Tasks to run.
    Bundle(Bundle),
    /// How tasks ended.
    Outcomes(Vec<Outcome>),
    /// In a job's stream of outcomes: it was cancelled, and no outcome after this one counts.
    Cancelled,
    /// In a job's stream of outcomes: it has this many tasks, and gets no more.
    Sealed(TaskIndex),
    /// A job.
    Job(Box<JobRecord>),
    /// A dead letter.
    DeadLetter(Box<DeadLetter>),
    /// A worker's presence.
    Presence(Presence),
    /// The manifest of a stored component.
    Manifest(Manifest),
    /// To workers: these tasks of a job were cancelled.
    TasksCancelled(Vec<TaskIndex>),
    /// A part of a job's graph.
    Graph(Vec<GraphEntry>),
    /// Who coordinates a job.
    Term(Term),
    /// A task that others find by its name.
    Published(Published),
}

/// The manifest of a stored component: its bytes are the concatenation of its chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Manifest {
    /// How many bytes the component has.
    #[n(0)]
    pub size: u64,
    /// How many bytes each chunk has; the last may have fewer. Never zero.
    #[n(1)]
    pub chunk: u32,
}

/// The bytes are not a message that this program reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A later program wrote it.
    #[error("a message of version {got}; this program reads version {VERSION}: update it")]
    Version {
        /// The message's version.
        got: u64,
    },
    /// An earlier program wrote it.
    #[error(
        "a message of version {got}; this program reads version {VERSION}: update the program that \
         wrote it, and submit again what it left"
    )]
    Earlier {
        /// The message's version.
        got: u64,
    },
    /// A message for something that this version does not have.
    #[error("a message of kind {got}, which version {VERSION} does not have")]
    Kind {
        /// The message's kind.
        got: u64,
    },
    /// Not a message, or a damaged one.
    #[error("not a message: {0}")]
    Malformed(String),
}

impl From<minicbor::decode::Error> for Error {
    fn from(error: minicbor::decode::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// What a body is. The numbers are part of the format.
#[derive(Clone, Copy)]
enum Kind {
    Bundle = 1,
    Outcomes = 2,
    Cancelled = 3,
    Job = 4,
    DeadLetter = 5,
    Presence = 6,
    Manifest = 7,
    Sealed = 8,
    TasksCancelled = 9,
    Graph = 10,
    Term = 11,
    Published = 12,
}

/// How many tasks a job has.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Sealed {
    #[n(0)]
    tasks: TaskIndex,
}

/// Tasks of a job that were cancelled.
#[derive(Encode, Decode)]
#[cbor(map)]
struct TasksCancelled {
    #[n(0)]
    tasks: Vec<TaskIndex>,
}

/// A body without fields, which may get some.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Nothing {}

/// A message of tasks to run.
#[must_use]
pub fn bundle(bundle: &Bundle) -> Bytes {
    message(Kind::Bundle, bundle, bundle.weight())
}

/// Encode a message with outcomes.
#[must_use]
pub fn outcomes(outcomes: &[Outcome]) -> Bytes {
    message(
        Kind::Outcomes,
        outcomes,
        outcomes.iter().map(Outcome::weight).sum(),
    )
}

/// Encode a message that the job was cancelled; no outcome after it counts.
#[must_use]
pub fn cancelled() -> Bytes {
    message(Kind::Cancelled, &Nothing {}, 0)
}

/// Encode a message that the job is sealed with this many tasks.
#[must_use]
pub fn sealed(tasks: TaskIndex) -> Bytes {
    message(Kind::Sealed, &Sealed { tasks }, 0)
}

/// Encode a message that these tasks of a job were cancelled, at most [`TASKS_MAX`].
#[must_use]
pub fn tasks_cancelled(tasks: &[TaskIndex]) -> Bytes {
    let body = TasksCancelled {
        tasks: tasks.to_vec(),
    };
    message(Kind::TasksCancelled, &body, 9 * tasks.len())
}

/// Encode a message with a part of a job's graph, at most [`TASKS_MAX`] entries.
#[must_use]
pub fn graph(entries: &[GraphEntry]) -> Bytes {
    let bytes = entries.iter().map(GraphEntry::weight).sum();
    message(Kind::Graph, entries, bytes)
}

/// Encode a message that says who coordinates a job.
#[must_use]
pub fn term(term: &Term) -> Bytes {
    message(Kind::Term, term, 0)
}

/// Encode a message with a task that others find by its name.
#[must_use]
pub fn published(published: &Published) -> Bytes {
    message(Kind::Published, published, published.name.as_str().len())
}

/// A message of a job.
#[must_use]
pub fn job(job: &JobRecord) -> Bytes {
    message(Kind::Job, job, 0)
}

/// Encode a message with a dead letter.
#[must_use]
pub fn dead_letter(letter: &DeadLetter) -> Bytes {
    let bytes = match letter {
        DeadLetter::Task { task, outcome, .. } => task.weight() + outcome.weight(),
        DeadLetter::Unreadable { bytes, .. } => bytes.len(),
    };
    message(Kind::DeadLetter, letter, bytes)
}

/// A message of a worker's presence.
#[must_use]
pub fn presence(presence: &Presence) -> Bytes {
    message(Kind::Presence, presence, 0)
}

/// Encode a message with a component's manifest.
#[must_use]
pub fn manifest(manifest: &Manifest) -> Bytes {
    message(Kind::Manifest, manifest, 0)
}

/// Read a message.
///
/// # Errors
/// When the bytes are not a message, or are of another version. The error's text is for the
/// operator of this program.
pub fn decode(bytes: &[u8]) -> Result<Message, Error> {
    let mut decoder = Decoder::new(bytes);
    // The version first: whatever else a later one changes, it stays an array that begins with its
    // version.
    let parts = decoder.array()?;
    let version = decoder.u64()?;
    if version > u64::from(VERSION) {
        return Err(Error::Version { got: version });
    }
    if version < u64::from(VERSION) && version > 0 {
        return Err(Error::Earlier { got: version });
    }
    if version == 0 || parts.is_none_or(|parts| parts < 3) {
        return Err(Error::Malformed("no version, kind and body".into()));
    }
    codec::check(bytes)?;
    let kind = decoder.u64()?;
    Ok(match Kind::of(kind).ok_or(Error::Kind { got: kind })? {
        Kind::Bundle => Message::Bundle(checked_bundle(decoder.decode()?)?),
        Kind::Outcomes => Message::Outcomes(checked_outcomes(decoder.decode()?)?),
        Kind::Cancelled => {
            let Nothing {} = decoder.decode()?;
            Message::Cancelled
        }
        Kind::Sealed => {
            let Sealed { tasks } = decoder.decode()?;
            Message::Sealed(tasks)
        }
        Kind::Job => Message::Job(Box::new(checked_job(decoder.decode()?, bytes.len())?)),
        Kind::DeadLetter => Message::DeadLetter(Box::new(decoder.decode()?)),
        Kind::Presence => Message::Presence(decoder.decode()?),
        Kind::Manifest => Message::Manifest(checked_manifest(decoder.decode()?)?),
        Kind::TasksCancelled => {
            let TasksCancelled { tasks } = decoder.decode()?;
            match tasks.len() {
                ..=TASKS_MAX => Message::TasksCancelled(tasks),
                more => return Err(too_many("a cancellation of", more, "tasks", TASKS_MAX)),
            }
        }
        Kind::Graph => {
            let entries: Vec<GraphEntry> = decoder.decode()?;
            match entries.len() {
                ..=TASKS_MAX => Message::Graph(entries),
                more => return Err(too_many("a graph's part of", more, "entries", TASKS_MAX)),
            }
        }
        Kind::Term => Message::Term(decoder.decode()?),
        Kind::Published => Message::Published(decoder.decode()?),
    })
}

impl Kind {
    const fn of(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Bundle,
            2 => Self::Outcomes,
            3 => Self::Cancelled,
            4 => Self::Job,
            5 => Self::DeadLetter,
            6 => Self::Presence,
            7 => Self::Manifest,
            8 => Self::Sealed,
            9 => Self::TasksCancelled,
            10 => Self::Graph,
            11 => Self::Term,
            12 => Self::Published,
            _ => return None,
        })
    }
}

fn message<T: Encode<()> + ?Sized>(kind: Kind, body: &T, body_bytes: usize) -> Bytes {
    let mut encoder = Encoder::new(Vec::with_capacity(SMALL_BYTES + body_bytes));
    let written = write(&mut encoder, kind, body);
    // A `Vec` takes every write, and no type here refuses to be written. If one ever did, the
    // message would end early, which no reader takes for a message.
    debug_assert!(written.is_ok(), "{written:?}");
    encoder.into_writer().into()
}

type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

fn write<T: Encode<()> + ?Sized>(encoder: &mut Encoder<Vec<u8>>, kind: Kind, body: &T) -> Written {
    encoder.array(3)?.u16(VERSION)?.u8(kind as u8)?;
    body.encode(encoder, &mut ())
}

/// A bundle must have 1 to [`TASKS_MAX`] tasks and no duplicates: a worker would report a duplicate
/// twice.
fn checked_bundle(bundle: Bundle) -> Result<Bundle, Error> {
    match bundle.tasks.len() {
        0 => return Err(Error::Malformed("a bundle without tasks".into())),
        1..=TASKS_MAX => {}
        more => return Err(too_many("a bundle of", more, "tasks", TASKS_MAX)),
    }
    if let Some(more) = bundle.tasks.iter().map(|task| task.then.len()).max()
        && more > Task::THEN_MAX
    {
        let max = Task::THEN_MAX;
        return Err(too_many("a task with", more, "tasks after it", max));
    }
    if !bundle.tasks.is_sorted_by(|a, b| a.index < b.index) {
        let mut indices: Vec<_> = bundle
            .tasks
            .iter()
            .map(|Task { index, .. }| *index)
            .collect();
        indices.sort_unstable();
        if !indices.is_sorted_by(|a, b| a < b) {
            return Err(Error::Malformed("a bundle with a task twice".into()));
        }
    }
    Ok(bundle)
}

/// No more outcomes than a bundle has tasks.
fn checked_outcomes(outcomes: Vec<Outcome>) -> Result<Vec<Outcome>, Error> {
    match outcomes.len() {
        ..=TASKS_MAX => Ok(outcomes),
        more => Err(too_many("a report of", more, "outcomes", TASKS_MAX)),
    }
}

/// A job calls something, and its table and its record have bounds.
fn checked_job(record: JobRecord, bytes: usize) -> Result<JobRecord, Error> {
    if bytes > RECORD_BYTES_MAX {
        return Err(too_many(
            "a job's record of",
            bytes,
            "bytes",
            RECORD_BYTES_MAX,
        ));
    }
    match record.job.functions.len() {
        0 => Err(Error::Malformed("a job without functions".into())),
        1..=FUNCTIONS_MAX => Ok(record),
        more => Err(too_many("a job of", more, "functions", FUNCTIONS_MAX)),
    }
}

fn too_many(what: &str, count: usize, of: &str, max: usize) -> Error {
    Error::Malformed(format!("{what} {count} {of}; at most {max} are read"))
}

fn checked_manifest(manifest: Manifest) -> Result<Manifest, Error> {
    if manifest.chunk == 0 {
        Err(Error::Malformed("a component in chunks of no bytes".into()))
    } else {
        Ok(manifest)
    }
}
