//! The proxy before a store: what passes is not changed and is counted, a line has its latency and
//! its bandwidth, and each fault is what it says.

use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use sortie_harness::{Fault, Link, Operation, Rule, StoreProxy, WebServer, patience};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// Long enough to notice a byte that passes at once, where none may pass.
const NOTHING: Duration = Duration::from_millis(100);
/// More than the buffers of a connection hold, so that a paced line shows.
const LARGE: usize = 8 << 20;

struct Behind {
    proxy: StoreProxy,
    _web: WebServer,
    _folder: TempDir,
}

fn content() -> Vec<u8> {
    (0..LARGE)
        .map(|at| {
            at.to_le_bytes()
                .iter()
                .fold(7, |sum: u8, byte| sum.wrapping_mul(31).wrapping_add(*byte))
        })
        .collect()
}

/// A server with `bucket/small` and `bucket/large`, behind such a line.
fn behind(link: Link) -> Behind {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("bucket")).unwrap();
    fs::write(folder.path().join("bucket/small"), "0123456789").unwrap();
    fs::write(folder.path().join("bucket/large"), content()).unwrap();
    let web = WebServer::start(folder.path());
    Behind {
        proxy: StoreProxy::start(web.address(), link),
        _web: web,
        _folder: folder,
    }
}

/// How an answer ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
    Open,
}

#[derive(Debug)]
struct Answer {
    head: String,
    body: Vec<u8>,
    end: End,
    first: Duration,
    last: Duration,
}

impl Answer {
    fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// One request over a connection of its own. What comes after `wait` of silence is not waited for.
async fn ask_within(address: SocketAddr, method: &str, path: &str, wait: Duration) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let begin = Instant::now();
    let headers = "host: store\r\nconnection: close\r\nx-amz-security-token: TOKEN\r\n\
                   authorization: AWS4-HMAC-SHA256 \
                   Credential=AKIDTEST/20260101/r/s3/aws4_request, SignedHeaders=host, \
                   Signature=abc123\r\n";
    stream
        .write_all(format!("{method} {path} HTTP/1.1\r\n{headers}\r\n").as_bytes())
        .await
        .unwrap();
    let (mut all, mut first, mut chunk) = (Vec::new(), None, vec![0; 1 << 20]);
    let end = loop {
        match timeout(wait, stream.read(&mut chunk)).await {
            Err(_) => break End::Open,
            Ok(Err(_)) => break End::Reset,
            Ok(Ok(0)) => break End::Closed,
            Ok(Ok(count)) => {
                first.get_or_insert_with(|| begin.elapsed());
                all.extend_from_slice(&chunk[..count]);
            }
        }
    };
    let middle = all
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .map_or(all.len(), |at| at + 4);
    let body = all.split_off(middle);
    let head = String::from_utf8(all).unwrap().to_ascii_lowercase();
    Answer {
        head,
        body,
        end,
        first: first.unwrap_or_default(),
        last: begin.elapsed(),
    }
}

async fn ask(proxy: &StoreProxy, method: &str, path: &str) -> Answer {
    ask_within(proxy.address(), method, path, patience()).await
}

fn whole() -> Behind {
    behind(Link::default())
}

#[tokio::test]
async fn what_passes_is_not_changed_and_is_counted() {
    let behind = whole();
    let direct = ask_within(
        behind._web.address(),
        "GET",
        "/bucket/large?x=y",
        patience(),
    )
    .await;
    let through = ask(&behind.proxy, "GET", "/bucket/large?x=y").await;
    assert_eq!(through.status(), "200");
    assert!(through.body == content() && direct.body == content());
    let etag = |answer: &Answer| {
        answer
            .head
            .lines()
            .find(|line| line.starts_with("etag"))
            .unwrap()
            .to_owned()
    };
    assert_eq!(etag(&through), etag(&direct));
    assert_eq!(
        ask(&behind.proxy, "HEAD", "/bucket/small").await.status(),
        "200"
    );
    assert_eq!(
        ask(&behind.proxy, "GET", "/bucket/none").await.status(),
        "404"
    );
    let counts = behind.proxy.counts();
    assert_eq!(
        (counts.requests, counts.body_bytes, counts.struck),
        (3, LARGE as u64, 0)
    );
    assert_eq!(counts.objects["bucket/large"].gets, 1);
    assert_eq!(counts.objects["bucket/large"].body_bytes, LARGE as u64);
    assert_eq!(
        (
            counts.objects["bucket/small"].gets,
            counts.objects["bucket/small"].heads
        ),
        (0, 1)
    );
    assert_eq!(counts.connections_max, 1);
    behind.proxy.forget();
    assert_eq!(behind.proxy.counts().requests, 0);
}

#[tokio::test]
async fn requests_of_one_connection_follow_each_other_over_one_connection_to_the_server() {
    let behind = whole();
    let mut stream = TcpStream::connect(behind.proxy.address()).await.unwrap();
    for _ in 0..3 {
        stream
            .write_all(b"GET /bucket/small HTTP/1.1\r\nhost: store\r\n\r\n")
            .await
            .unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"0123456789") {
            assert_ne!(
                timeout(patience(), stream.read_buf(&mut seen))
                    .await
                    .unwrap()
                    .unwrap(),
                0
            );
        }
    }
    let counts = behind.proxy.counts();
    assert_eq!(
        (counts.requests, counts.connections, counts.connections_max),
        (3, 1, 1)
    );
}

#[tokio::test]
async fn a_line_has_its_latency() {
    let latency = Duration::from_millis(150);
    let behind = behind(Link {
        latency,
        bytes_per_second: None,
    });
    for method in ["GET", "HEAD"] {
        let answer = ask(&behind.proxy, method, "/bucket/small").await;
        assert!(answer.first >= latency, "{answer:?}");
    }
}

#[tokio::test]
async fn each_connection_has_the_bandwidth_of_the_line_and_is_smooth() {
    let rate = 16 << 20;
    let behind = behind(Link {
        latency: Duration::ZERO,
        bytes_per_second: NonZeroU64::new(rate),
    });
    // Two at once take as long as one, half a second.
    let (a, b) = tokio::join!(
        ask(&behind.proxy, "GET", "/bucket/large"),
        ask(&behind.proxy, "GET", "/bucket/large")
    );
    for answer in [&a, &b] {
        assert!(answer.body == content());
        assert!(
            answer.last >= Duration::from_millis(450),
            "{:?}",
            answer.last
        );
    }
    assert_eq!(behind.proxy.counts().connections_max, 2);
    let mut stream = TcpStream::connect(behind.proxy.address()).await.unwrap();
    stream
        .write_all(b"GET /bucket/large HTTP/1.1\r\nhost: store\r\n\r\n")
        .await
        .unwrap();
    stream.readable().await.unwrap();
    let (begin, mut chunk, mut total) = (Instant::now(), vec![0; 1 << 20], 0);
    while total < LARGE {
        total += timeout(patience(), stream.read(&mut chunk))
            .await
            .unwrap()
            .unwrap();
        // Whatever the reader's own pace, never more has come than the line can have carried, and
        // what it catches up.
        let most = begin.elapsed().as_secs_f64() * rate as f64 + 1e6;
        assert!(
            (total as f64) < most,
            "{total} bytes came within {:?}",
            begin.elapsed()
        );
    }
}

#[tokio::test]
async fn answers_of_errors_are_those_of_s3() {
    let behind = whole();
    for (fault, status, parts) in [
        (Fault::SlowDown, "503", &["<Code>SlowDown</Code>"][..]),
        (Fault::InternalError, "500", &["<Code>InternalError</Code>"]),
        (Fault::AccessDenied, "403", &["<Code>AccessDenied</Code>"]),
        (
            Fault::ExpiredToken,
            "400",
            &["<Code>ExpiredToken</Code>", "<Token-0>TOKEN</Token-0>"],
        ),
        (
            Fault::InvalidAccessKeyId,
            "403",
            &[
                "<Code>InvalidAccessKeyId</Code>",
                "<AWSAccessKeyId>AKIDTEST</AWSAccessKeyId>",
            ],
        ),
        (
            Fault::SignatureDoesNotMatch,
            "403",
            &["<SignatureProvided>abc123</SignatureProvided>"],
        ),
        (
            Fault::NoSuchKey,
            "404",
            &[
                "<Code>NoSuchKey</Code>",
                "<Resource>/bucket/small</Resource>",
            ],
        ),
        (Fault::NoSuchBucket, "404", &["<Code>NoSuchBucket</Code>"]),
        (
            Fault::WrongRegion("eu-central-1"),
            "301",
            &["<Code>PermanentRedirect</Code>", "eu-central-1"],
        ),
        (
            Fault::Redirect("http://127.0.0.1:9/".into()),
            "307",
            &["<Code>TemporaryRedirect</Code>"],
        ),
    ] {
        behind.proxy.add(fault.clone().on(Operation::Any, "small"));
        let answer = ask(&behind.proxy, "GET", "/bucket/small").await;
        assert_eq!(answer.status(), status, "{fault:?}");
        for part in parts {
            assert!(answer.text().contains(part), "{fault:?}: {}", answer.text());
        }
        assert_eq!(
            answer.head.contains("x-amz-bucket-region: eu-central-1"),
            matches!(fault, Fault::WrongRegion(_))
        );
        assert_eq!(
            answer.head.contains("location: "),
            matches!(fault, Fault::Redirect(_))
        );
        let head = ask(&behind.proxy, "HEAD", "/bucket/small").await;
        assert_eq!((head.status(), head.text()), (status, ""));
        behind.proxy.clear();
    }
    assert_eq!(
        ask(&behind.proxy, "GET", "/bucket/small").await.text(),
        "0123456789"
    );
}

#[tokio::test]
async fn bodies_end_in_the_middle_in_the_way_that_the_rule_says() {
    let behind = whole();
    for (fault, end) in [
        (Fault::Truncate, End::Closed),
        (Fault::Reset, End::Reset),
        (Fault::Stall, End::Open),
    ] {
        for path in ["/bucket/small", "/bucket/large"] {
            behind.proxy.add(
                fault
                    .clone()
                    .on(Operation::Get, path.trim_start_matches('/')),
            );
            let answer = ask_within(behind.proxy.address(), "GET", path, NOTHING * 10).await;
            assert_eq!(
                (answer.status(), &answer.end),
                ("200", &end),
                "{fault:?} {path}"
            );
            let total = if path.ends_with("small") { 10 } else { LARGE };
            assert!(
                answer.head.contains(&format!("content-length: {total}")),
                "{}",
                answer.head
            );
            // A reset may also take what the reader had not read yet.
            assert!(
                answer.body.len() == total / 2
                    || end == End::Reset && answer.body.len() < total / 2,
                "{fault:?}: {}",
                answer.body.len()
            );
            behind.proxy.clear();
        }
    }
}

#[tokio::test]
async fn an_etag_can_be_another_and_an_answer_can_never_come() {
    let behind = whole();
    behind
        .proxy
        .add(Fault::WrongEtag.on(Operation::Head, "small"));
    behind.proxy.add(Fault::Silence.on(Operation::List, ""));
    assert!(
        ask(&behind.proxy, "HEAD", "/bucket/small")
            .await
            .head
            .contains("\"00000000000000000000000000000000\"")
    );
    assert!(
        !ask(&behind.proxy, "GET", "/bucket/small")
            .await
            .head
            .contains("\"00000000000000000000000000000000\"")
    );
    let silent = ask_within(
        behind.proxy.address(),
        "GET",
        "/bucket?list-type=2",
        NOTHING,
    )
    .await;
    assert_eq!((silent.head.as_str(), silent.end), ("", End::Open));
}

#[tokio::test]
async fn a_rule_is_about_the_requests_that_it_names_and_as_many() {
    let behind = whole();
    let rules: [Rule; 2] = [
        Fault::SlowDown.on(Operation::Get, "small").nth(2),
        Fault::InternalError.on(Operation::Get, "small").first(1),
    ];
    for rule in rules {
        behind.proxy.add(rule);
    }
    let mut statuses = Vec::new();
    for path in [
        "/bucket/small",
        "/bucket/large",
        "/bucket/small",
        "/bucket/small",
    ] {
        statuses.push(ask(&behind.proxy, "GET", path).await.status().to_owned());
    }
    assert_eq!(statuses, ["500", "200", "503", "200"]);
    assert_eq!(behind.proxy.counts().struck, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_held_waits_until_it_is_released() {
    let behind = whole();
    behind.proxy.add(Fault::Hold.on(Operation::Get, "small"));
    let address = behind.proxy.address();
    let asking = tokio::spawn(ask_within(address, "GET", "/bucket/small", patience()));
    tokio::task::block_in_place(|| behind.proxy.wait_until_struck(1));
    assert!(!asking.is_finished());
    fs::write(behind._folder.path().join("bucket/small"), "other").unwrap();
    behind.proxy.release();
    assert_eq!(asking.await.unwrap().text(), "other");
}
