//! Objects over real files and the real `object_store`; web servers and S3 are tested end to end, in processes.

use std::fs;
use std::path::Path;

use sortie_protocol::outcome::InputFault;

use super::*;

fn objects() -> Objects {
    Objects::new(Config::default(), Handle::current())
}

async fn open(path: &Path) -> Result<Object, Error> {
    objects().open(&Location::File(path.into()).into()).await
}

#[tokio::test]
async fn files_with_awkward_names_open_and_read() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["plain.pdf", "with space.pdf", "ümlaut.pdf", "50%25.pdf", "a#b?c.pdf", "[x]*.pdf", "tilde~'\".pdf"] {
        let path = folder.path().join(name);
        fs::write(&path, name).unwrap();
        let object = open(&path).await.unwrap();
        assert_eq!((object.info().name.as_str(), object.info().size), (name, name.len() as u64));
        assert_eq!(object.read(0..u64::MAX).await.unwrap(), name.as_bytes());
    }
}

#[tokio::test]
async fn reads_are_cut_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ten");
    fs::write(&path, "0123456789").unwrap();
    let object = open(&path).await.unwrap();
    for (range, expected) in [(0..4, "0123"), (8..100, "89"), (10..20, ""), (50..60, ""), (3..3, "")] {
        assert_eq!(object.read(range.clone()).await.unwrap(), expected.as_bytes(), "{range:?}");
    }
}

#[tokio::test]
async fn some_bytes_of_a_file_are_an_object() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ten");
    fs::write(&path, "0123456789").unwrap();
    let open = async |range: &str| {
        let url = format!("file://{}#bytes={range}", path.display());
        objects().open(&Address::parse(&url, Path::new("/")).unwrap()).await
    };
    for (range, expected) in [("2-4", "234"), ("8-100", "89"), ("3-", "3456789"), ("-4", "6789"), ("-40", "0123456789")] {
        let object = open(range).await.unwrap();
        assert_eq!((object.info().name.as_str(), object.info().size), ("ten", expected.len() as u64), "{range}");
        assert_eq!(object.read(0..u64::MAX).await.unwrap(), expected.as_bytes(), "{range}");
        assert_eq!(object.read(1..2).await.unwrap(), expected[1..2].as_bytes(), "{range}");
    }
    let error = open("10-20").await.unwrap_err();
    assert_eq!(error.fault, InputFault::Malformed);
    let end = "ten#bytes=10-20` starts behind the end of the object, which has 10 bytes";
    assert!(error.message.ends_with(end), "{error}");
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
    assert_eq!(object.read(0..5).await.unwrap_err().fault, InputFault::Changed);
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let error = open(Path::new("/nonexistent/file.pdf")).await.unwrap_err();
    assert_eq!((error.fault, error.to_string().as_str()), (InputFault::Missing, "there is nothing at `file:///nonexistent/file.pdf`"));
}

#[tokio::test]
async fn patterns_match_files_in_order_and_stay_in_their_segment() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    for name in ["b.pdf", "a.pdf", "c.txt", "sub/d.pdf", "[e].pdf"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    let expand = async |pattern: &str| {
        let found = objects().expand(pattern, folder.path()).await;
        found.map(|found| found.iter().map(|found| found.location.name()).collect::<Vec<_>>()).map_err(|error| error.fault)
    };
    assert_eq!(expand("*.pdf").await.unwrap(), ["[e].pdf", "a.pdf", "b.pdf"]);
    assert_eq!(expand("**/*.pdf").await.unwrap(), ["[e].pdf", "a.pdf", "b.pdf", "d.pdf"]);
    assert_eq!(expand("[e].pdf").await.unwrap(), ["[e].pdf"]);
    assert_eq!(expand("c.txt").await.unwrap(), ["c.txt"]);
    assert_eq!(expand("*.md").await, Err(InputFault::Missing));
    assert_eq!(expand("missing.pdf").await, Err(InputFault::Missing));
    assert_eq!(expand("sub").await, Err(InputFault::Malformed));
    assert_eq!(expand("a[").await, Err(InputFault::Malformed));
}

#[tokio::test]
async fn files_outside_of_the_named_folders_are_neither_opened_nor_listed() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["open", "closed"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("file"), name).unwrap();
    }
    let files = Files::under(vec![folder.path().join("open")]);
    let objects = Objects::new(Config { files, ..Config::default() }, Handle::current());
    let at = |path: &str| folder.path().join(path);
    let object = objects.open(&Location::File(at("open/file")).into()).await.unwrap();
    assert_eq!((object.read(0..9).await.unwrap().as_ref(), object.info().name.as_str()), (b"open".as_slice(), "file"));
    assert_eq!(objects.open(&Location::File(at("closed/file")).into()).await.unwrap_err().fault, InputFault::Denied);
    assert_eq!(objects.open(&Location::File(at("open/none")).into()).await.unwrap_err().fault, InputFault::Missing);
    let expand = async |pattern: &str| objects.expand(pattern, folder.path()).await.map(|found| found.len()).map_err(|error| error.fault);
    assert_eq!(expand("open/*").await, Ok(1));
    for pattern in ["closed/*", "closed/file", "*/file", "**/file", "closed/none"] {
        assert_eq!(expand(pattern).await, Err(InputFault::Denied), "{pattern}");
    }
    std::os::unix::fs::symlink(at("closed/file"), at("open/link")).unwrap();
    assert_eq!(expand("open/*").await, Err(InputFault::Denied));
}
