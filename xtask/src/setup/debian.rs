//! The second route: Debian's own compiler, and its standard library in source.
//!
//! Five packages come from the system's apt and need root. The C library for the target comes from
//! Debian 13 whatever the system is, because older ones lack it: it is fetched with a source list,
//! lists and cache of our own, checked by apt against Debian's keys, and unpacked into the build
//! folder. The system's sources do not change, and no package is ever removed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::Cmd;
use crate::project::Project;
use crate::toolchain::{libc_package, missing_of_debian, wasm_ld};

/// Compiler, cargo, the standard library's source, tools, and a linker that knows WebAssembly.
const PACKAGES: [&str; 5] = [
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "rust-web-llvm",
    "lld-22",
];
/// The first release whose wasi-libc has this target.
const LIBC_RELEASE: &str = "trixie";
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The mirror to ask when the system's apt names none.
const MIRROR: &str = "http://deb.debian.org/debian/";
/// The oldest release with the packages above.
const RELEASE_MIN: u32 = 12;

/// Installs what is missing.
pub(super) fn get(project: &Project) -> Result<()> {
    refuse_other_systems()?;
    let missing: Vec<_> = PACKAGES
        .into_iter()
        .filter(|package| !is_installed(project, package))
        .collect();
    if !missing.is_empty() {
        install(project, &missing)?;
    }
    if !libc_package(project).is_dir() {
        fetch_libc(project)?;
    }
    link_linker(project)?;
    match missing_of_debian(project) {
        Some(path) => bail!(
            "`{}` is missing although its package is installed: reinstall {}",
            path.display(),
            PACKAGES.join(" ")
        ),
        None => Ok(()),
    }
}

fn refuse_other_systems() -> Result<()> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if is_supported(&release) {
        return Ok(());
    }
    let name = field(&release, "PRETTY_NAME").unwrap_or("this system");
    bail!(
        "Debian's packages need Debian {RELEASE_MIN} or later, and this is {name}: install rustup \
         and run `rustup target add wasm32-wasip2`"
    )
}

/// Testing and unstable have no version, and are later than any that has.
fn is_supported(release: &str) -> bool {
    let version = field(release, "VERSION_ID").map(str::parse::<u32>);
    field(release, "ID") == Some("debian")
        && version.is_none_or(|version| version.is_ok_and(|version| version >= RELEASE_MIN))
}

fn field<'a>(release: &'a str, name: &str) -> Option<&'a str> {
    release
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .map(|value| value.trim_matches('"'))
}

fn is_installed(project: &Project, package: &str) -> bool {
    let status = project
        .cmd("dpkg-query")
        .args(["-W", "-f=${db:Status-Status}", package])
        .read();
    status.is_ok_and(|status| status == "installed")
}

fn install(project: &Project, missing: &[&str]) -> Result<()> {
    let list = missing.join(" ");
    if project.cmd("id").arg("-u").read()?.trim() != "0" {
        bail!(
            "installing Debian's {list} needs root: run `cargo xtask setup` as root, or `apt-get \
             install --no-install-recommends {list}`"
        );
    }
    let known = missing
        .iter()
        .all(|package| has_candidate(project, package));
    if !known {
        println!("asking Debian's mirrors for their lists: apt-get update");
        apt(project, "update").read()?;
    }
    if let Some(package) = missing
        .iter()
        .find(|package| !has_candidate(project, package))
    {
        bail!(
            "apt knows no package `{package}`: check the network, and that apt's sources hold \
             Debian's main and security suites"
        );
    }
    println!("installing Debian packages, which takes a minute or two: {list}");
    let installed = apt_install(project, missing).read().or_else(|_| {
        // Lists that are a few weeks old name files that the mirrors no longer hold.
        apt(project, "update").read()?;
        apt_install(project, missing).read()
    });
    installed
        .map(drop)
        .context("could not install Debian's packages")
}

fn has_candidate(project: &Project, package: &str) -> bool {
    let policy = project
        .cmd("apt-cache")
        .args(["policy", package])
        .read()
        .unwrap_or_default();
    policy.lines().any(|line| {
        line.trim()
            .strip_prefix("Candidate:")
            .is_some_and(|version| version.trim() != "(none)")
    })
}

fn apt(project: &Project, task: &str) -> Cmd {
    // Another apt may hold the lock. The wait for it is limited, in case that one hangs.
    let options = [
        "DPkg::Lock::Timeout=300",
        "Acquire::Retries=2",
        "Acquire::http::Timeout=20",
        "Acquire::Languages=none",
    ];
    let cmd = project
        .cmd("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env_remove("LD_LIBRARY_PATH");
    let cmd = cmd.brief(format!("apt-get {task}")).args([task, "-qq"]);
    options
        .into_iter()
        .fold(cmd, |cmd, option| cmd.args(["-o", option]))
}

fn apt_install(project: &Project, packages: &[&str]) -> Cmd {
    apt(project, "install")
        .args(["-y", "--no-install-recommends", "--no-remove"])
        .args(packages)
}

fn fetch_libc(project: &Project) -> Result<()> {
    let folder = project.toolchain().join("apt");
    let fetched = fetch_libc_into(project, &folder).context("could not fetch Debian's wasi-libc");
    let cleared = if folder.exists() {
        fs::remove_dir_all(&folder)
    } else {
        Ok(())
    };
    fetched?;
    cleared.with_context(|| format!("failed to remove `{}`", folder.display()))
}

fn fetch_libc_into(project: &Project, folder: &Path) -> Result<()> {
    for part in [
        "lists/partial",
        "cache/archives/partial",
        "package",
        "unpacked",
    ] {
        let part = folder.join(part);
        fs::create_dir_all(&part)
            .with_context(|| format!("failed to make `{}`", part.display()))?;
    }
    let mirror = mirror(project);
    println!("fetching wasi-libc of Debian 13 from {mirror} into target/toolchain");
    let list = folder.join("sources.list");
    fs::write(
        &list,
        format!("deb [signed-by={KEYS}] {mirror} {LIBC_RELEASE} main\n"),
    )
    .with_context(|| format!("failed to write `{}`", list.display()))?;
    own_apt(project, folder, "update")
        .arg("--error-on=any")
        .read()?;
    let package = folder.join("package");
    own_apt(project, folder, "download")
        .arg("wasi-libc")
        .dir(&package)
        .read()?;
    let unpacked = folder.join("unpacked");
    project
        .cmd("dpkg")
        .arg("-x")
        .arg(only_file(&package)?)
        .arg(&unpacked)
        .read()?;
    // Moved as a whole, so that an interrupted download never looks complete.
    fs::rename(&unpacked, libc_package(project))
        .context("failed to move the unpacked package into place")
}

/// An apt that reads and writes only below `folder`.
fn own_apt(project: &Project, folder: &Path, task: &str) -> Cmd {
    let set = |name: &str, part: &str| format!("Dir::{name}={}", folder.join(part).display());
    let dirs = [
        set("Etc::SourceList", "sources.list"),
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        set("State::Lists", "lists"),
        set("Cache", "cache"),
    ];
    let cmd = dirs
        .into_iter()
        .fold(apt(project, task), |cmd, dir| cmd.arg("-o").arg(dir));
    // apt's own user may not write below our folder; the file is checked against Debian's keys all
    // the same.
    cmd.args([
        "-o",
        "APT::Sandbox::User=root",
        "-o",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
    ])
}

/// The mirror that the system uses for Debian's main archive.
fn mirror(project: &Project) -> String {
    let targets = project
        .cmd("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(REPO_URI)",
            "Created-By: Packages",
        ])
        .read()
        .unwrap_or_default();
    targets
        .lines()
        .find(|uri| uri.trim_end_matches('/').ends_with("/debian"))
        .unwrap_or(MIRROR)
        .to_owned()
}

fn only_file(folder: &Path) -> Result<PathBuf> {
    let entry = fs::read_dir(folder)
        .with_context(|| format!("failed to list `{}`", folder.display()))?
        .next();
    Ok(entry
        .with_context(|| format!("apt left no package in `{}`", folder.display()))??
        .path())
}

/// Links `wasm-ld` to the newest one installed.
fn link_linker(project: &Project) -> Result<()> {
    let link = wasm_ld(project);
    if link.exists() {
        return Ok(());
    }
    let entries = fs::read_dir("/usr/bin").context("failed to list `/usr/bin`")?;
    let linkers = entries.filter_map(|entry| {
        Some((
            version(entry.as_ref().ok()?.file_name().to_str()?)?,
            entry.ok()?.path(),
        ))
    });
    let (_, newest) = linkers
        .max()
        .context("found no `/usr/bin/wasm-ld-*`: reinstall the package lld-22")?;
    let made =
        link.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| match fs::remove_file(&link) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => symlink(&newest, &link),
            });
    made.with_context(|| format!("failed to link `{}`", link.display()))
}

fn version(name: &str) -> Option<u32> {
    name.strip_prefix("wasm-ld-")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debian_that_is_new_enough_is_supported() {
        assert!(is_supported(
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n"
        ));
        assert!(is_supported(
            "PRETTY_NAME=\"Debian GNU/Linux forky/sid\"\nID=debian\n"
        ));
        assert!(!is_supported("ID=debian\nVERSION_ID=\"11\"\n"));
        assert!(!is_supported(
            "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\n"
        ));
        assert!(!is_supported(""));
    }

    #[test]
    fn the_linker_with_the_highest_version_wins() {
        let names = ["wasm-ld-9", "wasm-ld-22", "wasm-ld", "wasm-ld-x"];
        assert_eq!(names.into_iter().filter_map(version).max(), Some(22));
    }
}
