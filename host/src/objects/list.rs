//! From a pattern to the objects it names.
//!
//! `*`, `?` and `[…]` match within one path segment, `**` across segments. Buckets are listed below the last segment without a wildcard. Web
//! servers cannot be listed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use glob::{MatchOptions, Pattern};
use object_store::ObjectMeta;
use object_store::path::Path as StorePath;
use sortie_protocol::Pin;
use sortie_protocol::outcome::InputFault;

use super::stores::Store;
use super::{Address, Error, Location, Objects, Service};

/// The most local files one pattern may name: their names are held in memory. Listings of stores are not.
const MATCHES_MAX: usize = 5_000_000;
/// How often a listing goes on after it broke off, whatever its length. Each request in it is repeated as others are, besides.
const LISTING_TRIES_MAX: usize = 5;
/// Before it does.
const LISTING_PAUSE: Duration = Duration::from_millis(200);

const OPTIONS: MatchOptions = MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// An object that a pattern named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub address: Address,
    /// The version that the listing saw, where the store says that.
    pub pin: Option<Pin>,
}

impl From<Address> for Found {
    fn from(address: Address) -> Self {
        Self { address, pin: None }
    }
}

pub(super) fn list(objects: Objects, text: String, folder: PathBuf) -> BoxStream<'static, Result<Found, Error>> {
    stream::once(async move {
        let address = Address::parse(&text, &folder).map_err(|error| Error::new(InputFault::Malformed, error.to_string()))?;
        open(&objects, &text, address).await
    })
    .try_flatten()
    .boxed()
}

async fn open(objects: &Objects, text: &str, address: Address) -> Result<BoxStream<'static, Result<Found, Error>>, Error> {
    let one = |address: Address| Ok(stream::iter([Ok(Found::from(address))]).boxed());
    match &address.location {
        Location::File(path) => {
            objects.admit(&fixed(path)).await?;
            // A file that has that very name is meant, brackets and all.
            if !is_pattern(text) || path.is_file() {
                objects.admit(path).await?;
                check_file(text, path)?;
                return one(address);
            }
            let found = local(objects, text, path.clone()).await?;
            if found.is_empty() {
                return Err(nothing(text));
            }
            Ok(stream::iter(found).map(|location| Ok(Found::from(Address::from(location)))).boxed())
        }
        Location::Bucket { key, .. } if !is_pattern(key) => one(address),
        Location::Bucket { service, bucket, key } => remote(objects, text, &address, (*service, bucket, key)),
        Location::Http(url) if !url.path().contains('*') => one(address),
        Location::Http(_) => {
            let message = format!("`{address}` has a wildcard, but web servers cannot be listed; name each file, or use --inputs");
            Err(Error::new(InputFault::Malformed, message))
        }
    }
}

fn nothing(text: &str) -> Error {
    Error::new(InputFault::Missing, format!("nothing matches `{text}`"))
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The part of a path before anything that may be a wildcard.
fn fixed(path: &Path) -> PathBuf {
    path.components().take_while(|part| !is_pattern(&part.as_os_str().to_string_lossy())).collect()
}

/// Say at once what would fail later.
fn check_file(text: &str, path: &Path) -> Result<(), Error> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            let message = format!("`{text}` is a folder; name the files in it, such as `{}/*`", text.trim_end_matches('/'));
            Err(Error::new(InputFault::Malformed, message))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::new(InputFault::Missing, format!("there is no file `{text}`")))
        }
        Err(error) => Err(Error::new(InputFault::Denied, format!("`{text}` cannot be read: {error}"))),
    }
}

async fn local(objects: &Objects, text: &str, path: PathBuf) -> Result<Vec<Location>, Error> {
    let (shown, shared) = (text.to_owned(), objects.shared.clone());
    let listing = tokio::task::spawn_blocking(move || -> Result<Vec<Location>, Error> {
        let pattern = path.to_string_lossy();
        let malformed = |reason: &str| Error::new(InputFault::Malformed, format!("`{shown}` is not a pattern: {reason}"));
        let mut found = Vec::new();
        for entry in glob::glob_with(&pattern, OPTIONS).map_err(|error| malformed(error.msg))? {
            // A folder that may not be read hides its files; saying so beats skipping them.
            let path = entry.map_err(|error| Error::new(InputFault::Denied, format!("failed to list `{shown}`: {error}")))?;
            if path.is_file() {
                shared.stores.files().admit(&path)?;
                push(&mut found, &shown, Location::File(path))?;
            }
        }
        Ok(found)
    });
    listing.await.map_err(|error| Error::new(InputFault::Unavailable, format!("failed to list `{text}`: {error}")))?
}

/// A listing below the last segment of a key without a wildcard, page by page. Memory does not grow with it.
fn remote(
    objects: &Objects,
    text: &str,
    address: &Address,
    (service, bucket, key): (Service, &str, &str),
) -> Result<BoxStream<'static, Result<Found, Error>>, Error> {
    let pattern =
        Pattern::new(key).map_err(|error| Error::new(InputFault::Malformed, format!("`{address}` is not a pattern: {}", error.msg)))?;
    let fixed = key.split(['*', '?', '[']).next().unwrap_or_default();
    let (store, _) = objects.shared.stores.of(&address.location)?;
    let listing = Listing {
        store,
        prefix: fixed.rsplit_once('/').map(|(folder, _)| StorePath::from(folder)),
        shown: address.location.to_string(),
        last: None,
        tries_left: LISTING_TRIES_MAX,
        entries: None,
    };
    let (bucket, bytes, text) = (bucket.to_owned(), address.bytes, text.to_owned());
    let matching = listing.entries().try_filter_map(move |entry| {
        let (size, etag, key) = (entry.size, entry.e_tag, String::from(entry.location));
        let found = pattern.matches_with(&key, OPTIONS).then(|| Found {
            address: Address { location: Location::Bucket { service, bucket: bucket.clone(), key }, bytes },
            pin: etag.map(|etag| Pin { etag: validator(service, etag).into(), size }),
        });
        std::future::ready(Ok(found))
    });
    Ok(some(matching.boxed(), nothing(&text)))
}

/// A validator as reads have it: Azure, and Google's emulators, list it without the quotes.
fn validator(service: Service, etag: String) -> String {
    match service {
        Service::Gs | Service::Az if !etag.ends_with('"') => format!("\"{etag}\""),
        Service::S3 | Service::Gs | Service::Az => etag,
    }
}

/// The same stream, but with this error if there is nothing in it.
fn some(found: BoxStream<'static, Result<Found, Error>>, nothing: Error) -> BoxStream<'static, Result<Found, Error>> {
    stream::unfold((found, Some(nothing)), |(mut found, nothing)| async move {
        match (found.next().await, nothing) {
            (Some(next), _) => Some((next, (found, None))),
            (None, Some(nothing)) => Some((Err(nothing), (found, None))),
            (None, None) => None,
        }
    })
    .boxed()
}

/// A listing that goes on after what broke off.
struct Listing {
    store: Store,
    prefix: Option<StorePath>,
    shown: String,
    last: Option<StorePath>,
    tries_left: usize,
    entries: Option<BoxStream<'static, object_store::Result<ObjectMeta>>>,
}

impl Listing {
    /// All entries, until an error that trying again does not mend.
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
                    self.last = entry.as_ref().map(|entry| entry.location.clone()).or(self.last.take());
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

fn push(found: &mut Vec<Location>, shown: &str, location: Location) -> Result<(), Error> {
    if found.len() >= MATCHES_MAX {
        let message = format!("`{shown}` matches more than {MATCHES_MAX} objects; use several patterns, or --inputs");
        return Err(Error::new(InputFault::Malformed, message));
    }
    found.push(location);
    Ok(())
}
