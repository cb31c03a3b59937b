//! Reading over a network: which requests readers of all kinds make.
//!
//! The store is an HTTP server that checks signatures, behind a proxy that counts requests and
//! bytes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt as _;
use futures::future::join_all;
use sortie_harness::{Link, Operation, S3Server, StoreProxy, until};
use sortie_objects::{
    Access, Address, BLOCK_BYTES, Config, Cursor, DISK_READ_TIME_MAX, Disk, DiskMetrics, Object,
    Objects, Prefetch, S3, S3Credentials,
};
use sortie_protocol::ByteSize;
use sortie_protocol::outcome::InputFault;
use tempfile::TempDir;
use tokio::runtime::Handle;

const MIB: u64 = 1 << 20;

/// A bucket with an object `large` behind a proxy.
struct Store {
    folder: TempDir,
    _server: S3Server,
    proxy: StoreProxy,
}

impl Store {
    /// A store with an object of `bytes`, behind a link of this speed.
    fn with(bytes: u64, link: Link) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bucket")).unwrap();
        std::fs::write(folder.path().join("bucket/large"), content(0..bytes)).unwrap();
        let server = S3Server::start(folder.path());
        let proxy = StoreProxy::start(server.address(), link);
        Self {
            folder,
            _server: server,
            proxy,
        }
    }

    fn objects(&self, memory: u64, prefetch: Prefetch) -> Objects {
        Objects::new(
            Config {
                memory: ByteSize(memory),
                prefetch,
                ..self.config()
            },
            Handle::current(),
        )
    }

    /// Objects with a disk cache of at most so many bytes.
    fn objects_on(&self, folder: &Path, bytes_max: u64) -> Objects {
        let disk = Disk {
            folder: folder.to_owned(),
            bytes_max: ByteSize(bytes_max),
        };
        Objects::new(
            Config {
                disk: Some(disk),
                ..self.config()
            },
            Handle::current(),
        )
    }

    fn config(&self) -> Config {
        let (id, secret) = S3Server::KEYS;
        let s3 = S3 {
            endpoint: Some(self.proxy.endpoint()),
            credentials: S3Credentials::Keys {
                id: id.into(),
                secret: secret.into(),
                token: None,
            },
            ..S3::default()
        };
        Config {
            s3,
            ..Config::default()
        }
    }

    /// Requests and bytes so far.
    fn passed(&self) -> (u64, u64) {
        let counts = self
            .proxy
            .counts()
            .objects
            .get("bucket/large")
            .copied()
            .unwrap_or_default();
        (counts.gets, counts.body_bytes)
    }

    /// Wait until the condition holds.
    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        until(what, || holds(self)).await;
    }
}

/// Content in which each four bytes encode their position.
fn content(range: std::ops::Range<u64>) -> Vec<u8> {
    (range.start / 4..range.end.div_ceil(4))
        .flat_map(|word| {
            u32::try_from(word)
                .unwrap()
                .wrapping_mul(2_654_435_761)
                .to_le_bytes()
        })
        .collect()
}

async fn open(objects: &Objects) -> Object {
    objects
        .open(
            &Address::parse("s3://bucket/large", Path::new("/")).unwrap(),
            None,
        )
        .await
        .unwrap()
}

/// Read the whole object sequentially, and check its content.
async fn scan(object: Object, step: u64) {
    let size = object.info().size;
    let mut cursor = Cursor::new(object, Access::Sequential);
    let mut offset = 0;
    while offset < size {
        let bytes = cursor.read(offset, step).await.unwrap();
        assert!(
            !bytes.is_empty() && bytes == content(offset..offset + bytes.len() as u64),
            "at {offset}"
        );
        offset += bytes.len() as u64;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_of_one_object_fetch_each_byte_once() {
    let store = Store::with(
        20 * MIB + 100,
        Link {
            latency: Duration::from_millis(5),
            ..Link::default()
        },
    );
    let objects = store.objects(128 * MIB, Prefetch::On);
    join_all((0..40).map(|reader| {
        let objects = objects.clone();
        // Each with its own step size, so that they are at different positions.
        tokio::spawn(async move { scan(open(&objects).await, 64 * 1024 * (1 + reader % 16)).await })
    }))
    .await
    .into_iter()
    .for_each(Result::unwrap);
    assert_eq!(store.passed().1, 20 * MIB + 100);
    assert_eq!(objects.metrics().fetched_bytes_total, 20 * MIB + 100);
    assert_eq!(objects.metrics().block_misses_total, 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_in_order_has_several_requests_side_by_side() {
    // Far less than this machine reads, however busy it is: then several requests are worth while.
    let bandwidth = NonZeroU64::new(4_000_000);
    let store = Store::with(
        32 * MIB,
        Link {
            latency: Duration::from_millis(20),
            bytes_per_second: bandwidth,
        },
    );
    scan(
        open(&store.objects(128 * MIB, Prefetch::On)).await,
        256 * 1024,
    )
    .await;
    let (requests, bytes) = store.passed();
    assert_eq!(bytes, 32 * MIB);
    assert!(
        store.proxy.counts().connections_max >= 3,
        "{:?}",
        store.proxy.counts()
    );
    // Few requests: 8 MiB each, once the read-ahead has grown. How soon that is follows from how
    // fast this machine reads.
    assert!(requests <= 32 * MIB / BLOCK_BYTES / 2, "{requests}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_prefetch_nothing_comes_before_it_is_asked_for() {
    let store = Store::with(8 * MIB, Link::default());
    let objects = store.objects(128 * MIB, Prefetch::Off);
    let mut object = open(&objects).await;
    object.prefetch().await.unwrap();
    let mut cursor = Cursor::new(object, Access::Sequential);
    cursor.read(0, MIB).await.unwrap();
    assert_eq!(store.passed(), (1, BLOCK_BYTES));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_at_the_end_fetches_one_block_and_looks_around_it_fetch_nothing() {
    let store = Store::with(64 * MIB, Link::default());
    let object = open(&store.objects(128 * MIB, Prefetch::On)).await;
    let mut cursor = Cursor::new(object, Access::Random);
    for offset in [
        64 * MIB - 22,
        63 * MIB + 7,
        64 * MIB - 1000,
        63 * MIB,
        64 * MIB - 5,
    ] {
        let bytes = cursor.read(offset, 4).await.unwrap();
        let word = offset / 4 * 4;
        assert_eq!(
            bytes,
            content(word..word + 8)[(offset % 4) as usize..][..bytes.len()],
            "at {offset}"
        );
    }
    assert_eq!(store.passed(), (1, BLOCK_BYTES));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_prefetched_is_read_without_a_request() {
    let store = Store::with(3 * MIB, Link::default());
    let mut object = open(&store.objects(128 * MIB, Prefetch::On)).await;
    object.prefetch().await.unwrap();
    object.prefetched().await.unwrap();
    assert!(object.is_prefetched());
    assert_eq!(store.passed(), (1, 3 * MIB));
    scan(object, 100_000).await;
    assert_eq!(store.passed(), (1, 3 * MIB));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_budget_costs_requests_and_never_bytes_that_are_wrong_or_missing() {
    let store = Store::with(24 * MIB, Link::default());
    let objects = store.objects(4 * MIB, Prefetch::On);
    // More readers than the budget has blocks.
    join_all((0..8).map(|_| {
        let objects = objects.clone();
        tokio::spawn(async move { scan(open(&objects).await, MIB).await })
    }))
    .await
    .into_iter()
    .for_each(Result::unwrap);
    let metrics = objects.metrics();
    assert!(metrics.block_held_bytes <= 2 * MIB, "{metrics:?}");
    assert!(metrics.block_evictions_total > 0, "{metrics:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_goes_away_ends_its_requests() {
    let bandwidth = NonZeroU64::new(2_000_000);
    let store = Store::with(
        64 * MIB,
        Link {
            latency: Duration::ZERO,
            bytes_per_second: bandwidth,
        },
    );
    let objects = store.objects(128 * MIB, Prefetch::On);
    let mut object = open(&objects).await;
    let reading = tokio::spawn(async move { object.prefetch().await });
    store
        .until("a part of the object comes", |store| store.passed().1 > 0)
        .await;
    reading.abort();
    store
        .until("the connection ends", |store| {
            store.proxy.counts().connections == 0
        })
        .await;
    assert!(store.passed().1 < 4 * MIB, "{:?}", store.passed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_was_replaced_is_never_mixed_with_what_was_read_before() {
    let store = Store::with(4 * MIB, Link::default());
    let objects = store.objects(128 * MIB, Prefetch::Off);
    let before = open(&objects).await;
    let mut cursor = Cursor::new(before.clone(), Access::Random);
    assert_eq!(cursor.read(0, 8).await.unwrap(), content(0..8));
    std::fs::write(store.folder.path().join("bucket/large"), vec![7; 4 << 20]).unwrap();
    assert_eq!(
        cursor.read(2 * MIB, 8).await.unwrap_err().fault,
        InputFault::Changed
    );
    // Blocks read before are still available, and a new task sees only the new version.
    assert_eq!(before.read(0..8).await.unwrap(), content(0..8));
    assert_eq!(open(&objects).await.read(0..8).await.unwrap(), vec![7; 8]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_failed_is_asked_for_again_by_the_next_read() {
    let store = Store::with(2 * MIB, Link::default());
    let objects = store.objects(128 * MIB, Prefetch::On);
    let mut cursor = Cursor::new(open(&objects).await, Access::Sequential);
    store
        .proxy
        .add(sortie_harness::Fault::AccessDenied.on(Operation::Get, "large"));
    assert_eq!(
        cursor.read(0, 8).await.unwrap_err().fault,
        InputFault::Denied
    );
    store.proxy.clear();
    assert_eq!(cursor.read(0, 8).await.unwrap(), content(0..8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stretch_of_an_object_shares_its_blocks_and_is_no_more_than_that() {
    let store = Store::with(4 * MIB, Link::default());
    let objects = store.objects(128 * MIB, Prefetch::On);
    let stretch = async |range: &str| {
        let address =
            Address::parse(&format!("s3://bucket/large#bytes={range}"), Path::new("/")).unwrap();
        objects.open(&address, None).await.unwrap()
    };
    let mut first = stretch("1048572-2097155").await;
    first.prefetch().await.unwrap();
    assert_eq!(first.info().size, MIB + 8);
    assert_eq!(
        first.read(0..u64::MAX).await.unwrap(),
        content(MIB - 4..2 * MIB + 4)
    );
    // Only blocks 0 to 2.
    assert_eq!(store.passed(), (1, 3 * MIB));
    assert_eq!(
        stretch("8-15").await.read(0..100).await.unwrap(),
        content(8..16)
    );
    assert_eq!(store.passed(), (1, 3 * MIB));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_whose_version_is_known_is_not_asked_about() {
    let store = Store::with(MIB, Link::default());
    let objects = store.objects(128 * MIB, Prefetch::On);
    let found: Vec<_> = objects
        .list("s3://bucket/l*", Path::new("/"))
        .try_collect()
        .await
        .unwrap();
    let [found] = &*found else {
        panic!("{found:?}")
    };
    let object = objects
        .open(&found.address, found.pin.as_ref())
        .await
        .unwrap();
    assert_eq!(object.read(0..8).await.unwrap(), content(0..8));
    let counts = store.proxy.counts();
    // One asks whether an object has the pattern for its name.
    assert_eq!(
        (counts.requests, counts.objects["bucket/large"].heads),
        (3, 0),
        "{counts:?}"
    );
}

/// A link that a disk can keep up with.
fn line() -> Link {
    Link {
        latency: Duration::from_millis(5),
        bytes_per_second: NonZeroU64::new(100_000_000),
    }
}

/// The files of blocks below a folder.
fn blocks(folder: &Path) -> Vec<std::path::PathBuf> {
    let folders = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir());
    folders
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect()
}

/// Read all of `large` as a separate process would, and wait until its blocks are on disk.
async fn scan_as_a_process(store: &Store, folder: &Path) -> DiskMetrics {
    let objects = store.objects_on(folder, 1 << 30);
    scan(open(&objects).await, 256 * 1024).await;
    objects.flush_disk().await;
    objects.metrics().disk.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_fetched_another_has_on_disk() {
    let store = Store::with(20 * MIB + 100, line());
    let disk = tempfile::tempdir().unwrap();
    let first = scan_as_a_process(&store, disk.path()).await;
    assert_eq!(
        (
            first.misses_total,
            first.written_bytes_total,
            first.skipped_total
        ),
        (21, 20 * MIB + 100, 0)
    );
    let passed = store.passed();
    let second = scan_as_a_process(&store, disk.path()).await;
    assert_eq!(store.passed(), passed);
    assert_eq!(
        (
            second.hits_total,
            second.read_bytes_total,
            second.misses_total
        ),
        (21, 20 * MIB + 100, 0)
    );
    assert_eq!(second.written_bytes_total, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_not_on_disk_is_fetched() {
    let store = Store::with(20 * MIB, line());
    let disk = tempfile::tempdir().unwrap();
    scan_as_a_process(&store, disk.path()).await;
    // Some are gone, some were cut short by a crash, some are damaged.
    for (number, file) in blocks(disk.path()).iter().enumerate() {
        match number % 5 {
            0 => std::fs::remove_file(file).unwrap(),
            1 => std::fs::File::options()
                .write(true)
                .open(file)
                .unwrap()
                .set_len(number as u64 * 50_000)
                .unwrap(),
            2 => {
                let mut bytes = std::fs::read(file).unwrap();
                bytes[number * 40_000] ^= 1;
                std::fs::write(file, bytes).unwrap();
            }
            _ => {}
        }
    }
    let before = store.passed().1;
    let again = scan_as_a_process(&store, disk.path()).await;
    assert_eq!((again.hits_total, again.misses_total), (8, 12));
    assert_eq!(store.passed().1 - before, 12 * MIB);
    // And they are there again.
    let before = store.passed();
    scan_as_a_process(&store, disk.path()).await;
    assert_eq!(store.passed(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_version_is_never_read_from_disk() {
    let store = Store::with(4 * MIB, line());
    let disk = tempfile::tempdir().unwrap();
    scan_as_a_process(&store, disk.path()).await;
    std::fs::write(store.folder.path().join("bucket/large"), vec![7; 4 << 20]).unwrap();
    let objects = store.objects_on(disk.path(), 1 << 30);
    assert_eq!(
        open(&objects).await.read(MIB..MIB + 8).await.unwrap(),
        vec![7; 8]
    );
    assert_eq!(objects.metrics().disk.unwrap().hits_total, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_folder_on_disk_stays_within_its_size() {
    const MAX: u64 = 16 * MIB;
    let store = Store::with(100 * MIB, line());
    let disk = tempfile::tempdir().unwrap();
    let objects = store.objects_on(disk.path(), MAX);
    scan(open(&objects).await, MIB).await;
    objects.flush_disk().await;
    let size = || {
        blocks(disk.path())
            .iter()
            .filter_map(|path| Some(path.metadata().ok()?.len()))
            .sum::<u64>()
    };
    // A scan that was due runs in the background.
    store
        .until("the folder shrinks to its size", |_| size() <= MAX)
        .await;
    let metrics = objects.metrics().disk.unwrap();
    assert!(
        size() > MAX / 4 && metrics.evictions_total > 50,
        "{} {metrics:?}",
        size()
    );
    assert!(
        metrics.evicted_bytes_total >= metrics.evictions_total * MIB,
        "{metrics:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_cannot_be_written_costs_no_read() {
    let store = Store::with(20 * MIB, line());
    let file = tempfile::NamedTempFile::new().unwrap();
    let objects = store.objects_on(&file.path().join("inputs"), 1 << 30);
    scan(open(&objects).await, MIB).await;
    objects.flush_disk().await;
    let metrics = objects.metrics().disk.unwrap();
    assert_eq!((metrics.hits_total, metrics.written_bytes_total), (0, 0));
    // Each block was a miss. One write was attempted, or one by each of the four writers; then
    // writing pauses.
    assert!(
        (16..=19).contains(&metrics.skipped_total)
            && metrics.skipped_total + metrics.failures_total == 2 * 20,
        "{metrics:?}"
    );
    assert_eq!(store.passed().1, 20 * MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_does_not_answer_holds_a_read_up_for_a_bounded_time() {
    let store = Store::with(4 * MIB, line());
    let disk = tempfile::tempdir().unwrap();
    scan_as_a_process(&store, disk.path()).await;
    // Reading a pipe blocks while it has a writer that writes nothing.
    let mut writers = Vec::new();
    for file in blocks(disk.path()) {
        std::fs::remove_file(&file).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &file,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        writers.push(
            std::fs::File::options()
                .read(true)
                .write(true)
                .open(&file)
                .unwrap(),
        );
    }
    let before = store.passed().1;
    let objects = store.objects_on(disk.path(), 1 << 30);
    tokio::time::timeout(4 * DISK_READ_TIME_MAX, scan(open(&objects).await, MIB))
        .await
        .expect("the disk held it up");
    assert_eq!(store.passed().1 - before, 4 * MIB);
    assert!(objects.metrics().disk.unwrap().failures_total > 0);
    // The files are restored, and threads that still read a pipe continue, so that the test can
    // end.
    objects.flush_disk().await;
    drop(writers);
}
