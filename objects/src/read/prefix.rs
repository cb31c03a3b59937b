//! Prefixes: give access to the objects below a location, and to nothing else.
//!
//! A name below a prefix is segments with slashes between them, taken as they are: what could mean
//! another place (`..`, a slash in front, an empty segment) is refused before any store sees it,
//! and what a web server would decode is encoded. In a bucket any text behind the prefix is a key
//! below it. In folders links are followed as long as they stay in the folder; those that lead out
//! of it are not listed and not opened, also if they are put there while a name is opened or the
//! folder is listed.

use std::path::{Path, PathBuf};

use futures::StreamExt as _;
use futures::stream::BoxStream;
use sortie_protocol::outcome::InputFault;

use super::entries::Entry;
use super::pattern::Pattern;
use super::walk::{Found, Known, State, Trouble, Walk, Ways};
use crate::error::told;
use crate::objects::{Object, Objects};
use crate::shown::{one_line, shown};
use crate::stores::local::{Links, LocalFile};
use crate::{Address, Error, Files, Location, Place};

/// Maximum length of a name below a prefix: S3's limit for keys.
const NAME_BYTES_MAX: usize = 1024;
/// Maximum number of entries per step of a listing: S3's page size.
const ENTRIES_MAX: usize = 1000;

/// A location that contains objects. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Prefix {
    objects: Objects,
    /// As it was named.
    place: Place,
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
            Location::File(folder) => Location::File(self.admit(folder).await?.path),
            elsewhere => elsewhere.clone(),
        };
        Ok(Prefix {
            objects: self.clone(),
            place: place.clone(),
            location,
            name,
        })
    }

    /// The files in the folder `start`, which is in `folder`, and below it: those that are in
    /// `folder` after links, each way to them once, if `files` has it that `folder` may be read.
    /// Nothing is looked at before it is asked for.
    pub(crate) fn walk(
        &self,
        folder: PathBuf,
        start: PathBuf,
        files: Files,
    ) -> BoxStream<'static, Result<Entry, Error>> {
        let walk = Walk::new(&start, Pattern::everything(), Ways::Inside(folder, files));
        let state = (self.clone(), start, walk);
        futures::stream::unfold(Some(state), |state| async {
            let (objects, start, mut walk) = state?;
            let stepping = objects.shared.listings.run(move || {
                let step = walk.step();
                (step, walk)
            });
            Some(match stepping.await {
                Ok((step, walk)) => {
                    let mut entries: Vec<Result<Entry, Error>> = step
                        .found
                        .iter()
                        .filter_map(|found| entry(&start, found))
                        .map(Ok)
                        .collect();
                    let next = match step.state {
                        State::GoesOn => Some((objects, start, walk)),
                        State::Over => None,
                        State::Broken(trouble) => {
                            entries.push(Err(unlisted(trouble)));
                            None
                        }
                    };
                    (entries, next)
                }
                Err(error) => (vec![Err(error)], None),
            })
        })
        .flat_map(futures::stream::iter)
        .boxed()
    }
}

/// Why a folder is not listed to its end.
fn unlisted(trouble: Trouble) -> Error {
    match trouble {
        Trouble::Refused(error) => error,
        Trouble::Unread(path, error) => Error::new(
            InputFault::Unavailable,
            format!(
                "`{}` cannot be listed: {error}",
                shown(&Location::File(path))
            ),
        ),
    }
}

impl Prefix {
    /// What it was named by, for others to open it.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

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
        let below = below.strip_suffix('/').unwrap_or(below);
        if let Location::Http(_) = &self.location {
            let message = format!(
                "`{}` is on a web server, which cannot be listed; open objects by their names",
                self.location
            );
            return Err(Error::new(InputFault::Malformed, message).telling_guests(
                "the prefix is on a web server, which cannot be listed; open objects by their \
                 names",
            ));
        }
        let place = if below.is_empty() {
            self.location.clone()
        } else {
            self.locate(below)?
        };
        let entries = match (&self.location, &place) {
            (Location::File(folder), Location::File(start)) => {
                let files = self.objects.shared.stores.files().clone();
                self.objects.walk(folder.clone(), start.clone(), files)
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
        let address = Address::from(self.locate(name)?);
        let (Location::File(folder), Location::File(path)) = (&self.location, &address.location)
        else {
            return self.objects.open(&address, None).await;
        };
        let (folder, path) = (folder.clone(), path.clone());
        let resolving = self
            .objects
            .shared
            .files
            .run(move || Ok((folder.canonicalize()?, path.canonicalize()?)));
        let name = shown(&address.location);
        let (folder, real) = resolving
            .await?
            .map_err(|error: std::io::Error| told(&name, &error))?;
        if !real.starts_with(folder) {
            return Err(Error::new(
                InputFault::Malformed,
                format!("`{name}` is a link that leads out of the folder"),
            )
            .telling_guests("the name is that of a link that leads out of the prefix"));
        }
        // May it be read? Opened is what was looked at: no link on the way is followed any more.
        self.objects.admit(&real).await?;
        let file = LocalFile {
            path: real,
            links: Links::Refused,
        };
        self.objects.open_file(&address, file, None).await
    }

    /// The location of the object with this name.
    fn locate(&self, name: &str) -> Result<Location, Error> {
        if let Some(reason) = why_no_name(&self.location, name) {
            let message = format!(
                "`{}` cannot be a name below a prefix: {reason}",
                one_line(&sortie_protocol::outcome::cut(name.to_owned(), 200))
            );
            return Err(Error::new(InputFault::Malformed, message.clone()).telling_guests(message));
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

/// Why a text is no name below a prefix, if it is none. In a bucket whatever is put behind a key
/// lies below it; in a folder and on a web server some segments mean another place.
fn why_no_name(place: &Location, name: &str) -> Option<&'static str> {
    if name.len() > NAME_BYTES_MAX {
        return Some("it has more than 1024 bytes");
    }
    match place {
        _ if name.contains('\0') => return Some("it has a zero byte"),
        Location::Bucket { .. } if name.is_empty() => return Some("it is empty"),
        Location::Bucket { .. } => return None,
        Location::Http(_) if name.chars().any(char::is_control) => {
            return Some("it has control characters");
        }
        Location::File(_) | Location::Http(_) => {}
    }
    name.split('/').find_map(|segment| match segment {
        "" => Some("a segment is empty"),
        "." | ".." => Some("it has a segment `.` or `..`"),
        _ => None,
    })
}

/// What a listing says of a file. A name that is not UTF-8 is shown as far as it is text; opening
/// it then says that there is no such object.
fn entry(start: &Path, found: &Found) -> Option<Entry> {
    // A link that leads nowhere is no object. What cannot be read ends the listing.
    let Known::File(facts) = found.known else {
        return None;
    };
    let path = found.path.strip_prefix(start).ok()?;
    Some(Entry {
        path: path.to_string_lossy().into_owned(),
        size: facts.size,
        modified: facts.modified,
    })
}

impl Listing {
    /// The next entries, in no order; empty only at the end. Not cancel safe: entries are lost.
    ///
    /// # Errors
    /// When the listing failed.
    pub async fn next(&mut self) -> Result<Vec<Entry>, Error> {
        let Some(chunk) = self.entries.as_mut().ready_chunks(ENTRIES_MAX).next().await else {
            return Ok(Vec::new());
        };
        let chunk: Vec<Entry> = chunk.into_iter().collect::<Result<_, _>>()?;
        Ok(chunk
            .into_iter()
            .map(|entry| Entry {
                path: format!("{}{}", self.below, entry.path),
                ..entry
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::Config;

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
