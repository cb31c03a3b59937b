//! Names for the objects that tasks make: copies them from the store, where they lie under their
//! digests, to where a pattern says.
//!
//! An object is copied when its task's outcome came, and not named by the worker that makes it:
//! only then it is the one that counts, whatever the number of attempts; a result that was kept
//! from an earlier run gets its name like any other; and no task holds the right to write where its
//! submitter chose. What is under the name then is whole, and what was there before is replaced.
//!
//! Where objects cannot be written at all, that is found out before tasks run, by beginning one and
//! giving it up ([`Naming::check`]). Two objects never get one name: where inputs are known before
//! tasks run this is found out then, else when the second name is given. Bounds: [`COPIES_MAX`]
//! copies under way, each with one piece of its object and one upload; and a number for each name,
//! where names can collide.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use sortie::objects::{Access, Address, Cursor, Location, Objects, REQUEST_BYTES_MAX, WriteError};
use sortie::protocol::id::DigestBuilder;
use sortie::protocol::{Digest, Output, OutputObject, StoredRef};
use sortie::{Ending, Outcome, Signature};

use super::writer::refused;
use crate::error::{Error, Setting};
use crate::settings::Troubles;
use crate::stop::Stop;

/// Objects that are copied at once: each waits for a store most of the time.
pub const COPIES_MAX: usize = 8;
/// The type that a function returns an object by.
const OBJECT: &str = "OutputObject";
/// The name of a task that was too long to travel whole ends so.
const CUT: char = '…';

/// Whether a function with this signature returns an object, as far as its type says so.
#[must_use]
pub fn makes_object(signature: &Signature) -> bool {
    signature.returns.rsplit("::").next().map(str::trim) == Some(OBJECT)
}

/// Whether this is a pattern for the names of objects, and no place for results.
#[must_use]
pub fn is_pattern(output: &Path) -> bool {
    output.to_str().is_some_and(|text| {
        parts(text)
            .iter()
            .any(|part| matches!(part, Part::Blank(_)))
    })
}

/// What a pattern consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part<'a> {
    Text(&'a str),
    /// What stands between braces.
    Blank(&'a str),
}

/// What stands in for a blank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blank {
    /// The name of the input, without folders and without its last extension.
    Stem,
    /// The input's position, from 0.
    Index,
    /// The SHA-256 of the object.
    Digest,
}

impl Blank {
    const ALL: [(&'static str, Self); 3] = [
        ("stem", Self::Stem),
        ("index", Self::Index),
        ("digest", Self::Digest),
    ];

    fn of(word: &str) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|(name, _)| *name == word);
        found.map(|(_, blank)| blank)
    }
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some((before, behind)) = rest.split_once('{') {
        let Some((blank, after)) = behind.split_once('}') else {
            break;
        };
        parts.push(Part::Text(before));
        parts.push(Part::Blank(blank));
        rest = after;
    }
    parts.push(Part::Text(rest));
    parts
}

/// Gives objects their names. Clones share what was named.
#[derive(Debug, Clone)]
pub struct Naming {
    shared: Arc<Shared>,
}

struct Shared {
    pattern: Location,
    blanks: Vec<Blank>,
    /// Where relative paths start.
    folder: PathBuf,
    objects: Objects,
    hasher: RandomState,
    /// Names of inputs that are known before tasks run.
    expected: Mutex<HashSet<u64>>,
    /// Names that were given.
    given: Mutex<HashSet<u64>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Naming")
            .field("pattern", &self.pattern)
            .finish_non_exhaustive()
    }
}

/// Where the stem of an input's name comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stems {
    /// The inputs are objects or prefixes, and have names.
    Named,
    /// They are values or lists.
    Unnamed,
    /// That is not known: they were submitted before.
    Unknown,
}

impl Naming {
    /// Read a pattern; paths are relative to `folder`.
    ///
    /// # Errors
    /// When it is no place for objects, has an unknown blank, or one that the inputs do not fill.
    pub fn parse(
        pattern: &str,
        stems: Stems,
        objects: &Objects,
        folder: &Path,
        troubles: &Troubles,
    ) -> Result<Self, Error> {
        let refused = |text: String| Error::usage(text).about(Setting::Output);
        let mut blanks = Vec::new();
        for part in parts(pattern) {
            let Part::Blank(word) = part else { continue };
            let known = || Blank::ALL.map(|(name, _)| format!("{{{name}}}")).join(", ");
            let blank = Blank::of(word).ok_or_else(|| {
                refused(format!(
                    "`{pattern}`: `{{{word}}}` stands for nothing; there are {}",
                    known()
                ))
            })?;
            blanks.push(blank);
        }
        if blanks.contains(&Blank::Stem) && stems == Stems::Unnamed {
            return Err(refused(format!(
                "`{pattern}`: what is made is of values, of a list or of all inputs, which have no \
                 names, so `{{stem}}` stands for nothing; write `{{index}}`"
            )));
        }
        let location =
            Location::parse(pattern, folder).map_err(|error| refused(error.to_string()))?;
        if let Location::Http(_) = location {
            return Err(refused(format!(
                "`{pattern}`: objects cannot be written to a web server"
            )));
        }
        if pattern.ends_with('/') {
            return Err(refused(format!(
                "`{pattern}` names a folder; add a name, as in `{pattern}{{index}}`"
            )));
        }
        if let Some(trouble) = troubles.with(&location.to_url()) {
            return Err(refused(format!("`{pattern}`: {trouble}")));
        }
        objects
            .check(&location)
            .map_err(|error| refused(error.message).advised(error.advice))?;
        Ok(Self {
            shared: Arc::new(Shared {
                pattern: location,
                blanks,
                folder: folder.into(),
                objects: objects.clone(),
                hasher: RandomState::new(),
                expected: Mutex::default(),
                given: Mutex::default(),
            }),
        })
    }

    /// See whether objects can be written where the pattern leads: to the folder in front of the
    /// first part of a path that differs, which is made if it is not there, or to the bucket.
    ///
    /// # Errors
    /// When they cannot, as far as that can be found out now.
    pub async fn check(&self, stop: &Stop) -> Result<(), Error> {
        let location = self.probe();
        let upload = self.shared.objects.upload(&location, None);
        let mut upload = upload.map_err(refused)?;
        stop.or(upload.begin()).await?.map_err(refused)?;
        upload.abort().await;
        Ok(())
    }

    /// What the pattern is before it is filled, of a path as far as one part that differs: what is
    /// begun under that name never appears under it.
    fn probe(&self) -> Location {
        let Location::File(path) = &self.shared.pattern else {
            return self.shared.pattern.clone();
        };
        let mut probe = PathBuf::new();
        for part in path {
            probe.push(part);
            if is_pattern(Path::new(part)) {
                break;
            }
        }
        Location::File(probe)
    }

    /// Whether two objects may get one name.
    fn may_collide(&self) -> bool {
        let blanks = &self.shared.blanks;
        !blanks.contains(&Blank::Index) && !blanks.contains(&Blank::Digest)
    }

    /// An input is known before tasks run: see whether its object can be named.
    ///
    /// # Errors
    /// When it cannot, or another input's object would have the same name.
    pub(crate) fn expect(&self, shown: &Value) -> Result<(), Error> {
        // Neither an index nor a digest makes a name wrong.
        let name = self.name(0, shown, Digest::of(b""))?;
        if self.may_collide() {
            self.note(&self.shared.expected, &name, shown)?;
        }
        Ok(())
    }

    /// The name of the object that the task of this input made.
    fn name(&self, index: u64, shown: &Value, digest: Digest) -> Result<Location, Error> {
        let fill = |text: &str| -> Result<String, Error> {
            let mut name = String::with_capacity(text.len());
            for part in parts(text) {
                match part {
                    Part::Text(text) => name.push_str(text),
                    Part::Blank(word) => match Blank::of(word) {
                        Some(Blank::Stem) => name.push_str(stem(shown)?),
                        Some(Blank::Index) => name.push_str(&index.to_string()),
                        Some(Blank::Digest) => name.push_str(&digest.to_hex()),
                        None => {}
                    },
                }
            }
            Ok(name)
        };
        // What is filled in is part of a name, byte for byte, and never read as a URL.
        let name = match &self.shared.pattern {
            Location::File(path) => Location::File(fill(&path.to_string_lossy())?.into()),
            Location::Bucket {
                service,
                bucket,
                key,
            } => Location::Bucket {
                service: *service,
                bucket: bucket.clone(),
                key: fill(key)?,
            },
            Location::Http(url) => Location::Http(url.clone()),
        };
        let input = shown
            .as_str()
            .and_then(|text| Location::parse(text, &self.shared.folder).ok());
        if input.as_ref() == Some(&name) {
            return Err(Error::usage(format!(
                "the object made of `{name}` would replace it; choose another place"
            ))
            .about(Setting::Output));
        }
        Ok(name)
    }

    fn note(
        &self,
        names: &Mutex<HashSet<u64>>,
        name: &Location,
        shown: &Value,
    ) -> Result<(), Error> {
        let number = self.shared.hasher.hash_one(name);
        if lock(names).insert(number) {
            return Ok(());
        }
        Err(Error::usage(format!(
            "`{name}` would be the name of two objects, of which one is made of {}; put `{{index}}` \
             into the name",
            shown.as_str().map_or_else(|| shown.to_string(), |text| format!("`{text}`"))
        ))
        .about(Setting::Output))
    }

    /// Whether a task made an object, which is to be named.
    #[must_use]
    pub fn is_for(&self, outcome: &Outcome) -> bool {
        matches!(outcome.ending, Ending::Completed(Output::Object(_)))
    }

    /// The outcome of the task of this input, whose object is at its name. Not cancel safe: dropped
    /// in the middle, the object has no name, and the name is taken.
    ///
    /// # Errors
    /// When it has none, the name is another's, or the object cannot be copied.
    pub async fn named(&self, mut outcome: Outcome, shown: &Value) -> Result<Outcome, Error> {
        if let Ending::Completed(Output::Object(OutputObject {
            stored,
            content_type,
        })) = &mut outcome.ending
        {
            let name = self.name(outcome.index, shown, stored.digest)?;
            if self.may_collide() {
                self.note(&self.shared.given, &name, shown)?;
            }
            self.copy(stored, content_type.as_deref(), &name).await?;
            stored.location = name;
        }
        Ok(outcome)
    }

    async fn copy(
        &self,
        stored: &StoredRef,
        content_type: Option<&str>,
        name: &Location,
    ) -> Result<(), Error> {
        let from = &stored.location;
        let unread = |what: &str| {
            Error::platform(format!(
                "failed to copy the object at `{from}` to `{name}`: {what}"
            ))
        };
        let unwritten = |error: WriteError| unread(&error.message);
        let objects = &self.shared.objects;
        let object = objects.open(&Address::from(from.clone()), None).await;
        let object = object.map_err(|error| unread(&error.message))?;
        let mut upload = objects.upload(name, content_type).map_err(unwritten)?;
        let mut cursor = Cursor::new(object, Access::Sequential);
        let mut digest = DigestBuilder::default();
        let mut at = 0;
        while at < stored.size {
            let piece = cursor.read(at, (stored.size - at).min(REQUEST_BYTES_MAX));
            let piece = piece.await.map_err(|error| unread(&error.message))?;
            if piece.is_empty() {
                break;
            }
            digest.update(&piece);
            at += piece.len() as u64;
            upload.write(&piece).await.map_err(unwritten)?;
        }
        if at != stored.size || digest.finish() != stored.digest {
            upload.abort().await;
            return Err(unread("it is damaged: its bytes do not match its digest"));
        }
        upload.finish().await.map(drop).map_err(unwritten)
    }
}

/// Nothing here can panic half way, so a poisoned lock holds sound state.
fn lock(names: &Mutex<HashSet<u64>>) -> MutexGuard<'_, HashSet<u64>> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of an input without folders and without its last extension.
fn stem(shown: &Value) -> Result<&str, Error> {
    let unnamed = || {
        let shown = shown.as_str().map_or_else(|| shown.to_string(), Into::into);
        Error::usage(format!(
            "the input `{shown}` has no name for `{{stem}}`; write `{{index}}`"
        ))
        .about(Setting::Output)
    };
    let text = shown.as_str().filter(|text| !text.ends_with(CUT));
    let text = text.ok_or_else(unnamed)?;
    let text = text.trim_end_matches('/');
    let mut name = text.rsplit('/').next().unwrap_or_default();
    if text.contains("://") {
        // A range of bytes, or a query of a web server.
        name = name.split_once("#bytes=").map_or(name, |(name, _)| name);
        if text.starts_with("http") {
            name = name.split_once('?').map_or(name, |(name, _)| name);
        }
    }
    let stem = match name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        Some(_) | None => name,
    };
    if matches!(stem, "" | "." | "..") {
        Err(unnamed())
    } else {
        Ok(stem)
    }
}

#[cfg(test)]
mod tests {
    use sortie::objects::Config;
    use tokio::runtime::Handle;

    use super::*;

    fn naming(pattern: &str, stems: Stems) -> Result<Naming, String> {
        let objects = Objects::new(Config::default(), Handle::current());
        Naming::parse(
            pattern,
            stems,
            &objects,
            Path::new("/here"),
            &Troubles::default(),
        )
        .map_err(|error| error.to_string())
    }

    fn name(pattern: &str, index: u64, shown: &str) -> Result<String, String> {
        naming(pattern, Stems::Named)?
            .name(index, &shown.into(), Digest::of(b""))
            .map(|name| name.to_string())
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_name_is_made_of_the_input_its_index_and_the_digest() {
        for (pattern, shown, wanted) in [
            ("out/{stem}.png", "a/b.c.pdf", "file:///here/out/b.c.png"),
            ("{stem}-{index}", "photo.jpg", "file:///here/photo-7"),
            ("s3://b/{stem}/x", "s3://in/d/e.tar.gz", "s3://b/e.tar/x"),
            ("s3://b/{stem}", "s3://in/a%20b#c.txt", "s3://b/a%20b#c"),
            ("s3://b/{stem}", "s3://in/x.csv#bytes=0-9", "s3://b/x"),
            ("s3://b/{stem}", "https://h/x.csv?q=1.2", "s3://b/x"),
            ("s3://b/{stem}", "data/array.zarr/", "s3://b/array"),
            ("s3://b/{stem}", ".hidden", "s3://b/.hidden"),
        ] {
            assert_eq!(name(pattern, 7, shown).unwrap(), wanted, "{shown}");
        }
        let digest = Digest::of(b"").to_hex();
        assert_eq!(
            name("s3://b/{digest}", 0, "x").unwrap(),
            format!("s3://b/{digest}")
        );
    }

    #[tokio::test]
    async fn what_cannot_be_a_name_is_refused() {
        for (pattern, part) in [
            (
                "s3://b/{steam}.png",
                "`{steam}` stands for nothing; there are {stem}, {index}",
            ),
            ("s3://b/{}", "`{}` stands for nothing"),
            ("https://h/{stem}", "web server"),
            ("out/{stem}/", "names a folder"),
        ] {
            let error = naming(pattern, Stems::Named).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let error = naming("{stem}", Stems::Unnamed).unwrap_err();
        assert!(error.contains("write `{index}`"), "{error}");
        assert!(naming("{index}", Stems::Unnamed).is_ok());
        for shown in ["s3://b/..", "/", &format!("{}…", "x".repeat(90))] {
            assert!(
                name("{stem}", 0, shown)
                    .unwrap_err()
                    .contains("has no name")
            );
        }
        let replaced = name("in/{stem}.pdf", 0, "in/a.pdf").unwrap_err();
        assert!(replaced.contains("would replace it"), "{replaced}");
    }

    #[tokio::test]
    async fn where_objects_cannot_be_written_is_known_before_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let objects = Objects::new(Config::default(), Handle::current());
        let check = async |pattern: &str| {
            let (folder, troubles) = (folder.path(), Troubles::default());
            let naming = Naming::parse(pattern, Stems::Named, &objects, folder, &troubles);
            naming.unwrap().check(&Stop::new().1).await
        };
        std::fs::write(folder.path().join("file"), "").unwrap();
        let error = check("file/{stem}").await.unwrap_err();
        assert_eq!(error.setting, Some(Setting::Output));
        assert!(
            error.message.contains("a part of its path is a file"),
            "{error}"
        );
        assert_eq!(check("a/b/{stem}/x-{index}").await, Ok(()));
        // The folder is there, with nothing in it.
        let left = std::fs::read_dir(folder.path().join("a/b")).unwrap();
        assert_eq!(left.count(), 0);
    }

    #[tokio::test]
    async fn two_objects_never_get_one_name() {
        let naming = naming("out/{stem}.png", Stems::Named).unwrap();
        assert_eq!(naming.expect(&"a/x.pdf".into()), Ok(()));
        let error = naming.expect(&"b/x.pdf".into()).unwrap_err().to_string();
        assert!(
            error.contains("/here/out/x.png` would be the name of two objects")
                && error.contains("`b/x.pdf`"),
            "{error}"
        );
        let numbered = super::tests::naming("out/{stem}-{index}", Stems::Named).unwrap();
        for shown in ["a/x.pdf", "b/x.pdf"] {
            assert_eq!(numbered.expect(&shown.into()), Ok(()));
        }
    }

    #[test]
    fn only_what_has_braces_is_a_pattern() {
        for (text, is) in [
            ("s3://b/{stem}.png", true),
            ("{anything}", true),
            ("results.jsonl", false),
            ("a{b", false),
            ("a}b{c", false),
        ] {
            assert_eq!(is_pattern(Path::new(text)), is, "{text}");
        }
    }
}
