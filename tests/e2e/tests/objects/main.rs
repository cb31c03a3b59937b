//! `sortie map` over objects in S3, over a network and a store that fail: what a person sees, and
//! what is asked of the store.
//!
//! [`stores`] has two genuine servers and nothing that fails; [`inputs`] what is wrong with an
//! input for good; [`faults`] what passes, or does not; [`clouds`] the other services, and where
//! keys come from; [`changes`] objects that change while they are read; [`disk`] what is kept on
//! disk; [`names`] that names are what was written; [`web`] web servers; [`secrets`] what must be
//! seen nowhere. Every run is checked for secrets.

mod changes;
mod clouds;
mod disk;
mod faults;
mod inputs;
mod names;
mod secrets;
mod stores;
mod web;

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use sortie_harness::{Link, Ran, S3Server, Sortie, StoreProxy};
use tempfile::TempDir;

/// What a token for temporary keys looks like; a server that knows the keys does not ask for it.
const TOKEN: &str = "FwoGZXIvYXdzEJrTOKENOFNOVALUE";
/// More than a host reads at once.
const LARGE: usize = 20 << 20;

/// A bucket in a server, behind a proxy.
struct Store {
    folder: TempDir,
    server: S3Server,
    proxy: StoreProxy,
    /// One for all runs of a test.
    cache: TempDir,
}

impl Store {
    /// With `a.txt`, `b.txt` and `c.txt` of one, two and three letters, `empty.txt`, and
    /// `large.bin` of [`LARGE`] bytes 1.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bucket")).unwrap();
        for (name, content) in [
            ("a.txt", "A"),
            ("b.txt", "BB"),
            ("c.txt", "CCC"),
            ("empty.txt", ""),
        ] {
            fs::write(folder.path().join("bucket").join(name), content).unwrap();
        }
        fs::write(folder.path().join("bucket/large.bin"), vec![1; LARGE]).unwrap();
        let server = S3Server::start(folder.path());
        let proxy = StoreProxy::start(server.address(), Link::default());
        Self {
            folder,
            server,
            proxy,
            cache: sortie_harness::cache(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("bucket").join(name)
    }

    /// `sum_of` over these inputs, with nothing known from an earlier run.
    fn sum_of(&self, inputs: &[&str]) -> Sortie {
        let command = Sortie::map("sum_of", inputs)
            .args(["--fresh"])
            .cache(self.cache.path());
        self.proxy
            .for_command(command)
            .env("AWS_SESSION_TOKEN", TOKEN)
    }
}

/// What a run said, after a look that no secret is in it.
trait Told {
    /// What became of each input, in order: the status, or the code of the failure.
    fn endings(&self) -> Vec<String>;
    /// The record of this input.
    fn of(&self, input: &str) -> Value;
    /// The error of this input: its code is this, its message is one line that names the input and
    /// has all of `parts`.
    fn failed(&self, input: &str, code: &str, parts: &[&str]);
    /// The value of this input.
    fn found(&self, input: &str, value: Value);
}

impl Told for Ran {
    #[track_caller]
    fn endings(&self) -> Vec<String> {
        secrets::are_not_in(self);
        let mut records = self.records();
        records.sort_by_key(|record| record["index"].as_u64());
        let ending = |record: &Value| {
            record["error"]["code"]
                .as_str()
                .or(record["status"].as_str())
                .unwrap_or_default()
                .to_owned()
        };
        records.iter().map(ending).collect()
    }

    #[track_caller]
    fn of(&self, input: &str) -> Value {
        secrets::are_not_in(self);
        let mut records = self.records();
        records.retain(|record| record["input"] == input);
        assert_eq!(records.len(), 1, "not one record of `{input}`: {self}");
        records.remove(0)
    }

    #[track_caller]
    fn failed(&self, input: &str, code: &str, parts: &[&str]) {
        let record = self.of(input);
        assert_eq!(record["error"]["code"], code, "{self}");
        assert_eq!(record["error"]["blame"], "input", "{self}");
        let message = record["error"]["message"].as_str().unwrap_or_default();
        assert!(
            message.contains(&format!("`{input}`")) && !message.contains('\n'),
            "not one line that names the object: {self}"
        );
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }

    #[track_caller]
    fn found(&self, input: &str, value: Value) {
        assert_eq!(self.of(input)["value"], value, "{self}");
    }
}

/// How many attempts a task took.
#[track_caller]
fn attempts(ran: &Ran, input: &str) -> u64 {
    ran.of(input)["error"]["attempts"]
        .as_u64()
        .unwrap_or_default()
}

/// What `sum_of` returns for `a.txt`.
fn sum_of_a() -> Value {
    json!([1, 65])
}

/// What `sum_of` returns for `b.txt`.
fn sum_of_b() -> Value {
    json!([2, 132])
}

/// What `sum_of` returns for `large.bin`.
fn sum_of_large() -> Value {
    json!([LARGE, LARGE])
}
