//! A job's outcomes as one stream, whatever happens to the connection.
//!
//! A broker's own stream may end before the job does, when an outage outlasts its patience. Here it is then opened again from the position
//! that was reached, so that nothing comes twice and nothing is missed. The stream ends when the job is cancelled or forgotten, when the
//! broker refuses for good, or when it stays away for longer than one of its own calls waits.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, Stream, StreamExt as _};
use sortie_broker::{Broker, Error, Event, Position};
use sortie_protocol::JobId;

/// Wait before a stream is opened again that ended without a word since it was opened: a broker in trouble is not asked in a tight loop.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);

/// The outcomes of one job, from the first that is kept.
pub(crate) struct Following {
    broker: Arc<dyn Broker>,
    job: JobId,
    /// The position of the next outcome.
    position: Position,
    /// Where it was when it was opened last.
    opened_at: Option<Position>,
    state: State,
}

enum State {
    Open(BoxStream<'static, Event>),
    Opening(BoxFuture<'static, Result<BoxStream<'static, Event>, Error>>),
    /// There is nothing more, for this reason if it is not that the job was cancelled.
    Over(Option<Error>),
}

impl Following {
    /// Follow a job that is there.
    pub(crate) async fn open(broker: &Arc<dyn Broker>, job: JobId) -> Result<Self, Error> {
        let stream = broker.outcomes(job, 0).await?;
        Ok(Self { broker: broker.clone(), job, position: 0, opened_at: None, state: State::Open(stream) })
    }

    /// Why there is nothing more, if the job was not cancelled.
    pub(crate) fn trouble(&mut self) -> Option<Error> {
        match &mut self.state {
            State::Over(error) => error.take(),
            State::Open(_) | State::Opening(_) => None,
        }
    }

    /// Open the stream again, which reads what is stored: whatever a broker has to say once and was not heard.
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
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            let next = match &mut self.state {
                State::Open(stream) => match ready!(stream.poll_next_unpin(cx)) {
                    Some(Event::Outcomes(position, outcomes)) => {
                        self.position = position + outcomes.len() as Position;
                        return Poll::Ready(Some(Event::Outcomes(position, outcomes)));
                    }
                    Some(Event::Cancelled) => {
                        self.state = State::Over(None);
                        return Poll::Ready(Some(Event::Cancelled));
                    }
                    Some(Event::Refused(error)) => State::Over(Some(error)),
                    None => self.opening(),
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
