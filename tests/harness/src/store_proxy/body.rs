//! What is passed on of an answer's body: all of it, frame by frame as it comes, or half and then
//! an end that is none.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::line::State;
use super::rules::Fault;
use super::shared::Shared;

/// The body of an answer of the store, or of the proxy.
pub(super) enum Source {
    Store(Incoming),
    Own(Full<Bytes>),
}

/// A body that is counted.
pub(super) struct Passing {
    source: Source,
    key: String,
    shared: Arc<Shared>,
    cut: Option<Cut>,
}

/// A body that goes wrong in the middle.
struct Cut {
    ending: Ending,
    /// What may still pass.
    left: u64,
    line: Arc<State>,
    /// How much the connection must have carried for all that passed to be out.
    out: u64,
    end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Reset,
    Close,
    Stall,
}

impl Passing {
    pub(super) fn new(source: Source, key: String, shared: Arc<Shared>) -> Self {
        Self {
            source,
            key,
            shared,
            cut: None,
        }
    }

    /// Let it go wrong after half of `length` bytes, if the fault is of that kind.
    #[must_use]
    pub(super) fn cut(self, fault: Option<&Fault>, length: u64, line: &Arc<State>) -> Self {
        let ending = match fault {
            Some(Fault::Reset) => Ending::Reset,
            Some(Fault::Truncate) => Ending::Close,
            Some(Fault::Stall) => Ending::Stall,
            _ => return self,
        };
        let left = length / 2;
        Self {
            cut: Some(Cut {
                ending,
                left,
                line: line.clone(),
                out: line.written() + left,
                end: None,
            }),
            ..self
        }
    }
}

impl Cut {
    /// Comes to an end when everything that passed is on its way, else it would be lost with the
    /// connection.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let (line, out) = (&self.line, self.out);
        let end = self
            .end
            .get_or_insert_with(|| Box::pin(line.clone().carried(out)));
        ready!(end.as_mut().poll(cx));
        match self.ending {
            Ending::Stall => {
                self.end = Some(Box::pin(std::future::pending()));
                return Poll::Pending;
            }
            Ending::Reset => self.line.reset(),
            Ending::Close => {}
        }
        Poll::Ready(io::ErrorKind::ConnectionAborted.into())
    }
}

impl Body for Passing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        if let Some(cut) = this.cut.as_mut().filter(|cut| cut.left == 0) {
            return cut.poll_end(cx).map(|error| Some(Err(error)));
        }
        let frame = match &mut this.source {
            Source::Store(body) => {
                ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map_err(io::Error::other))
            }
            Source::Own(body) => ready!(Pin::new(body).poll_frame(cx))
                .map(|frame| frame.map_err(|never| match never {})),
        };
        let mut data = match frame.map(|frame| frame.map(Frame::into_data)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
            Some(Ok(Ok(data))) => data,
        };
        if let Some(cut) = &mut this.cut {
            data.truncate(usize::try_from(cut.left).unwrap_or(usize::MAX));
            cut.left -= data.len() as u64;
        }
        this.shared.passed(&this.key, data.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.cut.is_none()
            && match &self.source {
                Source::Store(body) => body.is_end_stream(),
                Source::Own(body) => body.is_end_stream(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Store(body) => body.size_hint(),
            Source::Own(body) => body.size_hint(),
        }
    }
}
