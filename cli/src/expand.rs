//! From what a person writes to the objects it names.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt as _;
use futures::stream::BoxStream;
use serde_json::Value;
use sortie::Input;
use sortie::objects::{Address, Found, Location, Named, Objects, includes, pattern};
use sortie::protocol::Pin;

use crate::clouds::Troubles;
use crate::terminal;

/// Finds objects by path, pattern or URL.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) objects: Objects,
    /// Where relative paths start.
    pub(crate) folder: PathBuf,
    /// Why a service cannot be used, if that is known.
    pub(crate) troubles: Troubles,
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

    /// A version that was seen here, where it holds for whoever reads.
    fn pin(&self, found: &Found) -> Option<Pin> {
        match (self, &found.address.location) {
            (Self::Elsewhere(_), Location::File(_)) => None,
            _ => found.pin.clone(),
        }
    }
}

/// One object, and how it is shown to whoever named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: Address,
    /// The version that was seen, if any was.
    pin: Option<Pin>,
    pub(crate) shown: Value,
}

/// What a text names.
pub(crate) enum PlacesFound {
    One(Place),
    Many(BoxStream<'static, Result<Place, String>>),
}

impl Place {
    /// The argument that hands this object over.
    pub(crate) fn input(&self) -> Input {
        let url = self.address.to_url();
        match &self.pin {
            Some(pin) => sortie::object_at(url, pin.clone()),
            None => sortie::object(url),
        }
    }
}

impl Places {
    /// What `text` names. A local file that is named by its name is opened, to find out before any task starts whether it can be; what matches
    /// a pattern is listed as it is taken.
    ///
    /// # Errors
    /// One line that says what cannot be found or opened, and why. Of a pattern the stream says it.
    pub(crate) async fn find(&self, text: &str) -> Result<PlacesFound, String> {
        self.check_service(text)?;
        match self.objects.find(text, &self.folder).await.map_err(|error| error.message)? {
            Named::One(found) => {
                if let Location::File(path) = &found.address.location {
                    check_readable(text, path)?;
                }
                Ok(PlacesFound::One(self.place(text, found)))
            }
            Named::Many(listing) => {
                let (places, text) = (self.clone(), text.to_owned());
                let found = listing.map(move |found| found.map(|found| places.place(&text, found)).map_err(|error| error.message));
                Ok(PlacesFound::Many(found.boxed()))
            }
        }
    }

    /// The one object that `text` names.
    ///
    /// # Errors
    /// As [`Places::find`], or when there are several.
    pub(crate) async fn find_one(&self, text: &str) -> Result<Place, String> {
        let mut found = match self.find(text).await? {
            PlacesFound::One(place) => return Ok(place),
            PlacesFound::Many(found) => found,
        };
        match (found.next().await.transpose()?, found.next().await.transpose()?) {
            (Some(place), None) => Ok(place),
            (_, Some(_)) => Err(format!("`{text}` names several objects where one is taken")),
            (None, None) => Err(format!("nothing matches `{text}`")),
        }
    }

    /// The objects that a line of inputs names, without looking whether they are there: their tasks will tell. A pattern is listed as its
    /// objects are taken.
    ///
    /// # Errors
    /// When the line is no location.
    pub(crate) async fn find_unseen(&self, text: &str) -> Result<PlacesFound, String> {
        self.check_service(text)?;
        if text.contains(['*', '?', '[']) && !is_web(text) || text.ends_with('/') {
            return self.find(text).await;
        }
        let address = Address::parse(text, &self.folder).map_err(|error| error.to_string())?;
        Ok(PlacesFound::One(self.place(text, Found { address, pin: None })))
    }

    /// Whether `text` is a path, pattern or URL, as far as is known without looking.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub(crate) fn check(&self, text: &str) -> Result<(), String> {
        self.check_service(text)?;
        let address = pattern(text, &self.folder).map_err(|error| error.message)?;
        self.files.note(&address.location);
        Ok(())
    }

    /// Whether this can be reached, as far as is known without asking.
    pub(crate) fn check_service(&self, text: &str) -> Result<(), String> {
        match self.troubles.with(text) {
            Some(trouble) => Err(format!("`{text}` cannot be reached: {trouble}")),
            None => Ok(()),
        }
    }

    /// Whether `text` names this local file, by name or by a pattern.
    pub(crate) fn include(&self, text: &str, file: &Path) -> bool {
        includes(text, &self.folder, file)
    }

    /// Paths are shown the way they were written, relative or absolute; URLs without what may be secret.
    fn place(&self, text: &str, found: Found) -> Place {
        let pin = self.files.pin(&found);
        let address = found.address;
        self.files.note(&address.location);
        let shown = match &address.location {
            Location::File(_) if text.contains("://") => address.to_string(),
            Location::File(path) if Path::new(text).is_relative() => path.strip_prefix(&self.folder).unwrap_or(path).display().to_string(),
            Location::File(path) => path.display().to_string(),
            Location::Bucket { .. } | Location::Http(_) => address.to_string(),
        };
        Place { address, pin, shown: Value::String(shown) }
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
