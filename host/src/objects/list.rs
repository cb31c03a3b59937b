//! From a pattern to the objects it names, while it is still being listed.
//!
//! `*`, `?` and `[…]` match within one path segment, `**` across segments; a slash at the end means all that is below. Buckets are listed from
//! the first wildcard on, a page of names at a time; below a pattern without further slashes nothing is listed. Web servers cannot be listed.
//!
//! Names come in the order of the store, which for buckets and folders is the lexical one, and each with the version that the listing saw. A
//! listing runs at most [`AHEAD_MAX`] names ahead of whoever takes them, whatever the pattern matches; it ends with its stream. Of a local
//! folder all names are in memory while it is listed.

use std::path::{Path, PathBuf};
use std::pin::Pin as StdPin;
use std::task::{Context, Poll};
use std::time::UNIX_EPOCH;

use futures::{Stream, StreamExt as _, stream};
use glob::{MatchOptions, Pattern};
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use sortie_protocol::Pin;
use sortie_protocol::outcome::InputFault;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::location::Service;
use super::{Address, ByteRange, Error, Location, Objects, error};

/// Names that were listed and not taken yet: a page of S3. A listing that is as far ahead waits.
pub const AHEAD_MAX: usize = 1000;
/// How often a page is asked for that broke off in the middle. Requests that fail as a whole are repeated further down.
const PAGE_TRIES_MAX: usize = 3;

const OPTIONS: MatchOptions = MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// An object that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is, and which bytes of it are meant.
    pub address: Address,
    /// The version that was seen, if it was looked at and the store says so.
    pub pin: Option<Pin>,
}

/// What a text names.
#[derive(Debug)]
pub enum Named {
    /// One object, by its name.
    One(Found),
    /// All that match a pattern.
    Many(Listing),
}

/// The objects that match a pattern: a stream that ends with an error if nothing does, or if the rest cannot be listed. Dropping it ends the
/// listing.
#[derive(Debug)]
pub struct Listing {
    found: mpsc::Receiver<Result<Found, Error>>,
    task: JoinHandle<()>,
}

impl Stream for Listing {
    type Item = Result<Found, Error>;

    fn poll_next(mut self: StdPin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.found.poll_recv(cx)
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Objects {
    /// What a path, pattern or URL names; paths are relative to `folder`. A URL without wildcards names itself, unseen; a local file is looked
    /// at. Behind a pattern, too, `#bytes=` says which bytes of each object are meant.
    ///
    /// # Errors
    /// When the text is no location, the file is not there, or the store cannot list at all.
    pub async fn find(&self, text: &str, folder: &Path) -> Result<Named, Error> {
        let Address { location, bytes } = pattern(text, folder)?;
        let is_many = match &location {
            Location::File(path) => {
                self.admit(&fixed(path)).await?;
                // A file that has that very name is meant, brackets and all.
                is_pattern(&path.to_string_lossy()) && !path.is_file()
            }
            Location::Bucket { key, .. } => is_pattern(key),
            Location::Http(url) if url.path().contains('*') => {
                let message = format!("`{location}` has a wildcard, but web servers cannot be listed; name each file, or use --inputs");
                return Err(Error::new(InputFault::Malformed, message));
            }
            Location::Http(_) => false,
        };
        if is_many {
            return Ok(Named::Many(self.start(text, location, bytes)));
        }
        let pin = match &location {
            Location::File(path) => {
                self.admit(path).await?;
                Some(look(text, path)?)
            }
            Location::Bucket { .. } | Location::Http(_) => None,
        };
        Ok(Named::One(Found { address: Address { location, bytes }, pin }))
    }

    /// The objects that a path, pattern or URL names, as [`Objects::find`] does, one or many.
    pub fn list(&self, text: &str, folder: &Path) -> impl Stream<Item = Result<Found, Error>> + Send + 'static + use<> {
        let (objects, text, folder) = (self.clone(), text.to_owned(), folder.to_owned());
        let found = async move {
            match objects.find(&text, &folder).await {
                Ok(Named::One(found)) => stream::once(async { Ok(found) }).boxed(),
                Ok(Named::Many(listing)) => listing.boxed(),
                Err(error) => stream::once(async { Err(error) }).boxed(),
            }
        };
        stream::once(found).flatten()
    }

    fn start(&self, text: &str, location: Location, bytes: Option<ByteRange>) -> Listing {
        let (sender, found) = mpsc::channel(AHEAD_MAX);
        let (objects, text) = (self.clone(), text.to_owned());
        let task = self.shared.io.spawn(async move {
            let mut taker = Taker { sender, bytes, taken: false };
            let listed = match location {
                Location::Bucket { service, bucket, key } => bucket_listing(&objects, (service, bucket, key), &mut taker).await,
                Location::File(path) => folder_listing(&objects, text.clone(), path, &mut taker).await,
                Location::Http(_) => Ok(()),
            };
            let nothing = || Error::new(InputFault::Missing, format!("nothing matches `{text}`"));
            let listed = listed.and_then(|()| if taker.taken { Ok(()) } else { Err(nothing()) });
            if let Err(error) = listed {
                // Nobody left to tell is fine.
                let _ = taker.sender.send(Err(error)).await;
            }
        });
        Listing { found, task }
    }
}

/// Whether `text`, a path, pattern or URL relative to `folder`, names the local file at the absolute path `file` if that is there.
#[must_use]
pub fn includes(text: &str, folder: &Path, file: &Path) -> bool {
    let Ok(Address { location: Location::File(path), .. }) = pattern(text, folder) else { return false };
    path == file || Pattern::new(&path.to_string_lossy()).is_ok_and(|pattern| pattern.matches_path_with(file, OPTIONS))
}

/// What a path, pattern or URL says, without looking: a slash at the end of what can be listed stands for all that is below.
///
/// # Errors
/// When it is none.
pub fn pattern(text: &str, folder: &Path) -> Result<Address, Error> {
    let is_web = text.split_once("://").is_some_and(|(scheme, _)| scheme.to_ascii_lowercase().starts_with("http"));
    let parsed = if text.ends_with('/') && !is_web { Address::parse(&format!("{text}**/*"), folder) } else { Address::parse(text, folder) };
    parsed.map_err(|error| Error::new(InputFault::Malformed, error.to_string()))
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The part of a path before anything that may be a wildcard.
fn fixed(path: &Path) -> PathBuf {
    path.components().take_while(|part| !is_pattern(&part.as_os_str().to_string_lossy())).collect()
}

/// Look at a file, to say at once what would fail later.
fn look(text: &str, path: &Path) -> Result<Pin, Error> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            let shown = text.trim_end_matches('/');
            let message = format!("`{text}` is a folder; name the files in it, such as `{shown}/*`, or `{shown}/` for all below");
            Err(Error::new(InputFault::Malformed, message))
        }
        Ok(metadata) => Ok(version(&metadata)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::new(InputFault::Missing, format!("there is no file `{text}`")))
        }
        Err(error) => Err(Error::new(InputFault::Denied, format!("`{text}` cannot be read: {error}"))),
    }
}

/// A local file's version as the store of local files gives it: a test compares the two.
fn version(metadata: &std::fs::Metadata) -> Pin {
    use std::os::unix::fs::MetadataExt as _;
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default().as_micros();
    let (inode, size) = (metadata.ino(), metadata.len());
    Pin { etag: format!("\"{inode:x}-{modified:x}-{size:x}\"").into(), size }
}

/// Passes on what is found.
struct Taker {
    sender: mpsc::Sender<Result<Found, Error>>,
    bytes: Option<ByteRange>,
    taken: bool,
}

/// Nobody takes what is found any more.
struct Gone;

impl Taker {
    fn found(&mut self, location: Location, pin: Option<Pin>) -> Result<Found, Error> {
        self.taken = true;
        Ok(Found { address: Address { location, bytes: self.bytes }, pin })
    }

    async fn take(&mut self, location: Location, pin: Option<Pin>) -> Result<(), Gone> {
        let found = self.found(location, pin);
        self.sender.send(found).await.map_err(|_| Gone)
    }

    fn blocking_take(&mut self, location: Location, pin: Option<Pin>) -> Result<(), Gone> {
        let found = self.found(location, pin);
        self.sender.blocking_send(found).map_err(|_| Gone)
    }
}

async fn folder_listing(objects: &Objects, text: String, path: PathBuf, taker: &mut Taker) -> Result<(), Error> {
    let shared = objects.shared.clone();
    let mut blocking = Taker { sender: taker.sender.clone(), bytes: taker.bytes, taken: false };
    let walk = tokio::task::spawn_blocking(move || -> Result<bool, Error> {
        let malformed = |reason: &str| Error::new(InputFault::Malformed, format!("`{text}` is not a pattern: {reason}"));
        let denied = |error: &dyn std::fmt::Display| Error::new(InputFault::Denied, format!("failed to list `{text}`: {error}"));
        for entry in glob::glob_with(&path.to_string_lossy(), OPTIONS).map_err(|error| malformed(error.msg))? {
            // A folder that may not be read hides its files; saying so beats skipping them.
            let path = entry.map_err(|error| denied(&error))?;
            // One that went away between listing and looking was not there.
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            if metadata.is_file() {
                shared.stores.files().admit(&path)?;
                if let Err(Gone) = blocking.blocking_take(Location::File(path), Some(version(&metadata))) {
                    break;
                }
            }
        }
        Ok(blocking.taken)
    });
    taker.taken = walk.await.map_err(|_| Error::new(InputFault::Unavailable, "the host is shutting down"))??;
    Ok(())
}

async fn bucket_listing(objects: &Objects, (service, bucket, key): (Service, String, String), taker: &mut Taker) -> Result<(), Error> {
    let location = Location::Bucket { service, bucket: bucket.clone(), key: key.clone() };
    let shown = location.to_string();
    let pattern =
        Pattern::new(&key).map_err(|error| Error::new(InputFault::Malformed, format!("`{shown}` is not a pattern: {}", error.msg)))?;
    // A pattern need not be a key that the store accepts; any key has the same store.
    let (store, _) = objects.shared.stores.of(&Location::Bucket { service, bucket: bucket.clone(), key: "key".into() }).await?;
    let Some(pages) = store.pages else { return Ok(()) };
    let plan = Plan::of(service, &key);
    let mut walk = Walk { service, bucket, pattern, held: None, taker };
    let mut token = None;
    loop {
        let listed = page(&*pages, &plan, token).await;
        let PaginatedListResult { result, page_token } =
            listed.map_err(|error| Error::from_store(&shown, &error).asked_by(store.identity))?;
        for meta in result.objects {
            if let Err(Gone) = walk.see(meta).await {
                return Ok(());
            }
        }
        token = page_token;
        if token.is_none() {
            let _ = walk.end().await;
            return Ok(());
        }
    }
}

/// What is asked of a bucket.
struct Plan {
    /// What all keys that match begin with.
    prefix: String,
    /// What ends the names that are listed: whatever is below them cannot match.
    delimiter: Option<&'static str>,
}

impl Plan {
    fn of(service: Service, pattern: &str) -> Self {
        let fixed = pattern.split(['*', '?', '[']).next().unwrap_or_default();
        let rest = pattern.get(fixed.len()..).unwrap_or_default();
        let mut prefix = fixed.to_owned();
        if service == Service::Az && !prefix.ends_with('/') {
            // A blob that is named as the whole prefix is left out there.
            prefix.pop();
        }
        Self { prefix, delimiter: (!rest.contains('/') && !rest.contains("**")).then_some("/") }
    }
}

/// One page of names, once more if it breaks off in the middle.
async fn page(pages: &dyn PaginatedListStore, plan: &Plan, token: Option<String>) -> object_store::Result<PaginatedListResult> {
    let prefix = Some(plan.prefix.as_str()).filter(|prefix| !prefix.is_empty());
    let mut tries = 1;
    loop {
        let delimiter = plan.delimiter.map(Into::into);
        let options = PaginatedListOptions { delimiter, page_token: token.clone(), ..PaginatedListOptions::default() };
        match pages.list_paginated(prefix, options).await {
            Err(error) if tries < PAGE_TRIES_MAX && error::is_broken_off(&error) => tries += 1,
            listed => return listed,
        }
    }
}

/// A walk through the names of a bucket.
struct Walk<'t> {
    service: Service,
    bucket: String,
    pattern: Pattern,
    /// An empty object, until it is clear whether it stands for a folder: then names below it follow. Tools make such for their own ends.
    held: Option<(String, Option<Pin>)>,
    taker: &'t mut Taker,
}

impl Walk<'_> {
    async fn see(&mut self, meta: object_store::ObjectMeta) -> Result<(), Gone> {
        let key = String::from(meta.location);
        if let Some((held, pin)) = self.held.take()
            && !key.strip_prefix(&held).is_some_and(|rest| rest.starts_with('/'))
        {
            self.take(held, pin).await?;
        }
        if !self.pattern.matches_with(&key, OPTIONS) {
            return Ok(());
        }
        let pin = meta.e_tag.map(|etag| Pin { etag: quoted(etag).into(), size: meta.size });
        if meta.size == 0 {
            self.held = Some((key, pin));
            return Ok(());
        }
        self.take(key, pin).await
    }

    async fn end(&mut self) -> Result<(), Gone> {
        match self.held.take() {
            Some((key, pin)) => self.take(key, pin).await,
            None => Ok(()),
        }
    }

    async fn take(&mut self, key: String, pin: Option<Pin>) -> Result<(), Gone> {
        let location = Location::Bucket { service: self.service, bucket: self.bucket.clone(), key };
        self.taker.take(location, pin).await
    }
}

/// The validator as answers to reads have it: some stores leave the quotes away where they list.
fn quoted(etag: String) -> String {
    if etag.ends_with('"') { etag } else { format!("\"{etag}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_little_as_possible_is_listed() {
        for (pattern, prefix, delimiter) in [
            ("*.txt", "", Some("/")),
            ("data/2024-*", "data/2024-", Some("/")),
            ("data/20[12]?-x", "data/20", Some("/")),
            ("data/*/part", "data/", None),
            ("data/**", "data/", None),
            ("data/**/*.txt", "data/", None),
        ] {
            let plan = Plan::of(Service::S3, pattern);
            assert_eq!((plan.prefix.as_str(), plan.delimiter), (prefix, delimiter), "{pattern}");
        }
        assert_eq!(Plan::of(Service::Az, "data/2024-*").prefix, "data/2024");
        assert_eq!(Plan::of(Service::Az, "data/*").prefix, "data/");
    }

    #[test]
    fn files_are_included_by_name_and_by_pattern() {
        let includes = |text: &str, file: &str| includes(text, Path::new("/data"), Path::new(file));
        assert!(includes("a.txt", "/data/a.txt") && includes("*.txt", "/data/a.txt") && includes("./", "/data/sub/a.txt"));
        assert!(includes("**/a.txt", "/data/x/y/a.txt") && includes("file:///data/a.txt", "/data/a.txt"));
        assert!(!includes("*.txt", "/data/sub/a.txt") && !includes("b", "/data/a.txt") && !includes("s3://b/*", "/data/a.txt"));
    }
}
