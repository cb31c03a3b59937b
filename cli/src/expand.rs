//! From what a person writes to the objects it names.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use sortie::Input;
use sortie::objects::{Address, Location, Objects};

use crate::terminal;

/// Finds objects by path, pattern or URL.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) objects: Objects,
    /// Where relative paths start.
    pub(crate) folder: PathBuf,
    /// Why S3 cannot be used, if that is known.
    pub(crate) s3_trouble: Option<String>,
    /// Where the files are read that are named here.
    pub(crate) files: Files,
}

/// Where local files are read. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) enum Files {
    /// On this machine.
    Here,
    /// On others, perhaps: who names one is told, once.
    Elsewhere(Arc<AtomicBool>),
}

impl Files {
    /// A location was named.
    pub(crate) fn note(&self, location: &Location) {
        if let (Self::Elsewhere(told), Location::File(_)) = (self, location)
            && !told.swap(true, Ordering::Relaxed)
        {
            terminal::say("inputs are local files: workers read these paths on their own machines");
        }
    }
}

/// One object, and how it is shown to whoever named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: Address,
    pub(crate) shown: Value,
}

impl Place {
    /// The argument that hands this object over.
    pub(crate) fn input(&self) -> Input {
        sortie::object(self.address.to_url())
    }
}

impl Places {
    /// The objects that `text` names, at least one. Local files that are named one by one are opened, to find out before any task starts
    /// whether they can be.
    ///
    /// # Errors
    /// One line that says which cannot be found or opened, and why.
    pub(crate) async fn find(&self, text: &str) -> Result<Vec<Place>, String> {
        self.check_s3(text)?;
        let found = self.objects.expand(text, &self.folder).await.map_err(|error| error.message)?;
        if let [Address { location: Location::File(path), .. }] = &*found {
            check_readable(text, path)?;
        }
        Ok(found.into_iter().map(|address| self.place(text, address)).collect())
    }

    /// The one object that `text` names.
    ///
    /// # Errors
    /// As [`Places::find`], or when there are several.
    pub(crate) async fn find_one(&self, text: &str) -> Result<Place, String> {
        let mut found = self.find(text).await?;
        match (found.pop(), found.len()) {
            (Some(place), 0) => Ok(place),
            (_, others) => Err(format!("`{text}` names {} objects where one is taken", others + 1)),
        }
    }

    /// The objects that a line of inputs names, without looking whether they are there: their tasks will tell.
    ///
    /// # Errors
    /// When the line is no location, or a pattern that names nothing.
    pub(crate) async fn find_unseen(&self, text: &str) -> Result<Vec<Place>, String> {
        self.check_s3(text)?;
        if text.contains(['*', '?', '[']) && !is_web(text) {
            let found = self.objects.expand(text, &self.folder).await.map_err(|error| error.message)?;
            return Ok(found.into_iter().map(|address| self.place(text, address)).collect());
        }
        let address = Address::parse(text, &self.folder).map_err(|error| error.to_string())?;
        Ok(vec![self.place(text, address)])
    }

    /// Whether this can be reached, as far as is known without asking.
    pub(crate) fn check_s3(&self, text: &str) -> Result<(), String> {
        match &self.s3_trouble {
            Some(trouble) if text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("s3://")) => {
                Err(format!("`{text}` cannot be reached: {trouble}"))
            }
            _ => Ok(()),
        }
    }

    /// Paths are shown the way they were written, relative or absolute; URLs without what may be secret.
    fn place(&self, text: &str, address: Address) -> Place {
        self.files.note(&address.location);
        let shown = match &address.location {
            Location::File(_) if text.contains("://") => address.to_string(),
            Location::File(path) if Path::new(text).is_relative() => path.strip_prefix(&self.folder).unwrap_or(path).display().to_string(),
            Location::File(path) => path.display().to_string(),
            Location::S3 { .. } | Location::Http(_) => address.to_string(),
        };
        Place { address, shown: Value::String(shown) }
    }
}

fn is_web(text: &str) -> bool {
    let scheme = text.split("://").next().unwrap_or_default();
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

fn check_readable(text: &str, path: &Path) -> Result<(), String> {
    let refused = |error: std::io::Error| format!("`{text}` cannot be read: {error}");
    // Opening a pipe would wait for somebody to write into it.
    if !std::fs::metadata(path).map_err(refused)?.is_file() {
        return Err(format!("`{text}` is not a regular file; its content must be there to be read more than once"));
    }
    File::open(path).map(|_| ()).map_err(refused)
}
