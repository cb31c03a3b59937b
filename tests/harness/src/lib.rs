//! What the integration tests share: the `sortie` binary as a process, components, servers, a bad
//! network, and places for files.
//!
//! Every wait ends on a condition, never on the passing of time. [`patience`] guards each of them
//! against hanging. A failure shows
//! the command and what it said. Servers listen on a loopback port of the system's choice and end
//! with their handle. Nothing here is built or downloaded: what is missing is named
//! with the command that makes it.

mod buckets;
mod habits;
mod http;
mod moto;
mod nats;
mod patience;
mod process;
mod proxy;
mod s3;
mod services;
mod store_proxy;
mod thread;
mod warm;
mod web;

use std::env;
use std::path::{Path, PathBuf};

pub use buckets::{Asked, BucketServer, Dialect, Refusal};
pub use habits::HabitServer;
pub use moto::MotoServer;
pub use nats::{NatsBuilder, NatsCluster, NatsServer, nats_server, nats_server_too_old};
pub use patience::{patience, until, until_asked, within};
pub use process::{Ran, Running, Sortie};
pub use proxy::TcpProxy;
pub use s3::S3Server;
pub use services::CredentialServer;
pub use store_proxy::{Counts, Fault, Link, ObjectCounts, Operation, Rule, StoreProxy};
pub use warm::cache;
pub use web::WebServer;

/// The `sortie` binary: `SORTIE_BIN` if it is set, else the one of the build that this program
/// belongs to.
///
/// # Panics
/// When it is not there.
pub fn binary() -> PathBuf {
    let path = env::var_os("SORTIE_BIN").map_or_else(|| build().join("sortie"), PathBuf::from);
    assert!(
        path.is_file(),
        "there is no binary `{}`; run: cargo build --package sortie-cli",
        path.display()
    );
    path
}

/// A program of the examples, of the same build.
///
/// # Panics
/// When it is not there.
pub fn example(name: &str) -> PathBuf {
    let path = build().join(name);
    assert!(
        path.is_file(),
        "there is no binary `{}`; run: cargo build --package {name}",
        path.display()
    );
    path
}

/// The task runner's binary, of the same build.
///
/// # Panics
/// When it is not there.
pub fn task_runner() -> PathBuf {
    let path = build().join("xtask");
    assert!(
        path.is_file(),
        "there is no binary `{}`; run: cargo build --package xtask",
        path.display()
    );
    path
}

/// A component by name: in `SORTIE_COMPONENTS` if that is set, else in the repository's
/// `target/components`.
///
/// # Panics
/// When it is not there.
pub fn component(name: &str) -> PathBuf {
    let folder = env::var_os("SORTIE_COMPONENTS")
        .map_or_else(|| repository().join("target/components"), PathBuf::from);
    let path = folder.join(format!("{name}.wasm"));
    assert!(
        path.is_file(),
        "there is no component `{}`; run: cargo xtask guests",
        path.display()
    );
    path
}

/// The program that reads results with a client that has no embedded host.
///
/// # Panics
/// When it is not there.
pub fn slim() -> PathBuf {
    let path = build().join("sortie-slim");
    assert!(
        path.is_file(),
        "there is no binary `{}`; run: cargo xtask test slim",
        path.display()
    );
    path
}

/// The repository's root folder.
pub fn repository() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own)
}

/// The folder of the build that this program belongs to: tests lie in its `deps`.
fn build() -> PathBuf {
    let own = env::current_exe().expect("a running program has a file");
    own.ancestors()
        .nth(2)
        .expect("a test lies in a folder of the build")
        .to_owned()
}
