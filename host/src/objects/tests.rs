//! Objects over real files and the real `object_store`; web servers and S3 are tested end to end, in processes.

use std::fs;
use std::path::Path;

use futures::{StreamExt as _, TryStreamExt as _};
use sortie_protocol::outcome::InputFault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

fn objects() -> Objects {
    Objects::new(Config::default(), Handle::current())
}

async fn open(path: &Path) -> Result<Object, Error> {
    objects().open(&Location::File(path.into()).into(), None).await
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
        objects().open(&Address::parse(&url, Path::new("/")).unwrap(), None).await
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
        let found: Result<Vec<_>, _> = objects().list(pattern, folder.path()).try_collect().await;
        found.map(|found| found.iter().map(|found| found.address.location.name()).collect::<Vec<_>>()).map_err(|error| error.fault)
    };
    assert_eq!(expand("*.pdf").await.unwrap(), ["[e].pdf", "a.pdf", "b.pdf"]);
    assert_eq!(expand("**/*.pdf").await.unwrap(), ["[e].pdf", "a.pdf", "b.pdf", "d.pdf"]);
    assert_eq!(expand("./").await.unwrap(), ["[e].pdf", "a.pdf", "b.pdf", "c.txt", "d.pdf"]);
    assert_eq!(expand("sub/").await.unwrap(), ["d.pdf"]);
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
    let object = objects.open(&Location::File(at("open/file")).into(), None).await.unwrap();
    assert_eq!((object.read(0..9).await.unwrap().as_ref(), object.info().name.as_str()), (b"open".as_slice(), "file"));
    assert_eq!(objects.open(&Location::File(at("closed/file")).into(), None).await.unwrap_err().fault, InputFault::Denied);
    assert_eq!(objects.open(&Location::File(at("open/none")).into(), None).await.unwrap_err().fault, InputFault::Missing);
    let expand = async |pattern: &str| {
        let found: Result<Vec<_>, _> = objects.list(pattern, folder.path()).try_collect().await;
        found.map(|found| found.len()).map_err(|error| error.fault)
    };
    assert_eq!(expand("open/*").await, Ok(1));
    for pattern in ["closed/*", "closed/file", "*/file", "**/file", "closed/none"] {
        assert_eq!(expand(pattern).await, Err(InputFault::Denied), "{pattern}");
    }
    std::os::unix::fs::symlink(at("closed/file"), at("open/link")).unwrap();
    assert_eq!(expand("open/*").await, Err(InputFault::Denied));
}

#[tokio::test]
async fn a_listed_file_is_the_version_that_the_listing_saw() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "first version").unwrap();
    for pattern in ["*", "file"] {
        let Found { address, pin } = objects().list(pattern, folder.path()).next().await.unwrap().unwrap();
        let unpinned = objects().open(&address, None).await.unwrap();
        let pin = pin.unwrap();
        assert_eq!((unpinned.info().etag.as_deref(), unpinned.info().size), (Some(&*pin.etag), pin.size), "{pattern}");
        let object = objects().open(&address, Some(&pin)).await.unwrap();
        assert_eq!(object.read(0..5).await.unwrap(), "first");
    }
    let url = format!("file://{}/*#bytes=6-", folder.path().display());
    let ranged = objects().list(&url, folder.path()).next().await.unwrap().unwrap();
    assert_eq!(objects().open(&ranged.address, ranged.pin.as_ref()).await.unwrap().read(0..9).await.unwrap(), "version");
    fs::write(folder.path().join("other"), "other version").unwrap();
    fs::rename(folder.path().join("other"), &path).unwrap();
    let error = objects().open(&ranged.address, ranged.pin.as_ref()).await.unwrap_err();
    assert_eq!(error.fault, InputFault::Changed);
    assert!(error.message.ends_with("was replaced after it was submitted; submit it again to read what is there now"), "{error}");
}

#[tokio::test]
async fn a_listing_waits_for_whoever_takes_what_it_found() {
    let folder = tempfile::tempdir().unwrap();
    let count = AHEAD_MAX + 500;
    for n in 0..count {
        fs::write(folder.path().join(format!("{n:05}")), "").unwrap();
    }
    let Named::Many(mut listing) = objects().find("*", folder.path()).await.unwrap() else { panic!("a pattern names many") };
    let first = listing.next().await.unwrap().unwrap();
    assert_eq!(first.address.location.name(), "00000");
    // What is not taken is not listed either: the last file is gone before the listing comes to it.
    fs::remove_file(folder.path().join(format!("{:05}", count - 1))).unwrap();
    assert_eq!(listing.count().await, count - 2);
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up() {
    // Says ten bytes, sends three, and keeps quiet.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 2048];
            let read = stream.read(&mut request).await.unwrap_or_default();
            let is_head = request[..read].starts_with(b"HEAD");
            let (status, range) = if is_head { ("200 OK", "") } else { ("206 Partial Content", "Content-Range: bytes 0-9/10\r\n") };
            let date = "Sat, 01 Jan 2000 00:00:00 GMT";
            let head = format!("HTTP/1.1 {status}\r\nETag: \"1\"\r\nLast-Modified: {date}\r\n{range}Content-Length: 10\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            if !is_head {
                let _ = stream.write_all(b"abc").await;
            }
            held.push(stream);
        }
    });
    let patience = Patience { read: Duration::from_millis(50), ..Patience::default() };
    let objects = Objects::new(Config { patience, ..Config::default() }, Handle::current());
    let address = Address::parse(&format!("http://{address}/file"), Path::new("/")).unwrap();
    let object = objects.open(&address, None).await.unwrap();
    let error = object.read(0..10).await.unwrap_err();
    assert_eq!(error.fault, InputFault::Unavailable, "{error}");
    server.abort();
}
