//! A second server that speaks S3: moto, an implementation in Python that shares nothing with
//! [`S3Server`](crate::S3Server).
//!
//! It keeps objects in memory and takes any signature. Where `cargo xtask setup` could not get it,
//! it says why, and a test that needs it says that it was skipped.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use crate::nats::watchdog;
use crate::patience::patience;
use crate::process::Sortie;
use crate::s3::S3Server;

/// What it says when it listens.
const READY: &str = "Running on http://";
/// Any keys are taken, but a request without is anybody's and may read nothing.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 \
                             Credential=AKIDHARNESS/20260101/us-east-1/s3/aws4_request, \
                             SignedHeaders=host, Signature=0";

/// A server's process. Dropping it kills it.
#[derive(Debug)]
pub struct MotoServer {
    address: SocketAddr,
    server: Child,
    watchdog: Child,
}

impl MotoServer {
    /// Start it and wait until it listens.
    ///
    /// # Errors
    /// When it is not there, for a reason that the setup found.
    ///
    /// # Panics
    /// When the setup was never done, or the server does not start.
    pub fn start() -> Result<Self, String> {
        let folder = folder();
        if let Ok(reason) = std::fs::read_to_string(folder.join("skipped")) {
            return Err(reason.trim().to_owned());
        }
        let packages = folder.join("packages");
        assert!(
            packages.is_dir(),
            "there is no moto in `{}`; run: cargo xtask setup",
            packages.display()
        );
        let mut command = Command::new("python3");
        command
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"])
            .env_clear()
            .env("PYTHONPATH", &packages);
        command.envs(
            ["PATH", "HOME"]
                .into_iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        );
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut server = command.spawn().expect("python3");
        let watchdog = watchdog(server.id());
        let said = server.stderr.take().expect("a pipe");
        let (ready, listening) = mpsc::channel();
        // It ends with the server. Until then it reads, because a full pipe would stop the server.
        std::thread::spawn(move || {
            let mut before = String::new();
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                match line
                    .split_once(READY)
                    .and_then(|(_, address)| address.trim().parse().ok())
                {
                    Some(address) => drop(ready.send(Ok::<SocketAddr, String>(address))),
                    None if before.len() < 4000 => before = before + &line + "\n",
                    None => {}
                }
            }
            let _ = ready.send(Err(before));
        });
        match listening.recv_timeout(patience()) {
            Ok(Ok(address)) => Ok(Self {
                address,
                server,
                watchdog,
            }),
            Ok(Err(said)) => panic!("moto ended instead of starting:\n{said}"),
            Err(_) => panic!("moto did not listen within {:?}", patience()),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it is.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The command with this server, and keys, in the environment.
    #[must_use]
    pub fn for_command(&self, command: Sortie) -> Sortie {
        let (id, secret) = S3Server::KEYS;
        command
            .env("AWS_ENDPOINT_URL", self.endpoint())
            .env("AWS_ACCESS_KEY_ID", id)
            .env("AWS_SECRET_ACCESS_KEY", secret)
    }

    /// Make a bucket.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn create_bucket(&self, bucket: &str) {
        self.send(&format!("/{bucket}"), &[]);
    }

    /// Put an object, or replace it.
    ///
    /// # Panics
    /// When it cannot be put.
    pub fn put(&self, bucket: &str, key: &str, content: &[u8]) {
        let escaped = key.bytes().map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        });
        self.send(
            &format!("/{bucket}/{}", escaped.collect::<String>()),
            content,
        );
    }

    fn send(&self, path: &str, content: &[u8]) {
        let mut stream = TcpStream::connect(self.address).expect("a server of ours");
        stream
            .set_read_timeout(Some(patience()))
            .expect("a socket of ours");
        let head = format!(
            "PUT {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nauthorization: \
             {AUTHORIZATION}\r\n\
             content-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
            self.address,
            content.len()
        );
        let mut answer = Vec::new();
        let asked = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(content))
            .and_then(|()| stream.read_to_end(&mut answer));
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            asked.is_ok() && answer.starts_with("HTTP/1.1 200 "),
            "moto did not take `{path}`: {asked:?} {answer}"
        );
    }
}

impl Drop for MotoServer {
    fn drop(&mut self) {
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Where the setup puts it.
fn folder() -> PathBuf {
    crate::repository().join("target/toolchain/moto")
}
