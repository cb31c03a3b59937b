//! The slots of a worker: each pulls one bundle, runs its tasks, reports, and pulls again.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use sortie_broker::{Broker, Error, Extended, Lease, Puller};
use sortie_objects::failure_episode::FailureEpisode;
use sortie_protocol::grants::Ungranted;
use sortie_protocol::outcome::PlatformFault;
use sortie_protocol::{
    ByteSize, Digest, Failure, FunctionIndex, FunctionOptions, JobKey, Refusal, TaskIndex, TenantId,
};
use tokio::time::timeout;

use super::bundle::{Contexts, Runner};
use super::claims::Reported;
use super::components::Components;
use super::jobs::Jobs;
use super::leases::Leases;
use super::lifecycle::{Lifecycle, Phase};
use super::made::Made;
use super::report;
use crate::attempt::JobContext;
use crate::budget::{Budget, NeverFits};
use crate::component::Component;
use crate::observer::Event;
use crate::panics::{Panicked, caught};
use crate::sandbox::Cancel;

/// How long a slot waits for the broker to say whether a lease still holds, before it starts; the
/// heartbeat asks again.
const CHECK_TIME_MAX: Duration = Duration::from_secs(1);

/// How many functions of tasks that follow those of a bundle are looked at.
const FOLLOWING_MAX: usize = 16;

/// How long a slot keeps a bundle that it cannot start before it hands it back: without another
/// worker it comes back at once.
const HAND_BACK_PAUSE: Duration = Duration::from_millis(200);

/// What the slots of a worker share.
#[derive(Debug)]
pub(super) struct Slots {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) puller: Puller,
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) leases: Arc<Leases>,
    pub(super) jobs: Arc<Jobs>,
    pub(super) components: Arc<Components>,
    pub(super) runner: Runner,
    pub(super) pulling: FailureEpisode,
    pub(super) reporting: FailureEpisode,
}

/// Why a bundle's tasks are not run.
enum Unready {
    /// Another worker has them by now, or their job was cancelled.
    Stopped,
    /// Too many bundles of the tenant wait for components here.
    Crowded,
    /// It was leased while another waited for its component, and that one goes on now.
    OutOfTurn,
}

/// What became of a bundle.
enum Worked {
    Reported(Reported),
    /// For others to take at once.
    HandedBack,
}

impl Slots {
    /// The slot with this number: pull, run, report, until the worker drains.
    pub(super) async fn run(&self, number: usize) {
        while self.lifecycle.phase() == Phase::Working {
            if !self.runner.plan.may_pull(number) {
                tokio::select! {
                    biased;
                    () = self.lifecycle.drains() => return,
                    () = self.runner.plan.turn(number) => {}
                }
            }
            if let Some(pause) = self.runner.host.shortages.pause() {
                let _ = timeout(pause, self.lifecycle.drains()).await;
                continue;
            }
            let pulled = tokio::select! {
                biased;
                () = self.lifecycle.drains() => return,
                () = self.runner.plan.turn_ends(number) => continue,
                pulled = self.broker.pull(&self.puller, NonZeroUsize::MIN) => pulled,
            };
            match pulled {
                Ok(leases) => {
                    self.pulling.works();
                    for lease in leases {
                        self.work(number, lease).await;
                    }
                }
                Err(error) => {
                    self.pulling.fails(&error);
                    self.lifecycle.pause().await;
                }
            }
        }
    }

    /// Run a leased bundle and report on it.
    async fn work(&self, number: usize, lease: Lease) {
        let job = lease.job.key;
        let guard = self.leases.hold(&lease, &self.lifecycle);
        // What was cancelled while it was on its way here was not in work yet.
        if let Some(cancelled) = self.broker.cancelled(&lease) {
            self.leases.stop(&cancelled);
        }
        let working = async {
            self.tell_leased(&lease);
            match self.contexts(number, &lease, &guard.cancel).await {
                Ok(contexts) => {
                    let running = Box::pin(self.runner.run(&lease, &contexts, &guard.cancel));
                    Worked::Reported(running.await)
                }
                Err(Unready::Stopped) => Worked::Reported(Reported::default()),
                Err(Unready::OutOfTurn) => Worked::HandedBack,
                Err(Unready::Crowded) => {
                    let _ = timeout(HAND_BACK_PAUSE, guard.cancel.cancelled()).await;
                    Worked::HandedBack
                }
            }
        };
        let worked = caught(working).await.unwrap_or_else(|panicked| {
            self.runner.host.metrics.panicked();
            tracing::error!(
                %job,
                %panicked,
                "this host panicked in the middle of a bundle, which is a bug; its tasks are tried \
                 again"
            );
            Worked::Reported(report::refuse(&lease, &Panicked::failure()).into())
        });
        let reported = match worked {
            Worked::Reported(reported) => reported,
            // Nothing was run, so that there is nothing to report.
            Worked::HandedBack => return self.release(&lease).await,
        };
        // Held until the broker has the results.
        let Reported {
            report,
            rooms,
            made,
        } = reported;
        let has_ended =
            |task: TaskIndex| report.outcomes.iter().any(|outcome| outcome.index == task);
        let made = made.into_iter().map(|made| {
            let has_ended = has_ended(made.task);
            (made, has_ended)
        });
        let made: Vec<_> = made.collect();
        guard.reports();
        for outcome in &report.outcomes {
            self.runner.host.metrics.task(&outcome.ending);
        }
        // A bundle that was stopped with the worker is for others to take at once. A lease that is
        // over, or whose job is, ends with its empty report.
        if report.is_empty() && self.lifecycle.phase() == Phase::Stopped {
            self.end_subtasks(job, made);
            return self.release(&lease).await;
        }
        let told = self.broker.complete(lease.id, job, report).await;
        drop((guard, rooms));
        if self.is_told(told) {
            self.end_subtasks(job, made);
            let lease = lease.id;
            let reported = || Event::BundleReported { job, lease };
            self.runner.observed.tell(reported);
        }
    }

    /// End the subtasks of tasks whose ends the broker has. Those of a task that is tried again are
    /// there for the next attempt, unless its job is over.
    fn end_subtasks(&self, job: JobKey, made: Vec<(Made, bool)>) {
        for (made, has_ended) in made {
            if has_ended || !made.is_settled {
                self.runner.subtasks.end(made.over);
            } else {
                self.runner.subtasks.end_with(job, made.over);
            }
        }
    }

    /// Return a bundle of which nothing was run.
    async fn release(&self, lease: &Lease) {
        let released = self.broker.release(lease.id).await;
        self.is_told(released);
    }

    /// Whether the broker was told how a lease ended.
    fn is_told(&self, told: Result<(), Error>) -> bool {
        match told {
            Ok(()) => self.reporting.works(),
            Err(error) => {
                self.reporting.fails(&error);
                return false;
            }
        }
        true
    }

    fn tell_leased(&self, lease: &Lease) {
        for task in &lease.bundle.tasks {
            self.runner.observed.tell(|| Event::TaskLeased {
                job: lease.job.key,
                task: task.index,
                lease: lease.id,
            });
        }
    }

    /// What the tasks of each function in a bundle share here, made when the first lease of that
    /// function arrives.
    async fn contexts(
        &self,
        number: usize,
        lease: &Lease,
        cancel: &Cancel,
    ) -> Result<Contexts, Unready> {
        let mut contexts = Contexts::default();
        let mut is_new = false;
        for task in &lease.bundle.tasks {
            if contexts.of(task.function).is_some() {
                continue;
            }
            let context = match self.jobs.get(lease.job.key, task.function) {
                Some(context) => Ok(context),
                None => {
                    is_new = true;
                    self.new_context(lease, task.function, cancel).await?
                }
            };
            contexts.add(task.function, context);
        }
        self.add_following(lease, &mut contexts);
        if is_new {
            self.jobs.keep_of(|digest| self.components.holds(digest));
        }
        // A cancellation that came before the lease was among those in work found nothing to
        // cancel.
        if is_new
            && let Ok(Ok(Extended::Lost)) =
                timeout(CHECK_TIME_MAX, self.broker.extend(lease.id)).await
        {
            self.runner.host.metrics.lease_lost();
            self.runner.observed.tell(|| Event::LeaseLost {
                job: lease.job.key,
                lease: lease.id,
            });
            return Err(Unready::Stopped);
        }
        if is_new && !self.runner.plan.may_pull(number) {
            return Err(Unready::OutOfTurn);
        }
        Ok(contexts)
    }

    /// Add the contexts of functions that tasks call which follow those of the bundle, as far as
    /// their components are held, and [`FOLLOWING_MAX`] at most. The others are left.
    fn add_following(&self, lease: &Lease, contexts: &mut Contexts) {
        let mut looked: Vec<FunctionIndex> = Vec::new();
        for next in lease.bundle.tasks.iter().flat_map(|task| &task.then) {
            if looked.contains(&next.function) || looked.len() >= FOLLOWING_MAX {
                continue;
            }
            looked.push(next.function);
            if contexts.of(next.function).is_some() {
                continue;
            }
            let context = self.jobs.get(lease.job.key, next.function).or_else(|| {
                let called = lease.job.function(next.function)?;
                self.admit(&called.options).ok()?;
                let component = self.components.known(called.function.component)?.ok()?;
                self.context(lease, next.function, component).ok()
            });
            if let Some(context) = context {
                contexts.add(next.function, Ok(context));
            }
        }
    }

    /// Refuse a function whose job asks for more than the operator grants, or than there is.
    fn admit(&self, options: &FunctionOptions) -> Result<(), Failure> {
        let refused = |message| Failure::Refused {
            refusal: Refusal::Limit,
            message,
        };
        let host = &self.runner.host;
        host.limits_max
            .check(options)
            .map_err(|above| refused(above.to_string()))?;
        let needs = Budget::needs(&options.limits);
        host.budget.fits(needs).map_err(|NeverFits { max }| {
            refused(format!(
                "the task needs {} of memory; this worker has {max} for tasks",
                ByteSize(needs)
            ))
        })
    }

    /// The context of a function, or why its tasks fail.
    async fn new_context(
        &self,
        lease: &Lease,
        index: FunctionIndex,
        cancel: &Cancel,
    ) -> Result<Result<Arc<JobContext>, Failure>, Unready> {
        let Some(function) = lease.job.function(index) else {
            return Ok(Err(no_such_function(index)));
        };
        if let Err(refused) = self.admit(&function.options) {
            return Ok(Err(refused));
        }
        let digest = function.function.component;
        let component = match self.components.known(digest) {
            Some(component) => component,
            None => self.load(digest, lease.job.key.tenant, cancel).await?,
        };
        Ok(component.and_then(|component| self.context(lease, index, component)))
    }

    /// The context of a function of this component, or why its tasks fail.
    fn context(
        &self,
        lease: &Lease,
        index: FunctionIndex,
        component: Component,
    ) -> Result<Arc<JobContext>, Failure> {
        let Some(function) = lease.job.function(index) else {
            return Err(no_such_function(index));
        };
        if let Err(ungranted) = component.check_grants(&function.options.grants) {
            return Err(not_granted(component.digest(), &ungranted));
        }
        let context = JobContext::new(&self.runner.host, lease.job.clone(), index, component);
        let context = context.ok_or_else(|| no_such_function(index))?;
        Ok(self.jobs.keep(Arc::new(context)))
    }
}

impl Slots {
    /// A component that is not held. Another bundle is leased meanwhile.
    async fn load(
        &self,
        digest: Digest,
        tenant: TenantId,
        cancel: &Cancel,
    ) -> Result<Result<Component, Failure>, Unready> {
        let waiting = self.components.wait(tenant).ok_or(Unready::Crowded)?;
        let parked = self.runner.plan.park();
        let loading = async {
            let turn = waiting.turn().await;
            (self.components.get(digest).await, turn)
        };
        let (component, turn) = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Unready::Stopped),
            loaded = loading => loaded,
        };
        // In this order, so that who has the turn next sees that this bundle goes on.
        drop(parked);
        drop(turn);
        Ok(component)
    }
}

/// Why a task is not run whose component imports what the task's grants do not cover.
fn not_granted(component: Digest, ungranted: &Ungranted) -> Failure {
    Failure::Refused {
        refusal: Refusal::Grant,
        message: format!("component {component} {ungranted}"),
    }
}

/// Why a task is not run that names a function which its job does not have.
fn no_such_function(index: FunctionIndex) -> Failure {
    Failure::Platform {
        fault: PlatformFault::Component,
        message: format!("the task calls function {index} of its job, which has fewer"),
    }
}
