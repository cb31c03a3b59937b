//! Objects are written, listed and removed, in a folder and in a bucket, by the same checks.

use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt as _;
use sortie::objects::{
    Config, Files, Location, Objects, PART_BYTES, S3, S3Credentials, WriteFault,
};
use sortie_harness::S3Server;
use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};

/// Where objects are written.
struct Place {
    objects: Objects,
    root: Location,
    /// The folder that holds everything, also what a server keeps beside its objects.
    folder: TempDir,
    _server: Option<S3Server>,
}

fn objects(s3: S3, io: &Handle) -> Objects {
    // Which files tasks may read is another matter than where the host writes.
    Objects::new(
        Config {
            s3,
            files: Files::Nowhere,
            ..Config::default()
        },
        io.clone(),
    )
}

fn through(server: &S3Server, secret: &str, io: &Handle) -> Objects {
    let credentials = S3Credentials::Keys {
        id: S3Server::KEYS.0.into(),
        secret: secret.into(),
        token: None,
    };
    objects(
        S3 {
            endpoint: Some(server.endpoint()),
            credentials,
            ..S3::default()
        },
        io,
    )
}

impl Place {
    fn folder(io: &Handle) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Made when something is written.
        let root = Location::File(folder.path().join("not yet/there"));
        Self {
            objects: objects(S3::default(), io),
            root,
            folder,
            _server: None,
        }
    }

    fn bucket(io: &Handle) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bucket")).unwrap();
        let server = S3Server::start(folder.path());
        let root = Location::parse("s3://bucket/below", Path::new("/")).unwrap();
        Self {
            objects: through(&server, S3Server::KEYS.1, io),
            root,
            folder,
            _server: Some(server),
        }
    }

    fn at(&self, path: &str) -> Location {
        self.root.below(path)
    }

    async fn get(&self, path: &str) -> Option<Vec<u8>> {
        self.objects
            .get_small(&self.at(path), 1 << 30)
            .await
            .unwrap()
            .map(Vec::from)
    }

    async fn listed(&self, path: &str) -> Vec<(String, u64)> {
        let entries = self.objects.list_below(&self.at(path)).unwrap();
        let mut found: Vec<_> = entries
            .map_ok(|entry| (entry.path, entry.size))
            .try_collect()
            .await
            .unwrap();
        found.sort();
        found
    }

    /// Names of files anywhere in the folder.
    fn files(&self) -> Vec<String> {
        fn below(folder: &Path, names: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder)
                .into_iter()
                .flatten()
                .map(Result::unwrap)
            {
                if entry.path().is_dir() {
                    below(&entry.path(), names)
                } else {
                    names.push(entry.file_name().to_string_lossy().into())
                }
            }
        }
        let mut names = Vec::new();
        below(self.folder.path(), &mut names);
        names
    }
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

async fn check(place: &Place) {
    let Place { objects, .. } = place;
    // Whole.
    assert_eq!(place.get("a").await, None);
    assert_eq!(place.listed("").await, []);
    objects.remove(&place.at("a")).await.unwrap();
    for content in ["first", "", "second, and longer"] {
        objects
            .put(&place.at("a"), content.into(), Some("text/plain"))
            .await
            .unwrap();
        assert_eq!(place.get("a").await.unwrap(), content.as_bytes());
        assert_eq!(
            objects.size(&place.at("a")).await.unwrap(),
            Some(content.len() as u64)
        );
    }
    assert!(
        objects
            .get_small(&place.at("a"), 3)
            .await
            .unwrap_err()
            .message
            .contains("more than the 3 bytes")
    );
    // As a stream, of a size below, at and above that of parts.
    for size in [0, 1000, PART_BYTES, 3 * PART_BYTES + 5] {
        let data = pattern(size);
        for begins in [false, true] {
            let mut upload = objects.upload(&place.at("deep/er/b c+%ü"), None).unwrap();
            if begins {
                upload.begin().await.unwrap();
            }
            for chunk in data.chunks(777_777) {
                upload.write(chunk).await.unwrap();
            }
            upload.finish().await.unwrap();
            assert!(place.get("deep/er/b c+%ü").await.unwrap() == data, "{size}");
        }
    }
    let size = 3 * PART_BYTES as u64 + 5;
    assert_eq!(
        place.listed("").await,
        [("a".into(), 18), ("deep/er/b c+%ü".into(), size)]
    );
    assert_eq!(place.listed("deep").await, [("er/b c+%ü".into(), size)]);
    assert_eq!(place.listed("dee").await, []);
    // Given another name.
    objects
        .rename(&place.at("a"), &place.at("deep/c"))
        .await
        .unwrap();
    assert_eq!(
        (place.get("a").await, place.get("deep/c").await),
        (None, Some(b"second, and longer".into()))
    );
    for path in ["deep/c", "deep/er/b c+%ü"] {
        objects.remove(&place.at(path)).await.unwrap();
    }
    assert_eq!(place.listed("").await, []);
}

#[test]
fn a_folder_takes_objects_of_every_size() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(check(&Place::folder(runtime.handle())));
}

#[test]
fn a_bucket_takes_objects_of_every_size() {
    let runtime = Runtime::new().unwrap();
    // A server ends outside of the runtime.
    let place = Place::bucket(runtime.handle());
    runtime.block_on(check(&place));
}

#[test]
fn an_upload_that_is_dropped_leaves_what_was_there_and_nothing_else() {
    let runtime = Runtime::new().unwrap();
    let places = [
        Place::folder(runtime.handle()),
        Place::bucket(runtime.handle()),
    ];
    runtime.block_on(dropped(&places));
}

async fn dropped(places: &[Place]) {
    for place in places {
        place
            .objects
            .put(&place.at("a"), "before".into(), None)
            .await
            .unwrap();
        let before = place.files();
        let mut upload = place.objects.upload(&place.at("a"), None).unwrap();
        upload.write(&pattern(3 * PART_BYTES)).await.unwrap();
        assert_ne!(place.files(), before);
        drop(upload);
        let given_up = async {
            // What is given up in the background has no handle to wait for.
            while place
                .files()
                .iter()
                .any(|name| name.contains('#') || name.contains("part-"))
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let ended = tokio::time::timeout(sortie_harness::patience(), given_up).await;
        assert!(ended.is_ok(), "{:?}", place.files());
        assert_eq!(place.get("a").await.unwrap(), b"before");
        let mut upload = place.objects.upload(&place.at("a"), None).unwrap();
        upload.write(&pattern(2 * PART_BYTES)).await.unwrap();
        upload.abort().await;
        assert_eq!(place.get("a").await.unwrap(), b"before");
    }
}

#[test]
fn a_place_that_cannot_be_written_to_is_named_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("bucket")).unwrap();
    let (server, read_only) = (
        S3Server::start(folder.path()),
        S3Server::start_read_only(folder.path()),
    );
    let runtime = Runtime::new().unwrap();
    let io = runtime.handle();
    let denied = [
        through(&server, "wrong-secret", io),
        through(&read_only, S3Server::KEYS.1, io),
    ];
    runtime.block_on(refused(folder.path(), denied, objects(S3::default(), io)));
}

async fn refused(folder: &Path, denied: [Objects; 2], objects: Objects) {
    let location = Location::parse("s3://bucket/deep/key", Path::new("/")).unwrap();
    for objects in denied {
        let mut upload = objects.upload(&location, None).unwrap();
        let error = upload.begin().await.unwrap_err();
        assert_eq!(error.fault, WriteFault::Denied, "{error}");
        assert!(
            error.message.contains("`s3://bucket/deep/key`")
                && error.message.contains("credentials"),
            "{error}"
        );
        assert!(!error.message.contains("wrong-secret"), "{error}");
        assert_eq!(upload.write(b"x").await.unwrap_err(), error);
        assert_eq!(upload.finish().await.unwrap_err(), error);
        assert_eq!(
            objects
                .put(&location, "x".into(), None)
                .await
                .unwrap_err()
                .fault,
            WriteFault::Denied
        );
    }
    std::fs::write(folder.join("file"), "").unwrap();
    let within = Location::File(folder.join("file/below"));
    let error = objects.put(&within, "x".into(), None).await.unwrap_err();
    assert!(
        error.message.contains("a part of its path is a file"),
        "{error}"
    );
    let error = objects
        .put(&Location::File(folder.join("bucket")), "x".into(), None)
        .await
        .unwrap_err();
    assert!(error.message.contains("is a folder"), "{error}");
    let web = Location::parse(
        "https://user:secret@example.org/a?token=secret",
        Path::new("/"),
    )
    .unwrap();
    let error = objects.upload(&web, None).unwrap_err();
    assert_eq!(error.fault, WriteFault::NoPlace);
    assert!(
        error.message.contains("web server") && !error.message.contains("secret"),
        "{error}"
    );
}
