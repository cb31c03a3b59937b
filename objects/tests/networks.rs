//! Where a worker reads web servers: not at addresses that are not public, by whatever name or
//! redirect they are reached.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use sortie_harness::HabitServer;
use sortie_objects::{Address, Config, Error, Networks, Object, Objects};
use sortie_protocol::Advice;
use sortie_protocol::outcome::InputFault;
use tokio::runtime::Handle;

async fn open(allowed: &[&str], url: &str) -> Result<Object, Error> {
    let allowed = allowed
        .iter()
        .map(|network| network.parse().unwrap())
        .collect();
    let config = Config {
        web_networks: Networks::PublicAnd(allowed),
        ..Config::default()
    };
    let address: Address = url.parse().unwrap();
    Objects::new(config, Handle::current())
        .open(&address, None)
        .await
}

async fn is_closed(allowed: &[&str], url: &str) {
    let error = open(allowed, url).await.unwrap_err();
    assert_eq!(error.fault, InputFault::Denied, "{url}: {error}");
    assert_eq!(error.advice, Some(Advice::AllowNetworks), "{url}: {error}");
    assert!(!error.for_guest().contains("127"), "{url}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_public_is_not_read_unless_it_is_allowed() {
    let server = HabitServer::start();
    let url = server.url("plain/small");
    let by_name = url.replace("127.0.0.1", "localhost");
    let mapped = url.replace("127.0.0.1", "[::ffff:127.0.0.1]");
    for url in [&url, &by_name, &mapped] {
        is_closed(&[], url).await;
        is_closed(&["10.0.0.0/8"], url).await;
    }
    for url in [
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/latest/meta-data/",
        "http://2852039166/latest/meta-data/",
        "http://10.0.0.1/a",
        "http://[fe80::1]/a",
        "http://224.0.0.1/a",
    ] {
        is_closed(&["127.0.0.1"], url).await;
    }
    assert_eq!(server.asked(), [""; 0]);
    for url in [&url, &by_name] {
        let object = open(&["127.0.0.0/8"], url).await.unwrap();
        assert_eq!(
            object.read(0..100).await.unwrap(),
            HabitServer::content("small")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_checked_as_the_first_request_is() {
    let server = HabitServer::start();
    let away = |to: &str| server.url(&format!("away/file?{to}"));
    let port = server.url("").replace("http://127.0.0.1", "");
    for to in [
        format!("http://127.0.0.2{port}plain/small"),
        "http://169.254.169.254/latest/meta-data/".into(),
        format!("http://[::1]{port}plain/small"),
        format!("http://[::ffff:127.0.0.2]{port}plain/small"),
    ] {
        is_closed(&["127.0.0.1"], &away(&to)).await;
    }
    let object = open(&["127.0.0.1"], &away(&server.url("plain/small")))
        .await
        .unwrap();
    assert_eq!(object.info().size, 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_does_not_learn_which_url_led_to_it() {
    let (signer, other) = (HabitServer::start(), HabitServer::start());
    let target = other.url("plain/small?X-Amz-Signature=SECRET");
    let object = open(&["127.0.0.1"], &signer.url(&format!("away/file?{target}")))
        .await
        .unwrap();
    assert_eq!(object.info().size, 12);
    let asked = other.asked();
    assert!(
        !asked.is_empty() && asked.iter().all(|line| !line.contains("from")),
        "{asked:?}"
    );
}
