//! Inputs on disk: what a later run need not fetch, and what a disk that fails costs.

use std::fs;
use std::path::Path;

use sortie_harness::{Link, S3Server, Sortie};

use crate::{LARGE, Store, Told as _, sum_of_large};

const OBJECT: &str = "s3://bucket/large.bin";
/// What keeps inputs for the runs of a test.
const ON_DISK: [&str; 2] = ["--input-disk", "1GiB"];

/// Run the command where its folder for inputs, `FULL`, has room for two blocks: a file system of
/// its own where the system lets one be made, else with no file that is longer. There the write
/// fails with another error, and for good.
const FULL_DISK: &str = r#"
if unshare -Urm true 2>/dev/null; then
    exec unshare -Urm sh -c 'mount -t tmpfs -o size=3m,mode=700 none "$FULL" && exec "$@"' sh "$@"
fi
trap "" XFSZ
ulimit -f 200
exec "$@"
"#;

fn fetched(store: &Store) -> u64 {
    store
        .proxy
        .counts()
        .objects
        .get("bucket/large.bin")
        .map_or(0, |object| object.body_bytes)
}

fn on_disk(store: &Store) -> u64 {
    let info = Sortie::new(["cache", "info", "--json"])
        .cache(store.cache.path())
        .run()
        .code(0);
    info.value()["inputs"]["files"].as_u64().unwrap()
}

#[test]
fn what_one_run_fetched_the_next_has_on_disk() {
    let mut store = Store::start();
    // A line on which a disk keeps up.
    let link = Link {
        bytes_per_second: std::num::NonZeroU64::new(50_000_000),
        ..Link::default()
    };
    store.proxy = sortie_harness::StoreProxy::start(store.server.address(), link);
    store
        .sum_of(&[OBJECT])
        .args(ON_DISK)
        .run()
        .code(0)
        .found(OBJECT, sum_of_large());
    assert_eq!((fetched(&store), on_disk(&store)), (LARGE as u64, 20));
    store
        .sum_of(&[OBJECT])
        .args(ON_DISK)
        .run()
        .code(0)
        .found(OBJECT, sum_of_large());
    assert_eq!(fetched(&store), LARGE as u64);
    // Without it, nothing is looked for there.
    store
        .sum_of(&[OBJECT])
        .run()
        .code(0)
        .found(OBJECT, sum_of_large());
    assert_eq!(fetched(&store), 2 * LARGE as u64);
    // Another server's bucket of that name is another bucket, whatever its objects look like.
    let other = S3Server::start(store.folder.path());
    fs::write(store.file("large.bin"), vec![2; LARGE]).unwrap();
    let command = Sortie::map("sum_of", [OBJECT])
        .args(["--fresh"])
        .args(ON_DISK)
        .cache(store.cache.path());
    other
        .for_command(command)
        .run()
        .code(0)
        .found(OBJECT, serde_json::json!([LARGE, 2 * LARGE]));
    let _ = Sortie::new(["cache", "clear"])
        .cache(store.cache.path())
        .run()
        .code(0)
        .says(&["removed 4"]);
    assert_eq!(on_disk(&store), 0);
}

#[test]
fn a_full_disk_costs_no_task_and_is_said_once() {
    let store = Store::start();
    let inputs = store.cache.path().join("inputs");
    fs::create_dir(&inputs).unwrap();
    // The component is compiled before the disk is full.
    let _ = store.sum_of(&["s3://bucket/a.txt"]).run().code(0);
    let ran = store
        .sum_of(&["s3://bucket/*"])
        .args(ON_DISK)
        .env("FULL", &inputs)
        .by_script(FULL_DISK)
        .run()
        .code(0);
    assert_eq!(ran.endings(), ["completed"; 5]);
    ran.found(OBJECT, sum_of_large());
    let said: Vec<&str> = ran
        .stderr
        .lines()
        .filter(|line| line.contains("keeping inputs on disk fails"))
        .collect();
    let [said] = said[..] else {
        panic!("not said once: {ran}")
    };
    assert!(said.contains(&*inputs.to_string_lossy()), "{said}");
    assert!(
        said.contains("No space left on device") || said.contains("File too large"),
        "{said}"
    );
}

#[test]
fn a_folder_that_others_may_write_to_keeps_no_inputs() {
    use std::os::unix::fs::PermissionsExt as _;
    let store = Store::start();
    let inputs = store.cache.path().join("inputs");
    fs::create_dir(&inputs).unwrap();
    fs::set_permissions(&inputs, fs::Permissions::from_mode(0o777)).unwrap();
    store
        .sum_of(&[OBJECT])
        .args(ON_DISK)
        .run()
        .refused(&["inputs` belongs to another user or others may write to it"]);
}

#[test]
fn inputs_that_cannot_be_kept_are_refused_at_the_start() {
    let nowhere = Sortie::map("sum_of", [OBJECT])
        .args(ON_DISK)
        .args([Path::new("--cache"), Path::new("off")]);
    nowhere.run().refused(&["--input-disk", "cache folder"]);
    Sortie::map("sum_of", [OBJECT])
        .args(["--input-disk", "1MiB"])
        .run()
        .refused(&["--input-disk", "at least 512 MiB"]);
}
