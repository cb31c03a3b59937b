//! One leased bundle: its tasks are prepared, computed one after the other, and reported together.
//!
//! Tasks are prepared ahead, [`PREPARED_MAX`] at a time and without a place to compute. The bundle takes a place for the first that is ready and
//! keeps it until it has to wait.
//!
//! A panic while a task is prepared or run ends that task as a failure of the platform, which is tried again; the others go on.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use sortie_broker::{Lease, Report, Retrial};
use sortie_protocol::retry::{self, Decision};
use sortie_protocol::{Bill, Bundle, Ending, Failure, JobId, Outcome, Task, TaskIndex};
use tokio::sync::SemaphorePermit;

use super::Shared;
use crate::attempt::{Attempted, JobContext, Prepared};
use crate::clock;
use crate::objects::Prefetch;
use crate::panics::{Panicked, caught};
use crate::sandbox::Cancel;

/// Tasks of one bundle that are prepared at once: as many as cover a wait of 30 ms with the shortest tasks that travel in one bundle and read
/// objects, about 2 ms each.
const PREPARED_MAX: usize = 16;

impl Shared {
    /// Run the tasks of a bundle.
    pub(super) async fn run(&self, lease: &Lease, context: &Arc<JobContext>, cancel: &Arc<Cancel>) -> Report {
        let tasks = &lease.bundle.tasks;
        let mut report = Report { outcomes: Vec::with_capacity(tasks.len()), retrials: Vec::new() };
        let at_once = match self.host.objects.prefetch() {
            Prefetch::On => PREPARED_MAX,
            Prefetch::Off => 1,
        };
        let began = clock::instant();
        let preparing = (0..tasks.len()).map(|number| self.prepare(&lease.bundle, number, context, cancel));
        let mut prepared = pin!(stream::iter(preparing).buffered(at_once));
        let mut place = None;
        let (mut waited, mut computed) = (Duration::ZERO, Duration::ZERO);
        for task in tasks {
            let queue = clock::now().since(lease.bundle.published);
            let next = match futures::poll!(prepared.next()) {
                Poll::Ready(next) => next,
                Poll::Pending => {
                    // Others compute meanwhile.
                    place = None;
                    prepared.next().await
                }
            };
            let Some(next) = next.filter(|_| !cancel.is_cancelled()) else { break };
            if report.is_empty() {
                waited = clock::instant() - began;
            }
            let mut attempted = match next {
                Prepared::Ended(attempted) => *attempted,
                Prepared::Ready(ready) => {
                    if place.is_none() {
                        place = self.place(cancel).await;
                    }
                    if place.is_none() {
                        break;
                    }
                    let began = clock::instant();
                    let running = async {
                        #[cfg(test)]
                        crate::panics::provoked::by(task, crate::panics::provoked::RUNNING);
                        self.host.run(context, cancel, ready).await
                    };
                    let attempted = caught(running).await;
                    computed += clock::instant() - began;
                    attempted.unwrap_or_else(|panicked| panicked_in(lease.job.id, task.index, &panicked))
                }
            };
            attempted.bill.queue = queue;
            settle(lease, task, attempted, &mut report);
        }
        drop(place);
        if !computed.is_zero() {
            self.observe(waited, computed);
        }
        report
    }

    /// A place to compute, waited for; none if the tasks are cancelled before there is one. Cancel safe.
    async fn place(&self, cancel: &Cancel) -> Option<SemaphorePermit<'_>> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => None,
            place = self.places.acquire() => place.ok(),
        }
    }

    /// Prepare one task of a bundle. One that waits for objects is prepared whether or not anybody looks.
    async fn prepare(&self, bundle: &Arc<Bundle>, number: usize, context: &Arc<JobContext>, cancel: &Arc<Cancel>) -> Prepared {
        let Some(task) = bundle.tasks.get(number) else { return Prepared::cancelled() };
        let (host, context, cancel) = (self.host.clone(), context.clone(), cancel.clone());
        let preparing = {
            let bundle = bundle.clone();
            async move {
                let Some(task) = bundle.tasks.get(number) else { return Prepared::cancelled() };
                let preparing = async {
                    #[cfg(test)]
                    crate::panics::provoked::by(task, crate::panics::provoked::PREPARING);
                    host.prepare(&context, &cancel, task).await
                };
                let failed = |panicked| Prepared::Ended(Box::new(panicked_in(context.job().id, task.index, &panicked)));
                caught(preparing).await.unwrap_or_else(failed)
            }
        };
        if self.host.waits_for(task) {
            self.host.objects.beside(Box::pin(preparing)).await.unwrap_or_else(Prepared::failed)
        } else {
            preparing.await
        }
    }

    fn observe(&self, waited: Duration, computed: Duration) {
        let leases = {
            let mut pace = self.pace.lock();
            pace.observe(waited, computed);
            pace.leases()
        };
        self.pulls.send_if_modified(|pulls| std::mem::replace(pulls, leases) != leases);
    }
}

/// A task in the middle of which this host panicked.
fn panicked_in(job: JobId, task: TaskIndex, panicked: &Panicked) -> Attempted {
    tracing::error!(%job, task, %panicked, "this host panicked in the middle of a task, which is a bug; the task is tried again");
    Attempted { ending: Ending::Failed(Panicked::failure()), bill: Bill::default(), log: None }
}

/// No task of the bundle can run here.
pub(super) fn refuse(lease: &Lease, failure: &Failure) -> Report {
    let mut report = Report::default();
    for task in &lease.bundle.tasks {
        let attempted = Attempted { ending: Ending::Failed(failure.clone()), bill: Bill::default(), log: None };
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
            if let Decision::Again(after) = retry::decide(&options.retry, options.grants, lease.attempt, failure) {
                report.retrials.push(Retrial { index: task.index, after });
                return;
            }
        }
        Ending::Completed(_) => {}
    }
    report.outcomes.push(Outcome { index: task.index, attempts: lease.attempt, ending, bill, log });
}
