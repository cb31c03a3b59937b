//! Cache folders in which the component that most tests use is compiled already.
//!
//! Compiling it takes two seconds of a core, and hundreds of tests start from an empty cache only
//! because nothing of another test may be in theirs. It is compiled once for each build of the
//! `sortie` binary, by that binary, and its artifact is copied. An artifact that the host under
//! test would not take is a miss there, so a test never sees another engine's code.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// The component that is compiled.
const COMPONENT: &str = "behaviours";

/// A new cache folder.
///
/// # Panics
/// When it cannot be created, or the component cannot be compiled.
pub fn cache() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fill(folder.path());
    folder
}

/// Put what is compiled into a cache folder, which is created if it is missing.
pub(crate) fn fill(folder: &Path) {
    static COMPILED: OnceLock<PathBuf> = OnceLock::new();
    let compiled = COMPILED.get_or_init(compiled);
    fs::create_dir_all(folder).expect("a folder for a cache");
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("a folder of ours");
    for file in fs::read_dir(compiled).expect("what was compiled") {
        let file = file.expect("what was compiled");
        fs::copy(file.path(), folder.join(file.file_name())).expect("a copy");
    }
}

/// A cache folder that the binary has compiled into and kept no result in.
fn compiled() -> PathBuf {
    let (binary, component) = (crate::binary(), crate::component(COMPONENT));
    let folder = crate::repository().join("target/tmp/warm");
    let place = folder.join(format!("{:016x}", state_of(&[&binary, &component])));
    if place.exists() {
        return place;
    }
    fs::create_dir_all(&folder).expect("a folder below `target`");
    let making = tempfile::tempdir_in(&folder).expect("a folder below `target`");
    let status = Command::new(binary)
        .arg("call")
        .arg(component)
        .args(["--fresh", "echo", "compiled", "--cache"])
        .arg(making.path())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .expect("the binary starts");
    assert!(status.success(), "failed to compile `{COMPONENT}`");
    // Another test may have been faster: its folder is as good.
    let _ = fs::rename(making.path(), &place);
    place
}

/// A number for these files as they are: another build has another.
fn state_of(files: &[&Path]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in files {
        let metadata = fs::metadata(path).expect("a file that is there");
        (path, metadata.len(), metadata.modified().ok()).hash(&mut hasher);
    }
    hasher.finish()
}
