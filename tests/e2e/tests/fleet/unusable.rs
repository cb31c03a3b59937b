//! A broker that cannot be used: what the caller has to mend ends every command with exit code 2,
//! what the network or the server has to mend with 3.

use sortie_harness::{NatsServer, Sortie, component};
use tokio::runtime::Runtime;

use crate::beside::refused;

/// Commands of all kinds, over this broker.
fn commands(broker: &[&str]) -> Vec<Sortie> {
    let behaviours = component("behaviours");
    let behaviours = behaviours.to_str().unwrap();
    [
        &["map", behaviours, "echo", "x"][..],
        &["map", behaviours, "echo", "x", "--detach"],
        &["call", behaviours, "echo", "x"],
        &["job", "list"],
        &["job", "gather", "job-ab12"],
        &["dlq", "list"],
        &["worker"],
        &["worker", "list"],
        &["broker", "check"],
        &["broker", "init"],
    ]
    .map(|words| {
        Sortie::new(words)
            .args(broker)
            .args(["--connect-timeout", "3s"])
    })
    .into()
}

/// Every command ends so.
fn all_end(broker: &[&str], code: i32, parts: &[&str]) {
    for command in commands(broker) {
        let ran = command.run();
        assert!(!ran.stderr.contains("hidden"), "{ran}");
        refused(ran, code, parts);
    }
}

#[test]
fn what_is_no_broker_is_wrong_usage() {
    for url in [
        "http://me:hidden@host",
        "nats://me:hidden@host:99999",
        "nats://",
        "one two",
        "",
    ] {
        let parts = [
            "--broker: ",
            "is not the address of a broker",
            "nats://host:4222",
        ];
        all_end(&["--broker", url], 2, &parts);
    }
}

#[test]
fn files_that_are_not_what_they_should_be_are_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.pem");
    std::fs::write(&other, "hidden\n").unwrap();
    let (missing, other) = ("/no/such.pem", other.to_str().unwrap());
    for (options, part) in [
        (
            &["--creds", missing][..],
            "--creds: `/no/such.pem` cannot be read",
        ),
        (&["--creds", other], "is not a credentials file"),
        (
            &["--tls-ca", missing],
            "--tls-ca: `/no/such.pem` cannot be read",
        ),
        (&["--tls-ca", other], "has no certificate"),
        (&["--tls-cert", other, "--tls-key", other], "--tls-cert: "),
    ] {
        let broker = [&["--broker", "nats://127.0.0.1:1"][..], options].concat();
        all_end(&broker, 2, &[part]);
    }
}

#[test]
fn a_broker_that_is_not_there_or_refuses_is_a_failure_of_the_platform() {
    let runtime = Runtime::new().unwrap();
    let config = "authorization { user: me, password: right }";
    let server = runtime.block_on(NatsServer::builder().config(config).start());
    let at = |scheme: &str, user: &str| format!("{scheme}://{user}{}", server.address());
    for (url, part) in [
        ("nats://127.0.0.1:1".into(), "does not answer"),
        ("nats://no-such-host.invalid".into(), "does not answer"),
        (at("nats", "me:hidden@"), "refuses"),
        (at("nats", ""), "refuses"),
        (at("tls", "me:right@"), "does not speak TLS"),
    ] {
        all_end(&["--broker", &url], 3, &[part]);
    }
}
