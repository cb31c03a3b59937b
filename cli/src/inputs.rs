//! The inputs of a job, from the command line or from lines, as a stream of arguments.
//!
//! What the command line names is looked at before the job starts, and of each pattern that at least something matches; the rest of it is listed
//! while tasks run, a bounded step ahead. Lines are read while the job runs. No input is held longer than its task.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{self, BoxStream, Stream, StreamExt as _, unfold};
use sortie::Input;
use tokio::time::{Instant, timeout_at};

use crate::arguments::Map;
use crate::clock;
use crate::ending::Error;
use crate::in_flight::InFlight;
use crate::interrupt::Interrupt;
use crate::lines::{Lines, Origin};
use crate::shape::{self, Given, Look, Shape};

/// How long listing may go on before the job starts: most listings end in this time, and then it is known how many inputs there are.
const LISTING_TIME_MAX: Duration = Duration::from_millis(200);
/// How many inputs may be listed before the job starts: some megabytes of names. The job starts without knowing how many follow.
const LISTED_MAX: usize = 10_000;

/// Inputs that were checked as far as that is possible before any task starts.
pub(crate) struct Inputs {
    shape: Arc<Shape>,
    listed: VecDeque<Given>,
    more: BoxStream<'static, Result<Given, String>>,
    lines: Option<Origin>,
    total: Option<u64>,
    /// What was written on the command line.
    texts: Vec<String>,
    output: Option<PathBuf>,
}

impl Inputs {
    /// Find the inputs that a command line names.
    ///
    /// # Errors
    /// When there are none, or one of them is wrong.
    pub(crate) async fn open(arguments: &Map, shape: Shape, interrupt: &Interrupt) -> Result<Self, Error> {
        let shape = Arc::new(shape);
        match &arguments.lines {
            Some(path) => Self::survey(path, shape, interrupt).await,
            None => interrupt.or(Self::list(&arguments.inputs, shape)).await?,
        }
    }

    async fn list(texts: &[String], shape: Arc<Shape>) -> Result<Self, Error> {
        let mut parts = Vec::with_capacity(texts.len());
        let mut is_known = true;
        for text in texts {
            let (first, rest) = match shape.read(text, Look::Now).await.map_err(Error::Usage)? {
                shape::Inputs::One(given) => (Some(given), stream::empty().boxed()),
                shape::Inputs::Many(mut found) => {
                    is_known = false;
                    (found.next().await.transpose().map_err(Error::Usage)?, found)
                }
            };
            parts.push((first, rest));
        }
        let count = parts.len() as u64;
        let more = stream::iter(parts).flat_map(|(first, rest)| stream::iter(first.map(Ok)).chain(rest)).boxed();
        let total = is_known.then_some(count);
        let mut inputs = Self { shape, listed: VecDeque::new(), more, lines: None, total, texts: texts.to_vec(), output: None };
        if inputs.total.is_none() {
            inputs.look_ahead().await?;
        }
        Ok(inputs)
    }

    /// List for a while, since most listings are short.
    async fn look_ahead(&mut self) -> Result<(), Error> {
        let until = Instant::from_std(clock::now() + LISTING_TIME_MAX);
        while self.listed.len() < LISTED_MAX {
            match timeout_at(until, self.more.next()).await {
                Ok(Some(given)) => self.listed.push_back(given.map_err(Error::Usage)?),
                Ok(None) => {
                    self.total = Some(self.listed.len() as u64);
                    return Ok(());
                }
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Look through a file of inputs before anything starts; what can be read once only is left for later.
    async fn survey(path: &Path, shape: Arc<Shape>, interrupt: &Interrupt) -> Result<Self, Error> {
        let origin = Origin::of(path).map_err(Error::Usage)?;
        let total = match &origin {
            Origin::File(_) => {
                let (surveyed, checking) = (origin.clone(), shape.clone());
                let survey = tokio::task::spawn_blocking(move || surveyed.survey(|text| checking.check(text)));
                let counted = interrupt.or(survey).await?.map_err(|error| Error::Platform(error.to_string()))?;
                Some(counted.map_err(Error::Usage)?)
            }
            Origin::Pipe(_) | Origin::Stdin => None,
        };
        if total == Some(0) {
            return Err(Error::Usage(no_lines(&origin)));
        }
        let (listed, more) = (VecDeque::new(), stream::empty().boxed());
        Ok(Self { shape, listed, more, lines: Some(origin), total, texts: Vec::new(), output: None })
    }

    /// How many there are, where that is known. A line that is a pattern counts as one.
    pub(crate) fn total(&self) -> Option<u64> {
        self.total
    }

    /// Whether a local file that is there is named by the command line, by name or by a pattern.
    pub(crate) fn include(&self, file: &Path) -> bool {
        file.exists() && self.texts.iter().any(|text| self.shape.include(text, file))
    }

    /// A file that is made after this, and that a listing which still goes on must not take for an input.
    pub(crate) fn leave_out(&mut self, output: PathBuf) {
        self.output = Some(output);
    }

    /// What to say if there was none after all.
    pub(crate) fn none(&self) -> String {
        self.lines.as_ref().map(no_lines).unwrap_or_default()
    }

    /// The arguments of one task after the other.
    pub(crate) fn stream(self, in_flight: Arc<InFlight>) -> Tasks {
        let left = if self.lines.is_none() { self.total } else { None };
        let lines = self.lines.map(|origin| (origin.lines(), origin));
        let output = self.output;
        let is_input = move |given: &Result<Given, String>| {
            let is_output = matches!(given, Ok(Given { file: Some(file), .. }) if Some(file) == output.as_ref());
            std::future::ready(!is_output)
        };
        let pending = stream::iter(self.listed.into_iter().map(Ok)).chain(self.more).filter(is_input).boxed();
        let feed = Feed { shape: self.shape, in_flight, lines, pending };
        Tasks { left, inner: unfold(feed, Feed::step).boxed() }
    }
}

fn no_lines(origin: &Origin) -> String {
    format!("there are no inputs in {}", origin.name())
}

/// A stream of arguments that knows how many are left, where that is known: the last bundles of a job are made smaller.
pub(crate) struct Tasks {
    left: Option<u64>,
    inner: BoxStream<'static, Vec<Input>>,
}

impl Stream for Tasks {
    type Item = Vec<Input>;

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
    lines: Option<(Lines, Origin)>,
    /// What was found and not taken yet: of the command line, or of the present line.
    pending: BoxStream<'static, Result<Given, String>>,
}

impl Feed {
    async fn step(mut self) -> Option<(Vec<Input>, Self)> {
        self.in_flight.room().await;
        match self.next().await {
            Ok(Some(mut given)) => {
                self.in_flight.take(std::mem::take(&mut given.shown));
                Some((self.shape.fill(given), self))
            }
            Ok(None) => None,
            Err(trouble) => {
                self.in_flight.stop(trouble);
                None
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Given>, String> {
        loop {
            if let Some(given) = self.pending.next().await.transpose()? {
                return Ok(Some(given));
            }
            let Some((lines, origin)) = &mut self.lines else { return Ok(None) };
            let Some(line) = lines.next().await? else { return Ok(None) };
            match self.shape.read(&line.text, Look::Later).await.map_err(|what| origin.wrong(line.number, &what))? {
                shape::Inputs::One(given) => return Ok(Some(given)),
                shape::Inputs::Many(found) => {
                    let (origin, number) = (origin.clone(), line.number);
                    self.pending = found.map(move |given| given.map_err(|what| origin.wrong(number, &what))).boxed();
                }
            }
        }
    }
}
