//! Lists the objects that a pattern matches.
//!
//! `*`, `?` and `[…]` match within one path segment, `**` across segments. Buckets are listed below
//! the last segment without a wildcard, page by page. Local folders are walked in the order of
//! their names by a thread that waits when it is [`WALKED_AHEAD_MAX`] files ahead of the consumer.
//! Web servers cannot be listed.
//!
//! Bounds: of a store's listing one page is held. Of a local listing, the files walked ahead are
//! held, and the names still to be visited in the current folder and its parents: sorting needs
//! whole folders.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use glob::{MatchOptions, Pattern};
use object_store::ObjectMeta;
use object_store::path::Path as StorePath;
use sortie_protocol::Advice;
use sortie_protocol::Pin;
use sortie_protocol::outcome::InputFault;
use tokio::sync::mpsc;

use crate::objects::Objects;
use crate::stores::Store;
use crate::{Address, Error, Location, Service};

/// How many files a walk through local folders may be ahead of the consumer. A few hundred
/// kilobytes of names, which keep the consumer busy while a folder is read.
const WALKED_AHEAD_MAX: usize = 1000;
/// How often an interrupted listing is resumed, whatever its length. In addition, each of its
/// requests is retried as usual.
const LISTING_TRIES_MAX: usize = 5;
/// The pause before resuming.
const LISTING_PAUSE: Duration = Duration::from_millis(200);

const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// An object that matches a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its address.
    pub address: Address,
    /// The version that the listing reported, if the store reports one.
    pub pin: Option<Pin>,
}

impl From<Address> for Found {
    fn from(address: Address) -> Self {
        Self { address, pin: None }
    }
}

impl Objects {
    /// List the objects that a location or pattern names, in the store's order; paths are relative
    /// to `folder`. A URL without wildcards is returned without a request; a local file is checked.
    /// The stream ends after an error, and yields an error if nothing matches.
    pub fn list(&self, pattern: &str, folder: &Path) -> BoxStream<'static, Result<Found, Error>> {
        list(self.clone(), pattern.to_owned(), folder.to_owned())
    }
}

fn list(
    objects: Objects,
    text: String,
    folder: PathBuf,
) -> BoxStream<'static, Result<Found, Error>> {
    stream::once(async move {
        let address = Address::parse(&text, &folder)
            .map_err(|error| Error::new(InputFault::Malformed, error.to_string()))?;
        open(&objects, &text, address).await
    })
    .try_flatten()
    .boxed()
}

async fn open(
    objects: &Objects,
    text: &str,
    address: Address,
) -> Result<BoxStream<'static, Result<Found, Error>>, Error> {
    let one = |address: Address| Ok(stream::iter([Ok(Found::from(address))]).boxed());
    match &address.location {
        Location::File(path) => {
            objects.admit(&fixed(path)).await?;
            // An existing file with exactly this name takes precedence over the pattern.
            if !is_pattern(text) || path.is_file() {
                objects.admit(path).await?;
                check_file(text, path)?;
                return one(address);
            }
            Ok(some(local(objects, text, path.clone())?, nothing(text)))
        }
        Location::Bucket { key, .. } if !is_pattern(key) => one(address),
        location @ Location::Bucket { key, .. }
            if key.contains('[') && has(objects, location).await =>
        {
            one(address)
        }
        Location::Bucket {
            service,
            bucket,
            key,
        } => remote(objects, text, &address, (*service, bucket, key)),
        Location::Http(url) if !url.path().contains('*') => one(address),
        Location::Http(_) => {
            let message = format!("`{address}` has a wildcard, but web servers cannot be listed");
            Err(Error::new(InputFault::Malformed, message).advised(Advice::ListInputs))
        }
    }
}

/// Whether an object with exactly this name exists, which then takes precedence, as with files.
/// Only brackets need this request, because other wildcards match themselves. If the store does not
/// answer, for example because the credentials may list but not read, the text is a pattern.
async fn has(objects: &Objects, location: &Location) -> bool {
    matches!(objects.size(location).await, Ok(Some(_)))
}

fn nothing(text: &str) -> Error {
    Error::new(InputFault::Missing, format!("nothing matches `{text}`"))
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The part of a path before the first segment with a wildcard.
fn fixed(path: &Path) -> PathBuf {
    path.components()
        .take_while(|part| !is_pattern(&part.as_os_str().to_string_lossy()))
        .collect()
}

/// Check a local file now, rather than when its task reads it.
fn check_file(text: &str, path: &Path) -> Result<(), Error> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            let message = format!(
                "`{text}` is a folder; name the files in it, such as `{}/*`",
                text.trim_end_matches('/')
            );
            Err(Error::new(InputFault::Malformed, message))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Error::new(
            InputFault::Missing,
            format!("there is no file `{text}`"),
        )),
        Err(error) => Err(Error::new(
            InputFault::Denied,
            format!("`{text}` cannot be read: {error}"),
        )),
    }
}

/// Local files that match, in the order of a walk: folder by folder, sorted by name. Dropping the
/// stream ends the walk.
fn local(
    objects: &Objects,
    text: &str,
    pattern: PathBuf,
) -> Result<BoxStream<'static, Result<Found, Error>>, Error> {
    let (sender, receiver) = mpsc::channel(WALKED_AHEAD_MAX);
    let walk = Walk {
        objects: objects.clone(),
        shown: text.to_owned(),
        pattern,
        sender,
    };
    // A dedicated thread: a thread of the runtime would delay its shutdown while the consumer does
    // not take files. It ends when it has found everything, or at the next file after the stream is
    // dropped.
    let started = std::thread::Builder::new()
        .name("sortie-walk".into())
        .spawn(move || walk.run());
    started.map_err(|error| {
        Error::new(
            InputFault::Unavailable,
            format!("failed to list `{text}`: {error}"),
        )
    })?;
    let text = text.to_owned();
    let found = stream::unfold(Some(receiver), move |receiver| {
        let broken_off = Error::new(
            InputFault::Unavailable,
            format!("failed to list `{text}`: the walk through its folders failed"),
        );
        async move {
            let mut receiver = receiver?;
            match receiver.recv().await {
                Some(Ok(Walked::File(path))) => Some((
                    Ok(Found::from(Address::from(Location::File(path)))),
                    Some(receiver),
                )),
                Some(Ok(Walked::All)) => None,
                Some(Err(error)) => Some((Err(error), None)),
                // It panicked, so the listing is incomplete.
                None => Some((Err(broken_off), None)),
            }
        }
    });
    Ok(found.boxed())
}

/// What a walk sends.
enum Walked {
    File(PathBuf),
    /// The walk is complete.
    All,
}

/// A walk through local folders.
struct Walk {
    objects: Objects,
    shown: String,
    pattern: PathBuf,
    sender: mpsc::Sender<Result<Walked, Error>>,
}

impl Walk {
    /// Send matching files, then the end or an error. The receiver may be gone.
    fn run(self) {
        let end = self.walk().map(|()| Walked::All);
        let _ = self.sender.blocking_send(end);
    }

    fn walk(&self) -> Result<(), Error> {
        let Self {
            objects,
            shown,
            pattern,
            sender,
        } = self;
        let malformed = |reason: &str| {
            Error::new(
                InputFault::Malformed,
                format!("`{shown}` is not a pattern: {reason}"),
            )
        };
        // Reads each folder lazily.
        for entry in glob::glob_with(&pattern.to_string_lossy(), OPTIONS)
            .map_err(|error| malformed(error.msg))?
        {
            // An unreadable folder is an error; skipping it would silently leave out its files.
            let path = entry.map_err(|error| {
                Error::new(
                    InputFault::Denied,
                    format!("failed to list `{shown}`: {error}"),
                )
            })?;
            if path.is_file() {
                objects.shared.stores.files().admit(&path)?;
                if sender.blocking_send(Ok(Walked::File(path))).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// A listing below the last segment of a key without a wildcard, page by page. Memory does not grow
/// with its length.
fn remote(
    objects: &Objects,
    text: &str,
    address: &Address,
    (service, bucket, key): (Service, &str, &str),
) -> Result<BoxStream<'static, Result<Found, Error>>, Error> {
    let pattern = Pattern::new(key).map_err(|error| {
        Error::new(
            InputFault::Malformed,
            format!("`{address}` is not a pattern: {}", error.msg),
        )
    })?;
    let fixed = key.split(['*', '?', '[']).next().unwrap_or_default();
    let prefix = fixed
        .rfind('/')
        .and_then(|slash| fixed.get(..=slash))
        .unwrap_or_default();
    let place = Location::Bucket {
        service,
        bucket: bucket.into(),
        key: prefix.into(),
    };
    let (store, prefix) = objects.shared.stores.of_place(&place)?;
    let listing = Listing {
        store,
        prefix: (!prefix.is_root()).then_some(prefix),
        shown: address.location.to_string(),
        last: None,
        tries_left: LISTING_TRIES_MAX,
        entries: None,
    };
    let (bucket, bytes, text) = (bucket.to_owned(), address.bytes, text.to_owned());
    let matching = listing.entries().try_filter_map(move |entry| {
        let (size, etag, key) = (entry.size, entry.e_tag, String::from(entry.location));
        let found = pattern.matches_with(&key, OPTIONS).then(|| Found {
            address: Address {
                location: Location::Bucket {
                    service,
                    bucket: bucket.clone(),
                    key,
                },
                bytes,
            },
            pin: etag.map(|etag| Pin {
                etag: validator(service, etag).into(),
                size,
            }),
        });
        std::future::ready(Ok(found))
    });
    Ok(some(matching.boxed(), nothing(&text)))
}

/// An etag in the form that reads return: Azure, and Google's emulators, list it without quotes.
fn validator(service: Service, etag: String) -> String {
    match service {
        Service::Gs | Service::Az if !etag.ends_with('"') => format!("\"{etag}\""),
        Service::S3 | Service::Gs | Service::Az => etag,
    }
}

/// The same stream, but with this error if it is empty.
fn some(
    found: BoxStream<'static, Result<Found, Error>>,
    nothing: Error,
) -> BoxStream<'static, Result<Found, Error>> {
    stream::unfold((found, Some(nothing)), |(mut found, nothing)| async move {
        match (found.next().await, nothing) {
            (Some(next), _) => Some((next, (found, None))),
            (None, Some(nothing)) => Some((Err(nothing), (found, None))),
            (None, None) => None,
        }
    })
    .boxed()
}

/// A listing that is resumed after an interruption.
struct Listing {
    store: Store,
    prefix: Option<StorePath>,
    shown: String,
    last: Option<StorePath>,
    tries_left: usize,
    entries: Option<BoxStream<'static, object_store::Result<ObjectMeta>>>,
}

impl Listing {
    /// All entries, until an error that a retry cannot fix.
    fn entries(self) -> impl Stream<Item = Result<ObjectMeta, Error>> + Send + 'static {
        stream::unfold(Some(self), |listing| async move {
            let mut listing = listing?;
            match listing.next().await {
                Ok(None) => None,
                Ok(Some(entry)) => Some((Ok(entry), Some(listing))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Option<ObjectMeta>, Error> {
        loop {
            let (store, prefix, last) = (&self.store, self.prefix.as_ref(), &self.last);
            let entries = self.entries.get_or_insert_with(|| match last {
                Some(last) => store.list_with_offset(prefix, last),
                None => store.list(prefix),
            });
            let error = match entries.try_next().await {
                Ok(entry) => {
                    self.last = entry
                        .as_ref()
                        .map(|entry| entry.location.clone())
                        .or(self.last.take());
                    return Ok(entry);
                }
                Err(error) => Error::from_store(&self.shown, &error),
            };
            if error.fault != InputFault::Unavailable || self.tries_left == 0 {
                return Err(error);
            }
            self.tries_left -= 1;
            self.entries = None;
            tokio::time::sleep(LISTING_PAUSE).await;
        }
    }
}
