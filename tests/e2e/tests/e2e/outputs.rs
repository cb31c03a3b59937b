//! Objects that functions make, and values that are too large for a message: where they go, what of
//! them is seen, and what is kept.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sortie_harness::{Fault, Link, NatsServer, Operation, Ran, S3Server, Sortie, StoreProxy};

use crate::{endings, sorted};

/// Files anywhere below a folder that functions wrote, by their sizes; those of the memo are not
/// among them.
fn written(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(Result::unwrap)
    {
        if entry.file_name() == "memo" {
            continue;
        }
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            found.extend(written(&entry.path()))
        } else {
            found.push((entry.path(), metadata.len()))
        }
    }
    found
}

/// A server with the bucket `results`.
fn bucket() -> (tempfile::TempDir, S3Server) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("results")).unwrap();
    let server = S3Server::start(folder.path());
    (folder, server)
}

fn one(ran: &Ran) -> Value {
    sorted(ran).remove(0)
}

fn cached(ran: &Ran) -> Vec<bool> {
    sorted(ran)
        .iter()
        .map(|record| record["bill"]["cached"].as_bool().unwrap())
        .collect()
}

/// Larger than what is held of an object before it is sent, and than a message.
const LARGE: u64 = 20_000_003;

#[test]
fn an_object_is_in_the_store_under_the_name_of_its_content() {
    let (folder, s3) = bucket();
    let inputs = [
        format!(r#"[{LARGE}, "image/png"]"#),
        "[3, null]".into(),
        "[0, null]".into(),
        format!(r#"[{LARGE}, null]"#),
    ];
    let ran = s3
        .for_command(Sortie::map("makes_object", inputs).args(["--store", "s3://results/of"]))
        .run()
        .code(0);
    let records = sorted(&ran);
    let object = |index: usize| records[index]["object"].clone();
    assert_eq!(
        (&object(0)["size"], &object(0)["content_type"]),
        (&json!(LARGE), &json!("image/png"))
    );
    assert_eq!(
        (
            &object(1)["size"],
            &object(1)["content_type"],
            &object(2)["size"]
        ),
        (&json!(3), &json!(null), &json!(0))
    );
    assert_eq!(object(0)["url"], object(3)["url"]);
    assert!(
        records[0].get("value").is_none() && records[0]["bill"]["bytes_out"] == json!(LARGE),
        "{}",
        records[0]
    );
    assert!(
        records[0]["bill"]["store_ms"].as_f64().unwrap() > 0.0,
        "{}",
        records[0]
    );
    for index in 0..3 {
        let url = object(index)["url"].as_str().unwrap().to_owned();
        let path = folder.path().join(url.strip_prefix("s3://").unwrap());
        let bytes = fs::read(&path).unwrap();
        assert!(
            bytes.len() as u64 == object(index)["size"] && bytes.iter().all(|byte| *byte == 0x5a),
            "{url}"
        );
        assert_eq!(
            url,
            format!("s3://results/of/objects/default/{}", name(&bytes))
        );
    }
    // Nothing is left of what was on its way.
    let objects = written(&folder.path().join("results/of"));
    assert_eq!(
        objects
            .iter()
            .filter(|(path, _)| path.to_string_lossy().contains("/incoming/"))
            .count(),
        0,
        "{objects:?}"
    );
}

/// Where the store has these bytes.
fn name(bytes: &[u8]) -> String {
    let digest = sortie::protocol::Digest::of(bytes).to_hex();
    format!("{}/{digest}", &digest[..2])
}

#[test]
fn without_a_place_of_its_own_a_machine_keeps_objects_in_its_cache() {
    let cache = sortie_harness::cache();
    let call = Sortie::call("makes_object", ["1000", "null"])
        .cache(cache.path())
        .run()
        .code(0)
        .value();
    let path = call["url"]
        .as_str()
        .unwrap()
        .strip_prefix("file://")
        .unwrap()
        .to_owned();
    assert!(
        path.starts_with(cache.path().to_str().unwrap())
            && fs::read(&path).unwrap() == [0x5a; 1000],
        "{path}"
    );
    let raw = Sortie::call("makes_object", ["1000", "null", "--raw"])
        .cache(cache.path())
        .run()
        .code(0);
    assert_eq!(raw.stdout.trim(), format!("file://{path}"));
}

#[test]
fn without_a_store_a_function_is_told_what_is_missing() {
    // Its type does not say that it makes one.
    let ran = Sortie::map("leaves_a_writer", ["1"])
        .args(["--cache", "off"])
        .run()
        .code(3);
    let error = &one(&ran)["error"];
    assert!(
        error["message"].as_str().unwrap().contains("no store"),
        "{error}"
    );
    let said = Sortie::call("begins_objects", [""; 0])
        .args(["--cache", "off"])
        .run()
        .code(0)
        .value();
    assert!(
        said[0] == 0 && said[1].as_str().unwrap().contains("no store"),
        "{said}"
    );
}

#[test]
fn a_store_that_cannot_be_written_to_is_the_platforms_failure() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("results")).unwrap();
    let s3 = S3Server::start_read_only(folder.path());
    let run = |function: &str, input: &str| {
        let ran = s3
            .for_command(Sortie::map(function, [input]).args([
                "--store",
                "s3://results",
                "--fresh",
            ]))
            .run()
            .code(3)
            .says(&["may not be written to", "credentials", "--store URL"]);
        // Nor is it tried again, on this machine or on another.
        assert!(!ran.stderr.contains("short of something"), "{ran}");
        assert_eq!(one(&ran)["error"]["attempts"], 1, "{ran}");
        one(&ran)["error"].clone()
    };
    for error in [
        run("makes_object", "[1, null]"),
        run("returns_bytes", "300000"),
    ] {
        assert_eq!(
            (&error["code"], &error["blame"]),
            (&json!("store-unusable"), &json!("platform")),
            "{error}"
        );
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .contains("s3://results/objects/"),
            "{error}"
        );
    }
}

#[test]
fn what_a_store_refuses_is_told_as_what_it_is() {
    let (_folder, s3) = bucket();
    let proxy = StoreProxy::start(s3.address(), Link::default());
    let advice = "--store URL";
    for (fault, code, parts) in [
        (
            Fault::AccessDenied,
            "store-unusable",
            [advice, "may not be written to"],
        ),
        (
            Fault::NoSuchBucket,
            "store-unusable",
            [advice, "no such bucket"],
        ),
        (
            Fault::WrongRegion("eu-west-1"),
            "store-unusable",
            [advice, "another region"],
        ),
        (
            Fault::ClockSkew,
            "store-unusable",
            [advice, "clock is wrong"],
        ),
        (
            Fault::ExpiredToken,
            "store-unusable",
            [advice, "have expired"],
        ),
        (
            Fault::QuotaExceeded,
            "store-unavailable",
            ["no room", "`QuotaExceeded`"],
        ),
    ] {
        proxy.clear();
        proxy.add(fault.on(Operation::Put, "results/objects"));
        let map = Sortie::map("makes_object", ["[1, null]"]);
        let map = map.args(["--store", "s3://results", "--retries", "0"]);
        let ran = proxy.for_command(map).run().code(3).says(&parts);
        let error = &one(&ran)["error"];
        assert_eq!(
            (&error["code"], &error["blame"]),
            (&json!(code), &json!("platform"))
        );
        assert!(!ran.stderr.contains("short of something"), "{ran}");
    }
}

#[test]
fn what_is_written_ends_at_its_limit_and_leaves_nothing_behind() {
    let (folder, s3) = bucket();
    let store = ["--store", "s3://results"];
    let ran = s3
        .for_command(
            Sortie::map("writes_forever", ["[]"])
                .args(store)
                .args(["--written", "30MiB"]),
        )
        .run()
        .code(1);
    assert_eq!(endings(&ran), ["written-limit"]);
    assert!(
        one(&ran)["error"]["message"]
            .as_str()
            .unwrap()
            .contains("30 MiB"),
        "{ran}"
    );
    let large = LARGE.to_string();
    assert_eq!(
        endings(
            &s3.for_command(Sortie::map("writes_and_panics", [&large]).args(store))
                .run()
                .code(1)
        ),
        ["trapped"]
    );
    for size in ["1000", &large] {
        let failed = s3.for_command(Sortie::map("makes_and_fails", [size]).args(store));
        assert_eq!(endings(&failed.run().code(1)), ["on-purpose"]);
        let kept = s3.for_command(Sortie::map("makes_and_keeps", [size]).args(store));
        assert_eq!(endings(&kept.run().code(0)), ["completed"]);
    }
    let left = s3
        .for_command(Sortie::map("leaves_a_writer", [&large]).args(store))
        .run()
        .code(0);
    assert_eq!(one(&left)["value"], json!(LARGE));
    assert_eq!(
        endings(
            &s3.for_command(
                Sortie::map("writes_forever", ["[]"])
                    .args(store)
                    .args(["--timeout", "1s"])
            )
            .run()
            .code(1)
        ),
        ["wall-time-limit"]
    );
    let objects = written(&folder.path().join("results"));
    assert!(objects.is_empty(), "{objects:?}");
}

#[test]
fn writers_and_outputs_are_as_many_as_memory_pays_for() {
    let folder = tempfile::tempdir().unwrap();
    for (memory, objects) in [("32MiB", 4), ("64MiB", 5), ("256MiB", 10), ("1GiB", 29)] {
        let said = Sortie::call("begins_objects", [""; 0])
            .args(["--memory", memory])
            .cache(folder.path())
            .run()
            .code(0)
            .value();
        assert!(
            said[0] == objects && said[1].as_str().unwrap().contains("drop one first"),
            "{memory}: {said}"
        );
    }
    let ran = Sortie::map("hoards_outputs", ["[]"])
        .cache(folder.path())
        .run()
        .code(1);
    assert_eq!(endings(&ran), ["unwritable-output"]);
    assert!(
        one(&ran)["error"]["message"]
            .as_str()
            .unwrap()
            .contains("drop one first"),
        "{ran}"
    );
    for kind in ["a/b\r\nx-amz-acl: public-read", ""] {
        let ran = Sortie::map("makes_object", [json!([1, kind]).to_string()])
            .cache(folder.path())
            .run()
            .code(1);
        assert_eq!(endings(&ran), ["unwritable-output"], "{kind:?}");
    }
}

#[test]
fn an_object_is_known_from_an_earlier_run_as_long_as_it_is_there() {
    let (cache, folder) = (sortie_harness::cache(), tempfile::tempdir().unwrap());
    let run = || {
        let inputs = [format!("[{LARGE}, null]")];
        Sortie::map("makes_object", inputs)
            .cache(cache.path())
            .args(["--store".as_ref(), folder.path().as_os_str()])
            .run()
            .code(0)
    };
    let first = run();
    assert_eq!((cached(&first), cached(&run())), (vec![false], vec![true]));
    let path = one(&first)["object"]["url"]
        .as_str()
        .unwrap()
        .strip_prefix("file://")
        .unwrap()
        .to_owned();
    fs::remove_file(&path).unwrap();
    let again = run();
    assert_eq!(
        (cached(&again), &one(&again)["object"]),
        (vec![false], &one(&first)["object"])
    );
    assert_eq!(fs::metadata(path).unwrap().len(), LARGE);
}

#[test]
fn large_values_travel_through_the_store_and_nobody_notices() {
    let (folder, s3) = bucket();
    let cache = sortie_harness::cache();
    let run = || {
        s3.for_command(
            Sortie::map("returns_bytes", ["10", "3000000"])
                .args(["--store", "s3://results"])
                .cache(cache.path()),
        )
        .run()
    };
    let first = run().code(0);
    let value = |ran: &Ran| sorted(ran)[1]["value"].as_str().unwrap().len();
    assert_eq!(value(&first), 4_000_000);
    let objects = written(&folder.path().join("results"));
    assert!(
        matches!(objects.as_slice(), [(_, 3_000_005)]),
        "{objects:?}"
    );
    // The second run takes it from there; the third has to make it again.
    let second = run().code(0);
    assert_eq!((cached(&second)[1], value(&second)), (true, 4_000_000));
    fs::remove_file(&objects[0].0).unwrap();
    let third = run().code(0);
    assert_eq!((cached(&third)[1], value(&third)), (false, 4_000_000));
    let text = "x".repeat(400_000);
    let echo = s3
        .for_command(
            Sortie::map("echo", ["--inputs", "-"])
                .args(["--store", "s3://results"])
                .input(text.clone()),
        )
        .run()
        .code(0);
    assert_eq!(one(&echo)["value"], text);
}

#[test]
fn a_fleet_carries_values_that_no_message_holds() {
    let (folder, s3) = bucket();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let nats = runtime.block_on(NatsServer::start());
    let store = ["--store", "s3://results"];
    let worker = s3
        .for_command(Sortie::new(["worker", "--broker", &nats.url()]).args(store))
        .start();
    let text = "x".repeat(3 << 20);
    let map =
        |function: &str| Sortie::map(function, ["--inputs", "-"]).args(["--broker", &nats.url()]);
    let echo = s3
        .for_command(map("echo").args(store).input(text.clone()))
        .run()
        .code(0);
    assert_eq!(one(&echo)["value"], text);
    let objects = written(&folder.path().join("results"));
    assert!(
        objects.len() == 1 && objects[0].1 > 3 << 20,
        "argument and result are the same bytes: {objects:?}"
    );
    // What is gone is one clear failure of that task.
    let id = s3
        .for_command(
            map("returns_bytes")
                .args(["--detach"])
                .input("3000000\n10\n"),
        )
        .run()
        .code(0);
    let id = id.stdout.trim().to_owned();
    let gather = || {
        s3.for_command(Sortie::new([
            "job",
            "gather",
            &id,
            "--keep",
            "--broker",
            &nats.url(),
        ]))
        .run()
    };
    assert_eq!(endings(&gather().code(0)), ["completed", "completed"]);
    fs::remove_dir_all(folder.path().join("results/objects")).unwrap();
    let gone = gather().code(3);
    assert_eq!(endings(&gone), ["result-lost", "completed"]);
    assert!(
        one(&gone)["error"]["message"]
            .as_str()
            .unwrap()
            .contains("the result cannot be fetched: there is nothing at `s3://"),
        "{gone}"
    );
    worker.signal(rustix::process::Signal::TERM);
    let _ = worker.wait().code(0);
}

#[test]
fn an_argument_that_is_gone_from_the_store_is_one_clear_failure() {
    let (folder, s3) = bucket();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let nats = runtime.block_on(NatsServer::start());
    let (broker, store) = (["--broker", &nats.url()], ["--store", "s3://results"]);
    let text = "x".repeat(3 << 20);
    let map = Sortie::map("echo", ["--inputs", "-", "--detach"])
        .args(broker)
        .args(store)
        .input(text);
    let id = s3.for_command(map).run().code(0).stdout.trim().to_owned();
    fs::remove_dir_all(folder.path().join("results/objects")).unwrap();
    let worker = s3
        .for_command(Sortie::new(["worker"]).args(broker).args(store))
        .start();
    let gone = s3
        .for_command(Sortie::new(["job", "gather", &id]).args(broker))
        .run()
        .code(3);
    let error = &one(&gone)["error"];
    assert_eq!(
        (&error["code"], &error["blame"]),
        (&json!("result-lost"), &json!("platform")),
        "{error}"
    );
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("an argument cannot be fetched: there is nothing at `s3://results/"),
        "{error}"
    );
    worker.signal(rustix::process::Signal::TERM);
    let _ = worker.wait().code(0);
}
