//! The host's side of what tasks make: writers, and the objects that come of them.
//!
//! Bytes go to the store as they are written, [`sortie_objects::output_store::Writer`] says how, so that host
//! memory does not grow with an object. It gets its name, and with it becomes visible, when it is
//! finished. A writer that is dropped, with its task or before, gives up what it sent.
//!
//! Bounds: [`WRITERS_MAX`] writers, each with the parts that an upload has under way;
//! [`WRITE_BYTES_MAX`] in a call; the task's limit on all bytes together, at which it is stopped.
//! An error of the store is remembered: what a function makes of it is not its result for good.

use std::time::Duration;

use sortie_protocol::{ByteSize, OutputObject};
use wasmtime::component::Resource;

use super::super::{State, Stop};
use super::{handler, wit_objects};
use crate::clock;
use sortie_objects::output_store::{self, OutputStore};
use sortie_objects::{WriteError, WriteFault};

/// Writers of one task at once: each may hold five parts of 8 MiB.
const WRITERS_MAX: usize = 4;
/// The most that one call brings: as much as a part has.
const WRITE_BYTES_MAX: usize = 8 << 20;
/// The longest media type: the registry bounds both halves of a name to 127 bytes.
const CONTENT_TYPE_BYTES_MAX: usize = 255;
/// What a host without a store says.
const NO_STORE: &str =
    "there is no store for the objects that functions make; the operator of the host can name one";

/// What one task makes.
#[derive(Debug)]
pub(in crate::sandbox) struct Outputs {
    store: Option<OutputStore>,
    written_max: u64,
    writers: usize,
    /// Bytes so far.
    pub(in crate::sandbox) written: u64,
    /// Time that the task waited for the store.
    pub(in crate::sandbox) waited: Duration,
    /// The first time that the store did not do as it should.
    pub(in crate::sandbox) error: Option<WriteError>,
}

impl Outputs {
    pub(in crate::sandbox) fn new(store: Option<OutputStore>, written_max: ByteSize) -> Self {
        Self {
            store,
            written_max: written_max.as_u64(),
            writers: 0,
            written: 0,
            waited: Duration::ZERO,
            error: None,
        }
    }

    /// The error as the guest sees it.
    fn fail(&mut self, error: WriteError) -> wit_objects::WriteError {
        let answer = write_error(&error);
        match error.fault {
            // The function's own doing, every time anew.
            WriteFault::TooLarge => {}
            WriteFault::NoPlace
            | WriteFault::Denied
            | WriteFault::Full
            | WriteFault::Unavailable => {
                self.error.get_or_insert(error);
            }
        }
        answer
    }
}

fn write_error(error: &WriteError) -> wit_objects::WriteError {
    let message = error.message.clone();
    match error.fault {
        WriteFault::NoPlace | WriteFault::Denied => wit_objects::WriteError::NoStore(message),
        WriteFault::TooLarge => wit_objects::WriteError::Invalid(message),
        WriteFault::Full | WriteFault::Unavailable => wit_objects::WriteError::Unavailable(message),
    }
}

/// An object in the making, as the guest holds it.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Writer {
    content_type: Option<String>,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    Open(Box<output_store::Writer>),
    /// A call waits for the store. Nobody else can ask meanwhile, and if the wait ends early the
    /// instance is over.
    Busy,
    Failed(WriteError),
}

/// An object that the task made, as the guest holds it.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Output {
    object: OutputObject,
}

/// What a function returned.
#[derive(Debug)]
pub(crate) enum Returned {
    /// A CBOR item.
    Value(Vec<u8>),
    /// An object that it made.
    Object(OutputObject),
}

impl Returned {
    /// Bytes of a value; those of an object are counted as they are written.
    pub(crate) fn value_bytes(&self) -> u64 {
        match self {
            Self::Value(bytes) => bytes.len() as u64,
            Self::Object(_) => 0,
        }
    }
}

impl State {
    /// What a call returned, out of the guest's hands.
    pub(in crate::sandbox) fn returned(
        &mut self,
        returned: handler::ResultValue,
    ) -> wasmtime::Result<Returned> {
        Ok(match returned {
            handler::ResultValue::Value(bytes) => Returned::Value(bytes),
            handler::ResultValue::Object(output) => {
                Returned::Object(self.table.delete(output)?.object)
            }
        })
    }

    /// Wait for the store, on the task's time.
    async fn wait_for_store<T>(&mut self, storing: impl Future<Output = T>) -> wasmtime::Result<T> {
        let began = clock::instant();
        let waited = self.watch.bound_if_slow(storing).await;
        self.outputs.waited += clock::instant() - began;
        waited.map_err(wasmtime::Error::new)
    }

    fn release_writer(&mut self) {
        self.outputs.writers = self.outputs.writers.saturating_sub(1);
        self.handles = self.handles.saturating_sub(1);
    }
}

impl wit_objects::Host for State {
    fn create(
        &mut self,
        content_type: Option<String>,
    ) -> wasmtime::Result<Result<Resource<Writer>, wit_objects::WriteError>> {
        let invalid = |text: String| Ok(Err(wit_objects::WriteError::Invalid(text)));
        if content_type
            .as_deref()
            .is_some_and(|kind| !is_content_type(kind))
        {
            return invalid(format!(
                "a media type is 1 to {CONTENT_TYPE_BYTES_MAX} visible ASCII characters and spaces, as in `image/png`"
            ));
        }
        if self.outputs.writers >= WRITERS_MAX {
            return invalid(format!(
                "{WRITERS_MAX} objects are being written already; finish one first"
            ));
        }
        let Some(store) = &self.outputs.store else {
            return Ok(Err(self.outputs.fail(WriteError {
                fault: WriteFault::NoPlace,
                message: NO_STORE.into(),
            })));
        };
        let progress = Progress::Open(Box::new(store.create(content_type.as_deref())));
        self.admit_handle()?;
        self.outputs.writers += 1;
        Ok(Ok(self.table.push(Writer {
            content_type,
            progress,
        })?))
    }
}

impl wit_objects::HostWriter for State {
    async fn write(
        &mut self,
        writer: Resource<Writer>,
        bytes: Vec<u8>,
    ) -> wasmtime::Result<Result<(), wit_objects::WriteError>> {
        if bytes.len() > WRITE_BYTES_MAX {
            let text = format!(
                "{} bytes in one call; at most {WRITE_BYTES_MAX} are taken",
                bytes.len()
            );
            return Ok(Err(wit_objects::WriteError::Invalid(text)));
        }
        self.outputs.written = self.outputs.written.saturating_add(bytes.len() as u64);
        if self.outputs.written > self.outputs.written_max {
            return Err(wasmtime::Error::new(Stop::Written));
        }
        let entry = self.table.get_mut(&writer)?;
        let mut open = match std::mem::replace(&mut entry.progress, Progress::Busy) {
            Progress::Open(open) => open,
            Progress::Busy => wasmtime::bail!("a writer that is in use"),
            Progress::Failed(error) => {
                let answer = write_error(&error);
                entry.progress = Progress::Failed(error);
                return Ok(Err(answer));
            }
        };
        let written = self.wait_for_store(open.write(&bytes)).await?;
        let (progress, answer) = match written {
            Ok(()) => (Progress::Open(open), Ok(())),
            Err(error) => (
                Progress::Failed(error.clone()),
                Err(self.outputs.fail(error)),
            ),
        };
        self.table.get_mut(&writer)?.progress = progress;
        Ok(answer)
    }

    async fn finish(
        &mut self,
        writer: Resource<Writer>,
    ) -> wasmtime::Result<Result<Resource<Output>, wit_objects::WriteError>> {
        let Writer {
            content_type,
            progress,
        } = self.table.delete(writer)?;
        self.release_writer();
        let finished = match progress {
            Progress::Open(open) => self.wait_for_store(open.finish()).await?,
            Progress::Busy => wasmtime::bail!("a writer that is in use"),
            Progress::Failed(error) => Err(error),
        };
        match finished {
            Ok(stored) => {
                self.admit_handle()?;
                Ok(Ok(self.table.push(Output {
                    object: OutputObject {
                        stored,
                        content_type,
                    },
                })?))
            }
            Err(error) => Ok(Err(self.outputs.fail(error))),
        }
    }

    fn drop(&mut self, writer: Resource<Writer>) -> wasmtime::Result<()> {
        self.table.delete(writer)?;
        self.release_writer();
        Ok(())
    }
}

impl wit_objects::HostOutput for State {
    fn digest(&mut self, output: Resource<Output>) -> wasmtime::Result<String> {
        Ok(self.table.get(&output)?.object.stored.digest.to_hex())
    }

    fn size(&mut self, output: Resource<Output>) -> wasmtime::Result<u64> {
        Ok(self.table.get(&output)?.object.stored.size)
    }

    fn drop(&mut self, output: Resource<Output>) -> wasmtime::Result<()> {
        self.table.delete(output)?;
        self.handles = self.handles.saturating_sub(1);
        Ok(())
    }
}

/// Whether a text can be sent as a header: nothing in it ends the header.
fn is_content_type(text: &str) -> bool {
    (1..=CONTENT_TYPE_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|c| matches!(c, b' '..=b'~'))
        && text.trim() == text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_cannot_carry_a_second_header() {
        for good in ["image/png", "text/csv; charset=utf-8", &"x".repeat(255)] {
            assert!(is_content_type(good), "{good}");
        }
        for bad in [
            "",
            " a/b",
            "a/b\r\nx-amz-acl: public-read",
            "a/ü",
            "a\0b",
            &"x".repeat(256),
        ] {
            assert!(!is_content_type(bad), "{bad:?}");
        }
    }
}
