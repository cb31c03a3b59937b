//! Collects what a task logs and prints: the host function of `sortie:task/log`, and the buffer
//! that it shares with standard output and standard error, in the order of writing.
//!
//! The buffer takes what fits under the task's log limit and counts the rest. Writing never fails
//! and never waits: a function that prints too much goes on, and its log is cut.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use sortie_protocol::outcome::cut;
use sortie_protocol::{ByteSize, Log};
use wasmtime::component::{HasData, Linker};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::sandbox::bindings::log as wit;

/// What is kept of one log line's target.
const TARGET_BYTES_MAX: usize = 256;
/// What one write may bring: bounds what the host allocates for it.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// How Rust's standard library starts to report a panic, after the thread's name.
const PANIC: &str = "panicked at ";

/// A task's log as it grows. Clones share one log: each stream that the function holds has one.
#[derive(Debug, Clone)]
pub(in crate::sandbox) struct LogBuffer {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    bytes: Vec<u8>,
    limit: usize,
    dropped: u64,
}

impl LogBuffer {
    pub(in crate::sandbox) fn new(limit: ByteSize) -> Self {
        Self {
            shared: Arc::new(Mutex::new(Shared {
                bytes: Vec::new(),
                limit: limit.as_usize(),
                dropped: 0,
            })),
        }
    }

    pub(in crate::sandbox) fn append(&self, bytes: &[u8]) {
        let mut shared = self.shared.lock();
        let room = shared.limit.saturating_sub(shared.bytes.len());
        let (kept, rest) = bytes.split_at(room.min(bytes.len()));
        shared.bytes.extend_from_slice(kept);
        shared.dropped += rest.len() as u64;
    }

    /// What the last panic of a Rust guest said, in one line, if its report is in the log.
    pub(in crate::sandbox) fn last_panic(&self) -> Option<String> {
        let shared = self.shared.lock();
        let text = String::from_utf8_lossy(&shared.bytes);
        let report = text.get(text.rfind(PANIC)?..)?;
        let lines = report
            .lines()
            .take_while(|line| !line.starts_with("note: "));
        Some(
            lines
                .flat_map(str::split_whitespace)
                .collect::<Vec<_>>()
                .join(" "),
        )
    }

    /// The log, if anything was written. Bytes that are not UTF-8 are replaced.
    pub(in crate::sandbox) fn take(&self) -> Option<Box<Log>> {
        let mut shared = self.shared.lock();
        let bytes = std::mem::take(&mut shared.bytes);
        let dropped = std::mem::take(&mut shared.dropped);
        if bytes.is_empty() && dropped == 0 {
            return None;
        }
        let text = String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Some(Box::new(Log { text, dropped }))
    }
}

/// Finds a task's log in the data of its store.
pub(in crate::sandbox) trait LogView: Send {
    fn log(&mut self) -> &mut LogBuffer;
}

/// Tells wasmtime that the host function works on a [`LogBuffer`].
struct HasLog;

impl HasData for HasLog {
    type Data<'a> = &'a mut LogBuffer;
}

pub(super) fn add_to_linker<T: LogView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<T, HasLog>(linker, T::log)
}

impl wit::Host for LogBuffer {
    fn emit(&mut self, level: wit::Level, target: String, message: String) -> wasmtime::Result<()> {
        let level = match level {
            wit::Level::Trace => "TRACE",
            wit::Level::Debug => "DEBUG",
            wit::Level::Info => "INFO",
            wit::Level::Warn => "WARN",
            wit::Level::Error => "ERROR",
        };
        let target = cut(target, TARGET_BYTES_MAX);
        self.append(format!("{level} {target}: {message}\n").as_bytes());
        Ok(())
    }
}

/// Standard output and standard error.
#[derive(Debug)]
pub(super) struct LogStream(pub(super) LogBuffer);

#[async_trait::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.append(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let log = LogBuffer::new(ByteSize(4));
        log.append(b"ab");
        log.append(b"cdef");
        assert_eq!(
            *log.take().unwrap(),
            Log {
                text: "abcd".into(),
                dropped: 2
            }
        );
        assert_eq!(log.take(), None);
    }

    #[test]
    fn a_panics_report_becomes_one_line() {
        let log = LogBuffer::new(ByteSize::kib(64));
        assert_eq!(log.last_panic(), None);
        log.append(
            b"hello\n\nthread '<unnamed>' (1) panicked at src/lib.rs:3:5:\noh no\n\
              note: run with `RUST_BACKTRACE=1`\n",
        );
        assert_eq!(
            log.last_panic().unwrap(),
            "panicked at src/lib.rs:3:5: oh no"
        );
    }
}
