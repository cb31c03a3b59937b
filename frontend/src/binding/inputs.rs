//! Turns the inputs of a job, named or in lines, into a stream of arguments.
//!
//! Local files are all listed before the job starts, unless there are very many; of a bucket's
//! listing only the first object is, and the rest is listed while tasks run. Lines are read while
//! the job runs, too, and none is held longer than its task. If the job's output is among the
//! inputs, this is an error as soon as it is found.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::stream::{self, BoxStream, Stream, StreamExt as _, unfold};
use sortie::Arguments;
use sortie::protocol::Advice;

use super::in_flight::InFlight;
use super::lines::{Lines, Origin};
use super::places::Look;
use super::shape::{Given, Read, Shape};
use crate::error::Error;
use crate::stop::Stop;

/// Where the inputs come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A list of inputs and patterns.
    Named(Vec<String>),
    /// A file with one input per line; `-` is standard input.
    Lines(PathBuf),
}

/// The inputs of a job, checked as far as possible before any task starts.
pub struct Inputs {
    shape: Arc<Shape>,
    /// What the command line names, in its order.
    named: Vec<Read>,
    lines: Option<Origin>,
    total: Option<u64>,
}

impl Inputs {
    /// Find and check the inputs.
    ///
    /// # Errors
    /// When there are none, or one of them is invalid.
    pub async fn open(source: &Source, shape: Shape, stop: &Stop) -> Result<Self, Error> {
        let shape = Arc::new(shape);
        match source {
            Source::Lines(path) => Self::survey(path, shape, stop).await,
            Source::Named(texts) => stop.or(Self::list(texts, shape)).await?,
        }
    }

    async fn list(texts: &[String], shape: Arc<Shape>) -> Result<Self, Error> {
        let (mut named, mut total) = (Vec::with_capacity(texts.len()), Some(0));
        for text in texts {
            let read = shape.read(text, Look::Now).await?;
            total = match &read {
                Read::Known(given) => total.map(|total| total + given.len() as u64),
                Read::Listing(_) => None,
            };
            named.push(read);
        }
        if total == Some(0) {
            return Err(Error::usage("name at least one input").advised(Advice::ListInputs));
        }
        Ok(Self {
            shape,
            named,
            lines: None,
            total,
        })
    }

    /// Look through a file of inputs before anything starts; what can be read once only is left for
    /// later.
    async fn survey(path: &Path, shape: Arc<Shape>, stop: &Stop) -> Result<Self, Error> {
        let origin = Origin::of(path)?;
        let total = match &origin {
            Origin::File(_) => {
                let (surveyed, checking) = (origin.clone(), shape.clone());
                let survey = tokio::task::spawn_blocking(move || {
                    surveyed.survey(|text| checking.check(text))
                });
                let counted = stop
                    .or(survey)
                    .await?
                    .map_err(|error| Error::platform(error.to_string()))?;
                Some(counted?)
            }
            Origin::Pipe(_) | Origin::Stdin => None,
        };
        if total == Some(0) {
            return Err(no_lines(&origin));
        }
        Ok(Self {
            shape,
            named: Vec::new(),
            lines: Some(origin),
            total,
        })
    }

    /// The number of inputs, if known before they are listed. A line that is a pattern counts as
    /// one.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// The error if there turn out to be no inputs.
    #[must_use]
    pub fn none(&self) -> Error {
        match &self.lines {
            Some(origin) => no_lines(origin),
            None => Error::usage("there are no inputs"),
        }
    }

    /// The stream of the tasks' arguments.
    #[must_use]
    pub fn stream(self, in_flight: Arc<InFlight>) -> Tasks {
        let left = if self.lines.is_none() {
            self.total
        } else {
            None
        };
        let lines = self.lines.map(|origin| (origin.lines(), origin));
        let feed = Feed {
            shape: self.shape,
            in_flight,
            named: self.named.into_iter(),
            lines,
            place: None,
            pending: stream::empty().boxed(),
        };
        Tasks {
            left,
            inner: unfold(feed, Feed::step).boxed(),
        }
    }
}

fn no_lines(origin: &Origin) -> Error {
    Error::usage(format!("there are no inputs in {}", origin.name()))
}

/// A stream of arguments with a size hint, if the number is known, so that the last bundles of a
/// job can be smaller.
pub struct Tasks {
    left: Option<u64>,
    inner: BoxStream<'static, Arguments>,
}

impl Stream for Tasks {
    type Item = Arguments;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.inner.as_mut().poll_next(cx);
        if let Poll::Ready(Some(_)) = &polled {
            self.left = self.left.map(|left| left.saturating_sub(1));
        }
        polled
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, self.left.and_then(|left| usize::try_from(left).ok()))
    }
}

struct Feed {
    shape: Arc<Shape>,
    in_flight: Arc<InFlight>,
    named: std::vec::IntoIter<Read>,
    lines: Option<(Lines, Origin)>,
    /// The line that what is pending comes from, if it does from one.
    place: Option<u64>,
    pending: BoxStream<'static, Result<Given, Error>>,
}

impl Feed {
    async fn step(mut self) -> Option<(Arguments, Self)> {
        self.in_flight.room().await;
        match self.next().await {
            Ok(Some(given)) => {
                let shown = given.shown.clone();
                let arguments = self.shape.fill(given);
                self.in_flight.take(shown);
                Some((arguments, self))
            }
            Ok(None) => None,
            Err(trouble) => {
                self.in_flight.stop(trouble);
                None
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Given>, Error> {
        loop {
            if let Some(given) = self.pending.next().await {
                return given.map(Some).map_err(|error| self.wrong(error));
            }
            let read = match (self.named.next(), &mut self.lines) {
                (Some(read), _) => read,
                (None, None) => return Ok(None),
                (None, Some((lines, _))) => {
                    let Some(line) = lines.next().await? else {
                        return Ok(None);
                    };
                    self.place = Some(line.number);
                    self.shape
                        .read(&line.text, Look::Later)
                        .await
                        .map_err(|error| self.wrong(error))?
                }
            };
            self.pending = match read {
                Read::Known(given) => stream::iter(given).map(Ok).boxed(),
                Read::Listing(given) => given,
            };
        }
    }

    fn wrong(&self, error: Error) -> Error {
        match (self.place, &self.lines) {
            (Some(number), Some((_, origin))) => origin.wrong(number, error),
            _ => error,
        }
    }
}
