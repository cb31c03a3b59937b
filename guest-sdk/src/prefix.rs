//! Prefixes: places that many objects lie below, such as a Zarr array or a folder of Parquet files.
//!
//! A function that is handed a prefix lists and opens what lies below it, and nothing else: a name
//! that would reach out of it is refused, by the host and by the stand-ins for tests alike. A
//! listing is fetched as it is used and never held as a whole.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::vec;

#[cfg(target_arch = "wasm32")]
use crate::bindings::sortie::task::objects;
use crate::object::{Error, Object};

/// The contract's limit for a name.
const NAME_BYTES_MAX: usize = 1024;

/// A location that contains objects.
///
/// ```
/// use sortie_guest::{Failure, Prefix};
///
/// /// How many bytes the chunks of an array take.
/// #[sortie_guest::function]
/// fn chunk_bytes(array: Prefix) -> Result<u64, Failure> {
///     let mut bytes = 0;
///     for entry in array.list("c")? {
///         bytes += entry?.size;
///     }
///     Ok(bytes)
/// }
///
/// let files = [("zarr.json", "{}"), ("c/0/0", "abc"), ("c/0/1", "de")];
/// let array = Prefix::from_objects("array.zarr", files);
/// assert_eq!(array.open("zarr.json").unwrap().read_all().unwrap(), b"{}");
/// assert!(array.open("../other.zarr/zarr.json").is_err());
/// assert_eq!(chunk_bytes(array).unwrap(), 5);
/// ```
#[derive(Clone)]
pub struct Prefix {
    name: String,
    source: Source,
}

#[derive(Clone)]
enum Source {
    #[cfg(target_arch = "wasm32")]
    Handle(Arc<objects::Prefix>),
    Memory(Arc<[(String, Vec<u8>)]>),
    #[cfg(not(target_arch = "wasm32"))]
    Folder(std::path::PathBuf),
}

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, relative to the prefix: [`Prefix::open`] takes it.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

impl Prefix {
    /// A prefix with these objects below it, each a name and its bytes, for tests.
    pub fn from_objects<N: Into<String>, B: Into<Vec<u8>>>(
        name: impl Into<String>,
        objects: impl IntoIterator<Item = (N, B)>,
    ) -> Self {
        let objects = objects
            .into_iter()
            .map(|(name, bytes)| (name.into(), bytes.into()))
            .collect();
        Self {
            name: name.into(),
            source: Source::Memory(objects),
        }
    }

    /// A local folder as a prefix, for native tests.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn folder(path: impl AsRef<std::path::Path>) -> io::Result<Self> {
        // Links are resolved, so that what is listed can be compared with where it should lie.
        let path = path.as_ref().canonicalize()?;
        let name = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned();
        Ok(Self {
            name,
            source: Source::Folder(path),
        })
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn from_handle(handle: objects::Prefix) -> Self {
        Self {
            name: handle.name(),
            source: Source::Handle(Arc::new(handle)),
        }
    }

    /// The host's handle, if it has one.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn handle(&self) -> Option<&objects::Prefix> {
        match &self.source {
            Source::Handle(handle) => Some(handle),
            Source::Memory(_) => None,
        }
    }

    /// The last segment of the prefix's path: `array.zarr`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The objects below the prefix in no particular order: all of them, or, where `below` is not
    /// empty, those in the folder of that name and in folders within it. Names are relative to
    /// the prefix in any case.
    pub fn list(&self, below: &str) -> io::Result<Entries> {
        let folder = below.trim_end_matches('/');
        let more = match &self.source {
            #[cfg(target_arch = "wasm32")]
            Source::Handle(handle) => More::Listing(
                handle
                    .list(folder)
                    .map_err(|error| translate(error, folder))?,
                self.name.clone(),
            ),
            Source::Memory(objects) => {
                check_folder(folder)?;
                let start = if folder.is_empty() {
                    String::new()
                } else {
                    format!("{folder}/")
                };
                let below = objects.iter().filter(|(name, _)| name.starts_with(&start));
                More::Known(
                    below
                        .map(|(name, bytes)| Entry {
                            name: name.clone(),
                            size: bytes.len() as u64,
                        })
                        .collect(),
                )
            }
            #[cfg(not(target_arch = "wasm32"))]
            Source::Folder(path) => {
                check_folder(folder)?;
                More::Folders {
                    root: path.clone(),
                    left: VecDeque::from([path.join(folder)]),
                }
            }
        };
        Ok(Entries {
            page: Vec::new().into_iter(),
            more,
        })
    }

    /// Open the object of that name.
    ///
    /// Fails with [`io::ErrorKind::NotFound`] when there is none, and with
    /// [`io::ErrorKind::InvalidInput`] when the name cannot be that of an object
    /// below the prefix: an absolute one, or one with a segment that is empty, `.` or `..`. Names
    /// are never decoded.
    pub fn open(&self, name: &str) -> io::Result<Object> {
        match &self.source {
            #[cfg(target_arch = "wasm32")]
            Source::Handle(handle) => handle
                .open(name)
                .map(Object::from_handle)
                .map_err(|error| translate(error, name)),
            Source::Memory(objects) => {
                check(name)?;
                match objects.iter().find(|(known, _)| known == name) {
                    Some((_, bytes)) => Ok(Object::from_bytes(last_segment(name), bytes.clone())),
                    None => Err(Error::Missing {
                        name: name.to_owned(),
                    }
                    .into()),
                }
            }
            #[cfg(not(target_arch = "wasm32"))]
            Source::Folder(path) => {
                check(name)?;
                match path.join(name).canonicalize() {
                    Ok(found) if !found.starts_with(path) => {
                        Err(invalid(name, "it is a link that leads out of the folder"))
                    }
                    Ok(found) => Object::open(found),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::Missing {
                        name: name.to_owned(),
                    }
                    .into()),
                    Err(error) => Err(error),
                }
            }
        }
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prefix")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The objects below a prefix, one after the other. After an error there is nothing more.
pub struct Entries {
    page: vec::IntoIter<Entry>,
    more: More,
}

enum More {
    #[cfg(target_arch = "wasm32")]
    Listing(objects::Listing, String),
    Known(VecDeque<Entry>),
    #[cfg(not(target_arch = "wasm32"))]
    Folders {
        root: std::path::PathBuf,
        left: VecDeque<std::path::PathBuf>,
    },
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries").finish_non_exhaustive()
    }
}

impl Entries {
    /// The next entries; none at the end.
    fn next_page(&mut self) -> io::Result<Vec<Entry>> {
        match &mut self.more {
            #[cfg(target_arch = "wasm32")]
            More::Listing(listing, name) => match listing.next() {
                Ok(entries) => Ok(entries
                    .into_iter()
                    .map(|objects::Entry { name, size }| Entry { name, size })
                    .collect()),
                Err(error) => Err(translate(error, name)),
            },
            More::Known(entries) => Ok(std::mem::take(entries).into()),
            #[cfg(not(target_arch = "wasm32"))]
            More::Folders { root, left } => loop {
                let Some(folder) = left.pop_front() else {
                    return Ok(Vec::new());
                };
                let page = files_in(root, &folder, left)?;
                if !page.is_empty() {
                    return Ok(page);
                }
            },
        }
    }
}

impl Iterator for Entries {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<io::Result<Entry>> {
        if let Some(entry) = self.page.next() {
            return Some(Ok(entry));
        }
        match self.next_page() {
            Ok(page) => self.page = page.into_iter(),
            Err(error) => {
                self.more = More::Known(VecDeque::new());
                return Some(Err(error));
            }
        }
        self.page.next().map(Ok)
    }
}

/// The files in a folder; its folders go to `folders`. Links are not followed.
#[cfg(not(target_arch = "wasm32"))]
fn files_in(
    root: &std::path::Path,
    folder: &std::path::Path,
    folders: &mut VecDeque<std::path::PathBuf>,
) -> io::Result<Vec<Entry>> {
    let mut files = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        // As in a store, where a folder that is not there has nothing in it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            folders.push_back(entry.path());
        } else if kind.is_file()
            && let Ok(relative) = entry.path().strip_prefix(root)
        {
            files.push(Entry {
                name: relative.to_string_lossy().into_owned(),
                size: entry.metadata()?.len(),
            });
        }
    }
    Ok(files)
}

/// Refuse what is no folder's name, as the host does; nothing is the whole prefix.
fn check_folder(name: &str) -> io::Result<()> {
    if name.is_empty() { Ok(()) } else { check(name) }
}

/// Refuse what is no name, as the host does.
fn check(name: &str) -> io::Result<()> {
    if name.len() > NAME_BYTES_MAX {
        return Err(invalid("", "it has more than 1024 bytes"));
    }
    if name.chars().any(char::is_control) {
        return Err(invalid(name, "it has control characters"));
    }
    match name
        .split('/')
        .find(|segment| matches!(*segment, "" | "." | ".."))
    {
        Some("") => Err(invalid(name, "a segment is empty")),
        Some(_) => Err(invalid(name, "it has a segment `.` or `..`")),
        None => Ok(()),
    }
}

fn invalid(name: &str, reason: &str) -> io::Error {
    Error::Invalid {
        name: name.to_owned(),
        reason: reason.to_owned(),
    }
    .into()
}

fn last_segment(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(target_arch = "wasm32")]
fn translate(error: objects::Error, name: &str) -> io::Error {
    crate::object::translate(error, name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(prefix: &Prefix, below: &str) -> Vec<String> {
        let mut names: Vec<String> = prefix
            .list(below)
            .unwrap()
            .map(|entry| entry.unwrap().name)
            .collect();
        names.sort();
        names
    }

    fn kind(prefix: &Prefix, name: &str) -> io::ErrorKind {
        prefix.open(name).unwrap_err().kind()
    }

    #[test]
    fn a_folder_and_objects_in_memory_behave_the_same() {
        let folder = std::env::temp_dir().join(format!("sortie-guest-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("array.zarr/c/0")).unwrap();
        let files = [("zarr.json", "{}"), ("c/0/0", "abc"), ("c/0/1", "d")];
        for (name, content) in files {
            std::fs::write(folder.join("array.zarr").join(name), content).unwrap();
        }
        std::fs::write(folder.join("secret"), "s").unwrap();
        for prefix in [
            Prefix::folder(folder.join("array.zarr")).unwrap(),
            Prefix::from_objects("array.zarr", files),
        ] {
            assert_eq!(prefix.name(), "array.zarr");
            assert_eq!(names(&prefix, ""), ["c/0/0", "c/0/1", "zarr.json"]);
            assert_eq!(names(&prefix, "c/0/"), ["c/0/0", "c/0/1"]);
            assert_eq!(names(&prefix, "d"), [""; 0]);
            let object = prefix.open("c/0/0").unwrap();
            assert_eq!((object.name(), object.size()), ("0", 3));
            assert_eq!(kind(&prefix, "c/1"), io::ErrorKind::NotFound);
            for name in [
                "../secret",
                "/etc/passwd",
                "c//0",
                "",
                "./zarr.json",
                "c/../zarr.json",
                "a\0",
            ] {
                assert_eq!(kind(&prefix, name), io::ErrorKind::InvalidInput, "{name}");
            }
            assert_eq!(
                prefix.list("..").unwrap_err().kind(),
                io::ErrorKind::InvalidInput
            );
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
