//! Output objects: large results that a function writes as a stream.
//!
//! The host stores an output under a name that follows from its bytes. It becomes visible when the
//! function has returned it, and never otherwise. Memory is bounded by `BUFFER_BYTES` here, and
//! does not grow with the object.

use std::fmt;
use std::io::{self, Write};

#[cfg(target_arch = "wasm32")]
use crate::bindings::sortie::task::objects;

/// How much is collected before the host is called: enough to make the crossing cheap.
const BUFFER_BYTES: usize = 256 << 10;

/// The most that goes to the host in one call; the contract allows eight times as much.
const WRITE_BYTES: usize = 1 << 20;

/// Why an object cannot be written; the inner error of the [`io::Error`]s of an [`Output`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The host has no output store, or cannot use it.
    NoStore {
        /// What the operator of the host has to do.
        reason: String,
    },
    /// The request is invalid.
    Invalid {
        /// Why.
        reason: String,
    },
    /// The store does not accept the object now, although the host has retried.
    Unavailable {
        /// The host's message.
        reason: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::NoStore { reason } | Self::Invalid { reason } | Self::Unavailable { reason }) =
            self;
        write!(f, "an output cannot be written: {reason}")
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::NoStore { .. } => io::ErrorKind::Unsupported,
            Error::Invalid { .. } => io::ErrorKind::InvalidInput,
            Error::Unavailable { .. } => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// An object in the making. Dropping it gives it up.
///
/// ```
/// use sortie_guest::{Failure, Object, Output, OutputObject};
/// use std::io::{BufRead as _, Write as _};
///
/// /// The lines of a log that are errors.
/// #[sortie_guest::function]
/// fn errors(log: Object) -> Result<OutputObject, Failure> {
///     let mut output = Output::create(Some("text/plain"))?;
///     for line in log.reader().lines() {
///         let line = line?;
///         if line.contains("ERROR") {
///             writeln!(output, "{line}")?;
///         }
///     }
///     Ok(output.finish()?)
/// }
///
/// let log = Object::from_bytes("app.log", b"ERROR a\nINFO b\nERROR c\n".to_vec());
/// let made = errors(log).unwrap();
/// assert_eq!((made.size(), made.content_type()), (16, Some("text/plain")));
/// // Natively it is kept in memory, for tests.
/// assert_eq!(made.bytes(), b"ERROR a\nERROR c\n");
/// ```
pub struct Output {
    sink: Sink,
    buffer: Vec<u8>,
    size: u64,
    content_type: Option<String>,
}

#[cfg(target_arch = "wasm32")]
type Sink = objects::Writer;
#[cfg(not(target_arch = "wasm32"))]
type Sink = Vec<u8>;

impl Output {
    /// Start an object, with a media type if it is known. A task has four at a time, those that are
    /// being written and those that are finished, and one more for each 40 MiB that its memories
    /// leave of its limit.
    pub fn create(content_type: Option<&str>) -> io::Result<Self> {
        #[cfg(target_arch = "wasm32")]
        let sink = objects::create(content_type).map_err(translate)?;
        #[cfg(not(target_arch = "wasm32"))]
        let sink = Vec::new();
        Ok(Self {
            sink,
            buffer: Vec::new(),
            size: 0,
            content_type: content_type.map(str::to_owned),
        })
    }

    /// How many bytes were written.
    pub fn position(&self) -> u64 {
        self.size
    }

    /// Complete the object. It can then be returned from the function.
    pub fn finish(mut self) -> io::Result<OutputObject> {
        self.send()?;
        let Self {
            sink,
            size,
            content_type,
            ..
        } = self;
        #[cfg(target_arch = "wasm32")]
        let sink = objects::Writer::finish(sink).map_err(translate)?;
        Ok(OutputObject {
            made: sink,
            size,
            content_type,
        })
    }

    /// Hand over what was collected.
    fn send(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        self.hand_over(&buffer)?;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    fn hand_over(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(WRITE_BYTES) {
            #[cfg(target_arch = "wasm32")]
            self.sink.write(piece).map_err(translate)?;
            #[cfg(not(target_arch = "wasm32"))]
            self.sink.extend_from_slice(piece);
        }
        Ok(())
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("size", &self.size)
            .field("content_type", &self.content_type)
            .finish_non_exhaustive()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.send()?;
        }
        if bytes.len() >= BUFFER_BYTES {
            self.hand_over(bytes)?;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    /// Sends the buffered bytes to the host. They become visible only when the finished object
    /// is returned.
    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

/// A finished object, to be returned from the function.
pub struct OutputObject {
    made: Made,
    size: u64,
    content_type: Option<String>,
}

#[cfg(target_arch = "wasm32")]
type Made = objects::Output;
#[cfg(not(target_arch = "wasm32"))]
type Made = Vec<u8>;

impl OutputObject {
    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Media type, if it was set.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// Its bytes, in native tests.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn bytes(&self) -> &[u8] {
        &self.made
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn into_handle(self) -> objects::Output {
        self.made
    }
}

impl fmt::Debug for OutputObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutputObject")
            .field("size", &self.size)
            .field("content_type", &self.content_type)
            .finish_non_exhaustive()
    }
}

#[cfg(target_arch = "wasm32")]
fn translate(error: objects::WriteError) -> io::Error {
    match error {
        objects::WriteError::NoStore(reason) => Error::NoStore { reason }.into(),
        objects::WriteError::Invalid(reason) => Error::Invalid { reason }.into(),
        objects::WriteError::Unavailable(reason) => Error::Unavailable { reason }.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_pieces_of_any_size_comes_out_whole() {
        let mut output = Output::create(None).unwrap();
        let mut expected = Vec::new();
        for size in [
            0,
            1,
            BUFFER_BYTES - 1,
            BUFFER_BYTES,
            3,
            WRITE_BYTES * 2 + 5,
            7,
        ] {
            let bytes: Vec<u8> = (0..size)
                .map(|n| u8::try_from((n + size) % 251).unwrap())
                .collect();
            output.write_all(&bytes).unwrap();
            expected.extend_from_slice(&bytes);
        }
        assert_eq!(output.position(), expected.len() as u64);
        let made = output.finish().unwrap();
        assert_eq!(made.size(), expected.len() as u64);
        assert!(made.bytes() == expected);
    }
}
