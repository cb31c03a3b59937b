//! A job's outcomes as one stream, whatever happens to the connection.
//!
//! A broker's own stream may end before the job does. Here it is then opened again from the
//! position that was reached, so that nothing comes twice and nothing is missed. The stream ends
//! when the job is cancelled or forgotten, when the broker refuses for good, or when it stayed away
//! for longer than one of its own calls waits.
//!
//! It also says when waiting is in vain. A bundle leaves the broker only after the outcomes of its
//! tasks were stored, so where nothing of a job waits or is in work, everything that will ever come
//! is there to be read. What is still missing when it was read then was dropped because of its age,
//! or was written by a program that this one does not understand. A tenant who is not told what is
//! unfinished is not told this, either.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, Stream, StreamExt as _};
use sortie_broker::{Broker, Error, Event, Position};
use sortie_protocol::{JobId, Outcome};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::jobs::unfinished;

/// Wait before a stream is opened again that ended without a word since it was opened: a broker in
/// trouble is not asked in a tight loop.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);
/// How often a job is looked at of which nothing comes: one question to the broker each time.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// While something of it is unfinished each wait is twice the one before, up to this: thousands of
/// futures may wait for tasks that take hours, and a minute more is little to whoever waits in vain
/// after that.
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(60);
/// After this many looks in a row, half a minute, without an outcome and with nothing unfinished,
/// nothing more will come. A stream that missed something looks for it every ten seconds.
const IDLE_LOOKS: u32 = 6;
/// The looks say that outcomes are stored; that they were read is known when the stream has caught
/// up so often between them. What it found the first time may be from before the first look. A
/// stream that cannot be read is waited for until the broker gives it up.
const CAUGHT_UP_MIN: u32 = 2;

/// What a follower is told.
#[derive(Debug)]
pub(crate) enum Followed {
    /// Outcomes were stored, the first at this position.
    Outcomes(Position, Arc<[Outcome]>),
    /// The job was cancelled. The last that comes.
    Cancelled,
    /// Nothing of the job waits or is in work, and nothing came for a while: what was published and
    /// has no outcome yet gets none. May come again.
    Idle,
}

/// The outcomes of one job, from the first that is kept.
pub(crate) struct Following {
    broker: Arc<dyn Broker>,
    job: JobId,
    /// The position of the next outcome.
    position: Position,
    /// Where it was when it was opened last.
    opened_at: Option<Position>,
    state: State,
    vigil: Vigil,
}

/// Looks whether anything of a quiet job is unfinished.
struct Vigil {
    runtime: Handle,
    look: Option<Look>,
    /// The wait before the next look.
    pause: Duration,
    /// Looks in a row that found nothing unfinished, with nothing happening between them.
    idle: u32,
    /// How often, between those looks, the broker's stream was found to have caught up anew.
    caught_up: u32,
    /// What the broker counted at the last of them.
    count: Option<u64>,
    /// Whether something happened since the last look was begun: an outcome came, or a bundle went
    /// out.
    stirred: bool,
}

/// What a look found.
enum Found {
    /// Nothing is unfinished. With how often the stream has caught up by then, where that has to be
    /// asked for.
    Idle(Option<u64>),
    /// Something is, or the broker does not tell.
    Busy,
}

/// A look that is under way.
struct Look(JoinHandle<Found>);

impl Drop for Look {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Vigil {
    fn new(runtime: Handle) -> Self {
        Self {
            runtime,
            look: None,
            pause: LOOK_INTERVAL,
            idle: 0,
            caught_up: 0,
            count: None,
            stirred: false,
        }
    }

    /// Ready when nothing more will come.
    fn poll(&mut self, broker: &Arc<dyn Broker>, job: JobId, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let look = self.look.get_or_insert_with(|| {
                let (broker, pause) = (broker.clone(), self.pause);
                Look(self.runtime.spawn(async move {
                    tokio::time::sleep(pause).await;
                    match unfinished(&*broker, job).await {
                        Ok(Some(0)) => Found::Idle(broker.caught_up(job)),
                        Ok(_) | Err(_) => Found::Busy,
                    }
                }))
            });
            // A runtime that shuts down looks no more.
            let Ok(found) = ready!(look.0.poll_unpin(cx)) else {
                return Poll::Pending;
            };
            self.look = None;
            if self.is_over(&found) {
                self.idle = 0;
                return Poll::Ready(());
            }
        }
    }

    /// Whether nothing more will come, after this look.
    fn is_over(&mut self, found: &Found) -> bool {
        let stirred = std::mem::take(&mut self.stirred);
        let Found::Idle(count) = *found else {
            self.idle = 0;
            self.pause = (self.pause * 2).min(LOOK_INTERVAL_MAX);
            return false;
        };
        self.pause = LOOK_INTERVAL;
        if stirred {
            self.idle = 0;
            return false;
        }
        if self.idle == 0 {
            self.caught_up = 0;
        } else if count != self.count {
            self.caught_up += 1;
        }
        self.count = count;
        self.idle = self.idle.saturating_add(1);
        self.idle >= IDLE_LOOKS && (count.is_none() || self.caught_up >= CAUGHT_UP_MIN)
    }
}

enum State {
    Open(BoxStream<'static, Event>),
    Opening(BoxFuture<'static, Result<BoxStream<'static, Event>, Error>>),
    /// There is nothing more, for this reason if it is not that the job was cancelled.
    Over(Option<Error>),
}

impl Following {
    /// Follow a job that is there. What is looked at now and then is asked on `runtime`, so the
    /// stream may be polled anywhere.
    pub(crate) async fn open(
        broker: &Arc<dyn Broker>,
        runtime: &Handle,
        job: JobId,
    ) -> Result<Self, Error> {
        let stream = broker.outcomes(job, 0).await?;
        let vigil = Vigil::new(runtime.clone());
        Ok(Self {
            broker: broker.clone(),
            job,
            position: 0,
            opened_at: None,
            state: State::Open(stream),
            vigil,
        })
    }

    /// Why there is nothing more, if the job was not cancelled.
    pub(crate) fn trouble(&mut self) -> Option<Error> {
        match &mut self.state {
            State::Over(error) => error.take(),
            State::Open(_) | State::Opening(_) => None,
        }
    }

    /// Something happened that makes outcomes come: what a look that is under way finds may be from
    /// before that, and does not count.
    pub(crate) fn stir(&mut self) {
        self.vigil.stirred = true;
    }

    /// Open the stream again, which reads what is stored: whatever a broker has to say once and was
    /// not heard.
    pub(crate) fn look_again(&mut self) {
        if matches!(self.state, State::Open(_)) {
            self.state = self.opening();
        }
    }

    fn opening(&mut self) -> State {
        let (broker, job, position) = (self.broker.clone(), self.job, self.position);
        let pause = self.opened_at.replace(position) == Some(position);
        State::Opening(
            async move {
                if pause {
                    tokio::time::sleep(REOPEN_PAUSE).await;
                }
                broker.outcomes(job, position).await
            }
            .boxed(),
        )
    }
}

impl Stream for Following {
    type Item = Followed;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Followed>> {
        loop {
            let next = match &mut self.state {
                State::Open(stream) => match stream.poll_next_unpin(cx) {
                    Poll::Pending => {
                        let Self {
                            vigil, broker, job, ..
                        } = &mut *self;
                        ready!(vigil.poll(broker, *job, cx));
                        return Poll::Ready(Some(Followed::Idle));
                    }
                    Poll::Ready(Some(Event::Outcomes(position, outcomes))) => {
                        self.position = position + outcomes.len() as Position;
                        self.stir();
                        return Poll::Ready(Some(Followed::Outcomes(position, outcomes)));
                    }
                    Poll::Ready(Some(Event::Cancelled)) => {
                        self.state = State::Over(None);
                        return Poll::Ready(Some(Followed::Cancelled));
                    }
                    Poll::Ready(Some(Event::Refused(error))) => State::Over(Some(error)),
                    Poll::Ready(None) => self.opening(),
                },
                State::Opening(opening) => match ready!(opening.poll_unpin(cx)) {
                    Ok(stream) => State::Open(stream),
                    Err(error) => State::Over(Some(error)),
                },
                State::Over(_) => return Poll::Ready(None),
            };
            self.state = next;
        }
    }
}
