//! What a person hears when a broker cannot be used: what, where and what to do, soon, and without
//! secrets.

use std::time::Duration;

use sortie_broker::nats::{Config, NatsBroker, Provision, Role};
use sortie_harness::{NatsServer, TcpProxy, nats_server_too_old};
use sortie_protocol::Advice;

use crate::support::{LONG, SHORT, Stopwatch, assert_error, config, connect};

/// Far above what a connection takes, far below the limits that a test would wait for in vain.
const SOON: Duration = Duration::from_secs(8);

async fn refused(config: Config) -> sortie_broker::Error {
    let watch = Stopwatch::start();
    let error = NatsBroker::connect(config).await.expect_err("an error");
    assert!(
        watch.elapsed() < SOON,
        "it took {:?}: {error}",
        watch.elapsed()
    );
    error
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_its_password() {
    let server = NatsServer::start().await;
    let address = server.address();
    server.kill();
    let error = refused(config(&format!("nats://me:secret@{address}"), SHORT)).await;
    assert_error!(Err::<(), _>(error), Unreachable, says & address.to_string());
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_within_the_connect_time() {
    let server = NatsServer::start().await;
    let proxy = TcpProxy::start(server.address());
    proxy.stall();
    let connect_time_max = Duration::from_secs(1);
    let error = refused(Config {
        connect_time_max,
        ..config(&format!("nats://me:secret@{}", proxy.address()), SHORT)
    })
    .await;
    assert_error!(
        Err::<(), _>(error),
        Unreachable,
        says & proxy.address().to_string(),
        "1s"
    );
}

/// A worker may start while a cluster has no leader, and is not told to ask for permissions.
#[tokio::test]
async fn a_layout_that_is_not_answered_for_is_no_missing_permission() {
    const USERS: &str = r#"authorization { users: [
        { user: all, password: pw }
        { user: few, password: pw, permissions { publish { deny: "$JS.API.STREAM.CREATE.>" } } }
    ] }"#;
    let server = NatsServer::builder().config(USERS).start().await;
    connect(&format!("nats://all:pw@{}", server.address()), LONG).await;
    let proxy = TcpProxy::for_nats(server.address());
    let few = config(&format!("nats://few:pw@{}", proxy.address()), LONG);
    NatsBroker::connect(few.clone()).await.unwrap();
    proxy.swallow("$JS.API.DIRECT.GET.sortie-meta");
    assert_error!(Err::<(), _>(refused(few).await), Unreachable, says "no answer", "sortie-meta");
}

/// A server that is about to start, or a proxy in front of one, takes connections and ends them.
#[tokio::test]
async fn a_server_that_ends_connections_before_it_greets_is_tried_again() {
    let server = NatsServer::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let target = server.address();
    tokio::spawn(async move {
        for _ in 0..3 {
            drop(listener.accept().await);
        }
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(target).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    let broker = NatsBroker::connect(config(&format!("nats://{address}"), LONG))
        .await
        .unwrap();
    assert!(broker.is_connected());
}

/// In which order servers are tried is up to chance, so it is tried a few times.
#[tokio::test]
async fn a_server_that_says_nothing_does_not_hide_the_others() {
    let server = NatsServer::start().await;
    let proxy = TcpProxy::start(server.address());
    proxy.stall();
    for _ in 0..6 {
        let servers = format!("{},{}", proxy.url(), server.url());
        NatsBroker::connect(Config {
            connect_time_max: Duration::from_secs(5),
            ..config(&servers, SHORT)
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn a_wrong_password_is_denied() {
    let server = NatsServer::builder()
        .config("authorization { user: me, password: right }")
        .start()
        .await;
    let error = refused(config(
        &format!("nats://me:secret@{}", server.address()),
        SHORT,
    ))
    .await;
    assert_error!(
        Err::<(), _>(error),
        Denied,
        says & server.address().to_string(),
        "password"
    );
    let right = format!("nats://me:right@{}", server.address());
    NatsBroker::connect(config(&right, SHORT)).await.unwrap();
    let error = refused(config(&server.url(), SHORT)).await;
    assert_error!(Err::<(), _>(error), Denied, says "missing");
}

#[tokio::test]
async fn credentials_that_cannot_be_used_are_named() {
    let server = NatsServer::start().await;
    let missing = server.folder().join("missing.creds");
    let error = refused(Config {
        credentials: Some(missing),
        ..config(&server.url(), SHORT)
    })
    .await;
    assert_error!(Err::<(), _>(error), Misconfigured, says "missing.creds");
    let garbage = server.folder().join("garbage.creds");
    std::fs::write(&garbage, b"-----BEGIN NATS USER JWT-----\nsecret").unwrap();
    let error = refused(Config {
        credentials: Some(garbage),
        ..config(&server.url(), SHORT)
    })
    .await;
    assert_error!(Err::<(), _>(error), Misconfigured, says "garbage.creds");
}

#[tokio::test]
async fn a_server_that_is_too_old_is_told_with_both_versions() {
    let server = NatsServer::builder()
        .program(nats_server_too_old())
        .start()
        .await;
    let error = refused(config(&server.url(), SHORT)).await;
    assert_error!(Err::<(), _>(error), Unsuitable, says "2.11.11", "2.12");
}

#[tokio::test]
async fn a_server_without_jetstream_is_told_what_to_start_it_with() {
    let server = NatsServer::builder().without_jetstream().start().await;
    let error = refused(config(&server.url(), SHORT)).await;
    assert_error!(Err::<(), _>(error), Unsuitable, says "JetStream", "-js");
    let error = refused(Config {
        provision: Provision::Never,
        ..config(&server.url(), SHORT)
    })
    .await;
    assert_error!(Err::<(), _>(error), Unsuitable, says "JetStream", "-js");
}

#[tokio::test]
async fn an_account_without_jetstream_is_told_so() {
    let accounts = "PLAIN { users: [{ user: me, password: right }] }\n\
        OTHER { jetstream: enabled, users: [{ user: other, password: x }] }";
    let server = NatsServer::builder().accounts(accounts).start().await;
    let url = format!("nats://me:right@{}", server.address());
    for provision in [config("", SHORT).provision, Provision::Never] {
        let error = refused(Config {
            provision,
            ..config(&url, SHORT)
        })
        .await;
        assert_error!(Err::<(), _>(error), Unsuitable, says "JetStream", "account");
    }
}

#[tokio::test]
async fn an_empty_server_advises_to_lay_it_out() {
    let server = NatsServer::start().await;
    for role in [Role::Client, Role::Worker] {
        let error = refused(Config {
            role,
            provision: Provision::Never,
            ..config(&server.url(), SHORT)
        })
        .await;
        assert_eq!(error.advice(), Some(Advice::InitBroker));
        assert_error!(Err::<(), _>(error), Unsuitable, says "not laid out");
    }
    connect(&server.url(), SHORT).await;
    let other = Config {
        tenant: "other".parse().unwrap(),
        provision: Provision::Never,
        ..config(&server.url(), SHORT)
    };
    let error = refused(other).await;
    let tenant = "other".to_owned();
    assert_eq!(error.advice(), Some(Advice::InitTenant { tenant }));
    assert_error!(Err::<(), _>(error), Unsuitable, says "no tenant `other`");
}

/// A server whose JetStream does not answer is away, not empty.
#[tokio::test]
async fn a_server_that_does_not_answer_is_not_taken_for_an_empty_one() {
    let server = NatsServer::start().await;
    connect(&server.url(), SHORT).await;
    let proxy = TcpProxy::for_nats(server.address());
    proxy.swallow("$JS.API");
    let answer_time_max = Duration::from_secs(1);
    let error = refused(Config {
        answer_time_max,
        provision: Provision::Never,
        ..config(&proxy.url(), SHORT)
    })
    .await;
    assert_error!(
        Err::<(), _>(error),
        Unreachable,
        says & proxy.address().to_string()
    );
}

#[tokio::test]
async fn brokers_that_lay_out_an_empty_server_at_once_agree() {
    let server = NatsServer::start().await;
    let url = server.url();
    let (one, two, three) = tokio::join!(
        connect(&url, SHORT),
        connect(&url, SHORT),
        connect(&url, SHORT)
    );
    assert_eq!([one.lease(), two.lease(), three.lease()], [SHORT; 3]);
    // A process with another configuration gets an error or the existing layout; there are never
    // two layouts.
    let server = NatsServer::start().await;
    let url = server.url();
    let (one, two) = tokio::join!(
        NatsBroker::connect(config(&url, SHORT)),
        NatsBroker::connect(config(&url, LONG))
    );
    let lease = connect(&url, SHORT).await.lease();
    let mut made = 0;
    for tried in [one, two] {
        match tried {
            Ok(broker) => made += usize::from(broker.lease() == lease),
            Err(error) => assert_error!(Err::<(), _>(error), Unsuitable, says "cannot be created"),
        }
    }
    assert!(made >= 1);
}
