//! One real server: what survives its end, and what ends with it.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use async_nats::jetstream;
use sortie_harness::{NatsServer, nats_server_too_old, patience};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

/// Long enough to notice an answer that comes at once, where none may come.
const NOTHING: Duration = Duration::from_millis(100);
/// Asks [`a_server_whose_test_is_killed`] to start a server and wait.
const LEFT: &str = "SORTIE_HARNESS_LEFT";

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut ticks = interval(Duration::from_millis(5));
    let waiting = async {
        while !holds().await {
            ticks.tick().await;
        }
    };
    timeout(patience(), waiting)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen within {:?}", patience()));
}

async fn messages(server: &NatsServer) -> u64 {
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    context
        .get_stream("KEPT")
        .await
        .unwrap()
        .info()
        .await
        .unwrap()
        .state
        .messages
}

async fn fill(server: &NatsServer) {
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let config = jetstream::stream::Config {
        name: "KEPT".into(),
        subjects: vec!["kept.>".into()],
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    for number in 0..3 {
        context
            .publish(format!("kept.{number}"), "x".into())
            .await
            .unwrap()
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn messages_survive_a_kill_and_a_restart_at_the_same_address() {
    let server = NatsServer::start().await;
    let (url, pid) = (server.url(), server.pid());
    fill(&server).await;
    server.kill();
    assert_eq!(server.pid(), None);
    assert!(TcpStream::connect(server.address()).await.is_err());
    server.restart().await;
    assert_eq!(server.url(), url);
    assert_ne!(server.pid(), pid);
    assert_eq!(messages(&server).await, 3);
}

#[tokio::test]
async fn a_server_that_is_asked_to_stop_says_so_in_its_log() {
    let server = NatsServer::start().await;
    fill(&server).await;
    server.stop().await;
    assert!(server.log().contains("Server Exiting"), "{}", server.log());
    server.restart().await;
    assert_eq!(messages(&server).await, 3);
}

#[tokio::test]
async fn a_paused_server_answers_only_after_it_was_resumed() {
    let server = NatsServer::start().await;
    let client = async_nats::connect(server.url()).await.unwrap();
    server.pause();
    let context = jetstream::new(client);
    let mut asked = Box::pin(context.query_account());
    assert!(timeout(NOTHING, &mut asked).await.is_err());
    server.resume();
    asked.await.unwrap();
}

#[tokio::test]
async fn a_server_has_the_configuration_that_it_was_built_with() {
    let server = NatsServer::builder()
        .max_payload(2048)
        .monitoring()
        .jetstream("max_file_store: 1MB")
        .start()
        .await;
    let client = async_nats::connect(server.url()).await.unwrap();
    assert_eq!(client.server_info().max_payload, 2048);
    assert_eq!(
        server
            .monitor("/jsz")
            .await
            .pointer("/config/max_storage")
            .unwrap(),
        1 << 20
    );
    let plain = NatsServer::builder()
        .without_jetstream()
        .config("server_name: plain")
        .monitoring()
        .start()
        .await;
    assert_eq!(plain.monitor("/varz").await["server_name"], "plain");
    assert!(
        jetstream::new(async_nats::connect(plain.url()).await.unwrap())
            .query_account()
            .await
            .is_err()
    );
}

#[tokio::test]
async fn an_account_s_user_needs_the_password() {
    let server = NatsServer::builder()
        .accounts("A: { jetstream: enabled, users: [{ user: ann, password: open }] }")
        .start()
        .await;
    let with = |password: &str| {
        async_nats::ConnectOptions::with_user_and_password("ann".into(), password.into())
            .connect(server.url())
    };
    with("open").await.unwrap();
    assert!(with("shut").await.is_err());
}

#[tokio::test]
async fn the_server_that_is_too_old_says_its_version() {
    let server = NatsServer::builder()
        .program(nats_server_too_old())
        .start()
        .await;
    let client = async_nats::connect(server.url()).await.unwrap();
    assert_eq!(client.server_info().version, "2.11.11");
}

#[tokio::test]
async fn a_server_ends_with_its_handle() {
    let server = NatsServer::start().await;
    let (address, folder) = (server.address(), server.folder().to_owned());
    server.pause();
    drop(server);
    assert!(TcpStream::connect(address).await.is_err());
    assert!(!folder.exists());
}

/// Not a check of its own: the test below runs it in a process of its own.
#[tokio::test]
async fn a_server_whose_test_is_killed() {
    if std::env::var_os(LEFT).is_some() {
        let server = NatsServer::start().await;
        println!("server {} {}", server.address(), server.folder().display());
        std::future::pending::<()>().await;
    }
}

#[tokio::test]
async fn a_server_ends_when_its_test_is_killed() {
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args([
        "--exact",
        "nats::a_server_whose_test_is_killed",
        "--nocapture",
    ])
    .env(LEFT, "1")
    .stdout(Stdio::piped());
    let mut test = test.spawn().unwrap();
    let mut lines = BufReader::new(test.stdout.take().unwrap()).lines();
    // The test harness writes its own words to the same line.
    let server = lines
        .find_map(|line| {
            line.unwrap()
                .split_once("server ")
                .map(|(_, server)| server.to_owned())
        })
        .unwrap();
    let (address, folder) = server.split_once(' ').unwrap();
    TcpStream::connect(address).await.unwrap();
    test.kill().unwrap();
    test.wait().unwrap();
    until("the server's end", async || {
        TcpStream::connect(address).await.is_err()
    })
    .await;
    // Nobody was left to do it.
    std::fs::remove_dir_all(folder).unwrap();
}
