//! Prefixes: give access to the objects below a location, and to nothing else.
//!
//! A name below a prefix consists of segments separated by slashes, taken literally: names that
//! could refer to another location (`..`, a leading slash, an empty segment) are refused before any
//! store sees them, and characters that a web server would decode are encoded. In folders, links
//! are followed as long as they stay in the folder; links that lead out of it are neither listed
//! nor opened. A user who can change links in a folder while it is read decides what is read.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use futures::StreamExt as _;
use futures::stream::BoxStream;
use sortie_protocol::Timestamp;
use sortie_protocol::outcome::InputFault;
use tokio::sync::mpsc;
use walkdir::{DirEntry, WalkDir};

use crate::background::ended;
use crate::objects::{Object, Objects};
use crate::upload::Entry;
use crate::{Address, Error, Location, Place};

/// Maximum length of a name below a prefix: S3's limit for keys.
const NAME_BYTES_MAX: usize = 1024;
/// Maximum number of entries per step of a listing: S3's page size.
const ENTRIES_MAX: usize = 1000;

/// A location that contains objects. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Prefix {
    objects: Objects,
    /// Its location, with links resolved if local files are restricted.
    location: Location,
    name: String,
}

/// A listing in progress. Dropping it ends the listing.
pub struct Listing {
    entries: BoxStream<'static, Result<Entry, Error>>,
    /// Prepended to the names that the stream yields.
    below: String,
}

impl std::fmt::Debug for Listing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listing")
            .field("below", &self.below)
            .finish_non_exhaustive()
    }
}

impl Objects {
    /// The prefix at `place`. No request is made; an empty prefix is not an error.
    ///
    /// # Errors
    /// When it is a folder that may not be read.
    pub async fn prefix(&self, place: &Place) -> Result<Prefix, Error> {
        let name = match place.location() {
            Location::File(path) => path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            Location::Bucket { key, .. } => last_segment(key),
            Location::Http(url) => last_segment(url.path()),
        };
        let location = match place.location() {
            Location::File(folder) => Location::File(self.admit(folder).await?),
            elsewhere => elsewhere.clone(),
        };
        Ok(Prefix {
            objects: self.clone(),
            location,
            name,
        })
    }

    /// The files in the folder `start` (inside `folder`) and its subfolders: those that are still
    /// in `folder` after links are resolved, once for each path.
    fn walk(&self, folder: PathBuf, start: PathBuf) -> BoxStream<'static, Result<Entry, Error>> {
        let (sender, receiver) = mpsc::channel(ENTRIES_MAX);
        // Ends when the receiver is dropped, because sending then fails.
        self.shared
            .io
            .spawn_blocking(move || walk(&folder, &start, &sender));
        futures::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|entry| (entry, receiver))
        })
        .boxed()
    }

    /// Access the disk on a blocking thread.
    async fn on_disk<T: Send + 'static>(
        &self,
        looking: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.shared
            .io
            .spawn_blocking(looking)
            .await
            .map_err(|error| Error::new(InputFault::Unavailable, ended(&error)))
    }
}

impl Prefix {
    /// The last segment of its path.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// List the objects below the prefix, or below `below` inside of it if that is not empty.
    ///
    /// # Errors
    /// When `below` is not a valid name, or the location cannot be listed.
    pub fn list(&self, below: &str) -> Result<Listing, Error> {
        let below = below.trim_end_matches('/');
        if let Location::Http(_) = &self.location {
            let message = format!(
                "`{}` is on a web server, which cannot be listed; open objects by their names",
                self.location
            );
            return Err(Error::new(InputFault::Malformed, message));
        }
        let place = if below.is_empty() {
            self.location.clone()
        } else {
            self.locate(below)?
        };
        let entries = match (&self.location, &place) {
            (Location::File(folder), Location::File(start)) => {
                self.objects.walk(folder.clone(), start.clone())
            }
            _ => self.objects.list_below(&place)?,
        };
        let below = if below.is_empty() {
            String::new()
        } else {
            format!("{below}/")
        };
        // After its end, it yields nothing.
        Ok(Listing {
            entries: entries.fuse().boxed(),
            below,
        })
    }

    /// Open the object with this name, and pin its current version.
    ///
    /// # Errors
    /// When the name is invalid, the object does not exist, or it cannot be opened.
    pub async fn open(&self, name: &str) -> Result<Object, Error> {
        let location = self.locate(name)?;
        if let (Location::File(folder), Location::File(path)) = (&self.location, &location) {
            let (folder, path) = (folder.clone(), path.clone());
            let inside = self
                .objects
                .on_disk(move || is_inside(&folder, &path))
                .await?;
            if !inside {
                return Err(Error::new(
                    InputFault::Malformed,
                    format!("`{name}` is a link that leads out of the folder"),
                ));
            }
        }
        self.objects.open(&Address::from(location), None).await
    }

    /// The location of the object with this name.
    fn locate(&self, name: &str) -> Result<Location, Error> {
        if let Some(reason) = why_no_name(name) {
            let message = format!(
                "`{}` cannot be a name below a prefix: {reason}",
                sortie_protocol::outcome::cut(name.to_owned(), 200)
            );
            return Err(Error::new(InputFault::Malformed, message));
        }
        Ok(self.location.below(name))
    }
}

fn last_segment(path: &str) -> String {
    path.trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Why a text is not a valid name below a prefix, if it is not.
fn why_no_name(name: &str) -> Option<&'static str> {
    if name.len() > NAME_BYTES_MAX {
        return Some("it has more than 1024 bytes");
    }
    if name.chars().any(char::is_control) {
        return Some("it has control characters");
    }
    name.split('/').find_map(|segment| match segment {
        "" => Some("a segment is empty"),
        "." | ".." => Some("it has a segment `.` or `..`"),
        _ => None,
    })
}

/// Whether a path below a folder is still inside of it after links are resolved. A missing path
/// leads nowhere.
fn is_inside(folder: &Path, path: &Path) -> bool {
    match (folder.canonicalize(), path.canonicalize()) {
        (Ok(folder), Ok(path)) => path.starts_with(folder),
        (Err(_), _) | (_, Err(_)) => true,
    }
}

/// Send all files below `start` that are in `folder`, until the receiver is dropped.
fn walk(folder: &Path, start: &Path, sender: &mpsc::Sender<Result<Entry, Error>>) {
    let is_in = |entry: &DirEntry| !entry.path_is_symlink() || is_inside(folder, entry.path());
    if !is_inside(folder, start) {
        return;
    }
    for entry in WalkDir::new(start)
        .follow_links(true)
        .into_iter()
        .filter_entry(is_in)
    {
        let found = match entry.and_then(|entry| Ok((entry.metadata()?, entry))) {
            Ok((meta, entry)) if meta.is_file() => {
                // A name that is not UTF-8 cannot be opened, so it is not listed.
                let Some(path) = entry.path().strip_prefix(start).ok().and_then(Path::to_str)
                else {
                    continue;
                };
                let modified = meta
                    .modified()
                    .ok()
                    .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
                    .unwrap_or_default();
                let modified =
                    Timestamp::from_nanos(u64::try_from(modified.as_nanos()).unwrap_or(u64::MAX));
                Ok(Entry {
                    path: path.to_owned(),
                    size: meta.len(),
                    modified,
                })
            }
            Ok(_) => continue,
            // A link loop contains nothing new; a file that vanished is skipped.
            Err(error)
                if error.loop_ancestor().is_some()
                    || error
                        .io_error()
                        .is_some_and(|e| e.kind() == ErrorKind::NotFound) =>
            {
                continue;
            }
            Err(error) => Err(Error::new(
                InputFault::Unavailable,
                format!("`{}` cannot be listed: {error}", start.display()),
            )),
        };
        let ends = found.is_err();
        if sender.blocking_send(found).is_err() || ends {
            return;
        }
    }
}

impl Listing {
    /// The next entries, in no order; empty only at the end. Not cancel safe: entries are lost.
    ///
    /// # Errors
    /// When the listing failed.
    pub async fn next(&mut self) -> Result<Vec<Entry>, Error> {
        loop {
            let Some(chunk) = self.entries.as_mut().ready_chunks(ENTRIES_MAX).next().await else {
                return Ok(Vec::new());
            };
            let chunk: Vec<Entry> = chunk.into_iter().collect::<Result<_, _>>()?;
            let mut entries: Vec<Entry> = chunk
                .into_iter()
                .map(|entry| Entry {
                    path: format!("{}{}", self.below, entry.path),
                    ..entry
                })
                .collect();
            // Entries whose names cannot be opened are left out: a key may contain any characters.
            entries.retain(|entry| why_no_name(&entry.path).is_none());
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::{Config, Files};

    fn objects(files: Files) -> Objects {
        Objects::new(
            Config {
                files,
                ..Config::default()
            },
            tokio::runtime::Handle::current(),
        )
    }

    async fn names(prefix: &Prefix, below: &str) -> Vec<String> {
        let mut listing = prefix.list(below).unwrap();
        let mut names = Vec::new();
        loop {
            let entries = listing.next().await.unwrap();
            if entries.is_empty() {
                names.sort();
                return names;
            }
            names.extend(entries.into_iter().map(|entry| entry.path));
        }
    }

    #[tokio::test]
    async fn what_lies_in_a_folder_is_listed_and_opened_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("array.zarr");
        fs::create_dir_all(folder.join("c/0")).unwrap();
        for (name, content) in [
            ("zarr.json", "{}"),
            ("c/0/0", "abc"),
            ("c/0/1%2e ü#?", "d"),
            ("../secret", "s"),
        ] {
            fs::write(folder.join(name), content).unwrap();
        }
        symlink(root.path().join("secret"), folder.join("link")).unwrap();
        symlink(root.path(), folder.join("out")).unwrap();
        symlink(folder.join("zarr.json"), folder.join("inner")).unwrap();
        let prefix = objects(Files::Everywhere)
            .prefix(&format!("file://{}/", folder.display()).parse().unwrap())
            .await
            .unwrap();
        assert_eq!(prefix.name(), "array.zarr");
        assert_eq!(
            names(&prefix, "").await,
            ["c/0/0", "c/0/1%2e ü#?", "inner", "zarr.json"]
        );
        assert_eq!(names(&prefix, "c/0/").await, ["c/0/0", "c/0/1%2e ü#?"]);
        assert_eq!(names(&prefix, "d").await, [""; 0]);
        for name in ["c/0/0", "c/0/1%2e ü#?", "inner"] {
            assert!(prefix.open(name).await.is_ok(), "{name}");
        }
        assert_eq!(
            prefix.open("none").await.unwrap_err().fault,
            InputFault::Missing
        );
        for name in [
            "../secret",
            "c/../../secret",
            "/etc/passwd",
            "",
            "c//0",
            "./zarr.json",
            "link",
            "out/secret",
            "a\0b",
        ] {
            assert_eq!(
                prefix.open(name).await.unwrap_err().fault,
                InputFault::Malformed,
                "{name}"
            );
        }
        assert_eq!(prefix.list("..").unwrap_err().fault, InputFault::Malformed);
        let elsewhere = objects(Files::under(vec![folder.join("c")]));
        assert_eq!(
            elsewhere
                .prefix(&format!("file://{}/", folder.display()).parse().unwrap())
                .await
                .unwrap_err()
                .fault,
            InputFault::Denied
        );
    }

    #[tokio::test]
    async fn names_are_not_decoded_anywhere() {
        let of = |url: &'static str| async move {
            objects(Files::Nowhere).prefix(&url.parse().unwrap()).await
        };
        let s3 = of("s3://bucket/a/").await.unwrap();
        assert_eq!(
            s3.locate("%2e%2e/b?x#y").unwrap().to_url(),
            "s3://bucket/a/%2e%2e/b?x#y"
        );
        for service in ["s3", "gs", "az"] {
            let whole = Objects::new(Config::default(), tokio::runtime::Handle::current())
                .prefix(&format!("{service}://bucket/").parse().unwrap())
                .await
                .unwrap();
            assert_eq!(
                whole.locate("b").unwrap().to_url(),
                format!("{service}://bucket/b")
            );
        }
        let web = of("https://host/a/").await.unwrap();
        assert_eq!(
            web.locate("%2e%2e/b?x#y").unwrap().to_url(),
            "https://host/a/%252e%252e/b%3Fx%23y"
        );
        assert!(
            web.list("")
                .unwrap_err()
                .message
                .contains("cannot be listed")
        );
    }
}
