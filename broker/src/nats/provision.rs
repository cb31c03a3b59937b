//! Creates the streams and consumers of an installation at the server, idempotently.
//!
//! The record `meta.layout` is written last, so a client that finds it finds the streams. Making
//! what is there changes nothing; asking for another layout than there is, is an error. A tenant
//! needs streams of its own, and in each of its queues the consumers of every pool there is; they
//! are made on first use by whichever process has the permission. What they are made from is in
//! `tenants`.

use std::fmt;
use std::time::Duration;

use async_nats::RequestErrorKind;
use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind};
use async_nats::jetstream::stream;
use bytes::Bytes;
use serde::Deserialize;
use sortie_protocol::{Advice, ByteSize};

use super::clock;
use super::config::{Layout, Provision};
use super::connection::Connection;
use super::headers::expecting;
use super::jetstream::{JetStream, Refusal, code, info_of};
use super::layout::ExistingLayout;
use super::names::Names;
use super::streams::Streams;
use crate::traits::Error;

/// How long what cannot be made is tried again where a cluster may still be electing or have
/// servers to find: longer than an election takes, shorter than a person waits.
const ELECTION_TIME_MAX: Duration = Duration::from_secs(10);
/// The pause between two tries.
const ELECTION_PAUSE: Duration = Duration::from_millis(250);

/// Creates and checks the streams and consumers of an installation.
#[derive(Debug, Clone)]
pub(super) struct Provisioner {
    pub(super) connection: Connection,
    pub(super) jetstream: JetStream,
    pub(super) names: Names,
}

/// Whether the streams of an installation were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Yes,
    Unknown,
}

impl Provisioner {
    /// The existing layout, or the one created now.
    pub(super) async fn ensure(&self, provision: &Provision) -> Result<ExistingLayout, Error> {
        let unanswered = match self
            .jetstream
            .last_anywhere(&self.names.meta_stream(), &self.names.layout())
            .await
        {
            Ok(Some(payload)) => return self.parse(&payload),
            Ok(None) => None,
            // The stream or JetStream is missing, or there is no answer at the moment; creating it
            // will tell.
            Err(error @ Error::Unreachable { .. }) => Some(error),
            Err(error) => return Err(error),
        };
        match provision {
            Provision::Missing(layout) => match (self.make(layout).await, unanswered) {
                // The stream exists but had no leader a moment ago: a transient error, not a
                // refusal, nor a permission that is missing.
                (
                    Err(refusal @ (Error::Unsuitable { .. } | Error::Denied { .. })),
                    Some(unanswered),
                ) => {
                    let (reason, _) = self.missing(Some(unanswered)).await;
                    Err(if reason.is_transient() {
                        reason
                    } else {
                        refusal
                    })
                }
                (made, _) => made,
            },
            Provision::Never => {
                let is_unanswered = unanswered.is_some();
                match self.missing(unanswered).await {
                    (reason, Made::Yes) if is_unanswered => self.awaited(reason).await,
                    (reason, _) => Err(reason),
                }
            }
        }
    }

    /// The layout, of which there was no answer at first: it was made at that moment, or its stream
    /// has no leader yet.
    async fn awaited(&self, reason: Error) -> Result<ExistingLayout, Error> {
        let until = clock::instant() + ELECTION_TIME_MAX;
        let (stream, subject) = (self.names.meta_stream(), self.names.layout());
        while clock::instant() < until {
            tokio::time::sleep(ELECTION_PAUSE).await;
            match self.jetstream.last_anywhere(&stream, &subject).await {
                Ok(Some(payload)) => return self.parse(&payload),
                Err(error) if !error.is_transient() => return Err(error),
                Ok(None) | Err(_) => {}
            }
        }
        Err(reason)
    }

    /// The error for a missing layout: a server that does not answer must not be mistaken for an
    /// empty one.
    async fn missing(&self, unanswered: Option<Error>) -> (Error, Made) {
        #[derive(Deserialize)]
        struct Info {}
        let empty = || {
            let reason = "it is not laid out for Sortie yet";
            self.connection.unprepared(reason, Advice::InitBroker)
        };
        // Not of the stream with the record: what is told of that one names all tenants.
        let stream = self.names.workers_stream();
        let reason = match self.jetstream.about(&stream).await {
            Ok(Ok(answer)) => match self.jetstream.parse::<Info>(&answer) {
                Ok(Ok(Info {})) => return (unanswered.unwrap_or_else(empty), Made::Yes),
                Ok(Err(refusal)) if refusal.code == code::STREAM_NOT_FOUND => empty(),
                Ok(Err(refusal)) => self.jetstream.refused(&refusal),
                Err(error) => error,
            },
            // A server with JetStream answers there, whether or not it has a leader.
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                self.jetstream.no_jetstream()
            }
            Ok(Err(error)) => self.connection.unanswered(&info_of(&stream), &error),
            Err(Error::Denied { .. }) => unanswered.unwrap_or_else(empty),
            Err(error) => error,
        };
        (reason, Made::Unknown)
    }

    fn parse(&self, payload: &[u8]) -> Result<ExistingLayout, Error> {
        ExistingLayout::parse(payload).map_err(|reason| {
            self.connection
                .unsuitable(format!("its record `{}` {reason}", self.names.layout()))
        })
    }

    /// Make the streams that all tenants share, then say so.
    pub(super) async fn make(&self, layout: &Layout) -> Result<ExistingLayout, Error> {
        let laid = ExistingLayout::of(layout);
        let streams = Streams {
            names: &self.names,
            laid,
        };
        self.stream(streams.meta()).await?;
        self.stream(streams.components()).await?;
        self.stream(streams.workers()).await?;
        self.put_once(&self.names.layout(), laid.record().to_string().into())
            .await?;
        // Another process may have recorded another layout first.
        let (stream, subject) = (self.names.meta_stream(), self.names.layout());
        let kept = self
            .connection
            .patiently(|| self.jetstream.last(&stream, &subject))
            .await?;
        kept.map_or(Ok(laid), |kept| self.parse(&kept.payload))
    }

    /// See that an installation is laid out as it is asked for.
    pub(super) fn check_layout(&self, laid: ExistingLayout, asked: &Layout) -> Result<(), Error> {
        if laid == ExistingLayout::of(asked) {
            return Ok(());
        }
        let ExistingLayout {
            shards,
            replicas,
            lease,
        } = laid;
        Err(self.connection.unsuitable(format!(
            "it already has a layout, with {shards} shards, {replicas} replicas and leases of \
             {lease:?}; name these, or another space"
        )))
    }

    pub(super) async fn put_once(&self, subject: &str, payload: Bytes) -> Result<(), Error> {
        match self
            .jetstream
            .store(subject, &expecting(0), &payload)
            .await?
        {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.is_conflict() => Ok(()),
            Err(refusal) => Err(self.jetstream.refused(&refusal)),
        }
    }

    /// Make a stream, or find that it is there.
    pub(super) async fn stream(&self, config: stream::Config) -> Result<(), Error> {
        let subject = format!("$JS.API.STREAM.CREATE.{}", config.name);
        let making = || self.jetstream.context.create_stream(config.clone());
        let made = self.make_patiently(&subject, making, is_electing).await?;
        made.map(drop)
            .map_err(|error| self.not_made(&config, &error))
    }

    /// Make something at the server. Where a cluster may still be electing, as `is_electing` says
    /// of the error, this tries again for [`ELECTION_TIME_MAX`].
    pub(super) async fn make_patiently<T, E, F>(
        &self,
        subject: &str,
        mut make: impl FnMut() -> F,
        is_electing: impl Fn(&E) -> bool,
    ) -> Result<Result<T, E>, Error>
    where
        E: fmt::Display,
        F: Future<Output = Result<T, E>>,
    {
        let until = clock::instant() + ELECTION_TIME_MAX;
        loop {
            match self.connection.guarded(subject, make()).await? {
                Err(error) if is_electing(&error) && clock::instant() < until => {
                    tracing::debug!(%error, subject, "asking again");
                    tokio::time::sleep(ELECTION_PAUSE).await;
                }
                made => return Ok(made),
            }
        }
    }

    fn not_made(&self, config: &stream::Config, error: &CreateStreamError) -> Error {
        let name = &config.name;
        let CreateStreamErrorKind::JetStream(refusal) = error.kind() else {
            return match error.kind() {
                CreateStreamErrorKind::JetStreamUnavailable => self.jetstream.no_jetstream(),
                _ => self
                    .connection
                    .unreachable(format!("the stream `{name}` could not be made: {error}")),
            };
        };
        let refusal = Refusal {
            code: refusal.error_code().0,
            text: refusal.to_string(),
        };
        if refusal.is_full() {
            let reserve = match u64::try_from(config.max_bytes) {
                Ok(bytes) if bytes > 0 => {
                    format!(", which reserves {}", ByteSize::kib(bytes >> 10))
                }
                _ => String::new(),
            };
            return self.connection.full(format!(
                "no room for the stream `{name}`{reserve}: {}",
                refusal.text
            ));
        }
        if refusal.code == code::NO_PEERS {
            return self.connection.unsuitable(format!(
                "the stream `{name}` cannot be made with {} copies: {}; the cluster has fewer \
                 servers with JetStream, or they have no room",
                config.num_replicas, refusal.text
            ));
        }
        self.connection.unsuitable(format!(
            "the stream `{name}` cannot be made: {}",
            refusal.text
        ))
    }
}

/// Whether a refusal with this code is one of a cluster that has no leader yet, or has not found
/// its servers.
pub(super) fn is_of_election(code: u64) -> bool {
    matches!(
        code,
        code::UNAVAILABLE | code::NO_PEERS | code::INSUFFICIENT_RESOURCES
    )
}

fn is_electing(error: &CreateStreamError) -> bool {
    match error.kind() {
        CreateStreamErrorKind::JetStream(refusal) => is_of_election(refusal.error_code().0),
        CreateStreamErrorKind::TimedOut => true,
        _ => false,
    }
}
