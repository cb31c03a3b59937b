//! A walk through local folders, in steps: each looks at a bounded number of names and gives its
//! thread back, so that a walk whose finds nobody takes holds none.
//!
//! Folder by folder, sorted by name, each file once. Names are bytes. A folder that a segment of a
//! pattern names is entered even if it is a link; `**` enters no links, or, where all below a
//! folder is listed, those that stay in it and do not lead back to where they came from.
//!
//! Where a walk may not go everywhere, what a link leads to is resolved, held against where the
//! walk may go, and looked at without following any link; so is a folder opened, and what is in it
//! is looked at through what was opened. A link that is put there in between leads nowhere, and
//! neither names nor sizes come from where it leads to.
//!
//! Bounds: of each folder that the walk is in, the names that are still to be looked at. One folder
//! is open, the one that is looked into, and only during a step: walks that nobody goes on with
//! hold no descriptors.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dev, Dir};
use rustix::io::Errno;

use super::pattern::{Pattern, Places};
use crate::shortage::is_shortage;
use crate::stores::local::{Facts, Links, LocalFile, NAMES, WAY, open_without_links};
use crate::{Error, Files};

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
    /// Where it begins, until it has begun.
    start: Option<PathBuf>,
    folders: Vec<Folder>,
}

/// Where a walk goes.
#[derive(Debug, Clone)]
pub(crate) enum Ways {
    /// To what may be read, wherever links lead; `**` enters none.
    Named(Files),
    /// To what lies in this folder after links, if the folder may be read. Resolved when the walk
    /// begins.
    Inside(PathBuf, Files),
}

/// A folder that is being walked through.
#[derive(Debug)]
struct Folder {
    /// By the names that led to it.
    path: PathBuf,
    /// How it is opened.
    file: LocalFile,
    /// While it is looked into.
    open: Option<OwnedFd>,
    names: VecDeque<OsString>,
    places: Places,
    /// Device and number.
    id: (Dev, u64),
}

/// What is at a path, after links.
#[derive(Debug)]
struct Spot {
    facts: Facts,
    /// How it is opened, unless that is still to be asked for.
    file: Option<LocalFile>,
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
    Broken(Trouble),
}

/// Why a walk cannot go on.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// This cannot be read.
    Unread(PathBuf, io::Error),
    /// A folder may not be read.
    Refused(Error),
}

/// A file, or what may have some.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) known: Known,
}

/// What is known of a find.
#[derive(Debug)]
pub(crate) enum Known {
    File(Facts),
    /// It is a link that leads nowhere, or out of a folder that the walk stays in.
    Link,
    /// It cannot be looked at, or into.
    Unread(io::Error),
}

impl Walk {
    /// A walk for what matches `pattern` below `start`, not begun.
    pub(crate) fn new(start: &Path, pattern: Pattern, ways: Ways) -> Self {
        Self {
            pattern,
            ways,
            start: Some(start.to_owned()),
            folders: Vec::new(),
        }
    }

    /// Go on for a while.
    pub(crate) fn step(&mut self) -> Step {
        let mut step = Step::default();
        step.state = match self.go_on(&mut step.found) {
            Ok(state) => state,
            Err(trouble) => State::Broken(trouble),
        };
        if let Some(folder) = self.folders.last_mut() {
            folder.open = None;
        }
        step
    }

    fn go_on(&mut self, found: &mut Vec<Found>) -> Result<State, Trouble> {
        if let Some(start) = self.start.take() {
            self.begin(start)?;
        }
        for _ in 0..LOOKS_MAX {
            if found.len() >= FOUND_MAX {
                return Ok(State::GoesOn);
            }
            let Some(folder) = self.folders.last_mut() else {
                return Ok(State::Over);
            };
            let Some(name) = folder.names.pop_front() else {
                self.folders.pop();
                continue;
            };
            let path = folder.path.join(&name);
            match folder.look(&path, &name) {
                Ok(facts) => {
                    let file = folder.file.below(Path::new(&name));
                    let places = folder.places.clone();
                    self.meet(path, &name, (facts, file), &places, found)?;
                }
                // It has gone, or was asked for by a name that is not there.
                Err(error) if is_gone(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    // So it is for every name in the folder.
                    let path = folder.path.clone();
                    if self.folders.len() == 1 {
                        return Err(Trouble::Unread(path, error));
                    }
                    self.folders.pop();
                    self.unread(Trouble::Unread(path, error), found)?;
                }
                Err(error) => {
                    // Perhaps it is a folder.
                    let next = self.pattern.after(&folder.places, name.as_bytes(), true);
                    if self.pattern.is_met(&next) || self.pattern.goes_on(&next) {
                        self.unread(Trouble::Unread(path, error), found)?;
                    }
                }
            }
        }
        Ok(State::GoesOn)
    }

    /// What cannot be looked at is a find, if the walk is for a pattern, and the machine is not
    /// short of something.
    fn unread(&self, trouble: Trouble, found: &mut Vec<Found>) -> Result<(), Trouble> {
        match (trouble, &self.ways) {
            (Trouble::Unread(path, error), Ways::Named(_)) if !is_shortage(&error) => {
                let known = Known::Unread(error);
                found.push(Found { path, known });
                Ok(())
            }
            (trouble, Ways::Named(_) | Ways::Inside(..)) => Err(trouble),
        }
    }

    /// Begin it.
    fn begin(&mut self, start: PathBuf) -> Result<(), Trouble> {
        if let Ways::Inside(folder, files) = &mut self.ways {
            let file = files.admit(folder).map_err(Trouble::Refused)?;
            *folder = match file.links {
                Links::Refused => file.path,
                Links::Followed => match file.path.canonicalize() {
                    Ok(real) => real,
                    Err(error) if is_gone(&error) => return Ok(()),
                    Err(error) => return Err(Trouble::Unread(file.path, error)),
                },
            };
        }
        match self.behind(&start) {
            Ok(spot) if spot.facts.is_folder() => self.enter(start, spot, self.pattern.start()),
            // Nothing lies below what is no folder.
            Ok(_) => Ok(()),
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => Err(Trouble::Unread(start, error)),
        }
    }

    /// What is at a path that links may be on. What may not be looked at is not there.
    fn behind(&self, path: &Path) -> io::Result<Spot> {
        match &self.ways {
            Ways::Named(_) => Ok(Spot {
                facts: Facts::of(CWD, path, Links::Followed)?,
                file: None,
            }),
            Ways::Inside(folder, _) => {
                let real = path.canonicalize()?;
                if !real.starts_with(folder) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let facts = Facts::without_links(&real).map_err(without_way)?;
                let file = LocalFile {
                    path: real,
                    links: Links::Refused,
                };
                Ok(Spot {
                    facts,
                    file: Some(file),
                })
            }
        }
    }

    /// Enter the folder with this name, or note the file, if the pattern wants it.
    fn meet(
        &mut self,
        path: PathBuf,
        name: &OsStr,
        (facts, file): (Facts, LocalFile),
        places: &Places,
        found: &mut Vec<Found>,
    ) -> Result<(), Trouble> {
        let link = facts.is_link();
        let spot = if link {
            self.behind(&file.path)
        } else {
            let file = Some(file);
            Ok(Spot { facts, file })
        };
        let is_folder = spot.as_ref().is_ok_and(|spot| spot.facts.is_folder());
        let descends = is_folder && (!link || matches!(self.ways, Ways::Inside(..)));
        let next = self.pattern.after(places, name.as_bytes(), descends);
        match spot {
            Ok(spot) if is_folder => {
                if self.pattern.goes_on(&next) && !self.leads_back(&spot.facts) {
                    let entered = self.enter(path, spot, next);
                    return entered.or_else(|trouble| self.unread(trouble, found));
                }
            }
            Ok(spot) if !spot.facts.is_file() => {}
            Ok(spot) => {
                if self.pattern.is_met(&next) {
                    let known = Known::File(spot.facts);
                    found.push(Found { path, known });
                }
            }
            Err(error) => {
                if self.pattern.is_met(&next) {
                    // Whoever names it is told by its task.
                    let known = Known::Link;
                    found.push(Found { path, known });
                } else if self.pattern.goes_on(&next) && !leads_nowhere(&error) {
                    // Perhaps it leads to a folder.
                    return self.unread(Trouble::Unread(path, error), found);
                }
            }
        }
        Ok(())
    }

    fn leads_back(&self, facts: &Facts) -> bool {
        let inside = matches!(self.ways, Ways::Inside(..));
        let is_it = |folder: &Folder| folder.id == facts.id;
        self.folders.len() >= DEPTH_MAX || (inside && self.folders.iter().any(is_it))
    }

    fn enter(&mut self, path: PathBuf, spot: Spot, places: Places) -> Result<(), Trouble> {
        let file = match (spot.file, &self.ways) {
            (Some(file), _) => file,
            (None, Ways::Named(files) | Ways::Inside(_, files)) => {
                files.admit(&path).map_err(Trouble::Refused)?
            }
        };
        let mut folder = Folder {
            path,
            file,
            open: None,
            names: VecDeque::new(),
            places,
            id: spot.facts.id,
        };
        let mut names = match self.pattern.literals(&folder.places) {
            Some(names) => names.into_iter().map(OsString::from).collect(),
            None => match folder.read() {
                Ok(names) => names,
                Err(error) if is_gone(&error) => return Ok(()),
                Err(error) => return Err(Trouble::Unread(folder.path, error)),
            },
        };
        names.retain(|name| !name.is_empty());
        if names.is_empty() {
            return Ok(());
        }
        folder.names = names.into();
        if let Some(above) = self.folders.last_mut() {
            above.open = None;
        }
        self.folders.push(folder);
        Ok(())
    }
}

impl Folder {
    /// The names in it, sorted.
    fn read(&mut self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        match self.file.links {
            Links::Followed => {
                for entry in fs::read_dir(&self.file.path)? {
                    names.push(entry?.file_name());
                }
            }
            Links::Refused => {
                let open = open_without_links(&self.file.path, NAMES).map_err(without_way)?;
                for entry in Dir::new(open.try_clone()?)? {
                    let name = entry?.file_name().to_bytes().to_vec();
                    if name != b"." && name != b".." {
                        names.push(OsString::from_vec(name));
                    }
                }
                self.open = Some(open);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// What has this name in it, whose path that is. A link is not followed.
    fn look(&mut self, path: &Path, name: &OsStr) -> io::Result<Facts> {
        if self.file.links == Links::Followed {
            return Ok(Facts::of(CWD, path, Links::Refused)?);
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => open_without_links(&self.file.path, WAY).map_err(without_way)?,
        };
        let facts = Facts::of(&open, Path::new(name), Links::Refused);
        self.open = Some(open);
        Ok(facts?)
    }
}

/// A link where there was none when the path was resolved leads nowhere.
fn without_way(error: Errno) -> io::Error {
    match error {
        Errno::LOOP => io::ErrorKind::NotFound.into(),
        error => error.into(),
    }
}

/// Whether what a link leads to cannot be there, also as its links lead in a circle.
fn leads_nowhere(error: &io::Error) -> bool {
    is_gone(error) || Errno::from_io_error(error) == Some(Errno::LOOP)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
