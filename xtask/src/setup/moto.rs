//! A second server of S3 for tests: moto, from the Python package index.
//!
//! Its packages are pinned by hash in `moto.txt` and unpacked into a folder of the build folder,
//! for the `python3` that is there; nothing is installed elsewhere. What is there already is never
//! fetched again, unless the list or the version of Python is another.
//!
//! Without Python or pip, tests can do without: the reason is kept beside the packages, and the
//! tests that need moto say that they were skipped for it. A download that fails is an error.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail, ensure};

use super::pip::Pip;
use crate::project::Project;

/// What moto needs, with hashes.
const REQUIREMENTS: &str = include_str!("moto.txt");
/// All wheels together have 30 MB.
const DOWNLOAD_TIME_MAX: Duration = Duration::from_secs(300);
/// The oldest Python that the pinned packages run on: major and minor version.
const PYTHON_MIN: (u32, u32) = (3, 10);

/// Gets moto if it is missing, and says so, or says why it is left out.
pub(crate) fn run(project: &Project) -> Result<()> {
    let python = match python(project) {
        Ok(python) => python,
        Err(missing) => return skip(project, &missing),
    };
    // Packages for one Python do not load in another.
    let stamp = format!("{python}\n{REQUIREMENTS}");
    if fs::read_to_string(folder(project).join(STAMP))
        .ok()
        .as_ref()
        != Some(&stamp)
    {
        match Pip::find(project) {
            Ok(pip) => fetch(project, &pip, &stamp)?,
            Err(missing) => return skip(project, &missing),
        }
    }
    unskip(project)?;
    println!(
        "moto:   {} in {}",
        version(),
        project.shown(&folder(project).join(PACKAGES)).display()
    );
    Ok(())
}

/// Beside the packages: what they were fetched for.
const STAMP: &str = "stamp";
/// Where `python3` looks for them.
const PACKAGES: &str = "packages";
/// Beside them: why there are none. Tests read it.
const SKIPPED: &str = "skipped";

fn folder(project: &Project) -> PathBuf {
    project.toolchain().join("moto")
}

/// The version of Python that moto would run on.
fn python(project: &Project) -> Result<String> {
    let program = "import sys; print('%d.%d' % sys.version_info[:2], sys.implementation.name)";
    let Ok(text) = project.cmd("python3").args(["-c", program]).read() else {
        bail!("python3 is not installed: on Debian, run `apt-get install python3-pip`");
    };
    let (major, minor) = PYTHON_MIN;
    ensure!(
        is_supported(&text),
        "python3 is version {}, and moto needs {major}.{minor}",
        text.trim()
    );
    Ok(text.trim().to_owned())
}

fn is_supported(python: &str) -> bool {
    let mut numbers = python.split([' ', '.']).map(str::parse::<u32>);
    let Some(Ok(major)) = numbers.next() else {
        return false;
    };
    let Some(Ok(minor)) = numbers.next() else {
        return false;
    };
    (major, minor) >= PYTHON_MIN
}

fn skip(project: &Project, missing: &Error) -> Result<()> {
    let file = folder(project).join(SKIPPED);
    fs::create_dir_all(folder(project)).context("failed to make a folder for moto")?;
    fs::write(&file, format!("there is no moto: {missing:#}\n"))
        .with_context(|| format!("failed to write `{}`", file.display()))?;
    println!("moto:   left out, and so are the tests that need it: {missing:#}");
    Ok(())
}

/// A reason of an earlier time does not hold any more.
fn unskip(project: &Project) -> Result<()> {
    match fs::remove_file(folder(project).join(SKIPPED)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("failed to remove why moto was left out")
        }
        _ => Ok(()),
    }
}

fn fetch(project: &Project, pip: &Pip<'_>, stamp: &str) -> Result<()> {
    let folder = folder(project);
    println!(
        "fetching moto {} from the Python package index into {}",
        version(),
        project.shown(&folder).display()
    );
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("failed to remove `{}`", folder.display()))?;
    }
    fs::create_dir_all(&folder)
        .with_context(|| format!("failed to make `{}`", folder.display()))?;
    let list = folder.join("requirements.txt");
    fs::write(&list, REQUIREMENTS)
        .with_context(|| format!("failed to write `{}`", list.display()))?;
    let unpacked = folder.join("unpacked");
    let cmd = pip
        .command("install")
        .arg("--requirement")
        .arg(&list)
        .arg("--target")
        .arg(&unpacked);
    cmd.look("PIP_ROOT_USER_ACTION", "ignore")
        .run_within(DOWNLOAD_TIME_MAX)
        .context("could not fetch moto")?;
    // Moved only when it is complete, so that an interrupted download never looks like a server.
    fs::rename(&unpacked, folder.join(PACKAGES))
        .context("failed to move moto's packages to their place")?;
    fs::write(folder.join(STAMP), stamp).context("failed to write what moto's packages are for")
}

/// As the list has it.
fn version() -> &'static str {
    let line = REQUIREMENTS
        .lines()
        .find_map(|line| line.strip_prefix("moto=="));
    line.and_then(|rest| rest.split_whitespace().next())
        .unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_of_the_list_has_one_version_and_hashes() {
        let text = REQUIREMENTS.replace("\\\n", "");
        let packages: Vec<_> = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect();
        assert!(packages.len() > 20, "{} packages", packages.len());
        assert!(
            packages
                .iter()
                .all(|line| line.contains("==") && line.contains("--hash=sha256:"))
        );
        assert_eq!(version(), "5.2.5");
    }

    #[test]
    fn an_old_python_is_told_from_one_that_is_new_enough() {
        for (version, supported) in [
            ("3.11 cpython", true),
            ("3.10 cpython", true),
            ("4.0 x", true),
            ("3.9 cpython", false),
            ("", false),
        ] {
            assert_eq!(is_supported(version), supported, "{version}");
        }
    }
}
