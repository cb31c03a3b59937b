//! Buckets of Google and Azure, and what says who asks: keys that machines, containers and web
//! identities are given, anonymous requests, and requester pays.
//!
//! That keys are the right ones is found out by a server that checks signatures of S3; what says
//! who asks at Google and Azure is looked at in the requests.

use std::fs;

use serde_json::{Value, json};
use sortie_harness::{
    Asked, BucketServer, CredentialServer, Dialect, Ran, Refusal, S3Server, Sortie,
};
use tempfile::TempDir;

use crate::Told as _;

/// What must be seen nowhere, beside what is looked for in every run.
const HIDDEN: [&str; 5] = [
    "hidden",
    "aGlkZGVu",
    CredentialServer::TOKEN,
    CredentialServer::BEARER,
    "eyJ0eXAi",
];
/// A shared access signature: it lets its holder read.
const SIGNATURE: &str = "?sv=2022-11-02&sp=rl&sig=hidden%2Bsignature%3D";

/// Objects of the two services that speak otherwise.
const OBJECTS: [(&str, &str); 4] = [
    ("data/1", "1"),
    ("data/2", "12345"),
    ("data/with space & ümlaut+", "1"),
    ("other", "1"),
];

/// Runs, with all there is to say said, and looks through it.
#[track_caller]
fn told(command: Sortie) -> Ran {
    let ran = command.args(["-v", "-v"]).env("SORTIE_LOG", "trace").run();
    for hidden in HIDDEN {
        assert!(
            !ran.stdout.contains(hidden) && !ran.stderr.contains(hidden),
            "`{hidden}` is in: {ran}"
        );
    }
    ran
}

thread_local! {
    /// One for all runs of a test.
    static CACHE: TempDir = sortie_harness::cache();
}

/// `sum_of` over these inputs, with nothing known from an earlier run.
fn sum_of(inputs: &[&str]) -> Sortie {
    CACHE.with(|cache| {
        Sortie::map("sum_of", inputs)
            .args(["--fresh"])
            .cache(cache.path())
    })
}

/// Lists, reads whole objects and parts of them, and finds what is missing, in the bucket `box` at
/// this scheme.
#[track_caller]
fn serves(scheme: &str, set: impl Fn(Sortie) -> Sortie) {
    let url = |rest: &str| format!("{scheme}://box/{rest}");
    let (all, some, missing) = (url("data/*"), url("data/2#bytes=1-2"), url("data/3"));
    let ran = told(set(sum_of(&[&all, &some, &missing]))).code(1);
    ran.found(&url("data/1"), json!([1, 49]));
    ran.found(&url("data/2"), json!([5, 255]));
    ran.found(&url("data/with space & ümlaut+"), json!([1, 49]));
    ran.found(&some, json!([2, 101]));
    ran.failed(&missing, "input-missing", &["there is nothing"]);
    assert_eq!(
        ran.endings(),
        [
            "completed",
            "completed",
            "completed",
            "completed",
            "input-missing"
        ]
    );
    set(sum_of(&[&url("*.pdf")]))
        .run()
        .refused(&["nothing matches"]);
    // And below a prefix.
    let below = told(set(Sortie::call("counts_below", [url("data/")]))).code(0);
    assert_eq!(below.value(), json!([3, 7]));
    let whole = told(set(Sortie::call("counts_below", [url("")]))).code(0);
    assert_eq!(whole.value(), json!([4, 8]));
    let read = told(set(Sortie::call(
        "reads_below",
        [url("data/"), "with space & ümlaut+".into()],
    )))
    .code(0);
    assert_eq!(read.value(), "1");
}

/// The reason why the only input, `input`, may not be read.
#[track_caller]
fn denied(ran: Ran, input: &str, parts: &[&str]) {
    ran.code(1).failed(input, "input-denied", parts);
}

fn all(asked: &[Asked], holds: impl Fn(&Asked) -> bool) {
    assert!(!asked.is_empty() && asked.iter().all(holds), "{asked:?}");
}

#[test]
fn an_emulator_of_google_is_listed_and_read_in_nobodys_name() {
    let bucket = BucketServer::start(Dialect::S3, &OBJECTS);
    serves("gs", |command| {
        command.env("STORAGE_EMULATOR_HOST", bucket.endpoint())
    });
    let asked = bucket.asked();
    all(&asked, |asked| asked.authorization.is_none());
    assert!(
        asked.iter().any(
            |asked| asked.what.starts_with("GET /box") && asked.what.contains("prefix=data%2F")
        ),
        "{asked:?}"
    );
}

#[test]
fn a_machine_of_google_reads_with_its_service_account() {
    let bucket = BucketServer::start(Dialect::S3, &OBJECTS);
    let machine = CredentialServer::start(S3Server::KEYS);
    let with = |command: Sortie| {
        command
            .env("GOOGLE_BASE_URL", bucket.endpoint())
            .env("GCE_METADATA_HOST", machine.host())
    };
    serves("gs", with);
    let bearer = format!("Bearer {}", CredentialServer::BEARER);
    all(&bucket.asked(), |asked| {
        asked.authorization.as_ref() == Some(&bearer)
    });
    let _ = with(sum_of(&["gs://box/other"]).env("GOOGLE_SKIP_SIGNATURE", "true"))
        .run()
        .code(0);
    all(&bucket.asked(), |asked| asked.authorization.is_none());
}

#[test]
fn a_service_account_of_google_shows_a_token_that_it_signed() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = BucketServer::start(Dialect::S3, &OBJECTS);
    let key = |key: &str| {
        json!({
            "type": "service_account",
            "private_key": key,
            "private_key_id": "1",
            "client_email": "me@project",
        })
    };
    let file = folder.path().join("key.json");
    let with = |content: &Value| {
        fs::write(&file, content.to_string()).unwrap();
        |command: Sortie| {
            command
                .env("GOOGLE_BASE_URL", bucket.endpoint())
                .env("GOOGLE_APPLICATION_CREDENTIALS", &file)
        }
    };
    serves("gs", with(&key(include_str!("service-account.pem"))));
    all(&bucket.asked(), |asked| {
        asked
            .authorization
            .as_ref()
            .is_some_and(|text| text.starts_with("Bearer eyJ") && text.split('.').count() == 3)
    });
    let misuse = |content: Value, part: &str| {
        with(&content)(sum_of(&["gs://box/other"]))
            .run()
            .refused(&["`gs://box/other`", part])
    };
    misuse(key("hidden"), "cannot be opened");
    misuse(
        json!({"type": "service_account", "private_key": "hidden"}),
        "no `private_key_id`",
    );
    misuse(json!({"type": "external_account"}), "not followed");
    misuse(json!("hidden"), "key.json");
    let missing =
        sum_of(&["gs://box/other"]).env("GOOGLE_APPLICATION_CREDENTIALS", "/no/such.json");
    missing
        .run()
        .refused(&["`gs://box/other`", "/no/such.json"]);
    assert_eq!(bucket.asked(), []);
}

/// Where the account `account` of Azure is, at this server.
fn azure(bucket: &BucketServer, command: Sortie) -> Sortie {
    command.env("AZURE_STORAGE_ACCOUNT", "account").env(
        "AZURE_STORAGE_ENDPOINT",
        format!("{}/account", bucket.endpoint()),
    )
}

#[test]
fn containers_of_azure_are_listed_and_read() {
    let bucket = BucketServer::start(Dialect::Azure, &OBJECTS);
    serves("az", |command| {
        azure(&bucket, command).env("AZURE_STORAGE_KEY", "aGlkZGVu")
    });
    let asked = bucket.asked();
    all(&asked, |asked| {
        asked
            .authorization
            .as_ref()
            .is_some_and(|text| text.starts_with("SharedKey account:"))
    });
    assert!(
        asked
            .iter()
            .any(|asked| asked.what.starts_with("GET /account/box?")
                && asked.what.contains("prefix=data%2F")),
        "{asked:?}"
    );

    serves("az", |command| {
        azure(&bucket, command).env("AZURE_STORAGE_SAS_TOKEN", SIGNATURE)
    });
    all(&bucket.asked(), |asked| {
        asked.authorization.is_none() && asked.what.contains("sig=hidden")
    });

    serves("az", |command| azure(&bucket, command));
    all(&bucket.asked(), |asked| {
        asked.authorization.is_none() && !asked.what.contains("sig=")
    });
}

#[test]
fn results_are_shared_through_buckets_of_google_and_azure() {
    let google = BucketServer::start(Dialect::S3, &[]);
    let other = BucketServer::start(Dialect::Azure, &[]);
    let with_google = |command: Sortie| command.env("STORAGE_EMULATOR_HOST", google.endpoint());
    let with_azure = |command: Sortie| azure(&other, command).env("AZURE_STORAGE_KEY", "aGlkZGVu");
    let shares = |set: &dyn Fn(Sortie) -> Sortie, store: &str| {
        // Long enough to be worth keeping, each time on a machine that has nothing yet.
        let run = || {
            set(Sortie::map("spins_for", ["200000000", "--store", store]))
                .run()
                .code(0)
                .value()
        };
        let (first, second) = (run(), run());
        assert_eq!(
            (&first["bill"]["cached"], &second["bill"]["cached"]),
            (&json!(false), &json!(true)),
            "{store}"
        );
        assert_eq!(first["value"], second["value"]);
    };
    shares(&with_google, "gs://box");
    shares(&with_azure, "az://box/results");
}

#[test]
fn what_azure_refuses_is_told_by_its_code() {
    let object = "az://box/data/1";
    for (status, code, ending, part) in [
        (
            403,
            "AuthenticationFailed",
            "input-denied",
            "is wrong or has expired",
        ),
        (
            403,
            "AuthorizationPermissionMismatch",
            "input-denied",
            "check the credentials",
        ),
        (404, "ContainerNotFound", "input-missing", "no such bucket"),
        (404, "BlobNotFound", "input-missing", "there is nothing"),
        (403, "AccountIsDisabled", "input-denied", "is disabled"),
    ] {
        let bucket = BucketServer::start(Dialect::Azure, &OBJECTS);
        bucket.refuse(Refusal {
            status,
            code,
            more: "<AuthenticationErrorDetail>hidden</AuthenticationErrorDetail>",
        });
        let with = |input: &str| {
            azure(&bucket, sum_of(&[input])).env("AZURE_STORAGE_SAS_TOKEN", SIGNATURE)
        };
        let ran = told(with(object)).code(1);
        ran.failed(object, ending, &[part]);
        if code != "BlobNotFound" {
            with("az://box/data/*")
                .run()
                .refused(&["`az://box/data/*`", part]);
        }
    }
    let bucket = BucketServer::start(Dialect::Azure, &OBJECTS);
    bucket.refuse(Refusal {
        status: 409,
        code: "PublicAccessNotPermitted",
        more: "",
    });
    azure(&bucket, sum_of(&["az://box/*"]))
        .run()
        .refused(&["`az://box/*`", "no credentials were found"]);
}

#[test]
fn what_is_set_up_wrongly_is_told_before_anything_is_asked() {
    let bucket = BucketServer::start(Dialect::Azure, &OBJECTS);
    let object = "az://box/data/1";
    let refused = |command: Sortie, part: &str| told(command).says(&["error: ", part]).code(2);
    let _ = refused(sum_of(&[object]), "AZURE_STORAGE_ACCOUNT");
    let _ = refused(
        azure(&bucket, sum_of(&[object])).env("AZURE_STORAGE_KEY", "hidden!"),
        "not base64",
    );
    let _ = refused(
        azure(&bucket, sum_of(&[object])).env("AZURE_STORAGE_SAS_TOKEN", "hidden"),
        "AZURE_STORAGE_SAS_TOKEN",
    );
    let _ = refused(
        azure(&bucket, sum_of(&[object])).env("AZURE_STORAGE_ENDPOINT", "account"),
        "endpoint",
    );
    for url in [
        "az://",
        "az://box",
        "az://Box/a",
        "az://b/a",
        "az://box@account/a",
        "gs://bucket",
        "gs://BUCKET/a",
        "gs://",
    ] {
        azure(&bucket, sum_of(&[url]))
            .run()
            .refused(&[&format!("`{}`", url.replace("box@account", "account"))]);
    }
    let identity = sum_of(&["s3://bucket/key"]).env("AWS_WEB_IDENTITY_TOKEN_FILE", "/no/such");
    let _ = refused(identity, "AWS_ROLE_ARN");
    let agent = sum_of(&["s3://bucket/key"]).env(
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "http://example.org/hidden",
    );
    let _ = refused(agent, "use https://");
    assert_eq!(bucket.asked(), []);
    // What cannot be reached is no reason to refuse what can.
    let _ = azure(&bucket, sum_of(&[object]))
        .env("GOOGLE_APPLICATION_CREDENTIALS", "/no/such.json")
        .run()
        .code(0);
}

/// A bucket `bucket` with the object `key`, and a server that knows [`S3Server::KEYS`].
fn s3() -> (TempDir, S3Server) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("bucket")).unwrap();
    fs::write(folder.path().join("bucket/key"), "1").unwrap();
    let server = S3Server::start(folder.path());
    (folder, server)
}

#[test]
fn a_machines_role_has_keys() {
    let (_folder, s3) = s3();
    let over = |input: &str, machine: &CredentialServer| {
        let command = sum_of(&[input])
            .env("AWS_ENDPOINT_URL", s3.endpoint())
            .env("AWS_EC2_METADATA_DISABLED", "false");
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", machine.endpoint())
    };
    let machine = CredentialServer::start(S3Server::KEYS);
    told(over("s3://bucket/*", &machine))
        .code(0)
        .found("s3://bucket/key", json!([1, 49]));
    let wrong = CredentialServer::start((S3Server::KEYS.0, "hidden"));
    denied(
        told(over("s3://bucket/key", &wrong)),
        "s3://bucket/key",
        &["secret key"],
    );
    // Without anybody to ask, or leave to ask, requests are not signed, and the server wants that.
    let nobody = over("s3://bucket/key", &machine).env("AWS_EC2_METADATA_DISABLED", "true");
    denied(
        told(nobody),
        "s3://bucket/key",
        &["no credentials were found"],
    );
    let gone = CredentialServer::start(S3Server::KEYS).endpoint();
    let gone = over("s3://bucket/key", &machine).env("AWS_EC2_METADATA_SERVICE_ENDPOINT", gone);
    denied(
        told(gone),
        "s3://bucket/key",
        &["no credentials were found"],
    );
}

#[test]
fn a_containers_agent_has_keys() {
    let (folder, s3) = s3();
    let agent = CredentialServer::start(S3Server::KEYS);
    let over = |name: &str, value: &str| {
        let command = sum_of(&["s3://bucket/key"]).env("AWS_ENDPOINT_URL", s3.endpoint());
        command
            .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", agent.agent_url())
            .env(name, value)
    };
    let file = folder.path().join("token");
    let file = file.to_str().unwrap();
    fs::write(file, format!("{}\n", CredentialServer::TOKEN)).unwrap();
    for (name, value) in [
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", CredentialServer::TOKEN),
    ] {
        told(over(name, value))
            .code(0)
            .found("s3://bucket/key", json!([1, 49]));
    }
    denied(
        told(over("AWS_CONTAINER_AUTHORIZATION_TOKEN", "hidden")),
        "s3://bucket/key",
        &["the container's agent", "401"],
    );
    denied(
        told(over("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/no/such")),
        "s3://bucket/key",
        &["failed to read the token", "/no/such"],
    );
    let gone = CredentialServer::start(S3Server::KEYS).agent_url();
    let gone = over("AWS_CONTAINER_CREDENTIALS_FULL_URI", &gone).args(["--retries", "0"]);
    told(gone)
        .code(1)
        .failed("s3://bucket/key", "input-unavailable", &["does not answer"]);
}

#[test]
fn a_web_identity_takes_on_a_role() {
    let (folder, s3) = s3();
    let service = CredentialServer::start(S3Server::KEYS);
    let file = folder.path().join("identity");
    let over = |token: &str| {
        fs::write(&file, token).unwrap();
        let command = sum_of(&["s3://bucket/key"])
            .env("AWS_ENDPOINT_URL", s3.endpoint())
            .env("AWS_ENDPOINT_URL_STS", service.endpoint());
        command
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", &file)
            .env("AWS_ROLE_ARN", CredentialServer::ROLE_ARN)
    };
    told(over(CredentialServer::TOKEN))
        .code(0)
        .found("s3://bucket/key", json!([1, 49]));
    denied(told(over("hidden")), "s3://bucket/key", &["web identity"]);
}

#[test]
fn nobody_asks_where_that_is_wanted() {
    let bucket = BucketServer::start(Dialect::S3, &[("key", "1")]);
    let command = sum_of(&["s3://bucket/*"]).env("AWS_ENDPOINT_URL", bucket.endpoint());
    let command = command
        .env("AWS_ACCESS_KEY_ID", "AKID")
        .env("AWS_SECRET_ACCESS_KEY", "hidden")
        .env("AWS_SKIP_SIGNATURE", "true");
    told(command)
        .code(0)
        .found("s3://bucket/key", json!([1, 49]));
    all(&bucket.asked(), |asked| asked.authorization.is_none());
}

#[test]
fn whoever_reads_pays_where_that_is_asked_for() {
    let bucket = BucketServer::start(Dialect::S3, &[("key", "1")]);
    bucket.charge();
    let over = |input: &str| {
        let command = sum_of(&[input]).env("AWS_ENDPOINT_URL", bucket.endpoint());
        command
            .env("AWS_ACCESS_KEY_ID", "AKID")
            .env("AWS_SECRET_ACCESS_KEY", "hidden")
    };
    denied(
        told(over("s3://bucket/key")),
        "s3://bucket/key",
        &["whether the reader has to pay"],
    );
    over("s3://bucket/*")
        .run()
        .refused(&["`s3://bucket/*`", "AWS_REQUEST_PAYER=requester"]);
    all(&bucket.asked(), |asked| asked.payer.is_none());
    told(over("s3://bucket/*").env("AWS_REQUEST_PAYER", "requester"))
        .code(0)
        .found("s3://bucket/key", json!([1, 49]));
    all(&bucket.asked(), |asked| {
        asked.payer.as_deref() == Some("requester")
    });
}

#[test]
fn a_project_pays_for_what_is_read_of_google_and_is_named_to_nobody_else() {
    let (bucket, machine) = (
        BucketServer::start(Dialect::S3, &OBJECTS),
        CredentialServer::start(S3Server::KEYS),
    );
    let over = |command: Sortie| {
        command
            .env("GOOGLE_BASE_URL", bucket.endpoint())
            .env("GCE_METADATA_HOST", machine.host())
    };
    let paid = |command: Sortie| over(command).env("GOOGLE_CLOUD_QUOTA_PROJECT", "my-project-1");
    serves("gs", paid);
    all(&bucket.asked(), |asked| {
        asked.project.as_deref() == Some("my-project-1") && asked.authorization.is_some()
    });
    let headers = machine.headers();
    assert!(
        headers.contains("metadata-flavor") && !headers.contains("x-goog-user-project"),
        "{headers:?}"
    );
    // What is written is paid for, too.
    let _ = paid(Sortie::map(
        "returns_bytes",
        ["300000", "--store", "gs://box"],
    ))
    .run()
    .code(0);
    let asked = bucket.asked();
    all(&asked, |asked| asked.project.is_some());
    assert!(
        asked
            .iter()
            .any(|asked| asked.what.starts_with("PUT /box/objects")),
        "{asked:?}"
    );
    // Anonymous requests have no project, and none is sent when none is configured.
    for command in [
        paid(sum_of(&["gs://box/other"])).env("GOOGLE_SKIP_SIGNATURE", "true"),
        over(sum_of(&["gs://box/other"])),
    ] {
        let _ = command.run().code(0);
        all(&bucket.asked(), |asked| asked.project.is_none());
    }
    let s3 = paid(sum_of(&["s3://box/other"])).env("AWS_ENDPOINT_URL", bucket.endpoint());
    let _ = s3
        .env("AWS_ACCESS_KEY_ID", "AKID")
        .env("AWS_SECRET_ACCESS_KEY", "hidden")
        .run()
        .code(0);
    all(&bucket.asked(), |asked| asked.project.is_none());

    let wrong = over(sum_of(&["gs://box/other"])).env("GOOGLE_CLOUD_QUOTA_PROJECT", "two words");
    wrong
        .run()
        .refused(&["`gs://box/other`", "GOOGLE_CLOUD_QUOTA_PROJECT"]);
    assert_eq!(bucket.asked(), []);
    for (code, part) in [
        ("UserProjectMissing", "name the project that does"),
        ("UserProjectAccessDenied", "cannot pay for it"),
    ] {
        bucket.refuse(Refusal {
            status: 400,
            code,
            more: "",
        });
        denied(
            told(over(sum_of(&["gs://box/other"]))),
            "gs://box/other",
            &[part],
        );
    }
}

#[test]
fn a_bucket_may_stand_in_the_servers_name() {
    let bucket = BucketServer::start(Dialect::S3, &[("key", "1")]);
    // No name is resolved for what goes through a proxy.
    let command = sum_of(&["s3://bucket/*"])
        .env("AWS_ENDPOINT_URL", "http://s3.example:9000")
        .env("http_proxy", bucket.endpoint());
    let command = command
        .env("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true")
        .env("AWS_SKIP_SIGNATURE", "true");
    told(command)
        .code(0)
        .found("s3://bucket/key", json!([1, 49]));
    all(&bucket.asked(), |asked| {
        asked.host == "bucket.s3.example" && !asked.what.contains("/bucket")
    });
}
