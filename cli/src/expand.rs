//! From what a person writes to the objects it names.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use sortie::Input;
use sortie::objects::{Address, Found, Location, Objects};

use crate::clouds::Troubles;
use crate::terminal;

/// Finds objects by path, pattern or URL.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) objects: Objects,
    /// Where relative paths start.
    pub(crate) folder: PathBuf,
    /// Why services cannot be used, as far as that is known.
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
}

/// One object, and how it is shown to whoever named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) found: Found,
    pub(crate) shown: Value,
}

/// What a text names.
pub(crate) enum Named {
    /// These, all of them.
    Known(Vec<Place>),
    /// Those that a listing brings, which may be any number: at least one, if no error comes first.
    Listing(BoxStream<'static, Result<Place, String>>),
}

impl Place {
    /// The argument that hands this object over.
    pub(crate) fn input(&self) -> Input {
        let url = self.found.address.to_url();
        match &self.found.pin {
            Some(pin) => sortie::object_at(url, pin.clone()),
            None => sortie::object(url),
        }
    }
}

impl Places {
    /// The objects that `text` names, at least one. Local files that are named one by one are opened, to find out before any task starts
    /// whether they can be; of a listing the first object is waited for, for the same reason.
    ///
    /// # Errors
    /// One line that says which cannot be found or opened, and why.
    pub(crate) async fn find(&self, text: &str) -> Result<Named, String> {
        self.check_reach(text)?;
        let mut places = self.list(text);
        if is_remote_pattern(text) {
            let first = places.next().await.transpose()?;
            return Ok(Named::Listing(stream::iter(first.map(Ok)).chain(places).boxed()));
        }
        let places: Vec<Place> = places.try_collect().await?;
        if let [Place { found: Found { address: Address { location: Location::File(path), .. }, .. }, .. }] = &*places {
            check_readable(text, path)?;
        }
        Ok(Named::Known(places))
    }

    /// The one object that `text` names.
    ///
    /// # Errors
    /// As [`Places::find`], or when there are several.
    pub(crate) async fn find_one(&self, text: &str) -> Result<Place, String> {
        let mut places = match self.find(text).await? {
            Named::Known(places) => places,
            Named::Listing(places) => places.take(2).try_collect().await?,
        };
        match (places.pop(), places.len()) {
            (Some(place), 0) => Ok(place),
            _ => Err(format!("`{text}` names several objects where one is taken")),
        }
    }

    /// The objects that a line of inputs names, without looking whether they are there: their tasks will tell.
    ///
    /// # Errors
    /// When the line is no location.
    pub(crate) fn find_unseen(&self, text: &str) -> Result<Named, String> {
        self.check_reach(text)?;
        if text.contains(['*', '?', '[']) && !is_web(text) {
            return Ok(Named::Listing(self.list(text)));
        }
        let address = Address::parse(text, &self.folder).map_err(|error| error.to_string())?;
        Ok(Named::Known(vec![self.place(text, address.into())]))
    }

    fn list(&self, text: &str) -> BoxStream<'static, Result<Place, String>> {
        let (places, named) = (self.clone(), text.to_owned());
        let found = self.objects.list(text, &self.folder);
        found.map(move |found| found.map(|found| places.place(&named, found)).map_err(|error| error.message)).boxed()
    }

    /// Whether this can be reached, as far as is known without asking.
    pub(crate) fn check_reach(&self, text: &str) -> Result<(), String> {
        // Workers elsewhere reach it with what they have; only listings are made here.
        if matches!(self.files, Files::Elsewhere(_)) && !is_remote_pattern(text) {
            return Ok(());
        }
        self.check_set_up(text)?;
        match Address::parse(text, &self.folder) {
            Ok(address) => self.objects.check(&address.location).map_err(|error| error.message),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The same of a URL that ends in a slash, which may be that of a whole bucket.
    pub(crate) fn check_prefix(&self, url: &str) -> Result<(), String> {
        if matches!(self.files, Files::Elsewhere(_)) {
            return Ok(());
        }
        self.check_set_up(url)?;
        self.objects.check_prefix(url).map_err(|error| error.message)
    }

    fn check_set_up(&self, text: &str) -> Result<(), String> {
        self.troubles.with(text).map_or(Ok(()), |trouble| Err(format!("`{text}` cannot be reached: {trouble}")))
    }

    /// Paths are shown the way they were written, relative or absolute; URLs without what may be secret.
    fn place(&self, text: &str, found: Found) -> Place {
        let Address { location, bytes } = &found.address;
        self.files.note(location);
        let shown = match location {
            Location::File(path) if !text.contains("://") && Path::new(text).is_relative() => {
                path.strip_prefix(&self.folder).unwrap_or(path).display().to_string()
            }
            Location::File(path) if !text.contains("://") => path.display().to_string(),
            Location::File(_) | Location::Bucket { .. } | Location::Http(_) => {
                Address { location: location.clone(), bytes: *bytes }.to_string()
            }
        };
        Place { found, shown: Value::String(shown) }
    }
}

/// Whether a text is a pattern for a store that has to be listed.
fn is_remote_pattern(text: &str) -> bool {
    text.contains("://") && text.contains(['*', '?', '[']) && !text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("file://"))
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
