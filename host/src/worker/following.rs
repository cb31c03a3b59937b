//! Runs tasks that follow another one right where that ran.
//!
//! A task may come with others, each of which takes the result of the one before it. They were not
//! published, and nobody waits for them here: their submitter has them too, and publishes those
//! whose outcomes did not come together with that of the task. So each that does not end well, or
//! not at once, is left alone: one whose function takes long or has not run here yet, one that has
//! to wait for something, one that needs more memory than is free, and one that makes subtasks.
//!
//! The outcomes of the bundle wait meanwhile, so this ends [`TARGET`] after the bundle began. A
//! task that was taken for a short one and is not is stopped after as long again.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sortie_broker::Lease;
use sortie_protocol::packing::{TARGET, TASKS_MAX};
use sortie_protocol::{Ending, Output, Part, Task, TaskIndex, WaitingTask, filling};

use super::bundle::{Contexts, Run, span};
use super::claims;
use crate::attempt::{self, Attempt, Attempted, JobContext, Prepared};
use crate::clock;
use crate::sandbox::TaskCancel;

impl Run<'_> {
    /// Run what follows a task of the bundle, if that has just ended with a small result.
    pub(super) async fn follow(&mut self, number: usize, first: &Task, contexts: &Contexts) {
        let Some(mut result) = self.results.result_of(number).cloned() else {
            return;
        };
        // What subtasks answer may be otherwise in a second run.
        if self.made.iter().any(|made| made.task == first.index) {
            return;
        }
        let mut before = first.index;
        for next in &first.then {
            let reported = self.lease.bundle.tasks.len() + self.results.followed();
            if clock::instant() >= self.began + TARGET || reported >= TASKS_MAX {
                return;
            }
            let Some(context) = context(self.lease, (first, next), contexts) else {
                return;
            };
            let Some(task) = filled(next, &context, (before, result)) else {
                return;
            };
            let Some(attempted) = self.run_next(&task, context).await else {
                return;
            };
            let made = match &attempted.ending {
                Ending::Completed(made) => made.clone(),
                Ending::Failed(_) | Ending::Cancelled => return,
            };
            (before, result) = (task.index, made);
            if !self.results.push_followed(task, attempted) {
                return;
            }
        }
    }

    /// Run one task, if that can be done at once.
    async fn run_next(&mut self, task: &Task, context: Arc<JobContext>) -> Option<Attempted> {
        let runner = self.runner;
        let limits = context.options().limits;
        let cancel = TaskCancel::of(self.cancel.clone(), task.index);
        let attempt = Attempt {
            context,
            cancel: cancel.until(self.began + 2 * TARGET),
            span: span(self.lease, task),
        };
        if attempt::waits_for(&runner.host, &attempt.context, task) {
            return None;
        }
        let needs = claims::needs(&limits, attempt::sizes(task), false);
        let claim = runner.host.budget.try_claim(needs)?;
        if self.permit.is_none() {
            self.permit = runner.permits.try_compute();
        }
        self.permit.as_ref()?;
        let attempted = match runner.prepare_here(&attempt, task).await {
            Prepared::Ended(attempted) => *attempted,
            Prepared::Ready(ready) => {
                let began = clock::instant();
                let computed = {
                    let computing = pin!(runner.compute(&attempt, task.index, ready));
                    self.results.during(computing).await
                };
                self.computing += clock::instant() - began;
                let keeping = pin!(runner.keep(&attempt, task.index, computed));
                self.results.during(keeping).await
            }
        };
        drop(claim);
        let ended = runner.ended((&attempt, task.index), Duration::ZERO, attempted);
        let is_done = matches!(ended.ending, Ending::Completed(_));
        is_done.then(|| {
            runner.host.metrics.followed();
            ended
        })
    }
}

/// The context of a task that follows, if it may run where the first one does, and is short.
fn context(
    lease: &Lease,
    (first, next): (&Task, &WaitingTask),
    contexts: &Contexts,
) -> Option<Arc<JobContext>> {
    let of = |function| lease.job.function(function).map(|called| &called.options);
    let (first, options) = (of(first.function)?, of(next.function)?);
    let goes_along = first.labels == options.labels && first.priority == options.priority;
    let context = contexts.of(next.function)?.as_ref().ok()?;
    let is_short = context.is_shorter_than(TARGET / 2);
    (goes_along && is_short && options.grants.deterministic()).then(|| context.clone())
}

/// The task, with the result of the one before it in its place. It takes no other.
fn filled(
    next: &WaitingTask,
    context: &JobContext,
    (before, result): (TaskIndex, Output),
) -> Option<Task> {
    if !matches!(result, Output::Value(_)) || next.inputs().any(|input| input != before) {
        return None;
    }
    let parts = next.parts.iter().cloned();
    let parts: Vec<Part<Output>> = parts.map(|part| part.map(|_| result.clone())).collect();
    if parts.len() != context.signature()?.parameters.len() || !parts.iter().all(filling::is_inline)
    {
        return None;
    }
    Some(Task {
        index: next.index,
        arguments: filling::fill(context.signature()?, parts).ok()?,
        function: next.function,
        input: next.input.clone(),
        then: Vec::new(),
    })
}
