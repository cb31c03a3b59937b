//! One leased bundle: its tasks are prepared, computed one after the other, and reported together.
//!
//! Tasks are prepared ahead, [`PREPARED_MAX`] at a time and without a place to compute. The bundle
//! takes a place for the first that is ready and keeps it until it has to wait. A task that has
//! only the beginning of its inputs waits for the rest, unless a place is free: then nobody
//! computes who could, and the rest comes meanwhile. A result that goes to the store does so while
//! the next tasks compute, [`STORING_MAX`] at a time; the place is given up where there is nothing
//! to compute meanwhile. A bundle that only waits for the store lets another slot pull in its
//! stead.
//!
//! A panic while a task is prepared or run ends that task as a failure of the platform, which is
//! tried again; the others go on.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, FuturesUnordered};
use futures::{FutureExt as _, StreamExt as _};
use sortie_broker::{Lease, Report, Retrial};
use sortie_protocol::retry::{self, Decision};
use sortie_protocol::{Bill, Bundle, Ending, Failure, JobId, Outcome, Task, TaskIndex};
use tokio::sync::SemaphorePermit;

use super::Shared;
use super::pace::Pace;
use crate::attempt::{Attempted, Computed, JobContext, Prepared, Ready};
use crate::clock;
use crate::panics::{Panicked, caught};
use crate::sandbox::Cancel;
use sortie_objects::Prefetch;

/// Tasks of one bundle that are prepared at once: as many as cover a wait of 30 ms with the
/// shortest tasks that travel in one bundle and read objects, about 2 ms each.
const PREPARED_MAX: usize = 16;
/// Results of one bundle that are being stored at once: enough to hide 50 ms for each behind tasks
/// of about 6 ms. At the limit the bundle gives up its place until one is stored.
const STORING_MAX: usize = 8;
/// The most of results that are being stored while their bundles do something else, on the whole
/// worker: four of the largest that tasks may have by default, or a thousand of the smallest that
/// are stored at all, which is more than a store takes at once. A result for which there is no room
/// holds its bundle's place until it is stored, so that no more are made.
const STORING_BYTES_MAX: usize = 256 << 20;
/// What is counted of them.
pub(super) const ROOM_UNIT_BYTES: usize = 1 << 10;

/// All the room there is, in units.
pub(super) fn room_max() -> usize {
    STORING_BYTES_MAX / ROOM_UNIT_BYTES
}

/// How the tasks of one bundle ended, by their place in it, and results that are on their way to
/// the store.
#[derive(Default)]
struct Results<'a> {
    ended: Vec<Numbered>,
    storing: FuturesUnordered<BoxFuture<'a, Numbered>>,
}

/// How the task at this place in the bundle ended.
type Numbered = (usize, Attempted);

impl<'a> Results<'a> {
    /// Have a result stored, beside whatever is waited for next.
    async fn store(&mut self, storing: BoxFuture<'a, Numbered>) {
        self.storing.push(storing);
        // Now, and not when the next task first pauses.
        if let Poll::Ready(Some(ended)) = futures::poll!(self.storing.next()) {
            self.ended.push(ended);
        }
    }

    /// Wait for `future`, while what is being stored goes on. Cancel safe if `future` is.
    async fn beside<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                biased;
                value = &mut future => return value,
                Some(ended) = self.storing.next(), if !self.storing.is_empty() => self.ended.push(ended),
            }
        }
    }

    /// Wait until less than `count` are being stored, on the account of nobody's place. Cancel
    /// safe.
    async fn fewer_than(&mut self, count: usize, shared: &Shared) {
        if self.storing.len() < count {
            return;
        }
        let _storing = Storing::begin(shared);
        while self.storing.len() >= count
            && let Some(ended) = self.storing.next().await
        {
            self.ended.push(ended);
        }
    }

    /// What the broker is told, in the order of the tasks.
    fn report(mut self, lease: &Lease) -> Report {
        let mut report = Report {
            outcomes: Vec::with_capacity(self.ended.len()),
            retrials: Vec::new(),
        };
        self.ended.sort_unstable_by_key(|(number, _)| *number);
        for (number, attempted) in self.ended {
            if let Some(task) = lease.bundle.tasks.get(number) {
                settle(lease, task, attempted, &mut report);
            }
        }
        report
    }
}

/// A bundle that waits for the store only, for as long as this is held.
struct Storing<'s>(&'s Shared);

impl<'s> Storing<'s> {
    fn begin(shared: &'s Shared) -> Self {
        shared.adjust(Pace::stores);
        Self(shared)
    }
}

impl Drop for Storing<'_> {
    fn drop(&mut self) {
        self.0.adjust(Pace::stored);
    }
}

impl Shared {
    /// Run the tasks of a bundle.
    pub(super) async fn run(
        &self,
        lease: &Lease,
        context: &Arc<JobContext>,
        cancel: &Arc<Cancel>,
    ) -> Report {
        let tasks = &lease.bundle.tasks;
        let at_once = match self.host.objects.prefetch() {
            Prefetch::On => PREPARED_MAX,
            Prefetch::Off => 1,
        };
        let began = clock::instant();
        let preparing =
            (0..tasks.len()).map(|number| self.prepare(&lease.bundle, number, context, cancel));
        let mut prepared = pin!(stream::iter(preparing).buffered(at_once));
        let mut results = Results::default();
        let mut place = None;
        let (mut waited, mut computing) = (None, Duration::ZERO);
        for (number, task) in tasks.iter().enumerate() {
            let queue = clock::now().since(lease.bundle.published);
            let next = match futures::poll!(prepared.next()) {
                Poll::Ready(next) => next,
                Poll::Pending => {
                    // Others compute meanwhile.
                    place = None;
                    results.beside(prepared.next()).await
                }
            };
            let Some(next) = next.filter(|_| !cancel.is_cancelled()) else {
                break;
            };
            let next = results
                .beside(self.ripe(&mut place, next, context, cancel))
                .await;
            waited.get_or_insert_with(|| clock::instant() - began);
            let ready = match next {
                Prepared::Ended(attempted) => {
                    results.ended.push((number, queued(queue, *attempted)));
                    continue;
                }
                Prepared::Ready(ready) => ready,
            };
            if place.is_none() {
                place = results.beside(self.place(cancel)).await;
            }
            if place.is_none() {
                break;
            }
            let began = clock::instant();
            let computed = results
                .beside(self.compute(task, context, cancel, ready))
                .await;
            computing += clock::instant() - began;
            let room = self.room_for(&computed);
            let keeping = async move {
                let kept = self.keep(task, context, computed).await;
                (number, queued(queue, kept))
            };
            let Some(room) = room else {
                let ended = results.beside(keeping).await;
                results.ended.push(ended);
                continue;
            };
            results
                .store(keeping.inspect(move |_| drop(room)).boxed())
                .await;
            if results.storing.len() >= STORING_MAX {
                place = None;
                results.fewer_than(STORING_MAX, self).await;
            }
        }
        drop(place);
        results.fewer_than(1, self).await;
        if !computing.is_zero() {
            self.adjust(|pace| pace.observe(waited.unwrap_or_default(), computing));
        }
        results.report(lease)
    }

    /// Compute a task; where this host panics, that is how it ended.
    async fn compute(
        &self,
        task: &Task,
        context: &JobContext,
        cancel: &Arc<Cancel>,
        ready: Ready,
    ) -> Result<Computed, Box<Attempted>> {
        let computing = async {
            #[cfg(test)]
            crate::panics::provoked::by(task, crate::panics::provoked::RUNNING);
            self.host.compute(context, cancel, ready).await
        };
        caught(computing)
            .await
            .map_err(|panicked| Box::new(panicked_in(context.job().id, task.index, &panicked)))
    }

    /// Keep what a task said, if it got as far.
    async fn keep(
        &self,
        task: &Task,
        context: &JobContext,
        computed: Result<Computed, Box<Attempted>>,
    ) -> Attempted {
        match computed {
            Ok(computed) => {
                let kept = caught(self.host.keep(context, computed)).await;
                kept.unwrap_or_else(|panicked| panicked_in(context.job().id, task.index, &panicked))
            }
            Err(attempted) => *attempted,
        }
    }

    /// Room for a result to be stored beside other work.
    fn room_for(&self, computed: &Result<Computed, Box<Attempted>>) -> Option<SemaphorePermit<'_>> {
        self.room(self.host.stored_bytes(computed.as_ref().ok()?))
    }

    /// Room for a result of so many bytes to be stored beside other work; none if there is nothing
    /// to store, or not as much room.
    fn room(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let units = u32::try_from(bytes.div_ceil(ROOM_UNIT_BYTES))
            .ok()
            .filter(|units| *units > 0)?;
        self.storing.try_acquire_many(units).ok()
    }

    /// A task that may compute as soon as there is a place: it has all that was asked for ahead, or
    /// found a place that nobody wants.
    async fn ripe<'s>(
        &'s self,
        place: &mut Option<SemaphorePermit<'s>>,
        prepared: Prepared,
        context: &JobContext,
        cancel: &Arc<Cancel>,
    ) -> Prepared {
        let ready = match prepared {
            Prepared::Ready(ready) if !ready.is_ripe() => ready,
            prepared => return prepared,
        };
        // Those that wait for it, if any, have it now.
        *place = None;
        *place = self.places.try_acquire().ok();
        if place.is_some() {
            Prepared::Ready(ready)
        } else {
            self.host.ripen(context, cancel, ready).await
        }
    }

    /// A place to compute, waited for; none if the tasks are cancelled before there is one. Cancel
    /// safe.
    async fn place(&self, cancel: &Cancel) -> Option<SemaphorePermit<'_>> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => None,
            place = self.places.acquire() => place.ok(),
        }
    }

    /// Prepare one task of a bundle. One that waits for objects is prepared whether or not anybody
    /// looks.
    async fn prepare(
        &self,
        bundle: &Arc<Bundle>,
        number: usize,
        context: &Arc<JobContext>,
        cancel: &Arc<Cancel>,
    ) -> Prepared {
        let Some(task) = bundle.tasks.get(number) else {
            return Prepared::cancelled();
        };
        let (host, context, cancel) = (self.host.clone(), context.clone(), cancel.clone());
        let preparing = {
            let bundle = bundle.clone();
            async move {
                let Some(task) = bundle.tasks.get(number) else {
                    return Prepared::cancelled();
                };
                let preparing = async {
                    #[cfg(test)]
                    crate::panics::provoked::by(task, crate::panics::provoked::PREPARING);
                    host.prepare(&context, &cancel, task).await
                };
                let failed = |panicked| {
                    Prepared::Ended(Box::new(panicked_in(
                        context.job().id,
                        task.index,
                        &panicked,
                    )))
                };
                caught(preparing).await.unwrap_or_else(failed)
            }
        };
        if self.host.waits_for(task) {
            self.host
                .objects
                .in_background(Box::pin(preparing))
                .await
                .unwrap_or_else(Prepared::failed)
        } else {
            preparing.await
        }
    }

    /// Let the pace learn something, and as many slots pull as it then says.
    fn adjust(&self, learn: impl FnOnce(&mut Pace)) {
        // Under the lock, so that what was learned last is what holds.
        let mut pace = self.pace.lock();
        learn(&mut pace);
        let leases = pace.leases();
        self.pulls
            .send_if_modified(|pulls| std::mem::replace(pulls, leases) != leases);
    }
}

fn queued(queue: Duration, mut attempted: Attempted) -> Attempted {
    attempted.bill.queue = queue;
    attempted
}

/// A task in the middle of which this host panicked.
fn panicked_in(job: JobId, task: TaskIndex, panicked: &Panicked) -> Attempted {
    tracing::error!(%job, task, %panicked, "this host panicked in the middle of a task, which is a bug; the task is tried again");
    Attempted {
        ending: Ending::Failed(Panicked::failure()),
        bill: Bill::default(),
        log: None,
    }
}

/// No task of the bundle can run here.
pub(super) fn refuse(lease: &Lease, failure: &Failure) -> Report {
    let mut report = Report::default();
    for task in &lease.bundle.tasks {
        let attempted = Attempted {
            ending: Ending::Failed(failure.clone()),
            bill: Bill::default(),
            log: None,
        };
        settle(lease, task, attempted, &mut report);
    }
    report
}

/// Put what became of a task into the report: its outcome, or the wish for another attempt.
fn settle(lease: &Lease, task: &Task, attempted: Attempted, report: &mut Report) {
    let Attempted { ending, bill, log } = attempted;
    let options = &lease.job.options;
    match &ending {
        // The broker has told the job's followers; a single task is not reported as cancelled.
        Ending::Cancelled => return,
        Ending::Failed(failure) => {
            if let Decision::Again(after) =
                retry::decide(&options.retry, options.grants, lease.attempt, failure)
            {
                report.retrials.push(Retrial {
                    index: task.index,
                    after,
                });
                return;
            }
        }
        Ending::Completed(_) => {}
    }
    report.outcomes.push(Outcome {
        index: task.index,
        attempts: lease.attempt,
        ending,
        bill,
        log,
    });
}
