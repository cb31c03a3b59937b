//! Runs one leased bundle: prepares its tasks, computes them one after another, and collects their
//! outcomes.
//!
//! Tasks are prepared ahead, [`PREPARED_MAX`] at a time and without a permit to compute. The bundle
//! takes a permit for the first task that is ready and keeps it until it has to wait. A task that
//! has only the beginning of its inputs waits for the rest, unless a permit is free: then no other
//! bundle could use it, and the rest comes meanwhile. A result that goes to the store does so while
//! the next tasks compute, [`STORING_MAX`] at a time; the permit is given up while there is nothing
//! to compute. While a bundle only waits for the store, another slot may pull.
//!
//! A panic while a task is prepared or run ends that task as a failure of the platform, which is
//! tried again; the others go on.
//!
//! A task computes when it has claimed its memory (`claims`). Stored arguments are fetched ahead
//! where there is room for them, else when their task has its claim.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::{self, FuturesUnordered, Stream};
use futures::{FutureExt as _, StreamExt as _};
use sortie_broker::{Lease, Report};
use sortie_objects::Prefetch;
use sortie_protocol::{Ending, Failure, FunctionIndex, JobKey, Output, Task, TaskIndex};
use tokio::sync::{OwnedSemaphorePermit, SemaphorePermit};
use tracing::Span;

use super::claims::{self, Reported, Retention};
use super::made::Made;
use super::permits::Permits;
use super::plan::{LeaseTarget, Plan};
use super::report;
use super::seat::Seats;
use crate::attempt::{self, Attempt, Attempted, Computed, Host, JobContext, Prepared, Ready};
use crate::budget::{Budget, Claim};
use crate::clock;
use crate::observer::{Event, Observed};
use crate::panics::{Panicked, caught};
use crate::sandbox::{Cancel, Makes, TaskCancel};
use crate::subtasks::Subtasks;
use sortie_protocol::metric;

/// Tasks of one bundle that are prepared at once: as many as cover a wait of 30 ms with the
/// shortest tasks that travel in one bundle and read objects, about 2 ms each.
const PREPARED_MAX: usize = 16;
/// Results of one bundle that are being stored at once: enough to hide 50 ms for each behind tasks
/// of about 6 ms. At the limit the bundle gives up its permit until one is stored.
const STORING_MAX: usize = 8;

/// What bundles run with. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Runner {
    pub(super) host: Host,
    pub(super) permits: Arc<Permits>,
    pub(super) plan: Arc<Plan>,
    pub(super) observed: Observed,
    pub(super) subtasks: Arc<Subtasks>,
    pub(super) seats: Arc<Seats>,
}

/// The contexts of the functions that a bundle's tasks call, or why the tasks of one fail. Almost
/// always one.
#[derive(Debug, Default)]
pub(super) struct Contexts(Vec<(FunctionIndex, Result<Arc<JobContext>, Failure>)>);

impl Contexts {
    pub(super) fn of(&self, function: FunctionIndex) -> Option<&Result<Arc<JobContext>, Failure>> {
        let found = self.0.iter().find(|(index, _)| *index == function);
        found.map(|(_, context)| context)
    }

    pub(super) fn add(
        &mut self,
        function: FunctionIndex,
        context: Result<Arc<JobContext>, Failure>,
    ) {
        self.0.push((function, context));
    }
}

/// How the task at this position in the bundle ended.
type Numbered = (usize, Attempted);

/// How the tasks of one bundle ended so far, and results that are being stored.
pub(super) struct Results<'a> {
    ended: Vec<Numbered>,
    /// Tasks that followed others of the bundle, each after the one before it.
    followed: Vec<(Task, Attempted)>,
    storing: FuturesUnordered<BoxFuture<'a, Numbered>>,
    retention: Retention<'a>,
}

impl<'a> Results<'a> {
    fn new(budget: &'a Budget) -> Self {
        Self {
            ended: Vec::new(),
            followed: Vec::new(),
            storing: FuturesUnordered::new(),
            retention: Retention::new(budget),
        }
    }

    fn push(&mut self, (number, mut attempted): Numbered) {
        self.retention.admit(&mut attempted);
        self.ended.push((number, attempted));
    }

    /// What the task at this position made, if it ended as the last one and that is at hand.
    pub(super) fn result_of(&self, number: usize) -> Option<&Output> {
        match self.ended.last() {
            Some((last, attempted)) if *last == number => match &attempted.ending {
                Ending::Completed(made @ Output::Value(_)) => Some(made),
                Ending::Completed(_) | Ending::Failed(_) | Ending::Cancelled => None,
            },
            Some(_) | None => None,
        }
    }

    /// How many tasks followed others.
    pub(super) fn followed(&self) -> usize {
        self.followed.len()
    }

    /// Add a task that followed another. Whether there is room for its result; else it is left.
    pub(super) fn push_followed(&mut self, task: Task, attempted: Attempted) -> bool {
        let has_room = self.retention.admits_followed(&attempted);
        if has_room {
            self.followed.push((task, attempted));
        }
        has_room
    }

    /// Store a result in the background of everything that is waited for next.
    async fn store(&mut self, storing: BoxFuture<'a, Numbered>) {
        self.storing.push(storing);
        // Now, and not when the next task first pauses.
        if let Poll::Ready(Some(ended)) = futures::poll!(self.storing.next()) {
            self.push(ended);
        }
    }

    /// Wait for `future`, while results are being stored. Cancel safe if `future` is.
    pub(super) async fn during<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                biased;
                value = &mut future => return value,
                Some(ended) = self.storing.next(), if !self.storing.is_empty() => {
                    self.push(ended);
                }
            }
        }
    }

    /// Wait until less than `count` results are being stored, without a permit to compute. Cancel
    /// safe.
    async fn fewer_than(&mut self, count: usize, plan: &Plan) {
        if self.storing.len() < count {
            return;
        }
        let _waiting = plan.park();
        while self.storing.len() >= count
            && let Some(ended) = self.storing.next().await
        {
            self.push(ended);
        }
    }

    /// The report for the broker, in the order of the tasks, and then of those that followed them.
    fn report(mut self, lease: &Lease, cancel: &Cancel, made: Vec<Made>) -> Reported {
        let mut report = Report {
            outcomes: Vec::with_capacity(self.ended.len()),
            retrials: Vec::new(),
        };
        self.ended.sort_unstable_by_key(|(number, _)| *number);
        for (number, attempted) in self.ended {
            if let Some(task) = lease.bundle.tasks.get(number) {
                let is_alone = cancel.has_cancelled(task.index);
                report::add(lease, task, (attempted, is_alone), &mut report);
            }
        }
        for (task, attempted) in self.followed {
            report.outcomes.push(report::outcome(&task, 1, attempted));
        }
        Reported {
            report,
            rooms: self.retention.into_rooms(),
            made,
        }
    }
}

/// A task of a bundle before its turn.
struct Ahead {
    attempt: Attempt,
    /// None if it is prepared at its turn: it hardly waits, or its stored arguments had no room.
    prepared: Option<Prepared>,
    /// What its stored arguments take, until it computed.
    room: Option<OwnedSemaphorePermit>,
}

/// The task that is next in a bundle.
pub(super) struct Next<'a> {
    number: usize,
    pub(super) task: &'a Task,
    /// How long it waited for a slot.
    queue: Duration,
    pub(super) attempt: Attempt,
    /// What its stored arguments take, if they were fetched ahead.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

impl Next<'_> {
    fn ended(&self, runner: &Runner, attempted: Attempted) -> Numbered {
        let of = (&self.attempt, self.task.index);
        (self.number, runner.ended(of, self.queue, attempted))
    }
}

/// A bundle in work.
pub(super) struct Run<'a> {
    pub(super) runner: &'a Runner,
    pub(super) lease: &'a Lease,
    pub(super) cancel: &'a Arc<Cancel>,
    pub(super) permit: Option<SemaphorePermit<'a>>,
    pub(super) results: Results<'a>,
    /// Subtasks that its tasks made.
    pub(super) made: Vec<Made>,
    pub(super) began: Instant,
    /// How long it took until the first task could compute.
    waited: Option<Duration>,
    pub(super) computing: Duration,
}

impl Runner {
    /// Run the tasks of a bundle.
    pub(super) async fn run<'a>(
        &'a self,
        lease: &'a Lease,
        contexts: &Contexts,
        cancel: &'a Arc<Cancel>,
    ) -> Reported {
        let at_once = match self.host.objects.prefetch() {
            Prefetch::On => PREPARED_MAX,
            Prefetch::Off => 1,
        };
        let mut run = Run {
            runner: self,
            lease,
            cancel,
            permit: None,
            results: Results::new(&self.host.budget),
            made: Vec::new(),
            began: clock::instant(),
            waited: None,
            computing: Duration::ZERO,
        };
        let mut runnable = Vec::with_capacity(lease.bundle.tasks.len());
        for (number, task) in lease.bundle.tasks.iter().enumerate() {
            match contexts.of(task.function) {
                Some(Ok(context)) => runnable.push((number, task, context.clone())),
                Some(Err(failure)) => run.refuse(number, failure),
                None => {}
            }
        }
        let attempts: Vec<_> = runnable
            .iter()
            .map(|(number, task, context)| {
                let attempt = Attempt {
                    context: context.clone(),
                    cancel: TaskCancel::of(cancel.clone(), task.index),
                    span: span(lease, task),
                };
                (*number, attempt)
            })
            .collect();
        let preparing = attempts
            .into_iter()
            .map(|(number, attempt)| self.prepare_ahead(lease, number, attempt));
        let mut prepared = pin!(stream::iter(preparing).buffered(at_once));
        for (number, task, _) in &runnable {
            let queue = clock::now().since(lease.bundle.published);
            let Some(Ahead {
                attempt,
                prepared,
                room,
            }) = run.next(&mut prepared).await
            else {
                break;
            };
            let next = Next {
                number: *number,
                task,
                queue,
                attempt,
                room,
            };
            if !run.task(next, prepared).await {
                break;
            }
            if !task.then.is_empty() {
                Box::pin(run.follow(*number, task, contexts)).await;
            }
        }
        run.finish().await
    }

    /// Prepare one task of a bundle in the background, even while the bundle is not polled. One
    /// whose stored arguments have no room by now is left until it has its claim; one that hardly
    /// waits is left until it is its turn, because to do it here would only copy it about.
    async fn prepare_ahead(&self, lease: &Lease, number: usize, attempt: Attempt) -> Ahead {
        let mut ahead = Ahead {
            attempt,
            prepared: None,
            room: None,
        };
        let Some(task) = lease.bundle.tasks.get(number) else {
            ahead.prepared = Some(Prepared::cancelled());
            return ahead;
        };
        if !attempt::waits_for(&self.host, &ahead.attempt.context, task) {
            return ahead;
        }
        let stored = attempt::sizes(task).stored;
        if stored > 0 {
            ahead.room = self.host.budget.try_ahead(stored);
            if ahead.room.is_none() {
                return ahead;
            }
        }
        ahead.prepared = Some(self.prepare(lease, number, &ahead.attempt).await);
        ahead
    }

    /// Prepare one task of a bundle in the background.
    async fn prepare(&self, lease: &Lease, number: usize, attempt: &Attempt) -> Prepared {
        let (runner, bundle, of) = (self.clone(), lease.bundle.clone(), attempt.clone());
        let preparing = async move {
            match bundle.tasks.get(number) {
                Some(task) => runner.prepare_here(&of, task).await,
                None => Prepared::cancelled(),
            }
        };
        let objects = &self.host.objects;
        let prepared = objects.in_background(Box::pin(preparing)).await;
        prepared.unwrap_or_else(|error| Prepared::failed(&self.host, error))
    }

    /// Prepare a task; if this host panics, that is how it ended.
    pub(super) async fn prepare_here(&self, attempt: &Attempt, task: &Task) -> Prepared {
        let job = attempt.context.job().key;
        let task_index = task.index;
        let preparing = async {
            self.observed.tell(|| Event::AttemptStarted {
                job,
                task: task_index,
            });
            attempt::prepare(&self.host, attempt, task).await
        };
        caught(pin!(preparing)).await.unwrap_or_else(|panicked| {
            Prepared::Ended(Box::new(self.panicked(job, task_index, &panicked)))
        })
    }

    /// Compute a task; if this host panics, that is how it ended.
    pub(super) async fn compute(
        &self,
        attempt: &Attempt,
        task: TaskIndex,
        ready: Ready,
    ) -> Result<Computed, Box<Attempted>> {
        let nothing = (Makes::Nothing, Duration::ZERO);
        self.compute_making(attempt, task, ready, nothing).await
    }

    /// The same, of a task that may make subtasks, and that was so long on a core before.
    pub(super) async fn compute_making(
        &self,
        attempt: &Attempt,
        task: TaskIndex,
        ready: Ready,
        makes: (Makes, Duration),
    ) -> Result<Computed, Box<Attempted>> {
        let job = attempt.context.job().key;
        let computing = async {
            self.observed.tell(|| Event::AttemptComputing { job, task });
            attempt::compute(&self.host, attempt, ready, makes).await
        };
        caught(pin!(computing))
            .await
            .map_err(|panicked| Box::new(self.panicked(job, task, &panicked)))
    }

    /// Keep the result of a task, if it has one.
    pub(super) async fn keep(
        &self,
        attempt: &Attempt,
        task: TaskIndex,
        computed: Result<Computed, Box<Attempted>>,
    ) -> Attempted {
        match computed {
            Ok(computed) => {
                let keeping = pin!(attempt::keep(&self.host, attempt, task, computed));
                let kept = caught(keeping).await;
                let job = attempt.context.job().key;
                kept.unwrap_or_else(|panicked| self.panicked(job, task, &panicked))
            }
            Err(attempted) => *attempted,
        }
    }

    /// How a task ended in the middle of which this host panicked.
    fn panicked(&self, job: JobKey, task: TaskIndex, panicked: &Panicked) -> Attempted {
        self.host.metrics.panicked();
        tracing::error!(
            %job,
            task,
            %panicked,
            "this host panicked in the middle of a task, which is a bug; the task is tried again"
        );
        Attempted::failed(Panicked::failure())
    }

    /// Complete the bill of an attempt of a task that waited so long for a slot, and count it.
    pub(super) fn ended(
        &self,
        (attempt, task): (&Attempt, TaskIndex),
        queue: Duration,
        mut attempted: Attempted,
    ) -> Attempted {
        attempted.bill.queue = queue;
        let Attempted { ending, bill, .. } = &attempted;
        self.host.metrics.attempt(ending, bill);
        self.observed.tell(|| {
            let (blame, code) = metric::labels(ending);
            Event::AttemptEnded {
                job: attempt.context.job().key,
                task,
                code,
                blame,
                bill: *bill,
            }
        });
        attempted
    }
}

impl<'a> Run<'a> {
    /// A task that is not run, for this reason.
    fn refuse(&mut self, number: usize, failure: &Failure) {
        let attempted = Attempted::failed(failure.clone());
        self.results.push((number, attempted));
    }

    /// The next task, prepared if that was done ahead; none if the bundle was cancelled. Other
    /// bundles compute while it is waited for.
    async fn next<S>(&mut self, prepared: &mut Pin<&mut S>) -> Option<Ahead>
    where
        S: Stream<Item = Ahead>,
    {
        let next = match futures::poll!(prepared.next()) {
            Poll::Ready(next) => next,
            Poll::Pending => {
                self.permit = None;
                self.results.during(prepared.next()).await
            }
        };
        next.filter(|_| !self.cancel.is_cancelled())
    }

    /// Take a task to its end, or to where its result is being stored. Returns whether it could
    /// compute; it cannot when the bundle is cancelled.
    async fn task(&mut self, mut next: Next<'a>, ahead: Option<Prepared>) -> bool {
        if next.attempt.cancel.is_cancelled() {
            self.end(&next, Attempted::cancelled());
            return true;
        }
        let stored = attempt::sizes(next.task).stored;
        // What has stored arguments and was not prepared is prepared when they have room.
        let mut prepared = match ahead {
            None if stored == 0 => Some(self.prepare_now(&next).await),
            ahead => ahead,
        };
        if let Some(ready) = prepared {
            prepared = Some(self.ripe(&next.attempt, ready).await);
        }
        let began = self.began;
        self.waited.get_or_insert_with(|| clock::instant() - began);
        if let Some(Prepared::Ended(attempted)) = prepared {
            self.end(&next, *attempted);
            return true;
        }
        let claim = match self.claim(&next, prepared.is_some()).await {
            Ok(Some(claim)) => claim,
            Ok(None) => return false,
            Err(refused) => {
                self.end(&next, Attempted::failed(refused));
                return true;
            }
        };
        let prepared = match prepared {
            Some(prepared) => prepared,
            None => self.prepare_claimed(&next).await,
        };
        let ready = match prepared {
            Prepared::Ready(ready) => ready,
            Prepared::Ended(attempted) => {
                self.end(&next, *attempted);
                return true;
            }
        };
        if self.permit.is_none() {
            let permit = self.runner.permits.compute(self.cancel);
            self.permit = self.results.during(permit).await;
        }
        if self.permit.is_none() {
            return false;
        }
        if next.attempt.cancel.is_cancelled() {
            self.end(&next, Attempted::cancelled());
            return true;
        }
        let began = clock::instant();
        if attempt::makes_subtasks(&next.attempt) {
            let computing = Box::pin(self.compute_parent(&mut next, ready, claim));
            match computing.await {
                Ok((computed, claim)) => {
                    drop(next.room.take());
                    self.keep(next, computed, claim).await;
                }
                Err(ended) => self.end(&next, ended),
            }
            return true;
        }
        let computed = {
            // Pinned here, because this future is large: given as it is, it would be copied.
            let computing = pin!(self.runner.compute(&next.attempt, next.task.index, ready));
            self.results.during(computing).await
        };
        self.computing += clock::instant() - began;
        drop(next.room.take());
        self.keep(next, computed, claim).await;
        true
    }

    /// A task that ended before it computed.
    fn end(&mut self, next: &Next<'_>, attempted: Attempted) {
        self.results.push(next.ended(self.runner, attempted));
    }

    /// Prepare a task that was not prepared ahead. If it waits after all, other bundles compute
    /// meanwhile.
    async fn prepare_now(&mut self, next: &Next<'a>) -> Prepared {
        let runner = self.runner;
        let mut preparing = pin!(runner.prepare_here(&next.attempt, next.task));
        match futures::poll!(preparing.as_mut()) {
            Poll::Ready(prepared) => prepared,
            Poll::Pending => {
                self.permit = None;
                self.results.during(preparing).await
            }
        }
    }

    /// Prepare a task whose stored arguments had no room ahead. It has its claim.
    pub(super) async fn prepare_claimed(&mut self, next: &Next<'a>) -> Prepared {
        self.permit = None;
        let preparing = self.runner.prepare(self.lease, next.number, &next.attempt);
        self.results.during(preparing).await
    }

    /// Claim what a task needs to compute; nothing if the bundle is cancelled first. A bundle that
    /// has to wait for that gives up its permit.
    pub(super) async fn claim(
        &mut self,
        next: &Next<'a>,
        fetched_ahead: bool,
    ) -> Result<Option<Claim<'a>>, Failure> {
        let budget = &self.runner.host.budget;
        let limits = &next.attempt.context.options().limits;
        let sizes = attempt::sizes(next.task);
        let needs = claims::needs(limits, sizes, fetched_ahead);
        if let Some(claim) = budget.try_claim(needs) {
            return Ok(Some(claim));
        }
        budget
            .fits(needs)
            .map_err(|never| claims::never_fits(limits, sizes, never))?;
        self.permit = None;
        let claiming = budget.claim(needs, self.cancel);
        Ok(self.results.during(claiming).await)
    }

    /// A task that may compute as soon as there is a permit: it has all that was asked for ahead,
    /// or took a permit that no other bundle waits for.
    async fn ripe(&mut self, attempt: &Attempt, prepared: Prepared) -> Prepared {
        let ready = match prepared {
            Prepared::Ready(ready) if !ready.is_ripe() => ready,
            prepared => return prepared,
        };
        // Bundles that wait for the permit, if any, get it.
        self.permit = None;
        self.permit = self.runner.permits.try_compute();
        if self.permit.is_some() {
            return Prepared::Ready(ready);
        }
        let ripening = attempt::ripen(&self.runner.host, attempt, ready);
        self.results.during(ripening).await
    }

    /// Keep a result: in the background if there is room for that, else at once. Its instance is
    /// gone, so the claim shrinks to what has to be stored.
    async fn keep(
        &mut self,
        next: Next<'a>,
        computed: Result<Computed, Box<Attempted>>,
        mut claim: Claim<'a>,
    ) {
        let runner = self.runner;
        let bytes = computed
            .as_ref()
            .map_or(0, |computed| attempt::stored_bytes(&runner.host, computed));
        let claim = (bytes > 0).then(|| {
            claim.shrink(bytes as u64);
            claim
        });
        let room = runner.permits.storing(bytes);
        let keeping = async move {
            let kept = runner.keep(&next.attempt, next.task.index, computed).await;
            drop(claim);
            next.ended(runner, kept)
        };
        let Some(room) = room else {
            let keeping = pin!(keeping);
            let ended = self.results.during(keeping).await;
            self.results.push(ended);
            return;
        };
        let keeping = keeping.inspect(move |_| drop(room)).boxed();
        self.results.store(keeping).await;
        if self.results.storing.len() >= STORING_MAX {
            self.permit = None;
            self.results.fewer_than(STORING_MAX, &runner.plan).await;
        }
    }

    /// Wait until all results are stored.
    async fn finish(mut self) -> Reported {
        self.permit = None;
        self.results.fewer_than(1, &self.runner.plan).await;
        if !self.computing.is_zero() {
            let waited = self.waited.unwrap_or_default();
            let observe = |target: &mut LeaseTarget| target.observe(waited, self.computing);
            self.runner.plan.learn(observe);
        }
        self.results.report(self.lease, self.cancel, self.made)
    }
}

/// The span of one attempt.
pub(super) fn span(lease: &Lease, task: &Task) -> Span {
    let function = lease.job.function(task.function);
    tracing::info_span!(
        "attempt",
        job = %lease.job.key,
        task = task.index,
        attempt = lease.attempt,
        function = function.map(|function| tracing::field::display(&function.function)),
    )
}
