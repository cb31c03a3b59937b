//! The async driver of a client's jobs: carries out the commands of the state machine and feeds it
//! events.
//!
//! What to do is decided by [`Submission`]; here are only the inputs, the broker's answers, the
//! outcome stream, the caller and the clock.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use sortie_broker::{Broker, Error, LetterId};
use sortie_protocol::submission::{Command, End, Event, Manner, NoTask, Progress, Submission};
use sortie_protocol::{JobKey, Outcome, Task, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::clock::Clock;
use super::feed::Feed;
use super::futures::Futures;
use super::requests::Requests;
use super::sink::{Control, JobSink};
use super::timer::Timer;
use super::window::Window;
use crate::observer::Observed;

/// What a job is driven with.
pub(crate) struct Shell<'b> {
    requests: Requests<'b>,
    runtime: &'b Handle,
    clock: Clock,
    timer: Timer,
    machine: Submission<Error>,
    feed: Option<Feed>,
    caller: Caller<'b>,
    /// Batches that the caller has no room for yet. The machine reads no further ones meanwhile.
    waiting: VecDeque<Arc<[Outcome]>>,
    window: Option<&'b Window>,
    slots: usize,
    progress: Option<Progress>,
    /// The dead letters of a replay's tasks, in their order.
    letters: &'b [LetterId],
    /// Closed when a replay is to stop.
    stop: Option<watch::Receiver<()>>,
}

/// Who gets a job's outcomes.
#[derive(Default)]
pub(crate) enum Caller<'b> {
    /// They are not followed.
    #[default]
    Nobody,
    /// Whoever reads the job.
    Reader(&'b mut JobSink),
    /// Whoever holds the future of a task.
    Futures(&'b mut Futures),
}

/// What a shell is told by, beside its inputs.
#[derive(Default)]
pub(crate) struct Parts<'b> {
    /// How many inputs there are, if that is known.
    pub(crate) inputs: Option<u64>,
    /// When unread outcomes may have been dropped.
    pub(crate) expires: Option<Timestamp>,
    pub(crate) feed: Option<Feed>,
    pub(crate) caller: Caller<'b>,
    pub(crate) window: Option<&'b Window>,
    pub(crate) observed: Observed,
    pub(crate) letters: &'b [LetterId],
    pub(crate) stop: Option<watch::Receiver<()>>,
}

impl<'b> Shell<'b> {
    pub(crate) fn new(
        manner: Manner,
        (broker, job): (&'b dyn Broker, JobKey),
        runtime: &'b Handle,
        parts: Parts<'b>,
    ) -> Self {
        let clock = Clock::start();
        Self {
            requests: Requests::new(broker, job, parts.observed),
            runtime,
            clock,
            timer: Timer::default(),
            machine: Submission::new(manner, parts.inputs, parts.expires, clock.now()),
            feed: parts.feed,
            caller: parts.caller,
            waiting: VecDeque::new(),
            window: parts.window,
            slots: 0,
            progress: None,
            letters: parts.letters,
            stop: parts.stop,
        }
    }

    /// Tell the machine of something that was known before.
    pub(crate) fn tell(&mut self, event: Event<Error>) {
        self.machine.on(event, self.clock.now());
    }

    /// Tasks that the broker confirmed.
    pub(crate) fn published(&self) -> u64 {
        self.machine.published()
    }

    /// Drive the job to its end. Dropping this stops it where it is.
    pub(crate) async fn run<S>(&mut self, inputs: S) -> End<Error>
    where
        S: Stream<Item = Result<Task, NoTask>> + Unpin,
    {
        let mut inputs = inputs.fuse();
        loop {
            self.look_at_window();
            if let Some(end) = self.obey().await {
                return end;
            }
            let event = self.next(&mut inputs).await;
            self.tell(event);
        }
    }

    fn look_at_window(&mut self) {
        if let Some(window) = self.window
            && window.slots() != self.slots
        {
            self.slots = window.slots();
            self.tell(Event::Window {
                slots: self.slots,
                bundles: window.bundles(),
            });
        }
    }

    /// Carry out all commands there are. Waits for nothing.
    async fn obey(&mut self) -> Option<End<Error>> {
        self.show_progress();
        while let Some(command) = self.machine.next_command() {
            let answer = match command {
                Command::Publish(tasks) => self.requests.publish(tasks).await,
                Command::Report(outcomes) => self.requests.report(outcomes).await,
                Command::Seal(tasks) => self.requests.seal(tasks).await,
                Command::Cancel => self.requests.cancel().await,
                Command::CancelTasks(tasks) => {
                    self.requests.cancel_tasks(tasks).await;
                    None
                }
                Command::Confirm(index) => {
                    let letter = usize::try_from(index)
                        .ok()
                        .and_then(|index| self.letters.get(index));
                    match letter {
                        Some(letter) => self.requests.remove(*letter).await,
                        None => None,
                    }
                }
                Command::Beat => {
                    self.requests.beat().await;
                    None
                }
                Command::Trim(before) => {
                    self.trim(before).await;
                    None
                }
                Command::Ask(question) => {
                    self.requests.ask(question);
                    None
                }
                Command::PassOn(outcomes) => self.pass_on(outcomes),
                Command::End(end) => {
                    self.show_progress();
                    return Some(end);
                }
            };
            if let Some(event) = answer {
                self.tell(event);
            }
        }
        None
    }

    fn show_progress(&mut self) {
        let progress = self.machine.progress();
        if let Caller::Reader(caller) = &self.caller
            && self.progress != Some(progress)
        {
            self.progress = Some(progress);
            caller.state.set_progress(progress);
        }
    }

    async fn trim(&mut self, before: u64) {
        let keeps = match &self.caller {
            Caller::Reader(caller) => caller.state.keeps_outcomes(),
            Caller::Futures(futures) => futures.keeps_outcomes(),
            Caller::Nobody => false,
        };
        if !keeps {
            self.requests.trim(before).await;
        }
    }

    /// Pass outcomes on, if the caller has room.
    fn pass_on(&mut self, outcomes: Arc<[Outcome]>) -> Option<Event<Error>> {
        let caller = match &self.caller {
            Caller::Nobody => return Some(Event::Passed),
            Caller::Futures(futures) => {
                futures.hand_out(&outcomes);
                return Some(Event::Passed);
            }
            Caller::Reader(caller) => caller,
        };
        if self.waiting.is_empty()
            && let Ok(room) = caller.batches.try_reserve()
        {
            room.send(outcomes);
            return Some(Event::Passed);
        }
        // A caller that is gone is noticed as such.
        self.waiting.push_back(outcomes);
        None
    }

    /// Wait for the next thing that happens. Cancel safe: what is polled here is kept.
    async fn next<S>(&mut self, inputs: &mut S) -> Event<Error>
    where
        S: Stream<Item = Result<Task, NoTask>> + Unpin,
    {
        let wants = self.machine.wants();
        let wake_at = self.machine.wake_at();
        let Self {
            requests,
            caller,
            waiting,
            feed,
            timer,
            clock,
            runtime,
            stop,
            ..
        } = self;
        let may_cancel = !requests.is_cancelling();
        tokio::select! {
            biased;
            event = heard(caller, waiting, may_cancel) => event,
            () = stopped(stop) => Event::Stop,
            event = read(feed), if wants.outcomes => event,
            event = requests.answer() => event,
            input = inputs.next(), if wants.inputs => {
                input.map_or(Event::InputsEnded, Event::Input)
            }
            () = std::future::ready(()), if wants.pause => Event::InputsPending,
            () = std::future::poll_fn(|cx| timer.poll(wake_at, clock, runtime, cx)) => Event::Tick,
        }
    }
}

/// What the caller wants, or that it has room for what waits.
async fn heard(
    caller: &mut Caller<'_>,
    waiting: &mut VecDeque<Arc<[Outcome]>>,
    may_cancel: bool,
) -> Event<Error> {
    let JobSink {
        batches, control, ..
    } = match caller {
        Caller::Futures(futures) if may_cancel => {
            return Event::CancelTasks(futures.stopped().await);
        }
        Caller::Futures(_) | Caller::Nobody => return std::future::pending().await,
        Caller::Reader(caller) => &mut **caller,
    };
    tokio::select! {
        biased;
        changed = control.changed() => match (changed, *control.borrow()) {
            (Ok(()), Control::Run | Control::Cancel) => Event::Cancel,
            (Ok(()), Control::Leave) | (Err(_), _) => Event::Gone,
        },
        () = batches.closed() => Event::Gone,
        room = batches.reserve(), if !waiting.is_empty() => {
            if let (Ok(room), Some(outcomes)) = (room, waiting.pop_front()) {
                room.send(outcomes);
            }
            Event::Passed
        }
    }
}

/// A replay is stopped by closing the channel, once.
async fn stopped(stop: &mut Option<watch::Receiver<()>>) {
    match stop {
        Some(open) => while open.changed().await.is_ok() {},
        None => std::future::pending().await,
    }
    *stop = None;
}

async fn read(feed: &mut Option<Feed>) -> Event<Error> {
    match feed {
        Some(feed) => feed.next().await.unwrap_or(Event::Closed(None)),
        None => std::future::pending().await,
    }
}
