//! Prefix arguments: data sets of many objects, listed and opened below one URL and nowhere else.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;
use sortie_harness::{S3Server, Sortie, WebServer};
use tempfile::TempDir;

use crate::{endings, sorted};

/// `bucket/array.zarr/{zarr.json,c/0/0,c/0/1}`, something beside it, and links out of it.
fn array() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let array = folder.path().join("bucket/array.zarr");
    fs::create_dir_all(array.join("c/0")).unwrap();
    for (name, content) in [
        ("zarr.json", "{}"),
        ("c/0/0", "chunk"),
        ("c/0/1", "abc"),
        ("../secret", "s"),
        ("../array.zarr2", "t"),
    ] {
        fs::write(array.join(name), content).unwrap();
    }
    folder
}

#[test]
fn what_lies_below_a_prefix_is_listed_and_read_wherever_it_is() {
    let folder = array();
    let (s3, web) = (
        S3Server::start(folder.path()),
        WebServer::start(folder.path()),
    );
    let absolute = format!("file://{}/bucket/array.zarr/", folder.path().display());
    for place in ["bucket/array.zarr/", &absolute, "s3://bucket/array.zarr/"] {
        let lists = |below: &str| {
            let below = format!("below={below}");
            let ran = s3
                .for_command(Sortie::map("lists", [place, "--arg", &below]))
                .folder(folder.path())
                .run()
                .code(0);
            let record = sorted(&ran).remove(0);
            assert_eq!(record["input"], place);
            record["value"].clone()
        };
        assert_eq!(
            lists(""),
            json!([["c/0/0", 5], ["c/0/1", 3], ["zarr.json", 2]]),
            "{place}"
        );
        assert_eq!(
            lists("c/0/"),
            json!([["c/0/0", 5], ["c/0/1", 3]]),
            "{place}"
        );
        assert_eq!(lists("none"), json!([]), "{place}");
    }
    for place in [
        "bucket/array.zarr/",
        "s3://bucket/array.zarr/",
        &web.url("bucket/array.zarr/"),
    ] {
        let read = |name: &str| {
            s3.for_command(Sortie::call("reads_below", [place, name]))
                .folder(folder.path())
                .run()
        };
        assert_eq!(read("c/0/0").code(0).value(), "chunk", "{place}");
        let missing = read("c/9/9").code(1);
        assert!(
            missing.stderr.contains("object-missing"),
            "{place}: {missing}"
        );
    }
    let all = s3
        .for_command(Sortie::call("counts_below", ["s3://bucket/"]))
        .run()
        .code(0);
    assert_eq!(all.value(), json!([5, 12]));
}

#[test]
fn no_name_reaches_out_of_a_prefix() {
    let folder = array();
    let array = folder.path().join("bucket/array.zarr");
    symlink(folder.path().join("bucket/secret"), array.join("link")).unwrap();
    symlink(folder.path().join("bucket"), array.join("out")).unwrap();
    let secret = folder.path().join("bucket/secret").display().to_string();
    let names = json!([
        "../secret",
        "c/../../secret",
        "c/0/../../../secret",
        "/etc/passwd",
        secret,
        format!("file://{secret}"),
        "s3://bucket/secret",
        "%2e%2e/secret",
        "..%2fsecret",
        "%2E%2E%2Fsecret",
        "..\\secret",
        "link",
        "out/secret",
        "out",
        "..",
        ".",
        "./zarr.json",
        "c//0/0",
        "",
        "zarr.json\u{0}",
        "../array.zarr2",
        "2",
        "?x",
        "#x",
        "c/0/0",
    ])
    .to_string();
    let (s3, web) = (
        S3Server::start(folder.path()),
        WebServer::start(folder.path()),
    );
    for place in [
        "bucket/array.zarr/",
        "s3://bucket/array.zarr/",
        &web.url("bucket/array.zarr/"),
    ] {
        let ran = s3
            .for_command(Sortie::call("reaches_out", [place, &names]))
            .folder(folder.path())
            .run()
            .code(0);
        // Servers follow links in their own folders, which a store has none of, and take two
        // slashes for one; the empty name lists the prefix itself.
        let opened: Vec<String> = serde_json::from_value(ran.value()).unwrap();
        let expected = |name: &&String| {
            matches!(name.as_str(), "c/0/0")
                || (name.is_empty() && !place.starts_with("http"))
                || (name.as_str() == "c//0/0" && place.starts_with("s3"))
                || (place.contains("://") && matches!(name.as_str(), "link" | "out" | "out/secret"))
        };
        let unexpected: Vec<_> = opened.iter().filter(|name| !expected(name)).collect();
        assert!(
            unexpected.is_empty() && opened.contains(&"c/0/0".into()),
            "{place}: {opened:?}"
        );
    }
    let listed = Sortie::call("lists", ["bucket/array.zarr/", "\"\""])
        .folder(folder.path())
        .run()
        .code(0)
        .value();
    assert_eq!(
        listed,
        json!([["c/0/0", 5], ["c/0/1", 3], ["zarr.json", 2]])
    );
}

#[test]
fn what_is_no_prefix_is_refused_before_anything_runs() {
    let folder = array();
    let refused = |place: &str, words: &[&str]| {
        Sortie::map("counts_below", [place])
            .folder(folder.path())
            .run()
            .refused(words);
    };
    refused(
        "bucket/array.zarr",
        &["`bucket/array.zarr` is not a prefix", "ends in a slash"],
    );
    refused("bucket/none/", &["there is no folder `bucket/none/`"]);
    refused(
        "https://host/a?signature=secret",
        &["`https://host/a` is not a prefix"],
    );
    Sortie::map("two_objects", ["bucket/secret", "--arg", "b=bucket/"])
        .folder(folder.path())
        .run()
        .refused(&["is a folder"]);
    let web = WebServer::start(folder.path());
    let ran = Sortie::map("counts_below", [web.url("bucket/array.zarr/")])
        .run()
        .code(1);
    let error = &sorted(&ran)[0]["error"];
    assert!(
        error["code"] == "invalid-name"
            && error["message"]
                .as_str()
                .unwrap()
                .contains("cannot be listed"),
        "{error}"
    );
}

#[test]
fn results_over_prefixes_are_not_kept_and_listings_end_at_the_number_of_handles() {
    let folder = array();
    let cache = sortie_harness::cache();
    let count = || {
        Sortie::map("counts_below", ["bucket/array.zarr/"])
            .folder(folder.path())
            .cache(cache.path())
            .run()
            .code(0)
    };
    assert_eq!(sorted(&count())[0]["value"], json!([3, 10]));
    fs::write(folder.path().join("bucket/array.zarr/c/0/2"), "new").unwrap();
    let second = sorted(&count()).remove(0);
    assert_eq!(
        (&second["value"], &second["bill"]["cached"]),
        (&json!([4, 13]), &json!(false))
    );
    let ran = Sortie::map("hoards_listings", ["bucket/array.zarr/"])
        .folder(folder.path())
        .run()
        .code(1);
    assert_eq!(endings(&ran), ["trapped"]);
    assert!(
        sorted(&ran)[0]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("more than 64 listings"),
        "{ran}"
    );
}

#[test]
fn thousands_of_objects_are_listed_in_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    for group in 0..5 {
        let group = folder.path().join(format!("bucket/many/{group}"));
        fs::create_dir_all(&group).unwrap();
        for n in 0..500 {
            fs::write(
                group.join(format!("an-object-with-a-rather-long-name-{n}")),
                "x",
            )
            .unwrap();
        }
    }
    let s3 = S3Server::start(folder.path());
    for place in ["bucket/many/", "s3://bucket/many/"] {
        let ran = s3
            .for_command(Sortie::map("counts_below", [place]))
            .folder(folder.path())
            .run()
            .code(0);
        let record = sorted(&ran).remove(0);
        assert_eq!(record["value"], json!([2500, 2500]), "{place}");
        assert!(
            record["bill"]["memory_peak_bytes"].as_u64().unwrap() <= 4 << 20,
            "{record}"
        );
    }
}
