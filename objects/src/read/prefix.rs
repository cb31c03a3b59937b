//! Prefixes: places that objects lie below, and nothing else is reached through.
//!
//! A name below a prefix is segments with slashes between them, taken as they are: what could mean
//! another place (`..`, a slash in front, an empty segment) is refused before any store sees it,
//! and what a web server would decode is encoded. In folders links are followed as long as
//! they stay in the folder; those that lead out of it are not listed and not opened. Whoever can
//! change links in a folder while it is read decides what is read.

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

/// The longest name below a prefix: what S3 takes as a key.
const NAME_BYTES_MAX: usize = 1024;
/// The most entries that one step of a listing brings: as many as S3 answers at once.
const ENTRIES_MAX: usize = 1000;

/// A place that objects lie below. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Prefix {
    objects: Objects,
    /// Where it is, without links if only some local files may be read.
    location: Location,
    name: String,
}

/// What lies below a prefix, as far as it was listed. Dropping it ends the listing.
pub struct Listing {
    entries: BoxStream<'static, Result<Entry, Error>>,
    /// What is in front of the names that the stream has.
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
    /// The prefix at `place`. Nothing is looked at; that nothing lies there is no error.
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

    /// The files in the folder `start`, which is in `folder`, and below it: those that are in
    /// `folder` after links, each way to them once.
    fn walk(&self, folder: PathBuf, start: PathBuf) -> BoxStream<'static, Result<Entry, Error>> {
        let (sender, receiver) = mpsc::channel(ENTRIES_MAX);
        // Ends with its receiver: nothing can be sent then.
        self.shared
            .io
            .spawn_blocking(move || walk(&folder, &start, &sender));
        futures::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|entry| (entry, receiver))
        })
        .boxed()
    }

    /// Look at the disk, where that does not hold up others' I/O.
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

    /// List the objects below, in `below` if it is not empty.
    ///
    /// # Errors
    /// When `below` is no name, or the place cannot be listed.
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
        // Asked again after its end, it has nothing.
        Ok(Listing {
            entries: entries.fuse().boxed(),
            below,
        })
    }

    /// Open the object of that name, and pin its present version.
    ///
    /// # Errors
    /// When it is no name, there is no such object, or it cannot be opened.
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

    /// Where the object of that name is.
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

/// Why a text is no name below a prefix, if it is none.
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

/// Whether a path that lies below a folder by its name does so after links, too. What is not there
/// leads nowhere.
fn is_inside(folder: &Path, path: &Path) -> bool {
    match (folder.canonicalize(), path.canonicalize()) {
        (Ok(folder), Ok(path)) => path.starts_with(folder),
        (Err(_), _) | (_, Err(_)) => true,
    }
}

/// Send all files below `start` that are in `folder`, until nobody listens.
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
                // A name that is not UTF-8 cannot be asked for.
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
            // What leads back to where it came from has nothing new below it; what has gone is not
            // there.
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
    /// The next entries, in no order; none only at the end. Not cancel safe: entries are lost.
    ///
    /// # Errors
    /// When the listing broke off.
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
            // What cannot be opened is not shown: a key may hold anything.
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
