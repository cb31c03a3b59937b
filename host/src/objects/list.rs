//! From a pattern to the objects it names.
//!
//! `*`, `?` and `[…]` match within one path segment, `**` across segments. S3 is listed below the last segment without a wildcard. Web servers
//! cannot be listed.

use std::path::{Path, PathBuf};

use futures::TryStreamExt as _;
use glob::{MatchOptions, Pattern};
use object_store::path::Path as StorePath;
use sortie_protocol::outcome::InputFault;

use super::{Address, Error, Location, Objects, on};

/// The most objects one pattern may name: their names are held in memory.
pub(super) const MATCHES_MAX: usize = 5_000_000;

const OPTIONS: MatchOptions = MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

pub(super) async fn expand(objects: &Objects, text: &str, folder: &Path) -> Result<Vec<Address>, Error> {
    let Address { location, bytes } = Address::parse(text, folder).map_err(|error| Error::new(InputFault::Malformed, error.to_string()))?;
    let found = match &location {
        Location::File(path) => {
            objects.admit(&fixed(path)).await?;
            // A file that has that very name is meant, brackets and all.
            if !is_pattern(text) || path.is_file() {
                objects.admit(path).await?;
                check_file(text, path)?;
                return Ok(vec![Address { location, bytes }]);
            }
            local(objects, text, path.clone()).await?
        }
        Location::S3 { key, .. } if !is_pattern(key) => return Ok(vec![Address { location, bytes }]),
        Location::S3 { bucket, key } => s3(objects, &location, bucket, key).await?,
        Location::Http(url) if !url.path().contains('*') => return Ok(vec![Address { location, bytes }]),
        Location::Http(_) => {
            let message = format!("`{location}` has a wildcard, but web servers cannot be listed; name each file, or use --inputs");
            return Err(Error::new(InputFault::Malformed, message));
        }
    };
    if found.is_empty() {
        return Err(Error::new(InputFault::Missing, format!("nothing matches `{text}`")));
    }
    Ok(found.into_iter().map(|location| Address { location, bytes }).collect())
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

async fn s3(objects: &Objects, location: &Location, bucket: &str, key: &str) -> Result<Vec<Location>, Error> {
    let shown = location.to_string();
    let pattern =
        Pattern::new(key).map_err(|error| Error::new(InputFault::Malformed, format!("`{shown}` is not a pattern: {}", error.msg)))?;
    let fixed = key.split(['*', '?', '[']).next().unwrap_or_default();
    let prefix = fixed.rsplit_once('/').map(|(folder, _)| StorePath::from(folder));
    let (store, _) = objects.shared.stores.of(location)?;
    let (bucket, named) = (bucket.to_owned(), shown.clone());
    let listing = async move {
        let mut found = Vec::new();
        let mut entries = store.list(prefix.as_ref());
        while let Some(entry) = entries.try_next().await.map_err(|error| Error::from_store(&named, &error))? {
            let key: String = entry.location.into();
            if pattern.matches_with(&key, OPTIONS) {
                push(&mut found, &named, Location::S3 { bucket: bucket.clone(), key })?;
            }
        }
        found.sort_by_key(ToString::to_string);
        Ok(found)
    };
    on(&objects.shared.io, listing).await?
}

fn push(found: &mut Vec<Location>, shown: &str, location: Location) -> Result<(), Error> {
    if found.len() >= MATCHES_MAX {
        let message = format!("`{shown}` matches more than {MATCHES_MAX} objects; use several patterns, or --inputs");
        return Err(Error::new(InputFault::Malformed, message));
    }
    found.push(location);
    Ok(())
}
