//! Requests to a server's monitoring port: the least of HTTP that gets JSON.

use std::io::{Error, Result};
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::patience::patience;

/// Far more than a server with a few hundred streams has to say.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// The JSON at a path, whatever the status is.
pub(super) async fn get(address: SocketAddr, path: &str) -> Result<Value> {
    let mut answer = Vec::new();
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())
            .await?;
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await
    };
    timeout(patience(), asking)
        .await
        .map_err(|_| Error::other("it took too long"))??;
    let head = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .ok_or_else(|| Error::other("an answer without an end of its head"))?;
    serde_json::from_slice(&answer[head + 4..]).map_err(Error::other)
}
