//! Follows a job's outcome stream, and reopens it if it ends before the job does.
//!
//! A reopened stream continues from the position reached, so that no outcome is duplicated or
//! missed. The feed closes when the job is cancelled or forgotten, when the broker refuses
//! permanently, or when it was unreachable for its whole outage time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, Stream, StreamExt as _};
use sortie_broker::{Broker, Error, Event, Position};
use sortie_protocol::JobKey;
use sortie_protocol::submission;

use crate::observer::Observed;

/// Delay before reopening a stream that ended without any event: avoids a tight loop when the
/// broker has problems.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);

/// The outcomes of one job, from the first that is kept, as events of the state machine. The last
/// is [`submission::Event::Cancelled`] or [`submission::Event::Closed`].
pub(crate) struct Feed {
    broker: Arc<dyn Broker>,
    job: JobKey,
    observed: Observed,
    /// The position of the next outcome.
    position: Position,
    /// The position at the last opening.
    opened_at: Option<Position>,
    state: State,
}

enum State {
    Open(BoxStream<'static, Event>),
    Opening(BoxFuture<'static, Result<BoxStream<'static, Event>, Error>>),
    Closed,
}

impl Feed {
    /// Follow an existing job.
    pub(crate) async fn open(
        broker: &Arc<dyn Broker>,
        job: JobKey,
        observed: Observed,
    ) -> Result<Self, Error> {
        let stream = broker.follow(job, 0).await?;
        Ok(Self {
            broker: broker.clone(),
            job,
            observed,
            position: 0,
            opened_at: None,
            state: State::Open(stream),
        })
    }

    fn opening(&mut self) -> State {
        let (broker, job, position) = (self.broker.clone(), self.job, self.position);
        let pause = self.opened_at.replace(position) == Some(position);
        State::Opening(
            async move {
                if pause {
                    tokio::time::sleep(REOPEN_PAUSE).await;
                }
                broker.follow(job, position).await
            }
            .boxed(),
        )
    }

    /// Translate a broker's event into an event of the state machine.
    fn translated(&mut self, event: Event) -> submission::Event<Error> {
        match event {
            Event::Outcomes(position, outcomes) => {
                self.position = position + outcomes.len() as Position;
                self.observed.ended(self.job, &outcomes);
                submission::Event::Outcomes(position, outcomes)
            }
            Event::Unreadable { tasks, reason } => submission::Event::Unreadable(tasks, reason),
            Event::Submitting => submission::Event::Submitting,
            Event::Sealed(tasks) => submission::Event::Sealed(tasks),
            Event::CaughtUp(mark) => submission::Event::CaughtUp(mark),
            Event::Cancelled => {
                self.state = State::Closed;
                submission::Event::Cancelled
            }
            Event::Refused(error) => self.close(Some(error)),
        }
    }

    fn close(&mut self, error: Option<Error>) -> submission::Event<Error> {
        self.state = State::Closed;
        submission::Event::Closed(error)
    }
}

impl Stream for Feed {
    type Item = submission::Event<Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match &mut self.state {
                State::Open(stream) => match ready!(stream.poll_next_unpin(cx)) {
                    Some(event) => return Poll::Ready(Some(self.translated(event))),
                    None => self.state = self.opening(),
                },
                State::Opening(opening) => match ready!(opening.poll_unpin(cx)) {
                    Ok(stream) => {
                        self.state = State::Open(stream);
                        return Poll::Ready(Some(submission::Event::Reopened));
                    }
                    Err(error) => return Poll::Ready(Some(self.close(Some(error)))),
                },
                State::Closed => return Poll::Ready(None),
            }
        }
    }
}
