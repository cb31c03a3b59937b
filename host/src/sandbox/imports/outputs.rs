//! Host functions that write objects: `create`, `writer` and `output` of `sortie:task/objects`.
//!
//! Bytes go to the output store as they are written, so that host memory does not grow with an
//! object. An object becomes visible when the function has returned it, and no other does: what is
//! dropped before, by the function or with its task, removes what was sent.
//!
//! Bounds: [`OBJECTS_FREE`] objects, each with the parts that an upload has under way, and as many
//! more as the memory limit pays for;
//! [`WRITE_BYTES_MAX`] in a call; the task's limit on all bytes together, at which it is stopped.
//! The first error of the output store is remembered: the task's result depends on it, so it is not
//! kept in the memo.

use sortie_objects::{WriteError, WriteFault, values};
use sortie_protocol::{Failure, OutputObject};
use wasmtime::component::Resource;

use super::handles::{ObjectsCtxView, Output, OutputsCtx, Progress, Writer};
use crate::sandbox::bindings::{handler, objects as wit};
use crate::sandbox::limits::Stop;

/// Objects of one task at once that cost nothing of its memory limit, those that are being written
/// and those that were made.
const OBJECTS_FREE: usize = 4;
/// What each further one costs of it: an upload has up to five parts of 8 MiB under way.
const OBJECT_BYTES: usize = 40 << 20;
/// The most that one call brings: as much as a part has.
const WRITE_BYTES_MAX: usize = 8 << 20;
/// The longest media type: the registry bounds both halves of a name to 127 bytes.
const CONTENT_TYPE_BYTES_MAX: usize = 255;
/// What a host without an output store says.
const NO_STORE: &str =
    "there is no store for the objects that functions write; the host's operator can configure one";

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

impl OutputsCtx {
    /// An error as the function sees it.
    fn fail(&mut self, error: WriteError) -> wit::WriteError {
        let answer = write_error(&error);
        match error.fault {
            // The function's own doing, at every attempt.
            WriteFault::TooLarge => {}
            WriteFault::NoPlace
            | WriteFault::Denied
            | WriteFault::Full
            | WriteFault::Quota
            | WriteFault::Unavailable => {
                self.error.get_or_insert(error);
            }
        }
        answer
    }
}

fn write_error(error: &WriteError) -> wit::WriteError {
    let message = error.for_guest().to_owned();
    match error.fault {
        WriteFault::NoPlace | WriteFault::Denied => wit::WriteError::NoStore(message),
        WriteFault::TooLarge => wit::WriteError::Invalid(message),
        WriteFault::Full | WriteFault::Quota | WriteFault::Unavailable => {
            wit::WriteError::Unavailable(message)
        }
    }
}

impl ObjectsCtxView<'_> {
    /// What a call returned, taken out of the table of handles. An object becomes visible.
    pub(in crate::sandbox) async fn returned(
        &mut self,
        returned: handler::ResultValue,
    ) -> wasmtime::Result<Result<Returned, Failure>> {
        let output = match returned {
            handler::ResultValue::Value(bytes) => return Ok(Ok(Returned::Value(bytes))),
            handler::ResultValue::Object(output) => output,
        };
        let Output {
            content_type,
            sealed,
        } = self.table.delete(output)?;
        let published = self.wait_for_store(sealed.publish()).await?;
        Ok(match published {
            Ok(stored) => Ok(Returned::Object(OutputObject {
                stored,
                content_type,
            })),
            Err(error) => {
                self.outputs.error.get_or_insert_with(|| error.clone());
                Err(values::unkept(error))
            }
        })
    }

    fn release_object(&mut self) {
        self.outputs.held = self.outputs.held.saturating_sub(1);
        if self.outputs.held >= OBJECTS_FREE {
            self.memory.give_back(OBJECT_BYTES);
        }
        self.objects.release();
    }
}

impl wit::Host for ObjectsCtxView<'_> {
    fn create(
        &mut self,
        content_type: Option<String>,
    ) -> wasmtime::Result<Result<Resource<Writer>, wit::WriteError>> {
        let invalid = |text: String| Ok(Err(wit::WriteError::Invalid(text)));
        if content_type
            .as_deref()
            .is_some_and(|kind| !is_content_type(kind))
        {
            return invalid(format!(
                "a media type is 1 to {CONTENT_TYPE_BYTES_MAX} visible ASCII characters and \
                 spaces, as in `image/png`"
            ));
        }
        let Some(output_store) = &self.outputs.output_store else {
            let error = WriteError::new(WriteFault::NoPlace, NO_STORE);
            return Ok(Err(self.outputs.fail(error)));
        };
        let held = self.outputs.held;
        if held >= OBJECTS_FREE && !self.memory.reserve(OBJECT_BYTES) {
            return invalid(format!(
                "{held} objects are being written or were made already, and the memory limit \
                 leaves no 40 MiB for another; drop one first, or ask for more memory"
            ));
        }
        let writer = output_store.create(content_type.as_deref());
        self.objects.admit()?;
        self.outputs.held += 1;
        Ok(Ok(self.table.push(Writer {
            content_type,
            progress: Progress::Open(Box::new(writer)),
        })?))
    }
}

impl wit::HostWriter for ObjectsCtxView<'_> {
    async fn write(
        &mut self,
        writer: Resource<Writer>,
        bytes: Vec<u8>,
    ) -> wasmtime::Result<Result<(), wit::WriteError>> {
        if bytes.len() > WRITE_BYTES_MAX {
            let text = format!(
                "{} bytes in one call; at most {WRITE_BYTES_MAX} are allowed",
                bytes.len()
            );
            return Ok(Err(wit::WriteError::Invalid(text)));
        }
        self.outputs.bytes = self.outputs.bytes.saturating_add(bytes.len() as u64);
        if self.outputs.bytes > self.outputs.bytes_max {
            return Err(wasmtime::Error::new(Stop::OutputBytes));
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
    ) -> wasmtime::Result<Result<Resource<Output>, wit::WriteError>> {
        let Writer {
            content_type,
            progress,
        } = self.table.delete(writer)?;
        let sealed = match progress {
            Progress::Open(open) => self.wait_for_store(open.seal()).await?,
            Progress::Busy => wasmtime::bail!("a writer that is in use"),
            Progress::Failed(error) => Err(error),
        };
        match sealed {
            // Its handle takes the place of the writer's.
            Ok(sealed) => Ok(Ok(self.table.push(Output {
                content_type,
                sealed: Box::new(sealed),
            })?)),
            Err(error) => {
                self.release_object();
                Ok(Err(self.outputs.fail(error)))
            }
        }
    }

    fn drop(&mut self, writer: Resource<Writer>) -> wasmtime::Result<()> {
        self.table.delete(writer)?;
        self.release_object();
        Ok(())
    }
}

impl wit::HostOutput for ObjectsCtxView<'_> {
    fn digest(&mut self, output: Resource<Output>) -> wasmtime::Result<String> {
        Ok(self.table.get(&output)?.sealed.stored().digest.to_hex())
    }

    fn size(&mut self, output: Resource<Output>) -> wasmtime::Result<u64> {
        Ok(self.table.get(&output)?.sealed.stored().size)
    }

    fn drop(&mut self, output: Resource<Output>) -> wasmtime::Result<()> {
        self.table.delete(output)?;
        self.release_object();
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
