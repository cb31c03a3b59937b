//! A server that speaks S3, over a folder: each folder in it is a bucket. Requests must be signed
//! with [`S3Server::KEYS`].
//!
//! Objects may be put through it, or written into the folder as files, before and while it runs.

mod store;

use std::net::SocketAddr;
use std::path::Path;

use async_trait::async_trait;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Error, S3ErrorCode, S3Result};
use tokio::net::TcpListener;

use crate::process::Sortie;
use crate::thread::Thread;

use store::Store;

/// A server that ends with its handle.
#[derive(Debug)]
pub struct S3Server {
    address: SocketAddr,
    _thread: Thread,
}

/// What signed requests may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    Everything,
    Read,
}

#[async_trait]
impl S3Access for May {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let operation = context.s3_op().name();
        let reads = ["Get", "Head", "List"]
            .iter()
            .any(|start| operation.starts_with(start));
        let may = context.credentials().is_some() && (reads || *self == Self::Everything);
        if may {
            Ok(())
        } else {
            Err(S3Error::with_message(
                S3ErrorCode::AccessDenied,
                "this user may not do that",
            ))
        }
    }
}

impl S3Server {
    /// The access key id and the secret key that the server knows.
    pub const KEYS: (&str, &str) = ("AKIDHARNESS", "a-secret-of-no-value");

    /// Serve the folders in `folder` as buckets.
    ///
    /// # Panics
    /// When there is no such folder, or no port to listen on.
    pub fn start(folder: &Path) -> Self {
        Self::with(folder, May::Everything)
    }

    /// Serve the folders in `folder` as buckets, and deny every write.
    ///
    /// # Panics
    /// When there is no port to listen on.
    pub fn start_read_only(folder: &Path) -> Self {
        Self::with(folder, May::Read)
    }

    fn with(folder: &Path, may: May) -> Self {
        let service = {
            let mut builder = S3ServiceBuilder::new(Store::over(folder));
            builder.set_auth(SimpleAuth::from_single(Self::KEYS.0, Self::KEYS.1));
            builder.set_access(may);
            builder.build()
        };
        let (thread, listener, address) = Thread::listening();
        thread.run(serve(listener, service));
        Self {
            address,
            _thread: thread,
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

    /// The command with this server and its keys in the environment.
    #[must_use]
    pub fn for_command(&self, command: Sortie) -> Sortie {
        command
            .env("AWS_ENDPOINT_URL", self.endpoint())
            .env("AWS_ACCESS_KEY_ID", Self::KEYS.0)
            .env("AWS_SECRET_ACCESS_KEY", Self::KEYS.1)
    }
}

async fn serve(listener: TcpListener, service: S3Service) {
    while let Ok((stream, _)) = listener.accept().await {
        let service = service.clone();
        tokio::spawn(async move {
            // A client that goes away in the middle is its own business.
            let _ = Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
