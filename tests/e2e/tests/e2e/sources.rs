//! Where objects come from: ranges, listings that go on while tasks run, versions, credentials, other services, and what is wrong with any.

use std::fs;

use rustix::process::Signal;
use serde_json::json;
use sortie_harness::{BucketServer, Dialect, MetadataServer, Ran, Refusal, S3Server, Sortie};

use crate::{endings, sorted};

/// `sortie map` of `sum_of` over a bucket that asks for nothing.
fn over(bucket: &BucketServer, inputs: &[&str]) -> Sortie {
    Sortie::map("sum_of", inputs).env("AWS_ENDPOINT_URL", bucket.endpoint()).env("AWS_SKIP_SIGNATURE", "true")
}

fn inputs(ran: &Ran) -> Vec<String> {
    sorted(ran).iter().map(|record| record["input"].as_str().unwrap().to_owned()).collect()
}

fn message(ran: &Ran) -> String {
    ran.value()["error"]["message"].as_str().unwrap_or_else(|| panic!("no error: {ran}")).to_owned()
}

#[test]
fn some_bytes_of_an_object_are_an_object() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("bucket")).unwrap();
    for name in ["bytes", "bytes#bytes=0-1"] {
        fs::write(folder.path().join("bucket").join(name), [1, 2, 3, 4, 5]).unwrap();
    }
    let s3 = S3Server::start(folder.path());
    let url = format!("file://{}/bucket/bytes#bytes=-2", folder.path().display());
    let given =
        ["s3://bucket/bytes#bytes=0-2", "s3://bucket/bytes#bytes=3-99", "s3://bucket/byte*#bytes=4-", &url, "bucket/bytes#bytes=0-1"];
    let ran = s3.for_command(Sortie::map("sum_of", given)).folder(folder.path()).run().code(0);
    let values: Vec<_> = sorted(&ran).iter().map(|record| record["value"].clone()).collect();
    assert_eq!(values, [json!([3, 6]), json!([2, 9]), json!([1, 5]), json!([1, 5]), json!([2, 9]), json!([5, 15])], "{ran}");
    assert_eq!(inputs(&ran)[..2], ["s3://bucket/bytes#bytes=0-2", "s3://bucket/bytes#bytes=3-99"]);
    let ran = s3.for_command(Sortie::map("sum_of", ["s3://bucket/bytes#bytes=5-9"])).run().code(1);
    assert_eq!(endings(&ran), ["input-malformed"]);
    assert!(message(&ran).contains("`s3://bucket/bytes#bytes=5-9` starts behind the end of the object, which has 5 bytes"), "{ran}");
    Sortie::map("sum_of", ["s3://bucket/bytes#bytes=9-5"]).run().refused(&["s3://bucket/bytes", "ends before it starts"]);
}

#[test]
fn tasks_run_while_a_bucket_without_end_is_listed() {
    let bucket = BucketServer::endless(Dialect::S3, 10_000_000);
    let mut running = over(&bucket, &["s3://bucket/part-*"]).start();
    for _ in 0..2_000 {
        running.line();
    }
    running.signal(Signal::INT);
    let ran = running.wait().code(130);
    assert!(sorted(&ran).len() >= 2_000, "{ran}");
    // 100 names a page: what was looked at before the start, and what is listed ahead of the tasks.
    assert!(bucket.pages() < 400, "{} pages were listed", bucket.pages());
}

#[test]
fn a_listing_that_breaks_off_ends_the_run_and_keeps_its_results() {
    let bucket = BucketServer::endless(Dialect::S3, 1_000_000);
    bucket.refuse_page(115, Refusal { status: 403, code: "AccessDenied", more: "" });
    let ran = over(&bucket, &["s3://bucket/part-*"]).run().code(2);
    assert_eq!(ran.records().len(), 11_400);
    let ran = ran.says(&["11400 tasks: 11400 completed", "error: `s3://bucket/part-*` may not be read: the store denies it"]);
    assert_eq!(ran.stderr.matches("error:").count(), 1, "{ran}");
}

#[test]
fn an_object_that_was_replaced_after_it_was_listed_is_not_read() {
    let bucket = BucketServer::start(Dialect::S3, &[("a", "A"), ("b", "B"), ("c", "C")]);
    bucket.replace_when_listed("b", "another B");
    let ran = over(&bucket, &["s3://bucket/*"]).run().code(1);
    assert_eq!(endings(&ran), ["completed", "input-changed", "completed"]);
    assert!(sorted(&ran)[1]["error"]["message"].as_str().unwrap().contains("`s3://bucket/b` was replaced"), "{ran}");
    let asked = bucket.asked();
    assert!(asked.iter().all(|asked| asked.what.starts_with("GET ")), "a listed object is looked at again: {asked:?}");
}

#[test]
fn what_matches_is_listed_once_and_in_order() {
    let names = ["a", "data/", "data/1", "data/2", "data/sub", "data/sub/3", "x&y"];
    let objects: Vec<_> = names.iter().map(|name| (*name, if name.ends_with(['/', 'b']) { "" } else { "1" })).collect();
    let bucket = BucketServer::start(Dialect::S3, &objects);
    assert_eq!(inputs(&over(&bucket, &["s3://bucket/*"]).run().code(0)), ["s3://bucket/a", "s3://bucket/x&y"]);
    assert_eq!(inputs(&over(&bucket, &["s3://bucket/data/[12]"]).run().code(0)), ["s3://bucket/data/1", "s3://bucket/data/2"]);
    let all = ["s3://bucket/data/1", "s3://bucket/data/2", "s3://bucket/data/sub/3"];
    assert_eq!(inputs(&over(&bucket, &["s3://bucket/data/"]).run().code(0)), all);
    assert_eq!(inputs(&over(&bucket, &["--inputs", "-"]).input("s3://bucket/data/**\n").run().code(0)), all);
    over(&bucket, &["s3://bucket/*.pdf"]).run().refused(&["nothing matches `s3://bucket/*.pdf`"]);
}

#[test]
fn results_that_are_written_while_a_folder_is_listed_are_no_input() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..12_000 {
        fs::write(folder.path().join(format!("{n:05}")), "1").unwrap();
    }
    let ran = Sortie::map("sum_of", ["*", "-o", "results"]).folder(folder.path()).run().code(0);
    let _ = ran.says(&["12000 tasks: 12000 completed"]);
    Sortie::map("sum_of", ["*", "-o", "results"]).folder(folder.path()).run().refused(&["`results` is an input and the output"]);
}

/// A folder with the bucket `bucket`, and in it the object `key`.
fn bucket() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("bucket")).unwrap();
    fs::write(folder.path().join("bucket/key"), "1").unwrap();
    folder
}

#[test]
fn the_machines_role_has_keys() {
    let folder = bucket();
    let s3 = S3Server::start(folder.path());
    let run = |metadata: &MetadataServer| {
        let command = Sortie::map("sum_of", ["s3://bucket/*"]).env("AWS_ENDPOINT_URL", s3.endpoint());
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.endpoint())
    };
    let metadata = MetadataServer::start(S3Server::KEYS);
    assert_eq!(run(&metadata).run().code(0).value()["value"], json!([1, 49]));
    let wrong = MetadataServer::start((S3Server::KEYS.0, "another-secret"));
    run(&wrong).run().refused(&["s3://bucket/*", "the signature does not fit"]);
    run(&metadata).env("AWS_EC2_METADATA_DISABLED", "true").run().refused(&["s3://bucket/*", "no credentials were found"]);
}

#[test]
fn a_containers_agent_has_keys() {
    let folder = bucket();
    let s3 = S3Server::start(folder.path());
    let agent = MetadataServer::start(S3Server::KEYS);
    let token = folder.path().join("token");
    fs::write(&token, MetadataServer::pod_token()).unwrap();
    let command = Sortie::map("sum_of", ["s3://bucket/key"]).env("AWS_ENDPOINT_URL", s3.endpoint());
    let command = command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", agent.pod_url()).env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token);
    assert_eq!(command.run().code(0).value()["value"], json!([1, 49]));
}

#[test]
fn whoever_reads_pays_where_that_is_asked_for() {
    let bucket = BucketServer::start(Dialect::S3, &[("a", "A")]);
    let payers = |command: Sortie| {
        command.run().code(0).value();
        bucket.asked().iter().map(|asked| asked.payer.clone()).collect::<Vec<_>>()
    };
    assert!(payers(over(&bucket, &["s3://bucket/a"])).iter().all(Option::is_none));
    let command = Sortie::map("sum_of", ["s3://bucket/a"]).env("AWS_ENDPOINT_URL", bucket.endpoint()).env("AWS_REQUEST_PAYER", "requester");
    let command = command.env("AWS_ACCESS_KEY_ID", "AKID").env("AWS_SECRET_ACCESS_KEY", "secret");
    assert!(payers(command).last().unwrap().as_deref() == Some("requester"));
}

#[test]
fn buckets_of_google_are_listed_and_read() {
    let bucket = BucketServer::start(Dialect::S3, &[("data/1", "1"), ("data/2", "12345")]);
    let map = |inputs: &[&str]| Sortie::map("sum_of", inputs).env("STORAGE_EMULATOR_HOST", bucket.endpoint());
    let ran = map(&["gs://bucket/data/*", "gs://bucket/data/2#bytes=1-2", "gs://bucket/data/1"]).run().code(0);
    let values: Vec<_> = sorted(&ran).iter().map(|record| record["value"].clone()).collect();
    assert_eq!(values, [json!([1, 49]), json!([5, 255]), json!([2, 101]), json!([1, 49])], "{ran}");
    assert_eq!(inputs(&ran)[..2], ["gs://bucket/data/1", "gs://bucket/data/2"]);
    assert!(bucket.asked().iter().all(|asked| asked.authorization.is_none()));
    assert_eq!(endings(&map(&["gs://bucket/data/3"]).run().code(1)), ["input-missing"]);
    let missing = Sortie::map("sum_of", ["gs://bucket/data/1"]).env("GOOGLE_APPLICATION_CREDENTIALS", "/no/such.json");
    missing.run().refused(&["gs://bucket/data/1", "/no/such.json"]);
}

#[test]
fn containers_of_azure_are_listed_and_read() {
    let bucket = BucketServer::start(Dialect::Azure, &[("data/1", "1"), ("data/2", "12345")]);
    let map = |inputs: &[&str]| {
        let endpoint = format!("{}/account", bucket.endpoint());
        Sortie::map("sum_of", inputs).env("AZURE_STORAGE_ACCOUNT", "account").env("AZURE_STORAGE_ENDPOINT", endpoint)
    };
    let given = ["az://box/data/*", "az://box/data/2#bytes=1-2", "az://box/data/1"];
    let ran = map(&given).env("AZURE_STORAGE_KEY", "c2VjcmV0").run().code(0);
    let values: Vec<_> = sorted(&ran).iter().map(|record| record["value"].clone()).collect();
    assert_eq!(values, [json!([1, 49]), json!([5, 255]), json!([2, 101]), json!([1, 49])], "{ran}");
    let asked = bucket.asked();
    let is_signed = |asked: &sortie_harness::Asked| asked.authorization.as_ref().is_some_and(|text| text.starts_with("SharedKey account:"));
    assert!(asked.iter().all(is_signed), "{asked:?}");
    assert!(asked.iter().any(|asked| asked.what.starts_with("GET /account/box?") && asked.what.contains("prefix=data%2F")), "{asked:?}");
    // A listed object is read as the version that was listed, whose validator is written differently there.
    map(&["az://box/data/*"]).run().code(0).records();

    bucket.refuse(Refusal { status: 403, code: "AuthenticationFailed", more: "" });
    let ran = map(&["az://box/data/1"]).env("AZURE_STORAGE_SAS_TOKEN", "?sv=1&sig=hidden").run().code(1);
    assert_eq!(endings(&ran), ["input-denied"]);
    assert!(bucket.asked().last().unwrap().what.contains("sig=hidden"));
    assert!(!ran.stdout.contains("hidden") && !ran.stderr.contains("hidden"), "{ran}");
    Sortie::map("sum_of", ["az://box/data/1"]).run().refused(&["az://box/data/1", "AZURE_STORAGE_ACCOUNT"]);
}

#[test]
fn what_a_store_refuses_is_told_in_one_line_with_what_to_do() {
    for (status, code, more, ending, part) in [
        (404, "NoSuchBucket", "", "input-missing", "the bucket of `s3://bucket/key` does not exist"),
        (404, "NoSuchKey", "", "input-missing", "there is nothing at `s3://bucket/key`"),
        (400, "ExpiredToken", "<Token-0>hidden</Token-0>", "input-denied", "the credentials have expired"),
        (403, "InvalidAccessKeyId", "<AWSAccessKeyId>hidden</AWSAccessKeyId>", "input-denied", "does not know these credentials"),
        (403, "SignatureDoesNotMatch", "<StringToSign>hidden</StringToSign>", "input-denied", "check the secret key"),
        (403, "AccessDenied", "", "input-denied", "requests are not signed"),
        (400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>", "input-malformed", "the region `eu-west-1`"),
        (301, "PermanentRedirect", "", "input-malformed", "check the region and the endpoint"),
    ] {
        let bucket = BucketServer::start(Dialect::S3, &[]);
        bucket.refuse(Refusal { status, code, more });
        let ran = over(&bucket, &["s3://bucket/key"]).run().code(1);
        assert_eq!(endings(&ran), [ending], "{ran}");
        assert!(message(&ran).contains(part), "{ran}");
        assert!(!ran.stdout.contains("hidden") && !ran.stderr.contains("hidden"), "{ran}");
        let listed = over(&bucket, &["s3://bucket/*"]).run();
        if code != "NoSuchKey" {
            listed.refused(&[&part.replace("/key", "/*")]);
        }
    }
}

#[test]
fn a_server_that_is_not_there_is_told_with_what_to_do() {
    // Nobody listens on the port that a server had.
    let endpoint = BucketServer::start(Dialect::S3, &[]).endpoint();
    let command = |input: &str| Sortie::map("sum_of", [input]).env("AWS_ENDPOINT_URL", &endpoint).env("AWS_SKIP_SIGNATURE", "true");
    command("s3://bucket/*").run().refused(&["s3://bucket/*", "cannot be reached", "Connection refused", "check the endpoint"]);
}
