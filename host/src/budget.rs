//! The memory budget of a worker: what tasks hold is charged to it before it exists.
//!
//! One number, [`Setup::memory`](crate::Setup::memory), is all that a worker's tasks may take
//! together. It is parted once, when the worker is set up ([`Budget::of`]):
//! - blocks of inputs have their part (`objects::Config::memory`);
//! - stored arguments that are fetched ahead of their task have [`AHEAD_SHARE`];
//! - results that wait for their bundle's report have [`RETAINED_SHARE`];
//! - the rest is for tasks in work.
//!
//! A task that is about to compute claims its memory limit, its log limit and its arguments, all at
//! once, and holds no permit to compute while it waits for them. So no task waits with a part of
//! what it needs, and those that compute always end: there is no deadlock. Claims are served in the
//! order in which they were made, so that small tasks do not starve a large one. A claim that is
//! larger than the whole part is refused at once.
//!
//! A task that waits for its subtasks keeps its claim until another claim waits: then it gives way
//! (`Budget::is_short`), one task after another until there is room.
//!
//! When a task has ended its instance is gone and its claim shrinks to its result, which is
//! smaller: it was in the instance's memory. Between the two, one result for each computing thread
//! exists twice; that is in the share of memory that is not budgeted ([`MEMORY_SHARE_PARTS`]).
//!
//! What waits is a queue of tokio's semaphores. A claim that finds room costs one atomic operation.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sortie_protocol::{ByteSize, Limits};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::sandbox::Cancel;

/// Of this many parts of the machine's memory, or of its control group's, a worker has
/// [`MEMORY_SHARE`] by default.
pub const MEMORY_SHARE_PARTS: u64 = 4;
/// See [`MEMORY_SHARE_PARTS`]. What is left is for the process itself, the code of components, the
/// child process that compiles, results on their way, and the rest of the machine.
pub const MEMORY_SHARE: u64 = 3;
/// The least that is taken for a worker's memory: what a small task needs.
pub const MEMORY_MIN: ByteSize = ByteSize::mib(64);
/// The budget of a worker on a machine that does not say how much memory it has.
const MEMORY_UNKNOWN: ByteSize = ByteSize::mib(2048);
/// The part of the budget, as a fraction of it, that stored arguments have which are fetched ahead.
/// An argument that does not fit is fetched when its task has its claim.
pub const AHEAD_SHARE: u64 = 32;
/// The part of the budget, as a fraction of it, for results that wait for their bundle's report.
pub const RETAINED_SHARE: u64 = 32;
/// The part of the budget, as a fraction of it, that blocks of inputs have at most by default.
pub const INPUT_SHARE: u64 = 8;
/// What a bundle's results and logs may take before they are charged: less than what is around
/// them.
pub(crate) const RETAINED_FREE_BYTES: u64 = 64 << 10;
/// What memory is counted in.
const UNIT_BYTES: u64 = 64 << 10;

/// The memory of a worker.
#[derive(Debug)]
pub struct Budget {
    /// For tasks in work.
    tasks: Part,
    /// For stored arguments that are fetched ahead.
    ahead: Part,
    /// For results that wait for their bundle's report.
    retained: Part,
    /// Claims that wait.
    waiting: AtomicUsize,
    /// Told once for each claim that begins to wait, and while one does when somebody gave way.
    short: Notify,
}

#[derive(Debug)]
struct Part {
    room: Arc<Semaphore>,
    units: u32,
}

/// A part of the budget for blocks of inputs does not leave enough for tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputsTooLarge {
    /// The most that they may have.
    pub max: ByteSize,
}

/// What a task holds of the budget. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Claim<'b>(SemaphorePermit<'b>);

/// A claim for which there is never room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NeverFits {
    /// All that there is for tasks.
    pub(crate) max: ByteSize,
}

/// Room for results that wait for their bundle's report, or why there is none.
#[derive(Debug)]
pub(crate) enum Retained {
    Held(OwnedSemaphorePermit),
    /// Other bundles hold it.
    Full,
    /// All that there is would not do.
    Never(ByteSize),
}

impl Part {
    fn of(bytes: u64) -> Self {
        let units = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX);
        Self {
            room: Arc::new(Semaphore::new(units as usize)),
            units,
        }
    }

    fn size(&self) -> ByteSize {
        ByteSize(u64::from(self.units) * UNIT_BYTES)
    }

    /// `bytes` in units, if that is no more than there is.
    fn units(&self, bytes: u64) -> Option<u32> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).ok()?;
        (units <= self.units).then_some(units)
    }
}

impl Budget {
    /// Part a worker's memory, of which blocks of inputs have `inputs`; none of what is said if
    /// they would have more than half of it.
    ///
    /// # Errors
    /// When the part for inputs is too large.
    pub fn of(memory: ByteSize, inputs: ByteSize) -> Result<Self, InputsTooLarge> {
        let max = ByteSize(memory.as_u64() / 2);
        if inputs > max {
            return Err(InputsTooLarge { max });
        }
        let ahead = memory.as_u64() / AHEAD_SHARE;
        let retained = memory.as_u64() / RETAINED_SHARE;
        let tasks = memory.as_u64() - inputs.as_u64() - ahead - retained;
        Ok(Self {
            tasks: Part::of(tasks),
            ahead: Part::of(ahead),
            retained: Part::of(retained),
            waiting: AtomicUsize::new(0),
            short: Notify::new(),
        })
    }

    /// Wait until memory is short and it is this caller's turn to give way. Cancel safe.
    pub(crate) async fn is_short(&self) {
        self.short.notified().await;
    }

    /// Somebody gave way. If that was not enough, it is the turn of the next.
    pub(crate) fn gave_way(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.short.notify_one();
        }
    }

    /// What blocks of inputs have of this memory, if nobody says it.
    #[must_use]
    pub fn inputs(memory: ByteSize, usual: ByteSize) -> ByteSize {
        usual.min(ByteSize(memory.as_u64() / INPUT_SHARE))
    }

    /// What there is for tasks in work, all of them together.
    #[must_use]
    pub fn tasks_max(&self) -> ByteSize {
        self.tasks.size()
    }

    /// What tasks in work hold.
    #[must_use]
    pub fn claimed(&self) -> ByteSize {
        let free = self.tasks.room.available_permits() as u64;
        ByteSize(self.tasks.size().as_u64().saturating_sub(free * UNIT_BYTES))
    }

    /// What a task with these limits claims, beside its arguments.
    pub(crate) fn needs(limits: &Limits) -> u64 {
        limits.memory.as_u64().saturating_add(limits.log.as_u64())
    }

    /// Whether there could ever be room for so many bytes.
    pub(crate) fn fits(&self, bytes: u64) -> Result<(), NeverFits> {
        match self.tasks.units(bytes) {
            Some(_) => Ok(()),
            None => Err(NeverFits {
                max: self.tasks.size(),
            }),
        }
    }

    /// Room for a task, if there is some that nobody waits for.
    pub(crate) fn try_claim(&self, bytes: u64) -> Option<Claim<'_>> {
        let units = self.tasks.units(bytes)?;
        self.tasks.room.try_acquire_many(units).ok().map(Claim)
    }

    /// Room for a task, in turn; none if its bundle is cancelled first, or if there is never as
    /// much. Cancel safe.
    pub(crate) async fn claim(&self, bytes: u64, cancel: &Cancel) -> Option<Claim<'_>> {
        let units = self.tasks.units(bytes)?;
        let _waiting = Waits::begin(&self.waiting);
        self.short.notify_one();
        tokio::select! {
            biased;
            () = cancel.cancelled() => None,
            permit = self.tasks.room.acquire_many(units) => permit.ok().map(Claim),
        }
    }

    /// Room for stored arguments of a task that is not its bundle's turn yet. Never waits: a task
    /// that waited here while it is behind another could wait for ever.
    pub(crate) fn try_ahead(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = self.ahead.units(bytes)?;
        self.ahead.room.clone().try_acquire_many_owned(units).ok()
    }

    /// Room for results of a bundle until they are reported. Never waits: what others hold they may
    /// hold until this bundle ends.
    pub(crate) fn retain(&self, bytes: u64) -> Retained {
        match self.retained.units(bytes) {
            None => Retained::Never(self.retained.size()),
            Some(units) => match self.retained.room.clone().try_acquire_many_owned(units) {
                Ok(permit) => Retained::Held(permit),
                Err(_) => Retained::Full,
            },
        }
    }
}

/// A claim that waits.
struct Waits<'b>(&'b AtomicUsize);

impl<'b> Waits<'b> {
    fn begin(waiting: &'b AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::AcqRel);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Claim<'_> {
    /// Keep so many bytes of it at most, and give back the rest.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        let units = usize::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(usize::MAX);
        drop(self.0.split(self.0.num_permits().saturating_sub(units)));
    }
}

/// The memory that a worker has by default: [`MEMORY_SHARE`] of [`MEMORY_SHARE_PARTS`] of what its
/// control group or its machine has.
#[must_use]
pub fn default_memory() -> ByteSize {
    let there = read(Path::new("/")).unwrap_or(MEMORY_UNKNOWN);
    ByteSize(there.as_u64() / MEMORY_SHARE_PARTS * MEMORY_SHARE).max(MEMORY_MIN)
}

/// The least of what the control groups of this process allow and what the machine has, as the
/// files below `root` say.
fn read(root: &Path) -> Option<ByteSize> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|line| group(root, line)).min();
    let machine = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    let machine = machine.lines().find_map(|line| {
        let kib = line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?;
        Some(ByteSize::kib(kib.trim().parse().ok()?))
    });
    [limits, machine].into_iter().flatten().min()
}

/// What a line of `/proc/self/cgroup` says: the least limit of the group and of those above it. The
/// path is the one that the process sees; in a container that is often the root.
fn group(root: &Path, line: &str) -> Option<ByteSize> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let (hierarchy, file) = if controllers.is_empty() {
        ("sys/fs/cgroup", "memory.max")
    } else if controllers.split(',').any(|name| name == "memory") {
        ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
    } else {
        return None;
    };
    let top = root.join(hierarchy);
    let own = top.join(path.trim_start_matches('/'));
    own.ancestors()
        .take_while(|folder| folder.starts_with(&top))
        .filter_map(|folder| fs::read_to_string(folder.join(file)).ok())
        // Without a limit it is `max`, or in version 1 a number beyond all memory.
        .filter_map(|text| text.trim().parse().ok())
        .map(ByteSize)
        .min()
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn budget(mib: u64) -> Budget {
        Budget::of(ByteSize::mib(mib), ByteSize::mib(mib / 8)).unwrap()
    }

    fn mib(n: u64) -> u64 {
        n << 20
    }

    #[test]
    fn four_tasks_of_150_mb_follow_each_other_in_200_mb() {
        let memory: ByteSize = "200MB".parse().unwrap();
        let budget = Budget::of(memory, Budget::inputs(memory, ByteSize::mib(512))).unwrap();
        let limits = Limits {
            memory: "150MB".parse().unwrap(),
            ..Limits::default()
        };
        let needs = Budget::needs(&limits);
        let first = budget.try_claim(needs).unwrap();
        assert!(budget.try_claim(needs).is_none());
        drop(first);
        assert!(budget.try_claim(needs).is_some());
    }

    #[test]
    fn a_large_task_is_not_overtaken_by_small_ones() {
        let (budget, cancel) = (budget(100), Cancel::default());
        let small = budget.try_claim(mib(40)).unwrap();
        let mut large = Box::pin(budget.claim(mib(60), &cancel));
        assert!(large.as_mut().now_or_never().is_none());
        assert!(budget.try_claim(mib(30)).is_none());
        let mut behind = Box::pin(budget.claim(mib(30), &cancel));
        assert!(behind.as_mut().now_or_never().is_none());
        drop(small);
        assert!(behind.as_mut().now_or_never().is_none());
        let large = large.as_mut().now_or_never().flatten().unwrap();
        drop(large);
        assert!(behind.as_mut().now_or_never().flatten().is_some());
    }

    #[test]
    fn what_never_fits_is_refused_and_what_is_cancelled_waits_no_longer() {
        let (budget, cancel) = (budget(100), Cancel::default());
        let max = budget.tasks_max();
        assert_eq!(budget.fits(max.as_u64()), Ok(()));
        assert_eq!(budget.fits(max.as_u64() + 1), Err(NeverFits { max }));
        assert_eq!(budget.fits(u64::MAX), Err(NeverFits { max }));
        let _all = budget.try_claim(max.as_u64()).unwrap();
        let mut waits = Box::pin(budget.claim(1, &cancel));
        assert!(waits.as_mut().now_or_never().is_none());
        cancel.cancel();
        assert!(waits.as_mut().now_or_never().unwrap().is_none());
    }

    #[test]
    fn a_claim_shrinks_to_the_result_and_no_further() {
        let budget = budget(100);
        let mut claim = budget.try_claim(mib(50)).unwrap();
        claim.shrink(mib(10));
        assert_eq!(budget.claimed(), ByteSize::mib(10));
        claim.shrink(mib(20));
        assert_eq!(budget.claimed(), ByteSize::mib(10));
        drop(claim);
        assert_eq!(budget.claimed(), ByteSize(0));
    }

    #[test]
    fn inputs_have_half_of_it_at_most() {
        let max = ByteSize::mib(50);
        assert!(Budget::of(ByteSize::mib(100), max).is_ok());
        assert_eq!(
            Budget::of(ByteSize::mib(100), ByteSize::mib(51)).unwrap_err(),
            InputsTooLarge { max }
        );
    }

    /// A root with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_least_of_the_groups_and_the_machine_counts() {
        let machine = ("proc/meminfo", "MemTotal:  1048576 kB\nMemFree: 1 kB\n");
        let read = |files: &[(&str, &str)]| read(root(files).path());
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[machine]), Some(ByteSize::mib(1024)));
        let second = [
            machine,
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/memory.max", "209715200\n"),
        ];
        assert_eq!(read(&second), Some(ByteSize::mib(200)));
        let first = [
            machine,
            ("proc/self/cgroup", "5:cpu:/x\n4:memory,hugetlb:/a\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "104857600"),
        ];
        assert_eq!(read(&first), Some(ByteSize::mib(100)));
        let unlimited = [
            machine,
            ("proc/self/cgroup", "4:memory:/\n"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712",
            ),
        ];
        assert_eq!(read(&unlimited), Some(ByteSize::mib(1024)));
    }
}
