//! Who is there: certificates on both sides, and credentials in operator mode.

use std::path::{Path, PathBuf};

use sortie_broker::nats::{Config, NatsBroker, Tls};
use sortie_harness::{NatsServer, repository};

use crate::support::{Follower, LONG, assert_error, config, publish, put_job, work};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/nats")
        .join(name)
}

async fn runs_a_task(config: Config) {
    let broker = NatsBroker::connect(config).await.unwrap();
    let job = put_job(&broker).await;
    publish(&broker, job, [0]).await;
    work(&broker).await;
    Follower::of(&broker, job).await.sees_all(1).await;
}

#[tokio::test]
async fn a_server_with_a_certificate_is_used_by_who_knows_its_authority() {
    let server = NatsServer::builder()
        .tls(&file("tls/server.pem"), &file("tls/server.key"))
        .start()
        .await;
    let tls = Tls {
        authorities: Some(file("tls/authority.pem")),
        ..Tls::default()
    };
    runs_a_task(Config {
        tls: tls.clone(),
        ..config(&server.url(), LONG)
    })
    .await;
    // The server asks for TLS where the URL does not.
    runs_a_task(Config {
        tls,
        ..config(&server.url().replace("tls://", "nats://"), LONG)
    })
    .await;
    assert_error!(
        NatsBroker::connect(config(&server.url(), LONG)).await,
        Unreachable,
        says "certificate", &server.address().to_string()
    );
    let authorities = Some(server.folder().join("missing.pem"));
    let missing = Config {
        tls: Tls {
            authorities,
            ..Tls::default()
        },
        ..config(&server.url(), LONG)
    };
    assert_error!(
        NatsBroker::connect(missing).await,
        Misconfigured,
        says "missing.pem"
    );
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_required() {
    let server = NatsServer::start().await;
    let required = Tls {
        required: true,
        authorities: Some(file("tls/authority.pem")),
        identity: None,
    };
    assert_error!(
        NatsBroker::connect(Config {
            tls: required,
            ..config(&server.url(), LONG)
        })
        .await,
        Unsuitable,
        says & server.address().to_string(),
        "does not speak TLS"
    );
}

/// The configuration with TLS as it is deployed asks for certificates of clients too.
#[tokio::test]
async fn certificates_of_clients_are_asked_for_and_shown() {
    let server = crate::security::deployed("server.conf")
        .variable(
            "SORTIE_NATS_CERTIFICATE",
            &format!("{:?}", file("tls/server.pem").display()),
        )
        .variable(
            "SORTIE_NATS_KEY",
            &format!("{:?}", file("tls/server.key").display()),
        )
        .variable(
            "SORTIE_NATS_AUTHORITY",
            &format!("{:?}", file("tls/authority.pem").display()),
        )
        .config("include \"tls.conf\"")
        .speaks_tls()
        .start()
        .await;
    assert!(repository().join("deploy/nats/tls.conf").is_file());
    let url = format!("tls://operator:operator-pw@{}", server.address());
    let authorities = Some(file("tls/authority.pem"));
    let identity = Some((file("tls/client.pem"), file("tls/client.key")));
    let shown = Tls {
        required: true,
        authorities: authorities.clone(),
        identity,
    };
    runs_a_task(Config {
        tls: shown,
        ..config(&url, LONG)
    })
    .await;
    let hidden = Tls {
        required: true,
        authorities,
        identity: None,
    };
    let error = NatsBroker::connect(Config {
        tls: hidden,
        ..config(&url, LONG)
    })
    .await;
    assert!(error.is_err(), "{error:?}");
}

#[tokio::test]
async fn credentials_of_an_operators_account_open_and_a_strangers_do_not() {
    let lines = std::fs::read_to_string(file("operator/operator.conf")).unwrap();
    let server = NatsServer::builder().config(&lines).start().await;
    let with = |name: &str| Config {
        credentials: Some(file(name)),
        ..config(&server.url(), LONG)
    };
    runs_a_task(with("operator/user.creds")).await;
    assert_error!(
        NatsBroker::connect(with("operator/stranger.creds")).await,
        Denied,
        says "credentials", &server.address().to_string()
    );
    assert_error!(
        NatsBroker::connect(config(&server.url(), LONG)).await,
        Denied,
        says "credentials"
    );
}
