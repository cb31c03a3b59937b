//! Listings of local folders, where only some may be read and somebody else writes into them.
//!
//! The folder `open` may be read, `closed` beside it may not. All that lies in `closed` is larger
//! than what has its name in `open`, and newer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use futures::TryStreamExt as _;
use sortie_objects::{Config, Entry, Error, Files, Found, Listing, Location, Objects, Prefix};
use sortie_protocol::Timestamp;
use sortie_protocol::outcome::InputFault;
use tempfile::TempDir;
use tokio::runtime::Handle;

/// Rounds of a race. One that could be lost was lost in one of some hundred rounds.
const ROUNDS: usize = 3000;
/// When all in `open` was written.
const WRITTEN: Duration = Duration::from_secs(1_000_000_000);

/// The two folders.
struct Folders {
    folder: TempDir,
}

impl Folders {
    fn new() -> Self {
        let folders = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for name in ["open", "closed"] {
            fs::create_dir(folders.at(name)).unwrap();
        }
        folders
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// A file, with the folders it lies in.
    fn write(&self, path: &str) {
        let (file, open) = (self.at(path), path.starts_with("open/"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, if open { "x" } else { "a secret" }).unwrap();
        if open {
            let file = fs::File::options().write(true).open(&file).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + WRITTEN).unwrap();
        }
    }

    fn link(&self, to: &str, from: &str) {
        symlink(self.at(to), self.at(from)).unwrap();
    }

    /// What a worker has that may read `open`.
    fn objects(&self) -> Objects {
        objects(Files::under(vec![self.at("open")]))
    }

    async fn prefix(&self, path: &str) -> Prefix {
        let place = format!("file://{}/", self.at(path).display());
        let place = place.parse().unwrap();
        self.objects().prefix(&place).await.unwrap()
    }

    /// The paths that match, below the folder of both.
    async fn matching(&self, pattern: &str) -> Result<Vec<String>, Error> {
        self.matching_by(&self.objects(), pattern).await
    }

    async fn matching_by(&self, objects: &Objects, pattern: &str) -> Result<Vec<String>, Error> {
        let found = objects.list(pattern, self.folder.path());
        let found: Vec<Found> = found.try_collect().await?;
        let below = format!("file://{}/", self.folder.path().display());
        let path = |found: &Found| found.address.to_string().replace(&below, "");
        Ok(found.iter().map(path).collect())
    }
}

fn objects(files: Files) -> Objects {
    let config = Config {
        files,
        ..Config::default()
    };
    Objects::new(config, Handle::current())
}

async fn rest(listing: &mut Listing) -> Result<Vec<Entry>, Error> {
    let mut all = Vec::new();
    loop {
        let entries = listing.next().await?;
        if entries.is_empty() {
            return Ok(all);
        }
        all.extend(entries);
    }
}

/// All below a name, sorted, if it is what lies in `open`.
async fn names(prefix: &Prefix, below: &str) -> Result<Vec<String>, Error> {
    let mut listing = prefix.list(below)?;
    let entries = rest(&mut listing).await?;
    entries.iter().for_each(must_be_open);
    let mut names: Vec<String> = entries.into_iter().map(|entry| entry.path).collect();
    names.sort();
    Ok(names)
}

fn must_be_open(entry: &Entry) {
    let written = Timestamp::default() + WRITTEN;
    let open = entry.size == 1 && entry.modified == written && !entry.path.contains("secret");
    assert!(open, "{entry:?}");
}

/// Does something over and over, on a thread of its own, until it is dropped.
struct Meanwhile {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Meanwhile {
    fn start(mut work: impl FnMut() + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                work();
            }
        });
        Self {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Meanwhile {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

/// Let `path` be a link to each of these in turn.
fn swap_links(folders: &Folders, path: &str, targets: [&str; 2]) -> Meanwhile {
    let (path, next) = (folders.at(path), folders.at("next"));
    let targets = targets.map(|target| folders.at(target));
    symlink(&targets[0], &path).unwrap();
    Meanwhile::start(move || {
        for target in &targets {
            symlink(target, &next).unwrap();
            fs::rename(&next, &path).unwrap();
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_swapped_while_a_folder_is_listed_shows_nothing_from_outside() {
    let folders = Folders::new();
    for path in ["open/real/both", "open/real/inner", "closed/both"] {
        folders.write(path);
    }
    for number in 0..10 {
        folders.write(&format!("closed/secret{number}"));
    }
    let swapping = swap_links(&folders, "open/way", ["open/real", "closed"]);
    let prefix = folders.prefix("open").await;
    let (mut seen, mut hidden) = (0, 0);
    for _ in 0..ROUNDS {
        let below = names(&prefix, "way").await.unwrap();
        assert!(
            below.is_empty() || below == ["way/both", "way/inner"],
            "{below:?}"
        );
        let all = names(&prefix, "").await.unwrap();
        assert!(all.iter().any(|name| name == "real/inner"), "{all:?}");
        if below.is_empty() {
            hidden += 1;
        } else {
            seen += 1;
        }
    }
    drop(swapping);
    assert!(seen > 0 && hidden > 0, "{seen} {hidden}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_to_a_file_that_is_swapped_never_has_the_size_of_one_outside() {
    let folders = Folders::new();
    for path in ["open/real/file", "closed/file"] {
        folders.write(path);
    }
    fs::create_dir(folders.at("open/links")).unwrap();
    let files = ["open/real/file", "closed/file"];
    let swapping = swap_links(&folders, "open/links/way", files);
    let prefix = folders.prefix("open").await;
    let mut seen = 0;
    for _ in 0..ROUNDS {
        seen += names(&prefix, "links").await.unwrap().len();
    }
    drop(swapping);
    assert!(seen > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_turns_into_a_link_shows_nothing_from_outside() {
    let folders = Folders::new();
    for path in ["open/turns/file", "closed/file", "closed/secret"] {
        folders.write(path);
    }
    folders.link("closed", "out");
    let [turns, aside, out] = ["open/turns", "aside", "out"].map(|path| folders.at(path));
    let swapping = Meanwhile::start(move || {
        for (from, to) in [
            (&turns, &aside),
            (&out, &turns),
            (&turns, &out),
            (&aside, &turns),
        ] {
            fs::rename(from, to).unwrap();
        }
    });
    let whole = folders.prefix("open").await;
    // It may be made while the folder is a link that leads out.
    let turning = loop {
        let place = format!("file://{}/", folders.at("open/turns").display());
        if let Ok(prefix) = folders.objects().prefix(&place.parse().unwrap()).await {
            break prefix;
        }
    };
    let (mut seen, mut refused) = (0, 0);
    for _ in 0..ROUNDS {
        seen += names(&whole, "").await.unwrap().len();
        seen += names(&whole, "turns").await.unwrap().len();
        match names(&turning, "").await {
            Ok(names) => seen += names.len(),
            Err(error) => {
                assert_eq!(error.fault, InputFault::Denied, "{error}");
                refused += 1;
            }
        }
    }
    drop(swapping);
    assert!(seen > 0 && refused > 0, "{seen} {refused}");
}

#[tokio::test]
async fn a_listing_does_not_go_on_in_what_has_taken_the_place_of_its_folder() {
    let folders = Folders::new();
    for number in 0..1500 {
        folders.write(&format!("open/many/{number:04}"));
        folders.write(&format!("closed/{number:04}"));
    }
    let whole = folders.prefix("open").await;
    let many = folders.prefix("open/many").await;
    let mut listings = [whole.list("").unwrap(), whole.list("many").unwrap()];
    let mut first = Vec::new();
    for listing in listings.iter_mut().chain([&mut many.list("").unwrap()]) {
        first.push(listing.next().await.unwrap().len());
    }
    assert!(
        first.iter().all(|count| (1..1500).contains(count)),
        "{first:?}"
    );
    fs::rename(folders.at("open/many"), folders.at("open/aside")).unwrap();
    folders.link("closed", "open/many");
    for listing in &mut listings {
        let rest = rest(listing).await.unwrap();
        rest.iter().for_each(must_be_open);
        assert!(rest.is_empty(), "{}", rest.len());
    }
    // One that is begun now asks again whether the folder may be read.
    let error = names(&many, "").await.unwrap_err();
    assert_eq!(error.fault, InputFault::Denied, "{error}");
    assert!(!error.for_guest().contains('/'), "{}", error.for_guest());
    fs::remove_file(folders.at("open/many")).unwrap();
    assert_eq!(names(&many, "").await.unwrap(), [""; 0]);
    folders.link("open/aside", "open/many");
    assert_eq!(names(&many, "").await.unwrap().len(), 1500);
}

#[tokio::test]
async fn links_in_a_folder_are_followed_as_far_as_they_stay_in_it() {
    let folders = Folders::new();
    for path in [
        "open/a/file",
        "open/b/c/deep",
        "closed/secret",
        "closed/d/secret",
    ] {
        folders.write(path);
    }
    for (to, from) in [
        ("open/a/file", "open/inner"),
        ("open/b", "open/a/to b"),
        ("open/b", "open/z"),
        ("open/inner", "open/chain"),
        // By a way outside of it, and back.
        ("closed/back", "open/around"),
        ("open/a", "closed/back"),
        // A circle, and what leads back to where it came from.
        ("open/circle", "open/circle"),
        ("open/b", "open/b/c/again"),
        ("open", "open/a/whole"),
        // Nowhere, and out.
        ("open/none", "open/dangling"),
        ("closed/none", "open/dangling out"),
        ("closed/secret", "open/out"),
        ("closed", "open/a/out"),
        ("/dev", "open/devices"),
    ] {
        folders.link(to, from);
    }
    let prefix = folders.prefix("open").await;
    let all = names(&prefix, "").await.unwrap();
    assert_eq!(
        all,
        [
            "a/file",
            "a/to b/c/deep",
            "around/file",
            "around/to b/c/deep",
            "b/c/deep",
            "chain",
            "inner",
            "z/c/deep",
        ]
    );
    assert_eq!(names(&prefix, "z").await.unwrap(), ["z/c/deep"]);
    assert_eq!(names(&prefix, "a/to b/").await.unwrap(), ["a/to b/c/deep"]);
    for nothing in [
        "a/out", "out", "a/out/d", "inner", "dangling", "none", "a/file/x",
    ] {
        assert_eq!(names(&prefix, nothing).await.unwrap(), [""; 0], "{nothing}");
    }
    let error = names(&prefix, "circle").await.unwrap_err();
    assert_eq!(error.fault, InputFault::Unavailable, "{error}");
    // What stays in the folder that may be read, and not in the prefix, is not below it.
    let narrow = folders.prefix("open/a").await;
    assert_eq!(names(&narrow, "").await.unwrap(), ["file"]);
}

#[tokio::test]
async fn what_is_no_file_is_not_listed_and_holds_up_nothing() {
    let folders = Folders::new();
    folders.write("open/sub/file");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, folders.at("open/sub/pipe"), kind, mode, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folders.at("open/sub/socket")).unwrap();
    folders.link("open/sub/pipe", "open/to the pipe");
    let prefix = folders.prefix("open").await;
    assert_eq!(names(&prefix, "").await.unwrap(), ["sub/file"]);
    assert_eq!(names(&prefix, "sub/pipe").await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn folders_above_are_returned_to_and_empty_ones_are_none() {
    let folders = Folders::new();
    for path in [
        "open/a/b/c/1",
        "open/a/b/2",
        "open/a/3",
        "open/4",
        "open/z/5",
    ] {
        folders.write(path);
    }
    fs::create_dir_all(folders.at("open/b/empty/empty")).unwrap();
    let prefix = folders.prefix("open").await;
    assert_eq!(
        names(&prefix, "").await.unwrap(),
        ["4", "a/3", "a/b/2", "a/b/c/1", "z/5"]
    );
}

#[tokio::test]
async fn a_pattern_reads_no_folder_that_a_link_leads_out_to() {
    let folders = Folders::new();
    for path in [
        "open/a/file",
        "open/b/c/file",
        "closed/secret/file",
        "closed/file",
    ] {
        folders.write(path);
    }
    folders.link("open/b", "open/to b");
    assert_eq!(
        folders.matching("open/**/file").await.unwrap(),
        ["open/a/file", "open/b/c/file"]
    );
    assert_eq!(
        folders.matching("open/*/*/fi?e").await.unwrap(),
        ["open/b/c/file", "open/to b/c/file"]
    );
    assert_eq!(
        folders.matching("open/*/c/file").await.unwrap(),
        ["open/b/c/file", "open/to b/c/file"]
    );
    folders.link("closed", "open/out");
    // What is not asked for is not looked at.
    assert_eq!(
        folders.matching("open/**/file").await.unwrap(),
        ["open/a/file", "open/b/c/file"]
    );
    assert_eq!(
        folders.matching("open/[ab]/file").await.unwrap(),
        ["open/a/file"]
    );
    for pattern in [
        "open/*/*",
        "open/*/*/file",
        "open/o*/file",
        "open/o*/secret/*",
    ] {
        let error = folders.matching(pattern).await.unwrap_err();
        assert_eq!(error.fault, InputFault::Denied, "{pattern}: {error}");
        assert!(
            error.message.contains("open/out`") && !error.message.contains("secret"),
            "{pattern}: {error}"
        );
    }
}

#[tokio::test]
async fn patterns_match_the_same_where_all_may_be_read_and_where_some_may() {
    let folders = Folders::new();
    for path in ["open/d/a.txt", "open/e/a.txt", "open/e/f/b.txt"] {
        folders.write(path);
    }
    for (to, from) in [
        (".", "open/d/loop"),
        (".", "open/e/l1"),
        (".", "open/e/l2"),
        ("nowhere", "open/d/dangling.txt"),
        ("../d/a.txt", "open/e/link.txt"),
    ] {
        symlink(to, folders.at(from)).unwrap();
    }
    let some = Files::under(vec![folders.at("open")]);
    for files in [Files::Everywhere, some] {
        let objects = objects(files);
        for (pattern, expected) in [
            ("open/*/a.txt", &["open/d/a.txt", "open/e/a.txt"][..]),
            (
                "open/e/**",
                &["open/e/a.txt", "open/e/f/b.txt", "open/e/link.txt"],
            ),
            (
                "open/e/l1/*.txt",
                &["open/e/l1/a.txt", "open/e/l1/link.txt"],
            ),
            (
                "open/e/l*/l1/a.*",
                &["open/e/l1/l1/a.txt", "open/e/l2/l1/a.txt"],
            ),
            ("open/e/*/b.txt", &["open/e/f/b.txt"]),
            // A link that leads nowhere is a name that matches: its task says what is wrong.
            ("open/d/**/*.txt", &["open/d/a.txt", "open/d/dangling.txt"]),
        ] {
            let found = folders.matching_by(&objects, pattern).await.unwrap();
            assert_eq!(found, expected, "{pattern}");
        }
        let nothing = folders
            .matching_by(&objects, "open/?/x*")
            .await
            .unwrap_err();
        assert_eq!(nothing.fault, InputFault::Missing);
    }
}

#[tokio::test]
async fn what_a_store_has_is_listed_by_whatever_path_its_operator_named() {
    let folders = Folders::new();
    for path in ["open/objects/a/1", "open/objects/2", "open/objects/.tmp-3"] {
        folders.write(path);
    }
    folders.link("open", "alias");
    for path in ["open/objects", "alias/objects"] {
        let place = Location::File(folders.at(path));
        let below = objects(Files::Nowhere).list_below(&place).unwrap();
        let mut entries: Vec<Entry> = below.try_collect().await.unwrap();
        entries.iter().for_each(must_be_open);
        entries.sort_by(|one, two| one.path.cmp(&two.path));
        let names: Vec<&str> = entries.iter().map(|entry| &*entry.path).collect();
        assert_eq!(names, ["2", "a/1"], "{path}");
    }
    let none = Location::File(folders.at("alias/none"));
    let mut none = objects(Files::Nowhere).list_below(&none).unwrap();
    assert!(none.try_next().await.unwrap().is_none());
}
