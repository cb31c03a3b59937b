//! Results of earlier runs: in a local folder, and in a store that several hosts share.
//!
//! A deterministic task's result follows from its key (see `sortie_protocol::memo`), so it may be
//! taken from here instead of being computed. Kept is what the function itself said: a result, or a
//! failure that it calls final. What the platform did (traps, limits, unreadable inputs) is not
//! kept. The local folder is asked first, then the store; what the store has is kept in the folder,
//! too.
//!
//! Tenants of a fleet share nothing here: each has names of its own in both places.
//!
//! An entry starts with the version of its form and a hash over its name and content. What a crash
//! cut short, what is of another version and what lies under another's name is a miss. That is no
//! defence: whoever can write to a place can forge results. The folder is as private as
//! that of [`crate::artifacts`], which it lies in; the store is as private as its owner makes it.
//!
//! Bounds: what is not worth an entry is not kept ([`WORTH_KEEPING`], [`SHARED_WORTH_KEEPING`]);
//! [`local`] bounds the folder, [`shared`] what asking the store may cost.

pub mod local;
pub mod shared;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sortie_protocol::memo::Key;
use sortie_protocol::{Ending, Failure, Limits, Log, Output};

pub use self::local::Local;
pub use self::shared::Shared;

/// The least work that is worth a file: writing one takes about 50 µs. Tasks that read objects are
/// kept in any case: those have to be opened.
pub const WORTH_KEEPING: Duration = Duration::from_micros(200);
/// The least work, with reading, that is worth an entry in the shared memo: about what asking for
/// it takes, and what paying for it is worth.
pub const SHARED_WORTH_KEEPING: Duration = Duration::from_millis(20);
/// Runs in a row that were not worth an entry in the shared memo, after which it is no longer asked
/// for tasks of that job: in vain, asking would cost more than running. A run that is worth one
/// starts the count anew.
pub const CHEAP_RUNS_MAX: u32 = 32;
/// Whose results those are that no tenant was named for. Brokers call their only tenant the same.
pub const TENANT_DEFAULT: &str = "default";
/// What entries start with: the version of their form.
const VERSION: &[u8; 8] = b"sortie\0\x02";
const HASH_BYTES: usize = 32;

/// Where results are kept: one place, or both. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Memo {
    local: Option<Local>,
    shared: Option<Shared>,
}

/// What is kept of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) ending: Ending,
    pub(crate) log: Option<Box<Log>>,
}

/// What names an entry: a tenant's key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) key: &'a Key,
}

/// What a task cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Running, on a core.
    pub(crate) run: Duration,
    /// Reading, while it was waited for.
    pub(crate) read: Duration,
    /// Whether there was anything to read.
    pub(crate) has_objects: bool,
}

/// What tasks of a job cost so far, on this host.
#[derive(Debug, Default)]
pub(crate) struct Habit {
    cheap: AtomicU32,
}

impl Habit {
    fn is_cheap(&self) -> bool {
        self.cheap.load(Ordering::Relaxed) >= CHEAP_RUNS_MAX
    }

    /// A task was run.
    pub(crate) fn ran(&self, cost: Cost) {
        if cost.is_worth_sharing() {
            self.cheap.store(0, Ordering::Relaxed);
        } else {
            // SizedDir by the number of tasks, and read with `>=`.
            self.cheap.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Cost {
    fn is_worth_keeping(self) -> bool {
        self.has_objects || self.run >= WORTH_KEEPING
    }

    fn is_worth_sharing(self) -> bool {
        self.run + self.read >= SHARED_WORTH_KEEPING
    }
}

impl Memo {
    /// Results in these places; nothing, if there is none.
    #[must_use]
    pub fn new(local: Option<Local>, shared: Option<Shared>) -> Option<Self> {
        (local.is_some() || shared.is_some()).then_some(Self { local, shared })
    }

    /// Whether asking may take as long as a request does.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// What is kept under `name`. Waits for the shared memo only, and not for long. Cancel safe.
    pub(crate) async fn get(
        &self,
        name: Name<'_>,
        limits: &Limits,
        habit: &Habit,
    ) -> Option<Entry> {
        if let Some(entry) = self.local.as_ref().and_then(|local| local.get(name)) {
            return entry.fits(limits).then_some(entry);
        }
        let shared = self.shared.as_ref().filter(|_| !habit.is_cheap())?;
        let entry = shared.get(name).await.filter(|entry| entry.fits(limits))?;
        if let Some(local) = &self.local {
            local.put(name, &entry);
        }
        Some(entry)
    }

    /// Keep what the function said under `name`, wherever that is worth it. Failing to is not an
    /// error: the task runs again next time.
    pub(crate) fn put(&self, name: Name<'_>, entry: &Entry, cost: Cost) {
        if let Some(local) = self.local.as_ref().filter(|_| cost.is_worth_keeping()) {
            local.put(name, entry);
        }
        if let Some(shared) = self.shared.as_ref().filter(|_| cost.is_worth_sharing()) {
            shared.put(name, entry);
        }
    }

    /// Wait until the shared memo has what it was given, or [`shared::SETTLE_TIME_MAX`] have
    /// passed. Cancel safe.
    pub async fn settled(&self) {
        if let Some(shared) = &self.shared {
            shared.settled().await;
        }
    }
}

impl Entry {
    /// Whether a function with these limits could have said it.
    fn fits(&self, limits: &Limits) -> bool {
        let result = match &self.ending {
            Ending::Completed(Output::Object(object))
                if object.stored.size > limits.written.as_u64() =>
            {
                return false;
            }
            Ending::Completed(Output::Object(_)) | Ending::Failed(_) | Ending::Cancelled => 0,
            Ending::Completed(output) => output.size(),
        };
        let log = self.log.as_ref().map_or(0, |log| log.text.len() as u64);
        is_word(&self.ending) && result <= limits.result.as_u64() && log <= limits.log.as_u64()
    }

    /// As it is kept under `name`.
    fn seal(&self, name: Name<'_>) -> Result<Vec<u8>, ciborium::ser::Error<std::io::Error>> {
        let mut content = Vec::new();
        ciborium::into_writer(self, &mut content)?;
        let mut sealed = Vec::with_capacity(VERSION.len() + HASH_BYTES + content.len());
        sealed.extend_from_slice(VERSION);
        sealed.extend_from_slice(hash(name, &content).as_bytes());
        sealed.extend_from_slice(&content);
        Ok(sealed)
    }

    /// What was kept under `name`, if these bytes are that.
    fn open(name: Name<'_>, sealed: &[u8]) -> Option<Self> {
        let (sum, content) = sealed.strip_prefix(VERSION)?.split_at_checked(HASH_BYTES)?;
        if hash(name, content).as_bytes() != sum {
            return None;
        }
        ciborium::from_reader(content).ok()
    }
}

impl Name<'_> {
    /// 64 hexadecimal digits that stand for both.
    fn to_hex(self) -> String {
        hash(self, b"").to_hex().to_string()
    }
}

fn hash(name: Name<'_>, content: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key("sortie memo entry 2");
    hasher
        .update(&(name.tenant.len() as u64).to_le_bytes())
        .update(name.tenant.as_bytes());
    hasher.update(name.key.as_bytes()).update(content);
    hasher.finalize()
}

/// Whether an ending is the function's own word and will be the same next time.
pub(crate) fn is_word(ending: &Ending) -> bool {
    match ending {
        Ending::Completed(_) => true,
        Ending::Failed(Failure::Answer { retry, .. }) => retry.is_none(),
        Ending::Failed(
            Failure::Trapped { .. }
            | Failure::Stopped { .. }
            | Failure::Input { .. }
            | Failure::Platform { .. },
        )
        | Ending::Cancelled => false,
    }
}

#[cfg(test)]
mod tests {
    use sortie_protocol::memo::KeyBuilder;
    use sortie_protocol::{ByteSize, Digest, FunctionRef};

    use super::*;

    pub(super) fn key(function: &str) -> Key {
        KeyBuilder::new(
            &FunctionRef {
                component: Digest::of(b""),
                name: function.into(),
            },
            &Limits::default(),
        )
        .finish()
    }

    pub(super) fn entry(size: usize) -> Entry {
        Entry {
            ending: Ending::Completed(vec![7; size].into()),
            log: None,
        }
    }

    #[test]
    fn an_entry_opens_under_its_own_name_only_and_only_undamaged() {
        let (f, g) = (key("f"), key("g"));
        let name = Name {
            tenant: "a",
            key: &f,
        };
        let sealed = entry(3).seal(name).unwrap();
        assert_eq!(Entry::open(name, &sealed), Some(entry(3)));
        assert_eq!(
            Entry::open(
                Name {
                    tenant: "b",
                    ..name
                },
                &sealed
            ),
            None
        );
        assert_eq!(Entry::open(Name { key: &g, ..name }, &sealed), None);
        for position in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[position] ^= 1;
            assert_eq!(Entry::open(name, &damaged), None, "byte {position}");
            assert_eq!(
                Entry::open(name, &sealed[..position]),
                None,
                "cut at {position}"
            );
        }
    }

    #[test]
    fn what_the_limits_forbid_is_not_taken_from_a_memo() {
        let limits = Limits {
            result: ByteSize(10),
            log: ByteSize(2),
            ..Limits::default()
        };
        assert!(entry(10).fits(&limits) && !entry(11).fits(&limits));
        let log = Some(Box::new(Log {
            text: "abc".into(),
            dropped: 0,
        }));
        assert!(!Entry { log, ..entry(1) }.fits(&limits));
        assert!(
            !Entry {
                ending: Ending::Cancelled,
                log: None
            }
            .fits(&limits)
        );
    }

    #[test]
    fn a_job_of_cheap_tasks_is_known_as_one_until_a_task_is_dear() {
        let cost = |milliseconds| Cost {
            run: Duration::from_millis(milliseconds),
            read: Duration::from_millis(10),
            has_objects: true,
        };
        let habit = Habit::default();
        for _ in 0..CHEAP_RUNS_MAX {
            assert!(!habit.is_cheap());
            habit.ran(cost(9));
        }
        assert!(habit.is_cheap());
        habit.ran(cost(10));
        assert!(!habit.is_cheap());
    }
}
