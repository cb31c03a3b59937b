//! Decides which local files tasks may read.
//!
//! In an embedded client a task reads what the process may read. In a fleet the submitter and the
//! operator are different people, so a worker reads no local files unless its operator names
//! directories.
//!
//! Links and `..` are resolved before paths are compared, and the resolved path is the one that is
//! opened, without following any link: one that is put there in between does not lead out. What
//! lies in a named directory under another name than it is asked for, by links that were there, is
//! read all the same.

use std::io;
use std::path::{Path, PathBuf};

use sortie_protocol::Advice;
use sortie_protocol::outcome::InputFault;

use crate::error::told;
use crate::stores::local::{Links, LocalFile};
use crate::{Error, Location};

/// How many links one name may lead through: as many as Linux follows.
const LINKS_MAX: usize = 40;

/// Which local files may be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Files {
    /// All files that the process may read.
    #[default]
    Everywhere,
    /// Files in these folders and their subfolders.
    Under(Vec<Folder>),
    /// None.
    Nowhere,
}

/// A folder that was named, and what its name led to then. One that was not there is looked for
/// when it is needed. What is resolved stays so: of two named folders one may lie in the other, and
/// who may write there must not widen what is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    named: PathBuf,
    resolved: Option<PathBuf>,
}

impl Folder {
    fn of(named: PathBuf) -> Self {
        let resolved = named.canonicalize().ok();
        Self { named, resolved }
    }

    /// Whether a resolved path is in it.
    fn contains(&self, real: &Path) -> bool {
        match &self.resolved {
            Some(resolved) => real.starts_with(resolved),
            None => {
                let found = self.named.canonicalize();
                found.is_ok_and(|folder| real.starts_with(folder))
            }
        }
    }
}

impl Files {
    /// Files in these folders and their subfolders; no files if there are no folders. Links in
    /// their names are resolved now.
    #[must_use]
    pub fn under(folders: Vec<PathBuf>) -> Self {
        if folders.is_empty() {
            Self::Nowhere
        } else {
            Self::Under(folders.into_iter().map(Folder::of).collect())
        }
    }

    /// How to open the file at an absolute path, if it may be read. Looks at the disk.
    pub(crate) fn admit(&self, path: &Path) -> Result<LocalFile, Error> {
        let folders = match self {
            Self::Everywhere => {
                return Ok(LocalFile {
                    path: path.to_owned(),
                    links: Links::Followed,
                });
            }
            Self::Nowhere => {
                return Err(denied(path, "this worker reads no local files"));
            }
            Self::Under(folders) => folders,
        };
        let is_within = |real: &Path| folders.iter().any(|folder| folder.contains(real));
        let outside = || denied(path, "it is outside of the folders that this worker reads");
        let resolved = |path: PathBuf| LocalFile {
            path,
            links: Links::Refused,
        };
        match path.canonicalize() {
            Ok(real) if is_within(&real) => Ok(resolved(real)),
            Ok(_) => Err(outside()),
            // Outside of the folders, a missing file is reported as denied, so that tasks learn
            // nothing: also one that a link in a folder leads to.
            Err(error) if error.kind() == io::ErrorKind::NotFound => match dead_end(path) {
                Some(end) if is_within(&end) => Ok(resolved(end)),
                Some(_) | None => Err(outside()),
            },
            // Links below a named directory that lead in a circle, or through too many others, are
            // no secret, and no way out.
            Err(error) if is_within(&nearest(path)) => Err(told(&shown(path), &error)),
            Err(_) => Err(outside()),
        }
    }
}

/// Where a path leads at which nothing is: behind the links on the way, those to nothing included.
/// `None` if links change meanwhile.
fn dead_end(path: &Path) -> Option<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let (real, rest) = path.ancestors().find_map(|folder| {
            let rest = path.strip_prefix(folder).ok()?;
            Some((folder.canonicalize().ok()?, rest.to_owned()))
        })?;
        let mut rest = rest.components();
        let missing = real.join(rest.next()?);
        match missing.read_link() {
            Ok(target) => path = real.join(target).join(rest.as_path()),
            Err(_) => return Some(missing.join(rest.as_path())),
        }
    }
    None
}

/// The closest existing folder above a path.
fn nearest(path: &Path) -> PathBuf {
    path.ancestors()
        .skip(1)
        .find_map(|folder| folder.canonicalize().ok())
        .unwrap_or_default()
}

fn shown(path: &Path) -> String {
    crate::shown::shown(&Location::File(path.to_owned()))
}

fn denied(path: &Path, why: &str) -> Error {
    Error::new(
        InputFault::Denied,
        format!(
            "`{}` may not be read: {why}; its operator can name folders",
            shown(path)
        ),
    )
    .advised(Advice::AllowFiles)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_really_lies_in_a_named_folder_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (open, closed) = (folder.path().join("open"), folder.path().join("closed"));
        fs::create_dir_all(open.join("sub")).unwrap();
        fs::create_dir(&closed).unwrap();
        for path in [open.join("a"), open.join("sub/b"), closed.join("secret")] {
            fs::write(path, "x").unwrap();
        }
        symlink(closed.join("secret"), open.join("link")).unwrap();
        symlink(&closed, open.join("folder")).unwrap();
        symlink(open.join("a"), open.join("inner")).unwrap();
        symlink(&open, folder.path().join("alias")).unwrap();
        for (target, link) in [
            ("missing", "dangling"),
            ("sub/../missing/x", "deep"),
            ("dangling", "chain"),
            ("../closed/missing", "out"),
            ("out", "chain out"),
        ] {
            symlink(target, open.join(link)).unwrap();
        }
        let files = Files::under(vec![folder.path().join("alias")]);
        for path in [
            "open/a",
            "open/sub/b",
            "open/inner",
            "alias/a",
            "open/missing",
            "open/no/such",
            "open/dangling/x",
        ] {
            assert!(files.admit(&folder.path().join(path)).is_ok(), "{path}");
        }
        for path in [
            "closed/secret",
            "open/link",
            "open/folder/secret",
            "open/../closed/secret",
            "closed/missing",
            "open/folder/none",
            "open/out",
            "open/out/x",
            "open/chain out",
            "openly",
        ] {
            let error = files.admit(&folder.path().join(path)).unwrap_err();
            assert_eq!(error.fault, InputFault::Denied, "{path}");
            assert_eq!(error.advice, Some(Advice::AllowFiles));
        }
        for path in ["open/dangling", "open/deep", "alias/chain"] {
            let file = files.admit(&folder.path().join(path)).unwrap();
            assert_eq!(file.stamp(path).unwrap_err().fault, InputFault::Missing);
        }
    }

    #[test]
    fn a_named_folder_that_becomes_a_link_is_not_the_link() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("open/inner")).unwrap();
        fs::create_dir(at("closed")).unwrap();
        fs::write(at("closed/secret"), "x").unwrap();
        let files = Files::under(vec![at("open"), at("open/inner"), at("later")]);
        fs::remove_dir(at("open/inner")).unwrap();
        symlink(at("closed"), at("open/inner")).unwrap();
        for path in ["open/inner/secret", "closed/secret"] {
            let error = files.admit(&at(path)).unwrap_err();
            assert_eq!(error.fault, InputFault::Denied, "{path}");
        }
        // One that is made later is read.
        fs::create_dir(at("later")).unwrap();
        fs::write(at("later/a"), "x").unwrap();
        assert!(files.admit(&at("later/a")).is_ok());
    }

    #[test]
    fn without_folders_nothing_is_read_and_nothing_is_told() {
        let files = Files::under(Vec::new());
        for path in ["/etc/passwd", "/nonexistent"] {
            assert!(
                files
                    .admit(Path::new(path))
                    .unwrap_err()
                    .message
                    .contains("reads no local files")
            );
        }
    }
}
