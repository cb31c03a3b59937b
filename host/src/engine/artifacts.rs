//! A disk cache of compiled components, so that the next start need not compile.
//!
//! Loading an artifact runs its bytes as native code, and wasmtime validates it only lightly, so an
//! artifact is loaded only if this user's host made it for this engine:
//! - Its file name holds the component's digest and a hash of everything that shapes code:
//!   wasmtime's full version, the target, all settings.
//! - Its first 32 bytes are a keyed BLAKE3 hash over both and the code; the key is in the same
//!   folder, readable by the owner only. The bytes that are checked are the bytes that are loaded:
//!   they are read once, and nothing is mapped from the file.
//! - The folder belongs to this user, and nobody else may write to it; otherwise the cache is not
//!   used.
//!
//! A damaged, foreign or outdated file is a miss, never an error. At most [`FILES_MAX`] artifacts
//! are kept, the most recently used.

use std::fs::{self, Permissions};
use std::hash::{Hash as _, Hasher};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sortie_protocol::Digest;
use wasmtime::component::Component;

use sortie_objects::dir::{Temporary, touch};

/// How many artifacts are kept. Each takes one to thirty megabytes.
pub const FILES_MAX: usize = 64;
pub(super) const KEY_BYTES: usize = 32;
pub(crate) const EXTENSION: &str = "artifact";

/// A folder of artifacts.
#[derive(Debug, Clone)]
pub struct Artifacts {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
}

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder cannot be created, read or written.
    #[error("failed to use the cache folder `{folder}`")]
    Io {
        /// The folder.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Other users could write files to it.
    #[error(
        "the cache folder `{0}` belongs to another user or others may write to it; make it yours \
         alone (chmod 700), or choose another"
    )]
    NotPrivate(PathBuf),
}

impl Artifacts {
    /// Open the folder; creates it and its key if they are missing.
    ///
    /// # Errors
    /// When the folder cannot be used, or other users have access to it.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, Error> {
        let folder = folder.into();
        private(&folder)?;
        let key = key(&folder).map_err(|source| Error::Io {
            folder: folder.clone(),
            source,
        })?;
        Ok(Self { folder, key })
    }

    /// Load a component that this user compiled before for this engine, if it is cached.
    #[must_use]
    pub fn load(&self, engine: &wasmtime::Engine, digest: Digest) -> Option<Component> {
        let shape = Shape::of(engine);
        let path = self.path(digest, &shape);
        let bytes = fs::read(&path).ok()?;
        let component = unseal(&self.key, engine, digest, &bytes)?;
        touch(&path);
        Some(component)
    }

    /// Cache a compiled component. A failure is only logged: the next start compiles again.
    pub fn store(&self, engine: &wasmtime::Engine, digest: Digest, component: &Component) {
        let shape = Shape::of(engine);
        let write = || -> io::Result<()> {
            let code = component.serialize().map_err(io::Error::other)?;
            let mut file = Temporary::create(&self.folder)?;
            file.file
                .write_all(mac(&self.key, digest, &shape, &code).as_bytes())?;
            file.file.write_all(&code)?;
            file.rename(&self.path(digest, &shape))
        };
        if let Err(error) = write() {
            tracing::warn!(
                folder = %self.folder.display(),
                %error,
                "failed to cache a compiled component; it will be compiled again"
            );
        }
        self.evict();
    }

    fn path(&self, digest: Digest, shape: &Shape) -> PathBuf {
        self.folder.join(format!(
            "{}-{}.{EXTENSION}",
            digest.to_hex(),
            &shape.0.to_hex()[..16]
        ))
    }

    /// Remove the least recently used files beyond the bound.
    fn evict(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        let mut files: Vec<(SystemTime, PathBuf)> = entries
            .filter_map(Result::ok)
            .filter(|entry| {
                entry
                    .path()
                    .extension()
                    .is_some_and(|extension| extension == EXTENSION)
            })
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort();
        let surplus = files.len().saturating_sub(FILES_MAX);
        for (_, path) in files.into_iter().take(surplus) {
            // Another process may have removed it already.
            let _ = fs::remove_file(path);
        }
    }
}

/// Make a folder that is this user's alone, or see that it is.
///
/// # Errors
/// When it cannot be used, belongs to another user, or others may write to it.
pub(crate) fn private(folder: &Path) -> Result<(), Error> {
    let io = |source| Error::Io {
        folder: folder.to_owned(),
        source,
    };
    if !folder.exists() {
        fs::create_dir_all(folder).map_err(io)?;
        fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(io)?;
    }
    let metadata = fs::metadata(folder).map_err(io)?;
    let is_own =
        metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o022 == 0;
    if is_own {
        Ok(())
    } else {
        Err(Error::NotPrivate(folder.to_owned()))
    }
}

/// A hash of everything that shapes compiled code.
struct Shape(blake3::Hash);

impl Shape {
    fn of(engine: &wasmtime::Engine) -> Self {
        struct Feed(blake3::Hasher);
        impl Hasher for Feed {
            fn write(&mut self, bytes: &[u8]) {
                self.0.update(bytes);
            }
            fn finish(&self) -> u64 {
                0
            }
        }
        let mut feed = Feed(blake3::Hasher::new());
        // wasmtime's own check of an artifact looks at the major version only; this hash covers the
        // full one.
        engine.precompile_compatibility_hash().hash(&mut feed);
        Self(feed.0.finalize())
    }
}

fn mac(key: &[u8; KEY_BYTES], digest: Digest, shape: &Shape, code: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher
        .update(digest.as_bytes())
        .update(shape.0.as_bytes())
        .update(code);
    hasher.finalize()
}

/// Put a keyed hash in front of the code of a component.
pub(super) fn seal(
    key: &[u8; KEY_BYTES],
    engine: &wasmtime::Engine,
    digest: Digest,
    code: &[u8],
) -> Vec<u8> {
    let mac = mac(key, digest, &Shape::of(engine), code);
    [mac.as_bytes().as_slice(), code].concat()
}

/// Load the code of a component that was sealed with this key for this engine.
pub(super) fn unseal(
    key: &[u8; KEY_BYTES],
    engine: &wasmtime::Engine,
    digest: Digest,
    sealed: &[u8],
) -> Option<Component> {
    let (sum, code) = sealed.split_at_checked(KEY_BYTES)?;
    let sum: [u8; KEY_BYTES] = sum.try_into().ok()?;
    // blake3::Hash compares in constant time.
    if mac(key, digest, &Shape::of(engine), code) != blake3::Hash::from_bytes(sum) {
        return None;
    }
    deserialize(engine, code)
}

/// Load code that this module has authenticated.
fn deserialize(engine: &wasmtime::Engine, code: &[u8]) -> Option<Component> {
    #[expect(
        unsafe_code,
        reason = "the one place that loads compiled code; its only caller checks a MAC over these \
                  very bytes first"
    )]
    // SAFETY: `deserialize` asks for bytes that `Component::serialize` made. `unseal` has just
    // checked a keyed hash over exactly `code`, under a key that only this user's hosts hold or
    // that this process gave to its own child, and such a hash is made only over what `serialize`
    // or `precompile_component` returned, by `store` and `seal`.
    let component = unsafe { Component::deserialize(engine, code) };
    component.ok()
}

/// The folder's key, made at first use.
fn key(folder: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let path = folder.join("key");
    match fs::read(&path) {
        Ok(bytes) => match <[u8; KEY_BYTES]>::try_from(bytes) {
            Ok(key) => return Ok(key),
            // Cut short by a crash: without it all artifacts are misses, which is what they should
            // be.
            Err(_) => fs::remove_file(&path)?,
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut key = [0; KEY_BYTES];
    rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())?;
    let mut file = Temporary::create(folder)?;
    file.file.write_all(&key)?;
    // Linked, not renamed: of two processes that start at once, one wins and both use its key.
    match file.link(&path) {
        Ok(()) => Ok(key),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let winner = fs::read(&path)?;
            <[u8; KEY_BYTES]>::try_from(winner)
                .map_err(|_| io::Error::other("the key file is damaged"))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::engine::{Engine, Paging, Settings};

    fn engine() -> Engine {
        Engine::new(Settings::of(NonZeroU32::MIN, Paging::Discard)).unwrap()
    }

    /// A folder with one artifact, and the artifact's path.
    fn stored(engine: &Engine) -> (tempfile::TempDir, Artifacts, Digest, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(folder.path().join("cache")).unwrap();
        let wasm = wat::parse_str("(component)").unwrap();
        let digest = Digest::of(&wasm);
        artifacts.store(
            &engine.inner,
            digest,
            &Component::new(&engine.inner, &wasm).unwrap(),
        );
        let path = artifacts.path(digest, &Shape::of(&engine.inner));
        (folder, artifacts, digest, path)
    }

    #[test]
    fn what_one_engine_compiled_another_loads() {
        let (folder, _, digest, _) = stored(&engine());
        let again = Artifacts::open(folder.path().join("cache")).unwrap();
        assert!(again.load(&engine().inner, digest).is_some());
        assert!(
            again
                .load(&engine().inner, Digest::of(b"another"))
                .is_none()
        );
    }

    #[test]
    fn a_changed_byte_or_a_foreign_key_is_a_miss() {
        let engine = engine();
        let (folder, artifacts, digest, path) = stored(&engine);
        let sound = fs::read(&path).unwrap();
        for position in [0, KEY_BYTES, sound.len() / 2, sound.len() - 1] {
            let mut bytes = sound.clone();
            bytes[position] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert!(
                artifacts.load(&engine.inner, digest).is_none(),
                "byte {position}"
            );
        }
        fs::write(&path, &sound[..20]).unwrap();
        assert!(artifacts.load(&engine.inner, digest).is_none());
        fs::write(&path, &sound).unwrap();
        assert!(artifacts.load(&engine.inner, digest).is_some());
        fs::write(folder.path().join("cache/key"), [7; KEY_BYTES]).unwrap();
        let foreign = Artifacts::open(folder.path().join("cache")).unwrap();
        assert!(foreign.load(&engine.inner, digest).is_none());
    }

    #[test]
    fn an_artifact_under_another_components_name_is_a_miss() {
        let engine = engine();
        let (_folder, artifacts, _, path) = stored(&engine);
        let other = Digest::of(b"another component");
        fs::copy(&path, artifacts.path(other, &Shape::of(&engine.inner))).unwrap();
        assert!(artifacts.load(&engine.inner, other).is_none());
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(
            Artifacts::open(folder.path()),
            Err(Error::NotPrivate(_))
        ));
    }

    #[test]
    fn the_folder_and_its_key_are_private() {
        let folder = tempfile::tempdir().unwrap();
        Artifacts::open(folder.path().join("cache")).unwrap();
        let mode = |path: &str| {
            fs::metadata(folder.path().join(path))
                .unwrap()
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!((mode("cache"), mode("cache/key")), (0o700, 0o600));
    }

    #[test]
    fn a_key_cut_short_by_a_crash_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        Artifacts::open(&cache).unwrap();
        fs::write(cache.join("key"), [1, 2, 3]).unwrap();
        Artifacts::open(&cache).unwrap();
        assert_eq!(fs::read(cache.join("key")).unwrap().len(), KEY_BYTES);
    }
}
