//! Objects over real files; web servers and S3 are tested end to end,
//! in processes.

use std::fs;
use std::path::Path;

use futures::TryStreamExt as _;
use sortie_protocol::Pin;
use sortie_protocol::outcome::InputFault;

use tokio::runtime::Handle;

use super::*;

fn objects() -> Objects {
    Objects::new(Config::default(), Handle::current())
}

async fn open(path: &Path) -> Result<Object, Error> {
    objects()
        .open(
            &Address::parse(path.to_str().unwrap(), Path::new("/")).unwrap(),
            None,
        )
        .await
}

#[tokio::test]
async fn files_with_awkward_names_open_and_read() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "plain.pdf",
        "with space.pdf",
        "ümlaut.pdf",
        "50%25.pdf",
        "a#b?c.pdf",
        "[x]*.pdf",
        "tilde~'\".pdf",
    ] {
        let path = folder.path().join(name);
        fs::write(&path, name).unwrap();
        let object = open(&path).await.unwrap();
        assert_eq!(
            (object.info().name.as_str(), object.info().size),
            (name, name.len() as u64)
        );
        assert_eq!(object.read(0..u64::MAX).await.unwrap(), name.as_bytes());
    }
}

#[tokio::test]
async fn reads_are_cut_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ten");
    fs::write(&path, "0123456789").unwrap();
    let object = open(&path).await.unwrap();
    for (range, expected) in [
        (0..4, "0123"),
        (8..100, "89"),
        (10..20, ""),
        (50..60, ""),
        (3..3, ""),
    ] {
        assert_eq!(
            object.read(range.clone()).await.unwrap(),
            expected.as_bytes(),
            "{range:?}"
        );
    }
}

#[tokio::test]
async fn an_empty_file_is_an_object() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty");
    fs::write(&path, "").unwrap();
    assert_eq!(open(&path).await.unwrap().read(0..10).await.unwrap(), "");
}

#[tokio::test]
async fn a_replaced_file_is_never_mixed_with_what_was_read_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "first version").unwrap();
    let object = open(&path).await.unwrap();
    fs::write(folder.path().join("other"), "other version").unwrap();
    fs::rename(folder.path().join("other"), &path).unwrap();
    assert_eq!(
        object.read(0..5).await.unwrap_err().fault,
        InputFault::Changed
    );
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let error = open(Path::new("/nonexistent/file.pdf")).await.unwrap_err();
    assert_eq!(
        (error.fault, error.to_string().as_str()),
        (
            InputFault::Missing,
            "there is nothing at `file:///nonexistent/file.pdf`"
        )
    );
}

#[tokio::test]
async fn patterns_match_files_in_order_and_stay_in_their_segment() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    for name in ["b.pdf", "a.pdf", "c.txt", "sub/d.pdf", "[e].pdf"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    let expand = async |pattern: &str| {
        let found: Result<Vec<Found>, Error> =
            objects().list(pattern, folder.path()).try_collect().await;
        found
            .map(|found| {
                found
                    .iter()
                    .map(|found| found.address.location.name())
                    .collect::<Vec<_>>()
            })
            .map_err(|error| error.fault)
    };
    assert_eq!(
        expand("*.pdf").await.unwrap(),
        ["[e].pdf", "a.pdf", "b.pdf"]
    );
    assert_eq!(
        expand("**/*.pdf").await.unwrap(),
        ["[e].pdf", "a.pdf", "b.pdf", "d.pdf"]
    );
    // Names that begin with a dot match. A link to a folder is entered where a segment names it,
    // and not by `**`, which would find a file twice.
    fs::write(folder.path().join("sub/.hidden.pdf"), "").unwrap();
    std::os::unix::fs::symlink(folder.path().join("sub"), folder.path().join("link")).unwrap();
    assert_eq!(
        expand("*/*.pdf").await.unwrap(),
        [".hidden.pdf", "d.pdf", ".hidden.pdf", "d.pdf"]
    );
    assert_eq!(expand("sub/**").await.unwrap(), [".hidden.pdf", "d.pdf"]);
    let all = ["[e].pdf", "a.pdf", "b.pdf", ".hidden.pdf", "d.pdf"];
    assert_eq!(expand("**/*.pdf").await.unwrap(), all);
    fs::remove_file(folder.path().join("link")).unwrap();
    fs::remove_file(folder.path().join("sub/.hidden.pdf")).unwrap();
    assert_eq!(expand("[e].pdf").await.unwrap(), ["[e].pdf"]);
    assert_eq!(expand("c.txt").await.unwrap(), ["c.txt"]);
    assert_eq!(expand("*.md").await, Err(InputFault::Missing));
    assert_eq!(expand("missing.pdf").await, Err(InputFault::Missing));
    assert_eq!(expand("sub").await, Err(InputFault::Malformed));
    assert_eq!(expand("a[").await, Err(InputFault::Malformed));
}

#[tokio::test]
async fn a_walk_through_folders_is_not_far_ahead_of_who_takes_what_it_finds() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    for number in 0..3000 {
        fs::write(folder.path().join(format!("a/{number:04}")), "").unwrap();
    }
    let mut found = objects().list("*/*", folder.path());
    let first = found.try_next().await.unwrap().unwrap();
    assert_eq!(first.address.location.name(), "0000");
    // The walk cannot have got this far.
    fs::write(folder.path().join("b/late"), "").unwrap();
    let rest: Vec<Found> = found.try_collect().await.unwrap();
    let names: Vec<_> = rest
        .iter()
        .map(|found| found.address.location.name())
        .collect();
    assert_eq!(
        (
            names.len(),
            names.is_sorted(),
            names.last().map(String::as_str)
        ),
        (3000, true, Some("late"))
    );
}

#[tokio::test]
async fn files_outside_of_the_named_folders_are_neither_opened_nor_listed() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["open", "closed"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("file"), name).unwrap();
    }
    let files = Files::under(vec![folder.path().join("open")]);
    let objects = Objects::new(
        Config {
            files,
            ..Config::default()
        },
        Handle::current(),
    );
    let at = |path: &str| folder.path().join(path);
    let object = objects
        .open(&Location::File(at("open/file")).into(), None)
        .await
        .unwrap();
    assert_eq!(
        (
            object.read(0..9).await.unwrap().as_ref(),
            object.info().name.as_str()
        ),
        (b"open".as_slice(), "file")
    );
    assert_eq!(
        objects
            .open(&Location::File(at("closed/file")).into(), None)
            .await
            .unwrap_err()
            .fault,
        InputFault::Denied
    );
    assert_eq!(
        objects
            .open(&Location::File(at("open/none")).into(), None)
            .await
            .unwrap_err()
            .fault,
        InputFault::Missing
    );
    let expand = async |pattern: &str| {
        let found: Result<Vec<Found>, Error> =
            objects.list(pattern, folder.path()).try_collect().await;
        found.map(|found| found.len()).map_err(|error| error.fault)
    };
    assert_eq!(expand("open/*").await, Ok(1));
    for pattern in [
        "closed/*",
        "closed/file",
        "*/file",
        "**/file",
        "closed/none",
    ] {
        assert_eq!(expand(pattern).await, Err(InputFault::Denied), "{pattern}");
    }
    std::os::unix::fs::symlink(at("closed/file"), at("open/link")).unwrap();
    assert_eq!(expand("open/*").await, Err(InputFault::Denied));
}

#[tokio::test]
async fn links_that_are_swapped_while_a_name_is_opened_lead_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    for name in ["open/real", "closed"] {
        fs::create_dir_all(at(name)).unwrap();
        fs::write(at(name).join("file"), name).unwrap();
    }
    let files = Files::under(vec![at("open")]);
    let objects = Objects::new(
        Config {
            files,
            ..Config::default()
        },
        Handle::current(),
    );
    let prefix = format!("file://{}/", at("open").display());
    let prefix = objects.prefix(&prefix.parse().unwrap()).await.unwrap();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (over, swapped, one, two) = (done.clone(), at("open/way"), at("open/real"), at("closed"));
    let swapping = std::thread::spawn(move || {
        let next = swapped.with_extension("next");
        while !over.load(std::sync::atomic::Ordering::Relaxed) {
            for target in [&one, &two] {
                std::os::unix::fs::symlink(target, &next).unwrap();
                fs::rename(&next, &swapped).unwrap();
            }
        }
    });
    let mut opened = 0;
    for _ in 0..2000 {
        let address = Location::File(at("open/way/file")).into();
        let named = objects.open(&address, None);
        for object in [named.await, prefix.open("way/file").await]
            .into_iter()
            .flatten()
        {
            if let Ok(bytes) = object.read(0..100).await {
                assert_eq!(bytes, "open/real");
                opened += 1;
            }
        }
        let mut listing = prefix.list("way").unwrap();
        while let Ok(entries) = listing.next().await
            && !entries.is_empty()
        {
            assert!(entries.iter().all(|entry| entry.path == "way/file"));
        }
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    swapping.join().unwrap();
    assert!(opened > 0);
}

#[tokio::test]
async fn listings_that_nobody_takes_hold_up_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..3000 {
        fs::write(folder.path().join(number.to_string()), "x").unwrap();
    }
    let objects = objects();
    let place: Place = format!("file://{}/", folder.path().display())
        .parse()
        .unwrap();
    let prefix = objects.prefix(&place).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..600 {
        let mut listing = prefix.list("").unwrap();
        assert!(!listing.next().await.unwrap().is_empty());
        open.push(listing);
    }
    let object = prefix.open("7").await.unwrap();
    assert_eq!(object.read(0..9).await.unwrap(), "x");
}

#[tokio::test]
async fn what_is_no_regular_file_below_an_allowed_folder_is_one_error() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
    std::os::unix::fs::symlink("circle", folder.path().join("circle")).unwrap();
    let files = Files::under(vec![folder.path().to_owned()]);
    let objects = Objects::new(
        Config {
            files,
            ..Config::default()
        },
        Handle::current(),
    );
    let place: Place = format!("file://{}/", folder.path().display())
        .parse()
        .unwrap();
    let prefix = objects.prefix(&place).await.unwrap();
    for name in ["pipe", "circle"] {
        let address = Location::File(folder.path().join(name)).into();
        for error in [
            objects.open(&address, None).await.unwrap_err(),
            prefix.open(name).await.unwrap_err(),
        ] {
            assert_eq!(error.fault, InputFault::Malformed, "{error}");
            assert!(error.message.contains(name) && !error.for_guest().contains('/'));
        }
    }
}

#[tokio::test]
async fn a_function_is_not_told_where_an_object_is() {
    let objects = objects();
    for url in ["file:///nonexistent/secret/", "https://127.0.0.1:1/secret/"] {
        let place: Place = url.parse().unwrap();
        let prefix = objects.prefix(&place).await.unwrap();
        let error = prefix.open("../name").await.unwrap_err();
        assert!(
            error.for_guest().contains("`../name`"),
            "{}",
            error.for_guest()
        );
        assert!(!error.for_guest().contains("secret"));
    }
    let error = open(Path::new("/nonexistent/secret")).await.unwrap_err();
    assert_eq!(error.for_guest(), "there is no such object");
    let message = "`s3://secret/key` may not be written to";
    let error = WriteError::new(WriteFault::Denied, message);
    assert!(!error.for_guest().contains("secret"));
}

#[tokio::test]
async fn a_stretch_of_a_file_is_an_object_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ten");
    fs::write(&path, "0123456789").unwrap();
    let open = async |range: &str| {
        let address = Address::parse(
            &format!("file://{}#bytes={range}", path.display()),
            Path::new("/"),
        )
        .unwrap();
        objects().open(&address, None).await
    };
    for (range, content) in [("2-4", "234"), ("7-", "789"), ("-2", "89"), ("8-100", "89")] {
        let object = open(range).await.unwrap();
        assert_eq!(
            (
                object.info().size,
                object.read(0..u64::MAX).await.unwrap().as_ref()
            ),
            (content.len() as u64, content.as_bytes()),
            "{range}"
        );
        assert_eq!(object.read(1..2).await.unwrap(), content.as_bytes()[1..2]);
    }
    let error = open("10-").await.unwrap_err();
    assert!(
        error.fault == InputFault::Malformed && error.message.contains("the object has 10"),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_that_is_not_the_pinned_version_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "one").unwrap();
    let address = Address::from(Location::File(path));
    let etag = objects()
        .open(&address, None)
        .await
        .unwrap()
        .info()
        .etag
        .clone()
        .unwrap();
    let pin = |etag: &str| Pin {
        etag: etag.into(),
        size: 3,
    };
    assert!(objects().open(&address, Some(&pin(&etag))).await.is_ok());
    assert_eq!(
        objects()
            .open(&address, Some(&pin("another")))
            .await
            .unwrap_err()
            .fault,
        InputFault::Changed
    );
}
