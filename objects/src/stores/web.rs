//! Web servers: read with `GET` alone, by the URL that was named.
//!
//! A web server is no store. What it answers to `HEAD` need not be what it answers to `GET`, so
//! the first ranged `GET` opens an object and brings its first block. Validators are compared as
//! RFC 9110 has it: a strong one goes along as `If-Match`, a weak one pins nothing and is only
//! compared, and so is a date. An object without a strong validator is shared with nobody. A server
//! that knows no ranges is read once, whole, if the file is no larger than [`WHOLE_BYTES_MAX`].
//!
//! Requests are repeated as those to stores are, and a body that breaks off goes on where it ended.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt as _};
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
    IF_MATCH, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE, RETRY_AFTER,
};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Response, StatusCode};
use sortie_protocol::Advice;
use sortie_protocol::outcome::{InputFault, cut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

use super::connector::{CONNECT_TIME_MAX, SILENCE_MAX, USER_AGENT};
use super::retries::{RETRIES_MAX, RETRY_TIME_MAX};
use crate::networks::{Closed, Networks, Resolver};
use crate::{Error, clock};

/// The most that is read of a file whose server knows no ranges: it is held as a whole.
pub const WHOLE_BYTES_MAX: u64 = 64 << 20;
/// Redirects that are followed for one request.
const REDIRECTS_MAX: usize = 10;
/// Before a request is repeated for the first time, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// The longest reason that is passed on.
const REASON_BYTES_MAX: usize = 300;

/// Reads files of web servers. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Web {
    client: Client,
    networks: Arc<Networks>,
}

/// A file on a web server.
#[derive(Debug, Clone)]
pub(crate) struct WebFile {
    pub(crate) web: Web,
    pub(crate) url: Url,
    /// Requests to this server at once.
    pub(crate) permits: Arc<Semaphore>,
}

/// What is known of one version of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) size: u64,
    pub(crate) content_type: Option<String>,
    etag: Option<Etag>,
    /// When it was changed last, as the server writes it.
    modified: Option<String>,
}

/// A validator.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Etag {
    /// The same only for the same bytes.
    Strong(String),
    /// The same for what means the same, or not written as a validator is.
    Weak(String),
}

/// What opening a file brought.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) known: Known,
    /// Bytes that came along, and where they begin.
    pub(crate) bytes: Bytes,
    pub(crate) start: u64,
}

impl Etag {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let text = text_of(headers, &ETAG)?;
        let is_strong = text.len() >= 2 && text.starts_with('"') && text.ends_with('"');
        Some(if is_strong {
            Self::Strong(text)
        } else {
            Self::Weak(text.strip_prefix("W/").unwrap_or(&text).to_owned())
        })
    }

    /// The weak comparison: whether both may be of one version.
    fn may_be(&self, other: &Self) -> bool {
        let (Self::Strong(own) | Self::Weak(own)) = self;
        let (Self::Strong(other) | Self::Weak(other)) = other;
        own == other
    }
}

impl Known {
    /// The validator, if it tells versions apart byte by byte.
    pub(crate) fn strong_etag(&self) -> Option<&str> {
        match &self.etag {
            Some(Etag::Strong(etag)) => Some(etag),
            Some(Etag::Weak(_)) | None => None,
        }
    }

    fn of(headers: &HeaderMap, size: u64) -> Self {
        Self {
            size,
            content_type: text_of(headers, &CONTENT_TYPE),
            etag: Etag::of(headers),
            modified: text_of(headers, &LAST_MODIFIED),
        }
    }

    /// Whether an answer is of this version, as far as it says.
    fn may_be(&self, other: &Self) -> bool {
        self.size == other.size
            && match (&self.etag, &other.etag) {
                (Some(own), Some(other)) => own.may_be(other),
                (None, None) => self.modified == other.modified,
                (Some(_), None) | (None, Some(_)) => false,
            }
    }
}

fn text_of(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// `bytes 0-9/100`, as a range and a size; a size alone where the range that was asked for begins
/// past the end.
fn content_range(headers: &HeaderMap) -> Option<(Option<Range<u64>>, u64)> {
    content_range_of(&text_of(headers, &CONTENT_RANGE)?)
}

pub(crate) fn content_range_of(text: &str) -> Option<(Option<Range<u64>>, u64)> {
    let (range, size) = text.strip_prefix("bytes")?.trim().split_once('/')?;
    let size = size.trim().parse().ok()?;
    if range.trim() == "*" {
        return Some((None, size));
    }
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last && last < size).then_some((Some(first..last + 1), size))
}

impl Web {
    /// A client that reads at the addresses that `networks` allow.
    pub(crate) fn new(resolver: Resolver) -> Result<Self, String> {
        let networks = resolver.networks.clone();
        let (follows, checked) = (networks.clone(), networks.clone());
        let builder = Client::builder()
            .user_agent(USER_AGENT)
            // It would show a signed URL to the server that a redirect leads to.
            .referer(false)
            .redirect(Policy::custom(move |attempt| {
                match why_not_followed(&follows, &attempt) {
                    None => attempt.follow(),
                    Some(why) => attempt.error(why),
                }
            }))
            .connect_timeout(CONNECT_TIME_MAX)
            .read_timeout(SILENCE_MAX)
            .dns_resolver(Arc::new(resolver));
        // A proxy would connect to addresses that are not seen here.
        let builder = match *checked {
            Networks::Everywhere => builder,
            Networks::PublicAnd(_) => builder.no_proxy(),
        };
        let client = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { client, networks })
    }
}

/// Why a redirect is not followed.
#[derive(Debug, thiserror::Error)]
enum Astray {
    #[error("it is redirected too often")]
    TooOften,
    #[error("it is redirected from https:// to http://")]
    Unencrypted,
    #[error(transparent)]
    Closed(Closed),
}

fn why_not_followed(networks: &Networks, attempt: &Attempt<'_>) -> Option<Astray> {
    let was_encrypted = attempt.previous().last().map(Url::scheme) == Some("https");
    if attempt.previous().len() > REDIRECTS_MAX {
        Some(Astray::TooOften)
    } else if was_encrypted && attempt.url().scheme() != "https" {
        Some(Astray::Unencrypted)
    } else {
        networks.check(attempt.url()).err().map(Astray::Closed)
    }
}

/// Why an attempt failed.
struct Failed {
    error: Error,
    /// Whether repeating may help, and how long the server wants to be left alone.
    repeat: Repeat,
}

enum Repeat {
    Never,
    After(Option<Duration>),
}

impl Failed {
    fn never(error: Error) -> Self {
        Self {
            error,
            repeat: Repeat::Never,
        }
    }
}

/// How often a request may still be repeated, and until when.
struct Tries {
    left: usize,
    over: Instant,
    pause: Duration,
}

impl Tries {
    fn new() -> Self {
        Self {
            left: RETRIES_MAX,
            over: clock::instant() + RETRY_TIME_MAX,
            pause: PAUSE_MIN,
        }
    }

    /// Wait before the next attempt, or give the error back if there is none.
    async fn after(&mut self, failed: Failed) -> Result<(), Error> {
        let Repeat::After(wanted) = failed.repeat else {
            return Err(failed.error);
        };
        let pause = wanted.map_or(self.pause, |wanted| wanted.max(self.pause));
        if self.left == 0 || clock::instant() + pause > self.over {
            return Err(failed.error);
        }
        self.left -= 1;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

impl WebFile {
    /// Ask for `range` of the present version, and take what comes. `reserve` says whether there
    /// is room for so many more bytes of a file that comes whole.
    pub(crate) async fn open(
        &self,
        shown: &str,
        range: Range<u64>,
        mut reserve: impl FnMut(u64) -> bool,
    ) -> Result<Opened, Error> {
        let mut tries = Tries::new();
        let mut range = Some(range);
        loop {
            match self.open_once(shown, range.clone(), &mut reserve).await {
                Ok(Some(opened)) => return Ok(opened),
                // It has no bytes there, and does not say how many it has.
                Ok(None) => range = None,
                Err(failed) => tries.after(failed).await?,
            }
        }
    }

    async fn open_once(
        &self,
        shown: &str,
        range: Option<Range<u64>>,
        reserve: &mut impl FnMut(u64) -> bool,
    ) -> Result<Option<Opened>, Failed> {
        let (answer, _permit) = self.send(shown, range.as_ref(), None).await?;
        let headers = answer.headers().clone();
        let start = range.as_ref().map_or(0, |range| range.start);
        let opened = |size, bytes, start| {
            Ok(Some(Opened {
                known: Known::of(&headers, size),
                bytes,
                start,
            }))
        };
        match (answer.status(), content_range(&headers)) {
            (StatusCode::PARTIAL_CONTENT, Some((Some(part), size))) if part.start == start => {
                let length = part.end - part.start;
                let wanted = range.as_ref().map_or(0, |range| range.end - range.start);
                if length > wanted {
                    return Err(Failed::never(wrong_range(shown)));
                }
                let bytes = whole(shown, answer, Some(length), length, &mut |_| true).await?;
                opened(size, bytes, start)
            }
            (StatusCode::PARTIAL_CONTENT, _) => Err(Failed::never(wrong_range(shown))),
            (StatusCode::RANGE_NOT_SATISFIABLE, Some((None, size))) => {
                opened(size, Bytes::new(), 0)
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, _) if range.is_some() => Ok(None),
            (status, _) if status.is_success() => {
                let length = text_of(&headers, &CONTENT_LENGTH).and_then(|n| n.parse().ok());
                let bytes = whole(shown, answer, length, WHOLE_BYTES_MAX, reserve).await?;
                opened(bytes.len() as u64, bytes, 0)
            }
            _ => Err(refusal(shown, &answer)),
        }
    }

    /// Bytes of a version that is known, as they come. A body that breaks off goes on.
    pub(crate) async fn get(
        &self,
        shown: &str,
        known: &Known,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        let mut reading = Reading {
            file: self.clone(),
            shown: shown.to_owned(),
            known: known.clone(),
            rest: range,
            tries: Tries::new(),
            body: None,
        };
        reading.ask().await?;
        Ok(stream::unfold(Some(reading), |reading| async {
            let mut reading = reading?;
            match reading.next().await {
                Ok(None) => None,
                Ok(Some(bytes)) => Some((Ok(bytes), Some(reading))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed())
    }

    /// One request. The permit goes with the body.
    async fn send(
        &self,
        shown: &str,
        range: Option<&Range<u64>>,
        known: Option<&Known>,
    ) -> Result<(Response, OwnedSemaphorePermit), Failed> {
        self.web
            .networks
            .check(&self.url)
            .map_err(|_| Failed::never(closed(shown)))?;
        let mut request = self
            .web
            .client
            .get(self.url.clone())
            .header(ACCEPT_ENCODING, "identity");
        if let Some(range) = range {
            let last = range.end.saturating_sub(1);
            request = request.header(RANGE, format!("bytes={}-{last}", range.start));
        }
        match known.map(|known| (&known.etag, &known.modified)) {
            Some((Some(Etag::Strong(etag)), _)) => request = request.header(IF_MATCH, etag),
            // The best there is without a validator, to the resolution of the server's clock.
            Some((None, Some(modified))) => {
                request = request.header(IF_UNMODIFIED_SINCE, modified);
            }
            Some((Some(Etag::Weak(_)), _) | (None, None)) | None => {}
        }
        let permit = self.permits.clone().acquire_owned().await;
        let permit = permit.map_err(|_| {
            Failed::never(Error::new(
                InputFault::Unavailable,
                "the host is shutting down",
            ))
        })?;
        let answer = request.send().await.map_err(|error| broken(shown, error))?;
        Ok((answer, permit))
    }
}

/// A stretch of a file that is being read.
struct Reading {
    file: WebFile,
    shown: String,
    known: Known,
    /// What has not come yet.
    rest: Range<u64>,
    tries: Tries,
    body: Option<(Response, OwnedSemaphorePermit)>,
}

impl Reading {
    /// Ask for what has not come, until somebody answers.
    async fn ask(&mut self) -> Result<(), Error> {
        loop {
            match self.ask_once().await {
                Ok(body) => {
                    self.body = Some(body);
                    return Ok(());
                }
                Err(failed) => self.tries.after(failed).await?,
            }
        }
    }

    async fn ask_once(&self) -> Result<(Response, OwnedSemaphorePermit), Failed> {
        let Self {
            file,
            shown,
            known,
            rest,
            ..
        } = self;
        let (answer, permit) = file.send(shown, Some(rest), Some(known)).await?;
        let changed = || {
            Failed::never(Error::new(
                InputFault::Changed,
                format!("`{shown}` was replaced while the task read it"),
            ))
        };
        match (answer.status(), content_range(answer.headers())) {
            (StatusCode::PARTIAL_CONTENT, Some((Some(part), size))) => {
                if !known.may_be(&Known::of(answer.headers(), size)) {
                    return Err(changed());
                }
                if part != *rest {
                    return Err(Failed::never(wrong_range(shown)));
                }
                Ok((answer, permit))
            }
            (StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE, _) => {
                Err(changed())
            }
            (status, _) if status.is_success() => Err(Failed::never(wrong_range(shown))),
            _ => Err(refusal(shown, &answer)),
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while !self.rest.is_empty() {
            let Some((answer, _)) = &mut self.body else {
                self.ask().await?;
                continue;
            };
            let failed = match answer.chunk().await {
                Ok(Some(mut bytes)) => {
                    let left = self.rest.end - self.rest.start;
                    bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    self.rest.start += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                Ok(None) => cut_short(&self.shown),
                Err(error) => broken(&self.shown, error),
            };
            self.body = None;
            self.tries.after(failed).await?;
        }
        Ok(None)
    }
}

/// A body as a whole: this long, if that is known, and no longer than `bytes_max`.
async fn whole(
    shown: &str,
    mut answer: Response,
    length: Option<u64>,
    bytes_max: u64,
    reserve: &mut impl FnMut(u64) -> bool,
) -> Result<Bytes, Failed> {
    if length.is_some_and(|length| length > bytes_max) {
        return Err(Failed::never(no_ranges(shown)));
    }
    let mut all = BytesMut::new();
    while let Some(bytes) = answer.chunk().await.map_err(|error| broken(shown, error))? {
        if (all.len() + bytes.len()) as u64 > bytes_max {
            return Err(Failed::never(no_ranges(shown)));
        }
        if !reserve(bytes.len() as u64) {
            return Err(Failed::never(Error::new(
                InputFault::Unavailable,
                format!("`{shown}` comes as a whole, for which there is no memory now"),
            )));
        }
        all.extend_from_slice(&bytes);
    }
    if length.is_some_and(|length| length != all.len() as u64) {
        return Err(cut_short(shown));
    }
    Ok(all.freeze())
}

fn cut_short(shown: &str) -> Failed {
    Failed {
        error: Error::new(
            InputFault::Unavailable,
            format!("failed to read `{shown}`: the answer ended too early"),
        ),
        repeat: Repeat::After(None),
    }
}

fn wrong_range(shown: &str) -> Error {
    Error::new(
        InputFault::Malformed,
        format!("`{shown}` cannot be read: its server answers other bytes than were asked for"),
    )
}

fn no_ranges(shown: &str) -> Error {
    Error::new(
        InputFault::Malformed,
        format!(
            "`{shown}` cannot be read: its server knows no ranges, and without them no more than \
             {} MiB are read; copy it to a store or to a server that knows them",
            WHOLE_BYTES_MAX >> 20
        ),
    )
}

fn closed(shown: &str) -> Error {
    Error::new(
        InputFault::Denied,
        format!(
            "`{shown}` may not be read: {Closed}; the operator of the worker can allow networks"
        ),
    )
    .advised(Advice::AllowNetworks)
}

/// What an answer means that brings nothing.
fn refusal(shown: &str, answer: &Response) -> Failed {
    let status = answer.status();
    let said = format!(
        "{} {}",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default()
    );
    let said = said.trim_end();
    let (fault, message) = match status.as_u16() {
        404 | 410 => (
            InputFault::Missing,
            format!("there is nothing at `{shown}`"),
        ),
        401 | 403 | 407 => (
            InputFault::Denied,
            format!(
                "`{shown}` may not be read: its server answers `{said}`; check the URL, and \
                 whether its signature has expired if it has one"
            ),
        ),
        408 | 425 | 429 | 500..=599 => {
            let wanted = text_of(answer.headers(), &RETRY_AFTER)
                .and_then(|seconds| seconds.parse().ok())
                .map(Duration::from_secs);
            let message = format!("failed to read `{shown}`: its server answers `{said}`");
            return Failed {
                error: Error::new(InputFault::Unavailable, message),
                repeat: Repeat::After(wanted),
            };
        }
        _ => (
            InputFault::Malformed,
            format!("`{shown}` cannot be read: its server answers `{said}`"),
        ),
    };
    Failed::never(Error::new(fault, message))
}

/// What went wrong on the way.
fn broken(shown: &str, error: reqwest::Error) -> Failed {
    // It is in the sources of the error otherwise, query and all.
    let error = error.without_url();
    let first: &(dyn std::error::Error + 'static) = &error;
    let sources: Vec<_> = std::iter::successors(Some(first), |source| source.source()).collect();
    let is_closed = sources.iter().any(|source| {
        source.is::<Closed>() || matches!(source.downcast_ref(), Some(Astray::Closed(_)))
    });
    if is_closed {
        return Failed::never(closed(shown));
    }
    let cause = sources.last().map(ToString::to_string).unwrap_or_default();
    let cause = cause.lines().next().unwrap_or_default().to_owned();
    let (fault, repeat) = if error.is_redirect() {
        (InputFault::Denied, Repeat::Never)
    } else {
        (InputFault::Unavailable, Repeat::After(None))
    };
    let message = format!("failed to read `{shown}`: {}", cut(cause, REASON_BYTES_MAX));
    Failed {
        error: Error::new(fault, message),
        repeat,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn validators_are_compared_as_they_are_meant() {
        let known = |etag: &str| Known::of(&headers(&[(ETAG, etag)]), 3);
        assert_eq!(known("\"a\"").strong_etag(), Some("\"a\""));
        for weak in ["W/\"a\"", "a", "\""] {
            assert_eq!(known(weak).strong_etag(), None, "{weak}");
        }
        assert!(known("W/\"a\"").may_be(&known("W/\"a\"")));
        assert!(known("W/\"a\"").may_be(&known("\"a\"")));
        assert!(!known("W/\"a\"").may_be(&known("W/\"b\"")));
        assert!(!known("\"a\"").may_be(&Known::of(&headers(&[]), 3)));
        let dated = |date: &str| Known::of(&headers(&[(LAST_MODIFIED, date)]), 3);
        assert!(dated("x").may_be(&dated("x")) && !dated("x").may_be(&dated("y")));
        assert!(!dated("x").may_be(&Known::of(&headers(&[(LAST_MODIFIED, "x")]), 4)));
    }

    #[test]
    fn a_range_is_taken_only_if_it_says_all() {
        let range = |text: &str| content_range(&headers(&[(CONTENT_RANGE, text)]));
        assert_eq!(range("bytes 0-9/100"), Some((Some(0..10), 100)));
        assert_eq!(range("bytes */7"), Some((None, 7)));
        for text in [
            "bytes 0-9/*",
            "bytes 9-0/100",
            "bytes 0-9/9",
            "items 0-9/10",
            "0-9/10",
            "",
        ] {
            assert_eq!(range(text), None, "{text}");
        }
    }
}
