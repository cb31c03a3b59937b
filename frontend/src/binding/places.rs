//! Finds the objects that a path, a pattern or a URL names.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use sortie::Input;
use sortie::objects::{Address, Found, Location, Malformed, Objects};
use sortie::protocol::{ObjectList, ObjectRef};

use crate::error::Error;
use crate::settings::Troubles;

/// Up to this many local files, a pattern's listing is completed before the first task starts, so
/// that the number of tasks is known. Takes some 30 MB of memory.
const KNOWN_MAX: usize = 100_000;

/// Finds objects by path, pattern or URL.
#[derive(Debug, Clone)]
pub struct Places {
    /// Access to objects.
    pub objects: Objects,
    /// The folder that relative paths start from.
    pub folder: PathBuf,
    /// Known configuration errors of services.
    pub troubles: Troubles,
    /// Which machine reads local files.
    pub files: Files,
    /// The output, which must not be an input.
    pub output: Option<OutputFile>,
    /// How names are read.
    pub names: Names,
}

/// Whether to look at objects before their tasks start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    Now,
    Later,
}

/// How names of objects are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Names {
    /// Wildcards make patterns; a version or a range may stand behind a URL.
    #[default]
    Patterns,
    /// Each is that of one object, whatever is in it.
    Literal,
}

/// The output of a job: no input may be the same object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFile {
    location: Location,
    /// As it was named.
    shown: String,
    /// The file that is there already.
    file: Option<FileId>,
}

/// A file's identity, whatever path names it: device and inode number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId(u64, u64);

/// Which machine reads local files.
#[derive(Debug, Clone)]
pub enum Files {
    /// On this machine.
    Here,
    /// Other machines, possibly.
    Elsewhere(Arc<Notifier>),
}

/// A notice for the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// An input is a local file, which workers read on their own machines.
    FilesElsewhere,
}

/// Passes a notice to the front end, once.
pub struct Notifier {
    told: AtomicBool,
    tell: Box<dyn Fn(Notice) + Send + Sync>,
}

impl std::fmt::Debug for Notifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notifier")
            .field("told", &self.told)
            .finish_non_exhaustive()
    }
}

impl OutputFile {
    /// To be called before the output is opened: a new file is no input.
    pub(crate) fn new(location: Location, shown: String) -> Self {
        let file = FileId::at(&location);
        Self {
            location,
            shown,
            file,
        }
    }

    fn is(&self, location: &Location) -> bool {
        self.location == *location
            || self
                .file
                .is_some_and(|file| FileId::at(location) == Some(file))
    }
}

impl FileId {
    fn at(location: &Location) -> Option<Self> {
        match location {
            Location::File(path) => std::fs::metadata(path)
                .ok()
                .map(|metadata| Self(metadata.dev(), metadata.ino())),
            Location::Bucket { .. } | Location::Http(_) => None,
        }
    }
}

impl Files {
    /// Other machines, possibly: the first local file among the inputs is reported through `tell`.
    #[must_use]
    pub fn elsewhere(tell: impl Fn(Notice) + Send + Sync + 'static) -> Self {
        Self::Elsewhere(Arc::new(Notifier {
            told: AtomicBool::new(false),
            tell: Box::new(tell),
        }))
    }

    /// A location was named.
    pub(crate) fn note(&self, location: &Location) {
        if let (Self::Elsewhere(notifier), Location::File(_)) = (self, location)
            && !notifier.told.swap(true, Ordering::Relaxed)
        {
            (notifier.tell)(Notice::FilesElsewhere);
        }
    }
}

/// One object, and its name as results show it.
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
    Listing(BoxStream<'static, Result<Place, Error>>),
}

impl Place {
    /// The argument that hands this object over, or fails the task of what cannot be read.
    pub(crate) fn input(&self) -> Input {
        match &self.found.trouble {
            Some(trouble) => Input::from(trouble.clone()),
            None => Input::from(ObjectRef {
                address: self.found.address.clone(),
                pin: self.found.pin.clone(),
            }),
        }
    }
}

impl Places {
    /// The objects that `text` names, at least one. Local files that are named one by one are
    /// opened, to find out before any task starts whether they can be; of a listing the first
    /// object is waited for, for the same reason. What a pattern finds and nobody may read is left
    /// to its own task. Listings of local files are taken to their end unless they are long.
    ///
    /// # Errors
    /// One line that says which cannot be found or opened, or is the output, and why.
    pub(crate) async fn find(&self, text: &str) -> Result<Named, Error> {
        self.find_within(text, KNOWN_MAX).await
    }

    async fn find_within(&self, text: &str, known_max: usize) -> Result<Named, Error> {
        self.check_reach(text)?;
        if self.names == Names::Literal {
            let named = self.find_unseen(text)?;
            if let Named::Known(places) = &named {
                for place in places {
                    check_local(text, &place.found.address.location)?;
                }
            }
            return Ok(named);
        }
        if is_remote_pattern(text) {
            let mut places = self.list(text);
            let first = places.next().await.transpose()?;
            return Ok(Named::Listing(
                stream::iter(first.map(Ok)).chain(places).boxed(),
            ));
        }
        let mut places = self.list_all(text);
        let known: Vec<Place> = places.by_ref().take(known_max).try_collect().await?;
        for place in &known {
            self.refuse_output(&place.found.address.location)?;
        }
        if known.len() == known_max {
            self.look_for_output(text).await?;
            // What has that name from now on is what this command writes.
            let output = self.output.as_ref().map(|output| output.location.clone());
            let rest = places.try_filter(move |place| {
                std::future::ready(output.as_ref() != Some(&place.found.address.location))
            });
            return Ok(Named::Listing(
                stream::iter(known).map(Ok).chain(rest).boxed(),
            ));
        }
        if let [place] = &*known
            && self.is_named(text, place)
        {
            check_local(text, &place.found.address.location)?;
        }
        Ok(Named::Known(known))
    }

    /// Go through a long listing once more where the output is a file that is there: opening it
    /// would empty it before its turn came.
    async fn look_for_output(&self, text: &str) -> Result<(), Error> {
        match self.output.as_ref().map(|output| &output.location) {
            Some(Location::File(path)) if path.exists() => {
                self.list(text)
                    .try_for_each(|_| std::future::ready(Ok(())))
                    .await
            }
            Some(_) | None => Ok(()),
        }
    }

    /// See to it that no input is the output, also where a file is reached by another path: through
    /// a link, or spelt in another way.
    ///
    /// # Errors
    /// If this one is.
    pub(crate) fn refuse_output(&self, location: &Location) -> Result<(), Error> {
        match &self.output {
            Some(output) if output.is(location) => Err(Error::usage(format!(
                "`{}` is an input and the output; write the results to another place",
                output.shown
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// The one object that `text` names.
    ///
    /// # Errors
    /// As [`Places::find`], or when there are several.
    pub(crate) async fn find_one(&self, text: &str) -> Result<Place, Error> {
        let mut places = match self.find(text).await? {
            Named::Known(places) => places,
            Named::Listing(places) => places.take(2).try_collect().await?,
        };
        match (places.pop(), places.len()) {
            (Some(place), 0) => {
                if let Some(trouble) = place.found.trouble {
                    return Err(not_found(trouble));
                }
                check_local(text, &place.found.address.location)?;
                Ok(place)
            }
            _ => Err(Error::usage(format!(
                "`{text}` names several objects, but one is expected"
            ))),
        }
    }

    /// The objects of a list: all that these names and patterns name. What a pattern finds is
    /// ordered by name.
    ///
    /// # Errors
    /// As [`Places::find`], and when there are more than a list may have.
    pub(crate) async fn list_of(&self, names: &[String], look: Look) -> Result<Vec<Place>, Error> {
        let mut objects = Vec::new();
        for name in names {
            let named = match look {
                Look::Now => self.find(name).await?,
                Look::Later => self.find_unseen(name)?,
            };
            let mut found: Vec<Place> = match named {
                Named::Known(places) => places,
                Named::Listing(places) => {
                    places.take(ObjectList::LEN_MAX + 1).try_collect().await?
                }
            };
            found.sort_by_cached_key(|place| place.found.address.to_url());
            objects.append(&mut found);
            if objects.len() > ObjectList::LEN_MAX {
                return Err(Error::usage(format!(
                    "with `{name}` a list has more than {} objects, which is the most; give several \
                     tasks a part each, or take a prefix",
                    ObjectList::LEN_MAX
                )));
            }
        }
        Ok(objects)
    }

    /// As [`Places::list_of`], of a list for all tasks, where each object can be read.
    ///
    /// # Errors
    /// When one cannot.
    pub(crate) async fn fixed_list(&self, names: &[String]) -> Result<Input, Error> {
        let places = self.list_of(names, Look::Now).await?;
        match places.iter().find_map(|place| place.found.trouble.clone()) {
            Some(trouble) => Err(not_found(trouble)),
            None => Ok(sortie::object_list(places.iter().map(Place::input))),
        }
    }

    /// Whether this is the object of that very name, and not one that a pattern found.
    fn is_named(&self, text: &str, place: &Place) -> bool {
        let named = self.address(text);
        named.is_ok_and(|named| named.location == place.found.address.location)
    }

    /// The objects that a line of inputs names, without checking that they exist: their tasks do
    /// that.
    ///
    /// # Errors
    /// When the line is no location.
    pub(crate) fn find_unseen(&self, text: &str) -> Result<Named, Error> {
        self.check_reach(text)?;
        let may_match = self.names == Names::Patterns && text.contains(['*', '?', '[']);
        if may_match && !is_web(text) {
            return Ok(Named::Listing(self.list(text)));
        }
        let address = self.address(text).map_err(malformed)?;
        self.refuse_output(&address.location)?;
        Ok(Named::Known(vec![self.place(text, address.into())]))
    }

    /// The object of that name.
    pub(crate) fn address(&self, text: &str) -> Result<Address, Malformed> {
        match self.names {
            Names::Patterns => sortie::objects::parse(text, &self.folder),
            Names::Literal => sortie::objects::parse_literal(text, &self.folder),
        }
    }

    /// What matches, until the output is among it.
    fn list(&self, text: &str) -> BoxStream<'static, Result<Place, Error>> {
        let places = self.clone();
        let refusing = move |place: Place| {
            std::future::ready(
                places
                    .refuse_output(&place.found.address.location)
                    .map(|()| place),
            )
        };
        self.list_all(text).and_then(refusing).boxed()
    }

    fn list_all(&self, text: &str) -> BoxStream<'static, Result<Place, Error>> {
        let (places, named) = (self.clone(), text.to_owned());
        let found = self.objects.list(text, &self.folder);
        found
            .map(move |found| {
                found
                    .map(|found| places.place(&named, found))
                    .map_err(not_found)
            })
            .boxed()
    }

    /// Whether this can be reached, as far as is known without asking.
    pub(crate) fn check_reach(&self, text: &str) -> Result<(), Error> {
        // Workers elsewhere reach it with what they have; only listings are made here.
        let is_listed = self.names == Names::Patterns && is_remote_pattern(text);
        if matches!(self.files, Files::Elsewhere(_)) && !is_listed {
            return Ok(());
        }
        self.check_set_up(text)?;
        match self.address(text) {
            Ok(address) => self.objects.check(&address.location).map_err(not_found),
            Err(error) => Err(malformed(error)),
        }
    }

    /// The same of a place that objects lie below, which may be a whole bucket.
    pub(crate) fn check_prefix(&self, text: &str, location: &Location) -> Result<(), Error> {
        if matches!(self.files, Files::Elsewhere(_)) {
            return Ok(());
        }
        self.check_set_up(text)?;
        self.objects.check(location).map_err(not_found)
    }

    fn check_set_up(&self, text: &str) -> Result<(), Error> {
        self.troubles.with(text).map_or(Ok(()), |trouble| {
            Err(Error::usage(format!(
                "`{text}` cannot be reached: {trouble}"
            )))
        })
    }

    /// Paths are shown the way they were written, relative or absolute; URLs without what may be
    /// secret.
    fn place(&self, text: &str, found: Found) -> Place {
        let location = &found.address.location;
        self.files.note(location);
        let shown = match location {
            Location::File(path) if !text.contains("://") && Path::new(text).is_relative() => path
                .strip_prefix(&self.folder)
                .unwrap_or(path)
                .display()
                .to_string(),
            Location::File(path) if !text.contains("://") => path.display().to_string(),
            Location::File(_) | Location::Bucket { .. } | Location::Http(_) => {
                found.address.to_string()
            }
        };
        Place {
            found,
            shown: Value::String(shown),
        }
    }
}

/// Whether a text is a pattern for a store that has to be listed.
fn is_remote_pattern(text: &str) -> bool {
    text.contains("://")
        && text.contains(['*', '?', '['])
        && !text
            .get(..7)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("file://"))
}

fn is_web(text: &str) -> bool {
    let scheme = text.split("://").next().unwrap_or_default();
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

fn check_local(text: &str, location: &Location) -> Result<(), Error> {
    match location {
        Location::File(path) => check_readable(text, path),
        Location::Bucket { .. } | Location::Http(_) => Ok(()),
    }
}

fn check_readable(text: &str, path: &Path) -> Result<(), Error> {
    let refused = |error: std::io::Error| Error::usage(format!("`{text}` cannot be read: {error}"));
    // Opening a pipe would block until it has a writer.
    if !std::fs::metadata(path).map_err(refused)?.is_file() {
        return Err(Error::usage(format!(
            "`{text}` is not a regular file; its content must be readable more than once"
        )));
    }
    File::open(path).map(|_| ()).map_err(refused)
}

/// An object that cannot be found or reached.
fn not_found(error: sortie::objects::Error) -> Error {
    Error::usage(error.message).advised(error.advice)
}

fn malformed(error: Malformed) -> Error {
    Error::usage(error.to_string())
}

#[cfg(test)]
mod tests {
    use sortie::objects::Config;
    use tokio::runtime::Handle;

    use super::*;

    /// Places in a folder with the files `0` to `9`, and the output of this name there.
    fn places(folder: &Path, output: &str) -> Places {
        (0..10).for_each(|number| std::fs::write(folder.join(number.to_string()), "").unwrap());
        let output = OutputFile::new(Location::File(folder.join(output)), output.into());
        let objects = Objects::new(Config::default(), Handle::current());
        Places {
            objects,
            folder: folder.into(),
            troubles: Troubles::default(),
            files: Files::Here,
            output: Some(output),
            names: Names::Patterns,
        }
    }

    async fn found(named: Named) -> (bool, Vec<Value>) {
        match named {
            Named::Known(places) => (true, places.into_iter().map(|place| place.shown).collect()),
            Named::Listing(places) => (
                false,
                places
                    .map_ok(|place| place.shown)
                    .try_collect()
                    .await
                    .unwrap(),
            ),
        }
    }

    #[tokio::test]
    async fn only_a_long_listing_of_files_goes_on_while_tasks_run() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path(), "new");
        let all: Vec<Value> = (0..10).map(|number| number.to_string().into()).collect();
        assert_eq!(
            found(places.find_within("?", 11).await.unwrap()).await,
            (true, all.clone())
        );
        for known_max in [1, 9, 10] {
            assert_eq!(
                found(places.find_within("?", known_max).await.unwrap()).await,
                (false, all.clone()),
                "{known_max}"
            );
        }
        let missing = places.find_within("no*", 1).await.map(|_| ()).unwrap_err();
        assert_eq!(missing.message, "nothing matches `no*`");
    }

    #[tokio::test]
    async fn the_output_is_refused_where_it_is_an_input_and_not_where_it_is_made_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let there = places(folder.path(), "7");
        for known_max in [3, 8, 100] {
            for text in ["*", "7"] {
                let refused = there
                    .find_within(text, known_max)
                    .await
                    .map(|_| ())
                    .unwrap_err();
                assert!(
                    refused
                        .message
                        .starts_with("`7` is an input and the output"),
                    "{refused}"
                );
            }
        }
        assert!(there.find_unseen("./7").is_err() && there.find_unseen("8").is_ok());

        let new = places(folder.path(), "91");
        let named = new.find_within("*", 3).await.unwrap();
        std::fs::write(folder.path().join("91"), "").unwrap();
        let (_, names) = found(named).await;
        assert_eq!((names.len(), names.contains(&"91".into())), (10, false));
    }

    #[tokio::test]
    async fn a_literal_name_is_that_of_one_object() {
        let folder = tempfile::tempdir().unwrap();
        let mut places = places(folder.path(), "new");
        for name in ["[1]", "*", "a#bytes=0-0"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        places.names = Names::Literal;
        for name in ["[1]", "*", "a#bytes=0-0"] {
            for named in [
                places.find(name).await.unwrap(),
                places.find_unseen(name).unwrap(),
            ] {
                assert_eq!(found(named).await, (true, vec![name.into()]));
            }
        }
        assert!(places.find("?").await.is_err());
        for url in ["s3://b/k[1]*?#bytes=0-0", "s3://b/k?versionId=1"] {
            assert_eq!(
                found(places.find_unseen(url).unwrap()).await,
                (true, vec![url.into()])
            );
            assert_eq!(
                places.address(url).unwrap(),
                Address::literal(url, folder.path()).unwrap()
            );
        }
    }

    #[tokio::test]
    async fn a_step_up_goes_where_the_system_goes() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path(), "new");
        std::fs::create_dir_all(folder.path().join("real/sub")).unwrap();
        std::fs::write(folder.path().join("real/x"), "").unwrap();
        std::os::unix::fs::symlink("real/sub", folder.path().join("link")).unwrap();
        let real = folder.path().canonicalize().unwrap();
        assert_eq!(
            places.address("link/../x").unwrap().location,
            Location::File(real.join("real/x"))
        );
        assert_eq!(
            places.address("real/../7").unwrap().location,
            Location::File(folder.path().join("7"))
        );
        assert!(places.find("link/../x").await.is_ok() && places.find("link/../7").await.is_err());
    }

    #[tokio::test]
    async fn the_output_is_refused_by_whatever_path_it_is_reached() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        let places = places(folder.path(), "7");
        std::os::unix::fs::symlink("7", folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("sub/here")).unwrap();
        std::fs::hard_link(folder.path().join("7"), folder.path().join("also")).unwrap();
        for text in [
            "link",
            "also",
            "lin*",
            "sub/../7",
            "sub/here/7",
            "sub/here/?",
        ] {
            let refused = places.find(text).await.map(|_| ()).unwrap_err();
            assert!(
                refused
                    .message
                    .starts_with("`7` is an input and the output"),
                "{text}: {refused}"
            );
            assert!(
                text.contains(['*', '?']) || places.find_unseen(text).is_err(),
                "{text}"
            );
        }
        assert!(places.find("sub/here/8").await.is_ok() && places.find_unseen("sub/../6").is_ok());
    }
}
