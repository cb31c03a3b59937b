//! Decides whether a single task's outcome is lost or can still arrive.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::FutureExt as _;
use sortie_broker::{Broker, Error};
use sortie_protocol::JobKey;
use sortie_protocol::completion::{Command, Completion, End, Event, Mark, Question, Role};
use sortie_protocol::submission;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::clock::Clock;
use super::requests::ask;
use super::timer::Timer;

/// The completion machine of a task that was published alone, with its timer and its questions.
/// It asks on the client's runtime, so it may be polled anywhere.
pub(crate) struct CompletionWatch {
    completion: Completion,
    clock: Clock,
    timer: Timer,
    question: Option<Asked>,
}

/// A question that is under way.
struct Asked(JoinHandle<submission::Event<Error>>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl CompletionWatch {
    /// Of a job whose one task is about to be published.
    pub(crate) fn start(broker: &dyn Broker) -> Self {
        let clock = Clock::start();
        let now = clock.now();
        let expires = broker.retention().map(|kept| now + kept);
        Self {
            completion: Completion::new(Role::Submitter, expires, now),
            clock,
            timer: Timer::default(),
            question: None,
        }
    }

    /// The broker has the task.
    pub(crate) fn published(&mut self) {
        // Right after it was made: nothing can be asked or over yet.
        let _ = self
            .completion
            .on(Event::Expected(Some(1)), self.clock.now());
    }

    /// Everything that is stored up to this mark was told. Whether the task is lost.
    pub(crate) fn caught_up(
        &mut self,
        mark: Mark,
        at: (&Arc<dyn Broker>, JobKey, &Handle),
    ) -> Poll<()> {
        self.on(Event::CaughtUp(mark), at)
    }

    /// Ready when the task has no outcome and gets none.
    pub(crate) fn poll_lost(
        &mut self,
        at: (&Arc<dyn Broker>, JobKey, &Handle),
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            let event = if let Some(Asked(answer)) = &mut self.question {
                let answer = ready!(answer.poll_unpin(cx));
                self.question = None;
                match answer {
                    Ok(submission::Event::Unfinished(answer)) => Event::Unfinished(answer),
                    Ok(submission::Event::Workers(answer)) => Event::Workers(answer),
                    // A runtime that shuts down asks no more.
                    Ok(_) | Err(_) => return Poll::Pending,
                }
            } else {
                let wake_at = self.completion.wake_at();
                ready!(self.timer.poll(wake_at, &self.clock, at.2, cx));
                Event::Tick
            };
            if self.on(event, at).is_ready() {
                return Poll::Ready(());
            }
        }
    }

    fn on(
        &mut self,
        event: Event<'_>,
        (broker, job, runtime): (&Arc<dyn Broker>, JobKey, &Handle),
    ) -> Poll<()> {
        match self.completion.on(event, self.clock.now()) {
            Some(Command::Ask(question)) => {
                self.question = Some(asked(broker.clone(), job, question, runtime));
                Poll::Pending
            }
            Some(Command::End(End::Lost { .. })) => Poll::Ready(()),
            Some(Command::End(End::Complete | End::Incomplete(_))) | None => Poll::Pending,
        }
    }
}

fn asked(broker: Arc<dyn Broker>, job: JobKey, question: Question, runtime: &Handle) -> Asked {
    Asked(runtime.spawn(async move { ask(&*broker, job, question).await }))
}
