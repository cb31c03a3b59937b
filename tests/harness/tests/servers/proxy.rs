//! The bad network: each control holds when it returns, and ends with `mend`.

use std::net::SocketAddr;
use std::time::Duration;

use async_nats::jetstream;
use futures::StreamExt as _;
use sortie_harness::{NatsServer, TcpProxy, patience};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Long enough to notice a byte that passes at once, where none may pass.
const NOTHING: Duration = Duration::from_millis(100);

/// A server that puts a byte of its own before what it sends back.
async fn echo(name: u8) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(&[name]).await?;
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await
            });
        }
    });
    address
}

async fn connect(proxy: &TcpProxy, name: u8) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(
        timeout(patience(), stream.read_u8())
            .await
            .unwrap()
            .unwrap(),
        name
    );
    stream
}

async fn comes_back(stream: &mut TcpStream, number: u32) {
    stream.write_u32(number).await.unwrap();
    assert_eq!(
        timeout(patience(), stream.read_u32())
            .await
            .unwrap()
            .unwrap(),
        number
    );
}

async fn is_closed(mut stream: TcpStream) -> bool {
    matches!(
        timeout(patience(), stream.read(&mut [0])).await.unwrap(),
        Ok(0) | Err(_)
    )
}

#[tokio::test]
async fn bytes_pass_in_both_directions_and_so_does_the_end() {
    let proxy = TcpProxy::start(echo(b'a').await);
    let mut stream = connect(&proxy, b'a').await;
    let sent: Vec<u8> = (0..1 << 20)
        .map(|number: u32| number.to_le_bytes()[0])
        .collect();
    let (mut reader, mut writer) = stream.split();
    let mut back = Vec::new();
    let sending = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let (_, read) = timeout(patience(), async {
        tokio::join!(sending, reader.read_to_end(&mut back))
    })
    .await
    .unwrap();
    read.unwrap();
    assert!(
        back == sent,
        "{} of {} bytes came back",
        back.len(),
        sent.len()
    );
}

#[tokio::test]
async fn a_cut_closes_connections_and_refuses_new_ones_until_it_is_mended() {
    let proxy = TcpProxy::start(echo(b'a').await);
    let mut before = connect(&proxy, b'a').await;
    comes_back(&mut before, 1).await;
    proxy.cut();
    assert!(is_closed(before).await);
    let during = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(is_closed(during).await);
    proxy.mend();
    comes_back(&mut connect(&proxy, b'a').await, 2).await;
}

#[tokio::test]
async fn a_stall_keeps_connections_and_loses_nothing() {
    let proxy = TcpProxy::start(echo(b'a').await);
    let mut stream = connect(&proxy, b'a').await;
    proxy.stall();
    stream.write_u32(7).await.unwrap();
    let mut new = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(timeout(NOTHING, stream.read_u8()).await.is_err());
    assert!(timeout(NOTHING, new.read_u8()).await.is_err());
    proxy.mend();
    assert_eq!(
        timeout(patience(), stream.read_u32())
            .await
            .unwrap()
            .unwrap(),
        7
    );
    assert_eq!(
        timeout(patience(), new.read_u8()).await.unwrap().unwrap(),
        b'a'
    );
}

#[tokio::test]
async fn new_connections_go_to_the_new_target() {
    let proxy = TcpProxy::start(echo(b'a').await);
    let mut old = connect(&proxy, b'a').await;
    proxy.retarget(echo(b'b').await);
    comes_back(&mut connect(&proxy, b'b').await, 1).await;
    comes_back(&mut old, 2).await;
}

#[tokio::test]
async fn only_the_chosen_messages_are_lost() {
    let server = NatsServer::builder().without_jetstream().start().await;
    let proxy = TcpProxy::for_nats(server.address());
    let mut all = async_nats::connect(server.url())
        .await
        .unwrap()
        .subscribe(">")
        .await
        .unwrap();
    let client = async_nats::connect(proxy.url()).await.unwrap();
    let mut next = async || {
        timeout(patience(), all.next())
            .await
            .unwrap()
            .unwrap()
            .subject
            .to_string()
    };

    proxy.swallow("lost.");
    for subject in ["lost.1", "kept.1", "lost.2", "kept.2"] {
        client
            .publish(subject, "x".repeat(100_000).into())
            .await
            .unwrap();
    }
    assert_eq!([next().await, next().await], ["kept.1", "kept.2"]);
    assert_eq!(proxy.swallowed(), 2);
    proxy.mend();
    proxy.swallow_next("lost.");
    for subject in ["lost.3", "lost.4"] {
        client.publish(subject, "x".into()).await.unwrap();
    }
    assert_eq!(next().await, "lost.4");
    assert_eq!(proxy.swallowed(), 3);
}

#[tokio::test]
async fn a_lost_acknowledgement_brings_the_message_again() {
    let server = NatsServer::start().await;
    let proxy = TcpProxy::for_nats(server.address());
    let context = jetstream::new(async_nats::connect(proxy.url()).await.unwrap());
    let config = jetstream::stream::Config {
        name: "ONE".into(),
        subjects: vec!["one".into()],
        ..Default::default()
    };
    let stream = context.create_stream(config).await.unwrap();
    context
        .publish("one", "x".into())
        .await
        .unwrap()
        .await
        .unwrap();
    let ack_wait = Duration::from_millis(200);
    let config = jetstream::consumer::pull::Config {
        durable_name: Some("c".into()),
        ack_wait,
        ..Default::default()
    };
    let mut messages = stream
        .create_consumer(config)
        .await
        .unwrap()
        .messages()
        .await
        .unwrap();

    proxy.swallow_next("$JS.ACK.");
    for delivered in 1..=2 {
        let message = timeout(patience(), messages.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(message.info().unwrap().delivered, delivered);
        message.ack().await.unwrap();
    }
    proxy.wait_until_swallowed(1).await;
}

#[tokio::test]
async fn a_client_finds_its_way_back_after_a_cut() {
    let server = NatsServer::start().await;
    let proxy = TcpProxy::for_nats(server.address());
    // A request that the cut swallows is given up after this.
    let options = async_nats::ConnectOptions::new().request_timeout(Some(NOTHING));
    let client = options.connect(proxy.url()).await.unwrap();
    proxy.cut();
    proxy.mend();
    let asking = async { while client.request("$JS.API.INFO", "".into()).await.is_err() {} };
    timeout(patience(), asking).await.unwrap();
}
