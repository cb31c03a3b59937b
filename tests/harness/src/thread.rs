//! A thread of its own for a server, so that it also works for a test that blocks.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};

/// A runtime that ends with its handle, wherever that is dropped.
#[derive(Debug)]
pub(crate) struct Thread {
    /// Always there until the drop.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Thread {
    /// A runtime, and a port of the system's choice on the loopback interface.
    ///
    /// # Panics
    /// When there is no port to listen on.
    pub(crate) fn listening() -> (Self, TcpListener, SocketAddr) {
        let runtime = runtime();
        let handle = runtime.handle().clone();
        let listener =
            std::net::TcpListener::bind("127.0.0.1:0").expect("a port of the system's choice");
        let address = listener.local_addr().expect("a bound socket");
        listener.set_nonblocking(true).expect("a socket of ours");
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener).expect("a socket of ours")
        };
        (
            Self {
                runtime: Some(runtime),
                handle,
            },
            listener,
            address,
        )
    }

    /// Run this until it ends or the handle is dropped.
    pub(crate) fn run(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(future);
    }

    /// Wait for this, where a test may block.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.handle.block_on(future)
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // Not waited for: a test may drop this where it must not block.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A runtime with one thread of its own, for a server.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}
