//! Lists the objects that a pattern matches.
//!
//! `*`, `?` and `[…]` match within one path segment, `**` across segments ([`super::pattern`]).
//! What has that very name is meant first. Buckets are listed below the last segment without a
//! wildcard, page by page; what only stands for a folder there is no object, unless the pattern
//! ends in a slash. Local folders are walked in the order of their names, step by step
//! ([`super::walk`]): no thread is held while nobody takes what was found. A folder among them that
//! cannot be read is listed as such, and costs the others nothing. Web servers cannot be listed.
//!
//! Bounds: of a store's listing a page or two are held. Of a local one the files that a step found,
//! and the names in the folder that is walked and in those it lies in, as far as they are still to
//! be looked at: sorting takes whole folders.

use std::io;
use std::path::{Component, Path, PathBuf};

use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use sortie_protocol::Advice;
use sortie_protocol::Pin;
use sortie_protocol::outcome::InputFault;

use super::pattern::{Pattern, is_pattern};
use super::walk::{self, Known, State, Trouble, Walk, Ways};
use crate::error::dangling;
use crate::objects::Objects;
use crate::shown::{one_line, shown};
use crate::{Address, Error, Location, Malformed, Service};

/// Parse a URL, perhaps with a version and a range, or a path relative to `folder`, in which `..`
/// leads to where the system would go: behind a link, to the folder above that which it leads to.
///
/// # Errors
/// As [`Address::parse`].
pub fn parse(text: &str, folder: &Path) -> Result<Address, Malformed> {
    Address::parse(text, folder).map(|address| through_links(address, text, folder))
}

/// The same of a name behind which nothing stands, neither a version nor a range.
///
/// # Errors
/// As [`Address::literal`].
pub fn parse_literal(text: &str, folder: &Path) -> Result<Address, Malformed> {
    Address::literal(text, folder).map(|address| through_links(address, text, folder))
}

fn through_links(address: Address, text: &str, folder: &Path) -> Address {
    let parts = || Path::new(text).components();
    let is_path = matches!(address.location, Location::File(_)) && !text.contains("://");
    if !is_path || !parts().any(|part| part == Component::ParentDir) {
        return address;
    }
    let mut path = if Path::new(text).is_absolute() {
        PathBuf::new()
    } else {
        folder.to_owned()
    };
    for part in parts() {
        match part {
            Component::ParentDir => {
                if path.is_symlink()
                    && let Ok(real) = path.canonicalize()
                {
                    path = real;
                }
                path.pop();
            }
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    Address::from(Location::File(path))
}

/// An object that matches a pattern, or a folder in which objects that match cannot be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its address.
    pub address: Address,
    /// The version that the listing reported, if the store reports one.
    pub pin: Option<Pin>,
    /// Why it cannot be looked at, or into, if so. It stands for what may be left out: a task over
    /// it is to fail with this.
    pub trouble: Option<Error>,
}

impl From<Address> for Found {
    fn from(address: Address) -> Self {
        Self {
            address,
            pin: None,
            trouble: None,
        }
    }
}

impl Objects {
    /// List the objects that a location or pattern names, in the store's order; paths are relative
    /// to `folder`. A URL without wildcards is returned without a request; a local file is checked.
    /// A folder below the first wildcard that cannot be read is found with its trouble. The stream
    /// ends after an error, and yields an error if nothing matches.
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
        let address = parse(&text, &folder)
            .map_err(|error| Error::new(InputFault::Malformed, error.to_string()))?;
        open(&objects, &text, address, &folder).await
    })
    .try_flatten()
    .boxed()
}

async fn open(
    objects: &Objects,
    text: &str,
    address: Address,
    folder: &Path,
) -> Result<BoxStream<'static, Result<Found, Error>>, Error> {
    let one = |address: Address| Ok(stream::iter([Ok(Found::from(address))]).boxed());
    match &address.location {
        Location::File(path) => {
            let start = fixed(text, path, folder);
            objects.admit(&start).await?;
            let (looked, named) = (path.clone(), text.to_owned());
            let is_there = move || check_file(&named, &looked);
            let looked = objects.shared.files.run(is_there).await?;
            // A file that has that very name is meant, brackets and all.
            if !is_pattern(text) || looked.is_ok() {
                objects.admit(path).await?;
                looked?;
                return one(address);
            }
            Ok(some(local(objects, text, path, folder)?, nothing(text)))
        }
        Location::Bucket { key, .. } if !is_pattern(key) => one(address),
        // An object that has that very name is meant, as with files. Where the store does not say,
        // as where credentials may list and not look, it is a pattern.
        location @ Location::Bucket { .. } if objects.has(location).await? => one(address),
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

fn nothing(text: &str) -> Error {
    Error::new(
        InputFault::Missing,
        format!("nothing matches `{}`", one_line(text)),
    )
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
        Ok(_) if text.ends_with('/') => Err(Error::new(
            InputFault::Malformed,
            format!("`{text}` ends in a slash, as a folder does, and is a file"),
        )),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
            Err(dangling(text))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::new(
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
    path: &Path,
    folder: &Path,
) -> Result<BoxStream<'static, Result<Found, Error>>, Error> {
    let start = fixed(text, path, folder);
    let rest = path.strip_prefix(&start).unwrap_or(path).to_string_lossy();
    let pattern = Pattern::parse(&rest).map_err(|reason| no_pattern(text, reason))?;
    let ways = Ways::Named(objects.shared.stores.files().clone());
    let state = Walking {
        walk: Some(Walk::new(&start, pattern, ways)),
        objects: objects.clone(),
        shown: text.to_owned(),
    };
    let found = stream::unfold(Some(state), |state| async move {
        let mut state = state?;
        Some(match state.step().await {
            Ok(found) => (Ok(found), state.walk.is_some().then_some(state)),
            Err(error) => (Err(error), None),
        })
    });
    Ok(found
        .map_ok(move |files| stream::iter(files).map(|file| file.map(Found::from)))
        .try_flatten()
        .boxed())
}

impl From<walk::Found> for Found {
    fn from(found: walk::Found) -> Self {
        let location = Location::File(found.path);
        let trouble = match found.known {
            Known::File(_) | Known::Link => None,
            Known::Unread(error) => Some(unread(&shown(&location), &error)),
        };
        Self {
            trouble,
            ..Self::from(Address::from(location))
        }
    }
}

/// Why it is not known what is at a place, or below it.
fn unread(shown: &str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Error::new(
            InputFault::Denied,
            format!(
                "`{shown}` may not be read, so it is not known what in it matches; check the \
                 folder's permissions"
            ),
        ),
        _ => Error::new(
            InputFault::Unavailable,
            format!("`{shown}` cannot be read, so it is not known what in it matches: {error}"),
        ),
    }
}

/// A walk that matches, between its steps.
struct Walking {
    /// Unless it is over.
    walk: Option<Walk>,
    objects: Objects,
    shown: String,
}

impl Walking {
    /// What comes next. A file or folder that the operator does not let anybody read ends it, and
    /// so does a folder that cannot be read where it begins: saying so beats skipping them. Of a
    /// folder that may not be read no name is told.
    async fn step(&mut self) -> Result<Vec<Result<walk::Found, Error>>, Error> {
        let Some(mut walk) = self.walk.take() else {
            return Ok(Vec::new());
        };
        let shared = self.objects.shared.clone();
        let stepping = self.objects.shared.listings.run(move || {
            let step = walk.step();
            let mut found = Vec::with_capacity(step.found.len());
            for file in step.found {
                let admitted = shared.stores.files().admit(&file.path);
                let stops = admitted.is_err();
                found.push(admitted.map(|_| file));
                if stops {
                    break;
                }
            }
            (found, step.state, walk)
        });
        let (mut found, state, walk) = stepping.await?;
        match state {
            State::GoesOn => self.walk = Some(walk),
            State::Over => {}
            State::Broken(Trouble::Refused(error)) => found.push(Err(error)),
            State::Broken(Trouble::Unread(path, error)) => found.push(Err(Error::new(
                InputFault::Denied,
                format!(
                    "failed to list `{}`: `{}`: {error}",
                    one_line(&self.shown),
                    shown(&Location::File(path))
                ),
            ))),
        }
        Ok(found)
    }
}

/// The part of a path before anything that may be a wildcard. What is in front of a relative path
/// is none, whatever is in its name.
fn fixed(text: &str, path: &Path, folder: &Path) -> PathBuf {
    let is_relative = !text.contains("://") && Path::new(text).is_relative();
    let known = if is_relative && path.starts_with(folder) {
        folder.components().count()
    } else {
        0
    };
    path.components()
        .enumerate()
        .take_while(|(index, part)| {
            *index < known || !is_pattern(&part.as_os_str().to_string_lossy())
        })
        .map(|(_, part)| part)
        .collect()
}

fn no_pattern(text: &str, reason: &str) -> Error {
    Error::new(
        InputFault::Malformed,
        format!("`{}` is not a pattern: {reason}", one_line(text)),
    )
}

/// A listing below the last segment of a key without a wildcard, page by page. Memory does not grow
/// with its length.
fn remote(
    objects: &Objects,
    text: &str,
    address: &Address,
    (service, bucket, key): (Service, &str, &str),
) -> Result<BoxStream<'static, Result<Found, Error>>, Error> {
    if address.version.is_some() {
        return Err(no_pattern(text, "a version is one of a single object"));
    }
    let shown_pattern = shown(&address.location);
    let pattern = Pattern::parse(key).map_err(|reason| no_pattern(&shown_pattern, reason))?;
    let fixed = key.split(['*', '?', '[']).next().unwrap_or_default();
    let prefix = fixed
        .rfind('/')
        .and_then(|slash| fixed.get(..=slash))
        .unwrap_or_default();
    let store = objects.shared.stores.bucket(&address.location)?;
    let listed = objects.listed(&store, prefix, shown_pattern);
    let (bucket, bytes) = (bucket.to_owned(), address.bytes);
    let matching = listed.try_filter_map(move |entry| {
        let stands_for_folder = entry.is_folder_marker() && !pattern.ends_in_slash();
        let matches = !stands_for_folder && pattern.matches(&entry.key);
        let found = matches.then(|| Found {
            address: Address {
                location: Location::Bucket {
                    service,
                    bucket: bucket.clone(),
                    key: entry.key,
                },
                bytes,
                version: None,
            },
            pin: entry.etag.map(|etag| Pin {
                etag: etag.into(),
                size: entry.size,
            }),
            trouble: None,
        });
        std::future::ready(Ok(found))
    });
    Ok(some(matching.boxed(), nothing(text)))
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
