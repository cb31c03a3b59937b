//! A walk through local folders, in steps: each looks at a bounded number of names and gives its
//! thread back, so that a walk whose finds nobody takes holds none.
//!
//! Folder by folder, sorted by name, each file once. Names are bytes. A folder that a segment of a
//! pattern names is entered even if it is a link; `**` enters no links, or, where all below a
//! folder is listed, those that stay in it and do not lead back to where they came from.
//!
//! Bounds: of each folder that the walk is in, the names that are still to be looked at.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::pattern::{Pattern, Places};
use crate::stores::local::open_without_links;

/// Names that one step looks at, at most. Some milliseconds.
pub(crate) const LOOKS_MAX: usize = 10_000;
/// Files that one step finds, at most: a few hundred kilobytes of names.
pub(crate) const FOUND_MAX: usize = 1000;
/// Folders in folders that a walk goes down to. A path that the system takes has no more; more are
/// links that lead around.
const DEPTH_MAX: usize = 2048;

/// A walk, between its steps.
#[derive(Debug)]
pub(crate) struct Walk {
    pattern: Pattern,
    ways: Ways,
    folders: Vec<Folder>,
}

/// Which links to folders `**` enters.
#[derive(Debug, Clone)]
pub(crate) enum Ways {
    /// None.
    Real,
    /// Those that lead to something in this folder.
    Inside(PathBuf),
}

/// A folder that is being walked through.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    names: VecDeque<OsString>,
    places: Places,
    /// Device and number.
    id: (u64, u64),
}

/// What a step found.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) found: Vec<Found>,
    pub(crate) state: State,
}

/// Whether there is more.
#[derive(Debug, Default)]
pub(crate) enum State {
    #[default]
    GoesOn,
    Over,
    /// It cannot go on: this folder cannot be read.
    Broken(PathBuf, io::Error),
}

/// A file.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    /// What is known of it; nothing, if it is a link that leads nowhere.
    pub(crate) metadata: Option<Metadata>,
}

impl Step {
    /// Nothing, and no more.
    pub(crate) fn over() -> Self {
        Self {
            found: Vec::new(),
            state: State::Over,
        }
    }
}

impl Walk {
    /// A walk for what matches `pattern` below `start`, not begun.
    pub(crate) fn new(start: &Path, pattern: Pattern, ways: Ways) -> Self {
        let first = Folder {
            path: start.to_owned(),
            names: VecDeque::new(),
            places: pattern.start(),
            id: (0, 0),
        };
        Self {
            pattern,
            ways,
            folders: vec![first],
        }
    }

    /// Begin it.
    fn begin(&mut self) -> Result<(), (PathBuf, io::Error)> {
        let Some(first) = self.folders.pop() else {
            return Ok(());
        };
        match fs::metadata(&first.path) {
            Ok(metadata) if metadata.is_dir() => self.enter(first.path, &metadata, first.places),
            // Nothing lies below what is no folder.
            Ok(_) => Ok(()),
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => Err((first.path, error)),
        }
    }

    /// Go on for a while.
    pub(crate) fn step(&mut self) -> Step {
        let mut step = Step::default();
        if let [first] = self.folders.as_slice()
            && first.id == (0, 0)
            && let Err((path, error)) = self.begin()
        {
            step.state = State::Broken(path, error);
            return step;
        }
        for _ in 0..LOOKS_MAX {
            if step.found.len() >= FOUND_MAX {
                return step;
            }
            let Some(folder) = self.folders.last_mut() else {
                step.state = State::Over;
                return step;
            };
            let Some(name) = folder.names.pop_front() else {
                self.folders.pop();
                continue;
            };
            let (path, places) = (folder.path.join(&name), folder.places.clone());
            if let Err((path, error)) = self.look(path, &name, &places, &mut step.found) {
                step.state = State::Broken(path, error);
                return step;
            }
        }
        step
    }

    /// Look at one name.
    fn look(
        &mut self,
        path: PathBuf,
        name: &OsStr,
        places: &Places,
        found: &mut Vec<Found>,
    ) -> Result<(), (PathBuf, io::Error)> {
        let link = match fs::symlink_metadata(&path) {
            Ok(own) => own.is_symlink(),
            // It has gone, or was asked for by a name that is not there.
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err((path, error)),
        };
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => Some(metadata),
            Err(error) if is_gone(&error) && !link => return Ok(()),
            // A link that leads nowhere is no folder; whoever names it is told by its task.
            Err(_) if link => None,
            Err(error) => return Err((path, error)),
        };
        let is_folder = metadata.as_ref().is_some_and(Metadata::is_dir);
        let descends = is_folder && (!link || self.follows(&path));
        let next = self.pattern.after(places, name.as_bytes(), descends);
        match metadata {
            Some(metadata) if is_folder => {
                if self.pattern.goes_on(&next) && !self.leads_back(&metadata) {
                    return self.enter(path, &metadata, next);
                }
            }
            Some(metadata) if !metadata.is_file() => {}
            metadata => {
                let inside = !link || self.may_show(&path);
                if self.pattern.is_met(&next) && inside {
                    found.push(Found { path, metadata });
                }
            }
        }
        Ok(())
    }

    /// Whether `**` enters a link to a folder.
    fn follows(&self, path: &Path) -> bool {
        match &self.ways {
            Ways::Real => false,
            Ways::Inside(folder) => is_inside(folder, path),
        }
    }

    /// Whether a link to a file is shown.
    fn may_show(&self, path: &Path) -> bool {
        match &self.ways {
            Ways::Real => true,
            Ways::Inside(folder) => is_inside(folder, path),
        }
    }

    /// The names in a folder, sorted. Where a walk stays in a folder, what is read is what was
    /// looked at: a link that is put there in between is not followed.
    fn names_in(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut names = match &self.ways {
            Ways::Real => fs::read_dir(path)?
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<io::Result<Vec<_>>>()?,
            Ways::Inside(folder) => {
                let real = path.canonicalize()?;
                if !real.starts_with(folder.canonicalize()?) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let mut names = Vec::new();
                for entry in rustix::fs::Dir::new(open_without_links(&real)?)? {
                    let name = entry?.file_name().to_bytes().to_vec();
                    if name != b"." && name != b".." {
                        names.push(OsString::from_vec(name));
                    }
                }
                names
            }
        };
        names.sort_unstable();
        Ok(names)
    }

    fn leads_back(&self, metadata: &Metadata) -> bool {
        let id = (metadata.dev(), metadata.ino());
        let inside = matches!(self.ways, Ways::Inside(_));
        self.folders.len() >= DEPTH_MAX
            || (inside && self.folders.iter().any(|folder| folder.id == id))
    }

    fn enter(
        &mut self,
        path: PathBuf,
        metadata: &Metadata,
        places: Places,
    ) -> Result<(), (PathBuf, io::Error)> {
        let names = match self.pattern.literals(&places) {
            Some(names) => {
                let mut names: Vec<OsString> = names.into_iter().map(OsString::from).collect();
                names.retain(|name| !name.is_empty());
                names
            }
            None => match self.names_in(&path) {
                Ok(names) => names,
                Err(error) if is_gone(&error) => return Ok(()),
                Err(error) => return Err((path, error)),
            },
        };
        self.folders.push(Folder {
            path,
            names: names.into(),
            places,
            id: (metadata.dev(), metadata.ino()),
        });
        Ok(())
    }
}

/// Whether a path that lies below a folder by its name does so after links, too. What is not there
/// leads nowhere.
pub(crate) fn is_inside(folder: &Path, path: &Path) -> bool {
    match (folder.canonicalize(), path.canonicalize()) {
        (Ok(folder), Ok(path)) => path.starts_with(folder),
        (Err(_), _) | (_, Err(_)) => true,
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
